"""Stacks of CPython processes, read from outside: by our own reader where it knows the interpreter, by py-spy otherwise.

| pass | own reader (`frame_reader.py`) | py-spy |
|---|---|---|
| on-CPU, wall, GIL | CPython 3.11 to 3.13, unless free-threaded | all others |
| native | | always: it unwinds compiled frames |

The reader never stops its target. py-spy stops it for every sample, or is told not to where that would cost too much.

Never two at once on one process (each makes the other's samples fail), never faster than the overhead budget allows. It is stopped with
SIGINT, so that it detaches and writes what it has. Options: https://github.com/benfred/py-spy, `py-spy record --help`.
"""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
from temporalio import activity

from activities.artifacts import ArtifactStore
from activities.errors import refuse
from activities.finding_processes import not_permitted, still_there, tracer_of
from activities.frame_reader import PASSES as READER_PASSES
from activities.frame_reader import FrameReader, reading
from activities.pause_watch import state_of
from activities.processes_below import pids_below
from activities.profiler_cpu import ProfilerCpu
from activities.pyspy_output import read_speedscope
from activities.recording_cost import OverBudget
from activities.slice_recorder import SliceOrder, SliceRecorder, Tick, tool_version
from activities.subprocesses import RunningTool, Tool, bundled, run, running
from activities.taken_slices import ReadSlice, SliceTake
from perfwright.models.cpu_profiling import StackProfile, StackRecording
from perfwright.models.errors import ErrorType
from perfwright.models.profile import PassKind

WAY_OUT = "pip install py-spy"
PASS_OPTIONS: dict[PassKind, tuple[str, ...]] = {"on_cpu": (), "wall": ("--idle",), "gil": ("--gil",), "native": ("--native",)}
START_ALLOWANCE_S = 20.0
"""Attaching reads the symbols of the interpreter: a second on a slow disk, more with --native."""
STOP_GRACE_S = 8.0
"""It writes what it has: a second or two with hundreds of threads."""
OUTPUT_LIMIT_BYTES = 256 * 1024 * 1024
LEFT_STOPPED_WITHIN_S = 0.5
"""A stop that a killed tracer left behind shows within this time."""
_SUMMARY = re.compile(r"Samples: (\d+) Errors: (\d+)")
_UNKNOWN_INTERPRETER = ("python version", "Unsupported version", "python interpreter")


class PySpy:
    """Records stacks of Python processes on this host."""

    def __init__(self, artifacts: ArtifactStore, state_folder: Path) -> None:
        self._artifacts = artifacts
        self._state_folder = state_folder

    @activity.defn
    async def record_python_stacks(self, request: StackRecording) -> StackProfile:
        """On-CPU, idle, GIL and native passes in alternating slices, within the overhead budget."""
        version = await run(Tool([bundled("py-spy"), "--version"], limit_s=20, way_out=WAY_OUT))
        tool = PySpySlices(request, f"py-spy {tool_version(version.require_success().stdout)}")
        return await SliceRecorder(tool, request, self._artifacts, self._state_folder).record()


