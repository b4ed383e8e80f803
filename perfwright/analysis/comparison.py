"""Two runs of one process, number by number: what differs by more than the two measurements can be wrong."""

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Literal

from perfwright.analysis.statistics import ASSUMED_DESIGN_EFFECT
from perfwright.analysis.wilson import wilson_bounds
from perfwright.models.cpu_profiling import HotPaths
from perfwright.models.measurement import Estimate, Interval
from perfwright.models.vocabulary import Model

NOT_SEEN = "Wilson, of no samples"
"""Method of the interval of a share that a run has not seen."""
Difference = Literal["more", "less", "no difference shown", "only earlier", "only later", "no interval"]


class ComparedNumber(Model):
    """One number of both runs."""

    what: str
    earlier: Estimate | None
    later: Estimate | None
    difference: Estimate | None = None
    """Later less earlier."""
    shown: Difference


def compare_numbers(earlier: Mapping[str, Estimate], later: Mapping[str, Estimate]) -> tuple[ComparedNumber, ...]:
    """Numbers by name, in the order of the later run, then what only the earlier one has."""
    return tuple(compare_estimates(name, earlier.get(name), later.get(name)) for name in dict.fromkeys([*later, *earlier]))


def compare_estimates(what: str, earlier: Estimate | None, later: Estimate | None) -> ComparedNumber:
    """`more` or `less` only where the interval of the difference is clear of zero.

    The interval is combined from those of the two estimates (method of variance estimates recovery, MOVER: Zou and Donner, "Construction
    of confidence limits about effect measures: a general approach", Statistics in Medicine 27, 2008, equation 3), which needs independent
    runs and keeps the asymmetry of shares. Estimates in different units are not compared.
    """
    if earlier is None or later is None:
        return ComparedNumber(what=what, earlier=earlier, later=later, shown="only later" if earlier is None else "only earlier")
    change = later.value - earlier.value
    if earlier.unit != later.unit:
        return ComparedNumber(what=what, earlier=earlier, later=later, shown="no interval")
    if earlier.interval is None or later.interval is None or earlier.interval.level != later.interval.level:
        return ComparedNumber(
            what=what, earlier=earlier, later=later, difference=Estimate(value=change, unit=later.unit), shown="no interval"
        )
    before, now = earlier.interval, later.interval
    low = change - math.hypot(later.value - now.low, before.high - earlier.value)
    high = change + math.hypot(now.high - later.value, earlier.value - before.low)
    interval = Interval(low=low, high=high, level=now.level, method="MOVER")
    return ComparedNumber(
        what=what,
        earlier=earlier,
        later=later,
        difference=Estimate(value=change, unit=later.unit, interval=interval),
        shown="more" if low > 0 else "less" if high < 0 else "no difference shown",
    )


def absent_share(paths: HotPaths, like: Estimate) -> Estimate | None:
    """The self share, in the unit of `like`, of a function that is not in a run's table: none, and at most what the run could have missed.

    No samples of it among n still allow a share (Wilson's upper end, of samples worth a quarter of independent ones). A table that was cut
    may have left it out with samples: with no more than it left out in all, and no more than the least of those that it has. None where
    nothing was sampled, or `like` has no interval to compare with.
    """
    if paths.samples <= 0 or like.interval is None:
        return None
    left_out = paths.coverage.seen_share - sum(one.self_share for one in paths.functions)
    most = max(0.0, min([left_out, *(one.total_share for one in paths.functions)]))
    level = like.interval.level
    _, high = wilson_bounds(most, max(1.0, paths.samples / ASSUMED_DESIGN_EFFECT), NormalDist().inv_cdf((1 + level) / 2))
    return Estimate(value=0.0, unit=like.unit, interval=Interval(low=0.0, high=min(1.0, high), level=level, method=NOT_SEEN))
