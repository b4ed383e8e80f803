"""Which expressions an index may hold, and which patterns a trigram index can look up.

An index expression must be immutable: the same arguments give the same result for ever (documentation, 11.7 and 38.7). Casts of
`timestamp with time zone` to a date depend on the session's time zone, `to_char` on its locale. Only what is known to be immutable is
taken: the catalog does not say it of user functions.
"""

import re
from itertools import pairwise

from perfwright.analysis.query_advice.operands import Operand, scan, unquoted
from perfwright.models.database import TableFacts

_IMMUTABLE = """lower upper initcap length char_length character_length octet_length abs md5 btrim ltrim rtrim trim substr substring left
    right replace reverse round floor ceil ceiling trunc mod coalesce nullif date_trunc date_part extract date split_part strpos translate
    sign sqrt"""
IMMUTABLE = frozenset(_IMMUTABLE.split())
"""Built-in functions that are immutable for strings, numbers, and dates without time zone (pg_proc.provolatile = 'i')."""
_ZONED = ("timestamp with time zone", "time with time zone")
_FREE = re.compile(r"\[[^]]*\]|\\.|\([^)]*\)|.[*?{]|[\d,]*\}|[.^$+]")
"""Of a regular expression: classes, escapes, groups, and a character that may be missing."""
_MASKED = ("?", "%?", "_?", "^?")
_TRIGRAM = re.compile(r"[^\W_]{3,}")


def indexable_expression(side: Operand, table: TableFacts) -> str:
    """The key as it stands in the DDL, in parentheses; empty when it may not be indexed. Columns must be the table's own."""
    if not side.columns or any(use.alias for use in side.columns) or side.subplan:
        return ""
    types = [facts.type for use in side.columns if (facts := table.column(use.name))]
    if len(types) < len(side.columns):
        return ""
    tokens = tuple(scan(side.text))
    called = {unquoted(token).lower() for token, after in pairwise(tokens) if token.kind in ("word", "quoted") and after.text == "("}
    called -= {"and", "or", "not", "in", "any", "numeric", "character", "varying", "varchar", "timestamp", "decimal", "bit"}
    if "::regconfig" in side.text:
        called -= {"to_tsvector"}  # Immutable where the configuration is given (documentation, 12.2.2 "Creating Indexes").
    if not called <= IMMUTABLE or any(token.kind == "param" for token in tokens):
        return ""
    if "with time zone" in side.text or any(kind.startswith(zone) for kind in types for zone in _ZONED):
        return ""
    return f"({side.text})"


def prefix_pattern(text: str, *, regular: bool = False) -> bool:
    """A constant pattern with a beginning that a btree can look up: `'abc%'`, or of regular expressions `'^abc'`."""
    if regular:
        return re.match(r"'\^(?:[\w\s@/-](?![*?{])|\?')", text) is not None and "|" not in text
    return text.startswith("'") and len(text) > 2 and text[1] not in "%_'"


def searched_by_gin(side: Operand) -> bool:
    """An expression whose type has an operator class for GIN by default: a text search vector, a member of a JSON document."""
    return side.function == "to_tsvector" or ("->" in side.text and "->>" not in side.text)


def trigram_pattern(text: str, *, regular: bool = False) -> bool:
    """A pattern with three letters or digits in a row: fewer give no trigram (documentation, F.35 pg_trgm). `regular`: a regular
    expression, of which only what must be there letter by letter counts."""
    if not text.startswith("'"):
        return False
    pattern = text[1:].rpartition("'")[0]
    if pattern in _MASKED:
        return True  # What it looks for is not to be seen; fewer than three letters are rare.
    if regular:
        if "|" in pattern:
            return False
        fixed = _FREE.sub(" ", pattern)
        return bool(_TRIGRAM.search(fixed))
    return any(_TRIGRAM.search(part) for part in re.split(r"[%_]", pattern))
