"""Quantiles of the durations that a log has of one statement."""

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate

from perfwright.analysis.server_log.sketch import POINTS
from perfwright.models.statement import LoggedStatement


def quantile_of(logged: Iterable[LoggedStatement], share: float) -> float | None:
    """The duration in ms that `share` of all calls does not exceed, over several entries of one statement; None when none is known.

    A few calls are there one by one; of more there are the quantiles at POINTS, each of which stands for the calls up to the next one.
    """
    weighted: list[tuple[float, float]] = []
    for one in logged:
        durations = one.durations_ms
        if len(durations) == len(POINTS) and one.calls > len(POINTS):
            for at, (begin, value) in enumerate(zip(POINTS, durations, strict=True)):
                end = POINTS[at + 1] if at + 1 < len(POINTS) else 1.0
                weighted.append((value, max(end - begin, 0.0) * one.calls))
            weighted.append((durations[-1], 1.0))
        elif durations:
            weighted += [(value, one.calls / len(durations)) for value in durations]
    if not weighted:
        return None
    weighted.sort()
    totals = list(accumulate(weight for _, weight in weighted))
    return weighted[min(bisect_left(totals, share * totals[-1]), len(weighted) - 1)][0]
