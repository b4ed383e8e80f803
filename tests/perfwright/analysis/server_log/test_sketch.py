"""Durations in bounded memory, with quantiles that are right to 1 %."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from perfwright.analysis.server_log.sketch import ACCURACY, KEPT_EXACTLY, MOST_BUCKETS, POINTS, Sketch


def sketch_of(durations: list[float]) -> Sketch:
    sketch = Sketch()
    for one in durations:
        sketch.add(one)
    return sketch


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.01, 200.0), min_size=1, max_size=600), st.sampled_from([(0.0,), (0.5,), (0.99,), POINTS]))
def test_quantiles_are_within_one_percent(durations: list[float], shares: tuple[float, ...]) -> None:
    """Every quantile is that of the sorted durations, exactly for few calls, within 1 % for many; the ends are always exact."""
    ordered = sorted(durations)
    for share, found in zip(shares, sketch_of(durations).quantiles(shares), strict=True):
        right = ordered[int(share * (len(ordered) - 1))]
        allowed = 0 if len(durations) <= KEPT_EXACTLY or share in (0, 1) else ACCURACY * 1.0001
        assert abs(found - right) <= allowed * right


def test_points_of_few_and_of_many() -> None:
    """Up to 101 calls the points are all durations; of more they are 102 quantiles from the fastest to the slowest."""
    assert sketch_of([3.0, 1.0, 2.0]).points() == (1.0, 2.0, 3.0)
    many = sketch_of([n / 10 for n in range(1, 10_001)]).points()
    assert len(many) == len(POINTS) == 102
    assert (many[0], many[-1]) == (0.1, 1000.0)
    assert list(many) == sorted(many)
    assert Sketch().points() == ()


def test_memory_is_bounded() -> None:
    """From nothing to days, in any order: at most 512 buckets, the upper quantiles stay right, and no call is lost."""
    chance = random.Random(3)
    durations = [10 ** chance.uniform(-4, 9) for _ in range(20_000)]
    for ordered in (durations, sorted(durations), sorted(durations, reverse=True)):
        sketch = sketch_of([*ordered, 0.0])
        assert len(sketch.buckets) <= MOST_BUCKETS
        assert sum(sketch.buckets) == sketch.count == 20_001
        right = sorted(durations)[int(0.9 * 20_000) - 1]
        assert abs(sketch.quantiles((0.9,))[0] - right) < 0.03 * right


def test_the_median_lies_between_the_two_in_the_middle() -> None:
    """Of an even number of calls."""
    assert sketch_of([1.0, 2.0, 4.0, 9.0]).median() == 3.0
    assert sketch_of([1.0, 2.0, 9.0]).median() == 2.0
    assert Sketch().median() == 0.0
