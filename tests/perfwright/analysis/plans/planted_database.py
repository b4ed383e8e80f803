"""A small shop in which every plan problem can be planted, and what the catalog says of it."""

import asyncio

import asyncpg

from perfwright.models.database import Catalog, ColumnFacts, ForeignKeyFacts, IndexFacts, TableFacts

SCHEMA = """
CREATE TABLE customers (
    id integer PRIMARY KEY, email text NOT NULL, name varchar(60) NOT NULL, reference varchar(20) NOT NULL, city text NOT NULL, postcode text NOT NULL,
    country char(2) NOT NULL, created_at timestamptz NOT NULL, active boolean NOT NULL
) WITH (autovacuum_enabled = off);
INSERT INTO customers
SELECT i, 'user' || i || '@example.org', 'Name ' || i, 'C' || i, 'city' || i % 200, 'p' || (i % 200) * 10 + i % 2,
       CASE WHEN i % 50 = 0 THEN 'MT' ELSE 'DE' END, timestamptz '2020-01-01 00:00Z' + i * interval '1 hour', i % 10 <> 0
FROM generate_series(1, 20000) i;
CREATE INDEX customers_email ON customers (email);
CREATE INDEX customers_reference ON customers (reference);
CREATE INDEX customers_name_prefix ON customers (name varchar_pattern_ops);

CREATE TABLE orders (
    id integer PRIMARY KEY, customer_id integer NOT NULL, status text NOT NULL, total numeric(10, 2) NOT NULL, placed_at timestamptz NOT NULL,
    channel integer NOT NULL, tracking bigint NOT NULL, comment text NOT NULL, coupon text
) WITH (autovacuum_enabled = off);
INSERT INTO orders
SELECT i, (i * 7919) % 20000 + 1, (ARRAY['done', 'done', 'done', 'open', 'sent'])[i % 5 + 1], (i * 37) % 50000 / 100.0,
       timestamptz '2023-01-01 00:00Z' + i * interval '5 minutes', (i * 31) % 500, (i::bigint * 104729) % 1000003,
       'order comment ' || md5(i::text), CASE WHEN i % 400 = 0 THEN 'COUPON' || i % 7 END
FROM generate_series(1, 60000) i;
CREATE INDEX orders_placed_at ON orders (placed_at);

CREATE TABLE items (
    order_id integer NOT NULL, line integer NOT NULL, product_id integer NOT NULL, quantity integer NOT NULL, price numeric(10, 2) NOT NULL,
    PRIMARY KEY (order_id, line)
) WITH (autovacuum_enabled = off);
INSERT INTO items
SELECT i / 2 + 1, i % 2 + 1, (i * 7) % 5000 + 1, i % 9 + 1, (i % 1000) / 10.0 FROM generate_series(0, 119999) i;

CREATE TABLE products (
    id integer PRIMARY KEY, sku varchar(20) NOT NULL UNIQUE, name text NOT NULL, category integer NOT NULL, tags text[] NOT NULL, attributes jsonb NOT NULL,
    weight integer NOT NULL, width integer NOT NULL
) WITH (autovacuum_enabled = off);
INSERT INTO products
SELECT i, 'SKU-' || i, 'product ' || md5(i::text), i % 40, ARRAY['t' || i % 100, 'u' || i % 7], jsonb_build_object('color', 'c' || i % 300, 'n', i),
       i % 97, i % 89
FROM generate_series(1, 20000) i;
CREATE INDEX products_tags ON products USING gin (tags);
CREATE INDEX products_weight ON products (weight);
CREATE INDEX products_width ON products (width);
CREATE INDEX products_category ON products (category);

CREATE TABLE categories (id integer PRIMARY KEY, parent_id integer, name text NOT NULL);
INSERT INTO categories SELECT i, NULLIF(i / 4, 0), 'category ' || i FROM generate_series(1, 40) i;

CREATE TABLE events (day date NOT NULL, kind integer NOT NULL, payload text NOT NULL) PARTITION BY RANGE (day);
DO $$ BEGIN FOR m IN 1..12 LOOP
    EXECUTE format('CREATE TABLE events_2024_%s PARTITION OF events FOR VALUES FROM (%L) TO (%L)', lpad(m::text, 2, '0'),
                   make_date(2024, m, 1), make_date(2024, m, 1) + interval '1 month');
END LOOP; END $$;
INSERT INTO events SELECT date '2024-01-01' + i % 366, CASE WHEN i % 366 BETWEEN 100 AND 110 THEN 7 ELSE i % 5 END, md5(i::text)
FROM generate_series(0, 54899) i;

CREATE INDEX events_day ON events (day);

CREATE TABLE shipments (id integer PRIMARY KEY, state text NOT NULL, order_id integer NOT NULL, weight integer NOT NULL)
    WITH (autovacuum_enabled = off);
CREATE INDEX shipments_state ON shipments (state);
INSERT INTO shipments SELECT i, 'state' || i % 1000, i, i % 100 FROM generate_series(1, 20000) i;
ANALYZE shipments;
UPDATE shipments SET state = 'lost' WHERE id % 2 = 0;

CREATE TABLE accounts (id integer PRIMARY KEY, name text NOT NULL) WITH (autovacuum_enabled = off);
INSERT INTO accounts SELECT i, 'account ' || i FROM generate_series(1, 4000) i;
CREATE TABLE transfers (id integer PRIMARY KEY, account_id integer NOT NULL REFERENCES accounts ON DELETE CASCADE, amount integer NOT NULL)
    WITH (autovacuum_enabled = off);
INSERT INTO transfers SELECT i, i % 2000 + 1, i FROM generate_series(1, 40000) i;
CREATE TABLE tenants (id integer PRIMARY KEY, name text NOT NULL) WITH (autovacuum_enabled = off);
INSERT INTO tenants SELECT i, 'tenant ' || i FROM generate_series(1, 4000) i;
CREATE TABLE seats (id integer PRIMARY KEY, tenant_id integer NOT NULL REFERENCES tenants ON DELETE CASCADE, label text NOT NULL)
    WITH (autovacuum_enabled = off);
INSERT INTO seats SELECT i, i % 2000 + 1, 'seat ' || i FROM generate_series(1, 40000) i;
CREATE INDEX seats_tenant ON seats (tenant_id);

CREATE TABLE sessions (id integer PRIMARY KEY, token text NOT NULL, seen integer NOT NULL, filler text NOT NULL) WITH (autovacuum_enabled = off);
INSERT INTO sessions SELECT i, md5(i::text), i, repeat('x', 200) FROM generate_series(1, 60000) i;
DELETE FROM sessions WHERE id % 100 <> 0;

CREATE TABLE jobs (id integer PRIMARY KEY, state text NOT NULL, due integer NOT NULL) WITH (autovacuum_enabled = off);
INSERT INTO jobs SELECT i, 'done', i FROM generate_series(1, 60000) i;
CREATE INDEX jobs_due ON jobs (due);

CREATE TABLE readings (sensor integer NOT NULL, at integer NOT NULL, value integer NOT NULL) WITH (autovacuum_enabled = off);
INSERT INTO readings SELECT i % 2000, i, i % 1000 FROM generate_series(1, 40000) i;
CREATE INDEX readings_sensor_at ON readings (sensor, at);
CREATE TABLE prices (product_id integer NOT NULL, valid_from integer NOT NULL, valid_to integer NOT NULL, price integer NOT NULL)
    WITH (autovacuum_enabled = off);
INSERT INTO prices SELECT i, i * 3, i * 3 + 2, i % 50 FROM generate_series(1, 1000) i;
CREATE TABLE documents (id integer PRIMARY KEY, body text NOT NULL, blob text NOT NULL) WITH (autovacuum_enabled = off);
ALTER TABLE documents ALTER blob SET STORAGE PLAIN;
INSERT INTO documents SELECT i, md5(i::text), repeat(md5(i::text), 120) FROM generate_series(1, 6000) i;
CREATE TABLE samples (id integer PRIMARY KEY, spot integer NOT NULL, slot integer NOT NULL, filler text NOT NULL)
    WITH (autovacuum_enabled = off);
INSERT INTO samples SELECT i, (i::bigint * 7919 % 100003)::integer, (i::bigint * 104729 % 99991)::integer, repeat('x', 60) FROM generate_series(1, 120000) i;
CREATE INDEX samples_spot ON samples (spot);
CREATE INDEX samples_slot ON samples (slot);
CREATE TABLE config (name text PRIMARY KEY, value integer NOT NULL);
INSERT INTO config VALUES ('limit', 5);

CREATE FUNCTION recent_orders(how_many integer) RETURNS SETOF integer LANGUAGE plpgsql STABLE AS
    $$ BEGIN RETURN QUERY SELECT generate_series(1, how_many); END $$;
CREATE FUNCTION slow_audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM count(*) FROM items WHERE quantity < 0; RETURN NULL; END $$;
CREATE TABLE audited (id integer PRIMARY KEY, value integer NOT NULL) WITH (autovacuum_enabled = off);
INSERT INTO audited SELECT i, i FROM generate_series(1, 100) i;
CREATE TRIGGER audit AFTER UPDATE ON audited FOR EACH ROW EXECUTE FUNCTION slow_audit();
"""
PREPARATION = (
    "VACUUM (ANALYZE) customers",
    "VACUUM (ANALYZE) orders",
    "VACUUM (ANALYZE) items",
    "VACUUM (ANALYZE) products",
    "VACUUM (ANALYZE) categories",
    "VACUUM (ANALYZE) events",
    "VACUUM (ANALYZE) accounts",
    "VACUUM (ANALYZE) transfers",
    "VACUUM (ANALYZE) tenants",
    "VACUUM (ANALYZE) seats",
    "VACUUM (ANALYZE) sessions",
    "ANALYZE jobs",
    "VACUUM (ANALYZE) readings",
    "VACUUM (ANALYZE) prices",
    "VACUUM (ANALYZE) documents",
    "VACUUM (ANALYZE) config",
    "VACUUM (ANALYZE) samples",
    "VACUUM (ANALYZE) audited",
)

