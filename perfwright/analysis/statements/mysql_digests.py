"""Statements of MySQL and MariaDB, as performance_schema and the slow log have them: read by tokens, there is no grammar of theirs here.

performance_schema writes every value as `?`, every name in backticks and a space around each token, and cuts the text at
max_digest_length (dev.mysql.com/doc/refman/8.4/en/performance-schema-statement-digests.html). What a statement may do is told by the same
rule as for PostgreSQL: words and functions that are known to be harmless, and nothing else.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

from perfwright.analysis.masking.sql_values import MAX_CHARACTERS
from perfwright.analysis.statements.merging import Merged
from perfwright.analysis.statements.parsing import first_word_kind
from perfwright.analysis.statements.safety import Judgement, worst
from perfwright.analysis.statements.samples import choose_samples
from perfwright.analysis.statements.server_names import name_set
from perfwright.models.database import Catalog
from perfwright.models.statement import STATEMENT_CHARACTERS, Statement, StatementKind, StatementSample

_TOKEN = re.compile(
    r"""
    (?P<name>`(?:[^`]|``)*`)
    | (?P<string>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*")
    | (?P<code>/\*M?!)
    | (?P<comment>/\*.*?\*/|--(?=[\s])[^\n]*|\#[^\n]*)
    | (?P<word>[A-Za-z_$\x80-\U0010ffff][\w$]*)
    | (?P<number>\d[\w.]*)
    | (?P<other>:=|\S)
    """,
    re.VERBOSE | re.DOTALL,
)
_BEFORE_TABLE = frozenset({"from", "join", "straight_join", "update", "into"})
_AFTER_TABLES = name_set(
    "where set values value select group order having limit on using union straight_join join left right inner cross natural"
)
_NOT_IN_A_READ = name_set(
    """
    into outfile dumpfile procedure insert update delete merge truncate create drop alter grant revoke call do handler load lock unlock
    set execute prepare deallocate kill flush reset shutdown install uninstall analyze optimize repair nextval lastval setval next
    previous
    """
)
"""Words that no plain SELECT has outside of quotes; `next` is MariaDB's NEXT VALUE FOR."""
_HARMLESS = name_set(
    """
    count sum avg min max std stddev stddev_pop stddev_samp var_pop var_samp variance group_concat json_arrayagg json_objectagg bit_and
    bit_or bit_xor any_value abs ceil ceiling floor round truncate sign mod pow power sqrt exp ln log log2 log10 rand sin cos tan pi
    greatest least coalesce ifnull nullif if isnull concat concat_ws substring substr substring_index left right mid length char_length
    character_length octet_length lower upper lcase ucase trim ltrim rtrim lpad rpad replace reverse repeat locate instr position
    find_in_set field elt ascii hex unhex md5 sha1 sha2 crc32 format now current_timestamp current_date current_time curdate curtime
    sysdate utc_timestamp utc_date utc_time localtime localtimestamp date time year month day hour minute second microsecond week
    weekday dayofweek dayofmonth dayofyear quarter monthname dayname last_day date_add date_sub adddate subdate datediff timediff
    timestampdiff timestampadd date_format time_format str_to_date from_unixtime unix_timestamp to_days from_days makedate maketime
    extract cast convert char binary interval json_extract json_unquote json_value json_contains json_length json_keys json_object
    json_array json_type json_valid row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value nth_value
    uuid version database schema user current_user inet_aton inet_ntoa regexp_like regexp_replace regexp_substr regexp_instr st_distance
    st_contains st_within st_x st_y match against soundex strcmp values value in exists any some all and or not as on using select from
    where join having by then else when case between over partition order distinct union except intersect with recursive limit offset
    like rlike regexp varchar decimal numeric signed unsigned datetime
    """
)
"""Functions, and words of the language that may stand before a parenthesis."""


def kind_of(text: str) -> StatementKind:
    """By the first word."""
    return first_word_kind(text)


def tables_of(text: str) -> tuple[str, ...]:
    """Names behind FROM, JOIN, UPDATE and INTO, with schema where it is written; at most 50."""
    tokens = list(_tokens(text))
    found: dict[str, None] = {}
    at = 0
    while at < len(tokens) and len(found) < 50:
        kind, word = tokens[at]
        at += 1
        if kind != "word" or word.lower() not in _BEFORE_TABLE:
            continue
        while at < len(tokens):
            name, at = _table_name(tokens, at)
            if not name:
                break
            found[name] = None
            # To the comma behind it, over an alias.
            while (
                at < len(tokens)
                and tokens[at][1] != ","
                and tokens[at][0] in ("word", "name")
                and tokens[at][1].lower() not in _AFTER_TABLES
            ):
                at += 1
            if word.lower() != "from" or at >= len(tokens) or tokens[at][1] != ",":
                break
            at += 1
    return tuple(found)


def judge(text: str, catalog: Catalog | None) -> Judgement:
    """What executing it may do. `reads only` needs known functions, and tables (not views) of the catalog."""
    if len(text) > MAX_CHARACTERS or "\0" in text or "..." in text:
        return Judgement("never", "its text is cut or cannot be read")
    kind = kind_of(text)
    if kind in ("utility", "unknown"):
        return Judgement("never", "it is no query")
    tokens = list(_tokens(text))
    words = [word.lower() for one, word in tokens if one == "word"]
    if any(one == "code" for one, _ in tokens):
        return Judgement("never", "it has a comment that is executed")
    if any(word == ";" for _, word in tokens[:-1]):
        return Judgement("never", "several statements in one text")
    if any(one == "string" and "\\" in word for one, word in tokens):
        return Judgement("never", "a backslash in a string: what it means depends on the session's sql_mode")
    calls = [(one, word) for (one, word), (_, after) in pairwise(tokens) if after == "(" and one in ("word", "name", "string")]
    unknown = next((word for one, word in calls if one != "word" or word.lower() not in _HARMLESS), "")
    if kind != "select":
        return (
            Judgement("volatile", f"calls {unknown}, which is not known")
            if unknown and kind != "insert"
            else Judgement("writes", "it writes")
        )
    if any(pair in (("for", "update"), ("for", "share"), ("lock", "in")) for pair in pairwise(words)):
        return Judgement("locks", "it locks rows")
    if word := next((word for word in words if word in _NOT_IN_A_READ), "") or next(
        (word for _, word in tokens if word in ("@", ":=")), ""
    ):
        return Judgement("volatile", f"it has {word}, so it may do more than reading")
    if unknown:
        return Judgement("volatile", f"calls {unknown}, which is not known")
    if catalog is None:
        return Judgement("volatile", "the catalog was not read: views and functions cannot be vetted")
    known = {table.name for table in catalog.tables} | {f"{table.schema_name}.{table.name}" for table in catalog.tables}
    if name := next((name for name in tables_of(text) if name not in known), ""):
        return Judgement("volatile", f"{name} is no table of the catalog: what reading it does is not known")
    return Judgement("reads only")


def finished(merged: Merged, share: float, catalog: Catalog | None) -> Statement:
    """The `Statement` of what was merged. A digest's `?` cannot be explained: that takes a call with its values."""
    plain = merged.statement(share)
    kind = kind_of(merged.text)
    samples = choose_samples(one for one in merged.samples if not one.parameters and len(one.text) <= MAX_CHARACTERS)
    if not samples and "?" not in merged.text and merged.text and merged.sources:
        samples = (StatementSample(text=merged.text, source=next(iter(merged.sources)), note="it has no values"),)
    judgement = worst([judge(merged.text, catalog), *(judge(one.text, catalog) for one in samples)])
    reason = merged.unreadable
    if not reason and kind in ("utility", "unknown"):
        reason = "it is no query"
    if not reason and not samples:
        reason = "no call with its values was seen"
    decided = {"text": plain.text[:STATEMENT_CHARACTERS], "kind": kind, "safety": judgement.safety, "safety_reason": judgement.reason}
    return plain.model_copy(update=decided | {"samples": samples, "not_explainable": reason})


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    for found in _TOKEN.finditer(text[:MAX_CHARACTERS]):
        if found.lastgroup != "comment":
            yield found.lastgroup or "other", found.group()


def _table_name(tokens: list[tuple[str, str]], at: int) -> tuple[str, int]:
    parts: list[str] = []
    while at < len(tokens):
        kind, word = tokens[at]
        if kind not in ("word", "name") or (kind == "word" and word.lower() in _AFTER_TABLES):
            break
        parts.append(word[1:-1].replace("``", "`") if kind == "name" else word)
        at += 1
        if at >= len(tokens) or tokens[at][1] != ".":
            break
        at += 1
    return ".".join(parts), at
