"""What must not get worse: tests of non-inferiority, each with its own margin.

"No significant harm" is no proof of none: a guard is held only when harm above its margin is ruled out, at the boundary of the trial it
goes with, because when that trial stops depends on data that the guard's belong with. All guards have to hold, and each is shown to hold
at the full level (intersection-union: Berger, "Multiparameter hypothesis testing and acceptance sampling", Technometrics 24, 1982).
"""

import math
from collections.abc import Sequence

import numpy as np

from perfwright.analysis.trials.estimates import robust_sigma, smallest_effect
from perfwright.analysis.trials.signed_ranks import hodges_lehmann, signed_rank_z, walsh_interval
from perfwright.models.trial import Guard, GuardJudgement, GuardVerdict, TrialDesign


def guard_datum(guard: Guard, a: float, b: float) -> float:
    """What a round says of a guard: log B / A, or B - A. Raises ValueError for a ratio of what is not above zero."""
    if guard.scale == "difference":
        return b - a
    if not (0 < a < math.inf and 0 < b < math.inf):
        raise ValueError(f"{guard.metric}: no ratio of {b} to {a}; judge it by difference")
    return math.log(b / a)


def judge_guard(guard: Guard, data: Sequence[float], plan: TrialDesign) -> GuardJudgement:
    """`held`, `breached` (harm above the margin is shown), `unclear`, or `unseen` without data.

    `data`: one `guard_datum` for each round, all that there are when the trial ends; `plan`: that of the trial, for its boundary.
    None holds after so few rounds that harm of no size would have been seen (ties alone let equal data reach the boundary there).
    """
    values = np.asarray(data, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError(f"{guard.metric}: a datum is not a finite number")
    if not len(values):
        return GuardJudgement(metric=guard.metric, verdict="unseen", rounds=0)
    harm = -values if guard.higher_is_better else values
    z, ends = float(signed_rank_z(harm - guard.margin)), walsh_interval(harm, plan.boundary)
    smallest = smallest_effect(robust_sigma(harm), len(values), margin=guard.margin, boundary=plan.boundary)
    verdict: GuardVerdict = "unclear"
    if len(values) >= plan.looks[0]:
        if z >= plan.boundary:
            verdict = "breached"
        elif z <= -plan.boundary and smallest is not None:
            verdict = "held"
    return GuardJudgement(
        metric=guard.metric,
        verdict=verdict,
        rounds=len(values),
        harm=hodges_lehmann(harm),
        harm_low=None if ends is None else ends[0],
        harm_high=None if ends is None else ends[1],
        smallest_harm=smallest,
    )


def guards_hold(judged: Sequence[GuardJudgement], wanted: Sequence[Guard]) -> bool:
    """Every guard that was wanted was seen and held."""
    return {guard.metric for guard in wanted} <= {one.metric for one in judged if one.verdict == "held"}
