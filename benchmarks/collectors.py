"""What the target pays for being measured: its throughput with all collectors against its throughput without, in turns, in one process.

    without | with | without | with | ... | without

Each turn with the collectors is held against the turns before and after it. The target calculates in one thread beside idle ones; its
units of work are read from a shared page, which costs it nothing. Everything is as it is by default: 30 s, the usual passes, 99 Hz at
most. On a saturated machine a busy process per CPU stands beside the target, so that whatever the collectors take comes from somebody.
"""

import asyncio
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from temporalio.testing import ActivityEnvironment

from activities.artifacts import ArtifactStore
from activities.finding_processes import describe
from activities.hosts import read_host_facts
from activities.jfr import Jfr
from activities.node_inspector import NodeInspector
from activities.perf import Perf
from activities.processes import Processes
from activities.pyspy import PySpy
from benchmarks.measured import Measured, quartiles
from benchmarks.running import ROOT
from lab.starting import Program
from perfwright.analysis.profiler_choice import choose_profiler
from perfwright.models.cpu_profiling import CpuProfilingRequest, ProfilerName, StackProfile, StackRecording, TargetProcess
from perfwright.models.cpu_steps import UseSampling

ROUNDS = 3
WITHOUT_S = 12.0
LEAST_KEPT = 0.98
TARGET_S = 900
READY_S = 60.0
WARM_UP_S = 2.0
SAMPLES = ROOT / "benchmarks" / "samples"
RECORDERS: dict[ProfilerName, Any] = {
    "py-spy": lambda store, state: PySpy(store, state).record_python_stacks,
    "jfr": lambda store, state: Jfr(store, state).record_jvm_stacks,
    "node-inspector": lambda store, state: NodeInspector(store, state).record_node_stacks,
    "perf": lambda store, state: Perf(store, state).record_native_stacks,
}


@dataclass(frozen=True)
class Scenario:
    """A kind of target, its idle threads, and whether the machine has a CPU left."""

    runtime: str
    threads: int = 10
    saturated: bool = False

    @property
    def name(self) -> str:
        return f"throughput kept, {self.runtime}, {self.threads} threads" + (", saturated machine" if self.saturated else "")


SCENARIOS = (
    Scenario("Python", 10),
    Scenario("Python", 150),
    Scenario("Python", 500),
    Scenario("Python", 10, saturated=True),
    Scenario("JVM", 10),
    Scenario("Node.js", 0),
    Scenario("C", 10),
)


async def measure() -> list[Measured]:
    return [await measure_one(scenario) for scenario in SCENARIOS]


async def measure_one(scenario: Scenario) -> Measured:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        progress = folder / "progress"
        command = build(scenario, folder, progress)
        if command is None:
            return Measured(scenario.name, None, "", LEAST_KEPT, at_least=True, note="its compiler or runtime is not installed")
        with busy_machine(scenario), started(command) as pid:
            await asyncio.sleep(WARM_UP_S)
            without = [await idle(progress)]
            with_them, recorded = [], []
            for number in range(ROUNDS):
                rate, stacks = await collect(describe(psutil.Process(pid)), progress, folder, number)
                with_them.append(rate)
                recorded.append(stacks)
                without.append(await idle(progress))
    kept = [rate / statistics.mean(around) for rate, around in zip(with_them, pairwise(without), strict=True)]
    noise = [later / earlier for earlier, later in pairwise(without)]
    low, high = quartiles(kept)
    spread = f"half of {ROUNDS} rounds in {low:.3f} to {high:.3f}; without against without {min(noise):.3f} to {max(noise):.3f}"
    return Measured(
        scenario.name, statistics.median(kept), "", LEAST_KEPT, at_least=True, note=f"{spread}; {told(recorded[len(recorded) // 2])}"
    )


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
    count = (psutil.cpu_count() or 1) if scenario.saturated else 0
    programs = [Program([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for program in programs:
            program.stop()


async def idle(progress: Path) -> float:
    """Units of work per second while nobody looks."""
    began, units = time.monotonic(), done(progress)
    await asyncio.sleep(WITHOUT_S)
    return (done(progress) - units) / (time.monotonic() - began)


async def collect(process: TargetProcess, progress: Path, folder: Path, number: int) -> tuple[float, StackProfile]:
    """The same while all collectors of a default recording run, until the profile is stored."""
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
        slice_s=asked.slice_s or choice.slice_s,
        overhead_budget_share=asked.overhead_budget_share,
        artifact_prefix=f"benchmark/{number}",
        min_samples=asked.min_samples,
    )
    use = UseSampling(target="benchmark", process=process, duration_s=asked.duration_s, artifact_prefix=f"benchmark/{number}")
    began, units = time.monotonic(), done(progress)
    profile, _ = await asyncio.gather(
        ActivityEnvironment().run(RECORDERS[choice.tool](store, state), stacks),
        ActivityEnvironment().run(Processes(store, state).sample_threads, use),
    )
    return (done(progress) - units) / (time.monotonic() - began), profile


def done(progress: Path) -> int:
    [units] = struct.unpack("<Q", progress.read_bytes()[:8])
    return int(units)


def told(stacks: StackProfile) -> str:
    held = stacks.overhead.paused_share
    mode = "" if held is None else "read without stopping it, " if stacks.overhead.nonblocking else f"held {held:.1%}, "
    cores = stacks.overhead.profiler_cpu_share or 0.0
    return (
        f"{stacks.tool}, {stacks.passes[0].rate_hz:g} Hz, {mode}{cores:.3f} cores, {stacks.passes[0].samples} on-CPU samples, {stacks.end}"
    )
