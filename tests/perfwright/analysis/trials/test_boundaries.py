"""The table of boundaries against drawing it again, and against counting."""

import itertools
import math

import numpy as np
import pytest

from perfwright.analysis.trials.boundaries import BOUNDARIES, LEVEL, LOOKS, TWO_METRICS_LEVEL, schedule
from tools.trial_boundaries import boundary_of, largest_z


def test_the_first_cell_by_counting() -> None:
    """Of all 4,096 signs of twelve ranks at most 0.5 % (0.25 %) reach the boundary, and one rank less would be too many."""
    ranks = np.arange(1, 13)
    spread = math.sqrt(float((ranks**2).sum()))
    z = np.array([np.dot(signs, ranks) / spread for signs in itertools.product((-1, 1), repeat=12)])
    for level in (LEVEL, TWO_METRICS_LEVEL):
        boundary = BOUNDARIES[level][0]
        assert (z >= boundary).mean() <= level < (z >= z[z < boundary].max()).mean()


@pytest.mark.parametrize(("level", "last"), [(LEVEL, 30), (TWO_METRICS_LEVEL, 40)])
def test_cells_drawn_again(level: float, last: int) -> None:
    """Drawing signs gives the table's boundary, within four standard errors of the share that reaches it."""
    column = LOOKS.index(last)
    largest = largest_z(LOOKS[: column + 1], 20_000, seed=11)[:, column]
    boundary = BOUNDARIES[level][column]
    error = math.sqrt(level / len(largest))
    assert abs((largest >= boundary).mean() - level) < 4 * error
    assert abs(boundary_of(largest, level) - boundary) < 0.06


def test_the_last_look_replaces_the_next_of_the_table() -> None:
    """47 affordable rounds are looked at with the boundary of 54; as many looks, closer together, reach it no more often."""
    planned = schedule(47)
    assert planned is not None
    assert planned.looks == (12, 16, 22, 30, 40, 47)
    assert planned.boundary == BOUNDARIES[LEVEL][5]
    largest = largest_z(planned.looks, 10_000, seed=3)[:, -1]
    assert (largest >= planned.boundary).mean() < LEVEL + 3 * math.sqrt(LEVEL / len(largest))


@pytest.mark.parametrize(
    ("most", "fewest", "looks"), [(12, 12, (12,)), (5_000, 570, (570, 760, 1_000)), (25, 22, (22, 25)), (22, 22, (22,))]
)
def test_schedules(most: int, fewest: int, looks: tuple[int, ...]) -> None:
    """From the fewest rounds to the most, and never past the table."""
    planned = schedule(most, fewest=fewest)
    assert planned is not None and planned.looks == looks


@pytest.mark.parametrize(("most", "fewest"), [(11, 12), (0, 12), (21, 22), (11, 3)])
def test_no_schedule_below_the_fewest(most: int, fewest: int) -> None:
    """Fewer than twelve rounds never decide."""
    assert schedule(most, fewest=fewest) is None
