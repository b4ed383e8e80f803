"""One round: drawn by chance that repeats, and turned into one datum."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfwright.analysis.trials.rounds import choose_clock, plan_round, quads_per_round, round_datum, slice_seconds
from perfwright.models.trial import RoundPlan, Slice


def a_slice(side: str, seconds: float, *, iterations: int = 10, first: float | None = None, cpu_share: float = 1.0) -> Slice:
    """Iterations of `seconds` each, the first of another length if given."""
    first_s = seconds if first is None else first
    wall = first_s + seconds * (iterations - 1)
    return Slice(
        side=side, iterations=iterations, wall_s=wall, cpu_s=wall * cpu_share, first_wall_s=first_s, first_cpu_s=first_s * cpu_share
    )


def planned(seed: int = 1, quads: int = 2) -> RoundPlan:
    return plan_round(np.random.default_rng(seed), [0, 1], quads=quads)


def test_a_round_is_drawn_anew_and_repeats_with_its_seed() -> None:
    """Both sides start first, both cores and both orders are used about as often, and the same seed draws the same round."""
    plans = [planned(seed) for seed in range(400)]
    assert plans == [planned(seed) for seed in range(400)]
    for drawn in (Counter(one.first for one in plans), Counter(one.core for one in plans), Counter(q for one in plans for q in one.quads)):
        assert len(drawn) == 2
        assert min(drawn.values()) / sum(drawn.values()) > 0.4
    assert len({one.hash_seed for one in plans}) == 400
    assert len({one.padding_bytes for one in plans}) > 300
    assert all(len(one.order) == 8 and one.order.count("A") == 4 for one in plans)


@settings(deadline=None)
@given(st.floats(0.5, 2.0), st.floats(1e-4, 1.0), st.integers(0, 50), st.integers(1, 4), st.floats(-0.1, 0.1))
def test_the_datum_is_the_logarithm_of_the_ratio(ratio: float, seconds: float, seed: int, quads: int, drift: float) -> None:
    """Whatever the order of sides, the unit, and a steady drift over a quad; dear first iterations do not count."""
    plan = planned(seed, quads)
    slices = [
        a_slice(side, seconds * (ratio if side == "B" else 1.0) * math.exp(drift * (number % 4)), first=5 * seconds)
        for number, side in enumerate(plan.order)
    ]
    assert round_datum(slices, plan, "wall") == pytest.approx(math.log(ratio), abs=1e-9)


def test_the_only_iteration_of_a_slice_counts() -> None:
    """Work that takes longer than a slice is not thrown away."""
    assert slice_seconds(a_slice("A", 0.2, iterations=1), "wall") == 0.2


def test_void_rounds() -> None:
    """Lost slices, another order, unequal work and no measurable time are refused with the reason."""
    plan = planned()
    good = [a_slice(side, 0.01) for side in plan.order]
    with pytest.raises(ValueError, match="was planned as"):
        round_datum(good[:-1], plan, "cpu")
    with pytest.raises(ValueError, match="run as nothing"):
        round_datum([], plan, "cpu")
    with pytest.raises(ValueError, match="same number of iterations"):
        round_datum([a_slice(plan.order[0], 0.01, iterations=9), *good[1:]], plan, "cpu")
    with pytest.raises(ValueError, match="no measurable cpu time"):
        round_datum([a_slice(side, 0.01, cpu_share=0.0) for side in plan.order], plan, "cpu")
    with pytest.raises(ValueError, match="needs a core"):
        plan_round(np.random.default_rng(1), [])


@pytest.mark.parametrize(("share", "clock"), [(1.0, "cpu"), (0.9, "cpu"), (0.89, "wall"), (0.1, "wall"), (2.0, "cpu")])
def test_the_clock_is_chosen_from_a_alone(share: float, clock: str) -> None:
    """What computes nine tenths of its time is judged by CPU time, what waits by the wall's."""
    assert choose_clock([a_slice("A", 0.01, cpu_share=share)] * 4) == clock
    with pytest.raises(ValueError, match="no slices"):
        choose_clock([])


@pytest.mark.parametrize(("start_s", "quad_s", "best"), [(0.0, 0.04, 1), (0.06, 0.04, 1), (0.4, 0.1, 2), (0.9, 0.1, 3), (100.0, 0.04, 16)])
def test_quads_for_costly_starts(start_s: float, quad_s: float, best: int) -> None:
    """`sqrt(start / quad)`, within bounds."""
    assert quads_per_round(start_s, quad_s) == best


@pytest.mark.parametrize(("start_s", "quad_s"), [(-1.0, 0.04), (1.0, 0.0)])
def test_costs_are_times(start_s: float, quad_s: float) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="costs are times"):
        quads_per_round(start_s, quad_s)
