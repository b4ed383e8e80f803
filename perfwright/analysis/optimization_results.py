"""What the trials of an optimisation come to: gains, quality gates, the verdict, and the findings that are left."""

import math
from collections.abc import Sequence

from perfwright.models.cpu_optimization import Candidate, CandidateResult, Checked, CpuOptimizationDetails, CpuOptimizationRequest, Gain
from perfwright.models.finding import Evidence, Finding, Location, Recommendation
from perfwright.models.measurement import Estimate, Interval
from perfwright.models.quality import QualityGate
from perfwright.models.result import Verdict
from perfwright.models.trial import Guard
from perfwright.models.trial_run import TrialEvidence, TrialResult

MEMORY = "rss_bytes"
CLOCKS = {"cpu_s": "CPU time", "wall_s": "wall-clock time"}
"""By which a trial judges a benchmark: the one that its noise calls for."""
TIME_MARGIN = math.log(1.1)
TIMES = (Guard(metric="wall_s", margin=TIME_MARGIN), Guard(metric="cpu_s", margin=TIME_MARGIN))
"""Less CPU time that is paid for by waiting is no gain, nor the other way round; that of both which the trial judges holds by itself."""


def chosen(candidates: Sequence[Candidate], request: CpuOptimizationRequest) -> tuple[Candidate, ...]:
    """Those that are tried, best first."""
    wanted = [one for one in candidates if one.id not in request.leave_out]
    return tuple(wanted[: request.candidates_at_most])


def memory_guard(request: CpuOptimizationRequest, times: float = 0.0) -> Guard:
    """Peak memory of all processes together grows by no more than the margin, or to no more than the `times` that a person allowed."""
    return Guard(metric=MEMORY, margin=math.log(max(1.0 + request.memory_margin_share, times)))


def expected(candidate: Candidate) -> str:
    """The gain at most, and how it follows."""
    return f"{candidate.gain_share:.1%} of the CPU time at most: what the profile charges to the lines that change, less what is left of it"


def wanted_effect(candidate: Candidate, request: CpuOptimizationRequest) -> float:
    """Share that its trial has to be able to see: half of what the profile promises, as the least that is worth a verdict; of a change that
    came without a promise, what was asked for."""
    return candidate.gain_share / 2 if candidate.gain_share else request.given_gain_share


def checked_out(candidate: Candidate, checked: Checked) -> CandidateResult:
    """A candidate that is not measured."""
    return CandidateResult(candidate=without_patch(candidate), end="not kept", reason=checked.problem, checked=checked)


def not_tried(candidate: Candidate, reason: str) -> CandidateResult:
    return CandidateResult(candidate=without_patch(candidate), end="not tried", reason=reason)


def tried(candidate: Candidate, checked: Checked, trial: TrialResult, commit: str = "") -> CandidateResult:
    """A candidate with its trial; what is told elsewhere (the diff) is left out, so that all of them fit into one payload."""
    ratio = trial.evidence.judgement.ratio if trial.evidence and trial.evidence.judgement else None
    return CandidateResult(
        candidate=without_patch(candidate),
        end="kept" if trial.kept else "not kept",
        reason=trial.reason[:1_000],
        checked=checked,
        trial=trial.model_copy(update={"description": None, "decisions": ()}),
        commit=commit,
        gain_share=1 - ratio.value if ratio else None,
        gain_low=1 - ratio.interval.high if ratio and ratio.interval else None,
        gain_high=1 - ratio.interval.low if ratio and ratio.interval else None,
        gain_metric=trial.evidence.metric if trial.evidence else "",
    )


def usable_noise(results: Sequence[CandidateResult]) -> TrialEvidence | None:
    """A against A of the first trial that could be used: the benchmark is the same, so its noise need not be measured again."""
    seen = (one.trial.noise for one in results if one.trial)
    return next((one for one in seen if one is not None and one.noise is not None and one.noise.verdict == "usable"), None)


def clock_of(metric: str) -> str:
    """In words; of results from before it was written down nobody knows which."""
    return CLOCKS.get(metric, "time")


