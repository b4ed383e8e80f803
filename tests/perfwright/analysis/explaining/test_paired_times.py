"""When alternating runs say that one is faster."""

import itertools
import random
from statistics import NormalDist

import pytest

from perfwright.analysis.explaining.paired_times import (
    BUDGET_MS,
    ERROR_SHARE,
    FEWEST_PAIRS,
    MOST_PAIRS,
    clearly_faster,
    compare,
    original_first,
    pairs_wanted,
)


def runs(ratio: float, noise: float, pairs: int, chance: random.Random) -> tuple[list[float], list[float]]:
    normal = NormalDist(0, noise)
    draw = lambda: 2.718281828 ** normal.inv_cdf(chance.uniform(0.0001, 0.9999))  # noqa: E731
    drift = [draw() for _ in range(pairs)]
    return [10 * d * draw() for d in drift], [10 * ratio * d * draw() for d in drift]


def test_seven_pairs_all_won() -> None:
    """Half the time in each of seven pairs is clear: 1 in 128 by chance."""
    found = compare([10.0, 11, 9, 10, 12, 10, 11], [5.0, 5.5, 4.5, 5, 6, 5, 5.5])
    assert found.ratio == pytest.approx(0.5) and found.chance == 1 / 128 and found.pairs == 7
    assert found.interval.low == pytest.approx(0.5) and found.interval.high == pytest.approx(0.5)
    assert clearly_faster([found]) == (True,)


def test_six_of_seven_is_not_clear() -> None:
    """One pair lost by much among seven may be chance."""
    found = compare([10.0] * 7, [5, 5, 5, 5, 5, 5, 40])
    assert found.chance > ERROR_SHARE and clearly_faster([found]) == (False,)


def test_a_small_gain_is_not_offered_however_sure() -> None:
    """Five per cent is not worth another query."""
    found = compare([10.0] * 15, [9.5] * 15)
    assert found.chance < ERROR_SHARE and clearly_faster([found]) == (False,)


def test_equal_times_say_nothing() -> None:
    """Not a difference in any pair, or times that the clock cannot tell."""
    for times in ([10.0] * 7, [0.0] * 7):
        found = compare(times, times)
        assert (found.ratio, found.chance) == (1.0, 1.0) and clearly_faster([found]) == (False,)


@pytest.mark.parametrize("pairs", range(1, 11))
def test_chance_is_exact(pairs: int) -> None:
    """As counted over all choices of signs, ties and all."""
    chance = random.Random(pairs)
    for _ in range(20):
        sizes = [chance.randint(1, 4) for _ in range(pairs)]
        signs = [chance.choice((-1, 1)) for _ in range(pairs)]
        found = compare([1.0] * pairs, [2.0 ** (size * sign) for size, sign in zip(sizes, signs, strict=True)])
        ranks = [sum(other < size for other in sizes) + (sum(other == size for other in sizes) + 1) / 2 for size in sizes]
        seen = sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign > 0)
        fewer = sum(sum(itertools.compress(ranks, choice)) <= seen for choice in itertools.product((False, True), repeat=pairs))
        assert found.chance == fewer / 2**pairs


@pytest.mark.parametrize("pairs", [7, 10, 15])
def test_intervals_hold_the_truth(pairs: int) -> None:
    """About 95 of 100 intervals hold the ratio that the times were made with, however the machine drifts."""
    chance = random.Random(pairs)
    held = 0
    for _ in range(400):
        found = compare(*runs(0.7, 0.2, pairs, chance))
        held += found.interval.low <= 0.7 <= found.interval.high
        assert found.interval.low <= found.ratio <= found.interval.high
    assert 0.92 <= held / 400 <= 1.0


def test_equal_statements_are_hardly_ever_called_faster() -> None:
    """Five rewrites at once that change nothing: in at most one run of a hundred any of them is called faster."""
    chance = random.Random(2)
    wrong = sum(any(clearly_faster([compare(*runs(1.0, 0.3, pairs_wanted(1, 5), chance)) for _ in range(5)])) for _ in range(600))
    assert wrong <= 600 * ERROR_SHARE * 2


def test_real_gains_are_seen_through_noise() -> None:
    """Half the time is seen nearly always, three rewrites at once and a quarter of noise notwithstanding."""
    chance = random.Random(3)
    seen = sum(sum(clearly_faster([compare(*runs(0.5, 0.15, 15, chance)) for _ in range(3)])) for _ in range(100))
    assert seen >= 290


def test_how_many_pairs() -> None:
    """Quick statements are run more often, several rewrites need more pairs, and slow ones have a limit."""
    assert pairs_wanted(1.0, 1) == MOST_PAIRS
    assert pairs_wanted(2_000.0, 1) == FEWEST_PAIRS
    assert pairs_wanted(2_000.0, 10) == 10
    assert pairs_wanted(BUDGET_MS / FEWEST_PAIRS, 1) == FEWEST_PAIRS and pairs_wanted(BUDGET_MS / 6, 1) == 0
    assert pairs_wanted(0.0, 10**6) >= 27


def test_order_is_random_and_repeatable() -> None:
    """Half of the pairs begin with the original, in an order that follows from the seed alone."""
    orders = [original_first(f"{n}", 15) for n in range(50)]
    assert all(sum(order) == 8 for order in orders) and len(set(orders)) > 40
    assert original_first("7", 15) == orders[7] and sum(original_first("x", 8)) == 4
