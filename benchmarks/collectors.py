"""What the target pays for being measured: its throughput with all collectors against its throughput without, in turns, in one process.

    without | start and probe | without | slices | without | slices | ... | without | assembly | without

Recordings as they are by default (30 s, the usual passes, 99 Hz at most), stretched: every few slices the worker's loop is held for a
moment, in which no profiler is attached, the reader waits for its next order and nobody reads counters. Each turn is held against the
turns without before and after it. Turns of slices give pairs, whose ratio is estimated by signed ranks; starts and ends count by their
share of a recording's time. Turns without against their neighbours, by the same statistic, tell what the machine's noise is.

The target calculates in one thread beside idle ones; its units of work are read from a shared page, which costs it nothing. On a
saturated machine the target and a busy process share one CPU and another has the other, so that whatever the collectors take comes
from somebody; they are held to their CPUs, because where the kernel moves three processes on two CPUs to changes the throughput by more
than is looked for.

`python -m benchmarks.collectors --row "Python, 150 threads" --seconds 240` measures this row, and for so long.
"""

import argparse
import asyncio
import math
import os
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import psutil
from temporalio.testing import ActivityEnvironment

from activities.artifacts import ArtifactStore
from activities.finding_processes import describe
from activities.hosts import read_host_facts
from activities.jfr import SHORTEST_SLICE_S as JFR_SLICE_S
from activities.jfr import JfrSlices
from activities.node_inspector import SHORTEST_SLICE_S as NODE_SLICE_S
from activities.node_inspector import NodeSlices
from activities.perf import PerfSlices
from activities.processes import Processes
from activities.pyspy import PySpySlices
from activities.slice_recorder import SliceRecorder, SliceTool
from benchmarks.__main__ import line
from benchmarks.measured import Measured
from benchmarks.running import ROOT
from benchmarks.turns import kept, neighbours, weighed
from lab.starting import Program
from perfwright.analysis.profiler_choice import choose_profiler
from perfwright.analysis.sampling_rate import RatePlan
from perfwright.analysis.slices import Slice
from perfwright.models.cpu_profiling import CpuProfilingRequest, ProfilerName, StackProfile, StackRecording, TargetProcess
from perfwright.models.cpu_steps import UseSampling

LIMIT = 0.02
"""Of the target's throughput."""
TURN_S, WITHOUT_S = 4.0, 4.0
"""Slices are put together to turns of so long, at least."""
SETTLE_S = 0.1
"""After the last slice its supervisor ends."""
ROW_S = 240.0
"""A row begins recordings for so long: four of the usual ones, some 28 pairs."""
TARGET_S = 3_600
READY_S, WARM_UP_S = 60.0, 8.0
SAMPLES = ROOT / "benchmarks" / "samples"
LONGEST_SLICE_S: dict[ProfilerName, float] = {"jfr": JFR_SLICE_S, "node-inspector": NODE_SLICE_S}
Phase = Literal["start", "slices", "end"]


@dataclass(frozen=True)
class Scenario:
    """A kind of target, its idle threads, and whether the machine has a CPU left."""

    runtime: str
    threads: int = 10
    saturated: bool = False
    seconds: float = ROW_S

    @property
    def row(self) -> str:
        return f"{self.runtime}, {self.threads} threads" + (", saturated machine" if self.saturated else "")

    @property
    def name(self) -> str:
        return f"throughput kept, {self.row}"


SCENARIOS = (
    Scenario("Python", 10),
    Scenario("Python", 150),
    Scenario("Python", 500),
    Scenario("Python", 10, saturated=True),
    Scenario("JVM", 10, seconds=2 * ROW_S),
    Scenario("Node.js", 0),
    Scenario("C", 10),
)


