"""How large the difference is, how noisy a datum is, and what so many rounds can see.

Data are differences of logarithms, one per round.
"""

import math
from statistics import NormalDist

import numpy as np

from perfwright.analysis.tree_weights import Floats
from perfwright.analysis.trials.boundaries import LEVEL, LOOKS, schedule
from perfwright.analysis.trials.power import LARGEST_SHIFT, detectable_shift, look_power, shift_moments
from perfwright.analysis.trials.signed_ranks import hodges_lehmann, walsh_interval
from perfwright.models.measurement import Estimate, Interval

POWER = 0.9
MAD_TO_SIGMA = 1 / NormalDist().inv_cdf(0.75)
"""Of a normal distribution (Rousseeuw & Croux, "Alternatives to the median absolute deviation", JASA 88, 1993)."""


def robust_sigma(values: Floats) -> float:
    """Median absolute deviation from the median, as the standard deviation of a normal distribution. Raises ValueError without values."""
    if not len(values):
        raise ValueError("there are no values to estimate from")
    return float(MAD_TO_SIGMA * np.median(np.abs(values - np.median(values))))


def ratio_estimate(values: Floats, boundary: float, *, level: float) -> Estimate:
    """Hodges-Lehmann ratio B / A, with the interval of Walsh averages at the boundary where there are enough rounds for one.

    It holds at all looks together with probability `level`, so that it may be read at any of them (a repeated confidence interval:
    Jennison & Turnbull, "Group Sequential Methods", chapter 9).
    """
    ends = walsh_interval(values, boundary)
    interval = None
    if ends is not None:
        method = f"Walsh averages, {len(values)} rounds, Z {boundary:.2f}"
        interval = Interval(low=math.exp(ends[0]), high=math.exp(ends[1]), level=level, method=method)
    return Estimate(value=math.exp(hodges_lehmann(values)), unit="ratio", interval=interval)


def smallest_effect(sigma: float, rounds: int, *, margin: float, boundary: float, power: float = POWER) -> float | None:
    """Effect (as the margin, so a difference of logarithms) that a look at so many rounds sees with the given power.

    For normal data; optimistic under heavy tails, where sigma understates the spread. None for so few rounds that none is ever seen.
    """
    shift = detectable_shift(rounds, boundary, power)
    return None if shift is None else margin + shift * sigma


def rounds_needed(effect: float, sigma: float, *, margin: float, level: float = LEVEL, fewest: int = LOOKS[0]) -> int | None:
    """Fewest rounds at most for which the trial sees an effect (a share: 0.05 is 5 % more or less) with power 0.9.

    None where the longest trial would not do, or the effect is within the margin. Raises ValueError for an effect of zero or below.
    """
    if effect <= 0:
        raise ValueError(f"an effect is above zero; {effect} given")
    beyond = math.log1p(effect) - margin
    if beyond <= 0:
        return None
    moments = shift_moments(min(LARGEST_SHIFT, beyond / sigma) if sigma > 0 else LARGEST_SHIFT)
    for rounds in range(max(fewest, LOOKS[0]), LOOKS[-1] + 1):
        planned = schedule(rounds, level=level, fewest=fewest)
        assert planned is not None, "the range begins at the fewest rounds"
        if look_power(moments, rounds, planned.boundary) >= POWER:
            return rounds
    return None


def as_share(effect: float | None) -> float | None:
    """A difference of logarithms as a share: 0.0488 is 5 % more."""
    return None if effect is None else math.expm1(effect)
