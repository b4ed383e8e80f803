"""Wilcoxon's signed ranks: the statistic, its exact distribution, and the estimate and interval that belong to it.

Source: Hollander, Wolfe & Chicken, "Nonparametric Statistical Methods", 3rd edition 2014, chapter 3 (signed rank test 3.1, the
Hodges-Lehmann estimator 3.2, Tukey's interval from Walsh averages 3.3). Zeros are ranked and then left out (Pratt, "Remarks on zeros and
ties in the Wilcoxon signed rank procedures", JASA 54, 1959): only so does the statistic grow steadily with a shift of the data, and
equals the number of Walsh averages above zero less those below.
"""

import math

import numpy as np

from perfwright.analysis.tree_weights import Floats

DECIMALS = 12
"""Logarithms differ in their last digits by rounding alone; what is equal up to here is a tie."""


def signed_rank_z(values: Floats) -> Floats:
    """`sum(r sign(x)) / sqrt(sum(r^2))` along the last axis, r the mid-rank of |x|; 0 where all are zero.

    `values`: ... x K with K >= 1. Under a distribution symmetric about zero its variance is one, with ties and zeros too.
    Returns the leading shape.
    """
    ranks, signs = _signed_ranks(values)
    spread = np.sqrt((ranks**2).sum(axis=-1))
    return np.asarray((ranks * signs).sum(axis=-1) / np.where(spread > 0, spread, 1.0), dtype=np.float64)


def upper_p(values: Floats) -> float:
    """Exact probability, over all signs, of a statistic as large as that of these values; ties and zeros as they are.

    `values`: K. The distribution of twice the rank sum is built rank by rank; K = 240 takes some 20 ms.
    """
    ranks, signs = _signed_ranks(values)
    doubled = np.rint(2 * ranks[ranks > 0]).astype(np.int64)
    chance = np.zeros(int(doubled.sum()) + 1)
    chance[0] = 1.0
    for rank in doubled:
        moved = chance * 0.5
        moved[rank:] += chance[:-rank] * 0.5
        chance = moved
    seen = int(np.rint(2 * ranks[signs > 0].sum()))
    return min(1.0, float(chance[seen:].sum()))


def walsh_averages(values: Floats) -> Floats:
    """Sorted means of all pairs, each value with itself as well; K (K + 1) / 2 of them."""
    first, second = np.triu_indices(len(values))
    return np.sort((values[first] + values[second]) / 2)


def hodges_lehmann(values: Floats) -> float:
    """Median of the Walsh averages. Raises ValueError without values."""
    if not len(values):
        raise ValueError("there are no values to estimate from")
    return float(np.median(walsh_averages(values)))


def walsh_interval(values: Floats, boundary: float) -> tuple[float, float] | None:
    """The shifts at which |Z| stays below the boundary; None where so few values cannot reach it.

    Without ties a test of any shift outside rejects and one inside does not, so that verdict and interval never disagree.
    """
    count = len(values)
    averages = walsh_averages(values)
    outside = math.floor((len(averages) - boundary * math.sqrt(count * (count + 1) * (2 * count + 1) / 6)) / 2)
    if outside < 0:
        return None
    return float(averages[outside]), float(averages[-1 - outside])


def _signed_ranks(values: Floats) -> tuple[Floats, Floats]:
    """Mid-ranks of |x|, zero for zeros, in sorted order along the last axis; and the signs in the same order."""
    rounded = np.round(values, DECIMALS)
    order = np.argsort(np.abs(rounded), axis=-1, kind="stable")
    ordered = np.take_along_axis(rounded, order, axis=-1)
    size = np.abs(ordered)
    places = np.broadcast_to(np.arange(size.shape[-1]), size.shape)
    apart = size[..., 1:] > size[..., :-1]
    edge = np.ones((*size.shape[:-1], 1), dtype=bool)
    begins, ends = np.concatenate([edge, apart], axis=-1), np.concatenate([apart, edge], axis=-1)
    first = np.maximum.accumulate(np.where(begins, places, 0), axis=-1)
    last = np.flip(np.minimum.accumulate(np.flip(np.where(ends, places, size.shape[-1]), axis=-1), axis=-1), axis=-1)
    return np.where(size > 0, (first + last) / 2 + 1.0, 0.0), np.sign(ordered)
