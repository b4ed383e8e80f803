"""What IndexStrategyOptimization survives: kill -9 of the host's worker in a search, a verification, and while an index is built."""

import asyncio
import signal
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.databases import VARIABLE, observed_postgres
from tests.needs import needs
from tests.postgres import PostgresServer
from tests.workflows.indexing import Shop, begun, shop
from tests.workflows.killed_steps import attempts_ended
from tests.workflows.short_trials import SHORT_WORKER
from tests.workflows.sites import WorkerProcess
from tests.workflows.watching_runs import PATIENCE_S, assert_free, attempts_of, reached, until

__all__ = ["observed_postgres"]

pytestmark = [needs("temporal"), pytest.mark.timeout(600)]

LONG = "INSERT INTO orders SELECT n, n::bigint * 7919 % 4000, repeat('x', 50), date '2026-01-01', 0 FROM generate_series(60001, 900000) n"
"""Rows that make a build take long enough to be met in it."""


async def _running_on_a_clone(lab: Shop) -> None:
    """Queries are executed there. Asked of the server: heartbeats arrive seconds later."""

    async def runs() -> bool:
        sql = "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'perfwright_clone_%' AND query LIKE '%(ANALYZE, BUFFERS%'"
        return bool(await lab.connection.fetchval(sql))

    await until(runs, "queries on a clone")


async def _building(lab: Shop) -> None:
    """An index of the shop itself, not of a clone."""

    async def builds() -> bool:
        sql = "SELECT count(*) FROM pg_stat_progress_create_index WHERE datname = current_database()"
        return bool(await lab.connection.fetchval(sql))

    await until(builds, "the build")


async def test_a_killed_worker_leaves_nothing(
    client: Client, temporal_server: str, task_queue: str, host_name: str, tmp_path: Path, observed_postgres: PostgresServer
) -> None:
    """In each of the three the next attempt goes on to the same end: one valid index more, no clone, no invalid index, the lease free."""
    async with shop(client, task_queue, host_name, tmp_path, observed_postgres, LONG, serves=False) as lab:
        before = await lab.indexes()
        database = await lab.connection.fetchval("SELECT current_database()::text")
        host = WorkerProcess(
            folder=tmp_path, address=temporal_server, environment={VARIABLE: observed_postgres.dsn(database)}, program=SHORT_WORKER
        )

        async def killed() -> None:
            await host.signal_worker(signal.SIGKILL)
            await attempts_ended(client, handle.id, handle.first_execution_run_id)
            await host.start_worker("--host", host_name)

        try:
            await host.start_worker("--host", host_name)
            handle = await lab.start(trial_s=60)
            for step in ("search_indexes", "verify_indexes"):
                await reached(handle, step)
                await _running_on_a_clone(lab)
                await killed()
            trial = lab.trial(handle, (await handle.describe()).run_id or "")
            await begun(trial)
            await reached(trial, "apply_change")
            await _building(lab)
            await killed()
            result = await asyncio.wait_for(lab.result_of(handle), PATIENCE_S)
            killed_in = ((handle, "search_indexes"), (handle, "verify_indexes"), (trial, "apply_change"))
            attempts = [await attempts_of(run, step) for run, step in killed_in]
            await assert_free(client, f"target/{lab.name}", f"host/{host_name}")
        finally:
            await asyncio.to_thread(host.kill_worker)
        assert min(attempts) > 1, attempts
        assert result.verdict == "passed", (result.summary, result.quality_gates, result.details.tried)
        made = set(await lab.indexes()) - set(before)
        kept = [one for one in result.details.tried if one.end == "kept"]
        assert len(made) == len(kept) == 1 and all(valid for _, valid, *_ in made), (made, kept)
        assert not await lab.clones()
