"""On a real server: advised DDL runs and is undone, hostile names included; sizes are about right; rewrites return the same rows."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from activities.postgres_catalog import read_catalog_of
from perfwright.analysis.plans.judge import judge_plans
from perfwright.analysis.plans.plan_tree import parse_plan
from perfwright.analysis.query_advice.cheap_fixes import cheap_fixes
from perfwright.analysis.query_advice.identifiers import quoted
from perfwright.analysis.query_advice.index_candidates import propose_indexes
from perfwright.analysis.query_advice.index_sizes import btree_bytes
from perfwright.analysis.query_advice.memory_needs import needed_bytes
from perfwright.analysis.query_advice.plan_view import Tables
from perfwright.analysis.query_advice.rewrites import rewrite_candidates
from perfwright.analysis.statements.grouping import group_statements
from perfwright.models.database import Catalog, DatabaseFacts
from perfwright.models.query_performance import ExplainOutcome, PlanHit
from perfwright.models.query_steps import RULE_FAMILIES, PlanSet, StatementPlans, TakenPlan
from perfwright.models.statement import StatementTable
from tests.perfwright.analysis.query_advice.drawn import database
from tests.postgres import PostgresServer, postgres  # noqa: F401
from tests.postgres18 import postgres18  # noqa: F401

ODD = 'Order "x"; --'
LONG = "größe_" + "y" * 55
SEED = f"""
CREATE SCHEMA "My shop";
CREATE TABLE "My shop".{quoted(ODD)} (id bigint PRIMARY KEY, "Customer ID" bigint NOT NULL, {quoted(LONG)} text, "select" int);
INSERT INTO "My shop".{quoted(ODD)} SELECT i, i % 4000, 'v' || i % 900, i % 7 FROM generate_series(1, 60000) i;
CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL, status text, total int, at timestamptz, day date);
INSERT INTO orders SELECT i, i % 3000, CASE WHEN i % 11 = 0 THEN NULL ELSE 's' || i % 5 END, CASE WHEN i % 13 = 0 THEN NULL ELSE i * 7919 % 1000 END,
    '2024-01-01 00:00+00'::timestamptz + i * interval '37 minutes', '2024-01-01'::date + i % 700 FROM generate_series(1, 40000) i;
CREATE TABLE lines (id int PRIMARY KEY, orders int NOT NULL, product int, price int);
INSERT INTO lines SELECT i, i % 9000 + 1, CASE WHEN i % 17 = 0 THEN NULL ELSE i % 50 END, i * 31 % 400 FROM generate_series(1, 30000) i;
CREATE TABLE notes (id int, words text);
INSERT INTO notes SELECT i, md5(i::text) || md5((-i)::text) FROM generate_series(1, 20000) i;
CREATE SCHEMA small;
CREATE TABLE small.orders AS SELECT * FROM orders WHERE id % 27 = 0;
CREATE TABLE small.lines AS SELECT * FROM lines WHERE id % 12 = 0;
CREATE TABLE places (id int, city int, country int);
INSERT INTO places SELECT i, i % 200, i % 200 / 4 FROM generate_series(1, 50000) i;
CREATE TABLE stays (id int PRIMARY KEY, room int NOT NULL, during tstzrange NOT NULL, host inet NOT NULL, paid boolean NOT NULL, price int NOT NULL,
    words text NOT NULL, code varchar(12) NOT NULL, mail text NOT NULL);
INSERT INTO stays SELECT i, i % 3000, tstzrange('2024-01-01Z'::timestamptz + i * interval '20 minutes', '2024-01-01Z'::timestamptz + i * interval '20 minutes'
    + interval '1 hour'), ('10.' || i % 200 || '.' || i / 200 % 250 || '.' || i % 250)::inet, i % 200 <> 0, i * 7919 % 1000, md5(i::text), 'B' || i, 'm' || i
    FROM generate_series(1, 20000) i;
