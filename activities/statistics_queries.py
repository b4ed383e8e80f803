"""What a clone of statistics is made of, as SQL: read from the target as its role may, written into a private server as its superuser."""

SESSION = (
    "SET {local} datestyle = 'ISO, YMD'; SET {local} intervalstyle = 'postgres'; SET {local} timezone = 'UTC';"
    " SET {local} extra_float_digits = 1; SET {local} bytea_output = 'hex'"
)
"""On both sides: values of statistics travel as text."""

FACTS = """
SELECT current_setting('server_version_num')::int / 10000 AS major, current_setting('block_size')::int AS block_bytes,
       pg_encoding_to_char(d.encoding) AS encoding, d.datcollate AS collate, d.datctype AS ctype,
       coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') AS provider,
       coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', '') AS locale
  FROM pg_catalog.pg_database d WHERE d.datname = current_database()
"""

RELATIONS = """
WITH RECURSIVE named AS (
    SELECT c.oid FROM unnest($1::text[], $2::text[]) AS w (schema_name, name)
      JOIN pg_namespace n ON n.nspname = w.schema_name JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name
    UNION
    SELECT h.inhrelid FROM named JOIN pg_inherits h ON h.inhparent = named.oid
), wanted AS (
    SELECT oid FROM named UNION SELECT i.indexrelid FROM pg_index i JOIN named ON named.oid = i.indrelid
)
SELECT n.nspname::text AS schema_name, c.relname::text AS name, coalesce(m.amname::text, '') AS method,
       c.relpages AS pages, c.reltuples AS rows, c.relallvisible AS all_visible,
       CASE WHEN c.relkind NOT IN ('r', 'm', 'i') THEN 0
            WHEN EXISTS (SELECT FROM pg_locks l WHERE l.relation = c.oid AND l.mode = 'AccessExclusiveLock') THEN c.relpages
            ELSE pg_relation_size(c.oid) / current_setting('block_size')::int END AS blocks
  FROM wanted JOIN pg_class c ON c.oid = wanted.oid JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_am m ON m.oid = c.relam
 WHERE c.relkind IN ('r', 'p', 'm', 'i', 'I') AND c.relpersistence <> 't'
 ORDER BY c.relpages DESC, n.nspname, c.relname
 LIMIT $3
"""

COLUMNS = """
SELECT s.attname::text AS name, s.inherited, s.null_frac, s.avg_width, s.n_distinct, s.most_common_vals::text AS common,
       s.most_common_freqs AS frequencies, s.histogram_bounds::text AS histogram, s.correlation, s.most_common_elems::text AS elements,
       s.most_common_elem_freqs AS element_frequencies, s.elem_count_histogram AS element_counts
  FROM pg_stats s WHERE s.schemaname = $1::name AND s.tablename = $2::name
"""

HELPERS = """
CREATE FUNCTION pg_temp.base_type(given oid) RETURNS oid LANGUAGE sql STABLE AS $$
    WITH RECURSIVE types AS (
        SELECT t.oid, t.typtype, t.typbasetype FROM pg_type t WHERE t.oid = given
        UNION ALL SELECT t.oid, t.typtype, t.typbasetype FROM types JOIN pg_type t ON t.oid = types.typbasetype WHERE types.typtype = 'd'
    ) SELECT oid FROM types WHERE typtype <> 'd'
$$;
CREATE FUNCTION pg_temp.operator_of(given oid, strategy int) RETURNS oid LANGUAGE sql STABLE AS $$
    SELECT o.amopopr FROM pg_type t
      JOIN pg_opclass k ON k.opcdefault AND k.opcmethod = 403 AND (
           k.opcintype = t.oid
           OR k.opcintype = CASE WHEN t.typtype = 'e' THEN 'anyenum'::regtype WHEN t.typtype = 'r' THEN 'anyrange'::regtype
                                 WHEN t.typtype = 'c' THEN 'record'::regtype
                                 WHEN t.typelem <> 0 AND t.typlen = -1 THEN 'anyarray'::regtype END
           OR EXISTS (SELECT FROM pg_cast x WHERE x.castsource = t.oid AND x.casttarget = k.opcintype
                         AND x.castmethod = 'b' AND x.castcontext = 'i'))
      JOIN pg_type i ON i.oid = k.opcintype
      JOIN pg_amop o ON o.amopfamily = k.opcfamily AND o.amoplefttype = k.opcintype AND o.amoprighttype = k.opcintype
                    AND o.amopstrategy = strategy
     WHERE t.oid = given ORDER BY k.opcintype = t.oid DESC, i.typispreferred DESC, k.oid LIMIT 1
$$
"""
"""The operators that ANALYZE would have used: those of a type's own default B-tree operator class, else of what it is taken for
(documentation, 38.16.6; `GetDefaultOpClass`)."""

SIZE = """
UPDATE pg_class c SET relpages = $3, reltuples = $4, relallvisible = $5
  FROM pg_namespace n WHERE n.oid = c.relnamespace AND n.nspname = $1::name AND c.relname = $2::name
"""

