"""How right the shares of a Python profile are: by our reader, and by py-spy told not to stop its target.

`samples/changing_stacks.py` knows by its own CPU clock how its time is divided; its stacks change every few hundred nanoseconds.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import psutil

from activities.finding_processes import describe
from activities.frame_reader import reading
from activities.pyspy import PySpySlices
from activities.pyspy_output import read_speedscope
from activities.slice_recorder import SliceOrder
from activities.taken_slices import SliceTake, TakenSlice
from benchmarks.measured import Measured
from benchmarks.running import ROOT
from lab.starting import Program
from perfwright.analysis.call_tree import ProfileBuilder
from perfwright.models.cpu_profiling import ProfilerChoice, StackRecording
from perfwright.models.profile import Profile

ROUNDS = 3
RECORDED_S, RATE_HZ = 8.0, 199.0
LARGEST_ERROR = 0.06
"""Of a share: three standard errors of 1,600 samples are 0.03, and a busy machine adds to that."""
READY_S = 60.0
READERS = ("own reader", "py-spy, unstopped")


async def measure() -> list[Measured]:
    errors: dict[str, list[float]] = {reader: [] for reader in READERS}
    failed: dict[str, list[float]] = {reader: [] for reader in READERS}
    told: dict[str, str] = {}
    for _ in range(ROUNDS):
        for reader in READERS:
            timed, seen, failures = await one_round(reader)
            errors[reader].append(max(abs(seen[work] - timed[work]) for work in timed))
            failed[reader].append(failures)
            told[reader] = ", ".join(f"{work} {seen[work]:.1%} of {timed[work]:.1%}" for work in timed)
    return [
        Measured(
            f"largest error of a share, {reader}",
            statistics.median(errors[reader]),
            "",
            LARGEST_ERROR if reader == READERS[0] else None,
            note=f"{ROUNDS} rounds: {', '.join(f'{one:.3f}' for one in errors[reader])}; failed {max(failed[reader]):.1%}; {told[reader]}",
        )
        for reader in READERS
    ]


async def one_round(reader: str) -> tuple[Mapping[str, float], Mapping[str, float], float]:
    """Shares as the program timed them, as they were seen, and the share of failed samples."""
    program = Program([sys.executable, str(ROOT / "benchmarks" / "samples" / "changing_stacks.py"), str(RECORDED_S + 3)])
    try:
        program.first_line(READY_S)
        with tempfile.TemporaryDirectory() as name:
            order = SliceOrder("on_cpu", RECORDED_S, RATE_HZ, nonblocking=reader != READERS[0], path=Path(name) / "slice")
            take = await taken(reader, program.pid, order)
            slice_ = TakenSlice(index=0, kind="on_cpu", seconds=take.seconds, blocks=1, rate_hz=RATE_HZ, file="", ended_at_s=0.0)
            builder = ProfileBuilder(tool=reader)
            count = read_speedscope(builder, slice_, order.path)
        timed: dict[str, float] = json.loads(program.first_line(READY_S))
    finally:
        program.stop()
    profile = builder.build()
    seen = {work: inclusive(profile, work) for work in timed}
    return timed, seen, count.failed / (count.samples + count.failed)


async def taken(reader: str, pid: int, order: SliceOrder) -> SliceTake:
    """One slice by this reader."""
    request = StackRecording(
        target="benchmark",
        process=describe(psutil.Process(pid)),
        choice=ProfilerChoice(tool="py-spy", reason="", passes=("on_cpu",)),
        duration_s=RECORDED_S,
        rate_hz=int(RATE_HZ),
        slice_s=RECORDED_S,
        overhead_budget_share=0.5,
        artifact_prefix="benchmark",
    )
    if reader != READERS[0]:
        return await PySpySlices(request, reader).take(order, _ignore)
    async with reading(request) as ours:
        return await ours.take(order, _ignore)


def _ignore(_elapsed_s: float, _cpu_s: float | None) -> None:
    """Nobody watches the budget."""


def inclusive(profile: Profile, function: str) -> float:
    """Share of the samples with the function anywhere on their stack."""
    inside: list[bool] = []
    for parent, frame in zip(profile.nodes.parent, profile.nodes.frame, strict=True):
        inside.append(profile.frames.function[frame] == function or (parent >= 0 and inside[parent]))
    [rows] = profile.passes
    return sum(count for node, count in zip(rows.node, rows.count, strict=True) if inside[node]) / sum(rows.count)
