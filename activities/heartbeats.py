"""Heartbeats from beside the work: while an activity waits for a server, its worker is still known to live, and a cancel arrives."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from temporalio import activity

BEAT_EVERY_S = 1.0


@asynccontextmanager
async def beating(progress: Callable[[], dict[str, Any]]) -> AsyncIterator[None]:
    """Heartbeat with what `progress` tells, every second until the block ends."""

    async def beat() -> None:
        while True:
            activity.heartbeat(progress())
            await asyncio.sleep(BEAT_EVERY_S)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
        # Not awaited itself: a cancel of ours that arrives here would be taken for the task's.
        await asyncio.wait([task])
        if not task.cancelled() and (mistake := task.exception()):
            raise mistake