_TABLES = """
SELECT c.oid, n.nspname, c.relname, c.relkind::text AS kind, c.reltuples, c.relpages, pg_table_size(c.oid) AS bytes,
       s.n_live_tup, s.n_mod_since_analyze, s.last_analyze
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
WHERE c.relkind IN ('r', 'p') AND n.nspname = 'public' ORDER BY c.relname
"""
_COLUMNS = """
SELECT a.attrelid, a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attnotnull, s.n_distinct, s.null_frac, s.avg_width, s.correlation,
       s.most_common_freqs[1] AS common
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname AND NOT s.inherited
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p') AND n.nspname = 'public' ORDER BY a.attrelid, a.attnum
"""
_INDEXES = """
SELECT i.indrelid, c.relname, pg_get_indexdef(i.indexrelid) AS definition, am.amname, i.indisunique, i.indisprimary, i.indisvalid,
       ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, true) FROM generate_series(1, i.indnkeyatts) k) AS keys,
       pg_get_expr(i.indpred, i.indrelid) AS predicate
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' ORDER BY c.relname
"""
_FOREIGN_KEYS = """
SELECT o.conrelid, o.conname, f.relname,
       ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = o.conrelid AND attnum = ANY (o.conkey)) AS columns,
       ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = o.confrelid AND attnum = ANY (o.confkey)) AS referenced
FROM pg_constraint o JOIN pg_class f ON f.oid = o.confrelid WHERE o.contype = 'f' ORDER BY o.conname
"""


