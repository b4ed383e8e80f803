"""How long the values of index columns can be, by their types, and how long they are: read where a whole scan hurts nobody, on a clone."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from activities.index_given import Given
from perfwright.analysis.indexes.definitions import IndexDefinition
from perfwright.analysis.indexes.entry_sizes import UNKNOWN, ValueSize, ValueSizes, entry_risk, parts_of
from perfwright.analysis.query_advice.identifiers import quoted

if TYPE_CHECKING:
    import asyncpg

Table = tuple[str, str]
"""Schema and name."""
SHORT_BYTES = 64
"""Values that cannot be longer are not measured."""
_BOUNDS = """
SELECT n.nspname::text AS schema_name, c.relname::text AS table_name, a.attname::text AS name,
       CASE WHEN b.typlen > 0 THEN b.typlen::int
            WHEN b.typname IN ('varchar', 'bpchar') AND m.modifier > 4
                 THEN (m.modifier - 4) * pg_catalog.pg_encoding_max_length(d.encoding) + 4
            WHEN b.typname IN ('bit', 'varbit') AND m.modifier > 0 THEN m.modifier / 8 + 9
            WHEN b.typname IN ('inet', 'cidr') THEN 22
            -- A number without a precision may have 131,072 digits, and nobody has as many as these bytes hold: 700.
            WHEN b.typname = 'numeric' THEN CASE WHEN m.modifier > 4 THEN ((m.modifier - 4) >> 16 & 65535) / 2 + 12 ELSE 360 END
       END AS most_bytes,
       b.typname <> 'bpchar' AS grows
  FROM unnest($1::text[], $2::text[], $3::text[]) AS w (schema_name, table_name, name)
  JOIN pg_catalog.pg_namespace n ON n.nspname = w.schema_name
  JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = w.table_name
  JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = w.name AND NOT a.attisdropped
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
  JOIN pg_catalog.pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
 CROSS JOIN LATERAL (SELECT CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END AS modifier) m
 CROSS JOIN (SELECT encoding FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) d
"""
"""What is padded (`bpchar`) is as long as its type says, however short it is as a text."""


async def value_sizes(connection: "asyncpg.Connection", definitions: Iterable[IndexDefinition], limit_s: float) -> ValueSizes:
    """Of what their rows hold: bounds of all, and the longest value where those do not suffice, within so many seconds for all tables.
    0: nothing is measured."""
    wanted = list(definitions)
    columns = sorted({(*_table(one), part) for one in wanted if not one.expression for part in parts_of(one)})
    rows = await connection.fetch(_BOUNDS, *([one[place] for one in columns] for place in range(3)))
    sizes = {(row["schema_name"], row["table_name"], row["name"]): ValueSize(row["most_bytes"]) for row in rows}
    padded = {(row["schema_name"], row["table_name"], row["name"]) for row in rows if not row["grows"]}
    for one in wanted:
        if one.expression:
            sizes[*_table(one), one.expression] = ValueSize(await _fixed_bytes(connection, _table(one), one.expression))
    unclear: dict[Table, dict[str, str]] = {}
    for one in wanted:
        if entry_risk(one, sizes) is None:
            continue
        for part in parts_of(one):
            most = sizes.get((*_table(one), part), UNKNOWN).most_bytes
            if (*_table(one), part) not in padded and (most is None or most > SHORT_BYTES):
                unclear.setdefault(_table(one), {})[part] = part if one.expression else quoted(part)
    until = time.monotonic() + limit_s
    for table, parts in sorted(unclear.items()):
        for part, longest in (await _longest(connection, table, parts, until - time.monotonic())).items():
            sizes[*table, part] = replace(sizes.get((*table, part), UNKNOWN), longest_bytes=longest)
    return sizes


async def without_risky(given: Given, connection: "asyncpg.Connection", limit_s: float) -> Given:
    """Without candidates whose rows have no room for values that are longer than those there are: neither types nor what was measured
    bounds them."""
    sizes = await value_sizes(connection, given.workload.candidates, limit_s)
    left = tuple(one for one in given.workload.candidates if (risk := entry_risk(one, sizes)) is None or risk.fits)
    return replace(given, workload=replace(given.workload, candidates=left))


async def _longest(connection: "asyncpg.Connection", table: Table, parts: Mapping[str, str], limit_s: float) -> Mapping[str, int]:
    """Bytes of the longest value of each part, which is told with its SQL; nothing where that takes too long, or is refused."""
    from asyncpg.exceptions import PostgresError

    if limit_s <= 0:
        return {}
    asked = ", ".join(f"coalesce(max(octet_length(({text})::text)), 0)::bigint" for text in parts.values())
    try:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL statement_timeout = {max(1, round(limit_s * 1000))}")
            row = await connection.fetchrow(f"SELECT {asked} FROM {'.'.join(quoted(one) for one in table)}")  # noqa: S608  # quoted, or ours
    except PostgresError:
        return {}
    assert row is not None, "an aggregate has one row"
    return dict(zip(parts, (int(one) for one in row), strict=True))


async def _fixed_bytes(connection: "asyncpg.Connection", table: Table, expression: str) -> int | None:
    """Of an expression whose type has one size; None for others, and where no row says what type it has."""
    from asyncpg.exceptions import PostgresError

    text = f"SELECT {expression} AS one FROM {'.'.join(quoted(part) for part in table)} LIMIT 1"  # noqa: S608  # quoted, or ours
    try:
        found = await connection.fetchval(
            f"SELECT t.typlen::int FROM ({text}) x JOIN pg_catalog.pg_type t ON t.oid = pg_catalog.pg_typeof(x.one)"  # noqa: S608  # as above
        )
    except PostgresError:
        return None
    return int(found) if found is not None and found > 0 else None


def _table(definition: IndexDefinition) -> Table:
    return definition.schema_name, definition.table_name
