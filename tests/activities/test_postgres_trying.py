"""Advice tried on real servers: what-if plans with hypothetical indexes, rewrites compared by rows and times, and nothing left behind."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities.postgres_connection import connected
from activities.postgres_explain_session import PlanSession, Refused, Timeouts
from activities.postgres_explain_what_ifs import HypotheticalIndexes
from activities.postgres_trying import PostgresTrying
from perfwright.models.errors import ErrorType
from perfwright.models.query_advice import IndexCandidate, RewriteCandidate, TriedAdvice, TryAdvice
from perfwright.models.query_performance import VerifiedRewrite
from perfwright.models.statement import Statement
from perfwright.models.target import Target
from tests.activities.explain_runs import BULKY, SLOW, Examined, make_shop, pgbouncer, sampled, shared_shop, statement
from tests.postgres import PostgresServer, needs_hypopg, postgres  # noqa: F401
from tests.postgres18 import postgres18  # noqa: F401

BY_CUSTOMER = "SELECT * FROM orders WHERE customer_id = $1"
DDL = "CREATE INDEX CONCURRENTLY orders_customer_id_idx ON public.orders (customer_id)"
COUNTED = "SELECT c.id, (SELECT count(*) FROM orders o WHERE o.customer_id = c.id) AS n FROM customers c WHERE c.id < $1"
JOINED = "SELECT c.id, count(o.id) AS n FROM customers c LEFT JOIN orders o ON o.customer_id = c.id WHERE c.id < $1 GROUP BY c.id"
TWICE = (
    "SELECT c.id, ((SELECT count(*) FROM orders o WHERE o.customer_id = c.id)"
    " + (SELECT count(*) FROM orders p WHERE p.customer_id = c.id)) / 2 AS n FROM customers c WHERE c.id < $1"
)
INNER = JOINED.replace("LEFT JOIN", "JOIN").replace("count(o.id)", "count(*)") + " HAVING count(*) > 10"


@pytest.fixture(params=["postgres", "postgres18"])
def server(request: pytest.FixtureRequest) -> PostgresServer:
    found: PostgresServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def shop(server: PostgresServer, tmp_path: Path) -> Examined:
    return Examined(server, await shared_shop(server), tmp_path)


@pytest.fixture
async def what_if_shop(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[Examined]:  # noqa: F811
    """With the extension installed in a schema that is not on the search_path."""
    shop = Examined(postgres, await make_shop(postgres), tmp_path)
    async with shop.session() as session:
        await needs_hypopg(session)
        await session.execute('CREATE SCHEMA "What If"; CREATE EXTENSION hypopg SCHEMA "What If"')
        shop.extensions = {"hypopg": "1.3.1"}
    yield shop


def index(one: Statement, ddl: str = DDL, *, expression: bool = False) -> IndexCandidate:
    return IndexCandidate(
        ddl=ddl, table="orders", columns=("customer_id",), fingerprint=one.fingerprint, hit_rule="R01", expression=expression
    )


def rewrite(one: Statement, rewritten: str, title: str = "join instead of a subquery") -> RewriteCandidate:
    return RewriteCandidate(
        fingerprint=one.fingerprint, title=title, original=one.samples[0].text, rewritten=rewritten, sample=one.samples[0]
    )


def counted(*values: str) -> Statement:
    return statement(COUNTED, "reads only", *(sampled(COUNTED, value) for value in values or ("100",)))


async def tried(
    shop: Examined,
    statements: list[Statement],
    *,
    indexes: tuple[IndexCandidate, ...] = (),
    rewrites: tuple[RewriteCandidate, ...] = (),
    target: Target | None = None,
    statement_timeout_s: float = 20.0,
    cost_ceiling: float = 1e15,
    costly_approved: tuple[str, ...] = (),
) -> TriedAdvice:
    request = TryAdvice(
        target=target or shop.target("analyze"),
        database=await shop.facts(),
        table=await shop.table(statements),
        indexes=indexes,
        rewrites=rewrites,
        statement_timeout_s=statement_timeout_s,
        lock_timeout_s=0.2,
        cost_ceiling=cost_ceiling,
        costly_approved=costly_approved,
    )
    result: TriedAdvice = await shop.environment.run(PostgresTrying(shop.store, shop.environ, shop.state).tried, request)
    return result


async def verdict(shop: Examined, one: Statement, rewritten: str, **more: float) -> VerifiedRewrite:
    [found] = (await tried(shop, [one], rewrites=(rewrite(one, rewritten),), **more)).rewrites
    return found


async def test_what_if_an_index_existed(what_if_shop: Examined) -> None:
    """A helpful index lowers the planned cost and is used; one that is no help is not; no index is left, in no session."""
    one = statement(BY_CUSTOMER, "reads only", sampled(BY_CUSTOMER, "3"))
    normalized = statement("SELECT * FROM orders WHERE customer_id = $1 AND status = $2")
    result = await tried(
        what_if_shop,
        [one, normalized],
        indexes=(index(one), index(one, "CREATE INDEX ON orders (note)"), index(normalized)),
    )
    helpful, useless, generic = result.what_ifs
    assert helpful.used and helpful.cost_after < helpful.cost_before / 2 and helpful.bytes > 10_000
    assert (helpful.ddl, helpful.method, helpful.note) == (DDL, "hypopg", "")
    assert not useless.used and useless.cost_after == useless.cost_before == helpful.cost_before
    assert generic.used and generic.note == "generic plan: the values are not known"
    assert result.warnings == () and result.rewrites == ()
    assert await what_if_shop.value("SELECT count(*) FROM pg_indexes WHERE indexname ~ 'customer_id'") == 0
    assert await what_if_shop.ours() == 0


async def test_indexes_that_are_not_asked_about(what_if_shop: Examined) -> None:
    """What is known to have ended servers, or cannot be shown, has no what-if plan and a warning that says why."""
    one, view = (
        statement(BY_CUSTOMER, "reads only", sampled(BY_CUSTOMER, "3")),
        statement("SELECT * FROM open_orders WHERE customer_id = $1"),
    )
    ddl = {
        f"{DDL} WHERE status = 'open'": "hypothetical indexes are not partial",
        "CREATE INDEX ON orders (lower(status))": "hypothetical indexes have plain columns only",
        "CREATE INDEX ON orders USING gin (note)": "hypothetical indexes are not of method gin",
        "CREATE INDEX ON orders (nothing)": "hypopg does not take it: the server reported an internal error (XX000)",
        "DROP TABLE orders": "it is no CREATE INDEX",
        f"{DDL}; DROP TABLE orders": "its DDL cannot be read: it has several statements",
    }
    result = await tried(what_if_shop, [one, view], indexes=(*(index(one, text) for text in ddl), index(view)))
    told = [warning.removeprefix("no what-if plan of orders (customer_id): ") for warning in result.warnings]
    assert result.what_ifs == ()
    assert told[:-1] == list(ddl.values())
    assert told[-1] == "it reads the view open_orders: hypothetical indexes and views have ended servers"


@pytest.mark.parametrize(
    "allow, environment, why",
    [
        ((), "lab", 'does not allow "analyze"'),
        (("analyze",), "production", "in production"),
        (("analyze", "ddl"), "production", ""),
    ],
)
async def test_hypothetical_indexes_need_permission(what_if_shop: Examined, allow: tuple[str, ...], environment: str, why: str) -> None:
    """Only where the target allows it, and in production only where it allows DDL."""
    one = statement(BY_CUSTOMER, "reads only", sampled(BY_CUSTOMER, "3"))
    result = await tried(what_if_shop, [one], indexes=(index(one),), target=what_if_shop.target(*allow, environment=environment))
    assert bool(result.what_ifs) == (not why) and (not why or why in result.warnings[0])


async def test_without_the_extension_or_behind_a_pooler(shop: Examined, tmp_path: Path) -> None:
    """Where hypothetical indexes cannot be had or would stay with somebody else, advice is given without them and says so once."""
    one = statement(BY_CUSTOMER, "reads only", sampled(BY_CUSTOMER, "3"))
    result = await tried(shop, [one], indexes=(index(one), index(one, "CREATE INDEX ON orders (note)")))
    [warning] = result.warnings
    assert result.what_ifs == () and "hypopg is not installed in database" in warning
    pooled = Examined(shop.server, shop.database, tmp_path, port=1)
    pooled.extensions = {"hypopg": "1.4"}
    assert "pgbouncer in transaction mode" in (await tried(pooled, [one], indexes=(index(one),))).warnings[0]


async def test_a_rewrite_with_the_same_rows_that_is_faster(shop: Examined) -> None:
    """Equal rows and clearly less time: offered, with the ratio, its interval and the blocks before and after."""
    found = await verdict(shop, counted("100", "40"), JOINED)
    assert (found.outcome, found.reason, found.rewritten) == ("faster", "", JOINED)
    assert (
        found.ratio is not None
        and found.interval is not None
        and found.ratio < 0.9
        and found.interval.low <= found.ratio <= found.interval.high < 1
    )
    assert found.pairs >= 7 and found.rows_compared == 99 + 39
    assert found.blocks_before is not None and found.blocks_after is not None and found.blocks_before > 10 * found.blocks_after
    assert await shop.ours() == 0


async def test_a_rewrite_that_returns_other_rows(shop: Examined) -> None:
    """A faster rewrite that loses, adds or changes rows is not offered, also where only their number of duplicates differs."""
    found = await verdict(shop, counted(), INNER)
    assert (found.outcome, found.ratio) == ("other rows", None) and "rows instead of 99" in found.reason
    cities = statement("SELECT city FROM customers WHERE id < $1", "reads only", sampled("SELECT city FROM customers WHERE id < $1", "200"))
    once = await verdict(shop, cities, "SELECT DISTINCT city FROM customers WHERE id < $1")
    assert once.outcome == "other rows"
    nulls = await verdict(shop, cities, "SELECT coalesce(city, '') AS city FROM customers WHERE id < $1")
    assert (nulls.outcome, nulls.reason) == ("other rows", "199 rows, but others")


async def test_a_rewrite_that_is_no_faster(shop: Examined) -> None:
    """The same rows for twice the work are not offered, with what was measured."""
    found = await verdict(shop, counted(), TWICE)
    assert found.outcome == "not faster" and found.ratio is not None and found.pairs >= 7 and found.rows_compared == 99


async def test_what_differs_only_in_writing_is_equal(shop: Examined) -> None:
    """Zeros behind the point, and the last digits of floating point that depend on the order of addition, make no other rows."""
    text = "SELECT sum(total) AS a, sum(total::float8 / 3) AS b FROM orders WHERE id > $1"
    one = statement(text, "reads only", sampled(text, "5"))
    other = "SELECT sum(total) + 0.000 AS a, sum(q.b) AS b FROM (SELECT total, total::float8 / 3 AS b FROM orders WHERE id > $1 ORDER BY total, id) AS q"
    assert (await verdict(shop, one, other)).outcome != "other rows"
    changed = other.replace("/ 3 AS b", "/ 3.0000001 AS b")
    assert (await verdict(shop, one, changed)).outcome == "other rows"


async def test_rows_that_cannot_be_compared_are_not(shop: Examined) -> None:
    """Where two right answers may differ, or equal ones prove nothing, a rewrite is not tried, and the reason is told."""

    async def reason(text: str, rewritten: str, *values: str) -> str:
        one = statement(text, "reads only", sampled(text, *values))
        found = await verdict(shop, one, rewritten)
        assert found.outcome == "not tried"
        return found.reason

    limited = "SELECT id, status FROM orders WHERE id > $1 ORDER BY status LIMIT 10"
    assert "holds no unique key of orders" in await reason(limited, limited.replace("id, status", "id, orders.status"), "5")
    unordered = "SELECT id FROM orders WHERE id > $1 LIMIT 10"
    assert "without ORDER BY" in await reason(unordered, "SELECT o.id FROM orders o WHERE o.id > $1 LIMIT 10", "5")
    ordered = "SELECT id FROM orders WHERE id < $1 ORDER BY total DESC, id"
    assert "another order" in await reason(ordered, ordered.replace(" DESC", ""), "50")
    assert "other names or types" in await reason(BY_CUSTOMER, "SELECT id FROM orders WHERE customer_id = $1", "3")
    assert "no rows are returned" in await reason(BY_CUSTOMER, "SELECT orders.* FROM orders WHERE customer_id = $1", "-3")
    assert "the function noisy" in await reason(BY_CUSTOMER, "SELECT orders.* FROM orders WHERE customer_id = noisy($1)", "3")
    assert "the relation audit" in await reason(BY_CUSTOMER, "SELECT orders.* FROM orders, audit WHERE customer_id = $1", "3")
    for writes in (
        "DELETE FROM orders WHERE customer_id = $1 RETURNING *",
        f"{BY_CUSTOMER} FOR UPDATE",
        f"{BY_CUSTOMER}; DROP TABLE orders",
    ):
        assert "more than one query that reads" in await reason(BY_CUSTOMER, writes, "3")
    assert await shop.value("SELECT count(*) FROM orders") == 5000
    assert await shop.value("SELECT count(*) FROM audit") == 0


async def test_limits_with_a_total_order_are_compared(shop: Examined) -> None:
    """With a unique key in its order, a page of rows is one answer, and the rewrite's must be the same."""
    text = (
        "SELECT o.id, c.name FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.id > $1 ORDER BY o.status, o.id, c.id LIMIT 20"
    )
    one = statement(text, "reads only", sampled(text, "7"))
    turned = text.replace("orders o JOIN customers c", "customers c JOIN orders o")
    assert (await verdict(shop, one, turned)).rows_compared == 20
    assert (await verdict(shop, one, turned.replace("LIMIT 20", "LIMIT 19"))).outcome == "other rows"


