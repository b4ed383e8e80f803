"""A cancellation is not lost: after every step the run asks whether it was cancelled.

An activity that answers a cancel with a partial result would let the run go on; `except ActivityError` would swallow it; a dead
worker turns it into a heartbeat timeout (temporal.md, 2). So the handles that workflow code gets are watched: when a step ends in
any way and the run was cancelled meanwhile, the step ends in `CancelledError`. Undo and release are exempt: `to_the_end` marks them.

It is replay-safe: the reason is set by the same workflow task, in the same place, in every replay.
"""

import asyncio
from contextvars import ContextVar
from typing import Any, cast

from temporalio import workflow

ENDING: ContextVar[bool] = ContextVar("perfwright_ending", default=False)
"""True inside `to_the_end`: what runs there finishes although the run is cancelled."""


def stop_if_cancelled() -> None:
    """Raise `CancelledError` when the run was cancelled, whatever became of the step before; nothing inside `to_the_end`."""
    if not ENDING.get() and workflow.cancellation_reason() is not None:
        raise asyncio.CancelledError("the run was cancelled")


async def _watch(step: "asyncio.Task[Any]") -> Any:
    try:
        result = await step
    except Exception:
        stop_if_cancelled()
        raise
    stop_if_cancelled()
    return result


def _watching(step: "asyncio.Task[Any]") -> "asyncio.Task[Any]":
    def leave_nothing_behind(_: "asyncio.Task[Any]") -> None:
        if not step.done():  # cancelled before its first turn: the step would run on, and nobody would wait for it
            step.cancel()

    task = asyncio.get_running_loop().create_task(_watch(step))
    task.add_done_callback(leave_nothing_behind)
    return task


def watched_activity(step: workflow.ActivityHandle[Any]) -> workflow.ActivityHandle[Any]:
    """The activity's handle, ending in `CancelledError` when the run was cancelled."""
    return cast(workflow.ActivityHandle[Any], _watching(step))


class WatchedChild:
    """A child's handle, ending in `CancelledError` when the run was cancelled; what else a handle can do is passed on."""

    def __init__(self, step: workflow.ChildWorkflowHandle[Any, Any]) -> None:
        self._step = step
        self._task = _watching(step)

    def __await__(self) -> Any:
        return self._task.__await__()

    def cancel(self, msg: Any | None = None) -> bool:
        return self._task.cancel(msg)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._step, name)


def watched_child(step: workflow.ChildWorkflowHandle[Any, Any]) -> workflow.ChildWorkflowHandle[Any, Any]:
    return cast(workflow.ChildWorkflowHandle[Any, Any], WatchedChild(step))
