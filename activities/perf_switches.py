"""perf's context switches: when threads gave up their CPU and when they had one again, recorded beside what samples the slice.

A software event, so that neither tracepoints nor hardware counters are needed. Two kinds of record come of it: a switch record of some 40
bytes at every switch, with its time, and a sample with a stack at some of them. In frequency mode the kernel spaces the samples out for
each thread on its own: a thread that switches now and then gives a stack nearly each time, one that does so 100,000 times a second hardly
more. What a recording writes is bounded; perf ends it at its bound, and the waits of the rest of the slice are not known.
Options: perf-record(1), `--switch-events`; perf_event_open(2), PERF_RECORD_SWITCH.
"""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from temporalio.exceptions import ApplicationError

from activities.profiler_cpu import ProfilerCpu
from activities.subprocesses import Heartbeat, RunningTool, Tool, run, running
from perfwright.models.vocabulary import Model

WAY_OUT = "Install linux-perf (Debian) or linux-tools (Ubuntu)"
STARTS_WITHIN_S = 20.0
STOP_GRACE_S = 5.0
SCRIPT_LIMIT_S = 120.0
STACK_BYTES = 4_096
"""Of each thread's stack, kept for the unwinder. Frame pointers would lose the very function that waits: it calls libc, which has none."""
MOST_STACKS_HZ, FEWEST_STACKS_HZ, ALL_STACKS_HZ = 200, 50, 2_000
"""Of one thread at most and at least, and of all of them."""
MOST_BYTES_PER_S = 1_000_000
"""250 stacks, or 12,500 switches without, in every second of the slice. A switch takes its thread up to 3 us longer while it is recorded
(measured: 2.3 us become 3.4 to 5.2 us), so that a program which does nothing else loses 4 % of a core and any other less."""
ENABLED = "Events enabled"
TEXT_LIMIT_BYTES = 512 * 1024 * 1024
_ASLEEP = "SD"


class Sleeper(Model):
    """A thread as /proc shows it."""

    pid: int
    asleep: bool
    waits_in: str = ""
    """Function of the kernel, from /proc/PID/task/TID/wchan; empty where it is not told."""


class SwitchFacts(Model):
    """What is known of a slice's switches beside their text."""

    problem: str = ""
    """Why there are none; empty where there are."""
    began_s: float = 0.0
    """On the monotonic clock, which is the one of the records too."""
    ended_s: float | None = None
    """None: it ended before its slice did, at its last record."""
    before: dict[str, Sleeper] = {}
    """Threads by id."""
    after: dict[str, Sleeper] = {}


