"""Statement counters over a window, on servers that are well and on servers that are not."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import postgres_window
from activities.postgres_connection import connected, reading
from activities.postgres_counters import find_counters
from perfwright.models.query_steps import ObservedStatements, ObserveStatements
from perfwright.models.statement import ObservedWindow, ServerCounters
from tests import preloaded
from tests.databases import (
    PREFIX,
    TARGET,
    VARIABLE,
    Examined,
    breakable,
    breakable15,
    breakable18,
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

__all__ = ["breakable", "breakable15", "breakable18", "observed_postgres", "postgres", "postgres18", "server"]

CREATE = "CREATE EXTENSION pg_stat_statements"
TABLE = "CREATE TABLE orders AS SELECT n AS id, n % 10 AS customer FROM generate_series(1, 1000) AS n"
BY_CUSTOMER = "SELECT count(*) FROM orders WHERE customer = $1"
WINDOW_S = 0.5


def request(seconds: float = WINDOW_S) -> ObserveStatements:
    return ObserveStatements(target=TARGET, duration_s=seconds, artifact_prefix=PREFIX)


async def observed(
    examined: Examined, meanwhile: Callable[[], Awaitable[None]] | None = None, seconds: float = WINDOW_S
) -> tuple[ObservedStatements, list[ServerCounters]]:
    """A window; `meanwhile` runs once it has begun."""

    async def act() -> None:
        if meanwhile:
            await begun(examined)
            await meanwhile()

    result, _ = await asyncio.gather(examined.run("observe_statements", request(seconds)), act())
    window = await examined.read(ObservedWindow, result.window)
    return result, list(window.statements)


async def begun(examined: Examined) -> None:
    """The first reading is taken, and kept."""
    folder = examined.activities._state_folder / "recordings"
    async with asyncio.timeout(30):
        while not list(folder.glob("*/start.jsonl")):
            await asyncio.sleep(0.01)


async def call(connection: asyncpg.Connection, times: int) -> None:
    for n in range(times):
        await connection.fetchval(BY_CUSTOMER, n)


def calls_of(statements: list[ServerCounters], text: str = BY_CUSTOMER) -> int:
    return sum(one.calls for one in statements if one.text == text)


async def test_a_window_has_what_happened_in_it(server: PostgresServer, tmp_path: Path) -> None:
    """Calls, rows, blocks and roles of this database in this window; ours are out, what they cost is told, and passwords are not."""
    async with fresh_database(server, CREATE, TABLE) as connection, fresh_database(server, CREATE, TABLE) as other:
        await call(connection, 5)
        examined = Examined(server.dsn(await database_of(connection)), tmp_path)

        async def work() -> None:
            await call(connection, 7)
            await call(other, 3)
            await connection.execute("CREATE ROLE never LOGIN PASSWORD 'geheim'")
            await connection.execute("DROP ROLE never")

        result, statements = await observed(examined, work)
    assert calls_of(statements) == 7
    found = next(one for one in statements if one.text == BY_CUSTOMER)
    assert (found.rows, found.role, found.database.startswith("test_"), found.top_level) == (7, "perfwright", True, True)
    assert found.total_ms > 0
    assert found.shared_hit_blocks + found.shared_read_blocks >= 7
    assert not any("perfwright_rows" in one.text or "set_config" in one.text for one in statements)
    assert "CREATE ROLE never LOGIN PASSWORD '***'" in {one.text for one in statements}
    assert 0 < result.own_ms < 1_000
    assert result.total_ms == pytest.approx(sum(one.total_ms for one in statements), abs=0.01)
    assert (result.seconds, result.statements) == (pytest.approx(WINDOW_S, abs=5), len(statements))
    assert (result.reset, result.evicted, result.warnings, result.not_seen) == (False, 0, (), ())
    assert (examined.beats[0]["doing"], examined.beats[0]["of_s"]) == ("first reading", WINDOW_S)
    await nothing_left(server)


async def test_a_quiet_window_is_empty(server: PostgresServer, tmp_path: Path) -> None:
    """Nobody asks anything: nothing but our own transaction's frame is seen."""
    async with fresh_database(server, CREATE) as connection:
        result, statements = await observed(Examined(server.dsn(await database_of(connection)), tmp_path), seconds=0.1)
    assert {one.text for one in statements} <= {"BEGIN READ ONLY", "COMMIT"}
    assert result.warnings == ()


