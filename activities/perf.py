"""Linux perf with the software clock: stacks of compiled programs, kernel frames included; beside it, where their threads wait.

`cpu-clock` works without hardware counters (virtual machines have none). 99 Hz by default, so that nothing periodic runs in step with it.
Frame pointers are followed where they lead somewhere: they cost least, and stacks may be deep. A moment's look tells; of code compiled
without them, a piece of the stack is kept with each sample and unwound by the program's own tables (DWARF). Last branch records would need
hardware counters. Options: perf-record(1), perf-script(1).
"""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from pathlib import Path

import psutil
from temporalio import activity

from activities.artifacts import ArtifactStore
from activities.errors import refuse
from activities.finding_processes import still_there
from activities.perf_naming import SliceFacts
from activities.perf_output import SHORT_STACKS_SHARE, read_perf_script, read_samples, short_stacks
from activities.perf_switches import WAY_OUT, switches_recorded
from activities.profiler_cpu import ProfilerCpu
from activities.recording_cost import OverBudget
from activities.replaced_files import replaced_files
from activities.slice_recorder import SliceOrder, SliceRecorder, Tick, tool_version
from activities.subprocesses import Heartbeat, RunningTool, Tool, ToolRun, run, running
from activities.taken_slices import ReadSlice, SliceTake
from perfwright.models.cpu_profiling import StackProfile, StackRecording
from perfwright.models.errors import ErrorType
from perfwright.models.profile import PassKind

START_ALLOWANCE_S = 20.0
SCRIPT_LIMIT_S = 120.0
OUTPUT_LIMIT_BYTES = 512 * 1024 * 1024
MOST_PIDS = 256
LOOK_S, LOOK_HZ = 0.5, 199
"""How long and how often stacks are looked at, before the recording, to see what they can be followed by."""
UNWOUND_BYTES = 8_192
"""Of a thread's stack, kept with each sample that is unwound afterwards: perf's own default."""
SYMBOL_SERVERS = ("DEBUGINFOD_URLS", "DEBUGINFOD_CACHE_PATH", "DEBUGINFOD_TIMEOUT")
"""The worker's variables that perf is told: where it fetches symbols that this host lacks, if it was built to."""


class Perf:
    """Records stacks of compiled programs on this host."""

    def __init__(self, artifacts: ArtifactStore, state_folder: Path) -> None:
        self._artifacts = artifacts
        self._state_folder = state_folder

    @activity.defn
    async def record_native_stacks(self, request: StackRecording) -> StackProfile:
        """On-CPU stacks by the software clock and waits between context switches, in slices."""
        version = await run(Tool(["perf", "--version"], limit_s=20, way_out=WAY_OUT))
        tool = PerfSlices(request, f"perf {tool_version(version.require_success().stdout)}")
        return await SliceRecorder(tool, request, self._artifacts, self._state_folder).record()


