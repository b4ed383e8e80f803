"""Readings of pg_stat_statements 1.7 to 1.12 (PostgreSQL 13 to 18), a page at a time, and of what its counters can be trusted for."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfwright.analysis.database.observed_window import LONG_CHARACTERS, SHORT_CHARACTERS
from perfwright.analysis.database.statement_counters import Counters, EntryKey, Snapshot
from perfwright.models.database import NotSeen

if TYPE_CHECKING:
    import asyncpg

EXTENSION = "pg_stat_statements"
PAGE_ROWS = 1_000
TEXT_PAGE_ROWS = 100
"""At most ten megabytes of text at a time."""
_WANTED: dict[str, tuple[str, ...]] = {
    "calls": ("calls",),
    "total_ms": ("total_exec_time", "total_time"),
    "min_ms": ("min_exec_time", "min_time"),
    "max_ms": ("max_exec_time", "max_time"),
    "stddev_ms": ("stddev_exec_time", "stddev_time"),
    "planning_ms": ("total_plan_time",),
    "rows": ("rows",),
    "shared_hit_blocks": ("shared_blks_hit",),
    "shared_read_blocks": ("shared_blks_read",),
    "temp_written_blocks": ("temp_blks_written",),
    "block_read_ms": ("shared_blk_read_time", "blk_read_time"),
    "wal_bytes": ("wal_bytes",),
}
"""Field of `Counters` -> column, by the names it had over time."""
_INTEGERS = frozenset({"calls", "rows", "shared_hit_blocks", "shared_read_blocks", "temp_written_blocks", "wal_bytes"})


@dataclass(frozen=True)
class CountersView:
    """How this server's pg_stat_statements is read."""

    schema: str
    """Quoted."""
    columns: frozenset[str]
    has_info: bool
    planning_counted: bool
    reads_timed: bool


async def find_counters(connection: "asyncpg.Connection") -> CountersView | NotSeen:
    """The extension as it is installed in this database; what is missing, and the way out, where it cannot be read.

    Runs in the caller's `reading` transaction, which is broken afterwards where the extension is not loaded.
    """
    from asyncpg.exceptions import InsufficientPrivilegeError, ObjectNotInPrerequisiteStateError

    found = await connection.fetchrow(
        """
        SELECT quote_ident(n.nspname) AS schema,
               (SELECT array_agg(DISTINCT name) FROM pg_proc p, unnest(p.proargnames) AS name
                 WHERE p.pronamespace = n.oid AND p.proname = 'pg_stat_statements') AS columns,
               EXISTS (SELECT FROM pg_proc p WHERE p.pronamespace = n.oid AND p.proname = 'pg_stat_statements_info') AS has_info,
               current_setting('pg_stat_statements.track', true) AS track,
               current_setting('compute_query_id', true) AS query_id,
               current_setting('pg_stat_statements.track_planning', true) = 'on' AS planning,
               current_setting('track_io_timing') = 'on' AS reads_timed
          FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
         WHERE e.extname = $1
        """,
        EXTENSION,
    )
    if found is None:
        return await _not_created(connection)
    if found["track"] == "none":
        return NotSeen(what="statements over time", reason="pg_stat_statements.track is none", way_out="Set pg_stat_statements.track = top")
    if found["query_id"] == "off":
        return NotSeen(what="statements over time", reason="compute_query_id is off", way_out="Set compute_query_id = auto")
    try:
        # The cheapest thing that fails where it is not loaded.
        called = "pg_stat_statements_info()" if found["has_info"] else "pg_stat_statements(false)"
        await connection.fetchval(f"SELECT count(*) FROM (SELECT FROM {found['schema']}.{called} LIMIT 1) AS one")  # noqa: S608  # quoted by the server
    except ObjectNotInPrerequisiteStateError:
        return NotSeen(what="statements over time", reason="pg_stat_statements is created but not loaded", way_out=_PRELOAD)
    except InsufficientPrivilegeError:
        return NotSeen(
            what="statements over time",
            reason="our role may not read pg_stat_statements",
            way_out="GRANT pg_read_all_stats (or pg_monitor) to the role, and USAGE on the extension's schema",
        )
    return CountersView(
        schema=found["schema"],
        columns=frozenset(found["columns"] or ()),
        has_info=found["has_info"],
        planning_counted=bool(found["planning"]),
        reads_timed=found["reads_timed"],
    )


_PRELOAD = "Add pg_stat_statements to shared_preload_libraries and restart the server"


async def _not_created(connection: "asyncpg.Connection") -> NotSeen:
    """Whether loading it is missing as well: only then the server must be restarted."""
    loaded = await connection.fetchval("SELECT current_setting('pg_stat_statements.max', true) IS NOT NULL")
    there = await connection.fetchval("SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = $1)", EXTENSION)
    create = "CREATE EXTENSION pg_stat_statements in this database"
    if loaded:
        return NotSeen(what="statements over time", reason="pg_stat_statements is loaded but not created in this database", way_out=create)
    package = "" if there else "Install the server's contrib package (Debian: postgresql-contrib). "
    return NotSeen(what="statements over time", reason="pg_stat_statements is not loaded", way_out=f"{package}{_PRELOAD}; then {create}")


