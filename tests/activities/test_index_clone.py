"""Index searches on real servers: hypothetical indexes by the dozen, and hidden ones on a clone."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from temporalio.exceptions import ApplicationError

from activities import index_clone
from activities.index_clone import Executed, IndexClone
from activities.index_measuring import choose_by_measuring, verify
from activities.index_what_ifs import IndexWhatIfs
from activities.postgres_catalog import read_catalog_of
from activities.postgres_connection import connected
from activities.postgres_explain_session import PlanSession, Refused, Timeouts
from perfwright.analysis.explaining.plan_answers import index_names
from perfwright.analysis.indexes.definitions import IndexDefinition
from perfwright.analysis.indexes.selection import NONE, Asking, Found, Indexes, PlanAnswer, PlanQuestion, select
from perfwright.analysis.indexes.workload import Workload, read_workload
from perfwright.models.database import DatabaseFacts
from tests.databases import TARGET, VARIABLE, fresh_database, observed_postgres, postgres, postgres18, server
from tests.postgres import PostgresServer

__all__ = ["observed_postgres", "postgres", "postgres18", "server"]

TABLES = """
    CREATE TABLE parts (id int PRIMARY KEY, kind int, name text, sent date, due date, gone date, price int);
    INSERT INTO parts SELECT n, n % 500, 'part ' || md5(n::text), date '2026-01-01' + n % 300,
           date '2026-01-01' + n % 300 + CASE WHEN n % 50 = 0 THEN -1 ELSE 1 END, CASE WHEN n % 40 > 0 THEN date '2026-02-01' END, n
      FROM generate_series(1, 20000) n;
    VACUUM ANALYZE parts
"""
QUERIES = (
    "SELECT sum(price) FROM parts WHERE kind = 7",
    "SELECT count(*) FROM parts WHERE due < sent",
    "SELECT count(*) FROM parts WHERE lower(name) = 'part c4ca4238a0b923820dcc509a6f75849b'",
    "SELECT count(*) FROM parts WHERE name LIKE '%c4ca4238a0b9%'",
    "SELECT count(*) FROM parts WHERE gone IS NULL AND price > 3",
)
KIND = IndexDefinition("public", "parts", ("kind",))
COVER = IndexDefinition("public", "parts", ("kind",), ("price",))


@asynccontextmanager
async def clone(server: PostgresServer) -> AsyncIterator[tuple[IndexClone, Workload]]:
    statements = [one for one in TABLES.split(";") if one.strip()]
    async with fresh_database(server, *statements) as connection:
        workload = read_workload(QUERIES, (1.0,) * len(QUERIES), await read_catalog_of(connection), 10**9)
        environ = {VARIABLE: server.dsn(await connection.fetchval("SELECT current_database()"))}
        async with connected(TARGET, environ, read_only=False) as writing:
            yield IndexClone(TARGET, writing, workload.texts, 5.0), workload


async def test_indexes_are_there_only_while_shown(server: PostgresServer) -> None:
    """Built and hidden, shown in any combination, hidden again; the size is the real one."""
    async with clone(server) as (tried, _):
        built = await tried.build((KIND, COVER), ("parts",))
        assert not index_names(await tried.plan(0, NONE))
        assert index_names(await tried.plan(0, frozenset((KIND,)))) == {built[KIND].name}
        assert index_names(await tried.plan(0, frozenset((KIND, COVER)))) == {built[COVER].name}
        assert not index_names(await tried.plan(0, NONE))
        assert 0 < built[KIND].bytes < built[COVER].bytes


async def test_what_no_hypothetical_index_can_be_is_tried_for_real(server: PostgresServer) -> None:
    """Partial, expression and trigram candidates of the queries are built, and each is what its query's plan reads."""
    async with clone(server) as (tried, workload):
        special = [one for one in workload.candidates if not one.plain]
        built = await tried.build(special, ("parts",))
        assert not tried.refused
        kinds = {"due < sent": 1, "LOWER(name)": 2, "gin_trgm_ops": 3, "gone IS NULL": 4}
        for words, query in kinds.items():
            fitting = [one for one in built if words.lower() in one.ddl("x").lower()]
            assert fitting, [one.ddl("x") for one in built]
            read = [index_names(await tried.plan(query, frozenset((one,)))) for one in fitting]
            assert any(read), words


