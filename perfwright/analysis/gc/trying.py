"""How a chosen candidate is tried: what is measured, what decides, and what must not get worse."""

import math
from collections.abc import Sequence
from typing import Literal

from perfwright.models.gc_steps import ProposedSettings
from perfwright.models.gc_tuning import GarbageCollectionRequest, GcCandidate, GcIssue, GcObservation, GcSweep, ServiceLoad
from perfwright.models.target import Target
from perfwright.models.trial import Guard
from perfwright.models.trial_run import BenchmarkMeasurement, ServiceMeasurement, SwitchedMeasurement, TrialEvidence, TrialRequest

LATENCY_MARGIN = 0.2
"""Of the service's p99, which is noisy: less harm could not be ruled out in a trial of minutes."""
ERRORS_MARGIN = 0.001
PROBE_GOAL_SHARE = 0.02
"""Off what a probe or a run costs; what it can win is the time in pauses, and half of that has to be seen."""
BURN_IN_S = 0.1
"""Settings hold from the next collection on; the probe that runs first after a switch pays for what the other side left."""
PROBES_PER_BLOCK = 1
"""Rather more rounds, which are what is judged."""
LEAST_TRIAL_S, MOST_TRIAL_S = 120.0, 3_600.0
"""Where no budget is given."""
PAUSE_GOAL_SHARE = 0.2
"""A fifth off the metric, or the change is not worth its upkeep."""


def metric_of(issues: Sequence[GcIssue]) -> str:
    """What the trial is to make better: the length of pauses where that is over its target, else their share of the time."""
    return "gc_pause_p99_ms" if any(issue.over == "pause" for issue in issues) else "gc_share"


Mode = Literal["service", "batch", "live"]


def mode_of(seen: GcObservation) -> Mode:
    """A server that is started fresh, a command that ends by itself, a process that runs."""
    return "live" if seen.live else "batch" if seen.batch else "service"


def guards_of(request: GarbageCollectionRequest, mode: Mode = "service") -> tuple[Guard, ...]:
    """Harm that a person allowed in the objective is put up with, no more."""
    memory = Guard(metric="rss_bytes", margin=max(0.01, math.log1p(request.memory_limit_share)))
    work_margin = max(0.01, -math.log(max(0.01, 1 - request.throughput_limit_share)))
    if mode == "live":  # what it does with requests is what the probe says
        return (memory,)
    if mode == "batch":
        return (memory, Guard(metric="wall_s", margin=work_margin), Guard(metric="cpu_s", margin=work_margin))
    return (
        memory,
        Guard(metric="throughput_hz", margin=work_margin, higher_is_better=True),
        Guard(metric="p99_ms", margin=LATENCY_MARGIN),
        Guard(metric="errors_share", margin=ERRORS_MARGIN, scale="difference"),
    )


def wanted_effect(sweep: GcSweep | None, chosen: str, metric: str) -> float:
    """What the trial has to be able to see, as a share: half of what the sweep saw; never less than what is worth keeping."""
    scores = {one.candidate: one.pause_p99_ms if metric == "gc_pause_p99_ms" else one.pause_share for one in sweep.scores} if sweep else {}
    before, after = scores.get("", 0.0), scores.get(chosen, 0.0)
    return max(PAUSE_GOAL_SHARE, (1 - after / before) / 2) if before > 0 else PAUSE_GOAL_SHARE


def wanted_saving(sweep: GcSweep | None, chosen: str) -> float:
    """Likewise of a command that ends by itself: half of the time that it took less, or of the CPU, whichever is less."""
    scores = {one.candidate: one for one in sweep.scores} if sweep else {}
    before, after = scores.get(""), scores.get(chosen)
    if before is None or after is None or not before.cpu_s or not after.throughput_ratio:
        return PROBE_GOAL_SHARE
    return max(PROBE_GOAL_SHARE, min(1 - after.cpu_s / before.cpu_s, 1 - 1 / after.throughput_ratio) / 2)


def budget_s(request: GarbageCollectionRequest, sweep: GcSweep | None) -> float:
    """What was asked for; else what the sweep shows to be needed."""
    if request.trial_budget_s is not None:
        return request.trial_budget_s
    return min(MOST_TRIAL_S, max(LEAST_TRIAL_S, sweep.trial_s if sweep else 0.0))


def trial_of(
    request: GarbageCollectionRequest,
    target: Target,
    candidate: GcCandidate,
    before: GcObservation,
    proposed: ProposedSettings,
    sweep: GcSweep | None,
    prefix: str,
    noise: TrialEvidence | None = None,
) -> TrialRequest:
    """`noise`: of an earlier trial on the same running process. Raises ValueError where there is nothing to measure it with."""
    change = candidate.launch or candidate.interpreter
    if change is None:
        raise ValueError(f"{candidate.name} changes nothing")
    common = {
        "target": target,
        "title": f"{candidate.name} for {target.title}",
        "change": change,
        "expected": candidate.why,
        "budget_s": budget_s(request, sweep),
        "watch_s": request.watch_s,
        "deadline_s": request.review_deadline_s,
        "artifact_prefix": prefix,
    }
    if candidate.interpreter is not None:
        if request.probe is None:
            raise ValueError("a change of a running process needs a probe that says what it cost")
        wanted = max(PROBE_GOAL_SHARE, before.typical_share / 2)
        return TrialRequest(
            **common,
            measurement=SwitchedMeasurement(probe=request.probe, burn_in_s=BURN_IN_S, probes_per_block=PROBES_PER_BLOCK),
            metric="value",
            goal_share=PROBE_GOAL_SHARE,
            wanted_effect=wanted,
            guards=guards_of(request, "live"),
            noise=noise,
        )
    load, selector = request.load, target.process
    if selector is None or selector.command is None:
        raise ValueError("a change of launches needs a command")
    if load is None:
        return TrialRequest(
            **common,
            measurement=BenchmarkMeasurement(
                command=selector.command, run_limit_s=request.run_limit_s, one_core=before.facts.runtime != "jvm"
            ),
            goal_share=PROBE_GOAL_SHARE,
            wanted_effect=wanted_saving(sweep, candidate.name),
            guards=guards_of(request, "batch"),
        )
    return TrialRequest(
        **common,
        measurement=measurement_of(load, selector.command),
        metric=proposed.metric,
        goal_share=PAUSE_GOAL_SHARE,
        wanted_effect=wanted_effect(sweep, candidate.name, proposed.metric),
        guards=guards_of(request),
    )


def measurement_of(load: ServiceLoad, command: tuple[str, ...]) -> ServiceMeasurement:
    """The same requests as in the sweep."""
    return ServiceMeasurement(
        command=command,
        ready_path=load.ready_path,
        paths=load.paths,
        requests_per_round=load.requests_per_round,
        concurrency=load.concurrency,
        warm_up_requests=load.warm_up_requests,
    )
