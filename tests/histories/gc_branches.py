"""Branches of GarbageCollectionTuning: on a small service of its own, with people who are asked."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowFailureError

from perfwright.models.queues import CENTRAL_QUEUE
from perfwright.models.target import LOCAL_HOST
from tests.workflows.tuning import PYTHON_LOAD, Handle, Tuned, answer, python_command, tuning
from tests.workflows.watching_runs import open_gate, reached

Branch = Callable[[Tuned], Awaitable[Handle]]
SHORT: dict[str, Any] = {
    "load": PYTHON_LOAD | {"paths": [f"/visit/{visitor}" for visitor in range(20)], "requests_per_round": 300},
    "rounds": 2,
    "trial_budget_s": 60.0,
    "candidates": ["thresholds 10000, 10, 10"],
}


async def _ended(handle: Handle) -> Handle:
    with suppress(WorkflowFailureError):
        await handle.result()
    return handle


async def _trial(stage: Tuned, handle: Handle, action: str) -> None:
    trial = await stage.trial(handle)
    await answer(trial, "change")
    await answer(trial, "keep", action)


async def kept(stage: Tuned) -> Handle:
    """Swept, tried, kept, and observed again."""
    handle = await stage.start(**SHORT)
    await answer(handle, "objective")
    await _trial(stage, handle, "approve")
    await answer(handle, "findings_review")
    return await _ended(handle)


async def not_kept(stage: Tuned) -> Handle:
    handle = await stage.start(**SHORT)
    await answer(handle, "objective")
    await _trial(stage, handle, "reject")
    await answer(handle, "findings_review")
    return await _ended(handle)


async def revised_and_rejected(stage: Tuned) -> Handle:
    handle = await stage.start(**SHORT)
    await answer(handle, "objective", "request_changes", overrides={"candidates": ["freeze"], "rounds": 3})
    await answer(handle, "objective", "reject", revision=2)
    return await _ended(handle)


async def nothing_to_do(stage: Tuned) -> Handle:
    """With targets that are met as it is."""
    handle = await stage.start(**SHORT, pause_target_ms=60_000.0, share_target=1.0)
    await answer(handle, "findings_review")
    return await _ended(handle)


async def cancelled(stage: Tuned) -> Handle:
    handle = await stage.start(**SHORT)
    await open_gate(handle, "objective")
    await handle.cancel()
    return await _ended(handle)


async def cancelled_while_observing(stage: Tuned) -> Handle:
    handle = await stage.start(**SHORT)
    await reached(handle, "observe_collector")
    await handle.cancel()
    return await _ended(handle)


GC_BRANCHES: dict[str, Branch] = {
    branch.__name__: branch for branch in (kept, not_kept, revised_and_rejected, nothing_to_do, cancelled, cancelled_while_observing)
}


@asynccontextmanager
async def collecting(client: Client, site: Path, branch: Branch) -> AsyncIterator[Tuned]:
    """Workers and a target of its own for each branch."""
    async with tuning(client, CENTRAL_QUEUE, LOCAL_HOST, site, python_command(), environment="asking") as stage:
        yield stage
