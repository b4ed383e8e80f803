"""Signed ranks against slow and obvious twins."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfwright.analysis.trials.signed_ranks import hodges_lehmann, signed_rank_z, upper_p, walsh_averages, walsh_interval

SMALL = st.lists(st.integers(-6, 6), min_size=1, max_size=9)
"""Few different numbers: many ties and zeros."""
REAL = st.lists(st.floats(-0.5, 0.5, allow_subnormal=False), min_size=1, max_size=40)


def slow_ranks(values: list[int]) -> list[float]:
    """Mean of the places that equal magnitudes share; zeros take the first places and then do not count."""
    sizes = sorted(abs(one) for one in values)
    return [0.0 if one == 0 else np.mean([place for place, size in enumerate(sizes, 1) if size == abs(one)]).item() for one in values]


@settings(deadline=None)
@given(SMALL)
def test_z_is_the_sum_of_signed_mid_ranks(values: list[int]) -> None:
    """Ties share the mean of their ranks, zeros keep theirs and drop out."""
    ranks = slow_ranks(values)
    spread = math.sqrt(sum(one**2 for one in ranks))
    slow = sum(rank * np.sign(one) for rank, one in zip(ranks, values, strict=True)) / spread if spread else 0.0
    assert float(signed_rank_z(np.array(values, dtype=float))) == pytest.approx(slow)


@settings(deadline=None)
@given(SMALL)
def test_the_rank_sum_counts_walsh_averages(values: list[int]) -> None:
    """Averages above zero less those below are the signed rank sum, ties and zeros included: so a shift moves Z one way only."""
    averages = walsh_averages(np.array(values, dtype=float))
    counted = int((averages > 0).sum() - (averages < 0).sum())
    assert counted == pytest.approx(sum(rank * np.sign(one) for rank, one in zip(slow_ranks(values), values, strict=True)))


@settings(deadline=None)
@given(SMALL)
def test_upper_p_counts_all_signs(values: list[int]) -> None:
    """Enumerating every way the signs may fall gives the same probability."""
    ranks = [one for one in slow_ranks(values) if one]
    seen = sum(rank for rank, one in zip(slow_ranks(values), values, strict=True) if one > 0)
    sums = [sum(rank for rank, up in zip(ranks, ups, strict=True) if up) for ups in itertools.product((0, 1), repeat=len(ranks))]
    assert upper_p(np.array(values, dtype=float)) == pytest.approx(sum(one >= seen - 1e-9 for one in sums) / len(sums))


@settings(deadline=None)
@given(REAL, st.randoms(use_true_random=False))
def test_the_order_of_the_data_does_not_matter(values: list[float], chance) -> None:  # type: ignore[no-untyped-def]
    """The same data in another order give the same Z, estimate and interval."""
    other = list(values)
    chance.shuffle(other)
    one, two = np.array(values), np.array(other)
    assert float(signed_rank_z(one)) == pytest.approx(float(signed_rank_z(two)), abs=1e-9)
    assert hodges_lehmann(one) == pytest.approx(hodges_lehmann(two), abs=1e-12)
    assert walsh_interval(one, 1.0) == pytest.approx(walsh_interval(two, 1.0), abs=1e-12) or walsh_interval(one, 1.0) is None


@settings(deadline=None)
@given(REAL)
def test_rows_are_judged_as_they_are_alone(values: list[float]) -> None:
    """A table of data gives row by row what each row gives by itself."""
    table = np.array([values, values[::-1], [-one for one in values]])
    assert signed_rank_z(table).tolist() == [float(signed_rank_z(row)) for row in table]


@settings(deadline=None)
@given(st.integers(12, 40), st.integers(0, 2**32 - 1), st.floats(-2, 2))
def test_the_interval_is_what_the_test_does_not_reject(rounds: int, seed: int, shift: float) -> None:
    """A shift lies outside of the interval exactly where the test of that shift rejects."""
    values = np.random.default_rng(seed).standard_normal(rounds)
    ends = walsh_interval(values, 2.51)
    assert ends is not None
    inside = ends[0] < shift < ends[1]
    assert inside == (abs(float(signed_rank_z(values - shift))) < 2.51)


def test_too_few_values_have_no_interval() -> None:
    """Seven values never reach a Z of 2.51, whatever they are."""
    assert walsh_interval(np.arange(7.0), 2.51) is None
    assert float(signed_rank_z(np.arange(1.0, 8.0))) < 2.51
    with pytest.raises(ValueError, match="no values"):
        hodges_lehmann(np.array([]))