CREATE INDEX stays_code ON stays (code);
CREATE INDEX stays_mail ON stays (mail COLLATE "POSIX");
"""


class Shop:
    """The seeded database, its catalog, and what a run would know of some statements."""

    def __init__(self, connection: asyncpg.Connection, catalog: Catalog) -> None:
        self.connection, self.catalog = connection, catalog
        self.facts: DatabaseFacts = database().model_copy(update={"database": "shop"})

    async def examined(self, *texts: str, settings: str = "") -> tuple[StatementTable, PlanSet, tuple[PlanHit, ...]]:
        table = group_statements(None, None, texts, self.catalog, database=self.facts)
        statements = []
        for one in table.statements:
            (sample,) = one.samples
            async with self.connection.transaction():
                await self.connection.execute(settings or "SELECT 1")
                plan = json.loads(await self.connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sample.text}"))[0]
            outcome = ExplainOutcome(fingerprint=one.fingerprint, mode="analyzed", plans=1, execution_ms=plan["Execution Time"])
            # Not so quick on any machine that its plan would not be judged.
            taken = TakenPlan(sample=sample, mode="analyzed", plan=plan, execution_ms=max(5.0, plan["Execution Time"]))
            statements.append(StatementPlans(fingerprint=one.fingerprint, outcome=outcome, plans=(taken,)))
        plans = PlanSet(database=self.facts, statements=tuple(statements))
        hits = tuple(hit for family in RULE_FAMILIES for hit in judge_plans(plans, table, self.catalog, family).hits)
        return table, plans, hits

    async def indexes(self) -> set[str]:
        return {row[0] for row in await self.connection.fetch("SELECT indexrelid::regclass::text FROM pg_index WHERE indisvalid")}


@pytest.fixture(scope="module", params=["postgres", "postgres18"])
def seeded(request: pytest.FixtureRequest) -> tuple[str, Catalog]:
    """Where the shop is, and its catalog."""
    server: PostgresServer = request.getfixturevalue(request.param)

    async def seed() -> tuple[str, Catalog]:
        url = (await server.new_database()).replace("+asyncpg", "")
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(SEED)
            # What a session counted is otherwise told after a second, and then as if it had come after the ANALYZE.
            await connection.execute("SELECT pg_stat_force_next_flush()")
            await connection.execute("VACUUM ANALYZE")
            return url, await read_catalog_of(connection)
        finally:
            await connection.close()

    return asyncio.run(seed())


@pytest.fixture
async def shop(seeded: tuple[str, Catalog]) -> AsyncIterator[Shop]:
    url, catalog = seeded
    connection = await asyncpg.connect(url, server_settings={"max_parallel_workers_per_gather": "0"})
    try:
        yield Shop(connection, catalog)
    finally:
        await connection.close()


async def test_an_advised_index_is_built_used_and_taken_away_again(shop: Shop) -> None:
    """Schema, table and columns with quotes, semicolons, umlauts and 61 bytes: the DDL as it stands runs, serves, and its undo runs."""
    odd = f'"My shop".{quoted(ODD)}'
    texts = (
        f'SELECT * FROM {odd} WHERE "Customer ID" = 5',
        f"SELECT * FROM {odd} WHERE {quoted(LONG)} = 'v7' AND \"select\" = 3",
        "SELECT * FROM orders WHERE customer = 17 AND total > 10",
        "SELECT o.*, (SELECT sum(price) FROM lines l WHERE l.orders = o.id) AS s FROM orders o WHERE o.id < 300",
    )
    table, plans, hits = await shop.examined(*texts)
    proposals = propose_indexes(hits, table, plans, shop.catalog).proposals
    assert {one.title for one in proposals} == {
        f"My shop.{ODD}(Customer ID)", f"My shop.{ODD}({LONG}, select)", "orders(customer, total)", "lines(orders)"
    }  # fmt: skip
    before = await shop.indexes()
    for proposal in proposals:
        await shop.connection.execute(proposal.ddl)
        assert len(proposal.name.encode()) <= 63
    assert len(await shop.indexes()) == len(before) + len(proposals)
    again = await read_catalog_of(shop.connection)
    for text in texts:
        told = await shop.connection.fetchval(f"EXPLAIN (FORMAT JSON) {text}")
        assert any(json.dumps(one.name, ensure_ascii=False)[1:-1] in told for one in proposals), text
    assert propose_indexes(hits, table, plans, again).proposals == ()
    for proposal in proposals:
        await shop.connection.execute(proposal.undo)
    assert await shop.indexes() == before


async def test_indexes_on_expressions_and_pieces_of_text_are_built_and_used(shop: Shop) -> None:
    """Functions, arithmetic, trigrams: as the plan spells them, so that the planner recognises them."""
    texts = (
        "SELECT id FROM orders WHERE upper(status) = 'S9'",
        "SELECT id FROM orders WHERE customer + 1 = 18",
        "SELECT id FROM notes WHERE words LIKE '%c81e728d%'",
        "SELECT id FROM notes WHERE words ~ 'c81e728d9d4c'",
    )
    await shop.connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    table, plans, hits = await shop.examined(*texts)
    proposals = propose_indexes(hits, table, plans, shop.catalog).proposals
    assert {one.title for one in proposals} == {"orders(upper(status))", "orders(customer + 1)", "notes(words)"}
    for proposal in proposals:
        await shop.connection.execute(proposal.ddl)
    await shop.connection.execute("ANALYZE orders, notes")
    for text in texts:
        told = await shop.connection.fetchval(f"EXPLAIN (FORMAT JSON) {text}")
        assert any(one.name in told for one in proposals), text
    for proposal in proposals:
        await shop.connection.execute(proposal.undo)
    await shop.connection.execute("DROP EXTENSION pg_trgm")


SEARCHED = {
    # condition                                                                            the index that finds it
    "during && tstzrange('2024-02-01 10:00Z', '2024-02-01 11:00Z')":                       "stays(during)",
    "'2024-02-01 10:05Z'::timestamptz <@ during":                                          "stays(during)",
    "host << '10.7.0.0/24'":                                                               "stays(host)",
    "NOT paid":                                                                            "stays(paid)",
    "(room, id) > (2997, 10)":                                                             "stays(room, id)",
    "price < 2 OR price > 998":                                                            "stays(price)",
    "price BETWEEN SYMMETRIC 7 AND 5":                                                     "stays(price)",
    "words LIKE 'c4ca%' OR words LIKE 'c81e%'":                                            "stays(words)",
    "words LIKE '%c4ca4%' OR words ~ 'c81e7'":                                             "stays(words)",
    "code LIKE 'B1777%'":                                                                  "stays(code)",
    "mail = 'm77'":                                                                        "stays(mail)",
    "trim(words) = 'x'":                                                                   "stays(TRIM(BOTH FROM words))",
}  # fmt: skip


@pytest.mark.parametrize("condition", SEARCHED)
async def test_a_condition_gets_the_kind_of_index_that_finds_it(shop: Shop, condition: str) -> None:
    """Ranges, networks, flags, rows, several ranges or patterns of one column, an index of another collation: advised, built and used."""
    text = f"SELECT id FROM stays WHERE {condition}"
    await shop.connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    table, plans, hits = await shop.examined(text)
    (proposal,) = propose_indexes(hits, table, plans, shop.catalog).proposals
    await shop.connection.execute(proposal.ddl)
    try:
        await shop.connection.execute("ANALYZE stays")
        assert proposal.title == SEARCHED[condition]
        assert proposal.name in await shop.connection.fetchval(f"EXPLAIN (FORMAT JSON) {text}")
    finally:
        await shop.connection.execute(proposal.undo)


async def test_a_search_over_several_columns_gets_trigrams_for_each(shop: Shop) -> None:
    """One alone would not help: both are advised, and combined."""
    text = "SELECT id FROM stays WHERE words ILIKE '%c4ca42%' OR mail ILIKE '%m1999%'"
    table, plans, hits = await shop.examined(text)
    advice = propose_indexes(hits, table, plans, shop.catalog).proposals
    assert {one.title: one.trigrams and one.together for one in advice} == {"stays(words)": True, "stays(mail)": True}


async def test_with_the_index_there_nothing_is_advised(shop: Shop) -> None:
    """The healthy twin: primary keys, small results, an aggregate over all."""
    table, plans, hits = await shop.examined(
        "SELECT * FROM orders WHERE id = 5",
        "SELECT status, count(*) FROM orders GROUP BY status",
        "SELECT o.id FROM orders o JOIN lines l ON l.id = o.id WHERE o.id < 50",
    )
    assert propose_indexes(hits, table, plans, shop.catalog).proposals == ()
    assert cheap_fixes(hits, table, plans, shop.catalog) == ()


@pytest.mark.parametrize("columns", [("customer",), ("status",), ("customer", "status"), ("id",), ("at",), ("total", "status")])
async def test_the_size_of_an_index_is_known_before_it_exists(shop: Shop, columns: tuple[str, ...]) -> None:
    """Within a third, deduplicated or not."""
    facts = shop.catalog.table("orders")
    assert facts is not None
    name = f"sized_{'_'.join(columns)}"
    await shop.connection.execute(f"CREATE INDEX {name} ON orders ({', '.join(columns)})")
    real = await shop.connection.fetchval(f"SELECT pg_relation_size('{name}')")
    await shop.connection.execute(f"DROP INDEX {name}")
    assert 0.66 < btree_bytes(facts, columns) / real < 1.5


SAME = [
    # text                                                                                                   rule that must have fired
    ("SELECT o.id FROM orders o WHERE o.total > (SELECT avg(i.total) FROM orders i WHERE i.status = o.status)", "R11"),
    ("SELECT o.id FROM orders o WHERE o.total = (SELECT max(total) FROM orders i WHERE i.customer = o.customer AND i.day = o.day)", "R11"),
    ("SELECT id FROM lines WHERE id IN (SELECT l.id FROM lines l WHERE l.price < (SELECT 0.5 * avg(price) FROM lines WHERE product = l.product))", "R11"),
    ("SELECT *, (SELECT count(*) FROM lines WHERE orders = o.id) AS n FROM orders o", "R11"),
    ("SELECT o.id, (SELECT sum(price) FROM lines l WHERE l.orders = o.id AND l.product > 3) AS s FROM orders o JOIN lines x ON x.id = o.id", "R11"),
    ("SELECT id FROM orders WHERE (SELECT count(*) FROM lines WHERE orders = orders.id) > 0", "R11"),
    ("SELECT id FROM orders o WHERE (SELECT count(l.id) FROM lines l WHERE l.orders = o.id AND l.price > 390) = 0", "R11"),
    ("SELECT id FROM orders WHERE id NOT IN (SELECT orders FROM lines WHERE price > 100)", "R11"),
    ("SELECT id FROM orders WHERE date(at) = '2024-03-10'", "R12"),
    ("SELECT id FROM orders WHERE at::date BETWEEN '2024-03-30' AND '2024-04-01'", "R12"),
    ("SELECT id FROM orders WHERE at::date > '2025-10-30' OR at::date <= '2024-01-01'", "R12"),
    ("SELECT id FROM orders WHERE NOT (at::date = '2024-03-31')", "R12"),
    ("SELECT id FROM orders WHERE date_trunc('month', at) = '2024-10-01' AND extract(year FROM day) = 2025", "R12"),
    ("SELECT status FROM orders WHERE id::text = '42' AND total = 598.0", "R13"),
    ("SELECT count(*), sum(total) FROM orders WHERE status = 's1' OR total = 17 OR customer = 4", "R15"),
    ("SELECT status FROM orders WHERE total < 5 OR status = 's2' ORDER BY status, id LIMIT 50", "R15"),
    ("SELECT o.id, l.price FROM orders o JOIN lines l ON l.orders = o.id WHERE o.total = 10 OR l.price = 20", "R15"),
    ("WITH c AS MATERIALIZED (SELECT customer, count(*) AS n FROM orders GROUP BY customer) SELECT * FROM c WHERE customer = 7", "R23"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "rule"), SAME)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
async def test_a_rewrite_returns_the_same_rows(shop: Shop, text: str, rule: str, zone: str) -> None:
    """As a bag, with NULLs, duplicates, and instants around a change of the clock; with the same names and types of columns."""
    table = group_statements(None, None, (text,), shop.catalog, database=shop.facts)
    (statement,) = table.statements
    fired = PlanHit(rule=rule, fingerprint=statement.fingerprint, node=0, node_title="", statement="")
    candidates = rewrite_candidates([fired], table, PlanSet(database=shop.facts, statements=()), shop.catalog)
    assert candidates, "nothing was offered"
    await shop.connection.execute(f"SET timezone = '{zone}'; SET search_path = small")
    for candidate in candidates:
        assert await _bag(shop, candidate.rewritten) == await _bag(shop, candidate.original)


async def _bag(shop: Shop, text: str) -> tuple[list[tuple[str, Any]], Counter[tuple[Any, ...]]]:
    statement = await shop.connection.prepare(text)
    names = [(one.name, one.type.name) for one in statement.get_attributes()]
    return names, Counter(tuple(row) for row in await statement.fetch())


async def test_correlated_columns_are_told_to_the_planner_and_forgotten_again(shop: Shop) -> None:
    """R09 on city and country: CREATE STATISTICS makes the estimate right; the undo runs."""
    text = "SELECT p.id, o.id FROM places p JOIN orders o ON o.id = p.id WHERE p.city = 55 AND p.country = 13"
    table, plans, hits = await shop.examined(text)
    (fix,) = cheap_fixes(hits, table, plans, shop.catalog)
    assert (fix.kind, fix.subject) == ("extended statistics", "public.places(city,country)")
    wrong = await _planned(shop, "places")
    await shop.connection.execute(fix.change.apply)
    right = await _planned(shop, "places")
    assert wrong < 30 < 150 < right < 400
    again = await read_catalog_of(shop.connection)
    assert cheap_fixes(hits, table, plans, again) == ()
    await shop.connection.execute(fix.change.undo)
    assert await _planned(shop, "places") < 30


async def _planned(shop: Shop, table: str) -> float:
    plan = json.loads(await shop.connection.fetchval(f"EXPLAIN (FORMAT JSON) SELECT * FROM {table} WHERE city = 55 AND country = 13"))[0][
        "Plan"
    ]
    return float(plan["Plan Rows"])


async def test_the_memory_that_is_advised_keeps_a_sort_and_a_hash_from_the_disk(shop: Shop) -> None:
    """What spilled with 1 MB does not with what follows from the spill, which is no more than eight times too much."""
    for text in (
        "SELECT * FROM orders ORDER BY status, total, at",
        "SELECT * FROM orders o JOIN lines l ON l.orders = o.id AND l.price = o.total",
        "SELECT customer, at, count(*) FROM orders GROUP BY customer, at",
    ):
        settings = "SET LOCAL work_mem = '256kB'; SET LOCAL enable_sort = on; SET LOCAL enable_mergejoin = off"
        plan = await _analyzed(shop, text, settings)
        needs = [needed_bytes(one, plan, shop.facts) for one in plan.nodes if _spilled(one)]
        assert needs, text
        enough = await _analyzed(shop, text, f"{settings}; SET LOCAL work_mem = '{int(max(needs) / 1024) + 1}kB'")
        assert not any(_spilled(one) for one in enough.nodes), text


def _spilled(node: Any) -> bool:
    return node.text("Sort Space Type") == "Disk" or node.number("Hash Batches") > 1 or node.number("Disk Usage") > 0


async def _analyzed(shop: Shop, text: str, settings: str) -> Any:
    async with shop.connection.transaction():
        await shop.connection.execute(settings)
        return parse_plan(json.loads(await shop.connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}"))[0])


async def test_every_change_runs_and_its_undo_too(shop: Shop) -> None:
    """ANALYZE, a statistics target, VACUUM and work_mem of a role whose name is odd, on a table whose name is."""
    odd = shop.catalog.table(ODD, "My shop")
    assert odd is not None
    stale = shop.catalog.model_copy(
        update={"tables": tuple(one.model_copy(update={"modified_rows": 50_000}) if one == odd else one for one in shop.catalog.tables)}
    )
    text = f'SELECT * FROM "My shop".{quoted(ODD)} WHERE "Customer ID" = 5'
    table, plans, _ = await shop.examined(text)
    (statement,) = table.statements
    title = plans.statements[0].plans[0].plan
    assert isinstance(title, dict)
    role = 'app "2"'
    table = StatementTable(statements=(statement.model_copy(update={"roles": (role,)}),), total_ms=1, seconds=1)
    base = PlanHit(rule="R09", fingerprint=statement.fingerprint, node=0, node_title="", relation=ODD, statement="", share=1)
    name = await shop.connection.fetchval("SELECT current_database()")
    await shop.connection.execute(f"CREATE ROLE {quoted(role)}")
    own = plans.model_copy(update={"database": shop.facts.model_copy(update={"database": name})})
    fixes = [
        *cheap_fixes([base], table, own, stale),
        *cheap_fixes([base.model_copy(update={"rule": "R05"})], table, own, shop.catalog),
    ]
    assert [one.kind for one in fixes] == ["analyze", "vacuum"]
    for fix in fixes:
        await shop.connection.execute(fix.change.apply)
        await shop.connection.execute(fix.change.undo)
    assert Tables(shop.catalog).find(f"My shop.{ODD}") == odd


async def test_work_mem_of_a_role_is_set_and_reset(shop: Shop) -> None:
    """The role's next session in this database has it, and after the undo has not."""
    role = "quota 'x'"
    name = await shop.connection.fetchval("SELECT current_database()")
    await shop.connection.execute(f"CREATE ROLE {quoted(role)}")
    table, plans, hits = await shop.examined("SELECT * FROM orders ORDER BY status, total, at", settings="SET LOCAL work_mem = '256kB'")
    table = table.model_copy(update={"statements": tuple(one.model_copy(update={"roles": (role,)}) for one in table.statements)})
    own = plans.model_copy(update={"database": database(work_mem="256kB").model_copy(update={"database": name})})
    (fix,) = cheap_fixes(hits, table, own, shop.catalog)
    assert fix.kind == "work_mem"
    await shop.connection.execute(fix.change.apply)
    kept = await shop.connection.fetchval(
        "SELECT setconfig FROM pg_db_role_setting JOIN pg_roles r ON r.oid = setrole WHERE rolname = $1", role
    )
    assert kept == [f"work_mem={fix.change.title.rpartition(' to ')[2]}"]
    await shop.connection.execute(fix.change.undo)
    assert await shop.connection.fetchval("SELECT count(*) FROM pg_db_role_setting") == 0
