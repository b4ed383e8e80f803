"""IndexStrategyOptimization where no clone with rows can be made: it names what the planner's costs speak for, and changes nothing."""

import asyncio
import gzip
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
from temporalio.client import Client

from activities.context import STATE_FOLDER
from activities.private_postgres import private_folder
from tests.databases import VARIABLE, observed_postgres
from tests.needs import needs
from tests.postgres import PostgresServer, needs_hypopg
from tests.workflows.indexing import COVERING, QUERIES, WRITES, answer, shop
from tests.workflows.killed_steps import attempts_ended
from tests.workflows.sites import WorkerProcess
from tests.workflows.watching_runs import activities_of, assert_free, attempts_of, failure_of, reached, running_with, until

__all__ = ["observed_postgres"]

pytestmark = [needs("temporal"), pytest.mark.timeout(400)]

CANARIES = ("qqcommon", "qqbound", "1987-03-21")
TOLD = "Indexes that are worth verifying"
"""In the report, which shows that it would be found there."""
PEOPLE = (
    "CREATE TABLE people (id int PRIMARY KEY, name text, state text, born date)",
    "INSERT INTO people SELECT n, 'qqbound' || n, 'qqcommon' || n % 3, date '1987-03-21' + n % 2 FROM generate_series(1, 20000) n",
    "CREATE INDEX people_name ON people (name)",
    "CREATE INDEX people_name_state ON people (name, state)",
    "ANALYZE people",
)
OF_PEOPLE = "SELECT count(*) FROM people WHERE state > 'a' AND born > date '2000-01-01' AND name < 'm'"


def left(state: Path) -> list[str]:
    """Folders and processes of private servers of the workers' state folder."""
    mark = private_folder(state)
    return [*(one.name for one in mark.parent.glob(f"{mark.name}*")), *map(str, running_with(mark.name))]


async def seen(handle: Any, folder: Path, told: list[str]) -> dict[str, list[str]]:
    """Canary, and what is told -> where it was found: every file of the workers (unpacked), the history, what was logged."""
    places = {"log": "\n".join(told).encode()}
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            places[str(path.relative_to(folder))] = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    places["history"] = b"\n".join([event.SerializeToString() async for event in handle.fetch_history_events()])
    return {canary: [name for name, data in places.items() if canary.encode() in data] for canary in (*CANARIES, TOLD)}


async def test_without_rows_a_missing_index_is_named_and_nothing_is_changed(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, observed_postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """A database beyond the limit: the planted index is called unverified, what is redundant is advice; no gate asks for a change, no trial
    runs, the catalog is as it was, no value of a row is anywhere, and no server or folder of ours is left."""
    async with shop(client, task_queue, host_name, tmp_path, observed_postgres, *PEOPLE, environment="asking") as lab:
        await needs_hypopg(lab.connection)
        before = await lab.indexes()
        handle = await lab.start(clone_limit_mb=1.0, statements=[*QUERIES, *WRITES, OF_PEOPLE])
        await answer(handle, "findings_review")
        result = await lab.result_of(handle)
        unverified = result.details.unverified
        assert unverified and result.verdict == "inconclusive", (result.summary, unverified)
        assert "clones are made of up to 1 MB" in unverified.why and "Nothing was measured" in result.summary
        [one, *_] = unverified.indexes
        assert one.title.startswith("orders(customer") and one.bytes > 100_000 and one.effects[0].ratio < 0.1, unverified
        assert result.findings[0].id == f"index:unverified:{one.title}" and "not verified" in result.findings[0].title
        assert any(advice.title == "DROP INDEX CONCURRENTLY public.people_name" for advice in result.recommendations)
        assert not result.details.tried and not result.details.strategy and [one.gate for one in result.decisions] == ["findings_review"]
        assert {"search_indexes", "verify_indexes", "describe_change"}.isdisjoint(await activities_of(handle))
        assert await lab.indexes() == before and not await lab.clones() and not left(tmp_path / STATE_FOLDER)
        found = await seen(handle, tmp_path, [record.getMessage() for record in caplog.records])
        assert found.pop(TOLD) and not any(found.values()), found
        # Nobody's statistics are copied where that is not wanted, and production is such a place unless somebody says otherwise.
        error = await failure_of(await lab.start(clone_limit_mb=1.0, statistics_clone="never"))
        assert error.type == "TargetRefused" and 'statistics_clone = "where needed"' in error.message
        # The sound twin.
        await lab.connection.execute(COVERING)
        handle = await lab.start(clone_limit_mb=1.0)
        await answer(handle, "findings_review")
        sound = await lab.result_of(handle)
        assert sound.verdict == "passed" and sound.details.unverified and not sound.details.unverified.indexes, (
            sound.details.unverified.indexes
        )
        assert not left(tmp_path / STATE_FOLDER)


async def test_a_killed_worker_leaves_no_server_and_no_statistics(
    client: Client, temporal_server: str, task_queue: str, host_name: str, tmp_path: Path, observed_postgres: PostgresServer
) -> None:
    """kill -9 in mid-search: its private server ends with it, and the next attempt removes the folder and comes to the same end."""
    statements = [
        "SELECT count(*) FROM orders o JOIN orders p USING (customer) JOIN orders q ON q.placed = p.placed"
        f" WHERE o.total = {number} AND o.status = 'open' AND p.total > {number} AND q.customer < {number} ORDER BY 1"
        for number in range(30)
    ]
    async with shop(client, task_queue, host_name, tmp_path, observed_postgres, environment="asking", serves=False) as lab:
        await needs_hypopg(lab.connection)
        database = await lab.connection.fetchval("SELECT current_database()::text")
        host = WorkerProcess(folder=tmp_path, address=temporal_server, environment={VARIABLE: observed_postgres.dsn(database)})
        try:
            await host.start_worker("--host", host_name)
            handle = await lab.start(clone_limit_mb=1.0, statements=[*statements, *WRITES])
            await reached(handle, "advise_indexes")
            state = tmp_path / STATE_FOLDER

            async def searching() -> bool:
                return any("perfwright_planner" in " ".join(one) for one in commands_below(private_folder(state)))

            await until(searching, "a planner's session")
            await host.signal_worker(signal.SIGKILL)

            async def ended() -> bool:
                return not running_with(private_folder(state).name)

            await until(ended, "the end of its private server")
            [folder] = left(state)
            assert (private_folder(state).parent / folder).stat().st_mode & 0o777 == 0o700
            await attempts_ended(client, handle.id, handle.first_execution_run_id)
            await host.start_worker("--host", host_name)
            await answer(handle, "findings_review")
            result = await lab.result_of(handle)
            assert await attempts_of(handle, "advise_indexes") > 1
            await assert_free(client, f"target/{lab.name}", f"host/{host_name}")
        finally:
            await asyncio.to_thread(host.kill_worker)
        assert result.details.unverified and result.details.unverified.indexes and not left(state)


def commands_below(folder: Path) -> list[list[str]]:
    """Command lines of all that work in a folder whose name begins so."""
    return [
        one.info["cmdline"]
        for one in psutil.process_iter(["cwd", "cmdline"])
        if (one.info["cwd"] or "").startswith(str(folder)) and one.info["cmdline"]
    ]
