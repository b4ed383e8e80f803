"""Redundant, unused and invalid indexes of real servers: each kind beside its near miss, and every drop undone from what was stored."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from activities.index_catalog import read_index_rows, read_scans
from perfwright.analysis.indexes.foreign_keys import foreign_keys_without_index
from perfwright.analysis.indexes.redundancy import Droppable, IndexRow, ServerScans, invalid, redundant, unused
from tests.databases import fresh_database, observed_postgres, postgres, postgres18, server
from tests.postgres import PostgresServer, start_standby

__all__ = ["observed_postgres", "postgres", "postgres18", "server"]

TABLE = """
    CREATE TABLE t (id bigint PRIMARY KEY, a int NOT NULL, b int, c int, d text, e text COLLATE "C", v varchar(20), f jsonb, p point, i inet);
    INSERT INTO t (id, a, b, c, d, e, v) SELECT n, n % 50, n, n % 7, 'd' || n % 90, 'e' || n, 'v' || n % 70 FROM generate_series(1, 500) n;
"""
CASES = {
    # name of the case: (indexes, those that could go)
    "equal": ("CREATE INDEX x ON t (a); CREATE INDEX y ON t (a)", "x"),
    "prefix": ("CREATE INDEX x ON t (a); CREATE INDEX y ON t (a, b)", "x"),
    "chain": ("CREATE INDEX x ON t (a); CREATE INDEX y ON t (a, b); CREATE INDEX z ON t (a, b, c)", "x y"),
    "of the primary key": ("CREATE INDEX x ON t (id)", "x"),
    "unique by the primary key": ("CREATE UNIQUE INDEX x ON t (id)", "x"),
    "of a constraint": ("ALTER TABLE t ADD CONSTRAINT u UNIQUE (b, c); CREATE INDEX x ON t (b)", "x"),
    "two unique ones": ("CREATE UNIQUE INDEX x ON t (b); CREATE UNIQUE INDEX y ON t (b)", "x"),
    "both partial": ("CREATE INDEX x ON t (a) WHERE b > 5; CREATE INDEX y ON t (a, c) WHERE b > 5", "x"),
    "both expressions": ("CREATE INDEX x ON t (lower(d)); CREATE INDEX y ON t (lower(d), a)", "x"),
    "both descending": ("CREATE INDEX x ON t (a DESC); CREATE INDEX y ON t (a DESC, b)", "x"),
    "included elsewhere": ("CREATE INDEX x ON t (a) INCLUDE (b); CREATE INDEX y ON t (a) INCLUDE (b, c)", "x"),
    "included as key": ("CREATE INDEX x ON t (a) INCLUDE (b); CREATE INDEX y ON t (a, b)", "x"),
    "equal hash": ("CREATE INDEX x ON t USING hash (a); CREATE INDEX y ON t USING hash (a)", "x"),
    "equal gin": ("CREATE INDEX x ON t USING gin (f); CREATE INDEX y ON t USING gin (f)", "x"),
    "same patterns": ("CREATE INDEX x ON t (d text_pattern_ops); CREATE INDEX y ON t (d text_pattern_ops, a)", "x"),
    "same collation": ('CREATE INDEX x ON t (d COLLATE "POSIX"); CREATE INDEX y ON t (d COLLATE "POSIX", a)', "x"),
    "other operator class": ("CREATE INDEX x ON t (d text_pattern_ops); CREATE INDEX y ON t (d, a)", ""),
    "other class of gin": ("CREATE INDEX x ON t USING gin (f); CREATE INDEX y ON t USING gin (f jsonb_path_ops)", ""),
    "other collation": ('CREATE INDEX x ON t (d COLLATE "POSIX"); CREATE INDEX y ON t (d, a)', ""),
    "only one partial": ("CREATE INDEX x ON t (a); CREATE INDEX y ON t (a, b) WHERE b > 5", ""),
    "partial beside whole": ("CREATE INDEX x ON t (a) WHERE b > 5; CREATE INDEX y ON t (a, b)", ""),
    "other predicates": ("CREATE INDEX x ON t (a) WHERE b > 5; CREATE INDEX y ON t (a, c) WHERE b > 6", ""),
    "unique beside plain": ("CREATE UNIQUE INDEX x ON t (b); CREATE INDEX y ON t (b, c)", ""),
    "unique beside longer unique": ("CREATE UNIQUE INDEX x ON t (b); CREATE UNIQUE INDEX y ON t (b, c)", ""),
    "constraint beside its twin": ("ALTER TABLE t ADD CONSTRAINT u UNIQUE (b); ALTER TABLE t ADD CONSTRAINT w UNIQUE (b)", ""),
    "deferred constraint": ("ALTER TABLE t ADD CONSTRAINT u UNIQUE (b) DEFERRABLE; CREATE UNIQUE INDEX x ON t (b)", ""),
    "target of a foreign key": (
        "CREATE UNIQUE INDEX x ON t (b); CREATE TABLE s (b int REFERENCES t (b)); CREATE UNIQUE INDEX y ON t (b)",
        "y",
    ),
    "more included": ("CREATE INDEX x ON t (a) INCLUDE (b); CREATE INDEX y ON t (a, c)", ""),
    "other direction": ("CREATE INDEX x ON t (a DESC); CREATE INDEX y ON t (a, b)", ""),
    "other place of nulls": ("CREATE INDEX x ON t (b NULLS FIRST); CREATE INDEX y ON t (b, a)", ""),
    "directions that differ later": ("CREATE INDEX x ON t (a, b DESC); CREATE INDEX y ON t (a, b, c)", ""),
    "other expression": ("CREATE INDEX x ON t (lower(d)); CREATE INDEX y ON t (upper(d), a)", ""),
    "expression beside column": ("CREATE INDEX x ON t (lower(d)); CREATE INDEX y ON t (d, a)", ""),
    "not first": ("CREATE INDEX x ON t (b); CREATE INDEX y ON t (a, b)", ""),
    "other order": ("CREATE INDEX x ON t (a, b); CREATE INDEX y ON t (b, a)", ""),
    "other method": ("CREATE INDEX x ON t USING hash (a); CREATE INDEX y ON t (a)", ""),
    "prefix of gist": ("CREATE INDEX x ON t USING gist (p); CREATE INDEX y ON t USING gist (p, i inet_ops)", ""),
    "other pages of brin": (
        "CREATE INDEX x ON t USING brin (id) WITH (pages_per_range = 4); CREATE INDEX y ON t USING brin (id) WITH (pages_per_range = 64)",
        "",
    ),
    "other options of a class": (
        "CREATE INDEX x ON t USING brin (a int4_minmax_multi_ops (values_per_range = 8));"
        "CREATE INDEX y ON t USING brin (a int4_minmax_multi_ops (values_per_range = 32))",
        "",
    ),
    "identity of replicas": (
        "CREATE UNIQUE INDEX x ON t (a, id); ALTER TABLE t REPLICA IDENTITY USING INDEX x; CREATE INDEX y ON t (a)",
        "y",
    ),
    "identity beside its twin": (
        "CREATE UNIQUE INDEX x ON t (a, id); ALTER TABLE t REPLICA IDENTITY USING INDEX x; CREATE UNIQUE INDEX y ON t (a, id)",
        "y",
    ),
    "clustered": ("CREATE INDEX x ON t (a); CREATE INDEX y ON t (a, b); CLUSTER t USING x", ""),
    "exclusion": ("ALTER TABLE t ADD CONSTRAINT n EXCLUDE USING btree (b WITH =); CREATE INDEX x ON t (b)", "x"),
    "nulls alike": (
        "CREATE UNIQUE INDEX x ON t (b) NULLS NOT DISTINCT; CREATE UNIQUE INDEX y ON t (b) NULLS NOT DISTINCT",
        "x",
    ),
    "nulls otherwise": ("CREATE UNIQUE INDEX x ON t (b) NULLS NOT DISTINCT; CREATE UNIQUE INDEX y ON t (b)", ""),
    "of a partitioned table": (
        "CREATE TABLE o (k int, l int) PARTITION BY LIST (k); CREATE TABLE o1 PARTITION OF o FOR VALUES IN (1);"
        "CREATE INDEX x ON o (l); CREATE INDEX y ON o (l, k)",
        "",
    ),
    "statistics that only one has": (
        "CREATE INDEX x ON t (lower(d)); ALTER INDEX x ALTER COLUMN 1 SET STATISTICS 900; CREATE INDEX y ON t (lower(d), a)",
        "",
    ),
    "statistics that the keeper has too": (
        "CREATE INDEX x ON t (lower(d)); CREATE INDEX y ON t (lower(d), a); ALTER INDEX y ALTER COLUMN 1 SET STATISTICS 900",
        "x",
    ),
    "unique where a condition holds": ("CREATE UNIQUE INDEX x ON t (b) WHERE c > 5; CREATE UNIQUE INDEX y ON t (b, c) WHERE c > 5", ""),
    "unique beside unique where a condition holds": ("CREATE UNIQUE INDEX x ON t (b); CREATE UNIQUE INDEX y ON t (b) WHERE c > 5", ""),
    "unique with more included": ("CREATE UNIQUE INDEX x ON t (b); CREATE UNIQUE INDEX y ON t (b) INCLUDE (c)", "x"),
    "unique beside included": ("CREATE UNIQUE INDEX x ON t (b, c); CREATE UNIQUE INDEX y ON t (b) INCLUDE (c)", ""),
    "checked at once beside checked at the end": (
        "ALTER TABLE t ADD CONSTRAINT u UNIQUE (b, c) DEFERRABLE INITIALLY IMMEDIATE; CREATE UNIQUE INDEX x ON t (b, c)",
        "",
    ),
    "longer key of a constraint": ("ALTER TABLE t ADD CONSTRAINT u UNIQUE (b); CREATE INDEX y ON t (b, c)", ""),
    "function of the same name": (
        "CREATE SCHEMA o; CREATE FUNCTION f(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1';"
        "CREATE FUNCTION o.f(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT -$1';"
        "CREATE INDEX x ON t (f(a)); CREATE INDEX y ON t (o.f(a), b)",
        "",
    ),
    "class of the same name": (
        "CREATE SCHEMA p; CREATE OPERATOR CLASS p.text_pattern_ops FOR TYPE text USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =,"
        "OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 bttextcmp(text, text);"
        "CREATE INDEX x ON t (d text_pattern_ops); CREATE INDEX y ON t (d p.text_pattern_ops, a)",
        "",
    ),
    "condition of another type": (
        "CREATE INDEX x ON t (a) WHERE d = 'q'; CREATE INDEX y ON t (a) WHERE d = 'q'::varchar COLLATE \"C\"",
        "",
    ),
    "collation within an expression": ('CREATE INDEX x ON t (lower(d COLLATE "C")); CREATE INDEX y ON t (lower(d), a)', ""),
    "own index of a partition": (
        "CREATE TABLE o (k int, l int) PARTITION BY LIST (k); CREATE TABLE o1 PARTITION OF o FOR VALUES IN (1);"
        "CREATE INDEX x ON o1 (l); CREATE INDEX y ON o (l, k)",
        "x",
    ),
    "waits for its partitions": (
        "CREATE TABLE o (k int, l int) PARTITION BY LIST (k); CREATE TABLE o1 PARTITION OF o FOR VALUES IN (1);"
        "CREATE INDEX x ON ONLY o (l); CREATE INDEX y ON o (l, k)",
        "",
    ),
    "of a materialized view": (
        "CREATE MATERIALIZED VIEW m AS SELECT id, a FROM t; CREATE UNIQUE INDEX x ON m (id); CREATE INDEX y ON m (id, a)",
        "",
    ),
    "quoted names": ('CREATE TABLE q ("A" int, a int); CREATE INDEX x ON q ("A"); CREATE INDEX y ON q (a, "A")', ""),
    "of another table": ("CREATE TABLE o (a int, b int); CREATE INDEX x ON t (a); CREATE INDEX y ON o (a, b)", ""),
}


async def rows_of(server: PostgresServer, *statements: str) -> tuple[IndexRow, ...]:
    async with fresh_database(server, *statements) as connection:
        return await read_index_rows(connection)


async def test_only_what_is_surely_redundant_could_go(server: PostgresServer) -> None:
    """Every kind of redundancy is found, and its near miss is not: each case in a schema of its own."""
    setup = [f"CREATE SCHEMA c{number}; SET search_path = c{number}; {TABLE} {made}" for number, (made, _) in enumerate(CASES.values())]
    found = redundant(await rows_of(server, *setup))
    wrong = {}
    for number, (name, (_, expected)) in enumerate(CASES.items()):
        own = [one for one in found if one.index.schema_name == f"c{number}"]
        if sorted(one.index.name for one in own) != expected.split():
            wrong[name] = [(one.index.name, one.keeper, one.reason) for one in own]
    assert not wrong
    dropped = {one.index.title for one in found}
    assert len(dropped) > 20 and not [one for one in found if one.keeper in dropped], "who stays in the place of another must stay"


RESTORED = (
    "CREATE INDEX x ON t (a) INCLUDE (b) WITH (fillfactor = 70) WHERE b > 5",
    'CREATE INDEX x ON t (lower(d) COLLATE "POSIX" text_pattern_ops DESC NULLS LAST, a)',
    "CREATE UNIQUE INDEX x ON t (b)",
    "CREATE INDEX \"x\" ON t ((a + b)); ALTER INDEX x ALTER COLUMN 1 SET STATISTICS 700; COMMENT ON INDEX x IS 'it''s \\ kept'",
    "CREATE INDEX x ON t USING brin (a int4_minmax_multi_ops (values_per_range = 8)) WITH (pages_per_range = 4)",
)


@pytest.mark.parametrize("ddl", RESTORED)
async def test_a_drop_is_undone_from_what_was_stored(server: PostgresServer, ddl: str) -> None:
    """Afterwards the catalog says the same of the index as before, its comment and statistics targets too."""
    async with fresh_database(server, TABLE, ddl) as connection:
        [before] = [one for one in await read_index_rows(connection) if one.name == "x"]
        drop = Droppable(before, "unused")
        await connection.execute(drop.apply)
        assert not [one for one in await read_index_rows(connection) if one.name == "x"]
        for statement in drop.undo:
            await connection.execute(statement)
        [after] = [one for one in await read_index_rows(connection) if one.name == "x"]
    assert after.oid != before.oid and datetime.now(UTC) - datetime.fromisoformat(after.there_since) < timedelta(hours=1)
    assert after.model_copy(update={"bytes": before.bytes, "oid": before.oid, "there_since": before.there_since}) == before


async def test_a_tablespace_is_restored_before_the_predicate() -> None:
    """`pg_get_indexdef` leaves it out, and CREATE INDEX takes it only before WHERE."""
    row = IndexRow(
        schema_name="public", table="t", name="x", method="btree", keys=(), predicate="(b > 5)", tablespace="quick disks",
        definition="CREATE INDEX x ON public.t USING btree (a) WHERE (b > 5)",
    )  # fmt: skip
    [statement] = Droppable(row, "unused").undo
    assert statement == 'CREATE INDEX CONCURRENTLY x ON public.t USING btree (a) TABLESPACE "quick disks" WHERE (b > 5)'


async def test_what_a_failed_build_left_is_found(server: PostgresServer) -> None:
    """CREATE INDEX CONCURRENTLY that fails leaves an invalid index, which every write keeps up; nothing valid is taken for one."""
    async with fresh_database(server, TABLE) as connection:
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute("CREATE UNIQUE INDEX CONCURRENTLY x ON t (a)")
        found = invalid(await read_index_rows(connection))
        assert [(one.index.name, one.why, one.undo) for one in found] == [("x", "invalid", ())]
        await connection.execute(found[0].apply)
        assert not invalid(await read_index_rows(connection))


async def test_a_build_that_still_runs_is_no_failed_one(server: PostgresServer) -> None:
    """While CREATE INDEX CONCURRENTLY waits for an older transaction its index looks invalid too, and is left out."""
    async with fresh_database(server, TABLE) as connection:
        database = await connection.fetchval("SELECT current_database()")
        writer, builder = await server.connect(database), await server.connect(database)
        try:
            await writer.execute("BEGIN; UPDATE t SET c = 1 WHERE id = 1")
            build = asyncio.create_task(builder.execute("CREATE INDEX CONCURRENTLY x ON t (a)"))
            while not await connection.fetchval("SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass('x') AND NOT indisvalid"):
                assert not build.done()
            assert not invalid(await read_index_rows(connection))
            await writer.execute("ROLLBACK")
            await build
            assert "x" in [one.name for one in await read_index_rows(connection)]
        finally:
            await writer.close()
            await builder.close()


LONG_AGO = (datetime.now(UTC) - timedelta(days=100)).isoformat(timespec="seconds")
NOW = datetime.now(UTC).isoformat(timespec="seconds")


async def test_unused_needs_all_servers_and_a_business_cycle(postgres: PostgresServer) -> None:
    """An index that only the standby scans is used; without the standby's counts, or with young ones, nothing is said."""
    setup = (
        TABLE,
        "CREATE INDEX here ON t (a); CREATE INDEX there ON t (c); CREATE INDEX nowhere ON t (d); CREATE UNIQUE INDEX rule ON t (b)",
        "CREATE INDEX known ON t (lower(d)); ANALYZE t",
    )
    async with fresh_database(postgres, *setup) as connection:
        database = await connection.fetchval("SELECT current_database()")
        with start_standby(postgres) as standby:
            reader = await standby.connect(database)
            try:
                for session, column in ((connection, "a"), (reader, "c")):
                    await session.execute(f"BEGIN; SET LOCAL enable_seqscan = off; SELECT count(*) FROM t WHERE {column} = 3; COMMIT")
                    await session.execute("SELECT pg_stat_force_next_flush(); SELECT 1")
                rows = await read_index_rows(connection)
                own, standbys = await read_scans(connection, "primary")
                theirs, below = await read_scans(reader, "standby")
            finally:
                await reader.close()
    assert (standbys, below) == (1, 0)
    assert "1 of 1 standbys were not read" in unused(rows, [own], standbys, NOW)
    young = unused(rows, [own, theirs], standbys, NOW)
    assert isinstance(young, str) and "35 are needed" in young
    old = [ServerScans(server=one.server, counted_since=LONG_AGO, scans=one.scans) for one in (own, theirs)]
    assert unused(rows, old, standbys, NOW) == (), "each of them may have been made since"
    found = unused([one.model_copy(update={"there_since": LONG_AGO}) for one in rows], old, standbys, NOW)
    assert not isinstance(found, str) and [one.index.name for one in found] == ["nowhere"]


async def test_a_foreign_key_without_index_is_told(server: PostgresServer) -> None:
    """In whatever order the columns begin an index; a partial one counts where it leaves out nothing but rows that refer to nothing."""
    partial = "CREATE INDEX y ON t (d) WHERE a > 1; CREATE INDEX z ON t (c, e) WHERE c IS NOT NULL AND e IS NOT NULL"
    async with fresh_database(server, TABLE, "CREATE INDEX x ON t (b, a, c)", partial) as connection:
        rows = await read_index_rows(connection)
    keys = [("public", "t", columns) for columns in (("a", "b"), ("d",), ("b",), ("e", "c"), ("c",))]
    assert foreign_keys_without_index(rows, keys) == ("public.t(d)", "public.t(c)")
