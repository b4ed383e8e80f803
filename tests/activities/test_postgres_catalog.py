"""The catalog of real databases, on both versions, on a standby and for roles that see little."""

import asyncio
from pathlib import Path

import pytest

from activities import postgres_catalog
from perfwright.analysis.database.functions import HARMLESS, OF_EXTENSIONS
from perfwright.models.database import Catalog, ForeignKeyFacts
from perfwright.models.query_steps import CatalogRead, ReadCatalog
from tests.databases import (
    PREFIX,
    TARGET,
    Examined,
    database_of,
    fresh_database,
    login_role,
    nothing_left,
    observed_postgres,
    postgres,
    postgres18,
    server,
)
from tests.pgbouncer import start_pgbouncer
from tests.postgres import PostgresServer, start_standby

__all__ = ["observed_postgres", "postgres", "postgres18", "server"]

SHOP = (
    "CREATE SCHEMA app",
    """CREATE TABLE customers (id serial PRIMARY KEY, name varchar(20) NOT NULL, city text, joined timestamptz DEFAULT now());
    INSERT INTO customers (name, city) SELECT 'n' || n, CASE WHEN n % 4 = 0 THEN 'Bonn' END FROM generate_series(1, 1000) AS n""",
    """CREATE TABLE app.orders (id bigint PRIMARY KEY, customer_id int REFERENCES customers (id), total numeric(10,2), note text);
    INSERT INTO app.orders SELECT n, 1 + n % 1000, n, repeat('x', 100) FROM generate_series(1, 5000) AS n""",
    "CREATE INDEX orders_total ON app.orders (customer_id, lower(note)) INCLUDE (total) WHERE total > 5",
    "CREATE UNIQUE INDEX customers_name ON customers (name DESC)",
    "ALTER TABLE customers ALTER COLUMN city SET STATISTICS 500",
    "CREATE STATISTICS app.linked (dependencies) ON customer_id, total FROM app.orders",
    "CREATE VIEW app.large AS SELECT id FROM app.orders WHERE total > 4000",
    "CREATE TABLE parts (id int, kind int) PARTITION BY LIST (kind); CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1)",
    "CREATE FUNCTION app.random() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1'",
    "CREATE FUNCTION app.twice(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 2 * $1'",
    "CREATE TEMPORARY TABLE passing (a int)",
    "ANALYZE customers",
)


async def catalog_of(dsn: str, folder: Path) -> tuple[Catalog, CatalogRead]:
    examined = Examined(dsn, folder)
    result = await examined.run("read_catalog", ReadCatalog(target=TARGET, artifact_prefix=PREFIX))
    return await examined.read(Catalog, result.catalog), result


