"""What comes of the tuning: findings, the recommended settings, quality gates, and the document that their owner keeps."""

import math

from perfwright.analysis.gc.issues import summary_sentence
from perfwright.analysis.gc.trying import budget_s, guards_of, mode_of
from perfwright.analysis.gc.tuning_questions import untried
from perfwright.models.change import Change
from perfwright.models.finding import Evidence, Finding, Recommendation, Severity
from perfwright.models.gc_steps import JudgedTuning, TuningToJudge
from perfwright.models.gc_tuning import GcCandidate, GcIssue, GcObservation, GcScore
from perfwright.models.measurement import Estimate
from perfwright.models.quality import QualityGate, QualityOutcome
from perfwright.models.result import Verdict
from perfwright.models.trial import GuardJudgement, GuardVerdict

MOST_ADVISED = 3
HIGH_SHARE = 0.2
HIGH_TIMES = 5.0
"""A pause that is so many times its target is high."""


def judged(known: TuningToJudge) -> JudgedTuning:
    """The verdict: passed where nothing has to be done or what was done holds; inconclusive where the trial could not tell; failed where
    the targets are still missed."""
    request, issues = known.request, known.proposed.issues
    findings = tuple(_finding(issue, known) for issue in issues)
    kept = known.trial is not None and known.trial.kept
    seen = known.after if kept and known.after is not None else known.before
    gates = _gates(known, seen)
    met = all(gate.outcome == "passed" for gate in gates)
    pause_ms = request.pause_limit_ms(batch=known.before.batch)
    sentence = summary_sentence(known.before, issues, pause_ms, request.share_target)
    if not issues:
        return JudgedTuning(
            findings=(), recommendations=(), quality_gates=gates, verdict="passed" if met else "inconclusive", summary=sentence
        )
    recommended = known.chosen
    verdict: Verdict
    unproven = _unproven(known)
    recommendations: tuple[Recommendation, ...] = (
        (_recommendation(recommended, known, unproven),) if recommended is not None and (kept or known.trial is None or unproven) else ()
    )
    why_untried = untried(request, known.before) if known.trial is None else ""
    if why_untried and known.proposed.candidates:
        recommendations = tuple(_recommendation(one, known) for one in known.proposed.candidates[:MOST_ADVISED])
    if kept and known.chosen is not None:
        verdict = "passed" if met else "failed"
        told = f"{known.chosen.name} is kept: p99 {known.before.typical_p99_ms:.1f} to {seen.typical_p99_ms:.1f} ms, share "
        sentence = f"{told}{100 * known.before.typical_share:.1f} to {100 * seen.typical_share:.1f} %."
    elif known.trial is not None:
        verdict = "rejected" if _refused(known) else "inconclusive"
        others = f" None of {len(known.tried)} candidates was kept, of the last:" if len(known.tried) > 1 else ""
        sentence += f"{others} {known.chosen.name if known.chosen else 'The change'} was not kept: {known.trial.reason}."
        if unproven and known.sweep is not None:
            sentence += f" It is recommended by the sweep alone: {known.sweep.reason}; {unproven}."
    elif why_untried and known.proposed.candidates:
        verdict = "inconclusive"
        sentence += f" {known.proposed.candidates[0].name} may help; nothing is tried: {why_untried}."
    elif known.sweep is not None:
        verdict = "failed"
        sentence += f" Nothing is changed: {known.sweep.reason}."
    else:
        verdict = "failed"
        sentence += " There is nothing that could be tried."
    return JudgedTuning(
        findings=findings,
        recommendations=recommendations,
        quality_gates=gates,
        verdict=verdict,
        summary=sentence,
        configuration=configuration_document(known) if kept else "",
    )


def configuration_document(known: TuningToJudge) -> str:
    """Markdown: what is set, why, what it reached, how it is written down, how it is taken back."""
    chosen, trial = known.chosen, known.trial
    assert chosen is not None and trial is not None, "there is a document of what is kept"
    after = known.after or known.before
    rows = [
        ("p99 of pauses", f"{known.before.typical_p99_ms:.2f} ms", f"{after.typical_p99_ms:.2f} ms"),
        ("longest pause", f"{known.before.table.max_ms:.2f} ms", f"{after.table.max_ms:.2f} ms"),
        ("time in pauses", f"{100 * known.before.typical_share:.2f} %", f"{100 * after.typical_share:.2f} %"),
        *([("time of a run", f"{known.before.typical_run_ms:.0f} ms", f"{after.typical_run_ms:.0f} ms")] if known.before.batch else []),
        ("memory", f"{known.before.memory_bytes / 2**20:.0f} MiB", f"{after.memory_bytes / 2**20:.0f} MiB"),
    ]
    change = trial.description.change if trial.description else None
    parts = [
        f"# Garbage collector of {known.target}: {chosen.name}",
        f"{known.before.facts.collector} of {known.before.facts.version or known.preflight.version}: {chosen.why}.",
        "| | before | with it |\n|---|---:|---:|\n" + "\n".join(f"| {name} | {a} | {b} |" for name, a, b in rows),
        f"Proven by a trial: {trial.reason}.",
        "## As its owner writes it down",
        _owners_form(chosen, known.before),
        "## What Perfwright has set",
        f"```\n{change.apply if change else ''}\n```\n\nTaken back by: `perfwright undo` ({change.undo if change else ''}).",
        "It stands until it is undone, for launches by Perfwright only: write it into the service's own configuration, then undo it here."
        if chosen.launch is not None
        else "It ends with the process: write it into the program, so that the next one has it as well.",
    ]
    return "\n\n".join(parts) + "\n"


