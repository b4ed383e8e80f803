"""Branches of QueryPerformanceAnalysis: on the lab's database, under its own traffic."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowFailureError

from perfwright.models.queues import CENTRAL_QUEUE
from perfwright.models.target import LOCAL_HOST
from tests.workflows.investigating import database, started, workers
from tests.workflows.watching_runs import Handle, open_gate, until

ASKING, NOTING = "asked-db", "shop-db"
"""Two names of one database: people are asked, or reviews are noted."""


class QueryStage:
    """Server, workers and the database, while branches are recorded."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def start(self, name: str, **request: Any) -> Handle:
        return await self.client.start_workflow(
            "QueryPerformanceAnalysis",
            {"target": name, "window_s": 2, "top": 2} | request,
            id=f"query-performance-analysis/{name}",
            task_queue=CENTRAL_QUEUE,
        )


Branch = Callable[[QueryStage], Awaitable[Handle]]


async def _ended(handle: Handle) -> Handle:
    with suppress(WorkflowFailureError):
        await handle.result()
    return handle


async def _answer(handle: Handle, gate: str, how: str, revision: int = 1, **decision: Any) -> None:
    opened = await open_gate(handle, gate, revision)
    await handle.signal(how, {"gate": gate, "by": "ada", "digest": opened.digest} | decision)


async def approved(stage: QueryStage) -> Handle:
    handle = await stage.start(ASKING)
    await _answer(handle, "queries_review", "approve")
    await _answer(handle, "findings_review", "approve")
    return await _ended(handle)


async def noted(stage: QueryStage) -> Handle:
    return await _ended(await stage.start(NOTING))


async def rejected(stage: QueryStage) -> Handle:
    handle = await stage.start(ASKING)
    await _answer(handle, "queries_review", "reject", comment="the import was running")
    return await _ended(handle)


async def rejected_findings(stage: QueryStage) -> Handle:
    handle = await stage.start(ASKING)
    await _answer(handle, "queries_review", "approve")
    await _answer(handle, "findings_review", "reject", comment="known since spring")
    return await _ended(handle)


async def revised(stage: QueryStage) -> Handle:
    """Also with overrides that are refused; another window observes again."""
    handle = await stage.start(ASKING)
    await _answer(handle, "queries_review", "request_changes", comment="all", overrides={"top": 1_000_000})
    await _answer(handle, "queries_review", "request_changes", comment="fewer", overrides={"top": 2})
    await _answer(handle, "queries_review", "request_changes", revision=2, comment="longer", overrides={"window_s": 3})
    await _answer(handle, "queries_review", "approve", revision=3)
    await _answer(handle, "findings_review", "approve")
    return await _ended(handle)


async def timed_out(stage: QueryStage) -> Handle:
    return await _ended(await stage.start(ASKING, review_deadline_s=1))


async def costly_approved(stage: QueryStage) -> Handle:
    handle = await stage.start(ASKING, cost_ceiling=1)
    await _answer(handle, "queries_review", "approve")
    await _answer(handle, "costly_statements", "approve")
    await _answer(handle, "findings_review", "approve")
    return await _ended(handle)


async def costly_refused(stage: QueryStage) -> Handle:
    handle = await stage.start(ASKING, cost_ceiling=1)
    await _answer(handle, "queries_review", "approve")
    await _answer(handle, "costly_statements", "reject", comment="not at noon")
    await _answer(handle, "findings_review", "approve")
    return await _ended(handle)


async def cancelled(stage: QueryStage) -> Handle:
    handle = await stage.start(ASKING)
    await open_gate(handle, "queries_review")
    await handle.cancel()
    return await _ended(handle)


async def cancelled_while_observing(stage: QueryStage) -> Handle:
    handle = await stage.start(NOTING, window_s=600)

    async def observing() -> bool:
        pending = (await handle.describe()).raw_description.pending_activities
        return any(one.activity_type.name == "observe_statements" and one.last_heartbeat_time.seconds for one in pending)

    await until(observing, "observation")
    await handle.cancel()
    return await _ended(handle)


async def refused(stage: QueryStage) -> Handle:
    """The target is no database."""
    return await _ended(await stage.start("files"))


QUERY_BRANCHES: dict[str, Branch] = {
    branch.__name__: branch
    for branch in (
        approved,
        noted,
        rejected,
        rejected_findings,
        revised,
        timed_out,
        costly_approved,
        costly_refused,
        cancelled,
        cancelled_while_observing,
        refused,
    )
}


@asynccontextmanager
async def querying(client: Client, site: Path, branch: Branch) -> AsyncIterator[QueryStage]:
    """Workers for analyses of the lab's database."""
    with started("-m", "lab.database", "--load", "--duration", "600") as ready:
        targets = (
            database(ASKING, LOCAL_HOST, "asking"),
            database(NOTING, LOCAL_HOST),
            f'[targets.files]\nkind = "filesystem"\nurl = "file:///tmp"\nenvironment = "lab"\nhost = "{LOCAL_HOST}"\n',
        )
        async with workers(client, CENTRAL_QUEUE, LOCAL_HOST, site, *targets, environ=ready["environment"]):
            yield QueryStage(client)