async def test_a_catalog_has_what_plans_depend_on(server: PostgresServer, tmp_path: Path) -> None:
    """Tables, columns with their statistics, indexes, keys, views and functions, as the server describes them; no row of any table."""
    async with fresh_database(server, *SHOP) as connection:
        # What a session counted is shown within a second, or when it is asked to.
        await connection.execute("SELECT pg_stat_force_next_flush()")
        await connection.execute("VACUUM ANALYZE app.orders")
        catalog, result = await catalog_of(server.dsn(await database_of(connection)), tmp_path)
    assert [table.title for table in catalog.tables] == ["app.orders", "customers", "parts", "parts_1"]
    assert (result.tables, result.left_out, catalog.search_path) == (4, 0, ("public",))

    orders = catalog.table("orders", "app")
    assert orders is not None
    assert (orders.kind, orders.rows, orders.live_rows, orders.dead_rows, orders.modified_rows) == ("table", 5_000, 5_000, 0, 0)
    assert orders.bytes >= orders.pages * 8_192 > 0
    assert (orders.all_visible_share, bool(orders.analyzed_at), bool(orders.vacuumed_at)) == (1.0, True, True)
    assert orders.inserted_rows == 5_000
    assert orders.extended_statistics == ("CREATE STATISTICS app.linked (dependencies) ON customer_id, total FROM app.orders",)
    assert orders.foreign_keys == (
        ForeignKeyFacts(
            name="orders_customer_id_fkey",
            columns=("customer_id",),
            references_schema="public",
            references_table="customers",
            references_columns=("id",),
        ),
    )
    key, total = sorted(orders.indexes, key=lambda index: index.name)
    assert (key.keys, key.primary, key.unique, key.constraint, key.valid) == (("id",), True, True, True, True)
    assert (total.keys, total.include, total.predicate) == (("customer_id", "lower(note)"), ("total",), "total > 5::numeric")
    assert (total.primary, total.constraint, total.method, total.scans) == (False, False, "btree", 0)
    assert total.definition.startswith(
        "CREATE INDEX orders_total ON app.orders USING btree (customer_id, lower(note)) INCLUDE (total) WHERE"
    )
    assert total.bytes > 8_192

    customers = catalog.table("customers")
    assert customers is not None
    name, city = customers.column("name"), customers.column("city")
    assert name is not None
    assert city is not None
    assert (name.type, name.not_null, name.distinct, name.statistics_target) == ("character varying(20)", True, -1.0, None)
    assert (city.type, city.null_share, city.common_share, city.distinct, city.statistics_target) == ("text", 0.75, 0.25, 1.0, 500)
    assert customers.columns[3].type == "timestamp with time zone"
    assert "Bonn" not in catalog.model_dump_json()

    parts = catalog.table("parts")
    assert parts is not None
    assert (parts.kind, parts.rows, parts.analyzed_at) == ("partitioned table", -1.0, "")
    assert list(catalog.views) == ["app.large"]
    functions = {(one.schema_name, one.name): one for one in catalog.functions}
    assert (functions["app", "random"].volatile, functions["app", "random"].known_harmless) == (True, False)
    assert (functions["pg_catalog", "random"].volatile, functions["pg_catalog", "random"].known_harmless) == (True, True)
    assert (functions["pg_catalog", "nextval"].volatile, functions["pg_catalog", "nextval"].known_harmless) == (True, False)
    assert functions["app", "twice"].volatile is False
    await nothing_left(server)


async def test_a_plain_role_gets_the_shape_without_the_statistics(server: PostgresServer, tmp_path: Path) -> None:
    """Of columns that the role may not read nothing is known, and that is not taken for "never analyzed"."""
    async with (
        fresh_database(server, *SHOP) as connection,
        login_role(connection, "GRANT SELECT (id, name) ON customers TO {role}") as role,
    ):
        catalog, _ = await catalog_of(server.dsn(await database_of(connection), user=role), tmp_path)
    customers = catalog.table("customers")
    assert customers is not None
    assert [column.distinct for column in customers.columns] == [-1.0, -1.0, None, None]
    assert customers.analyzed_at
    assert customers.rows == 1_000
    assert customers.bytes > 0


async def test_a_table_that_is_being_changed_does_not_hold_us_up(server: PostgresServer, tmp_path: Path) -> None:
    """ALTER TABLE holds its lock: its size is told by the planner's pages, the others' exactly, and we queue for nothing."""
    async with fresh_database(server, *SHOP) as connection:
        database = await database_of(connection)
        async with connection.transaction():
            await connection.execute("LOCK TABLE customers")
            async with asyncio.timeout(20):
                catalog, _ = await catalog_of(server.dsn(database), tmp_path)
    customers, orders = catalog.table("customers"), catalog.table("orders", "app")
    assert customers is not None
    assert orders is not None
    assert customers.bytes == customers.pages * 8_192 > 0
    assert orders.bytes > orders.pages * 8_192
    assert [(index.name, index.keys, index.definition) for index in customers.indexes] == [
        ("customers_name", ("name",), ""),
        ("customers_pkey", ("id",), ""),
    ]
    assert all(index.definition for index in orders.indexes)
    assert list(catalog.views) == ["app.large"]


