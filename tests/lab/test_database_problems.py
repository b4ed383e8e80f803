"""Each planted problem of the shop's database is in its plan, and not in that of the sound version; both give the same rows."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from lab.database import data, statements
from lab.database.seeding import TABLES
from lab.database.shop import ShopDatabase
from lab.database.statements import FeedPlace, Query
from lab.database.traffic import DECK, Customers
from lab.planted import planted
from lab.problems import QUERIES
from tests.lab.databases import Node, limit_children, nodes, off_by, on_disk, plan, removed_share, running, sql, start
from tests.postgres import PostgresServer

ORDERS = 20_000
SEED = 3


@pytest.fixture(scope="module")
def both_dsns(postgres: PostgresServer) -> Iterator[tuple[str, str]]:
    """A shop with every problem on a server of its own, and one with none on a server that is given."""
    common = ("--orders", str(ORDERS), "--seed", str(SEED))
    planted_one = start(*common, "--problems", "all")
    sound_one = start(*common, "--problems", "none", environment={"SHOP_DB_DSN": postgres.url()})
    with running(planted_one) as planted_told, running(sound_one) as sound_told:
        yield planted_told["dsn"], sound_told["dsn"]


@pytest.fixture
def sound_dsn(both_dsns: tuple[str, str]) -> str:
    return both_dsns[1]


@pytest.fixture
async def planted_shop(both_dsns: tuple[str, str]) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(both_dsns[0])
    yield connection
    await connection.close()


@pytest.fixture
async def sound_shop(sound_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(sound_dsn)
    yield connection
    await connection.close()


def _reads_all(table: str) -> Callable[[Node], bool]:
    """A sequential scan that throws nine of ten rows away."""

    def shows(root: Node) -> bool:
        scans = [node for node in nodes(root) if node["Node Type"] == "Seq Scan" and node["Relation Name"] == table]
        return any(node["Rows Removed by Filter"] >= 1_000 and removed_share(node) >= 0.9 for node in scans)

    return shows


def _loops_by_mistake(root: Node) -> bool:
    """A nested loop whose outer side has many times the rows that were expected, and whose inner side reads by a key."""
    for node in nodes(root):
        if node["Node Type"] == "Nested Loop":
            outer, inner = node["Plans"]
            if inner["Actual Loops"] >= 10_000 and outer["Actual Rows"] >= 10 * outer["Plan Rows"] and inner["Node Type"] == "Index Scan":
                return True
    return False


def _sorts_on_disk(root: Node) -> bool:
    return root["Temp Written Blocks"] > 0 and any(on_disk(node) for node in nodes(root))


def _skips(root: Node) -> bool:
    return any(child["Actual Rows"] >= 1_000 and child["Actual Rows"] >= 10 * limit["Actual Rows"] for limit, child in limit_children(root))


def _repeats_subquery(root: Node) -> bool:
    return any(node.get("Parent Relationship") == "SubPlan" and node["Actual Loops"] >= 1_000 for node in nodes(root))


@dataclass(frozen=True)
class Case:
    planted: Query
    sound: Query
    shows: Callable[[Node], bool]


def _same(statement: Query, shows: Callable[[Node], bool]) -> Case:
    return Case(statement, statement, shows)


PLACE = FeedPlace(150, data.placed_at(15_000, ORDERS), 15_000)
CASES = {
    "order-lines": _same(statements.lines_of(777), _reads_all("order_lines")),
    "email-lookup": _same(statements.customer_by_email(data.email(4_711).upper()), _reads_all("customers")),
    "product-search": _same(statements.products_like(data.word(77)[1:-1]), _reads_all("products")),
    "carrier-turnover": _same(statements.turnover_by_city(data.IMPORTED_CARRIER), _loops_by_mistake),
    "payment-pauses": _same(statements.payment_pauses(), _sorts_on_disk),
    "order-feed": Case(statements.feed_page_by_number(PLACE), statements.feed_page_by_key(PLACE), _skips),
    "price-comparison": Case(
        statements.dearer_than_brand_one_by_one("garden"), statements.dearer_than_brand_averages("garden"), _repeats_subquery
    ),
}


def test_every_problem_of_a_query_has_a_case() -> None:
    """Nothing that query analysis should find is left without proof."""
    assert set(CASES) == set(QUERIES) == {one.name for one in planted("shop-db") if one.process == "QueryPerformanceAnalysis"}


@pytest.mark.parametrize("name", CASES)
async def test_the_plan_has_the_problem(name: str, planted_shop: asyncpg.Connection, sound_shop: asyncpg.Connection) -> None:
    """The planted version's plan shows its problem, the sound version's does not."""
    case = CASES[name]
    assert case.shows((await plan(planted_shop, sql(case.planted)))["Plan"])
    assert not case.shows((await plan(sound_shop, sql(case.sound)))["Plan"])


@pytest.mark.parametrize("name", CASES)
async def test_both_versions_give_the_same_rows(name: str, planted_shop: asyncpg.Connection, sound_shop: asyncpg.Connection) -> None:
    """Rows and their order do not depend on the version, and there are some."""
    case = CASES[name]
    rows = await planted_shop.fetch(sql(case.planted))
    assert rows and rows == await sound_shop.fetch(sql(case.sound))


@pytest.mark.parametrize("table", TABLES)
async def test_a_seed_makes_the_same_rows(table: str, planted_shop: asyncpg.Connection, sound_shop: asyncpg.Connection) -> None:
    """With a seed every row is the same on every server, whatever is planted."""
    digest = f"SELECT count(*), md5(string_agg(row::text, '|' ORDER BY row.id)) FROM {table} AS row"
    assert await planted_shop.fetchrow(digest) == await sound_shop.fetchrow(digest)


async def _stale(connection: asyncpg.Connection) -> list[str]:
    """Tables of which a tenth has changed since ANALYZE, or that autovacuum leaves alone."""
    return [
        row["relname"]
        for row in await connection.fetch(
            """SELECT pg_class.relname FROM pg_stat_user_tables JOIN pg_class ON pg_class.oid = relid
               WHERE n_mod_since_analyze > 50 + 0.1 * n_live_tup OR 'autovacuum_enabled=off' = ANY (reloptions) ORDER BY 1"""
        )
    ]


async def test_stale_statistics_are_of_one_table_only(planted_shop: asyncpg.Connection, sound_shop: asyncpg.Connection) -> None:
    """What tells stale statistics from a missing index is in the catalog: at the imported table, and nowhere else."""
    assert await _stale(planted_shop) == ["shipments"]
    assert await _stale(sound_shop) == []


_PREFIXES = """SELECT short.indexrelid::regclass::text FROM pg_index AS short JOIN pg_index AS long USING (indrelid)
  JOIN pg_stat_user_indexes AS ours ON ours.indexrelid = short.indexrelid
  WHERE short.indexrelid <> long.indexrelid AND NOT short.indisunique AND long.indkey::text LIKE short.indkey::text || ' %'"""


async def test_one_index_is_the_prefix_of_another(planted_shop: asyncpg.Connection, sound_shop: asyncpg.Connection) -> None:
    """The redundant index is the only one; the sound shop has none."""
    assert [row[0] for row in await planted_shop.fetch(_PREFIXES)] == ["ix_orders_customer"]
    assert await sound_shop.fetch(_PREFIXES) == []


async def test_settings_are_as_installed_or_for_the_data(planted_shop: asyncpg.Connection, sound_shop: asyncpg.Connection) -> None:
    """The planted server has the defaults; the sound database has its own, also on a server that is given."""
    shown = [[await shop.fetchval(f"SHOW {name}") for name in ("work_mem", "random_page_cost")] for shop in (planted_shop, sound_shop)]
    assert shown == [["4MB", "4"], ["5MB", "1.1"]]


async def _traffic(dsn: str) -> list[tuple[str, tuple[Any, ...]]]:
    """What the shop sends for two rounds of its calls, SELECTs only, in random order."""
    seen: list[tuple[str, tuple[Any, ...]]] = []
    engine = create_async_engine(dsn.replace("postgresql:", "postgresql+asyncpg:"))

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def see(connection: Any, cursor: Any, statement: str, parameters: tuple[Any, ...], context: Any, many: bool) -> None:
        if statement.startswith("SELECT"):
            seen.append((statement, parameters))

    shop = ShopDatabase(async_sessionmaker(engine, expire_on_commit=False))
    calls = Customers(shop, await shop.newest_numbers(), SEED).calls()
    for _ in range(2 * sum(DECK.values())):
        kind, call = next(calls)
        if kind not in ("place order", "close order"):
            await call()
    await engine.dispose()
    random.Random(SEED).shuffle(seen)
    return seen


@pytest.fixture
def sound_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statements, "order_list", statements.newest_orders_joined)
    monkeypatch.setattr(statements, "feed_page", statements.feed_page_by_key)
    monkeypatch.setattr(statements, "dearer_than_brand", statements.dearer_than_brand_averages)


@pytest.mark.usefixtures("sound_versions")
async def test_nothing_is_wrong_with_the_healthy_shop(sound_dsn: str, sound_shop: asyncpg.Connection) -> None:
    """No statement of the healthy shop's traffic discards what it reads, spills, repeats itself or surprises the planner."""
    seen = await _traffic(sound_dsn)
    explained: dict[str, int] = {}
    for statement, values in seen:
        if explained.get(statement, 0) == 6:
            continue
        explained[statement] = explained.get(statement, 0) + 1
        root = (await plan(sound_shop, statement, *values))["Plan"]
        wrong = [
            *(node for node in nodes(root) if node.get("Rows Removed by Filter", 0) >= 1_000 and removed_share(node) >= 0.9),
            *(node for node in nodes(root) if on_disk(node) or node.get("Hash Batches", 1) > 1 or node.get("Disk Usage", 0) > 0),
            *(node for node in nodes(root) if node.get("Heap Fetches", 0) > 100 or node.get("Lossy Heap Blocks", 0) > 0),
        ]
        under_limit = {id(node) for _, child in limit_children(root) for node in nodes(child)}
        surprising = [
            node
            for node in nodes(root)
            if off_by(node) >= 10
            and max(node["Plan Rows"], node["Actual Rows"]) >= 100
            and (node["Plan Rows"] < node["Actual Rows"] or id(node) not in under_limit)
        ]
        assert not wrong and not surprising, statement
        assert root["Temp Written Blocks"] == 0
        assert not any(shows(root) for shows in (_loops_by_mistake, _skips, _repeats_subquery)), statement
    assert len(explained) >= len(DECK) - 2


@pytest.mark.usefixtures("sound_versions")
async def test_every_index_of_the_healthy_shop_is_used(sound_dsn: str, sound_shop: asyncpg.Connection) -> None:
    """The healthy shop keeps no index for nothing, besides those of keys."""
    await _traffic(sound_dsn)
    unused = """SELECT indexrelid::regclass::text FROM pg_stat_user_indexes JOIN pg_index USING (indexrelid)
      WHERE idx_scan = 0 AND NOT indisprimary AND NOT indisunique"""
    for _ in range(500):  # a session's counts come with its end, which nobody waits for
        if not (left := await sound_shop.fetch(unused)):
            break
        await asyncio.sleep(0.02)
    assert not left


async def test_every_foreign_key_of_the_healthy_shop_has_an_index(sound_shop: asyncpg.Connection) -> None:
    """Every foreign key's column is the first of an index."""
    without = """SELECT conrelid::regclass, conname FROM pg_constraint WHERE contype = 'f'
      AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = conrelid AND indkey[0] = conkey[1])"""
    assert await sound_shop.fetch(without) == []
