"""Workflows and an activity that stops slowly, for the tests of waiting."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from temporalio import activity, workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError

from workflows.shared.waiting import stop_if_cancelled, to_the_end, together

TOOL: Any = {
    "start_to_close_timeout": timedelta(seconds=30),
    "heartbeat_timeout": timedelta(seconds=2),
    "cancellation_type": workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    "retry_policy": RetryPolicy(maximum_attempts=1),
}


class Tool(BaseModel):
    name: str
    runs_s: float = 20.0
    stops_in_s: float = 0.5
    """How long it takes to stop when it is cancelled."""
    then: str = "ends cancelled"
    """`ends cancelled`, `returns what it has`, `dies` (its worker is gone: no heartbeat, no answer)"""
    fails: bool = False


class Tools:
    """Writes down what ran when."""

    def __init__(self) -> None:
        self.journal: list[str] = []
        self.buried = asyncio.Event()
        """Lets the worker of the dead tools shut down."""

    @activity.defn
    async def run_tool(self, tool: Tool) -> str:
        self.journal.append(f"{tool.name} runs")
        try:
            await self._busy(tool.runs_s)
        except asyncio.CancelledError:
            if tool.then == "dies":
                self.journal.append(f"{tool.name} is dead")
                await self.buried.wait()
                raise
            try:
                await self._busy(tool.stops_in_s)
            finally:
                self.journal.append(f"{tool.name} stopped")
            if tool.then == "returns what it has":
                return "a part"
            raise
        self.journal.append(f"{tool.name} ended")
        if tool.fails:
            raise ApplicationError("broken", type="ToolFailed", non_retryable=True)
        return "all"

    async def _busy(self, seconds: float) -> None:
        for _ in range(max(1, round(seconds / 0.05))):
            activity.heartbeat("busy")
            await asyncio.sleep(0.05)


async def run_tool(tool: Tool) -> str:
    return await workflow.execute_activity_method(Tools.run_tool, tool, summary=f"Run {tool.name}", **TOOL)


class Order(BaseModel):
    side_by_side: list[Tool]
    forgiving: bool = False
    """Takes an error of a step for a skipped step."""


@workflow.defn
class Bracketed:
    """Two tools side by side, a third afterwards, and an undo that must run to its end."""

    @workflow.run
    async def run(self, order: Order) -> str:
        try:
            try:
                await together(*(run_tool(tool) for tool in order.side_by_side))
            except ActivityError:
                if not order.forgiving:
                    raise
            await run_tool(Tool(name="after", runs_s=0.1))
        finally:
            await to_the_end(self._undo())
        return "completed"

    async def _undo(self) -> None:
        await run_tool(Tool(name="undo", runs_s=1.0))
        await run_tool(Tool(name="release", runs_s=0.1))


@workflow.defn
class Hasty:
    """Cancels a step before it had its first turn."""

    @workflow.run
    async def run(self) -> str:
        step = workflow.start_activity_method(Tools.run_tool, Tool(name="hasty"), **TOOL)
        step.cancel()
        with suppress(asyncio.CancelledError, ActivityError):
            await step
        await run_tool(Tool(name="next", runs_s=0.1))
        return "the step is gone"


@workflow.defn
class Parent:
    """A child that answers a cancel with a result must not keep its parent from being cancelled."""

    @workflow.run
    async def run(self) -> str:
        name = f"{workflow.info().workflow_id}/child"
        await workflow.execute_child_workflow(
            Stubborn.run, id=name, cancellation_type=workflow.ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED
        )
        return "completed"


@workflow.defn
class Stubborn:
    @workflow.run
    async def run(self) -> str:
        try:
            await workflow.wait_condition(lambda: False, timeout=timedelta(seconds=60))
        except asyncio.CancelledError:
            return "done all the same"
        return "not cancelled"


@workflow.defn
class Typed:
    """Results come back in order and with their types; a loop that never awaits a step asks by itself."""

    @workflow.run
    async def run(self) -> list[Any]:
        stop_if_cancelled()
        number, text = await together(self._number(), self._text())
        return [number + 1, text.upper(), list(await together())]

    async def _number(self) -> int:
        await asyncio.sleep(0.1)
        return 1

    async def _text(self) -> str:
        return "a"
