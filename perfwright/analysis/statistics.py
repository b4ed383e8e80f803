"""Intervals for shares of samples.

Samples of one recording are not independent: a program stays in one phase for a while, and threads move together. The binomial interval
is therefore too narrow, often by a factor of two. The *block bootstrap* draws whole pieces of time instead of samples, so that what moves
together stays together (Künsch, "The jackknife and the bootstrap for general stationary observations", Annals of Statistics 17, 1989);
pieces are taken from the series bent to a circle, so that its ends weigh as much as its middle (Politis & Romano, "A circular
block-resampling procedure for stationary data", 1992; their stationary bootstrap of 1994 draws random lengths to the same end).

A share is a ratio of two sums that both vary (samples of a function, samples of the pass). Numerator and denominator are drawn from the
same blocks, which keeps their correlation.
"""

import math
from statistics import NormalDist

import numpy as np

from perfwright.analysis.tree_weights import Floats
from perfwright.analysis.wilson import wilson_bounds
from perfwright.models.measurement import Interval

RESAMPLES = 1_000
"""Enough for the ends of a 95 % interval to repeat within a few per cent of its width (Efron & Tibshirani 1993, section 14.1)."""
FEWEST_BLOCKS = 8
"""Independent pieces of time below which percentiles of a bootstrap are too narrow to use."""
FEWEST_NON_ZERO = 5
"""Blocks with (and, for shares near one, without) the thing counted below which resampling hardly varies."""
ASSUMED_DESIGN_EFFECT = 4.0
"""Variance relative to independent samples, where a single block leaves nothing to measure it by; two to four was seen on real programs."""


def share_intervals(
    counts: Floats,
    totals: Floats,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 1,
    length: int | None = None,
    worth: float | None = None,
) -> list[Interval]:
    """Confidence intervals of the shares `counts[k].sum() / totals.sum()`, all at once.

    `counts`: K x B, samples of each thing in each block of time; `totals`: B, all samples of each block; blocks follow one another in time.
    `length`: blocks that are drawn together; chosen by `block_length` when not given. `worth`: samples behind the counts where these were
    weighed (`PassWeights.worth`); the counts themselves otherwise. Shares seen in too few blocks, or recordings of
    too few blocks, get a Wilson score interval widened by the design effect; `method` says so.
    """
    if counts.ndim != 2 or totals.shape != (counts.shape[1],):
        raise ValueError(f"counts is K x B and totals is B; shapes {counts.shape} and {totals.shape} given")
    whole = float(totals.sum())
    if whole <= 0:
        return [Interval(low=0.0, high=1.0, level=level, method="no samples")] * len(counts)
    shares = counts.sum(axis=1) / whole
    correlation = lag_one_correlation(counts, totals)
    drawn_together = length or block_length(counts, correlation)
    enough = len(totals) / drawn_together >= FEWEST_BLOCKS
    varies = ((counts > 0).sum(axis=1) >= FEWEST_NON_ZERO) & ((counts < totals).sum(axis=1) >= FEWEST_NON_ZERO)
    low, high = shares, shares
    if enough:
        missed = _missed_variance(correlation, drawn_together)
        low, high = _circular_bootstrap(counts, totals, shares, drawn_together, level, resamples, seed, missed)
    intervals = []
    for number, share in enumerate(shares):
        if enough and varies[number]:
            method = f"block bootstrap, {len(totals)} blocks, {drawn_together} together"
            intervals.append(Interval(low=_bounded(low[number]), high=_bounded(high[number]), level=level, method=method))
        else:
            intervals.append(_wilson(float(share), counts[number], totals, float(correlation[number]), level, worth or whole))
    return intervals


def lag_one_correlation(counts: Floats, totals: Floats) -> Floats:
    """Correlation of each share with itself one block later, 0 to 0.9.

    Short series understate it by (1 + 3 rho) / B (Marriott & Pope, "Bias in the estimation of autocorrelations", Biometrika 41, 1954),
    which is given back where there is correlation at all.
    """
    blocks = len(totals)
    if blocks < 4:
        return np.zeros(len(counts))
    residual = counts - (counts.sum(axis=1) / totals.sum())[:, None] * totals
    spread = (residual**2).sum(axis=1)
    lagged = (residual[:, 1:] * residual[:, :-1]).sum(axis=1)
    rho = np.where(spread > 0, lagged / np.where(spread > 0, spread, 1.0), 0.0)
    return np.asarray(np.clip(np.where(rho > 0, rho + (1 + 3 * rho) / blocks, 0.0), 0.0, 0.9), dtype=np.float64)


