"""Tables with their columns, indexes and keys, as a `Catalog`: a few statements over information_schema, all of them bounded."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from activities.artifacts import ArtifactStore
from activities.errors import refuse
from activities.mysql_connection import MysqlSession, connected, connection_parameters
from perfwright.analysis.masking.documents import masked_catalog
from perfwright.analysis.statements.stored import MEDIA_TYPE, DocumentTooLarge, encode
from perfwright.models.database import Catalog, ColumnFacts, ForeignKeyFacts, IndexFacts, TableFacts
from perfwright.models.errors import ErrorType
from perfwright.models.query_steps import CatalogRead, ReadCatalog

TABLES_MOST, COLUMNS_MOST, INDEX_COLUMNS_MOST, KEYS_MOST, VIEWS_MOST = 2_000, 20_000, 20_000, 10_000, 2_000
VIEW_CHARACTERS = 20_000
PAGE_BYTES = 16_384
"""innodb_page_size as it comes."""
_TABLES = f"""
SELECT table_name, table_rows, data_length, index_length, update_time
  FROM information_schema.tables WHERE table_schema = %s AND table_type = 'BASE TABLE'
 ORDER BY data_length DESC, table_name LIMIT {TABLES_MOST}
"""  # noqa: S608  # of constants only, as below
_COLUMNS = f"""
SELECT table_name, column_name, column_type, is_nullable
  FROM information_schema.columns WHERE table_schema = %s ORDER BY table_name, ordinal_position LIMIT {COLUMNS_MOST}
"""  # noqa: S608
_INDEXES = f"""
SELECT table_name, index_name, non_unique, column_name, sub_part, index_type, cardinality, {{expression}}, {{hidden}}
  FROM information_schema.statistics WHERE table_schema = %s
 ORDER BY table_name, index_name, seq_in_index LIMIT {INDEX_COLUMNS_MOST}
"""  # noqa: S608
_KEYS = f"""
SELECT table_name, constraint_name, column_name, referenced_table_schema, referenced_table_name, referenced_column_name
  FROM information_schema.key_column_usage WHERE table_schema = %s AND referenced_table_name IS NOT NULL
 ORDER BY table_name, constraint_name, ordinal_position LIMIT {KEYS_MOST}