async def create(connection: asyncpg.Connection) -> Catalog:
    """The planted database in the (empty) one that the connection is at."""
    await connection.execute(SCHEMA)
    for statement in PREPARATION:
        await connection.execute(statement)
    # Since the last VACUUM: queued rows that an index still leads to, and pages that are no longer all-visible.
    await connection.execute("DELETE FROM jobs WHERE due < 50000")
    await connection.execute("UPDATE readings SET value = value + 1 WHERE at % 3 = 0")
    await _statistics_told(connection)
    return await read_catalog(connection)


async def _statistics_told(connection: asyncpg.Connection) -> None:
    """Until pg_stat_user_tables knows what we changed last. Before PostgreSQL 15 it is told by messages, twice a second at most."""
    if connection.get_server_version().major >= 15:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        return
    async with asyncio.timeout(30):
        while (
            await connection.fetchval(
                "SELECT count(*) FROM pg_stat_user_tables WHERE relname IN ('jobs', 'readings') AND n_mod_since_analyze > 0"
            )
            < 2
        ):
            await asyncio.sleep(0.05)


async def read_catalog(connection: asyncpg.Connection) -> Catalog:
    """Tables with what rules ask of them."""
    tables = await connection.fetch(_TABLES)
    columns, indexes, keys = [await connection.fetch(query) for query in (_COLUMNS, _INDEXES, _FOREIGN_KEYS)]
    return Catalog(
        database="planted",
        tables=tuple(
            TableFacts(
                schema_name=table["nspname"],
                name=table["relname"],
                kind="partitioned table" if table["kind"] == "p" else "table",
                rows=table["reltuples"],
                pages=table["relpages"],
                bytes=table["bytes"],
                live_rows=table["n_live_tup"],
                modified_rows=table["n_mod_since_analyze"],
                analyzed_at=table["last_analyze"].isoformat() if table["last_analyze"] else "",
                columns=tuple(
                    ColumnFacts(
                        name=one["attname"],
                        type=one["type"],
                        not_null=one["attnotnull"],
                        distinct=one["n_distinct"],
                        null_share=one["null_frac"],
                        average_width_bytes=one["avg_width"],
                        correlation=one["correlation"],
                        common_share=one["common"],
                    )
                    for one in columns
                    if one["attrelid"] == table["oid"]
                ),
                indexes=tuple(
                    IndexFacts(
                        name=one["relname"],
                        definition=one["definition"],
                        keys=tuple(one["keys"]),
                        method=one["amname"],
                        unique=one["indisunique"],
                        primary=one["indisprimary"],
                        valid=one["indisvalid"],
                        predicate=one["predicate"] or "",
                    )
                    for one in indexes
                    if one["indrelid"] == table["oid"]
                ),
                foreign_keys=tuple(
                    ForeignKeyFacts(
                        name=one["conname"],
                        columns=tuple(one["columns"]),
                        references_schema="public",
                        references_table=one["relname"],
                        references_columns=tuple(one["referenced"]),
                    )
                    for one in keys
                    if one["conrelid"] == table["oid"]
                ),
            )
            for table in tables
        ),
    )
