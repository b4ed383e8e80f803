"""Whether two queries return the same rows, however often each and in whatever order, without fetching or keeping any of them.

Each row becomes one text, and the texts' 64-bit hashes are added up, with two seeds: sums do not depend on the order, count duplicates, and
take no memory. What differs only in how it is written counts as equal: zeros behind the point of a `numeric`, and the last digits of
floating point, which depend on the order of addition.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from perfwright.analysis.explaining.sql_texts import sendable
from perfwright.analysis.statements.parsing import Unreadable

FLOAT_DIGITS = {"float8": 12, "float4": 5}
"""Significant digits that are compared, of 15 and 6 that always survive (float.h's DBL_DIG and FLT_DIG): sums of thousands of values in
another order differ by less."""
SEEDS = (1, 2)


@dataclass(frozen=True)
class Column:
    """A column of a result."""

    name: str
    type: str
    """With its schema where it is not the server's own: `int4`, `public.mood`."""


@dataclass(frozen=True)
class Bag:
    """A result, whatever its order."""

    rows: int
    hashes: tuple[str, ...]


def bag_sql(query: str, columns: Sequence[Column]) -> str:
    """One row: how many rows the query returns, and the sums of their hashes. `query`: one statement without a semicolon.

    Raises Unreadable for a result without columns.
    """
    if not columns:
        raise Unreadable("it returns no columns")
    names = [f"c{number}" for number in range(1, len(columns) + 1)]
    texts = ", ".join(_text(name, column.type) for name, column in zip(names, columns, strict=True))
    sums = ", ".join(f"pg_catalog.sum(pg_catalog.hashtextextended(r, {seed})::pg_catalog.numeric)" for seed in SEEDS)
    row = f'(ROW({texts})::pg_catalog.text COLLATE pg_catalog."C") AS r'
    # The line break ends a comment at the end of the query.
    return f"SELECT pg_catalog.count(*), {sums} FROM (SELECT {row} FROM ({sendable(query)}\n) AS q ({', '.join(names)})) AS rows"  # noqa: S608


def _text(name: str, type_name: str) -> str:
    if type_name in FLOAT_DIGITS:
        digits = "9." + "9" * (FLOAT_DIGITS[type_name] - 1) + "EEEE"
        special = f"{name} IN ('NaN', 'Infinity', '-Infinity')"
        # Adding zero makes -0 and 0 the same.
        return f"CASE WHEN {special} THEN {name}::pg_catalog.text ELSE pg_catalog.to_char({name} + 0, '{digits}') END"
    if type_name == "numeric":
        return f"pg_catalog.trim_scale({name})::pg_catalog.text"
    return f"{name}::pg_catalog.text"
