"""What QueryPerformanceAnalysis survives in the middle of an EXPLAIN ANALYZE and between its steps: the end of worker, database or Temporal.

In all of them the run completes or says what happened, no statement is executed again that had been executed, what was being executed is
executed once more at most, nothing of ours is left on the database's server, the lease is free, and a second start works.
"""

import asyncio
import os
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from temporalio.client import Client

from perfwright.models.queues import CENTRAL_QUEUE
from tests.activities.explain_runs import BULKY, Examined, make_shop
from tests.databases import nothing_left
from tests.needs import needs
from tests.postgres import OBSERVED, needed_programs, start_postgres
from tests.workflows.investigating import DSN_VARIABLE, QueryResult, analyse, database, workers
from tests.workflows.killed_steps import WITHOUT_CACHE, kill_after_every_step
from tests.workflows.sites import WorkerProcess, running_site
from tests.workflows.watching_runs import (
    PATIENCE_S,
    Handle,
    assert_cancelled,
    assert_free,
    open_gate,
    task_failures,
    until,
)

pytestmark = [needs("temporal"), pytest.mark.timeout(300)]

INSERT = "INSERT INTO audit (said) VALUES ('examined')"
COUNT = "SELECT count(*) FROM customers"
SHORT: dict[str, Any] = {
    "window_s": 1,
    "top": 1,
    "min_share": 1.0,
    "statements": [INSERT, COUNT, BULKY],
    "cost_ceiling": 1e15,
    "what_if": False,
    "verify_rewrites": False,
    "parameter_sets": 1,
}
"""The third statement is endless while its table is filled."""
BUSY = "FROM bulk"
EVERY_STEP = (
    "resolve_target",
    "number_run",
    "probe_host",
    "inspect_database",
    "acquire_leases",
    "observe_statements",
    "sample_activity",
    "read_log",
    "read_catalog",
    "release_leases",
    "group_statements",
    "read_gate_policy",
    "explain_statements",
    "judge_plans",
    "make_advice",
    "rank_query_findings",
    "publish_report",
    "record_run",
)
EXECUTED = re.compile(r"LOG: .*\bEXPLAIN\b[^(]*\([^)]*\bANALYZE\b[^)]*\) (?P<text>.*)")


