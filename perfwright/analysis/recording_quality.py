"""Is a recording good enough to believe what follows from it? Quality gates: no data is never a pass."""

import math

from perfwright.models.cpu_profiling import CpuProfilingRequest, HotPaths, ProcessUse, StackProfile
from perfwright.models.quality import QualityGate

MAX_FAILED_SHARE = 0.1
"""Samples that the tool could not take: above a tenth they are no accident, and the rest may not be a fair sample."""
WIDEST_INTERVAL = 0.2
"""Width of the hottest function's interval above which its rank is a guess."""


def quality_gates(
    stacks: StackProfile, request: CpuProfilingRequest, *, hot_paths: HotPaths | None = None, usage: ProcessUse | None = None
) -> tuple[QualityGate, ...]:
    """The gates of a CPU recording, in the order in which a reviewer asks."""
    gates = [
        _enough_samples(stacks, request, usage, hot_paths),
        _failed_samples(stacks),
        _overhead(stacks, request),
        _complete(stacks, request),
    ]
    if hot_paths is not None:
        gates.append(_sure(hot_paths))
    return tuple(gates)


def _enough_samples(
    stacks: StackProfile, request: CpuProfilingRequest, usage: ProcessUse | None, hot_paths: HotPaths | None
) -> QualityGate:
    """Those that count as CPU time, where the hot paths are known: a pool's idle threads give samples, too."""
    samples = sum(one.samples for one in stacks.passes if one.kind == "on_cpu")
    recorded = any(one.kind == "on_cpu" for one in stacks.passes)
    if not recorded:
        samples = sum(one.samples for one in stacks.passes if one.kind == "native")
    samples = hot_paths.samples if hot_paths is not None else samples
    note = ""
    if samples < request.min_samples:
        seconds = sum(one.seconds for one in stacks.passes)
        cores = usage.user_share + usage.system_share if usage else None
        idle = (
            f" The target used {cores:.2f} cores: an idle program gives few samples; load it meanwhile."
            if cores is not None and cores < 0.1
            else ""
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


def _overhead(stacks: StackProfile, request: CpuProfilingRequest) -> QualityGate:
    paused = stacks.overhead.paused_share
    tool_unseen = paused is None and stacks.overhead.profiler_cpu_share is None
    # a tool that never stops its target (JFR, perf) pays in CPU only
    observed = None if tool_unseen else paused if paused is not None else stacks.overhead.profiler_cpu_share
    within = observed is not None and observed <= request.overhead_budget_share
    note = "" if within or observed is None else "The target was disturbed: record fewer passes, at a lower rate, or with a larger budget."
    return QualityGate(
        name="overhead within budget",
        metric="time that the target was held" if paused is not None else "CPU of the profiler, in cores",
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


def _sure(hot_paths: HotPaths) -> QualityGate:
    widths = [spot.self_interval.high - spot.self_interval.low for spot in hot_paths.functions[:1]]
    observed = widths[0] if widths and hot_paths.samples else None
    return QualityGate(
        name="hottest function known well",
        metric="width of the 95 % interval of its share",
        comparison="<=",
        threshold=WIDEST_INTERVAL,
        observed=observed,
        unit="share",
        outcome="no data" if observed is None else "passed" if observed <= WIDEST_INTERVAL else "failed",
        note="" if observed is None or observed <= WIDEST_INTERVAL else "Record longer: the program's phases differ.",
    )
