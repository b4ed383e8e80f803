"""Branches of Trial: a file that is edited, probed in turns, and a patch; kept, undone, refused, in conflict."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowFailureError

from perfwright.models.queues import CENTRAL_QUEUE
from perfwright.models.target import LOCAL_HOST
from tests.holding import holding
from tests.workflows.trying import CONFIGURATION, Lab, answer, trying
from tests.workflows.watching_runs import Handle, heartbeat, open_gate, until

Branch = Callable[[Lab], Awaitable[Handle]]
GUARD = {"metric": "value", "margin": 0.1}


async def _ended(handle: Handle) -> Handle:
    with suppress(WorkflowFailureError):
        await handle.result()
    return handle


async def kept(stage: Lab) -> Handle:
    """A patch, with a message that is refused."""
    handle = await stage.start(stage.patch(noise=None, wanted_effect=0.4))
    await open_gate(handle, "change")
    await handle.signal("approve", "yes")
    await answer(handle, "change")
    await answer(handle, "keep")
    return await _ended(handle)


async def kept_and_watched(stage: Lab) -> Handle:
    """Also while a person thought."""
    handle = await stage.start(stage.edit(10, guards=[GUARD], watch_s=12))
    await answer(handle, "change")
    await open_gate(handle, "keep")

    async def watched() -> bool:
        return (await heartbeat(stage.client, handle, "measure_trial")).get("phase") == "watch"

    await until(watched, "the guards are watched")
    await answer(handle, "keep")
    return await _ended(handle)


async def measured_only(stage: Lab) -> Handle:
    return await _ended(await stage.start(stage.edit(10, ask_change=False, ask_keep=False)))


async def undone_as_worse(stage: Lab) -> Handle:
    return await _ended(await stage.start(stage.edit(30, ask_change=False)))


async def undone_for_a_guard(stage: Lab) -> Handle:
    guard = {"metric": "rss_bytes", "margin": 0.1}
    return await _ended(await stage.start(stage.launch({"WORK": "100_000", "HELD_MB": "80"}, guards=[guard], ask_change=False)))


async def undone_while_deciding(stage: Lab) -> Handle:
    """A guard is breached meanwhile."""
    handle = await stage.start(stage.edit(10, ask_change=False, guards=[GUARD], deadline_s=24))
    await open_gate(handle, "keep")
    (stage.folder / "probe.py").write_text("print(40)")
    return await _ended(handle)


async def undone_after_keeping(stage: Lab) -> Handle:
    """A guard is breached while what is kept is watched."""
    handle = await stage.start(stage.edit(10, ask_change=False, guards=[GUARD], watch_s=24))
    await answer(handle, "keep")

    async def kept_now() -> bool:
        return [one.state for one in await stage.records_of(handle)] == ["kept"]

    await until(kept_now, "the change is kept")
    (stage.folder / "probe.py").write_text("print(40)")
    return await _ended(handle)


async def kept_beside_the_live_process(stage: Lab) -> Handle:
    """Watched by its probe and from outside."""
    with holding(stage.folder):
        handle = await stage.start(_live(stage, watch_s=12))
        await answer(handle, "keep")
        return await _ended(handle)


async def undone_by_the_live_process(stage: Lab) -> Handle:
    """It holds many times the memory while a person thinks."""
    with holding(stage.folder) as held:
        handle = await stage.start(_live(stage, deadline_s=24))
        await open_gate(handle, "keep")
        held.hold(150_000_000)
        return await _ended(handle)


async def undone_after_a_failure(stage: Lab) -> Handle:
    return await _ended(await stage.start(stage.patch(after="WORK = 1 / 0", ask_change=False)))


async def refused_before(stage: Lab) -> Handle:
    handle = await stage.start(stage.edit(10))
    await answer(handle, "change", "reject", "not before the sale")
    return await _ended(handle)


async def refused_after(stage: Lab) -> Handle:
    handle = await stage.start(stage.edit(10, ask_change=False))
    await answer(handle, "keep", "reject", "not worth it")
    return await _ended(handle)


async def unanswered(stage: Lab) -> Handle:
    return await _ended(await stage.start(stage.edit(10, ask_change=False, deadline_s=1)))


async def too_noisy(stage: Lab) -> Handle:
    (stage.folder / "probe.py").write_text("import random; print(random.lognormvariate(0, 1))")
    return await _ended(await stage.start(stage.edit(10, noise=None, budget_s=30)))


async def not_allowed(stage: Lab) -> Handle:
    """Its text is not in the file."""
    stage.file.write_text("other\n")
    return await _ended(await stage.start(stage.edit(10)))


async def conflict_settled(stage: Lab) -> Handle:
    handle = await _conflict(stage)
    stage.file.write_text(CONFIGURATION)
    await answer(handle, "conflict")
    return await _ended(handle)


async def conflict_left(stage: Lab) -> Handle:
    handle = await _conflict(stage)
    await answer(handle, "conflict", "reject", "mine stays")
    return await _ended(handle)


async def cancelled_while_trying(stage: Lab) -> Handle:
    handle = await stage.start(stage.edit(20.2, ask_change=False))

    async def measuring() -> bool:
        return (await heartbeat(stage.client, handle, "measure_trial")).get("rounds", 0) >= 2

    await until(measuring, "rounds of the trial")
    await handle.cancel()
    return await _ended(handle)


async def cancelled_while_deciding(stage: Lab) -> Handle:
    handle = await stage.start(stage.edit(10, ask_change=False, guards=[GUARD]))
    await open_gate(handle, "keep")
    await handle.cancel()
    return await _ended(handle)


def _live(stage: Lab, **more: Any) -> dict[str, Any]:
    """The same edit, of a target that is a running process."""
    target = stage.context.registry_file.read().target("shop-live")
    assert target is not None
    return stage.edit(10, target=target.model_dump(mode="json"), ask_change=False, guards=[GUARD], **more)


async def _conflict(stage: Lab) -> Handle:
    handle = await stage.start(stage.edit(10, ask_change=False))
    await open_gate(handle, "keep")
    stage.file.write_text("mine\n")
    await answer(handle, "keep", "reject", "no")
    await open_gate(handle, "conflict")
    return handle


TRIAL_BRANCHES: dict[str, Callable[[Any], Awaitable[Handle]]] = {
    branch.__name__: branch
    for branch in (
        kept,
        kept_and_watched,
        measured_only,
        undone_as_worse,
        undone_for_a_guard,
        undone_while_deciding,
        undone_after_keeping,
        kept_beside_the_live_process,
        undone_by_the_live_process,
        undone_after_a_failure,
        refused_before,
        refused_after,
        unanswered,
        too_noisy,
        not_allowed,
        conflict_settled,
        conflict_left,
        cancelled_while_trying,
        cancelled_while_deciding,
    )
}


@asynccontextmanager
async def changing(client: Client, site: Path, branch: Branch) -> AsyncIterator[Lab]:
    """Workers, and a target with a file, a command and a repository; and one whose process runs."""
    process = f'process = {{ pid_file = "{site}/held.pid" }}'
    live = f'[targets.shop-live]\nkind = "process"\nenvironment = "lab"\nhost = "{LOCAL_HOST}"\nfiles_root = "{site}/etc"\n{process}'
    async with trying(client, CENTRAL_QUEUE, LOCAL_HOST, "shop", site, more=live) as stage:
        yield stage