@dataclass(frozen=True)
class Reading:
    """What the target had done, and what its calculating thread had been given, at a moment or over a turn."""

    seconds: float
    units: float
    on_cpu_s: float
    waited_s: float
    """For a CPU, though it could run."""
    preempted: float

    def since(self, before: "Reading") -> "Reading":
        return Reading(*(getattr(self, name) - getattr(before, name) for name in self.__dataclass_fields__))

    @property
    def rate(self) -> float:
        return self.units / self.seconds


class Meter:
    """Reads all of that of a process whose busiest thread calculates."""

    def __init__(self, pid: int, progress: Path) -> None:
        self._progress = progress
        busiest = max(psutil.Process(pid).threads(), key=lambda one: one.user_time)
        self._task = Path(f"/proc/{pid}/task/{busiest.id}")

    def read(self) -> Reading:
        [units] = struct.unpack("<Q", self._progress.read_bytes()[:8])
        now = time.monotonic()
        on_cpu_ns, waited_ns, _ = map(int, (self._task / "schedstat").read_text().split())
        [told] = [line for line in (self._task / "status").read_text().splitlines() if line.startswith("nonvoluntary")]
        return Reading(now, units, on_cpu_ns / 1e9, waited_ns / 1e9, int(told.split()[1]))


class Timeline:
    """Turns with the collectors, of one phase each, and the turns without around them."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self.without = [self._hold()]
        self.turns: list[tuple[Phase, Reading]] = []
        self._since = meter.read()

    def pause(self, phase: Phase) -> None:
        """The turn that ends here was of this phase."""
        self.turns.append((phase, self._meter.read().since(self._since)))
        self.without.append(self._hold())
        self._since = self._meter.read()

    def _hold(self) -> Reading:
        """The worker's loop stands still meanwhile, and all that it would do."""
        time.sleep(SETTLE_S)
        before = self._meter.read()
        time.sleep(WITHOUT_S)
        return self._meter.read().since(before)

    def pairs(self, *phases: Phase) -> list[tuple[Reading, float]]:
        """Turns, and the rate without them."""
        around = zip(self.without, self.without[1:], strict=False)
        return [
            (turn, (before.rate + after.rate) / 2)
            for (phase, turn), (before, after) in zip(self.turns, around, strict=True)
            if phase in phases
        ]


class Stretched(SliceRecorder):
    """A recording that is held between slices."""

    def __init__(self, timeline: Timeline, tool: SliceTool, request: StackRecording, store: ArtifactStore, state: Path) -> None:
        super().__init__(tool, request, store, state)
        self._timeline = timeline
        self._phase: Phase = "start"
        self._turn_s, self._left_s = 0.0, request.duration_s

    async def _take(self, piece: Slice, plan: RatePlan) -> None:
        if self._phase == "start" or (self._turn_s >= TURN_S and self._left_s >= TURN_S):
            self._timeline.pause(self._phase)
            self._phase, self._turn_s = "slices", 0.0
        await super()._take(piece, plan)
        self._turn_s += piece.seconds
        self._left_s -= piece.seconds

    async def _assemble(self, end: Any) -> StackProfile:
        self._timeline.pause(self._phase)
        self._phase = "end"
        return await super()._assemble(end)


async def measure() -> list[Measured]:
    return [one for scenario in SCENARIOS for one in await measure_one(scenario)]


async def measure_one(scenario: Scenario) -> list[Measured]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        progress = folder / "progress"
        command = build(scenario, folder, progress)
        if command is None:
            return [Measured(scenario.name, None, "", 1 - LIMIT, at_least=True, note="its compiler or runtime is not installed")]
        with busy_machine(scenario), started(command) as pid:
            if scenario.saturated:
                os.sched_setaffinity(pid, {0})
            await asyncio.sleep(WARM_UP_S)
            meter, ends = Meter(pid, progress), time.monotonic() + scenario.seconds
            timelines: list[Timeline] = []
            used: list[tuple[float, float]] = []
            while not timelines or time.monotonic() < ends:
                timelines.append(Timeline(meter))
                used.append(await collect(scenario, describe(psutil.Process(pid)), folder, len(used), timelines[-1]))
                print(f"{scenario.name}: recording {len(used)} done", file=sys.stderr)
    return judged(scenario, timelines, used)


