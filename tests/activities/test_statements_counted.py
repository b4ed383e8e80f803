"""Statements that both sides of a trial send to the target's database, counted by a real server."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import numpy as np
import pytest
from temporalio.testing import ActivityEnvironment

from activities.changes.kind import Site
from activities.trial_measuring.benchmark import Benchmarks
from activities.trial_measuring.service import Services
from activities.trial_measuring.statements import count_statements
from perfwright.analysis.changes.launches import encoded
from perfwright.analysis.trials.rounds import plan_round
from perfwright.models.change import LaunchSpec
from perfwright.models.target import ProcessSelector, Target
from perfwright.models.trial import Side
from perfwright.models.trial_run import BenchmarkMeasurement, Companion, MeasuringOrder, ServiceMeasurement, TrialRequest
from perfwright.models.undo import UndoRecord
from perfwright.models.undo_data import LaunchUndo
from tests.databases import TARGET, VARIABLE, fresh_database, observed_postgres, postgres
from tests.postgres import PostgresServer

__all__ = ["observed_postgres", "postgres"]

COUNTERS = "CREATE EXTENSION pg_stat_statements"
WORK = f"""
import asyncio, asyncpg, os
async def work():
    connection = await asyncpg.connect(os.environ["{VARIABLE}"])
    for number in range(int(os.environ.get("ASKED", "1"))):
        await connection.fetchval("SELECT count(*) FROM articles WHERE id = $1", number)
    await connection.close()
"""
PROGRAM = WORK + "asyncio.run(work())\n"
SERVER = (
    WORK
    + """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/articles":
            asyncio.run(work())
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *arguments): pass
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
)


@asynccontextmanager
async def articles(server: PostgresServer, folder: Path, *more: str) -> AsyncIterator[tuple[asyncpg.Connection, Site]]:
    async with fresh_database(server, "CREATE TABLE articles (id int PRIMARY KEY)", *more) as connection:
        dsn = server.dsn(await connection.fetchval("SELECT current_database()::text"))
        yield connection, Site({VARIABLE: dsn}, folder, registered={TARGET.name: TARGET}.get)


def program(*words: str) -> Target:
    process = ProcessSelector(command=(sys.executable, *words), environment_names=(VARIABLE,))
    return Target(name="shop", kind="process", environment="lab", process=process, database=TARGET.name)


def order_of(target: Target, measurement: BenchmarkMeasurement | ServiceMeasurement) -> tuple[MeasuringOrder, UndoRecord]:
    """A trial of asking twenty times as often."""
    spec = LaunchSpec(environment={"ASKED": "20"})
    request = TrialRequest(target=target, title="more", change=spec, measurement=measurement)
    undo = LaunchUndo(file="launches/shop", before=None, after=encoded([("run/1", spec)]))
    record = UndoRecord(change_id="run/1", title="more", target=target, subject="launch", spec=spec, undo=undo)
    return MeasuringOrder(request=request, phase="trial", change_id="run/1"), record


def counted(companions: tuple[Companion, ...]) -> tuple[float, float]:
    [found] = [one for one in companions if one.unit == "statements"]
    return found.a, found.b


async def test_statements_of_a_benchmark(observed_postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """B sends nineteen more than A: exactly that is told, and our own looks are not in it."""
    monkeypatch.setattr("activities.trial_measuring.valgrind.LIMIT_S", 0.0)
    target = program("-c", PROGRAM)
    assert target.process is not None and target.process.command is not None
    order, record = order_of(target, BenchmarkMeasurement(command=target.process.command))

    async def count() -> tuple[tuple[Companion, ...], tuple[str, ...]]:
        async with articles(observed_postgres, tmp_path, COUNTERS) as (_, site), Benchmarks().opened(order, record, site) as rounds:
            return await rounds.companions(), tuple(getattr(rounds, "notes", ()))

    companions, notes = await ActivityEnvironment().run(count)
    a, b = counted(companions)
    assert b - a == 19 and a >= 1
    assert not any("statements" in one for one in notes)


async def test_statements_of_a_service(observed_postgres: PostgresServer, tmp_path: Path) -> None:
    """Each side is asked the same, alone: 10 requests and 2 to warm up, of which every second asks the database."""
    target = program("-c", SERVER, "{port}")
    assert target.process is not None and target.process.command is not None
    paths = ("/articles", "/")
    measurement = ServiceMeasurement(command=target.process.command, paths=paths, requests_per_round=10, warm_up_requests=2, concurrency=1)
    order, record = order_of(target, measurement)

    async def count() -> tuple[Companion, ...]:
        async with articles(observed_postgres, tmp_path, COUNTERS) as (_, site), Services().opened(order, record, site) as rounds:
            await rounds.measure(plan_round(np.random.default_rng(1), [0]), 1)
            return await rounds.companions()

    a, b = counted(await ActivityEnvironment().run(count))
    assert b - a == 6 * 19


async def test_others_that_use_the_database_are_told(observed_postgres: PostgresServer, tmp_path: Path) -> None:
    """Somebody sends another number of statements each time: the median is told, and that it is not steady."""
    sent = iter((5, 0, 7, 0, 9, 0))
    async with articles(observed_postgres, tmp_path, COUNTERS) as (connection, site):

        async def work(side: Side) -> None:
            for _ in range(next(sent)):
                await connection.execute("SELECT 1 FROM articles")

        companions, (note,) = await count_statements(program("-c", PROGRAM), site, work, 0.01)
    assert counted(companions) == (7.0, 0.0)
    assert note.startswith("statements differ between runs of one side, 5 to 9 with A: others")


async def test_runs_that_do_not_end_in_time_are_broken_off(
    observed_postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A side that takes longer than it did before: it is ended, and that is the reason."""
    monkeypatch.setattr("activities.trial_measuring.statements.LIMIT_S", 1.0)
    ended = []

    async def work(side: Side) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(side)

    async with articles(observed_postgres, tmp_path, COUNTERS) as (_, site):
        companions, (note,) = await count_statements(program("-c", PROGRAM), site, work, 0.01)
    assert not companions and "took longer than 1 s" in note and ended == ["A"]


async def test_what_cannot_be_counted_is_told(postgres: PostgresServer, tmp_path: Path) -> None:
    """No database: nothing to tell. A database that is not registered, of another kind, without its connection string or pg_stat_statements,
    and runs that take too long for it: the reason; and no side was run for it."""
    target = program("-c", PROGRAM)

    async def never(side: Side) -> None:
        raise AssertionError(side)

    async def told(site: Site, target: Target = target, run_s: float = 0.1) -> str:
        companions, notes = await count_statements(target, site, never, run_s)
        assert not companions and all(one.startswith("statements are not counted: ") for one in notes)
        return " ".join(notes)

    assert await told(Site({}, tmp_path), target.model_copy(update={"database": None})) == ""
    assert "shop-db is not in the registry" in await told(Site({}, tmp_path))
    other = TARGET.model_copy(update={"kind": "mysql"})
    assert "of kind mysql" in await told(Site({}, tmp_path, registered={TARGET.name: other}.get))
    assert "about 600 s, 90 s are allowed" in await told(Site({}, tmp_path, registered={TARGET.name: TARGET}.get), run_s=100.0)
    assert VARIABLE in await told(Site({}, tmp_path, registered={TARGET.name: TARGET}.get))
    async with articles(postgres, tmp_path) as (_, site):
        assert "pg_stat_statements is not loaded" in await told(site)
