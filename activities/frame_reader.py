"""Our own reader of CPython stacks, as a tool: one `activities.cpython.sampler` beside the target for all slices of a recording.

It neither stops nor changes the target. Why beside py-spy: that reads stacks frame by frame, which takes a millisecond, so that it must
stop its target or see stacks that change meanwhile too rarely; a copy of the thread's whole stack takes microseconds (cpython/stacks.py).
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from temporalio.exceptions import ApplicationError

from activities.errors import refuse
from activities.finding_processes import still_there
from activities.processes_below import pids_below
from activities.profiler_cpu import ProfilerCpu
from activities.recording_cost import OverBudget
from activities.slice_recorder import SliceOrder, Tick
from activities.subprocesses import RunningTool, Tool, running
from activities.taken_slices import SliceTake
from perfwright.models.cpu_profiling import StackRecording
from perfwright.models.errors import ErrorType
from perfwright.models.profile import PassKind

PASSES: frozenset[PassKind] = frozenset({"on_cpu", "wall", "gil"})
"""What it records: threads that run, all threads, and threads that hold the GIL."""
PROGRAM = "activities.cpython.sampler"
START_S, ANSWER_S = 20.0, 30.0
"""To find the interpreter of the target and of everything below it; and to write a slice."""
TICK_S = 0.8
WAY_OUT = "Install Perfwright again: its own interpreter is gone"


class FrameReader:
    """Made by `reading`. `reads`: `CPython 3.11`; empty where it cannot read this target, `why_not` then says why."""

    def __init__(self, request: StackRecording, stack: AsyncExitStack) -> None:
        self.reads = self.why_not = ""
        self._request, self._stack = request, stack
        self._child: RunningTool | None = None
        self._orders = -1
        self._lines: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def start(self) -> None:
        """Start the program, and again when it was killed."""
        self._lines = asyncio.Queue()
        ours, self._orders = os.pipe()
        self._stack.callback(os.close, self._orders)
        try:
            with os.fdopen(ours, "rb") as orders:
                tool = Tool(
                    [sys.executable, "-S", "-P", "-m", PROGRAM, str(self._request.process.pid)],
                    title="the reader of CPython's stacks",
                    limit_s=3 * self._request.duration_s + 600,
                    way_out=WAY_OUT,
                    environment={"PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)},
                    stdin=orders,
                )
                self._child = await self._stack.enter_async_context(running(tool, on_line=self._note))
            said = await self._answer(START_S)
        except ApplicationError as failure:
            said = {"unreadable": failure.message}
        self.reads, self.why_not = str(said.get("reads", "")), str(said.get("unreadable", ""))
        if unread := said.get("unread"):
            self.reads, self.why_not = "", f"of a process below it: {unread[0]}"

    async def take(self, order: SliceOrder, tick: Tick) -> SliceTake:
        """Record one slice. Raises TargetGone, or ToolFailed where another try may help."""
        if self._child is None or self._child.ended:
            await self.start()
        assert self._child is not None
        process = still_there(self._request.process)
        if process is None:
            raise self._gone()
        below = self._request.subprocesses and bool(pids_below(process.pid))
        loop = asyncio.get_running_loop()
        began, cpu = loop.time(), ProfilerCpu.of_process(self._child.pid)
        ordered = {"kind": order.kind, "seconds": order.seconds, "rate_hz": order.rate_hz, "below": below, "path": str(order.path)}
        answering = asyncio.ensure_future(self._ask(ordered, order.seconds + ANSWER_S))
        over: OverBudget | None = None
        try:
            while not (await asyncio.wait({answering}, timeout=TICK_S))[0]:
                try:
                    tick(min(order.seconds, loop.time() - began), None if over else cpu.used_s())
                except OverBudget as stopping:
                    over = stopping
                    self._say("")
        finally:
            if not answering.done():
                answering.cancel()
                self._say("")
        said = answering.result()
        seconds = float(said["seconds"])
        if said["gone"] and not said["sampled"]:
            raise self._gone()
        unread = "; ".join(said["unread"])
        note = f"Not read: {unread}." if unread else ""
        order.path.with_suffix(".summary").write_text(json.dumps({"pid": process.pid, "errors": said["failed"], "note": note}))
        rate_hz = said["ticks"] / seconds if said["ticks"] else None
        take = SliceTake(max(0.1, seconds), said["cpu_s"], rate_hz=rate_hz)
        if over is not None:
            over.take = take
            raise over
        return take

    async def _ask(self, order: dict[str, Any], within_s: float) -> dict[str, Any]:
        self._say(json.dumps(order))
        return await self._answer(within_s)

    async def _answer(self, within_s: float) -> dict[str, Any]:
        """Its next line. Raises ToolFailed when it ended or says nothing."""
        assert self._child is not None
        line, ended = asyncio.ensure_future(self._lines.get()), asyncio.ensure_future(self._child.wait())
        try:
            await asyncio.wait({line, ended}, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
            if line.done():
                return line.result()
            told = " | ".join(self._child.stderr.strip().splitlines()[-3:])[:600]
            raise refuse(ErrorType.TOOL_FAILED, f"the reader of CPython's stacks ended or fell silent: {told}", retryable=True)
        finally:
            line.cancel()
            ended.cancel()

    def _say(self, line: str) -> None:
        try:
            os.write(self._orders, line.encode() + b"\n")
        except BrokenPipeError:
            return  # it has ended: `_answer` tells

    def _note(self, stream: str, line: str) -> None:
        if stream == "stdout":
            self._lines.put_nowait(json.loads(line))

    def _gone(self) -> Exception:
        process = self._request.process
        return refuse(ErrorType.TARGET_GONE, f"process {process.pid} of {self._request.target} exited while its stacks were read")


@asynccontextmanager
async def reading(request: StackRecording) -> AsyncIterator[FrameReader]:
    """A reader that lives as long as the block."""
    async with AsyncExitStack() as stack:
        reader = FrameReader(request, stack)
        await reader.start()
        yield reader