async def test_whose_a_statement_is_does_not_depend_on_who_came_first(server: PostgresServer, tmp_path: Path) -> None:
    """The server keeps the first text of an entry: one of ours that came without a mark first is not in the window, and one of the
    application's that we prepared first is, as the application writes it."""
    theirs = "SELECT count(*) FROM orders WHERE customer = $1 AND id <> 7"
    async with fresh_database(server, CREATE, TABLE) as connection:
        examined = Examined(server.dsn(await database_of(connection)), tmp_path)
        async with reading(connection):
            await find_counters(connection)
        async with connected(TARGET, examined.environ) as ours, ours.transaction():
            await ours.execute(f"PREPARE perfwright_it AS {theirs}")

        async def work() -> None:
            for n in range(3):
                await connection.fetchval(theirs, n)

        _, statements = await observed(examined, work)
    assert {one.text: one.calls for one in statements if one.text.startswith(("SELECT", "PREPARE", "WITH"))} == {
        theirs.replace("7", "$2"): 3
    }


async def test_a_server_restarted_in_the_window_is_waited_for(breakable: PostgresServer, tmp_path: Path) -> None:
    """An ordinary restart keeps the counters: calls before and after it are in the window, and the restart is told."""
    async with fresh_database(breakable, CREATE, TABLE) as connection:
        database = await database_of(connection)
        examined = Examined(breakable.dsn(database), tmp_path)

        async def restart() -> None:
            await call(connection, 3)
            breakable.stop()
            await asyncio.sleep(2 * WINDOW_S)
            breakable.start()
            again = await breakable.connect(database)
            await call(again, 4)
            await again.close()

        result, statements = await observed(examined, restart)
    assert calls_of(statements) in (3, 7)  # the last reading comes as soon as the server is back
    assert any("restarted within the window" in warning for warning in result.warnings)
    assert (result.reset, result.seconds > 2 * WINDOW_S) == (False, True)


async def test_a_crash_in_the_window_begins_it_anew(breakable: PostgresServer, tmp_path: Path) -> None:
    """Counters are lost with a crash: only what came after it is told, and that they were lost."""
    async with fresh_database(breakable, CREATE, TABLE) as connection:
        database = await database_of(connection)
        await call(connection, 50)

        async def crash() -> None:
            await connection.execute("CHECKPOINT")
            breakable.crash()
            again = await breakable.connect(database)
            await call(again, 4)
            await again.close()

        result, statements = await observed(Examined(breakable.dsn(database), tmp_path), crash, 3 * WINDOW_S)
    assert calls_of(statements) == 4
    assert result.reset
    assert any("lost in a crash" in warning for warning in result.warnings)
    assert result.seconds < 3 * WINDOW_S + 5


async def test_a_session_that_crashes_takes_the_counters_with_it(breakable18: PostgresServer, tmp_path: Path) -> None:
    """The server starts its processes anew, without counters, and goes on: the window begins there."""
    async with fresh_database(breakable18, CREATE, TABLE) as connection:
        database = await database_of(connection)
        await call(connection, 50)

        async def crash() -> None:
            await connection.execute("CHECKPOINT")
            os.kill(connection.get_server_pid(), signal.SIGKILL)
            async with asyncio.timeout(30):
                while True:
                    try:
                        again = await breakable18.connect(database)
                        break
                    except (OSError, asyncpg.PostgresError):
                        await asyncio.sleep(0.02)
            await call(again, 4)
            await again.close()

        result, statements = await observed(Examined(breakable18.dsn(database), tmp_path), crash, 6 * WINDOW_S)
    assert calls_of(statements) == 4
    assert result.reset
    assert any("crash of one session" in warning for warning in result.warnings)


async def test_a_reset_in_the_window_begins_it_anew(breakable: PostgresServer, tmp_path: Path) -> None:
    """Somebody's monitoring resets the counters: calls after it are not reduced by those of before, and the seconds begin there."""
    async with fresh_database(breakable, CREATE, TABLE) as connection:
        await call(connection, 5)

        async def reset() -> None:
            await asyncio.sleep(WINDOW_S)
            await connection.execute("SELECT pg_stat_statements_reset()")
            await call(connection, 20)

        result, statements = await observed(Examined(breakable.dsn(await database_of(connection)), tmp_path), reset, 2 * WINDOW_S)
    assert calls_of(statements) == 20
    assert (result.reset, result.seconds < 2 * WINDOW_S) == (True, True)
    assert any("counters were reset" in warning for warning in result.warnings)


async def test_evictions_are_counted(breakable: PostgresServer, tmp_path: Path) -> None:
    """More distinct statements than there is room for: what stayed is right, what was dropped is told with the setting."""
    async with fresh_database(breakable, CREATE, TABLE) as connection:
        await call(connection, 3)

        async def flood() -> None:
            await call(connection, 500)
            for n in range(250):
                await connection.execute(f"SELECT {'+'.join(['id'] * (n + 1))} FROM orders WHERE id < 0")
            await call(connection, 500)

        result, statements = await observed(Examined(breakable.dsn(await database_of(connection)), tmp_path), flood, 6 * WINDOW_S)
    assert result.evicted >= 100
    # Those of 3 to 1,003 at least that came last: also an entry of many calls may be dropped once.
    assert 497 <= calls_of(statements) <= 1_000
    assert len(statements) <= 100
    assert any("pg_stat_statements.max" in warning for warning in result.warnings)
    assert not result.reset