def judged(scenario: Scenario, timelines: Sequence[Timeline], used: Sequence[tuple[float, float]]) -> list[Measured]:
    """The ratio, what equal turns differ by, and what was counted."""
    slices = [pair for one in timelines for pair in one.pairs("slices")]
    around = [one.pairs("start", "end") for one in timelines]
    rest = [sum(turn.units for turn, _ in pairs) / sum(turn.seconds * rate for turn, rate in pairs) for pairs in around]
    rest_s = sum(turn.seconds for pairs in around for turn, _ in pairs)
    slices_s = sum(turn.seconds for turn, _ in slices)
    middle = kept([(turn.rate, rate) for turn, rate in slices], LIMIT)
    whole = weighed(middle, rest_s / (rest_s + slices_s), rest)
    equal = kept([pair for one in timelines for pair in neighbours([turn.rate for turn in one.without])], LIMIT)
    having, lacking = [turn for turn, _ in slices], [turn for one in timelines for turn in one.without]
    recorded_s = (rest_s + slices_s) / len(timelines)
    worker_s, tools_s = (statistics.mean(one[side] for one in used) for side in (0, 1))
    per_cpu = _per(having, "units", "on_cpu_s") / _per(lacking, "units", "on_cpu_s")
    ends = ", ".join(_told_phase(phase, timelines) for phase in ("start", "end"))
    note = f"{len(slices)} pairs in {len(timelines)} recordings of {recorded_s:.1f} s; slices {middle.ratio:.4f}, {ends}"
    counted = (
        f"worker {worker_s:.2f} s, its tools {tools_s:.2f} s in a recording of {recorded_s:.1f} s;"
        f" target: units per CPU second {per_cpu:.4f},"
        f" waits for a CPU {_per(having, 'waited_s', 'seconds'):.2%} of the time (without {_per(lacking, 'waited_s', 'seconds'):.2%}),"
        f" preempted {_per(having, 'preempted', 'seconds'):.1f}/s (without {_per(lacking, 'preempted', 'seconds'):.1f}/s)"
    )
    return [
        whole.measured(scenario.name, note),
        replace(Measured("  without against without", equal.ratio, ""), note=f"{equal.interval}: {equal.verdict} by the same rule"),
        Measured("  CPU of all collectors", (worker_s + tools_s) / recorded_s, "cores", note=counted),
    ]


def _told_phase(phase: Phase, timelines: Sequence[Timeline]) -> str:
    pairs = [pair for one in timelines for pair in one.pairs(phase)]
    rate = sum(turn.units for turn, _ in pairs) / sum(turn.seconds * rate for turn, rate in pairs)
    return f"{phase} {rate:.3f} ({sum(turn.seconds for turn, _ in pairs) / len(timelines):.1f} s)"


def _per(turns: Sequence[Reading], what: str, of: str) -> float:
    return math.fsum(getattr(turn, what) for turn in turns) / math.fsum(getattr(turn, of) for turn in turns)


def build(scenario: Scenario, folder: Path, progress: Path) -> Sequence[str] | None:
    """The target's command, compiled where it must be; None where that cannot be done here."""
    arguments = [str(progress), str(TARGET_S), str(scenario.threads)]
    match scenario.runtime:
        case "JVM" if (javac := shutil.which("javac")) and (java := shutil.which("java")):
            subprocess.run([javac, "-d", str(folder), str(SAMPLES / "Units.java")], check=True, timeout=120)
            return [java, "-Xmx128m", "-cp", str(folder), "Units", *arguments]
        case "Node.js" if node := shutil.which("node"):
            return [node, str(SAMPLES / "units.js"), *arguments[:2]]
        case "C" if gcc := shutil.which("gcc"):
            program = folder / "units"
            subprocess.run([gcc, "-O2", "-g", "-pthread", "-o", str(program), str(SAMPLES / "units.c")], check=True, timeout=120)
            return [str(program), *arguments]
        case "Python":
            options = ["--threads", str(scenario.threads), "--seconds", str(TARGET_S), "--progress", str(progress)]
            return [sys.executable, str(ROOT / "lab" / "patterns.py"), "threads", *options]
    return None