def _owners_form(chosen: GcCandidate, seen: GcObservation) -> str:
    if seen.facts.runtime == "python":
        return f"```python\n{chosen.for_people}\n```"
    flags = chosen.for_people.split(" (")[0]
    return f'```sh\njava {flags} ...\n# or, where the command is not yours: JAVA_TOOL_OPTIONS="{flags}"\n```\n\n{chosen.for_people}'


def _finding(issue: GcIssue, known: TuningToJudge) -> Finding:
    request = known.request
    pause_ms = request.pause_limit_ms(batch=known.before.batch)
    high = issue.share >= HIGH_SHARE or issue.p99_ms >= HIGH_TIMES * pause_ms
    severity: Severity = "high" if high else "medium"
    if issue.over == "pause":
        title = f"Pauses of {issue.p99_ms:.0f} ms (p99): {issue.cause}"
    else:
        title = f"{100 * issue.share:.0f} % of the time in pauses: {issue.cause}"
    return Finding(
        id=f"gc-{issue.cause.replace(' ', '-')}",
        title=title,
        severity=severity,
        summary=issue.statement,
        cost=Estimate(value=issue.share, unit="share of the time"),
        evidence=(Evidence(statement=issue.statement, artifact=known.before.pauses),),
        confidence="high" if known.before.table.noticed >= 20 else "medium",
    )


def _unproven(known: TuningToJudge) -> str:
    """How a candidate that the sweep chose, and whose trial was not held for want of time, could be proven; empty: it was, or it was not
    chosen so."""
    trial, sweep = known.trial, known.sweep
    if trial is None or sweep is None or not sweep.chosen or trial.evidence is not None or _refused(known):
        return ""
    noise = trial.noise.noise if trial.noise else None
    if noise is None or noise.verdict not in ("too few", "too noisy"):
        return ""
    needed_s = max(noise.seconds_needed or 0.0, sweep.trial_s)
    return f"not proven: a trial of it needs {needed_s:.0f} s (trial_budget_s), and was given {budget_s(known.request, sweep):.0f} s"


def _recommendation(chosen: GcCandidate, known: TuningToJudge, unproven: str = "") -> Recommendation:
    score = _score(chosen.name, known)
    after_ms = score.pause_p99_ms if score else known.after.typical_p99_ms if known.after else None
    before_ms = known.before.typical_p99_ms
    # What was not tried can win the time in pauses at most.
    most = known.before.typical_share
    gain = (
        Estimate(value=before_ms - after_ms, unit="ms of the p99 pause")
        if after_ms is not None
        else Estimate(value=most, unit="share of the time at most")
    )
    change: Change | None = known.trial.description.change if known.trial and known.trial.description else None
    return Recommendation(
        id=f"gc-settings-{chosen.name.lower().replace(' ', '-').replace(',', '')}",
        title=f"Run it with {chosen.name}" + (" (swept, not proven)" if unproven else ""),
        finding_ids=tuple(f"gc-{issue.cause.replace(' ', '-')}" for issue in known.proposed.issues),
        expected_gain=gain,
        derivation="; ".join(filter(None, (known.sweep.reason if known.sweep else chosen.why, unproven))),
        effort="hours",
        risk="reload" if chosen.interpreter is not None else "restart",
        score=known.before.typical_share,
        brief=f"{chosen.why}\n\n```\n{chosen.for_people}\n```",
        change=change,
    )


def _score(name: str, known: TuningToJudge) -> GcScore | None:
    return next((one for one in known.sweep.scores if one.candidate == name), None) if known.sweep else None


def _gates(known: TuningToJudge, seen: GcObservation) -> tuple[QualityGate, ...]:
    request = known.request
    gates = [_gate("time in pauses within the target", "gc_share", request.share_target, seen.typical_share, "share")]
    if math.isfinite(pause_ms := request.pause_limit_ms(batch=known.before.batch)):
        gates.insert(0, _gate("pauses within the target", "gc_pause_p99_ms", pause_ms, seen.typical_p99_ms, "ms"))
    if known.trial is not None and known.trial.evidence is not None:
        margins = {guard.metric: guard.margin for guard in guards_of(request, mode_of(known.before))}
        gates += [_guard(guard, margins.get(guard.metric, 0.0)) for guard in known.trial.evidence.guards]
    return tuple(gates)


def _gate(name: str, metric: str, threshold: float, observed: float, unit: str) -> QualityGate:
    outcome: QualityOutcome = "passed" if observed <= threshold else "failed"
    return QualityGate(name=name, metric=metric, comparison="<=", threshold=threshold, observed=observed, unit=unit, outcome=outcome)


def _guard(guard: GuardJudgement, margin: float) -> QualityGate:
    """What a guard said, as the worst that its interval allows."""
    outcomes: dict[GuardVerdict, QualityOutcome] = {"held": "passed", "breached": "failed", "unclear": "no data", "unseen": "no data"}
    return QualityGate(
        name=f"guard {guard.metric}",
        metric=guard.metric,
        comparison="<=",
        threshold=margin,
        observed=guard.harm_high,
        unit="harm",
        outcome=outcomes[guard.verdict],
        note=guard.verdict,
    )


def _refused(known: TuningToJudge) -> bool:
    return known.trial is not None and any(one.outcome == "rejected" for one in known.trial.decisions)
