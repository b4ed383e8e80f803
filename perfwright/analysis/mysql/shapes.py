"""The shape of a MySQL statement: values out, and one name for what the slow log and performance_schema write differently.

A digest's text has every value as `?`, names in backticks, lists cut to `...` (MySQL 8.4 reference manual, 29.10 "Performance Schema
Statement Digests and Sampling"). The digest itself cannot be computed from a statement's text outside of the server, so both texts are
brought into one form, and that form is named.
"""

import re
from hashlib import blake2b

from perfwright.analysis.masking import sql_values

_TOKEN = re.compile(
    r"""
      (?P<comment>/\*.*?(?:\*/|\Z)|--(?=\s)[^\n]*|\#[^\n]*)
    | (?P<value>(?:[nN]|[xX]|[bB]|_[a-z]\w*\s*)?'(?:[^'\\]|\\.|'')*(?:'|\Z)|"(?:[^"\\]|\\.|"")*(?:"|\Z)
        |\b0x[0-9a-fA-F]+\b|(?<![\w$`])\d+(?:\.\d*)?(?:[eE][+-]?\d+)?\b|(?<![\w$`.])\.\d+|\?)
    | (?P<name>`(?:[^`]|``)*`)
    | (?P<dots>\.\.\.)
    | (?P<word>[A-Za-z_$@\x80-\U0010ffff][\w$]*|\d\w*)
    | (?P<other><=>|<>|!=|<=|>=|:=|\|\||&&|<<|>>|\S)
    """,
    re.VERBOSE | re.DOTALL,
)
_SAME = {"<>": "!=", "&&": "and", "||": "or"}
_BEFORE_SIGN = frozenset("(,=<>+-*/%") | {
    "<=",
    ">=",
    "!=",
    "and",
    "or",
    "where",
    "between",
    "in",
    "limit",
    "then",
    "else",
    "select",
    "values",
}
SHAPE_CHARACTERS = 100_000


def masked(text: str) -> str:
    """The statement with `?` for every value, comments left out, on one line: what may be shown."""
    return " ".join(sql_values.masked(text, "mysql").split()).rstrip("; ")


def shape(text: str) -> str:
    """One text for all statements that differ in values, spaces, quotes of names, case, or the length of lists."""
    tokens: list[str] = []
    for found in _TOKEN.finditer(text[:SHAPE_CHARACTERS]):
        kind, word = found.lastgroup, found.group()
        if kind == "comment":
            continue
        token = "?" if kind in ("value", "dots") else word[1:-1] if kind == "name" else word
        token = _SAME.get(token, token).lower().removeprefix("sql_tsi_")
        if token == "?":  # noqa: S105  # a part of SQL
            if len(tokens) > 1 and tokens[-1] in "+-" and tokens[-2] in _BEFORE_SIGN:
                tokens.pop()
            if len(tokens) > 1 and tokens[-1] == "," and tokens[-2] == "?":
                tokens.pop()
                continue
            if tokens and tokens[-1] == "?":
                continue
        tokens.append(token)
        # Rows of VALUES: (?), (?), ... is one.
        if tokens[-7:] == ["(", "?", ")", ",", "(", "?", ")"]:
            del tokens[-4:]
    while tokens and tokens[-1] == ";":
        tokens.pop()
    return " ".join(tokens)


def fingerprint(text: str) -> str:
    """Sixteen hex digits of the statement's shape."""
    return blake2b(shape(text).encode("utf-8", "replace"), digest_size=8).hexdigest()
