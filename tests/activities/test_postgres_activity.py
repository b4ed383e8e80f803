"""Looks at sessions of real servers."""

import asyncio
import json
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import session_sampling
from perfwright.models.query_steps import ActivitySampled, SampleActivity
from tests.databases import (
    PREFIX,
    TARGET,
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
from tests.postgres import PostgresServer

__all__ = ["breakable", "breakable15", "breakable18", "observed_postgres", "postgres", "postgres18", "server"]

TABLE = "CREATE TABLE orders AS SELECT n AS id FROM generate_series(1, 10) AS n"


def request(seconds: float = 1.0, interval_s: float = 0.1) -> SampleActivity:
    return SampleActivity(target=TARGET, duration_s=seconds, interval_s=interval_s, artifact_prefix=PREFIX)


async def series_of(examined: Examined, result: ActivitySampled) -> dict[str, Any]:
    assert result.series is not None
    series: dict[str, Any] = json.loads(await examined.store.get(result.series))
    return series


async def test_running_waiting_and_idle_sessions_are_told_apart(server: PostgresServer, tmp_path: Path) -> None:
    """One session forgot its transaction and holds a lock, one waits for it, one works; values of their statements are not shown."""
    async with fresh_database(server, TABLE) as idle:
        database = await database_of(idle)
        waiting, working = await server.connect(database), await server.connect(database)
        transaction = idle.transaction()
        await transaction.start()
        await idle.execute("UPDATE orders SET id = 4711 WHERE id = 1")
        blocked = asyncio.create_task(waiting.execute("UPDATE orders SET id = 4712 WHERE id = 1"))
        busy = asyncio.create_task(working.execute("SELECT count(*) FROM generate_series(1, 1000000000) AS n WHERE n % 4713 = 0"))
        examined = Examined(server.dsn(database), tmp_path)
        result = await examined.run("sample_activity", request(2.0))
        for connection, task in ((working, busy), (waiting, blocked)):
            connection.terminate()
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
                await task
        await transaction.rollback()
    waits = {wait.state: wait for wait in result.waits}
    assert {"Client: ClientRead in transaction", "Lock: transactionid"} <= set(waits)
    assert any(state not in ("Client: ClientRead in transaction", "Lock: transactionid") for state in waits)
    assert waits["Lock: transactionid"].statement == "UPDATE orders SET id = ? WHERE id = ?"
    assert waits["Lock: transactionid"].sessions == pytest.approx(1.0)
    assert sum(wait.share for wait in result.waits) == pytest.approx(1.0)
    assert "4711" not in result.model_dump_json()
    assert result.longest_transaction_s > 0
    assert result.samples >= 3
    assert result.warnings == ()
    series = await series_of(examined, result)
    assert sum(value is not None for value in series["series"][0]["values"]) == result.samples  # a busy machine makes gaps between them
    assert {one["label"] for one in series["series"]} >= {"waiting for a lock", "idle in transaction"}
    assert examined.beats[-1]["of_s"] == 2.0
    await nothing_left(server)


async def test_a_quiet_database_shows_nothing(server: PostgresServer, tmp_path: Path) -> None:
    """Idle sessions, other databases and our own looks are not work."""
    async with fresh_database(server) as connection:
        examined = Examined(server.dsn(await database_of(connection)), tmp_path)
        result = await examined.run("sample_activity", request(0.3))
    assert (result.waits, result.longest_transaction_s, result.warnings) == ((), 0.0, ())
    assert (await series_of(examined, result))["series"] == []


async def test_sessions_of_others_are_hidden_from_a_plain_role(postgres18: PostgresServer, tmp_path: Path) -> None:
    """That is told with the grant that shows them."""
    async with fresh_database(postgres18) as connection, login_role(connection) as role:
        examined = Examined(postgres18.dsn(await database_of(connection), user=role), tmp_path)
        result = await examined.run("sample_activity", request(0.3))
    assert ["pg_read_all_stats" in warning for warning in result.warnings] == [True]


async def test_a_restart_is_a_gap_and_no_end(breakable18: PostgresServer, tmp_path: Path) -> None:
    """Looks go on when the server is back; how long it was away is told, and drawn as a gap."""
    examined = Examined(breakable18.dsn(), tmp_path)
    task = asyncio.create_task(examined.run("sample_activity", request(2.0)))
    samples = tmp_path / "state" / "recordings"
    async with asyncio.timeout(30):
        while not list(samples.glob("*/activity.jsonl")):
            await asyncio.sleep(0.01)
    breakable18.stop()
    await asyncio.sleep(0.5)
    breakable18.start()
    result = await task
    assert any("did not answer for" in warning for warning in result.warnings)
    assert result.samples > 3
    await nothing_left(breakable18)


async def test_a_server_that_is_not_there_is_told_at_once(breakable18: PostgresServer, tmp_path: Path) -> None:
    """Before the first look there is nothing to wait for."""
    breakable18.stop()
    try:
        with pytest.raises(ApplicationError, match="refused the connection") as trouble:
            await Examined(breakable18.dsn(), tmp_path).run("sample_activity", request(600))
    finally:
        breakable18.start()
    assert trouble.value.type == "DatabaseUnreachable"
    assert not list(tmp_path.glob("state/recordings/*"))


async def test_the_next_attempt_goes_on_with_the_looks_of_the_first(postgres18: PostgresServer, tmp_path: Path) -> None:
    """A worker that is shut down in the middle: its looks are in the result of the next one, which ends the same window."""
    async with fresh_database(postgres18) as connection:
        examined = Examined(postgres18.dsn(await database_of(connection)), tmp_path)
        environment = ActivityEnvironment()
        task = asyncio.create_task(examined.run("sample_activity", request(1.2), environment))
        file = None
        async with asyncio.timeout(30):
            while not (file := next(tmp_path.glob("state/recordings/*/activity.jsonl"), None)):
                await asyncio.sleep(0.01)
        environment.cancel(ActivityCancellationDetails(worker_shutdown=True))
        with pytest.raises(asyncio.CancelledError):
            await task
        kept = len(file.read_text().splitlines())
        result = await examined.run("sample_activity", request(1.2))
    series = await series_of(examined, result)
    assert kept >= 1
    assert result.samples > kept
    assert series["t_s"][-1] < 3.0
    assert await examined.run("sample_activity", request(1.2)) == result


async def test_long_transactions_are_warned_of(postgres18: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever forgot a transaction for minutes holds back VACUUM; also through pgbouncer in transaction mode."""
    monkeypatch.setattr(session_sampling, "LONG_TRANSACTION_S", 0.0)
    async with fresh_database(postgres18) as connection:
        with start_pgbouncer(postgres18) as pooler:
            async with connection.transaction():
                await connection.execute("SELECT 1")
                examined = Examined(pooler.dsn(await database_of(connection)), tmp_path)
                result = await examined.run("sample_activity", request(0.5))
    assert any("VACUUM" in warning for warning in result.warnings)
    assert [wait.state for wait in result.waits] == ["Client: ClientRead in transaction"]
    await nothing_left(postgres18)
