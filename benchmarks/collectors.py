"""What the target pays for being measured: its throughput with all collectors against its throughput without, in turns, in one process.

    without | with | without | with | ... | without

Each turn with the collectors is held against the turns before and after it. The target calculates in one thread beside idle ones; its
units of work are read from a shared page, which costs it nothing. Everything is as it is by default: 30 s, three passes, 99 Hz at most.
"""

import asyncio
import statistics
import struct
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import psutil
from temporalio.testing import ActivityEnvironment

from activities.artifacts import ArtifactStore
from activities.finding_processes import describe
from activities.hosts import read_host_facts
from activities.processes import Processes
from activities.pyspy import PySpy
from benchmarks.measured import Measured, quartiles
from benchmarks.running import ROOT
from lab.starting import Program
from perfwright.analysis.profiler_choice import choose_profiler
from perfwright.models.cpu_profiling import CpuProfilingRequest, StackProfile, StackRecording, TargetProcess
from perfwright.models.cpu_steps import UseSampling

THREADS = (10, 150, 500)
ROUNDS = 3
WITHOUT_S = 15.0
LEAST_KEPT = 0.98
TARGET_S = 900
READY_S = 60.0
WARM_UP_S = 2.0


async def measure() -> list[Measured]:
    return [one for threads in THREADS for one in await measure_with(threads)]


async def measure_with(threads: int) -> list[Measured]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        progress = folder / "progress"
        options = ["--threads", str(threads), "--seconds", str(TARGET_S), "--progress", str(progress)]
        target = Program([sys.executable, str(ROOT / "lab" / "patterns.py"), "threads", *options])
        try:
            target.first_line(READY_S)
            await asyncio.sleep(WARM_UP_S)
            without = [await idle(progress)]
            with_them, recorded = [], []
            for number in range(ROUNDS):
                rate, stacks = await collect(describe(psutil.Process(target.pid)), progress, folder, number)
                with_them.append(rate)
                recorded.append(stacks)
                without.append(await idle(progress))
        finally:
            target.stop()
    kept = [rate / statistics.mean(around) for rate, around in zip(with_them, pairwise(without), strict=True)]
    noise = [later / earlier for earlier, later in pairwise(without)]
    low, high = quartiles(kept)
    spread = f"half of {ROUNDS} rounds in {low:.3f} to {high:.3f}; without against without {min(noise):.3f} to {max(noise):.3f}"
    note = f"{spread}; {told(recorded[-1])}"
    return [Measured(f"throughput kept, {threads} threads", statistics.median(kept), "", LEAST_KEPT, at_least=True, note=note)]


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
        slice_s=asked.slice_s,
        overhead_budget_share=asked.overhead_budget_share,
        artifact_prefix=f"benchmark/{number}",
    )
    use = UseSampling(target="benchmark", process=process, duration_s=asked.duration_s, artifact_prefix=f"benchmark/{number}")
    began, units = time.monotonic(), done(progress)
    profile, _ = await asyncio.gather(
        ActivityEnvironment().run(PySpy(store, state).record_python_stacks, stacks),
        ActivityEnvironment().run(Processes(store, state).sample_threads, use),
    )
    return (done(progress) - units) / (time.monotonic() - began), profile


def done(progress: Path) -> int:
    [units] = struct.unpack("<Q", progress.read_bytes()[:8])
    return int(units)


def told(stacks: StackProfile) -> str:
    mode = "without stopping it" if stacks.overhead.nonblocking else f"held {stacks.overhead.paused_share or 0:.1%}"
    cores = stacks.overhead.profiler_cpu_share or 0.0
    return f"{stacks.passes[0].rate_hz:g} Hz, {mode}, profiler {cores:.3f} cores, {stacks.passes[0].samples} on-CPU samples, {stacks.end}"