async def take_snapshot(connection: "asyncpg.Connection", view: CountersView) -> Snapshot:
    """Counters of all statements of this database, without their texts; in the caller's `reading` transaction."""
    info = f"{view.schema}.pg_stat_statements_info()"
    facts = await connection.fetchrow(
        f"""
        SELECT extract(epoch FROM clock_timestamp())::float8 AS taken_s,
               extract(epoch FROM pg_postmaster_start_time())::float8 AS server_started_s,
               {f"(SELECT extract(epoch FROM stats_reset)::float8 FROM {info})" if view.has_info else "NULL::float8"} AS reset_s,
               {f"(SELECT dealloc FROM {info})" if view.has_info else "NULL::int8"} AS eviction_rounds,
               current_setting('pg_stat_statements.max')::int AS room,
               (SELECT oid::int8 FROM pg_database WHERE datname = current_database()) AS database_id
        """  # noqa: S608  # the schema is quoted by the server
    )
    assert facts is not None, "a SELECT without FROM has one row"
    columns = [_column(field, names, view.columns) for field, names in _WANTED.items()]
    top_level = "toplevel" if "toplevel" in view.columns else "true"
    since = "extract(epoch FROM stats_since)::float8" if "stats_since" in view.columns else "NULL::float8"
    query = f"""
        SELECT dbid::int8 AS database_id, userid::int8, queryid, {top_level}, {", ".join(columns)}, {since}
          FROM {view.schema}.pg_stat_statements(false)
        """  # noqa: S608
    entries: dict[EntryKey, Counters] = {}
    size = hidden = 0
    hidden_ms = 0.0
    async for row in _pages(connection, query, PAGE_ROWS):
        size += 1
        if row[0] != facts["database_id"]:
            continue
        counters = Counters(*row[4:])
        if row[2] is None:
            # Another role's, and we may not see what it is: only that it took time.
            hidden += 1
            hidden_ms += counters.total_ms if row[3] else 0.0
        else:
            entries[EntryKey(row[1], row[2], row[3])] = counters
    return Snapshot(
        taken_s=facts["taken_s"],
        server_started_s=facts["server_started_s"],
        reset_s=facts["reset_s"],
        eviction_rounds=facts["eviction_rounds"],
        size=size,
        room=facts["room"],
        hidden=hidden,
        hidden_ms=hidden_ms,
        entries=entries,
    )


async def fetch_texts(
    connection: "asyncpg.Connection", view: CountersView, keys: Sequence[EntryKey], long: Sequence[EntryKey]
) -> dict[EntryKey, str]:
    """Texts of the statements `keys`; those of `long` in full length, the others shortened."""
    wanted, texts = set(keys), dict[EntryKey, str]()
    top_level = "toplevel" if "toplevel" in view.columns else "true"
    query = f"""
        SELECT userid::int8, queryid, {top_level},
               left(query, CASE WHEN queryid = ANY($2) THEN {LONG_CHARACTERS} ELSE {SHORT_CHARACTERS} END)
          FROM {view.schema}.pg_stat_statements(true)
         WHERE queryid = ANY($1) AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
        """  # noqa: S608  # the schema is quoted by the server
    ids = sorted({key.query_id for key in keys}), sorted({key.query_id for key in long})
    async for row in _pages(connection, query, TEXT_PAGE_ROWS, *ids):
        if (key := EntryKey(row[0], row[1], row[2])) in wanted and row[3] is not None:
            texts[key] = row[3]
    return texts


async def names(connection: "asyncpg.Connection") -> tuple[str, dict[int, str]]:
    """Name of the database, and of the roles that statements were run as; ten thousand at most."""
    rows = await connection.fetch("SELECT oid::int8, rolname, current_database() FROM pg_roles ORDER BY oid LIMIT 10000")
    return str(rows[0][2]), {row[0]: row[1] for row in rows}


async def _pages(connection: "asyncpg.Connection", query: str, rows: int, *arguments: object) -> "AsyncIterator[asyncpg.Record]":
    """Rows of a query by an SQL cursor: the driver's own would leave a named statement behind on a pooler's connection."""
    await connection.execute(f"DECLARE perfwright_rows NO SCROLL CURSOR FOR {query}", *arguments)
    while page := await connection.fetch(f"FETCH {rows} FROM perfwright_rows"):
        for row in page:
            yield row
    await connection.execute("CLOSE perfwright_rows")


def _column(field: str, names: tuple[str, ...], there: frozenset[str]) -> str:
    kind = "int8" if field in _INTEGERS else "float8"
    found = next((name for name in names if name in there), None)
    return f"coalesce({found}, 0)::{kind}" if found else f"0::{kind}"