class PySpySlices:
    """py-spy attaches once per slice; the reader stays beside the target for all of its slices."""

    read: ReadSlice = staticmethod(read_speedscope)

    def __init__(self, request: StackRecording, title: str) -> None:
        self.title = title
        self.held_passes: frozenset[PassKind] = frozenset(PASS_OPTIONS)
        self._request = request
        self._reader: FrameReader | None = None
        self._note = ""

    @asynccontextmanager
    async def attached(self) -> AsyncIterator[None]:
        if READER_PASSES.isdisjoint(self._request.choice.passes):
            yield
            return
        async with reading(self._request) as reader:
            if reader.reads:
                self._reader = reader
                self.held_passes -= READER_PASSES
                self.title += f", own reader for {reader.reads}"
            else:
                self._note = f"Stacks were taken by py-spy, not by the reader that stops nothing: {reader.why_not}."
            yield

    async def take(self, order: SliceOrder, tick: Tick) -> SliceTake:
        if self._reader is not None and order.kind in READER_PASSES:
            return await self._reader.take(order, tick)
        return await self._take_by_py_spy(order, tick)

    async def _take_by_py_spy(self, order: SliceOrder, tick: Tick) -> SliceTake:
        process = still_there(self._request.process)
        if process is None:
            raise self._gone()
        tool = Tool(
            self._argv(order, process),
            limit_s=order.seconds + START_ALLOWANCE_S,
            way_out=WAY_OUT,
            stop_signal=signal.SIGINT,
            stop_grace_s=STOP_GRACE_S,
            output_files=(order.path,),
            output_limit_bytes=OUTPUT_LIMIT_BYTES,
        )
        loop = asyncio.get_running_loop()
        sampling_since = loop.time()
        child: RunningTool | None = None
        cpu: ProfilerCpu | None = None
        used_s: float | None = None
        attach_s = 0.0

        def note_start(_stream: str, line: str) -> None:
            nonlocal sampling_since, cpu, attach_s
            if "Sampling process" in line and child is not None:
                sampling_since, cpu = loop.time(), ProfilerCpu.of_process(child.pid, since_start=True)
                attach_s = cpu.used_s() or 0.0

        def sampled(_elapsed_s: float, _: object) -> None:
            nonlocal used_s
            used_s = cpu.used_s() if cpu else None
            tick(loop.time() - sampling_since, used_s)

        try:
            async with running(tool, heartbeat=sampled, on_line=note_start) as child:
                ended = await child.wait()
        except OverBudget as over:
            if child is not None and self._summarise(order.path, child.stdout + child.stderr):
                seconds = min(order.seconds, loop.time() - sampling_since)
                over.take = SliceTake(seconds, used_s)
            raise
        finally:
            if child is not None and not _SUMMARY.search(child.stdout):
                await asyncio.shield(continue_if_left_stopped(process))
        if not self._summarise(order.path, ended.stdout + ended.stderr):
            raise self._failure(f"{ended.stderr} {ended.stdout}", ended.signal)
        cut_short = ended.timed_out or "process exited" in ended.stdout + ended.stderr
        sampled_s = loop.time() - sampling_since
        seconds = min(order.seconds, max(0.1, sampled_s)) if cut_short else order.seconds
        return SliceTake(seconds, ended.cpu_s, attach_s)

    def _argv(self, order: SliceOrder, process: psutil.Process) -> list[str]:
        argv = [bundled("py-spy"), "record", "--pid", str(process.pid), "--format", "speedscope", "--full-filenames"]
        argv += ["--duration", str(max(1, round(order.seconds))), "--rate", str(max(1, round(order.rate_hz)))]
        argv += ["--output", str(order.path), *PASS_OPTIONS[order.kind]]
        if self._request.subprocesses and pids_below(process.pid):
            argv.append("--subprocesses")
        return [*argv, "--nonblocking"] if order.nonblocking else argv

    def _summarise(self, path: Path, said: str) -> bool:
        """Keep what py-spy said at its end beside its file; False when it did not come to write it."""
        summary = _SUMMARY.search(said)
        if summary is None or not path.exists():
            return False
        told = {"pid": self._request.process.pid, "errors": int(summary.group(2)), "note": self._note}
        path.with_suffix(".summary").write_text(json.dumps(told))
        return True

    def _gone(self) -> Exception:
        return refuse(ErrorType.TARGET_GONE, f"process {self._request.process.pid} of {self._request.target} exited while py-spy attached")

    def _failure(self, said: str, signal_number: int | None) -> Exception:
        process = self._request.process
        if still_there(process) is None:
            return self._gone()
        if "ermission denied" in said.lower() or "operation not permitted" in said.lower():
            return not_permitted(process.pid)
        if any(words in said for words in _UNKNOWN_INTERPRETER):
            return refuse(
                ErrorType.RUNTIME_UNSUPPORTED,
                f"{self.title} does not know the interpreter of process {process.pid} ({process.runtime_version or process.program})",
                way_out="A newer py-spy may; or profile it as native code with perf",
            )
        if "No space left" in said:
            return refuse(ErrorType.STORE_UNAVAILABLE, "py-spy could not write its samples: no space left", way_out="Make room there")
        end = f"was ended by signal {signal_number}" if signal_number else " | ".join(said.strip().splitlines()[:3])[:600]
        return refuse(ErrorType.TOOL_FAILED, f"{self.title} took no samples of process {process.pid}: {end}", retryable=True)


async def continue_if_left_stopped(process: psutil.Process) -> None:
    """A tracer that is killed in the middle of attaching may leave its target stopped: continue what nobody traces any more."""
    loop = asyncio.get_running_loop()
    until = loop.time() + LEFT_STOPPED_WITHIN_S
    while loop.time() < until:
        if state_of(process.pid) == "T" and not tracer_of(process.pid) and process.is_running():
            activity.logger.warning("process %d was left stopped and is continued", process.pid)
            with suppress(OSError):
                os.kill(process.pid, signal.SIGCONT)
            return
        await asyncio.sleep(0.05)
