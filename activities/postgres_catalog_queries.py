"""The statements that read the catalogs of PostgreSQL 13 to 18: each over all tables at once, each with a bound.

Those that write definitions or sizes wait for whoever holds a relation exclusively: INDEXES, EXTENDED_STATISTICS, SIZES and VIEWS are asked
for what nobody has locked. The others take no lock but those on the catalogs themselves.

They run where only names of pg_catalog are found without a schema. Tables of the server itself, and temporary ones, are left out.
"""

UNKNOWN = "unknown"
"""An expression that only the server could write, for which it would wait for a lock."""
_USERS = "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"

TABLES = f"""
WITH listed AS (
    SELECT c.oid, n.nspname, c.relname, c.relkind, c.reltuples, c.relpages, c.relallvisible, c.reltoastrelid, count(*) OVER () AS total
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p', 'm', 'f') AND c.relpersistence <> 't' AND {_USERS}
     -- Partitioned tables hold nothing themselves, but statements name them; those never analyzed have no pages but maybe rows.
     ORDER BY c.relkind = 'p' DESC, c.relpages DESC, pg_stat_get_live_tuples(c.oid) DESC NULLS LAST, c.oid
     LIMIT $1
)
SELECT l.oid::int8 AS oid, l.total, l.nspname AS schema, l.relname AS name,
       CASE l.relkind WHEN 'p' THEN 'partitioned table' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table'
                      ELSE 'table' END AS kind,
       l.reltuples::float8 AS rows, l.relpages AS pages,
       (greatest(l.relpages, 0) + coalesce(t.relpages, 0))::int8 * current_setting('block_size')::int8 AS planned_bytes,
       CASE WHEN l.relpages > 0 THEN least(1.0, l.relallvisible::float8 / l.relpages) END AS all_visible_share,
       s.n_live_tup AS live_rows, s.n_dead_tup AS dead_rows, s.n_mod_since_analyze AS modified_rows,
       to_char(greatest(s.last_analyze, s.last_autoanalyze) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS analyzed_at,
       to_char(greatest(s.last_vacuum, s.last_autovacuum) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS vacuumed_at,
       s.seq_scan AS sequential_scans, s.idx_scan AS index_scans, s.n_tup_ins AS inserted_rows, s.n_tup_upd AS updated_rows,
       s.n_tup_hot_upd AS hot_updated_rows, s.n_tup_del AS deleted_rows
  FROM listed l
  LEFT JOIN pg_class t ON t.oid = l.reltoastrelid
  LEFT JOIN pg_stat_all_tables s ON s.relid = l.oid
 ORDER BY l.relkind = 'p' DESC, l.relpages DESC, s.n_live_tup DESC NULLS LAST, l.oid
"""  # noqa: S608  # of constants only

COLUMNS = """
SELECT a.attrelid::int8 AS table_oid, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull AS not_null,
       s.n_distinct::float8 AS distinct, s.null_frac::float8 AS null_share, s.avg_width AS average_width,
       s.correlation::float8 AS correlation, s.most_common_freqs[1]::float8 AS common_share,
       CASE WHEN a.attstattarget >= 0 THEN a.attstattarget::int END AS statistics_target, s.attname IS NOT NULL AS analyzed
  FROM unnest($1::int8[]) WITH ORDINALITY AS wanted (oid, place)
  JOIN pg_class c ON c.oid = wanted.oid::oid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  -- Columns that the role may not SELECT are not in the view: nothing is known of them.
  LEFT JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname
                      AND s.inherited = (c.relkind = 'p')
 ORDER BY wanted.place, a.attnum
 LIMIT $2
"""

_INDEX = """
SELECT i.indrelid::int8 AS table_oid, i.indexrelid::int8 AS oid, c.relname AS name, m.amname AS method, i.indisunique AS unique,
       i.indisprimary AS primary,
       i.indisreplident OR EXISTS (SELECT FROM pg_constraint x WHERE x.conindid = i.indexrelid) AS constraint,
       i.indisvalid AND i.indisready AND i.indislive AS valid,
       greatest(c.relpages, 0)::int8 * current_setting('block_size')::int8 AS planned_bytes,
       CASE WHEN c.relkind = 'i' THEN pg_stat_get_numscans(i.indexrelid) END AS scans,
"""
_INDEX_FROM = """
  FROM unnest($1::int8[]) WITH ORDINALITY AS wanted (oid, place)
  JOIN pg_index i ON i.indrelid = wanted.oid::oid
  JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_am m ON m.oid = c.relam
"""
_LOCKED = "(i.indrelid = ANY($3::int8[]::oid[]) OR i.indexrelid = ANY($3::int8[]::oid[]))"

