"""The only two ways to wait for several things, and to finish what must be finished.

Both were tried against a real server, also without a workflow cache (temporal.md, 1). A bare `asyncio.gather` over activities returns
when the *first* of them has acknowledged a cancel: an undo began while two tools still ran. When one step fails it neither
cancels nor awaits the others: the lease is released under running profilers. A plain undo in `finally` is cancelled by a cancel
that comes meanwhile, and `asyncio.shield(undo)` is worse: the run closes, and the undo dies with it.
"""

import asyncio
import contextvars
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar, overload

from workflows.plugin.cancellation import ENDING, stop_if_cancelled

__all__ = ["stop_if_cancelled", "to_the_end", "together"]

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")


async def to_the_end(aw: Awaitable[T]) -> T:
    """Wait for an undo, a release or a closing report to finish, whatever comes meanwhile; a cancellation is raised afterwards.

    Give it a coroutine (`await to_the_end(self._undo(change))`): the steps inside a coroutine know that they must finish,
    although the run is cancelled already. An error of the undo itself is raised.
    """
    task: asyncio.Future[T]
    if isinstance(aw, Coroutine):
        context = contextvars.copy_context()
        context.run(ENDING.set, True)
        try:
            task = asyncio.get_running_loop().create_task(aw, context=context)
        except RuntimeError:  # a workflow that its worker forgets while it waits: nothing runs here any more
            aw.close()
            raise
    else:
        task = asyncio.ensure_future(aw)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as e:
            if task.cancelled():
                raise
            cancelled = e
        except Exception:  # noqa: S110  # the task has ended with it: `result()` raises it below
            pass
    result = task.result()
    if cancelled:
        raise cancelled
    return result


@overload
async def together(a: Awaitable[T1], b: Awaitable[T2], /) -> tuple[T1, T2]: ...
@overload
async def together(a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], /) -> tuple[T1, T2, T3]: ...
@overload
async def together(a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], d: Awaitable[T4], /) -> tuple[T1, T2, T3, T4]: ...
@overload
async def together(
    a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], d: Awaitable[T4], e: Awaitable[T5], /
) -> tuple[T1, T2, T3, T4, T5]: ...
@overload
async def together(*steps: Awaitable[T]) -> tuple[T, ...]: ...


async def together(*steps: Awaitable[Any]) -> tuple[Any, ...]:
    """Run steps side by side; return their results in order, or raise the first error, only when nothing of it still runs.

    When one fails, or the run is cancelled, the others are cancelled and awaited: tools need seconds to stop, and what follows
    (an undo, the release of the lease) must not begin under them.
    """
    tasks = [asyncio.ensure_future(step) for step in steps]
    try:
        return tuple(await asyncio.gather(*tasks))
    except (Exception, asyncio.CancelledError):
        for task in tasks:
            task.cancel()
        await to_the_end(asyncio.gather(*tasks, return_exceptions=True))
        raise
