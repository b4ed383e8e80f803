"""Tables with their columns, indexes, keys and statistics, as a `Catalog`: a handful of statements over the catalogs, all of them bounded.

Sizes and definitions ask for a lock that ALTER TABLE would hold. Of tables that somebody has locked so, the planner's page counts and the
names of index columns are told instead: it must not look as if they had no index.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from activities.artifacts import ArtifactStore
from activities.errors import refuse
from activities.postgres_catalog_queries import (
    COLUMNS,
    EXTENDED_STATISTICS,
    FOREIGN_KEYS,
    FUNCTIONS,
    INDEX_NAMES,
    INDEXES,
    LOCKED,
    SIZES,
    TABLES,
    VIEWS,
)
from activities.postgres_connection import STATEMENT_S, connected, reading
from perfwright.analysis.database.functions import HARMLESS
from perfwright.analysis.masking.documents import masked_catalog
from perfwright.analysis.statements.stored import MEDIA_TYPE, DocumentTooLarge, encode
from perfwright.models.database import Catalog, ColumnFacts, ForeignKeyFacts, FunctionFacts, IndexFacts, TableFacts
from perfwright.models.errors import ErrorType
from perfwright.models.query_steps import CatalogRead, ReadCatalog

if TYPE_CHECKING:
    import asyncpg

TABLES_MOST = 2_000
COLUMNS_MOST = 20_000
INDEXES_MOST = 10_000
FOREIGN_KEYS_MOST = 10_000
VIEWS_MOST = 2_000
VIEW_CHARACTERS = 20_000
FUNCTIONS_MOST = 20_000
ATTEMPTS = 3
"""A table that is locked between our look at the locks and our statement is left out at the next attempt."""
ANALYZED_SOMETIME = "unknown"
"""For `analyzed_at`: statistics are there, but not when they were taken (a standby, or activity statistics that were reset)."""

Rows = list["asyncpg.Record"]


async def read_tables(request: ReadCatalog, environ: Mapping[str, str], artifacts: ArtifactStore) -> CatalogRead:
    """Read the catalog and keep it as an artifact, as `stored.encode` writes it."""
    async with connected(request.target, environ, answer_s=2 * STATEMENT_S) as connection:
        catalog = await read_catalog_of(connection)
    if request.mask_literals:
        catalog = masked_catalog(catalog, "postgresql")
    try:
        data = await asyncio.to_thread(encode, catalog)
    except DocumentTooLarge as trouble:
        raise refuse(ErrorType.OUTPUT_TOO_LARGE, str(trouble), way_out="Name a target whose role sees fewer schemas") from None
    stored = await artifacts.put(
        f"{request.artifact_prefix}/catalog.json.gz", data, MEDIA_TYPE, "Tables, columns, indexes and their statistics"
    )
    return CatalogRead(catalog=stored, tables=len(catalog.tables), left_out=catalog.left_out)


async def read_catalog_of(connection: "asyncpg.Connection") -> Catalog:
    """The catalog of the connection's database."""
    # Before `reading` sets one of its own.
    path = await connection.fetchval("SELECT pg_catalog.current_schemas(false)::text[]")
    async with reading(connection):
        facts = await connection.fetchrow(
            "SELECT current_database() AS name, pg_is_in_recovery() AS standby, current_setting('server_version_num')::int AS version"
        )
        assert facts is not None, "a SELECT without FROM has one row"
        tables = await connection.fetch(TABLES, TABLES_MOST)
        oids = [row["oid"] for row in tables]
        columns = await connection.fetch(COLUMNS, oids, COLUMNS_MOST)
        keys = await connection.fetch(FOREIGN_KEYS, oids, FOREIGN_KEYS_MOST)
        functions = await connection.fetch(FUNCTIONS, FUNCTIONS_MOST)
    defined = await _definitions(connection, oids)
    # A table without all of its columns and indexes would look as if it had no others.
    complete = min(_complete(oids, columns, COLUMNS_MOST), defined.complete)
    tables, total = tables[:complete], tables[0]["total"] if tables else 0
    return await asyncio.to_thread(_catalog, facts, path, tables, total, columns, keys, functions, defined)


@dataclass(frozen=True)
class _Defined:
    """What the server writes down only where nobody holds the relation exclusively."""

    indexes: Rows
    complete: int
    """Tables, from the first on, of which all indexes are here."""
    extended: Rows = field(default_factory=list)
    sizes: dict[int, int] = field(default_factory=dict)
    views: dict[str, str] = field(default_factory=dict)


