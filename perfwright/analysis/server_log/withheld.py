"""Statements that may hold a password or a connection string: never kept as they were written."""

import re

from perfwright.analysis.server_log.literals import without_strings

_SECRET_UTILITY = re.compile(
    r"passw|\b(?:role|user|group|mapping|subscription|server|dblink\w*|connection|authorization|secret|credential|token|api_?key)\b",
    re.IGNORECASE,
)
_SECRET_DATA = re.compile(
    r"""\bdblink|\bpassw(?:or)?d["']?\s*(?::=|=>|=|e?'|\$)|\bconnection\s+e?'|\b\w{1,20}://[^\s/:@'"]*:[^\s@'"]+@"""
    r"|;\s*(?:create|alter)\s+(?:role|user|group|server|subscription)\b",
    re.IGNORECASE,
)
_WORDS = re.compile(r"[A-Za-z_]+")


def holds_secret(text: str) -> bool:
    """Whether a text (statement, parameters, plan) looks as if it held a connection string or a password."""
    lowered = text.lower()
    # One of these is in every text that the expression fits; looking for them first is ten times as fast.
    if "passw" in lowered or "dblink" in lowered or "connection" in lowered or "://" in lowered or ";" in lowered:
        return _SECRET_DATA.search(text) is not None
    return False


def shown_utility(text: str) -> str:
    """A utility statement (or what is no SQL) as it may be kept: without strings, or only its first word where it may hold a secret."""
    if _SECRET_UTILITY.search(text) is None:
        return without_strings(text)
    first = _WORDS.search(text)
    return f"{first[0].upper() if first else 'Statement'} (the rest is left out: it may hold a password or connection string)"
