"""Branches of CpuOptimizationImplementation: on a small project of its own, with people who are asked."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowFailureError

from perfwright.models.queues import CENTRAL_QUEUE
from perfwright.models.target import LOCAL_HOST
from tests.activities.code_projects import PYTHON, project
from tests.workflows.investigating import workers
from tests.workflows.optimising import answer, child_of, target
from tests.workflows.watching_runs import Handle, open_gate

SHORT: dict[str, Any] = {"benchmark": [PYTHON, "bench.py"], "tests": [PYTHON, "check.py"], "profile_s": 4.0, "trial_s": 120.0}


class Stage:
    """Starts runs on the project."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def start(self, **request: Any) -> Handle:
        return await self.client.start_workflow(
            "CpuOptimizationImplementation",
            {"target": "shop"} | SHORT | request,
            id="cpu-optimization-implementation/shop",
            task_queue=CENTRAL_QUEUE,
        )

    async def profiled(self, handle: Handle) -> Handle:
        """With its profile and findings approved."""
        child = await child_of(handle, "profile")
        await answer(child, "profile_review")
        await answer(child, "findings_review")
        return handle


Branch = Callable[[Stage], Awaitable[Handle]]


async def _ended(handle: Handle) -> Handle:
    with suppress(WorkflowFailureError):
        await handle.result()
    return handle


async def kept(stage: Stage) -> Handle:
    """A candidate approved, tried, kept, and written up."""
    handle = await stage.profiled(await stage.start())
    await answer(handle, "approach")
    await answer(await child_of(handle, "trial", "/1"), "keep")
    await answer(handle, "findings_review")
    return await _ended(handle)


async def revised_and_rejected(stage: Stage) -> Handle:
    """The approach is asked about twice, and refused."""
    handle = await stage.profiled(await stage.start())
    await answer(handle, "approach", "request_changes", overrides={"candidates_at_most": 1})
    await answer(handle, "approach", "reject", revision=2)
    return await _ended(handle)


async def rejected_profile(stage: Stage) -> Handle:
    handle = await stage.start()
    await answer(await child_of(handle, "profile"), "profile_review", "reject")
    return await _ended(handle)


async def tests_that_fail(stage: Stage) -> Handle:
    handle = await stage.start(tests=["false"])
    await answer(handle, "findings_review")
    return await _ended(handle)


async def cancelled(stage: Stage) -> Handle:
    handle = await stage.profiled(await stage.start())
    await open_gate(handle, "approach")
    await handle.cancel()
    return await _ended(handle)


OPTIMIZATION_BRANCHES: dict[str, Branch] = {
    branch.__name__: branch for branch in (kept, revised_and_rejected, rejected_profile, tests_that_fail, cancelled)
}


@asynccontextmanager
async def optimizing(client: Client, site: Path, branch: Branch) -> AsyncIterator[Stage]:
    """Workers and a repository of its own for each branch."""
    repository = project(site / "repository")
    async with workers(client, CENTRAL_QUEUE, LOCAL_HOST, site, target("shop", LOCAL_HOST, repository, "asking")):
        yield Stage(client)
