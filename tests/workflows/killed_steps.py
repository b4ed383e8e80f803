"""kill -9 of a site's worker at every boundary between steps, and within steps: while it runs a certain program."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from pathlib import Path

from temporalio.api.enums.v1 import EventType, PendingActivityState
from temporalio.client import Client, RPCError
from temporalio.exceptions import ApplicationError

from activities.processes_below import pids_below
from tests.workflows.sites import Site
from tests.workflows.watching_runs import PATIENCE_S, Handle, steps_of

WITHOUT_CACHE = {"PERFWRIGHT_MAX_CACHED_WORKFLOWS": "0"}
"""Of a worker that is killed often: else every kill costs the five seconds of the sticky queue."""
LOOK_EVERY_S = 0.01


async def attempts_ended(client: Client, workflow_id: str, run_id: str | None, dead: Collection[str] = ()) -> None:
    """Tell the server what it would find out by itself after 15 to 30 s: the attempts that a dead worker was at have ended.

    Of the run and of those that it has started. Tests that kill a worker in the middle of a step wait for the server.
    `dead`: process ids of workers, where others still live.
    """
    described = await client.get_workflow_handle(workflow_id, run_id=run_id).describe()
    for one in described.raw_description.pending_activities:
        of_a_dead_one = not dead or one.last_worker_identity.partition("@")[0] in dead
        if of_a_dead_one and one.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED:
            attempt = client.get_async_activity_handle(workflow_id=workflow_id, run_id=described.run_id, activity_id=one.activity_id)
            with suppress(RPCError):  # it had just ended by itself
                await attempt.fail(ApplicationError("its worker was killed"))
    for child in described.raw_description.pending_children:
        await attempts_ended(client, child.workflow_id, child.run_id, dead)


async def kill_after_every_step(
    site: Site,
    steps: Collection[str],
    start_next: Callable[[], Awaitable[Handle]],
    at_once: int,
    settled: Callable[[], Awaitable[object]] | None = None,
    within: Collection[str] = (),
) -> list[Handle]:
    """kill -9 of the worker right after each kind of step has completed, in one of `at_once` runs (another where these end before).

    `within`: also while it runs a program with one of these words in its command line, or of this title: in the middle of a step.
    `settled` is waited for before the next worker starts. Gives the runs, all of them ended.
    """
    wanted, completed = {*steps, *within}, asyncio.Queue[tuple[float, str]]()
    clock, client = asyncio.get_running_loop().time, await site.client()
    handles: list[Handle] = []
    following: list[asyncio.Task[None]] = []

    async def follow(handle: Handle) -> None:
        async for event, name in steps_of(handle):
            if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
                completed.put_nowait((clock(), name))

    async def look() -> None:
        while words := wanted.intersection(within):
            at = clock()
            if site.worker is not None:
                for word in await asyncio.to_thread(_said_below, site.worker.pid, words):
                    completed.put_nowait((at, word))
            await asyncio.sleep(LOOK_EVERY_S)

    async def one_more() -> None:
        handles.append(await start_next())
        following.append(asyncio.create_task(follow(handles[-1])))

    looking = asyncio.create_task(look())
    for _ in range(at_once):
        await one_more()
    restarted_at = 0.0
    while wanted:
        assert not looking.done() or wanted.isdisjoint(within), looking.exception()
        step = asyncio.create_task(completed.get())
        await asyncio.wait([step, *(one for one in following if not one.done())], return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE_S)
        if not step.done():
            step.cancel()
            assert any(one.done() for one in following), f"nothing went on; not reached: {sorted(wanted)}"
            following = [one for one in following if not one.done()]
            if not following:
                assert len(handles) < 4 * at_once, f"no run comes by: {sorted(wanted)}"
                await one_more()
            continue
        at, name = step.result()
        if name in wanted and at > restarted_at:
            wanted.remove(name)
            await site.signal_worker(signal.SIGKILL)
            if settled is not None:
                await settled()
            for handle in handles:
                await attempts_ended(client, handle.id, handle.first_execution_run_id)
            await site.start_worker()
            restarted_at = clock()
    await asyncio.wait_for(asyncio.gather(*(handle.result() for handle in handles)), PATIENCE_S)
    await asyncio.gather(looking, *following)
    return handles


def _said_below(pid: int, words: Collection[str]) -> set[str]:
    """Those that are in the command line of a process below it. A tool's supervisor has the tool's title there."""
    said: set[str] = set()
    for one in pids_below(pid):
        with suppress(OSError):
            said.update(Path(f"/proc/{one}/cmdline").read_bytes().decode(errors="replace").split("\0"))
    return said.intersection(words)
