"""Cuts a text with several statements at its semicolons."""

import re

from perfwright.analysis.masking.sql_values import MAX_CHARACTERS

MAX_STATEMENTS = 500
"""Of one text; as many as the input may give."""

_TOKEN = re.compile(
    r"""
    [eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)          # string with escapes
    | '(?:[^']|'')*(?:'|\Z)                  # string
    | "(?:[^"]|"")*(?:"|\Z)                  # quoted name
    | \$((?:[A-Za-z_]\w*)?)\$.*?(?:\$\1\$|\Z)  # dollar-quoted string
    | --[^\n]*                               # comment to the end of the line
    | /\*                                    # comment that may hold others
    | ;
    | [A-Za-z_][\w$]*                        # a word: its letters begin no string, its $ no quote
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


def split_statements(text: str) -> tuple[str, ...]:
    """The statements in the text, without semicolons and the space around them; pieces of nothing but comments are left out.

    By the parser, which knows function bodies, where it can read the whole; else by quotes and comments as PostgreSQL nests them
    (documentation, 4.1 Lexical Structure). A text that is not closed runs to the end. At most MAX_STATEMENTS.
    """
    pieces = _by_parser(text) or _by_quotes(text)
    return tuple(piece for one in pieces if (piece := one.strip()) and not _only_comments(piece))[:MAX_STATEMENTS]


def _by_parser(text: str) -> list[str]:
    import pgparse

    if len(text) > MAX_CHARACTERS or "\0" in text or text.count(";") < 1:
        return []
    try:
        statements = pgparse.parse(text)
    except (pgparse.PGQueryError, RecursionError, UnicodeEncodeError):
        return []
    raw = text.encode()
    spans = [(int(one.get("stmt_location", 0)), int(one.get("stmt_len", 0)) or len(raw)) for one in statements]
    return [raw[start : start + length].decode() for start, length in spans]


def _by_quotes(text: str) -> list[str]:
    pieces, begin, at = [], 0, 0
    while found := _TOKEN.search(text, at):
        at = found.end()
        if found.group() == "/*":
            at = _end_of_comment(text, at)
        elif found.group() == ";":
            pieces.append(text[begin : found.start()])
            begin = at
    return [*pieces, text[begin:]]


def _end_of_comment(text: str, at: int) -> int:
    depth = 1
    while depth and (edge := _COMMENT_EDGE.search(text, at)):
        depth += 1 if edge.group() == "/*" else -1
        at = edge.end()
    return len(text) if depth else at


def _only_comments(text: str) -> bool:
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
        elif text.startswith("--", at):
            at = end + 1 if (end := text.find("\n", at)) >= 0 else len(text)
        elif text.startswith("/*", at):
            at = _end_of_comment(text, at + 2)
        else:
            return False
    return True
