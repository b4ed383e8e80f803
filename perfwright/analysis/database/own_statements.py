"""Statements of our own are marked, so that people, and our own counters, tell them from the application's.

The mark stands in front, where people look for it in logs and pg_stat_activity, and again behind the first word: PostgreSQL 18 cuts
comments in front off the texts of pg_stat_statements.
"""

import re

MARK = "/* perfwright */"
_FIRST_WORD = re.compile(r"\s*([A-Za-z]+)")
_LOOKED_AT = 64
_SHARED = frozenset({"BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE", "SET", "RESET"})
"""Since PostgreSQL 16 these share one entry with the application's own, whose text is that of whoever came first: with a mark of ours
the application's commits would be taken for ours."""


def marked(text: str) -> str:
    """The statement with the marks; transaction control and SET as they are."""
    if (first := _FIRST_WORD.match(text)) is None or first[1].upper() in _SHARED:
        return text
    return f"{MARK} {first[1]} {MARK}{text[first.end() :]}"


def is_own(text: str) -> bool:
    """Whether a statement, as the server shows it, is one of ours."""
    return MARK in text[:_LOOKED_AT]
