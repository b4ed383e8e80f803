"""When a trial is looked at, and how far out the signed-rank Z must then be.

One constant boundary for all looks (Pocock, "Group sequential methods in the design and analysis of clinical trials", Biometrika 64,
1977; Jennison & Turnbull, "Group Sequential Methods", 2000, chapter 2), found by drawing signs, because ranks at few rounds are far from
normal: `python -m tools.trial_boundaries` draws the table anew.
"""

from perfwright.models.vocabulary import Model

LOOKS = (12, 16, 22, 30, 40, 54, 73, 98, 132, 179, 240, 320, 430, 570, 760, 1_000)
"""Rounds; each about a third more than the one before, so that nothing waits long for its verdict and few looks are paid for."""
LEVEL = 0.005
"""Per side, where one metric decides."""
TWO_METRICS_LEVEL = 0.0025
"""Per side and metric, where either of two decides."""
BOUNDARIES = {
    LEVEL: (2.51, 2.63, 2.71, 2.79, 2.85, 2.91, 2.96, 3.00, 3.04, 3.07, 3.10, 3.13, 3.15, 3.18, 3.20, 3.22),
    TWO_METRICS_LEVEL: (2.66, 2.80, 2.91, 2.98, 3.04, 3.08, 3.14, 3.18, 3.22, 3.27, 3.30, 3.33, 3.35, 3.37, 3.39, 3.41),
}
"""Level -> boundary by the last look; entry by entry as `LOOKS`. At the first two the values of Z lie 0.05 to 0.08 apart, and a
boundary is rounded down to below the value that it is."""


class Schedule(Model):
    """Rounds at which to look, the last being all that are affordable, and the boundary for them."""

    looks: tuple[int, ...]
    boundary: float


def schedule(rounds_at_most: int, *, level: float = LEVEL, fewest: int = LOOKS[0]) -> Schedule | None:
    """Looks for a budget; None where it does not afford the fewest rounds.

    The last look replaces the next of the table that is not affordable. The boundary is that of the table's: as many looks, closer
    together, reach it less often. So do those that begin later, with `fewest`. Raises KeyError for a level that is not in the table.
    """
    boundaries = BOUNDARIES[level]
    last = min(rounds_at_most, LOOKS[-1])
    if last < max(fewest, LOOKS[0]):
        return None
    looks = tuple(look for look in LOOKS if fewest <= look < last)
    return Schedule(looks=(*looks, last), boundary=next(c for look, c in zip(LOOKS, boundaries, strict=True) if look >= last))