class SwitchRecording:
    """Of one slice; made by `switches_recorded`."""

    def __init__(self, pids: Sequence[int], path: Path, *, main_thread_only: bool) -> None:
        self._pids, self._main_thread_only = pids, main_thread_only
        self._data, self._text, self._facts_file = (path.with_suffix(f".switches{end}") for end in (".data", ".txt", ".json"))
        self._facts = SwitchFacts()
        self._child: RunningTool | None = None
        self._cpu_s: float | None = None

    @property
    def cpu_s(self) -> float:
        """What perf has used for it so far."""
        if self._cpu_s is None and self._child is not None and self._child.pid:
            return ProfilerCpu.of_process(self._child.pid, since_start=True).used_s() or 0.0
        return self._cpu_s or 0.0

    async def begin(self, stack: AsyncExitStack, seconds: float) -> None:
        before = await asyncio.to_thread(_threads_of, self._pids, self._main_thread_only)
        self._facts = self._facts.model_copy(update={"before": before})
        tool = Tool(
            self._argv(seconds, len(before)),
            limit_s=seconds + 2 * STARTS_WITHIN_S,
            way_out=WAY_OUT,
            stop_signal=signal.SIGINT,
            stop_grace_s=STOP_GRACE_S,
            output_files=(self._data,),
        )
        try:
            self._child = await stack.enter_async_context(running(tool, on_line=self._note_start))
        except ApplicationError as trouble:
            self._give_up(trouble.message)

    async def end(self, heartbeat: Heartbeat) -> None:
        """Stop it, and write what it recorded as text."""
        try:
            if self._child is not None:
                await self._finish(self._child, heartbeat)
        except ApplicationError as trouble:
            self._give_up(trouble.message)
        await asyncio.to_thread(self._data.unlink, missing_ok=True)
        await asyncio.to_thread(self._facts_file.write_text, self._facts.model_dump_json())

    def _argv(self, seconds: float, threads: int) -> list[str]:
        whose = ["--tid" if self._main_thread_only else "--pid", ",".join(map(str, self._pids))]
        if self._main_thread_only:
            what = ["--event", "dummy"]
        else:
            stacks_hz = max(FEWEST_STACKS_HZ, min(MOST_STACKS_HZ, ALL_STACKS_HZ // max(1, threads)))
            what = ["--event", "context-switches", "--freq", str(stacks_hz), "--call-graph", f"dwarf,{STACK_BYTES}"]
        argv = ["perf", "record", *what, "--switch-events", "--clockid", "CLOCK_MONOTONIC", *whose, "--no-buildid"]
        # with a delay, perf says when it begins: how long each thread waited before its first switch is counted from there
        return [*argv, "--delay", "1", "--max-size", f"{round(seconds * MOST_BYTES_PER_S / 1_000)}K", "--output", str(self._data)]

    def _note_start(self, _stream: str, line: str) -> None:
        if ENABLED in line:
            self._facts = self._facts.model_copy(update={"began_s": time.monotonic()})

    async def _finish(self, child: RunningTool, heartbeat: Heartbeat) -> None:
        ended_s = None if child.ended else time.monotonic()
        after = await asyncio.to_thread(_threads_of, self._pids, self._main_thread_only)
        ended = await child.stop()
        self._cpu_s = ended.cpu_s
        if not self._facts.began_s or not self._data.is_file() or self._data.stat().st_size == 0:
            self._give_up(" | ".join(ended.stderr.strip().splitlines()[-3:])[:300] or "perf recorded no switches")
            return
        self._facts = self._facts.model_copy(update={"ended_s": ended_s, "after": after})
        fields = "pid,tid,time,event" if self._main_thread_only else "pid,tid,time,period,event,ip,sym,dso"
        script = Tool(
            ["perf", "script", "--input", str(self._data), "--show-switch-events", "--ns", "--fields", fields, "--no-inline"],
            stdout_file=self._text,
            limit_s=SCRIPT_LIMIT_S,
            way_out=WAY_OUT,
            output_limit_bytes=TEXT_LIMIT_BYTES,
        )
        (await run(script, heartbeat=heartbeat)).require_success()

    def _give_up(self, problem: str) -> None:
        self._facts = SwitchFacts(problem=problem)


@asynccontextmanager
async def switches_recorded(
    pids: Sequence[int], path: Path, seconds: float, heartbeat: Heartbeat, *, main_thread_only: bool = False
) -> AsyncIterator[SwitchRecording]:
    """Record while the block runs, `seconds` at most; what keeps it from recording is noted beside the slice, and never ends the slice.

    `main_thread_only`: of each process its main thread only, without stacks. Leaves `<path>.switches.txt` and `<path>.switches.json`.
    """
    recording = SwitchRecording(pids, path, main_thread_only=main_thread_only)
    async with AsyncExitStack() as stack:
        await recording.begin(stack, seconds)
        yield recording
        await recording.end(heartbeat)


def switch_files(path: Path) -> tuple[Path, SwitchFacts]:
    """The text of a slice's switches, and what is known of them."""
    facts = path.with_suffix(".switches.json")
    known = SwitchFacts.model_validate(json.loads(facts.read_text())) if facts.is_file() else SwitchFacts(problem="they were not recorded")
    return path.with_suffix(".switches.txt"), known


def _threads_of(pids: Sequence[int], main_thread_only: bool) -> dict[str, Sleeper]:
    found = {}
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob(str(pid) if main_thread_only else "*"):
            try:
                asleep = (task / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] in _ASLEEP
                waits_in = (task / "wchan").read_text(errors="replace").strip("0\n")
            except (OSError, IndexError):
                continue
            found[task.name] = Sleeper(pid=pid, asleep=asleep, waits_in=waits_in if asleep else "")
    return found
