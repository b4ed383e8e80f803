"""Statements as they may be shown where literals are masked."""

import re

from perfwright.analysis.masking.sql_values import Dialect, masked, replaced
from perfwright.analysis.mysql import shapes
from perfwright.analysis.statements.parsing import normalized_text, utility_word
from perfwright.models.database import DatabaseSystem

_LONG_NUMBER = re.compile(r"[.\d]{4,}")
"""What the parser leaves of numbers are positions (ORDER BY 1) and lengths of types, which it would not read without."""


def dialect_of(system: DatabaseSystem) -> Dialect:
    return "postgresql" if system == "postgresql" else "mysql"


def shown_statement(text: str, system: DatabaseSystem) -> str:
    """The statement without values and comments. Where PostgreSQL's parser can read it values are `$n`, so that it can be planned."""
    if system != "postgresql":
        return shapes.masked(text)
    normal = normalized_text(text)
    if not normal:
        return masked(text, quoted_names=False)
    if utility_word(normal):
        return masked(normal)
    left: list[str] = []

    def keep(value: str) -> str:
        left.append(value)
        return value

    shown = replaced(normal, "postgresql", keep)
    return masked(normal) if any(not value.isdigit() or _LONG_NUMBER.search(value) for value in left) else shown
