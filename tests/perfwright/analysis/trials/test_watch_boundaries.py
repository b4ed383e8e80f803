"""A whole watch of a live target, however long it is, calls a breach that is none in at most 0.5 % of cases."""

import math

import numpy as np
import pytest

from perfwright.analysis.trials.boundaries import LEVEL
from perfwright.analysis.trials.live import judge_live
from perfwright.analysis.trials.watch_boundaries import JUDGED, WATCH_BOUNDARIES, WATCH_WINDOWS, watch_boundary
from perfwright.models.trial import Guard
from tools.trial_boundaries import boundary_of, largest_watch_z

GUARD = Guard(metric="live_blocks", margin=math.log(2))


@pytest.mark.parametrize("windows", [24, 120])
def test_no_more_false_alarms_than_are_paid_for(windows: int) -> None:
    """Harm exactly at its margin, window after window: drawn again, the boundary is reached as often as the level says, and no more."""
    largest = largest_watch_z([windows], 10_000, seed=5, least=2.9)[:, 0]
    error = math.sqrt(LEVEL / len(largest))
    assert LEVEL / 3 < (largest >= watch_boundary(windows)).mean() < LEVEL + 3 * error
    assert boundary_of(largest, LEVEL) < watch_boundary(windows) + 0.06


def test_what_is_drawn_is_what_is_judged() -> None:
    """Judged window by window, a watch breaches if its largest Z reaches the boundary, and else not."""
    values = np.random.default_rng(5).standard_normal((1_500, 24))  # as `largest_watch_z` draws
    drawn = largest_watch_z([24], len(values), seed=5)[: len(values), 0] >= watch_boundary(24)
    assert 1 <= drawn.sum() < 20
    for row, reached in [*zip(values[drawn], [True] * 20), *zip(values[~drawn][:20], [False] * 20)]:  # noqa: B905  as many as there are
        windows = [{GUARD.metric: (1.0, 2 * math.exp(one / 10))} for one in row]
        verdicts = [judge_live((GUARD,), windows[:seen], 24)[0].verdict for seen in range(1, 25)]
        assert ("breached" in verdicts) == reached


@pytest.mark.parametrize("windows", [length for length in WATCH_WINDOWS if length >= 2_880])
def test_long_watches_by_counting(windows: int) -> None:
    """So many windows, each with the chance that the signs of its ranks reach the boundary, are not more than the level together."""
    boundary = watch_boundary(windows)
    begun = math.fsum(_chance(count, boundary, 1) for count in range(JUDGED[0], JUDGED[-1]))
    assert begun + math.fsum(_chance(count, boundary, windows - count + 1) for count in JUDGED) <= LEVEL


def test_the_table() -> None:
    """The longer, the further out; a dozen windows are enough in a short watch, and 24 in every one, thirty days long as well."""
    assert list(WATCH_BOUNDARIES) == sorted(WATCH_BOUNDARIES) and len(WATCH_BOUNDARIES) == len(WATCH_WINDOWS)
    assert _chance(12, watch_boundary(1), 1) > 0 and _chance(24, watch_boundary(WATCH_WINDOWS[-1]), 1) > 0
    assert watch_boundary(25) == WATCH_BOUNDARIES[1]
    assert watch_boundary(WATCH_WINDOWS[-1]) == watch_boundary(10 * WATCH_WINDOWS[-1]) == WATCH_BOUNDARIES[-1]


def _chance(count: int, boundary: float, looks: int) -> float:
    """At most, that signed ranks without ties of so many data reach the boundary at one of so many looks, each a datum later: by counting
    which sets of ranks may be below zero. Where none may, a look is the first of its run only if the datum before the run was below."""
    spread = math.sqrt(count * (count + 1) * (2 * count + 1) / 6)
    most = math.floor((count * (count + 1) / 2 - boundary * spread) / 2 + 1e-9)
    if most < 0:
        return 0.0
    sets = [1] + [0] * most
    for rank in range(1, count + 1):
        for total in range(most, rank - 1, -1):
            sets[total] += sets[total - rank]
    one = sum(sets) / 2**count
    return one * looks if most else one * (looks + 1) / 2