async def test_only_reading_statements_on_targets_that_allow_it(shop: Examined) -> None:
    """Nothing is executed again and again that does more than read, or where the target does not allow it."""
    one = counted()
    for other, target in (
        (one, shop.target()),
        (one.model_copy(update={"safety": "volatile", "safety_reason": "calls f"}), None),
        (one.model_copy(update={"safety": "locks", "safety_reason": "it locks rows"}), None),
    ):
        [found] = (await tried(shop, [other], rewrites=(rewrite(other, JOINED),), target=target)).rewrites
        assert found.outcome == "not tried" and found.reason
    [found] = (await tried(shop, [one], rewrites=(rewrite(one, JOINED).model_copy(update={"original": BY_CUSTOMER}),))).rewrites
    assert (found.outcome, found.reason) == ("not tried", "the original is not the statement that was examined")


async def test_rewrites_that_do_not_end(shop: Examined) -> None:
    """A rewrite that runs into the timeout is not offered; an original that does cannot be compared."""
    endless = statement(SLOW, "reads only", SLOW)
    found = await verdict(shop, endless, f"{SLOW} AND true", statement_timeout_s=0.3)
    assert found.outcome == "not tried" and "statement_timeout of 0.3 s hit" in found.reason


async def test_the_cost_ceiling_holds_for_rewrites(shop: Examined) -> None:
    """Neither a rewrite nor its original is executed over the ceiling; approval of the statement lets through what costs no more."""
    one = counted()
    dear = COUNTED.replace("$1", "$1 AND (SELECT count(*) FROM orders a, orders b WHERE a.total < b.total) > 0")
    [refused] = (await tried(shop, [one], rewrites=(rewrite(one, JOINED),), cost_ceiling=1.0)).rewrites
    assert refused.outcome == "not tried" and refused.reason.startswith("not executed: the original's planned cost of ")
    assert refused.reason.endswith("is over the ceiling of 1") and refused.ratio is None
    approved = (one.fingerprint,)
    both = (rewrite(one, JOINED), rewrite(one, dear, "a dear one"))
    cheap, costly = (await tried(shop, [one], rewrites=both, cost_ceiling=1.0, costly_approved=approved)).rewrites
    assert cheap.outcome == "faster"
    assert costly.outcome == "not tried" and costly.reason.startswith("not executed: the rewrite's planned cost of ")