@contextmanager
def started(command: Sequence[str]) -> Iterator[int]:
    program = Program(command)
    try:
        program.first_line(READY_S)
        yield program.pid
    finally:
        program.stop()


@contextmanager
def busy_machine(scenario: Scenario) -> Iterator[None]:
    """A process on every CPU that takes whatever is left, where the scenario wants that."""
    cpus = sorted(os.sched_getaffinity(0)) if scenario.saturated else []
    programs = [Program([sys.executable, "-c", f"import os; os.sched_setaffinity(0, [{cpu}])\nwhile True: pass"]) for cpu in cpus]
    try:
        yield
    finally:
        for program in programs:
            program.stop()


async def collect(scenario: Scenario, process: TargetProcess, folder: Path, number: int, timeline: Timeline) -> tuple[float, float]:
    """One recording with all collectors, until the profile is stored; CPU seconds of this process and of all that it started."""
    asked = CpuProfilingRequest(target="benchmark")
    facts = await read_host_facts("local")
    choice = choose_profiler(process, facts.software, asked.passes, host=facts)
    store, state = ArtifactStore(f"file://{folder}/store"), folder / "state"
    stacks = StackRecording(
        target="benchmark",
        process=process,
        choice=choice,
        duration_s=asked.duration_s,
        rate_hz=asked.rate_hz,
        slice_s=max(asked.slice_s or choice.slice_s, LONGEST_SLICE_S.get(choice.tool, 0.0)),
        overhead_budget_share=asked.overhead_budget_share,
        artifact_prefix=f"benchmark/{number}",
        min_samples=asked.min_samples,
    )
    use = UseSampling(target="benchmark", process=process, duration_s=TARGET_S, artifact_prefix=f"benchmark/{number}")
    before = cpu_s()
    sampling = asyncio.create_task(ActivityEnvironment().run(Processes(store, state).sample_threads, use))
    recorder = Stretched(timeline, tool_of(choice.tool, stacks, state), stacks, store, state)
    profile: StackProfile = await ActivityEnvironment().run(recorder.record)
    sampling.cancel()
    with suppress(asyncio.CancelledError):
        await sampling
    timeline.pause("end")
    if profile.end != "complete":
        raise RuntimeError(f"{scenario.name}: {profile.end}: {profile.warnings}")
    after = cpu_s()
    return after[0] - before[0], after[1] - before[1]


def tool_of(name: ProfilerName, request: StackRecording, state: Path) -> SliceTool:
    match name:
        case "jfr":
            return JfrSlices(request, state)
        case "node-inspector":
            return NodeSlices(request, state)
        case "perf":
            return PerfSlices(request, name)
        case _:
            return PySpySlices(request, name)


def cpu_s() -> tuple[float, float]:
    """Of this process, and of all that it started and waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    mine, theirs = (one.ru_utime + one.ru_stime for one in used)
    return mine, theirs


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.collectors", description=__doc__.splitlines()[0])
    parser.add_argument("--row", action="append", choices=[one.row for one in SCENARIOS], help="may be given again (default: all)")
    parser.add_argument("--seconds", type=float, help="begin recordings for so long (each of some 70 s)")
    given = parser.parse_args()
    for scenario in SCENARIOS:
        if not given.row or scenario.row in given.row:
            chosen = replace(scenario, seconds=given.seconds) if given.seconds else scenario
            for one in asyncio.run(measure_one(chosen)):
                print(line(one), flush=True)


if __name__ == "__main__":
    main()
