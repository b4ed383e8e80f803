"""The verdict of a trial, round after round, at looks that were fixed beforehand.

Looking as often as one likes is what the naive test is undone by. Here the looks are few, known and paid for, and a trial may end at
the first that decides. `equivalent` is two one-sided tests (Schuirmann, "A comparison of the two one-sided tests procedure and the power
approach", Journal of Pharmacokinetics and Biopharmaceutics 15, 1987).
"""

import math
from collections.abc import Sequence

import numpy as np

from perfwright.analysis.tree_weights import Floats
from perfwright.analysis.trials.boundaries import LEVEL, LOOKS, schedule
from perfwright.analysis.trials.estimates import as_share, ratio_estimate, robust_sigma, smallest_effect
from perfwright.analysis.trials.signed_ranks import signed_rank_z
from perfwright.models.trial import Judgement, TrialDesign, TrialVerdict

MARGIN = 0.01
"""Where sides are restarted and pinned. Not zero: a weak dependence between rounds then doubles the rate of false alarms."""
NATIVE_MARGIN = 0.04
"""For one build of native code: 48 bytes of padding made it 3 % slower, and restarts do not average a build's layout out."""


def affordable_rounds(budget_s: float, round_s: float) -> int:
    """Rounds in the budget, from the duration of one as seen *before* any datum is."""
    if round_s <= 0:
        raise ValueError(f"a round takes time; {round_s} s given")
    return max(0, math.floor(budget_s / round_s))


def design(
    rounds_at_most: int, *, margin: float = MARGIN, higher_is_better: bool = False, level: float = LEVEL, fewest: int = LOOKS[0]
) -> TrialDesign | None:
    """Fix looks and boundary; None where the budget does not afford the fewest rounds that can decide."""
    planned = schedule(rounds_at_most, level=level, fewest=fewest)
    if planned is None:
        return None
    return TrialDesign(margin=margin, higher_is_better=higher_is_better, looks=planned.looks, boundary=planned.boundary, level=level)


def judge(data: Sequence[float], plan: TrialDesign, *, ended: bool = False) -> Judgement:
    """The verdict after these data (log B / A, one per round, in order).

    The first look that decides stands, whatever came after it. `ended`: the budget is used up, so what there is is looked at in place of
    the next look, if it is at least as much as the first one. Raises ValueError for a datum that is not a finite number.
    """
    values = np.asarray(data, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("a datum is not a finite number: a round without a measurement is void, not data")
    held = [look for look in plan.looks if look <= len(values)]
    if ended and plan.looks[0] <= len(values) < plan.rounds_at_most and len(values) not in held:
        held.append(len(values))
    for look in held:
        if (verdict := verdict_at(values[:look], plan)) != "continue":
            return _judgement(verdict, values[:look], plan, None)
    over = ended or len(values) >= plan.rounds_at_most
    next_look = None if over else next(look for look in plan.looks if look > len(values))
    return _judgement("inconclusive" if over else "continue", values[: held[-1]] if held else values[:0], plan, next_look)


def verdict_at(values: Floats, plan: TrialDesign) -> TrialVerdict:
    """The rule at one look: `values` are all data up to it. `continue` where nothing is decided."""
    cost = -values if plan.higher_is_better else values
    above, below = float(signed_rank_z(cost - plan.margin)), float(signed_rank_z(cost + plan.margin))
    if above >= plan.boundary:
        return "worse"
    if below <= -plan.boundary:
        return "better"
    return "equivalent" if above <= -plan.boundary and below >= plan.boundary else "continue"


def _judgement(verdict: TrialVerdict, values: Floats, plan: TrialDesign, next_look: int | None) -> Judgement:
    if not len(values):
        return Judgement(verdict=verdict, rounds=0, next_look=next_look)
    sigma = robust_sigma(values)
    return Judgement(
        verdict=verdict,
        rounds=len(values),
        next_look=next_look,
        ratio=ratio_estimate(values, plan.boundary, level=1 - 2 * plan.level),
        sigma=sigma,
        smallest_effect=as_share(smallest_effect(sigma, len(values), margin=plan.margin, boundary=plan.boundary)),
    )
