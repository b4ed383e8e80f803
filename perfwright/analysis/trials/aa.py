"""A against A, before B is judged: is this set-up fair, and can it see what is wanted?

A trial that is too noisy for the wanted effect, or that finds two equal sides different, is not begun: it would end inconclusive, or wrong.
"""

import math
from collections.abc import Sequence

import numpy as np

from perfwright.analysis.tree_weights import Floats
from perfwright.analysis.trials.boundaries import LEVEL, LOOKS, schedule
from perfwright.analysis.trials.estimates import as_share, robust_sigma, rounds_needed, smallest_effect
from perfwright.analysis.trials.signed_ranks import signed_rank_z
from perfwright.models.trial import NoiseJudgement, NoiseVerdict

DEPENDENT = 0.3
"""Lag-one correlation from which sensitive tests gave false alarms on series of measurements."""
DEPENDENT_Z = 2.58
"""In standard errors of a correlation, 1 / sqrt(K): half a per cent of independent series by chance, as the level of the trial itself."""


def judge_noise(
    data: Sequence[float], *, effect: float, budget_s: float, round_s: float, margin: float, level: float = LEVEL, fewest: int = LOOKS[0]
) -> NoiseJudgement:
    """`data`: log A / A, one per round, at least twelve. `effect`: the share wanted to be seen (0.05: 5 % more or less).

    `usable`: no side is favoured, neighbouring rounds do not hang together, and the budget shows the effect with power 0.9.
    Otherwise `biased`, `dependent`, `too noisy`, or `too few`: too little to judge by, or a budget that does not afford the first look.
    """
    values = np.asarray(data, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("a datum is not a finite number: a round without a measurement is void, not data")
    if budget_s <= 0 or round_s <= 0:
        raise ValueError("budget and round are times above zero")
    if len(values) < LOOKS[0]:
        return NoiseJudgement(
            verdict="too few", reason=f"{len(values)} rounds of A against A; {LOOKS[0]} say something", rounds=len(values)
        )
    sigma, lag_one = robust_sigma(values), lag_one_correlation(values)
    needed = rounds_needed(effect, sigma, margin=margin, level=level, fewest=fewest)
    planned = schedule(math.floor(budget_s / round_s), level=level, fewest=fewest)
    seen = None
    if planned is not None:
        seen = as_share(smallest_effect(sigma, planned.looks[-1], margin=margin, boundary=planned.boundary))
    judged_by = schedule(len(values), level=level)
    assert judged_by is not None, "there are as many rounds as the first look"
    verdict, reason = _verdict(values, lag_one, judged_by.boundary, needed, seen, effect, round_s)
    return NoiseJudgement(
        verdict=verdict,
        reason=reason,
        rounds=len(values),
        sigma=sigma,
        lag_one=lag_one,
        rounds_needed=needed,
        seconds_needed=None if needed is None else needed * round_s,
        smallest_effect=seen,
    )


def lag_one_correlation(values: Floats) -> float:
    """Of the ranks of neighbouring data, so that one outlier does not make or hide it (Spearman); 0 where all are equal."""
    ranks = np.searchsorted(np.sort(values), values, side="left") + np.searchsorted(np.sort(values), values, side="right")
    centred = ranks - ranks.mean()
    spread = float((centred**2).sum())
    return float((centred[1:] * centred[:-1]).sum()) / spread if spread > 0 else 0.0


def _verdict(
    values: Floats, lag_one: float, boundary: float, needed: int | None, seen: float | None, effect: float, round_s: float
) -> tuple[NoiseVerdict, str]:
    favoured = float(signed_rank_z(values))
    if abs(favoured) >= boundary:
        side = "A" if favoured > 0 else "B"
        return "biased", f"of two equal sides {side} comes out faster (Z {favoured:+.2f}): their order or placement is not fair"
    if lag_one >= max(DEPENDENT, DEPENDENT_Z / math.sqrt(len(values))):
        return "dependent", f"neighbouring rounds hang together (correlation {lag_one:.2f}): something outlives the restart"
    longer = f"no trial of up to {LOOKS[-1]} rounds would do" if needed is None else f"{needed} rounds would do, {needed * round_s:.0f} s"
    if seen is None:
        return "too few", f"the budget does not afford the fewest rounds of a verdict; {longer}"
    if seen > effect:
        return "too noisy", f"the budget shows {seen:.1%} or more, {effect:.1%} is wanted; {longer}"
    return "usable", f"the budget shows {seen:.1%} or more with power 0.9"
