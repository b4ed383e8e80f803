"""Reads what decides whether an index could go: keys with operator class, collation and order, what depends on it, and who scanned it."""

from typing import TYPE_CHECKING, Any

from activities.postgres_connection import reading
from perfwright.analysis.indexes.redundancy import IndexKey, IndexRow, ServerScans

if TYPE_CHECKING:
    import asyncpg

INDEXES_MOST = 10_000
NULLS_NOT_DISTINCT_SINCE = 150_000
LAST_SCAN_SINCE = 160_000

_ROWS = """
WITH listed AS (
    SELECT i.*, i.xmin AS written_by, c.relname, c.relam, c.reltablespace, c.relkind, c.reloptions, t.relname AS table_name, n.nspname,
           t.relispartition
      FROM pg_index i
      JOIN pg_class c ON c.oid = i.indexrelid
      JOIN pg_class t ON t.oid = i.indrelid
      JOIN pg_namespace n ON n.oid = t.relnamespace
     WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND t.relpersistence <> 't' AND i.indislive
       AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)
       AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.relation = i.indrelid AND l.mode = 'AccessExclusiveLock')
     ORDER BY i.indrelid, c.relname
     LIMIT $1
)
SELECT l.nspname AS schema_name, l.table_name AS table, l.relname AS name, pg_get_indexdef(l.indexrelid) AS definition, m.amname AS method,
       ARRAY(SELECT pg_get_indexdef(l.indexrelid, k, false) FROM generate_series(1, l.indnkeyatts) AS k ORDER BY k) AS expressions,
       ARRAY(SELECT o.opcname::text || ' of ' || s.nspname
                    || coalesce(' (' || (SELECT array_to_string(a.attoptions, ', ') FROM pg_attribute a
                                          WHERE a.attrelid = l.indexrelid AND a.attnum = k.place) || ')', '')
               FROM unnest(l.indclass) WITH ORDINALITY AS k (class, place)
               JOIN pg_opclass o ON o.oid = k.class JOIN pg_namespace s ON s.oid = o.opcnamespace ORDER BY k.place) AS classes,
       ARRAY(SELECT coalesce(o.collname::text || ' of ' || s.nspname, '')
               FROM unnest(l.indcollation) WITH ORDINALITY AS k (used, place)
               LEFT JOIN pg_collation o ON o.oid = k.used LEFT JOIN pg_namespace s ON s.oid = o.collnamespace
              ORDER BY k.place) AS collations,
       l.indoption::int2[] AS options,
       ARRAY(SELECT pg_get_indexdef(l.indexrelid, k, false) FROM generate_series(l.indnkeyatts + 1, l.indnatts) AS k ORDER BY k) AS include,
       coalesce(pg_get_expr(l.indpred, l.indrelid), '') AS predicate, l.indisunique AS unique, {nulls} AS nulls_not_distinct,
       l.indimmediate AS immediate,
       l.indisprimary OR l.indisexclusion OR EXISTS (SELECT FROM pg_constraint x WHERE x.conindid = l.indexrelid) AS "constraint",
       l.indisreplident AS replica_identity, l.indisclustered AS clustered,
       l.relkind = 'I' OR l.relispartition AND EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = l.indexrelid) AS of_partitioned,
       l.indisvalid AS valid, l.indisready AS ready,
       CASE WHEN l.relkind = 'i' THEN pg_relation_size(l.indexrelid) ELSE 0 END AS bytes,
       CASE WHEN l.relkind = 'i' THEN pg_stat_get_numscans(l.indexrelid) END AS scans, {last_scan} AS last_scan,
       l.indexprs IS NOT NULL AS expression_statistics,
       coalesce(obj_description(l.indexrelid, 'pg_class'), '') AS comment,
       ARRAY(SELECT ARRAY[a.attnum::int, a.attstattarget::int] FROM pg_attribute a
              WHERE a.attrelid = l.indexrelid AND a.attstattarget >= 0 ORDER BY a.attnum) AS targets,
       coalesce((SELECT spcname::text FROM pg_tablespace WHERE oid = l.reltablespace), '') AS tablespace,
       coalesce(l.reloptions, '{{}}') AS storage, l.indexrelid::int8 AS oid, {made_at} AS there_since
  FROM listed l
  JOIN pg_am m ON m.oid = l.relam
 ORDER BY l.nspname, l.table_name, l.relname
"""
_MADE_AT = """coalesce(to_char(pg_xact_commit_timestamp(l.written_by) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"'), '')"""
"""When the row in pg_index was written: the index was there then. That of one whose row was changed since is later than it need be."""
_SCANS = """
SELECT current_database() AS database,
       to_char(d.stats_reset AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS since,
       to_char(pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS started,
       pg_is_in_recovery() AS standby
  FROM pg_stat_database d WHERE d.datname = current_database()
"""
_COUNTS = "SELECT schemaname::text AS schema, indexrelname::text AS name, idx_scan FROM pg_stat_user_indexes LIMIT $1"
_STANDBYS = "SELECT count(*)::int FROM pg_stat_replication"


async def read_index_rows(connection: "asyncpg.Connection") -> tuple[IndexRow, ...]:
    """All indexes of the connection's database that nobody is building or has locked; at most INDEXES_MOST."""
    async with reading(connection):
        version = await connection.fetchval("SELECT current_setting('server_version_num')::int")
        text = _ROWS.format(
            nulls="l.indnullsnotdistinct" if version >= NULLS_NOT_DISTINCT_SINCE else "false",
            last_scan="coalesce(pg_stat_get_lastscan(l.indexrelid)::text, '')" if version >= LAST_SCAN_SINCE else "''",
            made_at=_MADE_AT if await connection.fetchval("SELECT current_setting('track_commit_timestamp')::bool") else "''",
        )
        rows = await connection.fetch(text, INDEXES_MOST)
    return tuple(_index(row) for row in rows)


async def read_scans(connection: "asyncpg.Connection", server: str) -> tuple[ServerScans, int]:
    """What this server counted, and how many standbys follow it. Where statistics were never reset, they began with the database, whose
    age nobody tells: the start of the server is taken, which is later (or as late, after a crash)."""
    async with reading(connection):
        facts = await connection.fetchrow(_SCANS)
        counts = await connection.fetch(_COUNTS, INDEXES_MOST)
        standbys = await connection.fetchval(_STANDBYS)
    assert facts is not None, "a database is in pg_stat_database"
    scans = {f"{row['schema']}.{row['name']}": row["idx_scan"] for row in counts if row["idx_scan"] is not None}
    return ServerScans(server=server, counted_since=facts["since"] or facts["started"] or "", scans=scans), int(standbys)


def _index(row: Any) -> IndexRow:
    keys = tuple(
        IndexKey(
            expression=expression, operator_class=operators, collation=collation, descending=bool(option & 1), nulls_first=bool(option & 2)
        )
        for expression, operators, collation, option in zip(
            row["expressions"], row["classes"], row["collations"], row["options"], strict=False
        )
    )
    plain = {name: row[name] for name in _PLAIN}
    return IndexRow(
        **plain,
        keys=keys,
        include=tuple(row["include"]),
        storage=tuple(row["storage"]),
        extended_statistics=row["expression_statistics"],
        statistics_targets=tuple((number, target) for number, target in row["targets"]),
    )


_PLAIN = (
    *("schema_name", "table", "name", "definition", "method", "predicate", "unique", "nulls_not_distinct", "immediate", "constraint"),
    *("replica_identity", "clustered", "of_partitioned", "valid", "ready", "bytes", "scans", "last_scan", "comment", "tablespace"),
    *("oid", "there_since"),
)