def block_length(counts: Floats, correlation: Floats) -> int:
    """How many neighbouring blocks to draw together.

    The length that minimises the error of the variance grows with the cube root of the number of blocks; for a first-order autoregressive
    series it is (6 B)^(1/3) (rho / (1 - rho^2))^(2/3) in the circular form of Politis & White ("Automatic block-length selection for the
    dependent bootstrap", Econometric Reviews 23, 2004). The most correlated of the five largest shares decides; at most one eighth
    of the recording, so that enough pieces are left to draw from.
    """
    blocks = counts.shape[1]
    if blocks < 2 * FEWEST_BLOCKS or not len(counts):
        return 1
    rho = float(correlation[np.argsort(-counts.sum(axis=1), kind="stable")[:5]].max())
    best = float((6.0 * blocks) ** (1 / 3) * (rho / (1 - rho**2)) ** (2 / 3))
    return int(max(1, min(math.ceil(best), blocks // FEWEST_BLOCKS)))


def _missed_variance(correlation: Floats, length: int) -> Floats:
    """How much too small the variance from pieces of this length is: correlation over the seams is lost. Exact for a first-order series.

    Shape as `correlation`; 1 where nothing is missed.
    """
    lags = np.arange(1, length)
    kept = 1 + 2 * ((1 - lags / length) * correlation[:, None] ** lags).sum(axis=1)
    return np.asarray(_long_run(correlation) / kept, dtype=np.float64)


def _long_run(correlation: Floats) -> Floats:
    """Variance of a first-order series' mean over that of independent values."""
    return (1 + correlation) / (1 - correlation)


def _circular_bootstrap(
    counts: Floats, totals: Floats, shares: Floats, length: int, level: float, resamples: int, seed: int, missed: Floats
) -> tuple[Floats, Floats]:
    """Percentile intervals, stretched about the share by what few and short pieces hide (Student's t over the normal quantile)."""
    blocks = len(totals)
    draws = math.ceil(blocks / length)
    both = np.vstack([counts, totals])
    wrapped = np.concatenate([np.zeros((len(both), 1)), np.cumsum(np.hstack([both, both[:, : length - 1]]), axis=1)], axis=1)
    pieces = wrapped[:, length:] - wrapped[:, :-length]
    starts = np.random.default_rng(seed).integers(0, blocks, size=(resamples, draws))
    times = np.zeros((resamples, blocks))
    np.add.at(times, (np.repeat(np.arange(resamples), draws), starts.ravel()), 1.0)
    sums = times @ pieces.T
    drawn = sums[:, -1]
    ratios = np.where(drawn[:, None] > 0, sums[:, :-1] / np.where(drawn > 0, drawn, 1.0)[:, None], shares)
    tail = (1 - level) / 2
    low, high = np.quantile(ratios, [tail, 1 - tail], axis=0)
    few = student_quantile(1 - tail, max(1, draws - 1)) / NormalDist().inv_cdf(1 - tail) * math.sqrt(draws / max(1, draws - 1))
    stretch = few * np.sqrt(missed)
    return shares - (shares - low) * stretch, shares + (high - shares) * stretch


def _wilson(share: float, counts: Floats, totals: Floats, correlation: float, level: float, samples: float) -> Interval:
    """Wilson's score interval for as many independent samples as the recording is worth."""
    effect, told = _design_effect(share, counts, totals, correlation, samples)
    worth = max(1.0, samples / effect)
    independent = len(totals) * (1 - correlation) / (1 + correlation)
    tail = (1 - level) / 2
    z = student_quantile(1 - tail, max(2, round(independent) - 1)) if len(totals) > 1 else NormalDist().inv_cdf(1 - tail)
    low, high = wilson_bounds(share, worth, z)
    return Interval(low=_bounded(low), high=_bounded(high), level=level, method=f"Wilson, {told}")


def _design_effect(share: float, counts: Floats, totals: Floats, correlation: float, samples: float) -> tuple[float, str]:
    """Variance of the share over that of as many independent samples, from the variation between blocks (Kish, Survey Sampling, 1965)."""
    used = totals > 0
    blocks = int(used.sum())
    binomial = share * (1 - share) / samples
    if blocks < 2:
        return ASSUMED_DESIGN_EFFECT, f"design effect {ASSUMED_DESIGN_EFFECT:.1f} assumed for a single block"
    if binomial <= 0:
        return 1.0, f"{blocks} blocks"
    residual = counts[used] - share * totals[used]
    variance = blocks / (blocks - 1) * float((residual**2).sum()) / float(totals.sum()) ** 2
    effect = max(1.0, variance / binomial) * (1 + correlation) / (1 - correlation)
    return effect, f"design effect {effect:.1f} from {blocks} blocks"


def student_quantile(probability: float, freedom: int) -> float:
    """Quantile of Student's t by the Cornish-Fisher expansion (Abramowitz & Stegun 26.7.5); exact for one and two degrees of freedom.

    Within 1 % of the exact value from three degrees of freedom on, for probabilities up to 0.995.
    """
    if freedom == 1:
        return math.tan(math.pi * (probability - 0.5))
    if freedom == 2:
        centred = 2 * probability - 1
        return centred * math.sqrt(2 / (1 - centred**2))
    z = NormalDist().inv_cdf(probability)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    fourth = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160
    return z + first / freedom + second / freedom**2 + third / freedom**3 + fourth / freedom**4


def _bounded(value: float) -> float:
    return float(min(1.0, max(0.0, value)))