def without_patch(candidate: Candidate) -> Candidate:
    return candidate.model_copy(update={"patch": ""})


def gain_in(one: CandidateResult, metric: str) -> Gain | None:
    """What a candidate won of one time: as its trial judged it, or as the guard on that time measured it beside."""
    if one.gain_share is not None and one.gain_metric == metric:
        return Gain(metric=metric, share=one.gain_share, low=one.gain_low, high=one.gain_high)
    evidence = one.trial.evidence if one.trial else None
    guard = next((guard for guard in (evidence.guards if evidence else ()) if guard.metric == metric and guard.harm is not None), None)
    if guard is None or guard.harm is None:
        return None
    return Gain(
        metric=metric,
        share=-math.expm1(guard.harm),
        low=None if guard.harm_high is None else -math.expm1(guard.harm_high),
        high=None if guard.harm_low is None else -math.expm1(guard.harm_low),
    )


def won_in(results: Sequence[CandidateResult], metric: str) -> Gain | None:
    """Time won by all kept changes: each was measured on top of those before it, so ratios of the same time multiply. The interval is that
    of all ends at once, wider than it need be. None where none is kept, or the time of one was not measured."""
    gains = [gain_in(one, metric) for one in results if one.end == "kept"]
    found = [gain for gain in gains if gain is not None]
    if not found or len(found) < len(gains):
        return None
    return Gain(
        metric=metric,
        share=1 - math.prod(1 - one.share for one in found),
        low=1 - math.prod(1 - (one.low or 0.0) for one in found),
        high=1 - math.prod(1 - (one.high or 0.0) for one in found),
    )


def together_won(results: Sequence[CandidateResult]) -> Gain | None:
    """Of the time by which most of the kept changes were judged, or else of the other one."""
    judged_by = [one.gain_metric for one in results if one.end == "kept"]
    times = sorted(CLOCKS, key=lambda metric: -judged_by.count(metric))
    return next((gain for metric in times if (gain := won_in(results, metric)) is not None), None)


def quality_of(details: CpuOptimizationDetails, request: CpuOptimizationRequest) -> tuple[QualityGate, ...]:
    """The tests of the commit itself, equal calls and guards of what was kept, and the goal where there is one."""
    kept = [one for one in details.candidates if one.end == "kept"]
    base = details.base_tests
    gates = [
        QualityGate(
            name="the project's tests pass before anything is changed",
            metric="passed",
            comparison=">=",
            threshold=1.0,
            observed=None if base is None else float(base.passed),
            unit="",
            outcome="no data" if base is None else "passed" if base.passed else "failed",
            note=base.told[:300] if base else "",
        )
    ]
    if kept:
        calls = [one.checked.differential for one in kept if one.checked and one.checked.differential]
        gates.append(
            QualityGate(
                name="kept changes answer recorded and varied calls as the old code does",
                metric="differences",
                comparison="==",
                threshold=0.0,
                observed=float(sum(one.differences for one in calls)) if calls else None,
                unit="calls",
                outcome="failed" if not all(one.equal for one in calls) else "passed" if len(calls) == len(kept) else "no data",
                note=f"{sum(one.recorded + one.varied for one in calls):,} calls"
                + (f"; of {len(kept) - len(calls)} changes no call was recorded" if len(calls) < len(kept) else ""),
            )
        )
        won = details.gain_low
        gates.append(
            QualityGate(
                name="the interval of what was won is clear of zero",
                metric=f"{clock_of(details.gain_metric)} won, low end",
                comparison=">",
                threshold=0.0,
                observed=won,
                unit="share",
                outcome="no data" if won is None else "passed" if won > 0 else "failed",
            )
        )
    if request.goal_share is not None:
        goal = won_in(kept, "cpu_s") if kept else Gain(metric="cpu_s", share=0.0)
        gates.append(
            QualityGate(
                name="goal reached",
                metric="CPU time won",
                comparison=">=",
                threshold=request.goal_share,
                observed=goal.share if goal else None,
                unit="share",
                outcome="no data" if goal is None else "passed" if goal.share >= request.goal_share else "failed",
            )
        )
    return tuple(gates)


