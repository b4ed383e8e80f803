"""The power of one look: how likely the signed-rank Z reaches the boundary when there is a difference.

Mean and variance of the rank sum off the null hypothesis are known (Lehmann, "Nonparametrics: Statistical Methods Based on Ranks", 1975,
chapter 4.2; Hollander, Wolfe & Chicken, section 3.1), and the sum is nearly normal. The textbook shortcut
`(boundary + 1.28) sqrt(pi / 3) sigma / sqrt(K)` promises 0.9 and keeps 0.8 at 22 rounds: few ranks saturate under a large shift, 12 of
them never exceed a Z of 3.06. Both meet in long trials.
"""

import math
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

NORMAL = NormalDist()
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(40)
LARGEST_SHIFT = 12.0
"""Standard deviations; far beyond what makes all signs equal."""
STEPS = 40


class ShiftMoments(NamedTuple):
    """What normal data shifted by some standard deviations make likely."""

    one: float
    """P(x > 0)"""
    two: float
    """P(x + y > 0)"""
    shared: float
    """P(x + y > 0 and x + z > 0)"""


def shift_moments(shift: float) -> ShiftMoments:
    """`shift`: mean over standard deviation. The shared probability is a Gauss-Hermite sum over x."""
    given_x = [NORMAL.cdf(node + 2 * shift) ** 2 for node in NODES]
    return ShiftMoments(
        one=NORMAL.cdf(shift),
        two=NORMAL.cdf(math.sqrt(2) * shift),
        shared=float(np.dot(WEIGHTS, given_x)) / math.sqrt(2 * math.pi),
    )


def look_power(moments: ShiftMoments, rounds: int, boundary: float) -> float:
    """Probability that Z reaches the boundary at this look alone; earlier looks only add to it."""
    one, two, shared = moments
    pairs = rounds * (rounds - 1) / 2
    mean = rounds * one + pairs * two
    variance = (
        rounds * one * (1 - one)
        + pairs * (2 * (one - two) ** 2 + 3 * two * (1 - two))
        + rounds * (rounds - 1) * (rounds - 2) * (shared - two**2)
    )
    largest = rounds * (rounds + 1) / 2
    spread = math.sqrt(rounds * (rounds + 1) * (2 * rounds + 1) / 6)
    # The rank sum is a whole number: the first that reaches the boundary, with half a step for the continuous distribution.
    needed = math.ceil((largest + boundary * spread) / 2 - 1e-9)
    if needed > largest:
        return 0.0
    gap = mean - (needed - 0.5)
    return NORMAL.cdf(gap / math.sqrt(variance)) if variance > 1e-12 else float(gap > 0)


@lru_cache(maxsize=256)
def detectable_shift(rounds: int, boundary: float, power: float) -> float | None:
    """Standard deviations beyond the margin that a look sees with this power; None where so few rounds never reach the boundary."""
    low, high = 0.0, LARGEST_SHIFT
    if look_power(shift_moments(high), rounds, boundary) < power:
        return None
    for _ in range(STEPS):
        middle = (low + high) / 2
        if look_power(shift_moments(middle), rounds, boundary) < power:
            low = middle
        else:
            high = middle
    return high
