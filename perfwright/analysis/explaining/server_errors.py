"""What the server said to one statement, as a reason a person can act on. Values of the statement are in no reason.

Judged by SQLSTATE (PostgreSQL documentation, appendix A), never by the message: servers speak the language of `lc_messages`. Messages are
told only of the errors that name nothing but tables, columns, functions and roles.
"""

import re
from dataclasses import dataclass

from perfwright.analysis.masking.sql_values import masked

SHOWN_CHARACTERS = 200
TIMEOUT_SHARE = 0.9
"""A cancelled statement that ran for this share of its timeout ran into it: `57014` also stands for a cancellation by somebody."""


@dataclass(frozen=True)
class ServerError:
    """An error as the server sent it."""

    sqlstate: str
    message: str
    position: int | None = None
    """Character in the text that was sent, from 1."""


@dataclass(frozen=True)
class Attempt:
    """What was tried when it came."""

    elapsed_s: float
    statement_timeout_s: float
    lock_timeout_s: float
    text: str
    """The statement itself."""
    sent_before: int = 0
    """Characters that were sent before it."""
    search_path: str = ""
    mask_literals: bool = False
    """A name may come from a value: `'orders'::regclass`. Told are only names that the statement has outside of values."""


NAMING = {
    "42501": "permission denied",
    "42P01": "missing relation",
    "42703": "missing column",
    "42883": "missing function or operator",
    "3F000": "missing schema",
    "42704": "missing type or other object",
}
"""Errors whose message has names of objects and no values."""
ALONG_SEARCH_PATH = ("42P01", "42883", "42704")
PLAIN = {
    "55P03": "lock_timeout of {lock:g} s hit: another session holds a lock that it needs",
    "40P01": "it was chosen as the victim of a deadlock with another session",
    "40001": "it was cancelled by a conflict: with another session, or with what a standby replays",
    "25006": "the server refuses it where nothing may be written",
    "42P02": "a placeholder has no value",
    "42P18": "the type of a placeholder cannot be told without its value",
    "42725": "a function or operator cannot be chosen without the types of the values",
    "42804": "the types of the values do not fit",
    "0A000": "the server does not support it",
    "53100": "the server's disk is full",
    "53200": "the server is out of memory",
    "53400": "it went over a limit of the server (temp_file_limit)",
    "54001": "it is too complex for the server (stack depth)",
    "26000": "its prepared statement was gone: a pooler gave us another server connection",
}
_NAME = re.compile(r'"(?:[^"]|"")*"|[^\W\d][\w$]*')
_QUOTED = re.compile(r"[\"«„“`']([^\"»“”`'\s]+)[\"»“”`']|(?<![\w.])([^\W\d]\w*)\(")
ENDING = ("57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "25P04")
BY_CLASS = {
    "22": "a value does not fit its type or operation",
    "23": "it breaks a constraint with these values",
    "25": "the server refuses it in this transaction",
    "42": "the server refuses its text",
    "53": "the server lacks resources",
    "54": "it goes over a limit of the server",
    "57": "an administrator intervened",
    "58": "the server has trouble with its files",
    "P0": "a function raised an error",
    "XX": "the server reported an internal error",
}


def ends_connection(sqlstate: str) -> bool:
    """Whether the server closes the connection with this error: shutdown, crash, administrator, its own timeouts of sessions."""
    return sqlstate in ENDING or sqlstate.startswith("08")


def reason_of(error: ServerError, attempt: Attempt) -> str:
    """One line without values of the statement."""
    if error.sqlstate == "57014":
        if attempt.elapsed_s >= TIMEOUT_SHARE * attempt.statement_timeout_s:
            return f"statement_timeout of {attempt.statement_timeout_s:g} s hit"
        return f"cancelled by another session or the server after {attempt.elapsed_s:.1f} s"
    if error.sqlstate == "42601":
        return _syntax(error, attempt)
    if plain := PLAIN.get(error.sqlstate):
        return plain.format(lock=attempt.lock_timeout_s) + f" ({error.sqlstate})"
    if title := NAMING.get(error.sqlstate):
        message = " ".join(error.message.split())[:SHOWN_CHARACTERS]
        if attempt.mask_literals:
            message = ", ".join(_names_outside_values(message, attempt.text)) or error.sqlstate
        where = f" (search_path {attempt.search_path})" if attempt.search_path and error.sqlstate in ALONG_SEARCH_PATH else ""
        return f"{title}: {message}{where}"
    return f"{BY_CLASS.get(error.sqlstate[:2], 'the server refused it')} ({error.sqlstate})"


def _names_outside_values(message: str, text: str) -> list[str]:
    """Names in the message that the statement has as such, in their order; the words of the server's language around them are left out."""
    names = {name.strip('"').casefold() for name in _NAME.findall(masked(text))}
    told = [name for found in _QUOTED.finditer(message) for name in (found[1] or found[2]).split(".")]
    return list(dict.fromkeys(name for name in told if name.casefold() in names))


def _syntax(error: ServerError, attempt: Attempt) -> str:
    """A syntax error is told by its place: the words around it may be values. At the end of the text, or at a quote that is never closed,
    it was cut."""
    if error.position is None:
        return "syntax error"
    place = error.position - attempt.sent_before
    left = attempt.text[max(0, place - 1) :].rstrip()
    if not left or (left[0] in "'\"" and left.count(left[0]) % 2):
        return "its text is cut: the server keeps track_activity_query_size bytes of it"
    return f"syntax error at character {max(1, place)}"
