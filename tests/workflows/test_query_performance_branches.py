"""Ways that QueryPerformanceAnalysis can go, with a real server, the lab's database, and people who refuse."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from temporalio.client import Client

from perfwright.models.history import RunQuery
from tests.workflows.investigating import DSN_VARIABLE, QueryResult, analyse, database, started, workers
from tests.workflows.watching_runs import assert_cancelled, assert_free, failure_of, open_gate, until

SHORT: dict[str, Any] = {"window_s": 3, "top": 4}


@pytest.fixture
def name(host_name: str) -> str:
    """A target of the test's own: its lease outlives the test for a while, on a queue that nobody serves any more."""
    return f"shop-db-on-{host_name}"


@pytest.fixture(scope="module")
def shop() -> Iterator[dict[str, str]]:
    """Where the lab's database is, under its traffic."""
    with started("-m", "lab.database", "--load", "--duration", "600") as ready:
        yield ready["environment"]


async def sessions_of_ours(shop: dict[str, str]) -> int:
    connection = await asyncpg.connect(shop[DSN_VARIABLE])
    try:
        found: int = await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'perfwright'")
        return found
    finally:
        await connection.close()


async def executed(shop: dict[str, str]) -> int:
    """How many statements were executed for their plans."""
    connection = await asyncpg.connect(shop[DSN_VARIABLE])
    try:
        text = (
            "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query ILIKE '%EXPLAIN%ANALYZE%' AND query NOT ILIKE '%pg_stat%'"
        )
        return int(await connection.fetchval(text))
    finally:
        await connection.close()


async def test_refused_at_every_gate(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, shop: dict[str, str], name: str
) -> None:
    """A refused choice of statements ends the analysis; refused costly statements keep their planned costs. Nothing is executed for either."""
    before = await executed(shop)
    async with workers(client, task_queue, host_name, tmp_path, database(name, host_name, "asking"), environ=shop) as context:
        handle = await analyse(client, task_queue, name, **SHORT)
        gate = await open_gate(handle, "queries_review")
        assert "statements are examined" in " ".join(gate.question.evidence)
        await assert_free(client, f"target/{name}", f"host/{host_name}")
        await handle.signal("reject", {"gate": "queries_review", "by": "ada", "comment": "the import was running"})
        rejected: QueryResult = await handle.result()
        assert (rejected.verdict, rejected.details.plans) == ("rejected", None)
        assert "the import was running" in rejected.summary and rejected.report.html

        handle = await analyse(client, task_queue, name, **SHORT, cost_ceiling=1)
        await open_gate(handle, "queries_review")
        await handle.signal("approve", {"gate": "queries_review", "by": "ada"})
        gate = await open_gate(handle, "costly_statements")
        await handle.signal("approve", {"gate": "costly_statements", "by": "ada"})  # without the digest: not taken
        await handle.signal("reject", {"gate": "costly_statements", "by": "ada", "comment": "not at noon", "digest": gate.digest})
        await open_gate(handle, "findings_review")
        await handle.signal("reject", {"gate": "findings_review", "by": "grace", "comment": "known since spring"})
        refused: QueryResult = await handle.result()
        kept = await context.history.list_runs(RunQuery(target=name))
    assert refused.verdict == "rejected" and "known since spring" in refused.summary
    assert {one.outcome.mode for one in refused.details.examined} <= {"planned", "generic plan", "not explained"}
    assert [one.reason for one in refused.refused_decisions if "digest" in one.reason]
    assert any(step.name == "Explain costly statements" and step.outcome == "skipped" for step in refused.steps)
    assert [run.verdict for run in kept] == ["rejected", "rejected"]
    assert await executed(shop) == before
    assert await sessions_of_ours(shop) == 0


async def test_costly_statements_after_approval(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, shop: dict[str, str], name: str
) -> None:
    """What is over the ceiling is executed only after approval, and then everything has a measured plan."""
    async with workers(client, task_queue, host_name, tmp_path, database(name, host_name, "asking"), environ=shop):
        handle = await analyse(client, task_queue, name, **SHORT, cost_ceiling=1)
        await open_gate(handle, "queries_review")
        await handle.signal("request_changes", {"gate": "queries_review", "by": "ada", "comment": "fewer", "overrides": {"top": 2}})
        await open_gate(handle, "queries_review", 2)
        await handle.signal("approve", {"gate": "queries_review", "by": "ada"})
        gate = await open_gate(handle, "costly_statements")
        assert "EXPLAIN (ANALYZE, BUFFERS)" in gate.question.exact_change
        await handle.signal("approve", {"gate": "costly_statements", "by": "ada", "digest": gate.digest})
        await open_gate(handle, "findings_review")
        await handle.signal("approve", {"gate": "findings_review", "by": "ada"})
        result: QueryResult = await handle.result()
    assert len(result.details.examined) == 2
    assert "analyzed" in {one.outcome.mode for one in result.details.examined}
    assert result.reviewed


async def test_production_is_only_planned(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, shop: dict[str, str], name: str
) -> None:
    """In production nothing is executed unless the registry allows `analyze`."""
    before = await executed(shop)
    entry = database(name, host_name, "production", allow="")
    async with workers(client, task_queue, host_name, tmp_path, entry, environ=shop):
        handle = await analyse(client, task_queue, name, **SHORT, review_deadline_s=1)
        result: QueryResult = await handle.result()
    assert not result.reviewed
    assert {one.outcome.mode for one in result.details.examined} <= {"planned", "generic plan", "not explained"}
    assert await executed(shop) == before


async def test_cancelled_while_it_observes(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, shop: dict[str, str], name: str
) -> None:
    """Cancelled in the middle of the window: the run is cancelled, the lease is free, and no session of ours is left."""
    async with workers(client, task_queue, host_name, tmp_path, database(name, host_name), environ=shop) as context:
        handle = await analyse(client, task_queue, name, window_s=600)

        async def observing() -> bool:
            pending = (await handle.describe()).raw_description.pending_activities
            return sum(bool(one.last_heartbeat_time.seconds) for one in pending) >= 3

        await until(observing, "observation")
        await handle.cancel()
        await assert_cancelled(handle)
        await assert_free(client, f"target/{name}", f"host/{host_name}")
        kept = await context.history.list_runs(RunQuery(target=name))
    assert [run.verdict for run in kept] == ["cancelled"]
    assert await sessions_of_ours(shop) == 0


@pytest.mark.parametrize(
    ("environment", "kind", "error"),
    [
        ({}, "TargetRefused", "SHOP_DB_DSN"),
        ({DSN_VARIABLE: "postgresql://shop:hunter2@127.0.0.1:1/shop"}, "DatabaseUnreachable", "refused the connection"),
    ],
)
async def test_a_server_that_cannot_be_reached(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, name: str, environment: dict[str, str], kind: str, error: str
) -> None:
    """A variable that is not set and a server that does not answer are told by name, without the password."""
    async with workers(client, task_queue, host_name, tmp_path, database(name, host_name), environ=environment):
        handle = await analyse(client, task_queue, name, **SHORT)
        failure = await failure_of(handle)
    assert (failure.type, error in failure.message) == (kind, True), failure
    assert "hunter2" not in str(failure)
