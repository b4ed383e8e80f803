"""One round of a trial: both sides started fresh, slices driven in the drawn order, everything ended again.

A side is a program that reads the number of iterations from a line of standard input, runs them, and answers with a line of its own:

    slice WALL_S CPU_S FIRST_WALL_S FIRST_CPU_S

of all iterations, and of the first by itself; CPU time with its children. It ends at end of file. Other lines are the
program's own affair. Both sides wait on the same core while the other runs, so that a slice has it to itself; memory is looked at while
they warm up, before the first slice and after the last.
"""

import asyncio
import os
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

from activities.errors import refuse
from activities.process_memory import Looks, TreeMemory
from activities.subprocesses import Heartbeat, RunningTool, running
from activities.tool import Tool, ToolRun
from perfwright.models.errors import ErrorType
from perfwright.models.trial import RoundPlan, Side, Slice

PADDING = "PERFWRIGHT_TRIAL_PADDING"
"""Environment variable that only moves the stack."""
WARM_UP_ITERATIONS = 5
END_S = 10.0
WAY_OUT = "Run the side by hand: it answers each number of iterations on standard input with one line `slice ...`"


@dataclass(frozen=True)
class RoundRun:
    """What a round gave: the slices in the plan's order, and what they cost."""

    slices: tuple[Slice, ...]
    wall_s: float
    rss_bytes: Mapping[Side, float]
    """The most that a side held with all its processes; none where one of them may not be looked at."""
    looks: Looks


@dataclass
class _Running:
    """A side, its standard input, and what it answered."""

    side: Side
    orders: int
    answers: asyncio.Queue[str] = field(default_factory=asyncio.Queue)
    child: RunningTool | None = None

    @property
    def pid(self) -> int:
        assert self.child is not None, "started before it is asked"
        return self.child.pid

    def hear(self, stream: str, line: str) -> None:
        if stream == "stdout" and line.startswith("slice "):
            self.answers.put_nowait(line)

    async def run(self, iterations: int, limit_s: float) -> Slice:
        """Raises ToolFailed when it ends instead, ToolTimeout when it does not answer."""
        assert self.child is not None, "started before it is asked"
        try:
            os.write(self.orders, f"{iterations}\n".encode())
        except BrokenPipeError:
            raise await self._ended() from None
        answer, over = asyncio.ensure_future(self.answers.get()), asyncio.ensure_future(self.child.wait())
        try:
            await asyncio.wait({answer, over}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return self._read(answer.result(), iterations)
            if over.done():
                raise await self._ended()
        finally:
            answer.cancel()
            over.cancel()
        raise refuse(ErrorType.TOOL_TIMEOUT, f"side {self.side} did not answer within {limit_s:g} s", way_out=WAY_OUT)

    async def end(self) -> ToolRun:
        """End of file, and how it ended. Raises ToolFailed or ToolTimeout."""
        assert self.child is not None, "started before it is asked"
        self.close()
        try:
            async with asyncio.timeout(END_S):
                return (await self.child.wait()).require_success(way_out=WAY_OUT)
        except TimeoutError:
            raise refuse(ErrorType.TOOL_TIMEOUT, f"side {self.side} did not end at the end of file", way_out=WAY_OUT) from None

    def close(self) -> None:
        """Once."""
        if self.orders >= 0:
            os.close(self.orders)
        self.orders = -1

    async def _ended(self) -> Exception:
        assert self.child is not None, "started before it is asked"
        run = await self.child.wait()
        run.require_success(way_out=WAY_OUT)
        return refuse(ErrorType.TOOL_FAILED, f"side {self.side} ended before the round did", way_out=WAY_OUT)

    def _read(self, line: str, iterations: int) -> Slice:
        try:
            wall_s, cpu_s, first_wall_s, first_cpu_s = (float(word) for word in line.split()[1:])
        except ValueError as trouble:
            raise refuse(ErrorType.TOOL_FAILED, f"side {self.side} answered {line[:200]!r}", way_out=WAY_OUT) from trouble
        return Slice(side=self.side, iterations=iterations, wall_s=wall_s, cpu_s=cpu_s, first_wall_s=first_wall_s, first_cpu_s=first_cpu_s)


async def run_round(
    plan: RoundPlan, sides: Mapping[Side, Tool], *, iterations: int, slice_limit_s: float, heartbeat: Heartbeat | None = None
) -> RoundRun:
    """Run a planned round. `iterations`: of each slice, the same for both; `sides`: what to start, their own time limits included.

    Both are gone when it returns, however it does. Raises ToolFailed or ToolTimeout of a side: such a round is void.
    """
    began = time.perf_counter()
    async with AsyncExitStack() as stack:
        order: tuple[Side, Side] = ("A", "B") if plan.first == "A" else ("B", "A")
        started = {side: await _start(stack, side, sides[side], plan, heartbeat) for side in order}
        memory = {side: TreeMemory(started[side].pid) for side in order}
        for side in order:
            async with memory[side].watched():
                await started[side].run(WARM_UP_ITERATIONS, slice_limit_s)
        await _look(memory)
        slices = [await started["A" if side == "A" else "B"].run(iterations, slice_limit_s) for side in plan.order]
        await _look(memory)
        peaks = {side: memory[side].peak_bytes((await started[side].end()).peak_rss_bytes) for side in order}
    looks = Looks()
    for one in memory.values():
        looks.add(one.looks)
    held = {side: peak for side, peak in peaks.items() if peak is not None}
    return RoundRun(tuple(slices), wall_s=time.perf_counter() - began, rss_bytes=held, looks=looks)


async def _look(memory: Mapping[Side, TreeMemory]) -> None:
    for one in memory.values():
        await one.look()


async def _start(stack: AsyncExitStack, side: Side, tool: Tool, plan: RoundPlan, heartbeat: Heartbeat | None) -> _Running:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as source:
        drawn = {"PYTHONHASHSEED": str(plan.hash_seed), PADDING: "x" * plan.padding_bytes}
        started = _Running(side, writing)
        stack.callback(started.close)
        mine = replace(tool, stdin=source, environment={**tool.environment, **drawn}, title=f"side {side}")
        started.child = await stack.enter_async_context(running(mine, heartbeat=heartbeat, on_line=started.hear))
    os.sched_setaffinity(started.child.pid, {plan.core})
    return started
