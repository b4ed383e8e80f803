"""What follows from the evidence: why a change is not worth keeping, and what people are asked."""

from collections.abc import Mapping, Sequence

from perfwright.analysis.trials.watching import is_watched_after, told_watch
from perfwright.models.gate import GateQuestion
from perfwright.models.trial import Guard, GuardJudgement, Judgement, NoiseJudgement, QueryJudgement
from perfwright.models.trial_run import TrialEvidence, TrialRequest
from perfwright.models.undo import ChangeChecked, ChangeDescription, ChangeOutcome

CHANGE_GATE, KEEP_GATE, CONFLICT_GATE = "change", "keep", "conflict"
SHOWN_CHARACTERS = 20_000
SHOWN_QUERIES = 8


def noise_problem(evidence: TrialEvidence, guards: Sequence[Guard]) -> str:
    """Why B is not measured at all; empty: it can be."""
    assert evidence.noise is not None, "this phase judges noise"
    if evidence.noise.verdict != "usable":
        return f"A against A is {evidence.noise.verdict}: {evidence.noise.reason}"
    seen = {one.metric for one in evidence.guards if one.verdict != "unseen"}
    if missing := [guard.metric for guard in guards if guard.metric not in seen]:
        return f"guards that this measurement does not measure: {', '.join(missing)}; measured: {', '.join(evidence.medians)[:300]}"
    return ""


def evidence_problem(request: TrialRequest, evidence: TrialEvidence) -> str:
    """Why the change is not worth keeping; empty: it is."""
    judged = evidence.judgement
    if judged is None:
        return "; ".join(evidence.warnings) or "nothing could be judged"
    broken = [told_guard(one) for one in evidence.guards if one.verdict == "breached"]
    if broken:
        return f"a guard was breached: {'; '.join(broken)}"
    if judged.verdict != "better":
        return f"not better: {told_judgement(evidence.metric, judged)}"
    if worse := [told_query(one) for one in evidence.queries if one.verdict == "worse"]:
        return f"better as a whole, but {len(worse)} of {len(evidence.queries)} became worse: {', '.join(worse)[:500]}"
    gain = improvement(judged, higher_is_better=request.higher_is_better)
    if gain is None or gain < request.goal_share:
        return f"the goal of {request.goal_share:.1%} is not met: {told_judgement(evidence.metric, judged)}"
    held = {one.metric for one in evidence.guards if one.verdict == "held"}
    if missing := [one for one in evidence.guards if one.metric not in held]:
        return f"a guard could not be shown to hold: {'; '.join(told_guard(one) for one in missing)}"
    return ""


def improvement(judgement: Judgement, *, higher_is_better: bool) -> float | None:
    """Share by which B is better than A: 0.05 is 5 % less cost, or 5 % more of what there should be more of."""
    if judgement.ratio is None:
        return None
    return judgement.ratio.value - 1 if higher_is_better else 1 - judgement.ratio.value


def watch_problem(evidence: TrialEvidence) -> str:
    """Why a change that was kept, or may be, comes off at once; empty: nothing was breached."""
    broken = [told_guard(one) for one in evidence.guards if one.verdict == "breached"]
    return f"a guard was breached while it was watched: {'; '.join(broken)}" if broken else ""


def unwatched(evidence: TrialEvidence) -> str:
    """What a watch that breached nothing could not rule out."""
    missing = [one for one in evidence.guards if one.verdict != "held"]
    return f"watched for {evidence.seconds:.0f} s without a verdict: {', '.join(one.metric for one in missing)}" if missing else ""


def told_judgement(metric: str, judged: Judgement) -> str:
    """`cpu_s 0.912 (0.899 to 0.926) of what it was, better after 16 rounds`."""
    if judged.ratio is None:
        return f"{metric}: {judged.verdict} after {judged.rounds} rounds"
    interval = f" ({judged.ratio.interval.low:.3f} to {judged.ratio.interval.high:.3f})" if judged.ratio.interval else ""
    return f"{metric} {judged.ratio.value:.3f}{interval} of what it was, {judged.verdict} after {judged.rounds} rounds"


def told_verdict(evidence: TrialEvidence) -> str:
    """The judgement in words; that there is none where there is none."""
    return told_judgement(evidence.metric, evidence.judgement) if evidence.judgement is not None else "nothing could be judged"


def told_guard(one: GuardJudgement) -> str:
    """`rss_bytes breached: harm 0.693 (0.691 to 0.695)`."""
    if one.harm is None:
        return f"{one.metric} {one.verdict}"
    between = f" ({one.harm_low:.3g} to {one.harm_high:.3g})" if one.harm_low is not None and one.harm_high is not None else ""
    least = f"; {one.smallest_harm:.2g} would have been seen" if one.smallest_harm is not None and one.verdict == "held" else ""
    return f"{one.metric} {one.verdict}: harm {one.harm:.3g}{between}{least}"


