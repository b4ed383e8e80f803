"""How a chosen candidate is tried: what is measured, what decides, and what must not get worse."""

import math
from collections.abc import Sequence

from perfwright.models.gc_steps import ProposedSettings
from perfwright.models.gc_tuning import GarbageCollectionRequest, GcCandidate, GcIssue, GcObservation, GcSweep, ServiceLoad
from perfwright.models.target import Target
from perfwright.models.trial import Guard
from perfwright.models.trial_run import ServiceMeasurement, SwitchedMeasurement, TrialRequest

LATENCY_MARGIN = 0.2
"""Of the service's p99, which is noisy: less harm could not be ruled out in a trial of minutes."""
ERRORS_MARGIN = 0.001
PROBE_GOAL_SHARE = 0.02
"""Off what a probe costs; what it can win is the time in pauses, and half of that has to be seen."""
PAUSE_GOAL_SHARE = 0.2
"""A fifth off the metric, or the change is not worth its upkeep."""


def metric_of(issues: Sequence[GcIssue]) -> str:
    """What the trial is to make better: the length of pauses where that is over its target, else their share of the time."""
    return "gc_pause_p99_ms" if any(issue.over == "pause" for issue in issues) else "gc_share"


def guards_of(request: GarbageCollectionRequest) -> tuple[Guard, ...]:
    """For a service. Harm that a person allowed in the objective is put up with, no more."""
    return (
        Guard(metric="rss_bytes", margin=max(0.01, math.log1p(request.memory_limit_share))),
        Guard(metric="throughput_hz", margin=max(0.01, -math.log(max(0.01, 1 - request.throughput_limit_share))), higher_is_better=True),
        Guard(metric="p99_ms", margin=LATENCY_MARGIN),
        Guard(metric="errors_share", margin=ERRORS_MARGIN, scale="difference"),
    )


def wanted_effect(sweep: GcSweep | None, chosen: str, metric: str) -> float:
    """What the trial has to be able to see, as a share: half of what the sweep saw; never less than what is worth keeping."""
    scores = {one.candidate: one.pause_p99_ms if metric == "gc_pause_p99_ms" else one.pause_share for one in sweep.scores} if sweep else {}
    before, after = scores.get("", 0.0), scores.get(chosen, 0.0)
    return max(PAUSE_GOAL_SHARE, (1 - after / before) / 2) if before > 0 else PAUSE_GOAL_SHARE


def trial_of(
    request: GarbageCollectionRequest,
    target: Target,
    candidate: GcCandidate,
    before: GcObservation,
    proposed: ProposedSettings,
    sweep: GcSweep | None,
    prefix: str,
) -> TrialRequest:
    """Raises ValueError where there is nothing to measure it with."""
    change = candidate.launch or candidate.interpreter
    if change is None:
        raise ValueError(f"{candidate.name} changes nothing")
    common = {
        "target": target,
        "title": f"{candidate.name} for {target.title}",
        "change": change,
        "expected": candidate.why,
        "budget_s": request.trial_budget_s,
        "watch_s": request.watch_s,
        "deadline_s": request.review_deadline_s,
        "artifact_prefix": prefix,
    }
    if candidate.interpreter is not None:
        if request.probe is None:
            raise ValueError("a change of a running process needs a probe that says what it cost")
        wanted = max(PROBE_GOAL_SHARE, before.typical_share / 2)
        measurement = SwitchedMeasurement(probe=request.probe)
        return TrialRequest(**common, measurement=measurement, metric="value", goal_share=PROBE_GOAL_SHARE, wanted_effect=wanted)
    load, selector = request.load, target.process
    if load is None or selector is None or selector.command is None:
        raise ValueError("a change of a command needs a load")
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
