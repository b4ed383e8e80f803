"""What goes wrong while statements are explained: each fault has its outcome, and none leaves a session, transaction or statement behind."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.exceptions import ApplicationError

from activities.postgres_connection import connected
from activities.postgres_explain_session import Backend, end_leftover
from perfwright.models.errors import ErrorType
from perfwright.models.query_steps import ExplainStatements
from tests import preloaded
from tests.activities.explain_runs import BULKY, DSN_ENV, SLOW, Examined, make_shop, pgbouncer, sampled, shared_shop, statement
from tests.postgres import PASSWORD, PostgresServer, postgres, server_folder, start_postgres, started, system_user  # noqa: F401
from tests.postgres18 import needed_programs18, postgres18  # noqa: F401

FAST = statement("SELECT count(*) FROM customers")
FAST_TOO = statement("SELECT count(*) FROM orders")
INSERT = statement("INSERT INTO audit (said) VALUES ($1)", "writes", "INSERT INTO audit (said) VALUES ('x')")
ENDLESS = statement(SLOW)
ENDS_WHEN_EMPTY = statement(BULKY)
FREELY = {"cost_ceiling": 1e15}
"""Settings under which the endless statement is executed."""


@pytest.fixture(params=["postgres", "postgres18"])
def server(request: pytest.FixtureRequest) -> PostgresServer:
    found: PostgresServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def shop(server: PostgresServer, tmp_path: Path) -> Examined:
    return Examined(server, await shared_shop(server), tmp_path)


@pytest.fixture
async def one_shop(postgres: PostgresServer, tmp_path: Path) -> Examined:  # noqa: F811
    """For what does not depend on the server's version."""
    return Examined(postgres, await shared_shop(postgres), tmp_path)


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """One that may be restarted."""
    with start_postgres(needed_programs18()) as server:
        yield server


@pytest.fixture
async def pooled(server: PostgresServer, tmp_path: Path) -> AsyncIterator[Examined]:
    with pgbouncer(server) as port:
        yield Examined(server, await shared_shop(server), tmp_path, port=port)


async def test_statement_timeout(shop: Examined) -> None:
    """A statement that takes too long keeps its plan, its other values are not executed either, and the next one goes on."""
    text = f"{SLOW} AND a.id > $1"
    slow = statement(text, "reads only", *(sampled(text, str(n), ms=10**n) for n in range(3)))
    result = await shop.explain(slow, FAST, statement_timeout_s=0.4, **FREELY)
    assert [one.mode for one in result.outcomes] == ["planned", "analyzed"]
    assert result.outcomes[0].reason == "planned only, executing it failed: statement_timeout of 0.4 s hit"
    assert result.outcomes[0].plans == 3
    assert await shop.ours() == 0