async def test_what_the_server_refuses_is_told_and_the_rest_is_built(server: PostgresServer) -> None:
    """A candidate that cannot be an index must not end the search for others."""
    async with clone(server) as (tried, _):
        wrong = IndexDefinition("public", "parts", (), expression="(now() - sent)")
        built = await tried.build((wrong, KIND), ("parts",))
        assert list(built) == [KIND] and "IMMUTABLE" in tried.refused[wrong]


async def test_what_a_write_puts_into_the_wal_is_the_same_each_time(server: PostgresServer) -> None:
    """A hidden index is kept up like a shown one: an update of its column is no heap-only one any more."""
    update = "UPDATE parts SET kind = kind + 1 WHERE id = 77"
    async with clone(server) as (tried, _):
        await tried.write(update, NONE)  # its first writes whole pages
        without = [await tried.write(update, NONE) for _ in range(3)]
        assert len(set(without)) == 1 and without[0].full_page_images == 0
        await tried.build((KIND,), ("parts",))
        await tried.write(update, NONE)
        with_it = [await tried.write(update, NONE) for _ in range(3)]
        assert len(set(with_it)) == 1 and with_it[0].records > without[0].records
        assert 60 <= with_it[0].bytes - without[0].bytes <= 400


async def test_runs_without_indexes_serve_several_plans(server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """While they are recent: half of the time for measuring would go into running the same again; later each plan gets its own."""
    async with clone(server) as (tried, _):
        await tried.build((KIND, COVER), ("parts",))
        sides: list[bool] = []

        async def run(query: int, indexes: Indexes, within_ms: float = math.inf) -> Executed | None:
            sides.append(bool(indexes))
            return await IndexClone.run(tried, query, indexes, within_ms)

        monkeypatch.setattr(tried, "run", run)
        for recent_s, paired in ((math.inf, False), (-1.0, True)):
            monkeypatch.setattr(index_clone, "RECENT_S", recent_s)
            await tried.ratio(0, frozenset((COVER,)))
            sides.clear()
            await tried.ratio(0, frozenset((KIND,)))
            assert (sides.count(False) == sides.count(True)) is paired and sides[0]


async def test_a_run_is_ended_early_once(server: PostgresServer) -> None:
    """A run with its own bound is cut off there, and the next has the bound of all again."""
    async with clone(server) as (tried, _):
        sleeping = IndexClone(TARGET, tried._connection, ("SELECT pg_sleep(100)", "SELECT pg_sleep(0.06)"), 10.0)
        assert await sleeping.run(0, NONE, 50.0) is None
        assert await sleeping.run(1, NONE) is not None


async def test_measuring_keeps_to_its_time(server: PostgresServer) -> None:
    """Without time nothing is built, and without a start the result is no index."""
    async with clone(server) as (tried, workload):
        found = Found((), (), 0, {})
        choice = await choose_by_measuring(tried, workload, found, ("parts",), 0.0)
        assert choice.measured.indexes == NONE and choice.built == 0 and choice.wanted > 0


async def test_measuring_finds_what_really_helps(server: PostgresServer) -> None:
    """Without any help of costs: from no start at all, the special candidates that win by time are added."""
    async with clone(server) as (tried, workload):
        choice = await choose_by_measuring(tried, workload, Found((), (KIND, COVER), 0, {}), ("parts",), 60.0)
        ratios = choice.measured.ratios
        assert {one.keys[:1] for one in choice.measured.indexes if one.plain} <= {("kind",)}
        assert ratios[0] < 0.7 and ratios[1] < 0.7 and choice.measured.value < 0 and choice.measured.finished
        assert choice.seconds < 70


async def test_verifying_drops_what_makes_a_query_slower(server: PostgresServer) -> None:
    """An index that the planner is talked into and that loses by time goes; one that wins stays, with fewer blocks read."""
    async with clone(server) as (tried, workload):
        # Rows of a range in no order of the table: the planner is made to think that random pages cost nothing.
        await tried._connection.execute(
            "SET random_page_cost = 0; SET cpu_index_tuple_cost = 0; SET cpu_operator_cost = 0; SET seq_page_cost = 1000"
        )
        price = IndexDefinition("public", "parts", ("price",))
        kept = await verify(tried, workload, frozenset((COVER, price)), ("parts",), 60.0)
        assert price in kept.dropped and {one.keys for one in kept.indexes} == {("kind",)}, kept
        assert kept.queries[0].ratio < 0.9 and kept.queries[0].blocks_after < kept.queries[0].blocks_before
        assert not [one for one in kept.queries.values() if one.suspicious], kept


async def test_production_is_never_a_clone(server: PostgresServer) -> None:
    """Hiding an index changes the catalog."""
    production = TARGET.model_copy(update={"environment": "production"})
    async with clone(server) as (tried, _):
        with pytest.raises(ApplicationError, match="production"):
            IndexClone(production, tried._connection, QUERIES, 5.0)


def asking(*sets: frozenset[IndexDefinition]) -> Asking[list[PlanAnswer]]:
    answers: dict[int, PlanAnswer] = {}
    for number, one in enumerate(sets):
        answers[number] = yield PlanQuestion(0, one)
    return list(answers.values())


@asynccontextmanager
async def session(server: PostgresServer, *more: str) -> AsyncIterator[tuple[PlanSession, Workload]]:
    statements = [one for one in TABLES.split(";") if one.strip()]
    async with fresh_database(server, *statements, "CREATE EXTENSION hypopg", *more) as connection:
        environ = {VARIABLE: server.dsn(await connection.fetchval("SELECT current_database()"))}
        workload = read_workload(QUERIES, (1.0,) * len(QUERIES), await read_catalog_of(connection), 10**9)
        async with connected(TARGET, environ) as reading:
            facts = DatabaseFacts(system="postgresql", version="15", version_number=150_000, database="x")
            yield await PlanSession(reading, facts, Timeouts(10, 1)).open(), workload


async def test_hypothetical_sets_are_asked_about_and_forgotten(postgres: PostgresServer) -> None:
    """The session shows exactly the set asked about, whatever came before, and none when the search ends."""
    async with session(postgres) as (plans, workload):
        what_ifs = await IndexWhatIfs.find(plans, workload.texts)
        none, one, both, again = await what_ifs.answer(asking(NONE, frozenset((KIND,)), frozenset((KIND, COVER)), NONE))
        assert (none.used, one.used, both.used) == (NONE, {KIND}, {COVER}) and both.cost < one.cost < none.cost == again.cost
        async with plans.transaction():
            assert not await plans.fetch("SELECT 1 FROM hypopg()")


async def test_a_search_over_a_real_planner_finds_the_plain_index(postgres: PostgresServer) -> None:
    """From the statements alone to the set."""
    async with session(postgres) as (plans, workload):
        what_ifs = await IndexWhatIfs.find(plans, workload.texts)
        found = await what_ifs.answer(select(workload.problem, workload.candidates))
        assert any(one.keys[0] == "kind" for one in found.selections[0].indexes)


async def test_a_view_is_never_asked_about(postgres: PostgresServer) -> None:
    """HypoPG#116: it may end the server."""
    async with session(postgres, "CREATE VIEW seen AS SELECT * FROM parts") as (plans, _):
        with pytest.raises(Refused, match="view seen"):
            await IndexWhatIfs.find(plans, ["SELECT * FROM seen WHERE kind = 3"])
