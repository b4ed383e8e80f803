"""Branches of UndoJanitor: changes of a terminated run, in the lab and in production."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowFailureError

from perfwright.models.queues import CENTRAL_QUEUE
from perfwright.models.target import LOCAL_HOST
from tests.workflows.abandoning import Abandoned, abandoning
from tests.workflows.watching_runs import Handle, open_gate

Branch = Callable[[Abandoned], Awaitable[Handle]]


async def _left(stage: Abandoned) -> None:
    owner = await stage.owner(1)
    await stage.changed_by(owner, "trial-1/1", "2", "4")
    await stage.changed_by(owner, "trial-1/2", "4", "8")
    await owner.terminate()


async def _ended(handle: Handle) -> Handle:
    with suppress(WorkflowFailureError):
        await handle.result()
    return handle


async def _asked(stage: Abandoned) -> Handle:
    """The run that asks."""
    await _left(stage)
    await _ended(await stage.janitor())
    return stage.client.get_workflow_handle(f"undo-janitor/{stage.name}")


async def _answered(stage: Abandoned, action: str) -> Handle:
    handle = await _asked(stage)
    gate = await open_gate(handle, "undo_abandoned")
    await handle.signal(action, {"gate": gate.name, "digest": gate.digest, "by": "ada", "comment": "looked at it"})
    return await _ended(handle)


async def nothing_found(stage: Abandoned) -> Handle:
    return await _ended(await stage.janitor(target=stage.name))


async def undone(stage: Abandoned) -> Handle:
    await _left(stage)
    return await _ended(await stage.janitor(target=stage.name))


async def handed_on(stage: Abandoned) -> Handle:
    """As the schedule looks: each target by a run of its own."""
    await _left(stage)
    return await _ended(await stage.janitor())


async def queued(stage: Abandoned) -> Handle:
    """The run of its own."""
    await _left(stage)
    await _ended(await stage.janitor())
    return await _ended(stage.client.get_workflow_handle(f"undo-janitor/{stage.name}/queued"))


async def conflicting(stage: Abandoned) -> Handle:
    await _left(stage)
    stage.file.write_text("mine\n")
    return await _ended(await stage.janitor(target=stage.name))


async def asking(stage: Abandoned) -> Handle:
    """In production, by a run of its own."""
    await _asked(stage)
    return stage.client.get_workflow_handle(f"janitor-of-{stage.queue}-{stage.name}")


async def asked_approved(stage: Abandoned) -> Handle:
    return await _answered(stage, "approve")


async def asked_refused(stage: Abandoned) -> Handle:
    return await _answered(stage, "reject")


JANITOR_BRANCHES: dict[str, Callable[[Any], Awaitable[Handle]]] = {
    branch.__name__: branch for branch in (nothing_found, undone, handed_on, queued, conflicting, asking, asked_approved, asked_refused)
}


@asynccontextmanager
async def cleaning(client: Client, site: Path, branch: Branch) -> AsyncIterator[Abandoned]:
    """Workers, and a target in production where a person is asked."""
    environment = "production" if branch.__name__.startswith("ask") else "lab"
    async with abandoning(client, CENTRAL_QUEUE, LOCAL_HOST, "shop", environment, site) as stage:
        yield stage