async def test_lock_of_a_table_held_by_another_session(shop: Examined) -> None:
    """A table that somebody else changes is waited for only as long as allowed; the holder is not disturbed."""
    async with shop.session() as other:
        await other.execute("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        result = await shop.explain(FAST_TOO, FAST)
        assert await other.fetchval("SELECT 1") == 1
        await other.execute("ROLLBACK")
    assert [one.mode for one in result.outcomes] == ["not explained", "analyzed"]
    assert result.outcomes[0].reason == "lock_timeout of 0.2 s hit: another session holds a lock that it needs (55P03)"


async def test_lock_of_a_row_held_by_another_session(one_shop: Examined) -> None:
    """A write that would wait for a row is planned only."""
    update = statement("UPDATE orders SET note = $1 WHERE id = $2", "writes", "UPDATE orders SET note = 'x' WHERE id = 3")
    async with one_shop.session() as other:
        await other.execute("BEGIN; SELECT FROM orders WHERE id = 3 FOR UPDATE")
        outcome = await one_shop.outcome(update)
        await other.execute("ROLLBACK")
    assert outcome.mode == "planned" and "lock_timeout of 0.2 s hit" in outcome.reason


async def test_permission_denied_and_search_path(one_shop: Examined) -> None:
    """Statements are explained with the rights and the search_path of the target's role, and reasons name what was missing."""
    async with one_shop.session() as session:
        await session.execute(f"""
            CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'; CREATE SCHEMA inner_shop; CREATE TABLE inner_shop.parts (id int);
            GRANT USAGE ON SCHEMA inner_shop TO reader; GRANT SELECT ON inner_shop.parts TO reader;
            ALTER ROLE reader SET search_path = inner_shop
        """)
    try:
        reader = Examined(one_shop.server, one_shop.database, one_shop.folder, user="reader")
        result = await reader.explain(statement("SELECT * FROM parts"), statement("SELECT * FROM public.orders"), FAST)
        assert [f"{one.mode}: {one.reason}" for one in result.outcomes] == [
            "analyzed: ",
            "not explained: permission denied: permission denied for table orders",
            'not explained: missing relation: relation "customers" does not exist (search_path inner_shop)',
        ]
        assert result.warnings == ("explained as role reader with search_path inner_shop",)
    finally:
        async with one_shop.session() as session:
            await session.execute("DROP SCHEMA inner_shop CASCADE; DROP ROLE reader")


async def test_constraint_broken_by_the_values(one_shop: Examined) -> None:
    """An INSERT whose values are there already is planned, and the reason names no value."""
    insert = statement(
        "INSERT INTO customers (id, name) VALUES ($1, $2)", "writes", "INSERT INTO customers (id, name) VALUES (1, 'somebody')"
    )
    outcome = await one_shop.outcome(insert)
    assert (outcome.mode, outcome.reason) == (
        "planned",
        "planned only, executing it failed: it breaks a constraint with these values (23505)",
    )


async def test_refused_login_is_told_without_the_password(one_shop: Examined) -> None:
    """A wrong password refuses the run as a whole, and is in no message."""
    one_shop.environ[DSN_ENV] = one_shop.dsn.replace(PASSWORD, "wrong-secret")
    with pytest.raises(ApplicationError) as refused:
        await one_shop.explain(FAST)
    assert refused.value.type == ErrorType.DATABASE_REFUSED
    assert "wrong-secret" not in str(refused.value) and not list(one_shop.state.rglob("*.jsonl"))


async def test_a_server_that_cannot_be_reached_refuses(one_shop: Examined) -> None:
    """Nothing answers: told before anything is done."""
    one_shop.environ[DSN_ENV] = one_shop.dsn.replace(f":{one_shop.server.port}/", ":1/")
    with pytest.raises(ApplicationError) as refused:
        await one_shop.explain(FAST, facts=await one_shop.facts())
    assert refused.value.type == ErrorType.DATABASE_UNREACHABLE


async def test_server_restarted_in_the_middle(own_server: PostgresServer, tmp_path: Path) -> None:
    """The statement that was executed meanwhile is told and not tried again; the next ones are explained when the server is back."""
    shop = Examined(own_server, await make_shop(own_server), tmp_path)
    run = asyncio.create_task(shop.explain(FAST, ENDLESS, FAST_TOO, **FREELY))
    await shop.busy_with("orders c")
    await asyncio.to_thread(own_server.restart)
    result = await run
    assert [one.mode for one in result.outcomes] == ["analyzed", "not explained", "analyzed"]
    assert result.outcomes[1].reason == "the server closed the connection while it was executed: not tried again"
    assert await shop.ours() == 0


async def test_a_server_that_stays_away_refuses(own_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not come back ends the run with what keeps it from connecting."""
    monkeypatch.setattr("activities.postgres_explain.COME_BACK_S", 1.0)
    shop = Examined(own_server, await make_shop(own_server), tmp_path)
    run = asyncio.create_task(shop.explain(ENDLESS, FAST, **FREELY))
    await shop.busy_with("orders c")
    await asyncio.to_thread(own_server.stop)
    with pytest.raises(ApplicationError) as refused:
        await run
    assert refused.value.type == ErrorType.DATABASE_UNREACHABLE


async def test_connections_lost_again_and_again_refuse(one_shop: Examined) -> None:
    """Three statements in a row that end the connection are not about the statement: the run is refused, and nothing is kept of it."""
    slow = [statement(f"{SLOW} AND a.id > b.id {extra}") for extra in ("", "AND b.id > c.id", "AND c.id > 1")]
    run = asyncio.create_task(one_shop.explain(*slow, FAST, **FREELY))
    killed: set[int] = set()
    while len(killed) < 3:
        pid = await one_shop.busy_with("orders c")
        if pid not in killed:
            killed.add(pid)
            await one_shop.value(f"SELECT pg_terminate_backend({pid})")
    with pytest.raises(ApplicationError) as refused:
        await run
    assert refused.value.type == ErrorType.DATABASE_UNREACHABLE and refused.value.non_retryable
    assert "closed the connection at 3 statements in a row" in refused.value.message
    assert not list(one_shop.state.rglob("*.jsonl"))


async def test_a_connection_lost_while_planning_is_asked_once_more(one_shop: Examined) -> None:
    """A session that is ended before its statement was executed costs the statement nothing."""
    async with one_shop.session() as other:
        await other.execute("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        run = asyncio.create_task(one_shop.explain(FAST, FAST_TOO, lock_timeout_s=20))
        waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'perfwright'"
        async with asyncio.timeout(20):
            while (pid := await one_shop.value(waiting)) is None:
                await asyncio.sleep(0.02)
        await one_shop.value(f"SELECT pg_terminate_backend({pid})")
        await other.execute("ROLLBACK")
    assert [one.mode for one in (await run).outcomes] == ["analyzed", "analyzed"]


async def test_cancelled_by_somebody_else(one_shop: Examined) -> None:
    """A DBA who cancels a statement of ours is told apart from a timeout, and the run goes on."""
    run = asyncio.create_task(one_shop.explain(ENDLESS, FAST, **FREELY))
    await one_shop.value(f"SELECT pg_cancel_backend({await one_shop.busy_with('orders c')})")
    outcomes = (await run).outcomes
    assert [one.mode for one in outcomes] == ["planned", "analyzed"]
    assert "cancelled by another session or the server" in outcomes[0].reason


async def test_cancelling_ends_the_statement_on_the_server(shop: Examined) -> None:
    """A cancelled run leaves no session, no transaction and no file, within two seconds of the cancellation."""
    slow = statement(f"{SLOW} AND a.id > $1", "reads only", sampled(f"{SLOW} AND a.id > $1", "1"))
    run = asyncio.create_task(shop.explain(FAST, slow, **FREELY))
    await shop.busy_with("EXECUTE")
    shop.environment.cancel()
    await shop.gone(within_s=2.0)
    with pytest.raises(asyncio.CancelledError):
        await run
    assert not list(shop.state.rglob("*.jsonl"))


async def test_a_cancel_request_that_is_lost(shop: Examined, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the server does not hear the cancel request, it sees that its client is gone."""

    async def lost(**_: object) -> None:
        """As one that finds the server between two messages."""

    monkeypatch.setattr("asyncpg.connect_utils._cancel", lost)
    run = asyncio.create_task(shop.explain(ENDLESS, **FREELY))
    await shop.busy_with("orders c")
    shop.environment.cancel()
    await shop.gone()
    with pytest.raises(asyncio.CancelledError):
        await run


async def test_a_worker_that_shuts_down_leaves_its_progress(shop: Examined) -> None:
    """After a shutdown the next attempt goes on behind what is done; what was being executed is executed again, and that is told."""
    moved = await shop.value("SELECT nextval('audit_id_seq')")
    request = await shop.request([INSERT, ENDS_WHEN_EMPTY, FAST], **FREELY)
    async with shop.bulk() as empty:
        run = asyncio.create_task(shop.run(request))
        await shop.busy_with("bulk c")
        shop.environment.cancel(ActivityCancellationDetails(worker_shutdown=True))
        with pytest.raises(asyncio.CancelledError):
            await run
        await empty()
    shop.new_environment()
    result = await shop.run(request)
    assert [one.mode for one in result.outcomes] == ["analyzed"] * 3
    assert (
        f"statement {ENDS_WHEN_EMPTY.fingerprint} was being executed when its worker was stopped; it is executed again" in result.warnings
    )
    assert await shop.value("SELECT nextval('audit_id_seq')") == moved + 2  # one INSERT, and this look


async def test_a_killed_worker_is_followed_by_one_that_goes_on(shop: Examined) -> None:
    """After kill -9 the server ends what it was executing by itself; nothing that was done is executed again."""
    moved = await shop.value("SELECT nextval('audit_id_seq')")
    request = await shop.request([INSERT, ENDS_WHEN_EMPTY, FAST], statement_timeout_s=60.0, **FREELY)
    async with shop.bulk() as empty:
        await _start_and_kill(shop, request, "bulk c")
        await shop.gone(within_s=20)  # long before its statement_timeout
        await empty()
    (progress,) = shop.state.rglob("explained.jsonl")
    with progress.open("a") as file:
        file.write('{"plans": {"fingerprint": "cut sho')  # what a kill in the middle of a write leaves
    result = await shop.run(request)
    assert [one.mode for one in result.outcomes] == ["analyzed"] * 3
    assert any("it is executed again" in warning for warning in result.warnings)
    assert await shop.value("SELECT nextval('audit_id_seq')") == moved + 2


async def test_a_statement_that_kills_its_worker_is_given_up(one_shop: Examined) -> None:
    """Twice in flight when the worker was killed, a statement is not executed a third time."""
    request = await one_shop.request([ENDLESS, FAST], **FREELY)
    await _start_and_kill(one_shop, request, "orders c")
    await one_shop.gone()
    await _start_and_kill(one_shop, request, "orders c")
    result = await one_shop.run(request)
    assert [one.mode for one in result.outcomes] == ["not explained", "analyzed"]
    assert result.outcomes[0].reason == "its worker was killed again and again meanwhile: not tried any more"


async def test_a_backend_left_at_work_is_ended(one_shop: Examined) -> None:
    """What a killed worker's session still executes is ended before its statement is asked again; nobody else's is touched."""
    async with one_shop.session() as left, one_shop.session() as other:
        started = await other.fetchrow(
            "SELECT pid, to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') FROM pg_stat_activity WHERE pid = $1",
            left.get_server_pid(),
        )
        sleeping = asyncio.create_task(left.execute("SELECT pg_sleep(60)"))
        async with connected(one_shop.target(), one_shop.environ) as connection:
            assert not await end_leftover(connection, Backend(other.get_server_pid(), started[1]))
            assert await end_leftover(connection, Backend(*started))
            assert not await end_leftover(connection, Backend(*started))
        with pytest.raises(Exception, match="terminat"):
            await sleeping
        assert await other.fetchval("SELECT 1") == 1
        with suppress(Exception):
            await left.close()


async def test_standby_server(own_server: PostgresServer, tmp_path: Path) -> None:
    """On a standby reading statements are executed and writing ones planned, with the reason, even when nobody knew that it is one."""
    database = await make_shop(own_server)
    with server_folder() as folder:
        copied = [
            own_server.programs / "pg_basebackup",
            "-D",
            folder / "data",
            "-R",
            "-c",
            "fast",
            "-X",
            "fetch",
            "--no-sync",
            "-d",
            own_server.dsn(),
        ]
        await asyncio.to_thread(subprocess.run, copied, user=system_user(), cwd=folder, check=True, capture_output=True, timeout=60)
        with started(own_server.programs, folder, {}) as replica:
            shop = Examined(replica, database, tmp_path)
            lock = statement("SELECT * FROM orders WHERE id = $1 FOR UPDATE", "locks", "SELECT * FROM orders WHERE id = 3 FOR UPDATE")
            result = await shop.explain(FAST, INSERT, lock, facts=await shop.facts(standby=True))
            unaware = await shop.explain(INSERT, facts=await shop.facts(standby=False))
    assert [f"{one.mode}: {one.reason}" for one in result.outcomes] == [
        "analyzed: ",
        "planned: not executed on a standby server: it writes",
        "planned: not executed on a standby server: it locks rows",
    ]
    assert unaware.outcomes[0].mode == "planned" and "executing it failed: the server does not support it" in unaware.outcomes[0].reason


async def test_through_a_pooler_in_transaction_mode(pooled: Examined) -> None:
    """Through pgbouncer all works as directly, and the server connection that others get afterwards has nothing of ours."""
    text = "SELECT * FROM orders WHERE customer_id = $1 AND total > $2"
    statements = [
        statement(text, "reads only", sampled(text, "3", "5")),
        statement(text.replace("total", "id"), "reads only", sampled(text.replace("total", "id"), "3", "no number")),
        statement("SELECT * FROM customers WHERE city = $1"),
        statement("SELECT * FROM nothing WHERE id = $1", "reads only", sampled("SELECT * FROM nothing WHERE id = $1", "3")),
        INSERT,
    ]
    result = await pooled.explain(*statements)
    assert [one.mode for one in result.outcomes] == ["analyzed", "generic plan", "generic plan", "not explained", "analyzed"]
    await _nothing_left_in_pool(pooled)


async def test_cancelling_through_a_pooler(pooled: Examined) -> None:
    """A cancelled run ends on the server behind the pooler too, and what it had prepared is forgotten."""
    slow = statement(f"{SLOW} AND a.id > $1", "reads only", sampled(f"{SLOW} AND a.id > $1", "1"))
    run = asyncio.create_task(pooled.explain(FAST, slow, **FREELY))
    await pooled.busy_with("EXECUTE")
    pooled.environment.cancel()
    await pooled.gone(within_s=2.0)
    with pytest.raises(asyncio.CancelledError):
        await run
    await _nothing_left_in_pool(pooled)


async def _nothing_left_in_pool(pooled: Examined) -> None:
    async with connected(pooled.target(), pooled.environ) as next_one:
        assert await next_one.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''") == 0
        settings = (
            "SELECT count(*) FROM pg_settings WHERE name ~ '^(statement|lock|idle_in_transaction_session)_timeout$' AND setting <> '0'"
        )
        assert await next_one.fetchval(settings) == 0
        assert await next_one.fetchval("SHOW plan_cache_mode") == "auto"
    assert await pooled.value("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'") == 0


async def _start_and_kill(shop: Examined, request: ExplainStatements, word: str) -> None:
    file = shop.folder / "request.json"
    file.write_text(request.model_dump_json())
    words = ["explain_statements", str(shop.folder), str(file)]
    with preloaded.killed("tests.activities.step_worker", words, os.environ | shop.environ):
        await shop.busy_with(word, within_s=60)