async def test_a_role_without_rights_tells_what_it_missed(server: PostgresServer, tmp_path: Path) -> None:
    """Its own statements are seen; of the others', the share of time is."""
    async with (
        fresh_database(server, CREATE, TABLE, "GRANT SELECT ON orders TO PUBLIC") as connection,
        login_role(connection) as role,
    ):
        dsn = server.dsn(await database_of(connection), user=role)
        own = await asyncpg.connect(dsn)

        async def work() -> None:
            await call(connection, 20)
            await call(own, 2)

        result, statements = await observed(Examined(dsn, tmp_path), work)
        await own.close()
    assert calls_of(statements) == 2
    assert [(one.what, "pg_read_all_stats" in one.way_out, "%" in one.reason) for one in result.not_seen] == [
        ("statements of other roles", True, True)
    ]


async def test_without_the_extension_nothing_is_waited_for(postgres: PostgresServer, tmp_path: Path) -> None:
    """The window would show nothing: that is told at once, and nothing is kept."""
    examined = Examined(postgres.dsn(), tmp_path)
    async with asyncio.timeout(60):
        result = await examined.run("observe_statements", request(3_600))
    assert (result.window, [one.what for one in result.not_seen]) == (None, ["statements over time"])


async def test_through_a_pooler_and_on_a_standby(observed_postgres: PostgresServer, tmp_path: Path) -> None:
    """The same window through pgbouncer in transaction mode, and on a hot standby."""
    server = observed_postgres
    async with fresh_database(server, CREATE, TABLE) as connection:
        database = await database_of(connection)
        with start_pgbouncer(server) as pooler:
            _, statements = await observed(Examined(pooler.dsn(database), tmp_path / "pooled"), lambda: call(connection, 6))
            assert calls_of(statements) == 6
        with start_standby(server) as standby:
            reader = await standby.connect(database)
            _, statements = await observed(Examined(standby.dsn(database), tmp_path / "standby"), lambda: call(reader, 4))
            await reader.close()
            assert calls_of(statements) == 4
    await nothing_left(server)


async def test_a_killed_worker_loses_no_window(postgres18: PostgresServer, tmp_path: Path) -> None:
    """kill -9 in the middle: the next attempt ends the same window, with the calls from before the kill in it."""
    (tmp_path / "request.json").write_text(request(2.0).model_dump_json())
    async with fresh_database(postgres18, CREATE, TABLE) as connection:
        examined = Examined(postgres18.dsn(await database_of(connection)), tmp_path)
        started = time.monotonic()
        words = [str(tmp_path), str(tmp_path / "request.json")]
        with preloaded.killed("tests.activities.window_worker", words, os.environ | examined.environ):
            await begun(examined)
            await call(connection, 5)
        await call(connection, 6)
        result = await examined.run("observe_statements", request(2.0))
        elapsed_s = time.monotonic() - started
        window = await examined.read(ObservedWindow, result.window)
        again = await examined.run("observe_statements", request(2.0))
    assert calls_of(list(window.statements)) == 11
    assert 2.0 <= result.seconds <= elapsed_s
    assert again == result  # an attempt whose answer got lost is not repeated
    await nothing_left(postgres18)


@pytest.mark.parametrize("asked", [True, False])
async def test_a_cancelled_window_leaves_only_what_another_attempt_needs(postgres18: PostgresServer, tmp_path: Path, asked: bool) -> None:
    """Cancelled by its workflow, its first reading goes too; by a worker's shutdown, it stays for the next attempt."""
    async with fresh_database(postgres18, CREATE) as connection:
        examined = Examined(postgres18.dsn(await database_of(connection)), tmp_path)
        environment = ActivityEnvironment()
        task = asyncio.create_task(examined.run("observe_statements", request(600), environment))
        await begun(examined)
        environment.cancel(ActivityCancellationDetails(cancel_requested=asked, worker_shutdown=not asked))
        with pytest.raises(asyncio.CancelledError):
            await task
    assert bool(list(tmp_path.glob("state/recordings/*/start.jsonl"))) is not asked
    await nothing_left(postgres18)


async def test_a_server_that_does_not_come_back_is_told(
    breakable15: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait for a restart is bounded; then the cause is told."""
    monkeypatch.setattr(postgres_window, "PATIENCE_S", 0.5)
    async with fresh_database(breakable15, CREATE) as connection:
        examined = Examined(breakable15.dsn(await database_of(connection)), tmp_path)
        task = asyncio.create_task(examined.run("observe_statements", request(0.5)))
        await begun(examined)
        breakable15.stop()
        try:
            with pytest.raises(ApplicationError, match="refused the connection") as trouble:
                await task
        finally:
            breakable15.start()
    assert trouble.value.type == "DatabaseUnreachable"
    assert examined.environ[VARIABLE] not in str(trouble.value)