async def _definitions(connection: "asyncpg.Connection", oids: list[int]) -> _Defined:
    """Definitions and sizes of what is not locked; names only of the rest, and of all where locks come faster than we look."""
    from asyncpg.exceptions import LockNotAvailableError

    for _ in range(ATTEMPTS):
        try:
            async with reading(connection):
                locked = [row[0] for row in await connection.fetch(LOCKED)]
                free = [oid for oid in oids if oid not in set(locked)]
                indexes = await connection.fetch(INDEXES, oids, INDEXES_MOST, locked)
                complete = _complete(oids, indexes, INDEXES_MOST)
                indexes += await connection.fetch(INDEX_NAMES, oids, INDEXES_MOST, locked)
                extended = await connection.fetch(EXTENDED_STATISTICS, free)
                sized = free + [row["oid"] for row in indexes if row["oid"] not in set(locked)]
                sizes = await connection.fetch(SIZES, sized)
                views = await connection.fetch(VIEWS, VIEWS_MOST, VIEW_CHARACTERS, locked)
        except LockNotAvailableError:
            continue
        return _Defined(
            indexes=indexes,
            complete=complete,
            extended=extended,
            sizes={row[0]: row[1] for row in sizes if row[1] is not None},
            views={row[0]: row[1] for row in views if row[1] is not None},
        )
    async with reading(connection):
        indexes = await connection.fetch(INDEX_NAMES, oids, INDEXES_MOST, oids)
        return _Defined(indexes=indexes, complete=_complete(oids, indexes, INDEXES_MOST))


def _complete(oids: list[int], rows: Rows, most: int) -> int:
    """How many tables, from the first on, have all of their rows; the one where the bound cut is not among them."""
    return oids.index(rows[-1]["table_oid"]) if len(rows) >= most else len(oids)


def _catalog(
    facts: "asyncpg.Record",
    path: list[str],
    tables: Rows,
    total: int,
    columns: Rows,
    keys: Rows,
    functions: Rows,
    defined: _Defined,
) -> Catalog:
    columns_of, indexes_of, keys_of, extended_of = (_by_table(rows) for rows in (columns, defined.indexes, keys, defined.extended))
    made = [
        _table(
            row,
            defined.sizes,
            counted=not facts["standby"],
            columns=columns_of[row["oid"]],
            indexes=indexes_of[row["oid"]],
            keys=keys_of[row["oid"]],
            extended=extended_of[row["oid"]],
        )
        for row in tables
    ]
    made.sort(key=lambda table: (-table.bytes, table.schema_name, table.name))
    return Catalog(
        database=facts["name"],
        search_path=tuple(path),
        tables=tuple(made),
        views=defined.views,
        functions=tuple(
            FunctionFacts(
                name=row["name"],
                schema_name=row["schema"],
                volatile=row["volatile"],
                known_harmless=row["volatile"] and row["trusted"] and row["name"] in HARMLESS,
            )
            for row in functions
        ),
        left_out=total - len(made),
    )


def _by_table(rows: Rows) -> dict[int, Rows]:
    found: dict[int, Rows] = defaultdict(list)
    for row in rows:
        found[row["table_oid"]].append(row)
    return found


def _table(
    row: "asyncpg.Record", sizes: Mapping[int, int], *, counted: bool, columns: Rows, indexes: Rows, keys: Rows, extended: Rows
) -> TableFacts:
    analyzed = row["analyzed_at"] or (ANALYZED_SOMETIME if any(column["analyzed"] for column in columns) else "")
    # Version 13 has 0 for "never counted", as 14 and later have -1; it plans with both alike.
    rows = -1.0 if row["rows"] == 0 and row["pages"] == 0 and not analyzed else row["rows"]
    return TableFacts(
        schema_name=row["schema"],
        name=row["name"],
        kind=row["kind"],
        rows=rows,
        bytes=sizes.get(row["oid"], row["planned_bytes"]),
        pages=max(0, row["pages"]),
        # A standby counts what was done there, not what it replays.
        live_rows=row["live_rows"] if counted else None,
        dead_rows=row["dead_rows"] if counted else None,
        modified_rows=row["modified_rows"] if counted else None,
        analyzed_at=analyzed,
        vacuumed_at=row["vacuumed_at"] or "",
        all_visible_share=row["all_visible_share"],
        sequential_scans=row["sequential_scans"],
        index_scans=row["index_scans"],
        inserted_rows=row["inserted_rows"] if counted else None,
        updated_rows=row["updated_rows"] if counted else None,
        hot_updated_rows=row["hot_updated_rows"] if counted else None,
        deleted_rows=row["deleted_rows"] if counted else None,
        columns=tuple(
            ColumnFacts(
                name=column["name"],
                type=column["type"],
                not_null=column["not_null"],
                distinct=column["distinct"],
                null_share=column["null_share"],
                average_width_bytes=column["average_width"],
                correlation=column["correlation"],
                common_share=column["common_share"],
                statistics_target=column["statistics_target"],
            )
            for column in columns
        ),
        indexes=tuple(_index(index, sizes) for index in indexes),
        foreign_keys=tuple(
            ForeignKeyFacts(
                name=key["name"],
                columns=tuple(key["columns"]),
                references_schema=key["references_schema"],
                references_table=key["references_table"],
                references_columns=tuple(key["references_columns"]),
            )
            for key in keys
        ),
        extended_statistics=tuple(one["definition"] for one in extended),
    )


def _index(row: Any, sizes: Mapping[int, int]) -> IndexFacts:
    return IndexFacts(
        name=row["name"],
        definition=row["definition"],
        keys=tuple(row["keys"]),
        include=tuple(row["include"]),
        method=row["method"],
        unique=row["unique"],
        primary=row["primary"],
        constraint=row["constraint"],
        valid=row["valid"],
        predicate=row["predicate"] or "",
        bytes=sizes.get(row["oid"], row["planned_bytes"]),
        scans=row["scans"],
        oid=row["oid"],
    )
