"""kill -9 of a site's worker at every boundary between steps."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Collection

from temporalio.api.enums.v1 import EventType

from tests.workflows.sites import Site
from tests.workflows.watching_runs import PATIENCE_S, Handle, steps_of

WITHOUT_CACHE = {"PERFWRIGHT_MAX_CACHED_WORKFLOWS": "0"}
"""Of a worker that is killed often: else every kill costs the five seconds of the sticky queue."""


async def kill_after_every_step(
    site: Site,
    steps: Collection[str],
    start_next: Callable[[], Awaitable[Handle]],
    at_once: int,
    settled: Callable[[], Awaitable[object]] | None = None,
) -> list[Handle]:
    """kill -9 of the worker right after each kind of step has completed, in one of `at_once` runs (another where these end before).

    `settled` is waited for before the next worker starts. Gives the runs, all of them ended.
    """
    wanted, completed = set(steps), asyncio.Queue[tuple[float, str]]()
    clock = asyncio.get_running_loop().time
    handles: list[Handle] = []
    following: list[asyncio.Task[None]] = []

    async def follow(handle: Handle) -> None:
        async for event, name in steps_of(handle):
            if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
                completed.put_nowait((clock(), name))

    async def one_more() -> None:
        handles.append(await start_next())
        following.append(asyncio.create_task(follow(handles[-1])))

    for _ in range(at_once):
        await one_more()
    restarted_at = 0.0
    while wanted:
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
            await site.start_worker()
            restarted_at = clock()
    await asyncio.wait_for(asyncio.gather(*(handle.result() for handle in handles)), PATIENCE_S)
    await asyncio.gather(*following)
    return handles