def verdict_of(details: CpuOptimizationDetails, gates: Sequence[QualityGate]) -> Verdict:
    """Nothing to change is a pass unless a goal was set; candidates of which none could be told from noise are inconclusive."""
    if any(gate.outcome == "failed" for gate in gates):
        return "failed"
    tried_ones = [one for one in (*details.candidates, details.workers) if one is not None and one.trial is not None]
    if tried_ones and all(_undecided(one) for one in tried_ones):
        return "inconclusive"
    return "passed"


def _undecided(one: CandidateResult) -> bool:
    evidence = one.trial.evidence if one.trial else None
    judged = evidence.judgement if evidence else None
    return one.end != "kept" and (judged is None or judged.verdict in ("inconclusive", "continue"))


def summary_of(target: str, details: CpuOptimizationDetails) -> str:
    """What a reader who stops here takes away: a sentence on the code, and one on workers where they were looked at."""
    if details.workers is None:
        return _code_summary(target, details)
    won = f": {details.workers.gain_share:.1%} less wall-clock time" if details.workers.gain_share is not None else ""
    return f"{_code_summary(target, details)} {details.workers.candidate.title}: {details.workers.end}{won}."


def _code_summary(target: str, details: CpuOptimizationDetails) -> str:
    kept = [one for one in details.candidates if one.end == "kept"]
    if kept and details.gain_share is not None:
        between = (
            f" ({details.gain_low:.1%} to {details.gain_high:.1%})"
            if details.gain_low is not None and details.gain_high is not None
            else ""
        )
        clock = clock_of(details.gain_metric)
        what = "1 change" if len(kept) == 1 else f"{len(kept)} changes"
        return f"{what} of {target} kept on branch {details.branch}: {details.gain_share:.1%}{between} less {clock} for the benchmark."
    if not details.hot_functions:
        return f"No function of {target}'s repository takes CPU time that matters: nothing was changed."
    if not details.candidates:
        return f"No change of {target} is proposed: nothing that was looked for is on its hot lines."
    first = details.candidates[0]
    return f"{len(details.candidates)} candidates for {target}, none kept; first: {first.candidate.title}: {first.reason}"


def findings_of(details: CpuOptimizationDetails, found: Sequence[Finding]) -> tuple[Finding, ...]:
    """What was won, and what the profile found that no kept change has mended."""
    kept = [one for one in details.candidates if one.end == "kept"]
    mended = {(one.candidate.path, one.candidate.function.rpartition(".")[2]) for one in kept}
    won = [
        Finding(
            id=f"won:{one.candidate.id}",
            title=f"{one.candidate.title}: {one.gain_share or 0.0:.1%} less {clock_of(one.gain_metric)}",
            severity="information",
            summary=one.candidate.reasoning,
            cost=None,
            locations=(Location(file=one.candidate.path, line=one.candidate.line, function=one.candidate.function),),
            evidence=(
                Evidence(
                    statement=one.reason,
                    estimate=Estimate(
                        value=one.gain_share or 0.0,
                        unit=f"share of {clock_of(one.gain_metric)}",
                        interval=Interval(low=one.gain_low, high=one.gain_high, level=0.99, method="Walsh averages at the trial's boundary")
                        if one.gain_low is not None and one.gain_high is not None
                        else None,
                    ),
                    artifact=one.trial.evidence.data if one.trial and one.trial.evidence else None,
                ),
            ),
            confidence="high",
        )
        for one in kept
    ]
    return (*(one for one in found if not _is_mended(one, mended)), *won)


def advice_left(advice: Sequence[Recommendation], findings: Sequence[Finding]) -> tuple[Recommendation, ...]:
    """Work for people: what was recommended for findings that stand."""
    standing = {one.id for one in findings}
    return tuple(one for one in advice if standing.issuperset(one.finding_ids))


def _is_mended(finding: Finding, mended: set[tuple[str, str]]) -> bool:
    return any(
        (place.function or "").rpartition(".")[2] == function and place.file and path.endswith(place.file)
        for place in finding.locations
        for path, function in mended
    )