class PerfSlices:
    """Two `perf record` per slice, for what runs and for what waits. They sample without stopping the target."""

    held_passes: frozenset[PassKind] = frozenset()
    read: ReadSlice = staticmethod(read_perf_script)

    def __init__(self, request: StackRecording, title: str) -> None:
        self.title = title
        self._request = request
        self._unwinds: bool | None = None
        """None: not looked yet."""

    def attached(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def take(self, order: SliceOrder, tick: Tick) -> SliceTake:
        process = still_there(self._request.process)
        if process is None:
            raise self._gone()
        pids = self._pids_of(process)
        data, text = order.path.with_suffix(".data"), order.path.with_suffix(".txt")
        if self._unwinds is None:
            self._unwinds = await _must_unwind(pids, data, text, lambda _elapsed_s, _: tick(0.0, None))
        facts = self._facts(process, pids)
        tool = _recording(pids, order.seconds, order.rate_hz, data, unwinds=self._unwinds)
        started: list[RunningTool] = []
        recorded: ToolRun | None = None
        over: OverBudget | None = None

        def sampled(elapsed_s: float, _: object) -> None:
            used_s = ProfilerCpu.of_process(started[0].pid, since_start=True).used_s() if started else None
            tick(elapsed_s, None if used_s is None else used_s + switches.cpu_s)

        def writing(_elapsed_s: float, _: object) -> None:
            tick(order.seconds, None)

        async with switches_recorded(pids, order.path, order.seconds, writing) as switches:
            try:
                async with running(tool, heartbeat=sampled) as child:
                    started.append(child)
                    recorded = await child.wait()
            except OverBudget as stopped:  # perf has ended, and written what it had
                over = stopped
        if recorded is not None:
            # perf ends with the target, and then with the status of the `sleep` it killed: what counts is what it wrote.
            cut_short = recorded.returncode != 0
            if cut_short and (still_there(self._request.process) is not None or not data.is_file() or data.stat().st_size == 0):
                raise self._failure(recorded)
            seconds = min(order.seconds, recorded.wall_s) if cut_short else order.seconds
            take = SliceTake(seconds, recorded.cpu_s + switches.cpu_s)
        else:
            assert over is not None, "the only other way out of the block above"
            cut_short, take = False, SliceTake(min(order.seconds, over.seconds), over.cpu_s)
        script = await run(_as_text(data, text), heartbeat=lambda _elapsed_s, _: tick(order.seconds, None))
        if script.returncode != 0 and over is not None:
            raise over  # stopped before it had written anything
        if script.returncode != 0 and cut_short:
            raise self._gone()  # killed while perf began: its file was not completed
        script.require_success(way_out="Look at the perf version: it must fit the kernel that recorded")
        await asyncio.to_thread(data.unlink)
        order.path.with_suffix(".summary").write_text(facts.model_dump_json())
        if over is not None:
            over.take = take
            raise over
        return take

    def _pids_of(self, process: psutil.Process) -> list[int]:
        return _pids(process) if self._request.subprocesses else [process.pid]

    def _facts(self, process: psutil.Process, pids: Sequence[int]) -> SliceFacts:
        known = self._request.process
        return SliceFacts(
            runtime=known.runtime,
            executable=_executable(process),
            threads=_thread_names(pids),
            programs=_program_names(pids),
            root="" if known.own_namespace else f"/proc/{process.pid}/root",
            replaced=replaced_files(pids),
            unwound=bool(self._unwinds),
        )

    def _gone(self) -> Exception:
        return refuse(ErrorType.TARGET_GONE, f"process {self._request.process.pid} of {self._request.target} exited while perf attached")

    def _failure(self, ended: ToolRun) -> Exception:
        said = f"{ended.stderr} {ended.stdout}".strip()
        if still_there(self._request.process) is None:
            return self._gone()
        if "ermission" in said or "paranoid" in said:
            return refuse(
                ErrorType.NOT_PERMITTED,
                f"perf may not record process {self._request.process.pid}",
                way_out="Give the host worker CAP_PERFMON, or lower kernel.perf_event_paranoid to 1",
            )
        end = f"was ended by signal {ended.signal}" if ended.signal else " | ".join(said.splitlines()[-3:])[:600]
        return refuse(ErrorType.TOOL_FAILED, f"{self.title} recorded nothing: {end}", retryable=True)


async def _must_unwind(pids: Sequence[int], data: Path, text: Path, heartbeat: Heartbeat) -> bool:
    """Whether frame pointers lead nowhere. What keeps perf from looking will keep it from recording, and is told then."""
    looked = await run(_recording(pids, LOOK_S, LOOK_HZ, data, unwinds=False), heartbeat=heartbeat)
    if looked.returncode != 0:
        return False
    script = await run(_as_text(data, text), heartbeat=heartbeat)
    await asyncio.to_thread(data.unlink, missing_ok=True)
    return script.returncode == 0 and short_stacks(list(read_samples(text))) > SHORT_STACKS_SHARE


def _recording(pids: Sequence[int], seconds: float, rate_hz: float, data: Path, *, unwinds: bool) -> Tool:
    argv = ["perf", "record", "--quiet", "--event", "cpu-clock", "--freq", str(max(1, round(rate_hz)))]
    argv += ["--call-graph", f"dwarf,{UNWOUND_BYTES}" if unwinds else "fp"]
    argv += ["--pid", ",".join(map(str, pids)), "--output", str(data), "--", "sleep", str(seconds)]
    return Tool(
        argv,
        limit_s=seconds + START_ALLOWANCE_S,
        way_out=WAY_OUT,
        stop_signal=signal.SIGINT,
        output_files=(data,),
        output_limit_bytes=OUTPUT_LIMIT_BYTES,
    )


def _as_text(data: Path, text: Path) -> Tool:
    return Tool(
        ["perf", "script", "--input", str(data), "--fields", "pid,tid,time,ip,sym,dso", "--no-inline"],
        environment={name: os.environ[name] for name in SYMBOL_SERVERS if name in os.environ},
        stdout_file=text,
        limit_s=SCRIPT_LIMIT_S,
        way_out=WAY_OUT,
        output_limit_bytes=OUTPUT_LIMIT_BYTES,
    )


def _pids(process: psutil.Process) -> list[int]:
    try:
        return sorted({process.pid, *(child.pid for child in process.children(recursive=True))})[:MOST_PIDS]
    except psutil.NoSuchProcess:
        return [process.pid]


def _executable(process: psutil.Process) -> str:
    try:
        return process.exe()
    except psutil.Error:
        return ""


def _program_names(pids: Sequence[int]) -> dict[str, str]:
    names: dict[str, str] = {}
    for pid in pids:
        with suppress(OSError):
            names[str(pid)] = Path(f"/proc/{pid}/exe").readlink().name.removesuffix(" (deleted)")
    return names


def _thread_names(pids: Sequence[int]) -> dict[str, str]:
    names: dict[str, str] = {}
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*/comm"):
            try:
                names[task.parent.name] = task.read_text(errors="replace").strip()
            except OSError:
                continue
    return names