async def test_a_server_that_closes_the_connection(shop: Examined) -> None:
    """What the connection was lost at is told and not tried again; lost again and again, the step is refused."""
    slow = [statement(f"{BULKY} WHERE a.id > {n}", "reads only", f"{BULKY} WHERE a.id > {n}") for n in range(1)]
    one = counted()
    async with shop.bulk() as empty:
        run = asyncio.create_task(
            tried(shop, [*slow, one], rewrites=(*(rewrite(each, f"{each.text} AND true") for each in slow), rewrite(one, JOINED)))
        )
        pid = await _busy(shop)
        await shop.value(f"SELECT pg_terminate_backend({pid})")
        rewrites = (await run).rewrites
        assert [found.outcome for found in rewrites] == ["not tried", "faster"]
        assert rewrites[0].reason == "the server closed the connection while it was tried"
        run = asyncio.create_task(tried(shop, slow, rewrites=tuple(rewrite(slow[0], f"{slow[0].text} AND true", str(n)) for n in range(4))))
        ended: set[int] = set()
        while len(ended) < 3:
            pid = await _busy(shop)
            ended.add(pid)
            await shop.value(f"SELECT pg_terminate_backend({pid})")
        with pytest.raises(ApplicationError) as refused:
            await run
        assert refused.value.type == ErrorType.DATABASE_UNREACHABLE
        await empty()