INDEXES = f"""{_INDEX}
       pg_get_indexdef(i.indexrelid) AS definition,
       ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, true) FROM generate_series(1, i.indnkeyatts) AS k ORDER BY k) AS keys,
       ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, true) FROM generate_series(i.indnkeyatts + 1, i.indnatts) AS k ORDER BY k) AS include,
       pg_get_expr(i.indpred, i.indrelid, true) AS predicate
  {_INDEX_FROM}
 WHERE NOT {_LOCKED}
 ORDER BY wanted.place, c.relname
 LIMIT $2
"""  # noqa: S608  # of constants only

INDEX_NAMES = f"""{_INDEX}
       '' AS definition,
       ARRAY(SELECT coalesce(a.attname::text, '{UNKNOWN}') FROM unnest(i.indkey) WITH ORDINALITY AS k (number, place)
               LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number AND k.number > 0
              WHERE k.place <= i.indnkeyatts ORDER BY k.place) AS keys,
       ARRAY(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k (number, place)
               JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
              WHERE k.place > i.indnkeyatts ORDER BY k.place) AS include,
       CASE WHEN i.indpred IS NOT NULL THEN '{UNKNOWN}' END AS predicate
  {_INDEX_FROM}
 WHERE {_LOCKED}
 ORDER BY wanted.place, c.relname
 LIMIT $2
"""  # noqa: S608  # of constants only
"""Of what is locked: the key columns, but no expression and no definition."""

FOREIGN_KEYS = """
SELECT x.conrelid::int8 AS table_oid, x.conname AS name, n.nspname AS references_schema, c.relname AS references_table,
       ARRAY(SELECT a.attname::text FROM unnest(x.conkey) WITH ORDINALITY AS k (number, place)
               JOIN pg_attribute a ON a.attrelid = x.conrelid AND a.attnum = k.number ORDER BY k.place) AS columns,
       ARRAY(SELECT a.attname::text FROM unnest(x.confkey) WITH ORDINALITY AS k (number, place)
               JOIN pg_attribute a ON a.attrelid = x.confrelid AND a.attnum = k.number ORDER BY k.place) AS references_columns
  FROM pg_constraint x
  JOIN pg_class c ON c.oid = x.confrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE x.contype = 'f' AND x.conrelid = ANY($1::int8[]::oid[])
 ORDER BY x.conrelid, x.conname
 LIMIT $2
"""

EXTENDED_STATISTICS = """
SELECT stxrelid::int8 AS table_oid, pg_get_statisticsobjdef(oid) AS definition
  FROM pg_statistic_ext
 WHERE stxrelid = ANY($1::int8[]::oid[])
 ORDER BY stxrelid, stxname
 LIMIT 10000
"""

FUNCTIONS = f"""
SELECT lower(p.proname) AS name, n.nspname AS schema, bool_or(p.provolatile = 'v') AS volatile,
       -- Of the server itself or of one of its extensions: anybody may write a function that is called random.
       bool_and(n.nspname = 'pg_catalog' OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                                                       AND d.deptype = 'e')) AS trusted
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE p.prokind IN ('f', 'p', 'w', 'a') AND (({_USERS}) OR (n.nspname = 'pg_catalog' AND p.provolatile = 'v'))
 GROUP BY 1, 2
 ORDER BY 2, 1
 LIMIT $1
"""  # noqa: S608  # of constants only

VIEWS = f"""
SELECT n.nspname || '.' || c.relname AS name, left(pg_get_viewdef(c.oid, true), $2) AS definition
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'v' AND c.relpersistence <> 't' AND {_USERS}
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
   AND NOT EXISTS (SELECT FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                    WHERE r.ev_class = c.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY($3::int8[]::oid[]))
 ORDER BY 1
 LIMIT $1
"""  # noqa: S608  # of constants only

LOCKED = """
SELECT DISTINCT relation::int8
  FROM pg_locks
 WHERE mode = 'AccessExclusiveLock' AND relation IS NOT NULL AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
"""Held, or waited for: who comes later queues behind both."""

SIZES = """
SELECT c.oid::int8, CASE WHEN c.relkind IN ('i', 'I') THEN pg_relation_size(c.oid) ELSE pg_table_size(c.oid) END
  FROM pg_class c
 WHERE c.oid = ANY($1::int8[]::oid[])
"""
