"""SQL that is sent to the examined server. Nothing of what was observed gets into it but as a quoted literal or as a whole statement.

Whole statements are only sent by the extended protocol, where the server itself refuses a second one behind a semicolon ("cannot insert
multiple commands into a prepared statement", postgresql.org/docs/current/protocol-flow.html); and nothing is ever appended to one.
"""

import re
from dataclasses import dataclass
from typing import Literal

from perfwright.analysis.statements.generic_text import generic_text
from perfwright.analysis.statements.parsing import Unreadable, fingerprint_of, syntax_tree
from perfwright.analysis.statements.tree import TooDeep, places

SERIALIZE_SINCE = 170_000
COUNTS_GENERIC_PLANS_SINCE = 140_000
"""pg_prepared_statements has generic_plans."""
CHECKS_CONNECTION_SINCE = 140_000
"""client_connection_check_interval ends a statement whose client is gone."""
CHECK_CONNECTION_EVERY_MS = 500
IDLE_TIMEOUT_MS = 60_000
"""Our transactions are never idle for longer than an answer takes: a worker that stands still must not hold locks."""

_LIKE_PLACEHOLDER = re.compile(r"\$(\d{1,5})\b")

PlanCacheMode = Literal["auto", "force_custom_plan", "force_generic_plan"]


class UnsendableText(ValueError):
    """A text or value that no server takes: says why."""


@dataclass(frozen=True)
class Execution:
    """How a statement is executed for its plan."""

    timing: bool = True
    """Time every node; costs time itself (70 % in the example of pg_test_timing's documentation)."""
    writes: bool = False
    """In a transaction that may write."""


def quoted_literal(value: str | None) -> str:
    """A string literal that the server casts to the type it needs, or NULL; right under both settings of standard_conforming_strings.

    As libpq's PQescapeLiteral does it. Raises UnsendableText for what no text of the server can hold.
    """
    if value is None:
        return "NULL"
    _check_sendable(value, "a value")
    doubled = value.replace("'", "''")
    return f"E'{doubled.replace(chr(92), chr(92) * 2)}'" if "\\" in doubled else f"'{doubled}'"


def quoted_identifier(name: str) -> str:
    """A name in double quotes. Raises UnsendableText."""
    _check_sendable(name, "a name")
    return '"' + name.replace('"', '""') + '"'


def sendable(text: str) -> str:
    """The statement as it is sent: raises UnsendableText for NUL characters, behind which a server reads the next message."""
    _check_sendable(text, "the text")
    return text


def _check_sendable(text: str, what: str) -> None:
    if "\0" in text:
        raise UnsendableText(f"{what} has a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UnsendableText(f"{what} has characters that are not Unicode") from None


def explain_prefix(version_number: int, execution: Execution | None = None) -> str:
    """`EXPLAIN (...) `, for this version of the server; `execution` None: plan only.

    GENERIC_PLAN (16) is not used: by the extended protocol the server wants values for `$n` all the same, and plans with them (tried on
    18.6); PREPARE with plan_cache_mode does the same in every version. Options as in postgresql.org/docs/{13..18}/sql-explain.html:
    SERIALIZE (17) makes the server turn rows into text as for a client, which includes fetching what is stored out of line; WAL only where
    something is written.
    """
    options = ["FORMAT JSON", "SETTINGS"]
    if execution is not None:
        options += ["ANALYZE", "BUFFERS", f"TIMING {'ON' if execution.timing else 'OFF'}"]
        if execution.writes:
            options.append("WAL")
        if version_number >= SERIALIZE_SINCE:
            options.append("SERIALIZE TEXT")
    return f"EXPLAIN ({', '.join(options)}) "


def begin_sql(
    *,
    writes: bool,
    statement_timeout_ms: int,
    lock_timeout_ms: int,
    plan_cache_mode: PlanCacheMode = "auto",
    one_snapshot: bool = False,
    checks_connection: bool = False,
) -> str:
    """Opens the transaction in which one statement is looked at; everything set in it ends with it, behind a pooler too.

    `one_snapshot`: all statements in it see the same rows.
    """
    isolation = "ISOLATION LEVEL REPEATABLE READ " if one_snapshot else ""
    settings = {
        "statement_timeout": str(statement_timeout_ms),
        "lock_timeout": str(lock_timeout_ms),
        "idle_in_transaction_session_timeout": str(IDLE_TIMEOUT_MS),
    }
    if plan_cache_mode != "auto":
        settings["plan_cache_mode"] = plan_cache_mode
    if checks_connection:
        settings["client_connection_check_interval"] = str(CHECK_CONNECTION_EVERY_MS)
    words = [
        f"BEGIN {isolation}{'READ WRITE' if writes else 'READ ONLY'}",
        *(f"SET LOCAL {name} = {value}" for name, value in settings.items()),
    ]
    return "; ".join(words)


def prepare_sql(name: str, text: str) -> str:
    return f"PREPARE {quoted_identifier(name)} AS {sendable(text)}"


def execute_sql(name: str, parameters: tuple[str | None, ...]) -> str:
    """`EXECUTE "name"('1', NULL)`: the server casts each to the type that it inferred for its `$n`."""
    values = f"({', '.join(quoted_literal(value) for value in parameters)})" if parameters else ""
    return f"EXECUTE {quoted_identifier(name)}{values}"


def deallocate_sql(name: str) -> str:
    return f"DEALLOCATE {quoted_identifier(name)}"


def placeholders_in(text: str) -> int:
    """The highest `$n` of a statement, 0 where it has none: read, because text in quotes may look like one. Where the parser refuses the
    text, what looks like one counts."""
    try:
        references = (place.value.get("number", 0) for place in places(syntax_tree(text)) if place.key == "ParamRef")
        return max((int(number) for number in references), default=0)
    except (Unreadable, TooDeep):
        return max((int(number) for number in _LIKE_PLACEHOLDER.findall(text)), default=0)


def with_types(text: str, version_number: int) -> str:
    """The text with casts at placeholders that stand where a server takes only constants; the same text where none need them."""
    try:
        return generic_text(text, version_number=version_number)
    except Unreadable:
        return text


def shape_of(text: str) -> str:
    """libpg_query's fingerprint; empty where the text cannot be read."""
    try:
        return fingerprint_of(text)
    except Unreadable:
        return ""


def without_semicolon(text: str) -> str:
    """The statement without the semicolon at its end, so that it can stand in parentheses; comments behind that are left out too.

    Raises Unreadable where the text is not one statement.
    """
    import pgparse

    syntax_tree(text)
    [statement] = [one for one in pgparse.parse(text) if one.get("stmt")]
    start, length = statement.get("stmt_location", 0), statement.get("stmt_len", 0)
    raw = text.encode()
    return raw[start : start + length].decode() if length else raw[start:].decode()