async def test_a_lock_that_comes_in_between_costs_the_sizes_only(
    postgres18: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody locks a table after we looked, again and again: page counts, names of index columns and no views, but a catalog."""
    monkeypatch.setattr(postgres_catalog, "LOCKED", "SELECT 1::int8 WHERE false")
    async with fresh_database(postgres18, *SHOP) as connection, connection.transaction():
        await connection.execute("LOCK TABLE app.orders")
        catalog, _ = await catalog_of(postgres18.dsn(await database_of(connection)), tmp_path)
    assert [table.bytes == table.pages * 8_192 for table in catalog.tables] == [True] * 4
    assert catalog.views == {}
    orders = catalog.table("orders", "app")
    assert orders is not None
    assert [(index.keys, index.include, index.predicate) for index in orders.indexes] == [
        (("id",), (), ""),
        (("customer_id", "unknown"), ("total",), "unknown"),
    ]
    await nothing_left(postgres18)


async def test_statistics_without_a_date_are_not_taken_for_none(server: PostgresServer, tmp_path: Path) -> None:
    """After a reset of the activity counters nobody knows when ANALYZE ran; that it ran is seen from what it left."""
    async with fresh_database(server, *SHOP) as connection:
        await connection.execute("SELECT pg_stat_reset()")
        catalog, _ = await catalog_of(server.dsn(await database_of(connection)), tmp_path)
    analyzed = {table.name: table.analyzed_at for table in catalog.tables}
    assert analyzed == {"customers": "unknown", "orders": "", "parts": "", "parts_1": ""}


async def test_a_standby_counts_only_what_it_does_itself(observed_postgres: PostgresServer, tmp_path: Path) -> None:
    """What the primary counted is unknown there, not zero; scans are the standby's own."""
    async with fresh_database(observed_postgres, *SHOP) as connection:
        database = await database_of(connection)
        with start_standby(observed_postgres) as standby:
            catalog, _ = await catalog_of(standby.dsn(database), tmp_path)
    customers = catalog.table("customers")
    assert customers is not None
    assert (customers.rows, customers.live_rows, customers.modified_rows, customers.inserted_rows) == (1_000, None, None, None)
    assert customers.analyzed_at == "unknown"
    assert customers.sequential_scans == 0


async def test_many_tables_are_cut_to_the_largest(postgres18: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the smallest are left out and counted; through pgbouncer in transaction mode as well."""
    monkeypatch.setattr(postgres_catalog, "TABLES_MOST", 3)
    async with fresh_database(postgres18, *SHOP, "VACUUM") as connection:
        with start_pgbouncer(postgres18) as pooler:
            catalog, result = await catalog_of(pooler.dsn(await database_of(connection)), tmp_path)
    assert [table.title for table in catalog.tables] == ["app.orders", "customers", "parts"]
    assert (result.tables, result.left_out) == (3, 1)


async def test_a_table_is_told_whole_or_not_at_all(postgres18: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the bound on columns or indexes cuts, the table is left out: it must not look as if it had no others."""
    async with fresh_database(postgres18, *SHOP, "VACUUM") as connection:
        dsn = postgres18.dsn(await database_of(connection))
        monkeypatch.setattr(postgres_catalog, "COLUMNS_MOST", 8)
        catalog, result = await catalog_of(dsn, tmp_path / "columns")
        assert {table.name: len(table.columns) for table in catalog.tables} == {"parts": 2, "orders": 4}
        assert result.left_out == 2
        monkeypatch.setattr(postgres_catalog, "COLUMNS_MOST", 20_000)
        monkeypatch.setattr(postgres_catalog, "INDEXES_MOST", 3)
        catalog, result = await catalog_of(dsn, tmp_path / "indexes")
        assert {table.name: len(table.indexes) for table in catalog.tables} == {"parts": 0, "orders": 2}
        assert result.left_out == 2


async def test_the_harmless_functions_are_there_and_volatile(postgres18: PostgresServer) -> None:
    """No name in the list is a slip of the pen, or needless."""
    connection = await postgres18.connect()
    found = await connection.fetch(
        "SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND provolatile = 'v'"
    )
    await connection.close()
    assert HARMLESS - {row[0] for row in found} == OF_EXTENSIONS
