"""Statements of our own are marked, so that people, and our own counters, tell them from the application's.

The mark stands in front, where people look for it in logs and pg_stat_activity, and again behind the first word: PostgreSQL 18 cuts
comments in front off the texts of pg_stat_statements.

Comments are not enough for pg_stat_statements: it keeps the text of whoever came first with a query id, and the id leaves comments out. So
our queries of PostgreSQL also carry a name of ours in what the id is made of, a WITH that nothing reads and that costs nothing: they share
no entry with anybody's, and no entry can hold them under another text. (`JumbleQuery` takes `ctename` in all versions from 13 on.)
"""

import re

MARK = "/* perfwright */"
NAME = "perfwright_own"
_NAMED = f"WITH {NAME} AS (SELECT)"
_FIRST_WORD = re.compile(r"\s*([A-Za-z]+)")
_LOOKED_AT = 64
_SHARED = frozenset({"BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SAVEPOINT", "RELEASE", "SET", "RESET"})
"""Since PostgreSQL 16 these share one entry with the application's own, whose text is that of whoever came first: with a mark of ours
the application's commits would be taken for ours."""
_COMMENT = r"/\*(?:[^*]|\*(?!/))*\*/"
_PREPARED = re.compile(
    rf'(?:\s|{_COMMENT})*PREPARE(?:\s|{_COMMENT})+(?:"(?:[^"]|"")*"|\w+)\s*(?:\((?:[^()]|\([^()]*\))*\)\s*)?AS\s+(?=\S)', re.IGNORECASE
)


def marked(text: str) -> str:
    """The statement with the marks; transaction control and SET as they are."""
    if (first := _FIRST_WORD.match(text)) is None or first[1].upper() in _SHARED:
        return text
    return f"{MARK} {first[1]} {MARK}{text[first.end() :]}"


def named(text: str) -> str:
    """The statement of PostgreSQL with the marks; a query with our name in its tree as well."""
    first = _FIRST_WORD.match(text)
    return f"{MARK} {_NAMED} {text.lstrip()}" if first and first[1].upper() == "SELECT" else marked(text)


def is_own(text: str) -> bool:
    """Whether a statement, as the server or its log shows it, is one of ours."""
    return MARK in text[:_LOOKED_AT] or _NAMED in text[:_LOOKED_AT]


def counted_text(text: str) -> str:
    """What an entry of pg_stat_statements counts: of a statement that was first prepared by SQL its text begins with that PREPARE, whoever
    executes it since, and we prepare the application's statements to explain them."""
    return text[found.end() :] if (found := _PREPARED.match(text)) else text
