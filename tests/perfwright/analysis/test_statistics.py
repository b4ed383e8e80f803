import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis.statistics import block_length, lag_one_correlation, share_intervals, student_quantile


def autocorrelated(
    rng: np.random.Generator, blocks: int, rho: float, share: float = 0.3, spread: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """Samples of a function and of all, per block: its share wanders as a first-order autoregressive series, the load as a Poisson one."""
    wander = np.zeros(blocks)
    wander[0] = rng.normal()
    for block in range(1, blocks):
        wander[block] = rho * wander[block - 1] + math.sqrt(1 - rho * rho) * rng.normal()
    totals = rng.poisson(80, blocks)
    return rng.binomial(totals, np.clip(share + spread * wander, 0, 1)).astype(float), totals.astype(float)


@pytest.mark.parametrize(
    ("blocks", "rho", "least", "most"),
    [
        (6, 0.0, 0.90, 1.0),
        (12, 0.5, 0.84, 1.0),
        (30, 0.0, 0.91, 0.995),
        (30, 0.5, 0.87, 0.995),
        (60, 0.5, 0.88, 0.99),
        (300, 0.5, 0.90, 0.985),
    ],
)
def test_intervals_hold_the_true_share_as_often_as_they_say(blocks: int, rho: float, least: float, most: float) -> None:
    """A 95 % interval of an autocorrelated recording holds the true share close to 95 times in a hundred, short recordings included."""
    rng = np.random.default_rng(blocks)
    hits = 0
    for seed in range(250):
        counts, totals = autocorrelated(rng, blocks, rho)
        (interval,) = share_intervals(counts[None], totals, seed=seed)
        hits += interval.low <= 0.3 <= interval.high
    assert least <= hits / 250 <= most


def test_binomial_intervals_would_be_too_narrow() -> None:
    """On a program with phases the bootstrap's interval is far wider than one that takes samples for independent."""
    counts, totals = autocorrelated(np.random.default_rng(1), 60, 0.7)
    (interval,) = share_intervals(counts[None], totals)
    share = counts.sum() / totals.sum()
    binomial = 2 * 1.96 * math.sqrt(share * (1 - share) / totals.sum())
    assert interval.high - interval.low > 2 * binomial


def test_all_shares_at_once_are_each_share_alone() -> None:
    """The vectorised bootstrap gives every share the interval that drawing its blocks one by one in a loop gives."""
    rng = np.random.default_rng(5)
    pairs = [autocorrelated(rng, 40, 0.0) for _ in range(4)]
    totals = pairs[0][1]
    counts = np.array([np.minimum(one, totals) for one, _ in pairs])
    together = share_intervals(counts, totals, length=2, resamples=400, seed=9)
    starts = np.random.default_rng(9).integers(0, 40, size=(400, 20))
    for mine, interval in zip(counts, together, strict=True):
        drawn = []
        for draw in starts:
            blocks = [(start + step) % 40 for start in draw for step in range(2)]
            drawn.append(mine[blocks].sum() / totals[blocks].sum())
        low, high = np.quantile(drawn, [0.025, 0.975])
        share = mine.sum() / totals.sum()
        correlation = float(lag_one_correlation(mine[None], totals)[0])
        missed = (1 + correlation) / (1 - correlation) / (1 + correlation)
        stretch = student_quantile(0.975, 19) / 1.959964 * math.sqrt(20 / 19 * missed)
        assert interval.low == pytest.approx(share - (share - low) * stretch, abs=1e-6)
        assert interval.high == pytest.approx(share + (high - share) * stretch, abs=1e-6)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=60), st.integers(0, 3))
def test_any_recording_has_an_interval_around_its_share(blocks: list[tuple[int, int]], seed: int) -> None:
    """Empty blocks, empty recordings, shares of nothing and of everything: the interval is within 0 to 1 and holds the share."""
    counts = np.array([[float(mine) for mine, _ in blocks], [0.0] * len(blocks)])
    totals = np.array([float(mine + other) for mine, other in blocks])
    for row, interval in zip(counts, share_intervals(counts, totals, seed=seed, resamples=100), strict=True):
        assert 0.0 <= interval.low <= interval.high <= 1.0
        share = row.sum() / totals.sum() if totals.sum() else 0.5
        assert interval.low - 1e-9 <= share <= interval.high + 1e-9


def test_few_blocks_are_said() -> None:
    """A recording too short for the bootstrap says which interval it got, and why it is wide."""
    (one,) = share_intervals(np.array([[30.0]]), np.array([100.0]))
    (four,) = share_intervals(np.array([[10.0, 2.0, 9.0, 1.0]]), np.array([25.0, 25.0, 25.0, 25.0]))
    (rare,) = share_intervals(np.array([[1.0] + [0.0] * 29]), np.full(30, 50.0))
    assert "assumed" in one.method and "4 blocks" in four.method
    assert four.high - four.low > 0.3
    assert rare.method.startswith("Wilson") and rare.low < 1 / 1500 < rare.high and rare.high > 0.002


def test_blocks_are_drawn_together_where_they_are_correlated() -> None:
    """Independent blocks are drawn one by one, correlated ones in runs, never in so long ones that only a few are left."""
    rng = np.random.default_rng(2)
    for rho, least, most in ((0.0, 1, 3), (0.8, 6, 15)):
        counts, totals = autocorrelated(rng, 120, rho, spread=0.15)
        length = block_length(counts[None], lag_one_correlation(counts[None], totals))
        assert least <= length <= most
    assert block_length(np.ones((1, 5)), np.ones(1) * 0.9) == 1


@pytest.mark.parametrize(
    ("probability", "freedom", "exact"),
    [(0.975, 1, 12.7062), (0.975, 2, 4.30265), (0.975, 4, 2.77645), (0.975, 10, 2.22814), (0.975, 30, 2.04227), (0.995, 5, 4.03214)],
)
def test_student_quantiles(probability: float, freedom: int, exact: float) -> None:
    """Quantiles of Student's t are those of the tables, to one per cent."""
    assert student_quantile(probability, freedom) == pytest.approx(exact, rel=0.011)


def test_equal_seeds_give_equal_intervals() -> None:
    """The same recording analysed twice tells the same numbers."""
    counts, totals = autocorrelated(np.random.default_rng(3), 30, 0.3)
    assert share_intervals(counts[None], totals, seed=4) == share_intervals(counts[None], totals, seed=4)


def test_shapes_that_do_not_fit_are_refused() -> None:
    """Counts and totals of different lengths are a programming error that is told."""
    with pytest.raises(ValueError, match="K x B"):
        share_intervals(np.ones((2, 3)), np.ones(4))
