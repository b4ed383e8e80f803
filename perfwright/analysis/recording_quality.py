"""Is a recording good enough to believe what follows from it? Quality gates: no data is never a pass."""

import math

from perfwright.analysis.sampling_rate import HOLD_COSTS, SHOWN, lost_to, surely_held
from perfwright.models.cpu_profiling import CpuProfilingRequest, ProcessUse, StackProfile
from perfwright.models.quality import QualityGate

MAX_FAILED_SHARE = 0.1
"""Samples that the tool could not take: above a tenth they are no accident, and the rest may not be a fair sample."""
IDLE_CORES = 0.1
"""A program that uses less is idle as far as profiling goes: thirty seconds of it are three seconds of samples."""
NO_CPU_FREE = 0.95
"""Where others want the CPUs as well, a program that used little may only have had little."""
PREEMPTED_HZ = 2.0
"""What wants a CPU and has to share it is preempted many times a second; once in a while that happens to what hardly runs as well."""
WANTED_CORES = 0.01
"""Who wants a CPU gets more of it, however many want one: a hundredth is the share of one among two hundred on two cores."""


def quality_gates(stacks: StackProfile, request: CpuProfilingRequest, usage: ProcessUse, running_samples: int) -> tuple[QualityGate, ...]:
    """The gates of a CPU recording, in the order in which a reviewer asks.

    `running_samples`: samples that count as CPU time; the idle threads of a pool give samples, too.
    """
    return (
        _enough_samples(stacks, request, usage, running_samples),
        _failed_samples(stacks),
        _overhead(stacks, request, usage),
        _complete(stacks, request),
    )


def _enough_samples(stacks: StackProfile, request: CpuProfilingRequest, usage: ProcessUse, samples: int) -> QualityGate:
    note = ""
    if samples < request.min_samples:
        seconds = sum(one.seconds for one in stacks.passes)
        cores = usage.user_share + usage.system_share
        idle = ""
        if cores < IDLE_CORES:
            preempted_hz = usage.involuntary_switches_hz
            wanted = cores >= WANTED_CORES and preempted_hz > max(usage.voluntary_switches_hz, PREEMPTED_HZ)
            starved = wanted and usage.machine_busy_share >= NO_CPU_FREE
            idle = (
                f" The target got {cores:.2f} cores of a machine that had none free: measure when others are quiet."
                if starved
                else f" The target used {cores:.2f} cores: an idle program gives few samples; load it meanwhile."
            )
        longer = math.ceil(seconds * request.min_samples / samples) if samples else 0
        note = (f"About {longer} s would be enough at this rate." if 0 < longer <= 3_600 else "Longer, or under load.") + idle
    return QualityGate(
        name="enough samples",
        metric="on-CPU samples",
        comparison=">=",
        threshold=request.min_samples,
        observed=samples if stacks.passes else None,
        unit="samples",
        outcome="no data" if not stacks.passes or samples == 0 else "passed" if samples >= request.min_samples else "failed",
        note=note,
    )


def _failed_samples(stacks: StackProfile) -> QualityGate:
    failed = sum(one.failed_samples for one in stacks.passes)
    tried = failed + sum(one.samples for one in stacks.passes)
    share = failed / tried if tried else None
    note = ""
    if share is not None and share > MAX_FAILED_SHARE:
        note = "Another tracer, a process that starts many short-lived threads, or an interpreter the tool does not know."
    return QualityGate(
        name="few failed samples",
        metric="samples that could not be taken",
        comparison="<=",
        threshold=MAX_FAILED_SHARE,
        observed=share,
        unit="share",
        outcome="no data" if share is None else "passed" if share <= MAX_FAILED_SHARE else "failed",
        note=note,
    )


def _overhead(stacks: StackProfile, request: CpuProfilingRequest, usage: ProcessUse) -> QualityGate:
    """What all collectors together cost: what the target lost to being held, and the CPU they took as far as the machine had none left.

    A collector's CPU comes out of the target's only where no CPU is free for it (`contention`), and not while it holds the target, which
    leaves it a CPU. How long it was held is an estimate from readings: the gate fails where it was surely too long.
    """
    cost = stacks.overhead
    paused, cores = cost.paused_share, cost.profiler_cpu_share
    beside = max(0.0, (cores or 0.0) - (paused or 0.0))
    taken = lost_to(beside + usage.sampler_cpu_share, usage.machine_busy_share, usage.cpu_count)
    known = paused is not None or cores is not None
    observed = HOLD_COSTS * (paused or 0.0) + taken if known else None
    at_least = taken
    if paused is not None:
        at_least += HOLD_COSTS * (surely_held(round(paused * cost.readings), cost.readings, SHOWN) if cost.readings else paused)
    within = observed is not None and at_least <= request.overhead_budget_share
    note = "What the profiler cost could not be measured." if observed is None else ""
    if observed is not None and not within:
        note = (
            "The target was disturbed: record fewer passes, at a lower rate, or with a larger budget."
            if at_least - taken > taken
            else f"The profiler took {cores or 0.0:.1%} of a core where no CPU was free: record longer (its start costs most), at a lower "
            "rate, or with a larger budget."
        )
    elif observed is not None and observed > request.overhead_budget_share:
        note = f"Between {at_least:.1%} and what was observed: not surely above the budget."
    return QualityGate(
        name="overhead within budget",
        metric="time that the target lost by being held, and CPU taken from it",
        comparison="<=",
        threshold=request.overhead_budget_share,
        observed=observed,
        unit="share",
        outcome="no data" if observed is None else "passed" if within and stacks.end != "over budget" else "failed",
        note=note,
    )


def _complete(stacks: StackProfile, request: CpuProfilingRequest) -> QualityGate:
    """Most of the time that was asked for was recorded: half a recording is judged, but said to be half."""
    seconds = sum(one.seconds for one in stacks.passes)
    share = min(1.0, seconds / request.duration_s)
    note = "" if stacks.end == "complete" else f"The recording ended early: {stacks.end}."
    return QualityGate(
        name="recorded as long as asked",
        metric="recorded time",
        comparison=">=",
        threshold=0.5,
        observed=share if stacks.passes else None,
        unit="share",
        outcome="no data" if not stacks.passes else "passed" if share >= 0.5 else "failed",
        note=note,
    )