async def test_cancelling_leaves_nothing(shop: Examined) -> None:
    """A cancelled trial ends on the server within two seconds."""
    one = statement(SLOW, "reads only", SLOW)
    run = asyncio.create_task(tried(shop, [one], rewrites=(rewrite(one, f"{SLOW} AND true"),)))
    await _busy(shop)
    shop.environment.cancel()
    await shop.gone(within_s=2.0)
    with pytest.raises(asyncio.CancelledError):
        await run


async def test_rewrites_through_a_pooler(postgres: PostgresServer, tmp_path: Path) -> None:  # noqa: F811
    """Rewrites are compared through pgbouncer in transaction mode too, and leave nothing in its pool."""
    with pgbouncer(postgres) as port:
        pooled = Examined(postgres, await shared_shop(postgres), tmp_path, port=port)
        assert (await verdict(pooled, counted(), JOINED)).outcome == "faster"
        async with connected(pooled.target(), pooled.environ) as next_one:
            assert await next_one.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''") == 0


async def test_nothing_to_try(shop: Examined) -> None:
    """Without advice the server is not even connected to."""
    shop.environ.clear()
    assert await tried(shop, []) == TriedAdvice()


async def _busy(shop: Examined) -> int:
    """The process id of the session of ours that compares rows."""
    async with asyncio.timeout(20), shop.session() as session:
        while True:
            found = await session.fetchval(
                "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND application_name = 'perfwright' AND query ~ 'hashtextextended'"
            )
            if found:
                return int(found)
            await asyncio.sleep(0.02)


async def test_hypothetical_indexes_are_forgotten(what_if_shop: Examined) -> None:
    """Not even in our own session one is left: neither afterwards nor where the plan with it could not be made."""
    one = statement(BY_CUSTOMER, "reads only", sampled(BY_CUSTOMER, "3"))
    async with connected(what_if_shop.target("analyze"), what_if_shop.environ) as connection:
        session = await PlanSession(connection, await what_if_shop.facts(), Timeouts(5, 1)).open()
        indexes = await HypotheticalIndexes.find(session)
        assert (await indexes.what_if(index(one), one)).used
        assert await connection.fetchval('SELECT count(*) FROM "What If".hypopg()') == 0
        explain, calls = session.explain, iter([False, True])

        async def refused_with_the_index(*given: Any, **more: Any) -> Any:
            if next(calls):
                assert await connection.fetchval('SELECT count(*) FROM "What If".hypopg()') == 1
                raise Refused("statement_timeout of 5 s hit")
            return await explain(*given, **more)

        session.explain = refused_with_the_index  # type: ignore[method-assign]
        with pytest.raises(Refused):
            await indexes.what_if(index(one), one)
        assert await connection.fetchval('SELECT count(*) FROM "What If".hypopg()') == 0
