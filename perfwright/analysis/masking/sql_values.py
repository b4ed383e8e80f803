"""Where values stand in SQL, and the text without them: by lexing alone, so that broken, cut and foreign texts are covered as well.

Whether a backslash in quotes escapes depends on settings of the session (`standard_conforming_strings` of PostgreSQL, of MySQL
`NO_BACKSLASH_ESCAPES`), which a text does not tell. Such a text is read both ways, and shown is only what stands outside of values in both.
What is opened and never closed reaches to the end. Comments are left out: anything may stand in them.

Sources: PostgreSQL 18 documentation, 4.1 "Lexical Structure"; MySQL 8.4 reference manual, 11.1 "Literal Values" and 11.7 "Comments".
"""

import re
from collections.abc import Callable
from typing import Literal

MAX_CHARACTERS = 100_000
"""As much as artifacts keep of a text."""
Dialect = Literal["postgresql", "mysql"]
_NUMBER = r"(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:[eE][+-]?\d+)?\w*"
_PLAIN, _ESCAPED = r"'(?:[^']|'')*(?:'|\Z)", r"'(?:[^'\\]|\\.|'')*(?:'|\\?\Z)"
_POSTGRESQL = r"""
      (?P<comment>--[^\n\r]*|/\*)
    | (?P<value>[eE]{escaped}|[uU]&{plain}|[bBxXnN]?{string}
        |\$(?P<tag>[^\W\d]\w*|)\$.*?(?:\$(?P=tag)\$|\Z)
        |{number})
    | (?P<quoted>(?:[uU]&)?"(?:[^"]|"")*")
    | (?P<open>"(?:[^"]|"")*\Z)
    | (?P<kept>\$\d+|[^\W\d][\w$]*)
"""
_MYSQL = r"""
      (?P<comment>/\*.*?(?:\*/|\Z)|--(?=[\s\x00-\x20]|\Z)[^\n]*|\#[^\n]*)
    | (?P<value>[nNxXbB]?{string}|"{inside}(?:"|\\?\Z)|\\N|{number})
    | (?P<kept>`(?:[^`]|``)*`)
    | (?P<open>`(?:[^`]|``)*\Z)
    | (?P<word>[^\W\d][\w$]*)
"""
_INSIDE = {True: r'(?:[^"\\]|\\.|"")*', False: r'(?:[^"]|"")*'}


def _tokens(dialect: Dialect, *, escapes: bool) -> re.Pattern[str]:
    pattern = _POSTGRESQL if dialect == "postgresql" else _MYSQL
    parts = {"number": _NUMBER, "plain": _PLAIN, "escaped": _ESCAPED, "inside": _INSIDE[escapes]}
    parts["string"] = _ESCAPED if escapes else _PLAIN
    for name, part in parts.items():
        pattern = pattern.replace("{" + name + "}", part)
    return re.compile(pattern, re.VERBOSE | re.DOTALL)


_READINGS: dict[Dialect, tuple[re.Pattern[str], re.Pattern[str]]] = {
    dialect: (_tokens(dialect, escapes=False), _tokens(dialect, escapes=True)) for dialect in ("postgresql", "mysql")
}
_COMMENT_ENDS = re.compile(r"/\*|\*/")
_SHOWN, _COMMENT, _VALUE = 0, 1, 2
_RUNS = re.compile(rb"\x00+|[\x01\x02]+")


def masked(text: str, dialect: Dialect = "postgresql", *, quoted_names: bool = True) -> str:
    """The text with `?` for every value and without comments: shown, never sent to a server. NUL and lone surrogates are replaced.

    `quoted_names`: what stands in PostgreSQL's double quotes is shown. Of a text that its parser refuses it may be a value as well.
    """
    return replaced(text, dialect, lambda _: "?", quoted_names=quoted_names)


def replaced(text: str, dialect: Dialect, put: Callable[[str], str], *, quoted_names: bool = True) -> str:
    """The text with `put(value)` for each value, as it was written, and a space for each comment."""
    readable = text[:MAX_CHARACTERS].replace("\0", " ").encode(errors="replace").decode()
    plain, escaped = _READINGS[dialect]
    kinds = _kinds(readable, plain, quoted_names=quoted_names)
    if "\\" in readable:
        kinds = bytes(map(max, kinds, _kinds(readable, escaped, quoted_names=quoted_names)))
    shown: list[str] = []
    for found in _RUNS.finditer(kinds):
        part = readable[found.start() : found.end()]
        shown.append(part if kinds[found.start()] == _SHOWN else put(part) if _VALUE in found.group() else " ")
    return "".join(shown)


def _kinds(text: str, tokens: re.Pattern[str], *, quoted_names: bool) -> bytes:
    """For each character, what it belongs to in one reading."""
    kinds = bytearray(len(text))
    at = 0
    while found := tokens.search(text, at):
        begin, at, kind = found.start(), found.end(), found.lastgroup if found.lastgroup != "tag" else "value"
        if kind == "comment":
            at = _end_of_comment(text, begin) if found.group() == "/*" else at
            kinds[begin:at] = bytes([_COMMENT]) * (at - begin)
        elif kind in ("value", "open") or (kind == "quoted" and not quoted_names):
            kinds[begin:at] = bytes([_VALUE]) * (at - begin)
    return bytes(kinds)


def _end_of_comment(text: str, begin: int) -> int:
    """PostgreSQL's comments nest."""
    depth = 0
    for found in _COMMENT_ENDS.finditer(text, begin):
        depth += 1 if found.group() == "/*" else -1
        if not depth:
            return found.end()
    return len(text)