def told_query(one: QueryJudgement) -> str:
    """`q7 (1.62 of its wall_s)`."""
    return f"{one.query} ({one.ratio.value:.2f} of its {one.metric or 'cost'})" if one.ratio is not None else one.query


def told_noise(noise: NoiseJudgement) -> str:
    sigma = f", sigma {noise.sigma:.2%} a round" if noise.sigma is not None else ""
    return f"A against A: {noise.verdict} after {noise.rounds} rounds{sigma}; {noise.reason}"


def change_question(
    request: TrialRequest, description: ChangeDescription, checked: ChangeChecked, noise: TrialEvidence | None
) -> GateQuestion:
    """May it be applied?"""
    change = description.change
    evidence = [
        f"**Expected:** {request.expected}" if request.expected else "No gain was predicted.",
        f"**Blast radius:** {description.blast_radius}",
        f"**Cost:** {description.cost}; survives a restart: {'yes' if description.survives_restart else 'no'}",
        f"**Undo:** {change.undo}" + (f" ({change.undo_cost})" if change.undo_cost else ""),
        *(f"{check.name}: {check.told}" for check in checked.checks if check.told),
        *description.warnings,
    ]
    if noise is not None and noise.noise is not None:
        evidence.append(told_noise(noise.noise))
    return GateQuestion(
        name=CHANGE_GATE,
        kind="change",
        question=f"May this be tried on {request.target.title}: {change.title}?",
        consequence=(
            f"It is applied to {request.target.title}, measured for up to {request.budget_s:.0f} s"
            + (", and undone unless it is then kept." if request.ask_keep else ", and undone.")
        ),
        evidence=tuple(one[:1_000] for one in evidence),
        exact_change=change.apply[:SHOWN_CHARACTERS],
        risk=change.risk,
        quality_passed=True,
    )


def keep_question(request: TrialRequest, description: ChangeDescription, evidence: TrialEvidence, *, live: bool) -> GateQuestion:
    """Is the effect worth keeping? `live`: whether the live target is watched meanwhile."""
    assert evidence.judgement is not None, "only what was judged is kept"
    shown = [f"**{told_judgement(evidence.metric, evidence.judgement)}**"]
    if evidence.strip:
        shown.append(f"`{evidence.strip}`")
    if request.checked:
        shown.append(f"**Checked:** {request.checked}")
    shown += [f"{name}: {a:.6g} before, {b:.6g} now" for name, (a, b) in list(evidence.medians.items())[:SHOWN_QUERIES]]
    shown += [f"guard {told_guard(one)}" for one in evidence.guards]
    shown += [f"{one.name}: {one.a:,.0f} before, {one.b:,.0f} now" for one in evidence.companions]
    shown += [
        f"{one.query}: {one.verdict}" + (f" ({one.ratio.value:.3f})" if one.ratio else "") for one in evidence.queries[:SHOWN_QUERIES]
    ]
    if undecided := [one.query for one in evidence.queries if one.verdict in ("inconclusive", "unseen")]:
        shown.append(f"{len(undecided)} of {len(evidence.queries)} may have become slower or not: {', '.join(undecided)}")
    shown += evidence.warnings[:SHOWN_QUERIES]
    shown += [f"**Cost:** {description.cost}", f"**Undo:** {description.change.undo}"]
    shown += told_watch(request, live=live)
    watched = f"; its guards are watched for {request.watch_s:.0f} s, and a breach undoes it at once"
    if not is_watched_after(request, live=live):
        watched = ""
    return GateQuestion(
        name=KEEP_GATE,
        kind="keep",
        question=f"Is this kept on {request.target.title}: {description.change.title}?",
        consequence=f"It stands for good{watched}. A refusal, or no answer, undoes it.",
        evidence=tuple(one[:1_000] for one in shown),
        artifacts=tuple(one for one in (evidence.picture, evidence.data) if one is not None),
        exact_change=description.change.apply[:SHOWN_CHARACTERS],
        risk=description.change.risk,
        quality_passed=True,
    )


def conflict_question(request: TrialRequest, outcome: ChangeOutcome) -> GateQuestion:
    """What is found is neither ours nor the earlier state."""
    return GateQuestion(
        name=CONFLICT_GATE,
        kind="change",
        question=f"Has {request.target.title} been put right, so that the undo of {outcome.title} can be tried again?",
        consequence="The undo is tried again, and touches nothing that is neither the earlier state nor ours; a refusal leaves it.",
        evidence=(f"**Found:** {outcome.standing.word}: {outcome.standing.told or outcome.note}"[:1_000],),
        exact_change=f"undo {outcome.change_id}: {outcome.title}",
        risk="reload",
    )


def reference_of(evidence: TrialEvidence) -> Mapping[str, float]:
    """What A cost, by metric: what a watch without A compares with."""
    return {name: a for name, (a, _) in evidence.medians.items()}
