"""Branches of IndexStrategyOptimization: on a small shop of its own, with people who are asked."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
from temporalio.client import Client, WorkflowFailureError

from perfwright.models.queues import CENTRAL_QUEUE
from perfwright.models.target import LOCAL_HOST
from tests.postgres import OBSERVED, needed_programs, start_postgres
from tests.workflows.indexing import COVERING, Shop, answer, begun, shop
from tests.workflows.watching_runs import Handle, open_gate, reached

Branch = Callable[[Shop], Awaitable[Handle]]
PREFIX = "CREATE INDEX orders_customer ON orders (customer)"


async def _ended(handle: Handle) -> Handle:
    with suppress(WorkflowFailureError):
        await handle.result()
    return handle


async def _trial(stage: Shop, handle: Handle, action: str) -> None:
    trial = stage.trial(handle, (await handle.describe()).run_id or "")
    await begun(trial)
    await answer(trial, "keep", action)


async def kept(stage: Shop) -> Handle:
    """Made, kept, watched."""
    handle = await stage.start(watch_s=2.0)
    await answer(handle, "strategy")
    await _trial(stage, handle, "approve")
    await answer(handle, "findings_review")
    return await _ended(handle)


async def not_kept(stage: Shop) -> Handle:
    handle = await stage.start()
    await answer(handle, "strategy")
    await _trial(stage, handle, "reject")
    await answer(handle, "findings_review")
    return await _ended(handle)


async def revised_and_rejected(stage: Shop) -> Handle:
    """Also with overrides that are refused."""
    handle = await stage.start()
    await answer(handle, "strategy", "request_changes", overrides={"add_indexes": ["CREATE INDEX ON visits (seen)"]})
    await answer(handle, "strategy", "reject", revision=2)
    return await _ended(handle)


async def strategy_unanswered(stage: Shop) -> Handle:
    return await _ended(await stage.start(review_deadline_s=1))


async def nothing_to_do(stage: Shop) -> Handle:
    await stage.connection.execute(COVERING)
    handle = await stage.start()
    await answer(handle, "findings_review")
    return await _ended(handle)


async def dropped(stage: Shop) -> Handle:
    """What is redundant, and what a failed build left."""
    await stage.connection.execute(COVERING)
    await stage.connection.execute(PREFIX)
    with suppress(asyncpg.UniqueViolationError):
        await stage.connection.execute("CREATE UNIQUE INDEX CONCURRENTLY visits_page ON visits (page)")
    handle = await stage.start()
    await answer(handle, "strategy")
    trial = stage.trial(handle, (await handle.describe()).run_id or "", 2)
    await begun(trial)
    await answer(trial, "keep")
    await answer(handle, "findings_review")
    return await _ended(handle)


async def advised(stage: Shop) -> Handle:
    """Where no clone with rows can be made."""
    handle = await stage.start(clone_limit_mb=1.0)
    await answer(handle, "findings_review")
    return await _ended(handle)


async def cancelled(stage: Shop) -> Handle:
    handle = await stage.start()
    await open_gate(handle, "strategy")
    await handle.cancel()
    return await _ended(handle)


async def cancelled_while_searching(stage: Shop) -> Handle:
    handle = await stage.start()
    await reached(handle, "search_indexes")
    await handle.cancel()
    return await _ended(handle)


INDEX_BRANCHES: dict[str, Branch] = {
    branch.__name__: branch
    for branch in (
        kept,
        not_kept,
        revised_and_rejected,
        strategy_unanswered,
        nothing_to_do,
        dropped,
        advised,
        cancelled,
        cancelled_while_searching,
    )
}


@asynccontextmanager
async def indexing(client: Client, site: Path, branch: Branch) -> AsyncIterator[Shop]:
    """A server, workers and a shop of its own for each branch."""
    with start_postgres(needed_programs(), OBSERVED) as server:
        async with shop(client, CENTRAL_QUEUE, LOCAL_HOST, site, server, environment="asking") as stage:
            yield stage