class Shop(Examined):
    """A database on a server of its own whose log has every statement that is begun."""

    @property
    def variables(self) -> dict[str, str]:
        return {DSN_VARIABLE: self.dsn}

    def executions(self) -> Counter[str]:
        """Text of a given statement -> how often its execution was begun."""
        log = (self.server.folder / "log").read_text(errors="replace")
        return Counter(found["text"] for line in log.splitlines() if (found := EXECUTED.search(line)))

    async def comes_back(self) -> bool:
        """Whether the server takes connections again."""
        try:
            return bool(await self.value("SELECT true"))
        except (OSError, asyncpg.PostgresError):
            return False

    async def without(self, backend: int) -> bool:
        return await self.value(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {backend}") == 0

    async def assert_clean(self) -> None:
        await nothing_left(self.server)
        async with self.session() as session:
            assert await session.fetchval("SELECT count(*) FROM pg_db_role_setting") == 0
            assert await session.fetchval("SELECT count(*) FROM pg_database WHERE datname LIKE '%perfwright%'") == 0
            assert await session.fetchval("SELECT count(*) FROM audit") == 0, "what was inserted was rolled back"
            assert await session.fetchval("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'") == 0


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    with start_postgres(needed_programs(), OBSERVED | {"log_statement": "all"}) as server:
        shop = Shop(server, await make_shop(server), tmp_path)
        await shop.value("CREATE EXTENSION pg_stat_statements")
        yield shop


@pytest.fixture
def name(host_name: str) -> str:
    return f"shop-db-on-{host_name}"


async def assert_finished(handle: Handle) -> QueryResult:
    """The run completed with a verdict of its own, and no workflow task failed."""
    result: QueryResult = await asyncio.wait_for(handle.result(), PATIENCE_S)
    assert result.verdict in ("passed", "inconclusive"), result.summary
    assert not await task_failures(handle)
    assert result.report.html
    return result


def modes(result: QueryResult) -> dict[str, str]:
    """Table -> what became of the statement on it."""
    return {
        table: next(one.outcome.mode for one in result.details.examined if table in one.statement.text)
        for table in ("audit", "customers", "bulk")
    }


ANALYZED = {"audit": "analyzed", "customers": "analyzed", "bulk": "analyzed"}


async def test_a_worker_that_is_killed_in_the_middle_of_an_explain(
    client: Client, temporal_server: str, task_queue: str, host_name: str, name: str, tmp_path: Path, shop: Shop
) -> None:
    """kill -9 of the host's worker: the server ends its statement, the next attempt executes that one again and tells it, and no other."""
    host = WorkerProcess(folder=tmp_path, address=temporal_server, environment=shop.variables)
    async with workers(client, task_queue, host_name, tmp_path, database(name, host_name), environ=shop.variables, serves_host=False):
        try:
            await host.start_worker("--host", host_name)
            async with shop.bulk() as empty:
                handle = await analyse(client, task_queue, name, **SHORT)
                await shop.busy_with(BUSY, PATIENCE_S)
                before = shop.executions()
                await host.signal_worker(signal.SIGKILL)
                await shop.gone(within_s=20)
                await empty()
            await host.start_worker("--host", host_name)
            result = await assert_finished(handle)
            after = shop.executions()
            await assert_free(client, f"target/{name}", f"host/{host_name}")
            await shop.assert_clean()
            await assert_finished(await analyse(client, task_queue, name, **SHORT))
            usual = shop.executions() - after
        finally:
            await asyncio.to_thread(host.kill_worker)
    assert modes(result) == ANALYZED and before[BULKY] == 1
    assert after[BULKY] == usual[BULKY] + 1 and after[INSERT] == usual[INSERT] > 0 and after[COUNT] == usual[COUNT] > 0
    assert any("it is executed again" in warning for warning in result.details.warnings), result.details.warnings
    await shop.assert_clean()


async def test_worker_and_database_are_killed_after_every_step(tmp_path: Path, shop: Shop) -> None:
    """kill -9 of the worker right after each kind of step has completed, and a crash of the database: the run completes, and what had been
    executed is executed again only where the run tells it."""
    name = "shop-db"
    async with running_site(tmp_path) as site:
        site.register(database(name, "local"))
        site.environment = shop.variables | WITHOUT_CACHE
        await site.start_worker()
        client = await site.client()
        handles = await kill_after_every_step(
            site, EVERY_STEP, lambda: analyse(client, CENTRAL_QUEUE, name, **SHORT), 1, lambda: asyncio.to_thread(shop.server.crash)
        )
        results = [await assert_finished(handle) for handle in handles]
        disturbed = shop.executions()
        await assert_free(client, "host/local", f"target/{name}")
        await shop.assert_clean()
        await assert_finished(await analyse(client, CENTRAL_QUEUE, name, **SHORT))
    usual = shop.executions() - disturbed
    told = sum("it is executed again" in warning for result in results for warning in result.details.warnings)
    for text in (INSERT, COUNT, BULKY):
        assert len(results) * usual[text] <= disturbed[text] <= len(results) * usual[text] + told, (text, disturbed, usual, told)
    assert all(modes(result) == ANALYZED for result in results)


async def test_a_database_server_that_crashes(
    client: Client, task_queue: str, host_name: str, name: str, tmp_path: Path, shop: Shop
) -> None:
    """Restarted between steps it is not even noticed; a crash in the middle of an execution is told, and that statement not tried again."""
    entry = database(name, host_name, "asking")
    async with workers(client, task_queue, host_name, tmp_path, entry, environ=shop.variables):
        handle = await analyse(client, task_queue, name, **SHORT)
        await open_gate(handle, "queries_review")
        await asyncio.to_thread(shop.server.restart)
        async with shop.bulk() as empty:
            await handle.signal("approve", {"gate": "queries_review", "by": "ada"})
            backend = await shop.busy_with(BUSY, PATIENCE_S)
            os.kill(backend, signal.SIGKILL)  # PostgreSQL then ends all sessions, and recovers
            await open_gate(handle, "findings_review")
            executions = shop.executions()
            await until(shop.comes_back, "the end of the recovery")
            await empty()
        await handle.signal("approve", {"gate": "findings_review", "by": "ada"})
        result = await assert_finished(handle)
        await assert_free(client, f"target/{name}", f"host/{host_name}")
        await shop.assert_clean()

        again = await analyse(client, task_queue, name, **SHORT)
        for gate in ("queries_review", "findings_review"):
            await open_gate(again, gate)
            await again.signal("approve", {"gate": gate, "by": "ada"})
        second = await assert_finished(again)
    lost = {one.statement.text: one.outcome.reason for one in result.details.examined if one.outcome.mode == "not explained"}
    assert BULKY in lost and modes(second) == ANALYZED
    # More than one: a session that comes back before the server has noticed its dead process is ended with all others.
    assert {*lost.values()} == {"the server closed the connection while it was executed: not tried again"}, lost
    assert ANALYZED | {table: "not explained" for table in ANALYZED if any(table in text for text in lost)} == modes(result)
    assert executions[BULKY] == 1 and executions[INSERT] == (shop.executions() - executions)[INSERT]
    await shop.assert_clean()


async def test_a_temporal_server_that_is_killed_in_the_middle_of_an_explain(name: str, tmp_path: Path, shop: Shop) -> None:
    """kill -9 of the Temporal server: what is executed goes on meanwhile, and nothing is executed again."""
    async with running_site(tmp_path) as site:
        site.register(database(name, "local"))
        site.environment = shop.variables
        await site.start_worker()
        client = await site.client()
        async with shop.bulk():
            handle = await analyse(client, CENTRAL_QUEUE, name, **SHORT | {"statement_timeout_s": 10})
            await shop.busy_with(BUSY, PATIENCE_S)
            await site.restart_server()
            result = await assert_finished(handle)
        first = shop.executions()
        await assert_free(client, f"target/{name}", "host/local")
        await shop.assert_clean()
        second = await assert_finished(await analyse(client, CENTRAL_QUEUE, name, **SHORT))
    usual = shop.executions() - first
    assert modes(result) == ANALYZED | {"bulk": "planned"} and modes(second) == ANALYZED
    assert first[BULKY] == 1, "it ran into its timeout, once"
    assert (first[INSERT], first[COUNT]) == (usual[INSERT], usual[COUNT])


async def test_cancel_and_terminate_in_the_middle_of_an_explain(
    client: Client, task_queue: str, host_name: str, name: str, tmp_path: Path, shop: Shop
) -> None:
    """Cancelled, the run ends as cancelled when its statement has ended; terminated, the next start waits for that. Both leave nothing."""
    async with workers(client, task_queue, host_name, tmp_path, database(name, host_name), environ=shop.variables):
        async with shop.bulk() as empty:
            cancelled = await analyse(client, task_queue, name, **SHORT)
            await shop.busy_with(BUSY, PATIENCE_S)
            await cancelled.cancel()
            await assert_cancelled(cancelled)
            await shop.assert_clean()
            await assert_free(client, f"target/{name}", f"host/{host_name}")

            terminated = await analyse(client, task_queue, name, **SHORT)
            backend = await shop.busy_with(BUSY, PATIENCE_S)
            await terminated.terminate("test")
            await until(lambda: shop.without(backend), "the end of the terminated run's statement")
            await empty()
        before = shop.executions()
        assert before[BULKY] == 2, "each run had begun it once"
        result = await assert_finished(await analyse(client, task_queue, name, **SHORT))
        await assert_free(client, f"target/{name}", f"host/{host_name}")
    assert modes(result) == ANALYZED
    await shop.assert_clean()