"""  # noqa: S608
_VIEWS = f"""
SELECT table_name, left(view_definition, {VIEW_CHARACTERS}) FROM information_schema.views WHERE table_schema = %s LIMIT {VIEWS_MOST}
"""  # noqa: S608
Rows = list[tuple[Any, ...]]


async def read_tables(request: ReadCatalog, environ: Mapping[str, str], artifacts: ArtifactStore) -> CatalogRead:
    """Read the catalog and keep it as an artifact, as `stored.encode` writes it."""
    database = connection_parameters(request.target, environ).database
    async with connected(request.target, environ) as session:
        catalog = await read_catalog_of(session, database)
    if request.mask_literals:
        catalog = masked_catalog(catalog, "mysql")
    try:
        data = await asyncio.to_thread(encode, catalog)
    except DocumentTooLarge as trouble:
        raise refuse(ErrorType.OUTPUT_TOO_LARGE, str(trouble), way_out="Name a target with fewer tables") from None
    stored = await artifacts.put(
        f"{request.artifact_prefix}/catalog.json.gz", data, MEDIA_TYPE, "Tables, columns, indexes and their statistics"
    )
    return CatalogRead(catalog=stored, tables=len(catalog.tables), left_out=catalog.left_out)


async def read_catalog_of(session: MysqlSession, database: str) -> Catalog:
    """The catalog of one database."""
    known = await session.fetch(
        "SELECT lower(column_name) FROM information_schema.columns WHERE table_schema = 'information_schema' AND table_name = 'STATISTICS'"
    )
    has = {str(row[0]) for row in known}
    indexes = _INDEXES.format(
        expression="expression" if "expression" in has else "NULL",
        hidden="ignored = 'YES'" if "ignored" in has else "is_visible = 'NO'" if "is_visible" in has else "0",
    )
    tables = await session.fetch(_TABLES, (database,))
    columns, parts = await session.fetch(_COLUMNS, (database,)), await session.fetch(indexes, (database,))
    keys, views = await session.fetch(_KEYS, (database,)), await session.fetch(_VIEWS, (database,))
    [(count,)] = await session.fetch(
        "SELECT count(*) FROM information_schema.tables WHERE table_schema = %s AND table_type = 'BASE TABLE'", (database,)
    )
    by_table = _by_first(columns), _by_first(parts), _by_first(keys)
    return Catalog(
        database=database,
        search_path=(database,),
        tables=tuple(_table(database, row, *(one[str(row[0])] for one in by_table)) for row in tables),
        views={f"{database}.{name}": str(definition or "") for name, definition in views},
        left_out=max(0, int(count) - len(tables)),
    )


def _by_first(rows: Rows) -> dict[str, Rows]:
    found: dict[str, Rows] = defaultdict(list)
    for row in rows:
        found[str(row[0])].append(row[1:])
    return found


def _table(database: str, row: tuple[Any, ...], columns: Rows, parts: Rows, keys: Rows) -> TableFacts:
    name, rows, data_bytes, _, _ = row
    foreign = _foreign_keys(database, keys)
    distinct = _distinct(parts)
    return TableFacts(
        schema_name=database,
        name=str(name),
        rows=float(rows if rows is not None else -1),
        bytes=int(data_bytes or 0),
        pages=int(data_bytes or 0) // PAGE_BYTES,
        columns=tuple(
            ColumnFacts(name=str(column), type=str(kind), not_null=nullable == "NO", distinct=distinct.get(str(column)))
            for column, kind, nullable in columns
        ),
        indexes=_indexes(database, str(name), parts, foreign),
        foreign_keys=foreign,
    )


def _distinct(parts: Rows) -> dict[str, float]:
    """Distinct values of columns that an index begins with: its cardinality at the first column."""
    found: dict[str, float] = {}
    seen: set[str] = set()
    for index, _, column, _, _, cardinality, _, _ in parts:
        if index not in seen and column is not None and cardinality is not None:
            found[str(column)] = max(found.get(str(column), 0.0), float(cardinality))
        seen.add(index)
    return found


def _indexes(database: str, table: str, parts: Rows, foreign: tuple[ForeignKeyFacts, ...]) -> tuple[IndexFacts, ...]:
    grouped: dict[str, Rows] = defaultdict(list)
    for index, *rest in parts:
        grouped[str(index)].append(tuple(rest))
    found = []
    for name, members in grouped.items():
        unique = not int(members[0][0])
        keys = tuple(str(column) if column is not None else f"({expression})" for _, column, _, _, _, expression, _ in members)
        written = [
            f"({expression})" if column is None else f"`{column}`" + (f"({sub_part})" if sub_part else "")
            for _, column, sub_part, _, _, expression, _ in members
        ]
        method = str(members[0][3]).lower()
        kind = {"fulltext": "FULLTEXT INDEX", "spatial": "SPATIAL INDEX"}.get(method, "UNIQUE INDEX" if unique else "INDEX")
        what = "PRIMARY KEY" if name == "PRIMARY" else f"{kind} `{name}`"
        found.append(
            IndexFacts(
                name=name,
                definition=f"ALTER TABLE `{database}`.`{table}` ADD {what} ({', '.join(written)})",
                keys=keys,
                method=method,
                unique=unique,
                primary=name == "PRIMARY",
                constraint=unique or any(one.columns == keys[: len(one.columns)] for one in foreign),
                # IGNORED (MariaDB) or INVISIBLE (MySQL): kept up to date, but no plan uses it.
                valid=not any(member[6] for member in members),
            )
        )
    return tuple(found)


def _foreign_keys(database: str, keys: Rows) -> tuple[ForeignKeyFacts, ...]:
    grouped: dict[str, Rows] = defaultdict(list)
    for name, *rest in keys:
        grouped[str(name)].append(tuple(rest))
    return tuple(
        ForeignKeyFacts(
            name=name,
            columns=tuple(str(member[0]) for member in members),
            references_schema=str(members[0][1] or database),
            references_table=str(members[0][2]),
            references_columns=tuple(str(member[3]) for member in members),
        )
        for name, members in grouped.items()
    )
