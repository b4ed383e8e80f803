"""Counters of a live PostgreSQL server while a change stands on it."""

import asyncio
import dataclasses
import math
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import asyncpg
from temporalio.testing import ActivityEnvironment

from activities.live_guards import LiveGuards
from perfwright.models.change import IndexSpec, SettingSpec
from perfwright.models.live_guards import LiveReading, ReadLive, WatchLive
from perfwright.models.trial import Guard
from perfwright.models.trial_run import TrialEvidence
from tests.databases import TARGET, VARIABLE, database_of, fresh_database, login_role, observed_postgres
from tests.postgres import PostgresServer

__all__ = ["observed_postgres"]

TABLES = (
    "CREATE TABLE orders (id int PRIMARY KEY, total int)",
    "INSERT INTO orders SELECT n, n FROM generate_series(1, 50000) n",
    "CREATE TABLE visits (id int PRIMARY KEY)",
    "CREATE INDEX by_total ON orders (total)",
    "VACUUM ANALYZE orders",
)
CREATE = IndexSpec(create="CREATE INDEX CONCURRENTLY again ON public.orders (total, id)")
DROP = IndexSpec(drop="public.by_total")
BLOCKS = Guard(metric="live_blocks", margin=math.log(3))


async def called(connection: asyncpg.Connection, rows: int, times: int = 20) -> None:
    for _ in range(times):
        await connection.fetch(f"SELECT count(total) FROM orders WHERE id < {rows}")


async def test_what_a_table_costs_is_watched(observed_postgres: PostgresServer) -> None:
    """Statements that name the table are read, ours are not; the same calls that touch more blocks than before are a breach."""
    async with fresh_database(observed_postgres, *TABLES, "CREATE EXTENSION pg_stat_statements") as connection:
        await connection.execute("SELECT pg_stat_statements_reset()")  # the database was another test's before
        guards = await _guards(observed_postgres, connection)
        await connection.fetch("SELECT count(*) FROM visits")
        await called(connection, 10)
        first: LiveReading = await _asked().run(guards.read_live_counters, ReadLive(target=TARGET, change=CREATE))
        dropped: LiveReading = await _asked().run(guards.read_live_counters, ReadLive(target=TARGET, change=DROP))
        assert first.statements.keys() == dropped.statements.keys() and not first.not_seen
        assert [one.calls for one in first.statements.values() if one.calls > 1] == [20], "what filled the table was called once"
        await called(connection, 10)
        again = ReadLive(target=TARGET, change=CREATE, again=tuple(first.statements))
        second: LiveReading = await _asked().run(guards.read_live_counters, again)
        watch = WatchLive(target=TARGET, change=CREATE, guards=(BLOCKS,), before=(first, second), seconds=60.0)
        with patch("activities.live_windows.WATCH_EVERY_S", 0.05):
            short = watch.model_copy(update={"seconds": 2.0})
            evidence = await _meanwhile(connection, 10, _asked().run(guards.watch_live_counters, short))
            before, now = evidence.medians["live_blocks"]
            assert evidence.guards[0].verdict != "breached" and 0.5 < now / before < 2
            evidence = await _meanwhile(connection, 40_000, _asked().run(guards.watch_live_counters, watch))
            assert evidence.guards[0].verdict == "breached" and evidence.seconds < 60


async def test_a_setting_of_one_role_concerns_its_statements(observed_postgres: PostgresServer) -> None:
    """Those of others are not read, those of another database cannot be; who was there before the setting goes on without it."""
    async with (
        fresh_database(observed_postgres, *TABLES, "CREATE EXTENSION pg_stat_statements") as connection,
        login_role(connection, "GRANT SELECT ON orders TO {role}") as role,
    ):
        await connection.execute("SELECT pg_stat_statements_reset()")
        guards, database = await _guards(observed_postgres, connection), await database_of(connection)
        await called(connection, 10)
        old, new = [await asyncpg.connect(observed_postgres.dsn(database, user=role)) for _ in range(2)]
        try:
            await old.fetch("SELECT count(*) FROM orders WHERE total < 5")
            asked = ReadLive(target=TARGET, change=SettingSpec(name="work_mem", value="8MB", role=role))
            read: LiveReading = await _asked().run(guards.read_live_counters, asked)
            assert len(read.statements) == 1 and read.sessions == 0
            everybody: LiveReading = await _asked().run(
                guards.read_live_counters, ReadLive(target=TARGET, change=SettingSpec(name="work_mem", value="8MB"))
            )
            assert everybody.statements.keys() > read.statements.keys()
            opened_s = await new.fetchval(
                "SELECT extract(epoch FROM backend_start)::float8 FROM pg_stat_activity WHERE pid = pg_backend_pid()"
            )
            later = await _asked().run(guards.read_live_counters, asked.model_copy(update={"opened_before_s": opened_s - 1e-5}))
            assert (later.sessions, later.old_sessions) == (2, 1)
            for change, word in (
                (SettingSpec(name="work_mem", value="8MB", database="elsewhere"), "of the database elsewhere"),
                (SettingSpec(name="work_mem", value="8MB", role="nobody at all"), "no role nobody at all"),
            ):
                told = await _asked().run(guards.read_live_counters, ReadLive(target=TARGET, change=change))
                assert word in told.not_seen
        finally:
            old.terminate()
            new.terminate()


async def test_a_server_that_counts_nothing_is_told(observed_postgres: PostgresServer) -> None:
    """Without the extension, or with an index that is not there, the reason is told in place of numbers."""
    async with fresh_database(observed_postgres, *TABLES) as connection:
        guards = await _guards(observed_postgres, connection)
        told = await _asked().run(guards.read_live_counters, ReadLive(target=TARGET, change=CREATE))
        assert "CREATE EXTENSION pg_stat_statements" in told.not_seen and not told.statements
        await connection.execute("CREATE EXTENSION pg_stat_statements")
        told = await _asked().run(guards.read_live_counters, ReadLive(target=TARGET, change=IndexSpec(drop="public.none")))
        assert "table of the index" in told.not_seen


async def _guards(server: PostgresServer, connection: asyncpg.Connection) -> LiveGuards:
    return LiveGuards({VARIABLE: server.dsn(await connection.fetchval("SELECT current_database()::text"))})


async def _meanwhile(connection: asyncpg.Connection, rows: int, watching: Any) -> TrialEvidence:
    """The watch, under calls."""
    task = asyncio.ensure_future(watching)
    while not task.done():
        await called(connection, rows, 1)
        await asyncio.sleep(0)
    evidence: TrialEvidence = await task
    return evidence


def _asked() -> ActivityEnvironment:
    """Now: the time of a watch counts from there."""
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(environment.info, scheduled_time=datetime.now(UTC))
    return environment