COLUMN = """
INSERT INTO pg_statistic (starelid, staattnum, stainherit, stanullfrac, stawidth, stadistinct,
       stakind1, stakind2, stakind3, stakind4, stakind5, staop1, staop2, staop3, staop4, staop5,
       stacoll1, stacoll2, stacoll3, stacoll4, stacoll5, stanumbers1, stanumbers3, stanumbers4, stanumbers5,
       stavalues1, stavalues2, stavalues4)
SELECT a.attrelid, a.attnum, $4::bool, $5::real, $6::int, $7::real,
       CASE WHEN $8::text IS NULL OR o.equal IS NULL THEN 0 ELSE 1 END, CASE WHEN $10::text IS NULL OR o.less IS NULL THEN 0 ELSE 2 END,
       CASE WHEN $11::real IS NULL OR o.less IS NULL THEN 0 ELSE 3 END,
       CASE WHEN $12::text IS NULL OR o.element_equal IS NULL THEN 0 ELSE 4 END,
       CASE WHEN $14::real[] IS NULL OR o.element_equal IS NULL THEN 0 ELSE 5 END,
       coalesce(o.equal, 0), coalesce(o.less, 0), coalesce(o.less, 0), coalesce(o.element_equal, 0), coalesce(o.element_equal, 0),
       a.attcollation, a.attcollation, a.attcollation, a.attcollation, a.attcollation,
       $9::real[], CASE WHEN $11::real IS NOT NULL THEN ARRAY[$11::real] END, $13::real[], $14::real[],
       array_in(textout($8::text), a.atttypid, -1), array_in(textout($10::text), a.atttypid, -1),
       array_in(textout($12::text), b.element, -1)
  FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 CROSS JOIN LATERAL (
    SELECT t.oid AS type, CASE WHEN t.oid = 'tsvector'::regtype THEN 'text'::regtype::oid ELSE t.typelem END AS element
      FROM pg_type t WHERE t.oid = pg_temp.base_type(a.atttypid)) AS b
 CROSS JOIN LATERAL (
    SELECT pg_temp.operator_of(b.type, 3) AS equal, pg_temp.operator_of(b.type, 1) AS less,
           pg_temp.operator_of(pg_temp.base_type(b.element), 3) AS element_equal) AS o
 WHERE n.nspname = $1::name AND c.relname = $2::name AND a.attname = $3::name
"""
"""As ANALYZE writes it: most common values, histogram, correlation, most common elements, counts of elements (`pg_statistic.h`). pg_stats
has all of them, and any role sees there what it may select; `pg_statistic` itself would take a superuser."""

FILES = """
SELECT n.nspname::text AS schema_name, c.relname::text AS name, pg_relation_filepath(c.oid) AS path,
       coalesce((SELECT sum(coalesce((SELECT s.stawidth FROM pg_statistic s WHERE s.starelid = i.indrelid AND s.staattnum = k.number
                                       ORDER BY s.stainherit LIMIT 1), 8))
                   FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place)
                  WHERE i.indexrelid = c.oid AND k.place <= i.indnkeyatts), 8)::float8 AS key_width
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'm', 'i') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
"""

PLANNER = """
DO $$
DECLARE one name;
BEGIN
    FOR one IN SELECT nspname FROM pg_namespace WHERE nspname <> 'information_schema' AND nspname !~ '^pg_' LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO {role}', one);
        EXECUTE format('GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA %I TO {role}', one);
    END LOOP;
    UPDATE pg_proc SET proowner = '{role}'::regrole WHERE prosecdef AND pronamespace <> 'pg_catalog'::regnamespace;
END $$
"""
"""The planner computes what does not depend on rows, the target's own functions too: by a role that may do nothing else here."""

EXTENDED = """
SELECT e.statistics_schemaname::text AS schema_name, e.statistics_name::text AS name, {inherited} AS inherited,
       e.n_distinct::text AS distinct_counts, e.dependencies::text AS dependencies, e.most_common_vals IS NOT NULL AS has_values
  FROM pg_stats_ext e WHERE e.schemaname = $1::name AND e.tablename = $2::name
"""

NUMBERS = """
SELECT a.attname::text AS name, a.attnum::int AS number
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $1::name AND c.relname = $2::name AND a.attnum > 0 AND NOT a.attisdropped
"""
"""Columns that were dropped have a number on the target still, and none where its schema was restored."""

EXTENDED_CASTS = "CREATE CAST (bytea AS pg_ndistinct) WITHOUT FUNCTION; CREATE CAST (bytea AS pg_dependencies) WITHOUT FUNCTION"
"""Neither type takes its text; both are bytes to who keeps them."""
EXTENDED_ROW = """
INSERT INTO pg_statistic_ext_data (stxoid, stxdinherit, stxdndistinct, stxddependencies)
SELECT x.oid, $5::bool, $3::bytea::pg_ndistinct, $4::bytea::pg_dependencies
  FROM pg_statistic_ext x JOIN pg_namespace n ON n.oid = x.stxnamespace WHERE n.nspname = $1::name AND x.stxname = $2::name
"""
EXTENDED_ROW_OF_EACH = """
UPDATE pg_statistic_ext_data d SET stxdndistinct = $3::bytea::pg_ndistinct, stxddependencies = $4::bytea::pg_dependencies
  FROM pg_statistic_ext x JOIN pg_namespace n ON n.oid = x.stxnamespace
 WHERE d.stxoid = x.oid AND n.nspname = $1::name AND x.stxname = $2::name
"""
"""Before version 15, which makes the row with the object."""
