"""Whether a rewrite is faster than its original, from runs that alternate in random order.

What a machine does meanwhile hits both runs of a pair, so pairs are compared: the logarithm of the ratio of their times. Wilcoxon's signed
rank test, exact (Wilcoxon 1945; Hollander & Wolfe, "Nonparametric Statistical Methods", 2nd ed. 1999, section 3.1), with the estimate of
Hodges and Lehmann and its interval from Walsh averages (sections 3.2 and 3.3). Of several rewrites, one is `faster` only with Holm's
correction (Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979).
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from perfwright.models.measurement import Interval

FEWEST_PAIRS = 7
"""The fewest of which all, won, are rarer than ERROR_SHARE by chance: 1 in 128."""
MOST_PAIRS = 15
QUICK_BUDGET_MS = 10_000.0
"""Within this, more pairs than needed are run."""
BUDGET_MS = 300_000.0
"""For all pairs of one rewrite: what needs longer to be sure of would load the server for too long."""
ERROR_SHARE = 0.01
"""How often, at most, a run calls any rewrite faster that is not."""
FASTER_BELOW = 0.9
"""A ratio nearer to one is not worth a changed query: servers drift by more from day to day."""
LEVEL = 0.95
CLOCK_MS = 0.001
"""What EXPLAIN rounds times to."""


@dataclass(frozen=True)
class PairedTimes:
    """What alternating runs of two statements say."""

    ratio: float
    """Time of the rewrite over that of the original; below 1 is faster."""
    interval: Interval
    chance: float
    """Of so clear a result where neither is faster."""
    pairs: int


def pairs_wanted(pair_ms: float, compared: int) -> int:
    """How many pairs to run: enough for a verdict on `compared` rewrites, more of quick ones; 0: enough would take too long."""
    needed = max(FEWEST_PAIRS, math.ceil(math.log2(max(1, compared) / ERROR_SHARE)))
    if needed * pair_ms > BUDGET_MS:
        return 0
    return max(needed, min(MOST_PAIRS, int(QUICK_BUDGET_MS / max(pair_ms, CLOCK_MS))))


def original_first(seed: str, pairs: int) -> tuple[bool, ...]:
    """For each pair whether the original runs first: in half of them (one more or less), in an order that depends on `seed` alone."""
    order = sorted(range(pairs), key=lambda number: hashlib.sha256(f"{seed}:{number}".encode()).digest())
    first = set(order[: (pairs + 1) // 2])
    return tuple(number in first for number in range(pairs))


def compare(original_ms: Sequence[float], rewritten_ms: Sequence[float]) -> PairedTimes:
    """Ratio, interval and chance, of the times of pairs (same length, at least one)."""
    logs = [math.log(max(after, CLOCK_MS) / max(before, CLOCK_MS)) for before, after in zip(original_ms, rewritten_ms, strict=True)]
    walsh = sorted((one + other) / 2 for number, one in enumerate(logs) for other in logs[number:])
    outside = _outside(len(logs), len(walsh))
    low, high = walsh[outside], walsh[-1 - outside]
    return PairedTimes(
        ratio=math.exp(_median(walsh)),
        interval=Interval(low=math.exp(low), high=math.exp(high), level=LEVEL, method=f"signed ranks of {len(logs)} pairs"),
        chance=_chance(logs),
        pairs=len(logs),
    )


def clearly_faster(compared: Sequence[PairedTimes]) -> tuple[bool, ...]:
    """Which of them are: by ratio, by interval, and by chance after Holm's correction for their number."""
    ranked = sorted(range(len(compared)), key=lambda number: compared[number].chance)
    rejected: set[int] = set()
    for rank, number in enumerate(ranked):
        if compared[number].chance > ERROR_SHARE / (len(compared) - rank):
            break
        rejected.add(number)
    return tuple(number in rejected and one.ratio < FASTER_BELOW and one.interval.high < 1.0 for number, one in enumerate(compared))


def _chance(logs: Sequence[float]) -> float:
    """P(positive ranks this small or smaller), one-sided, given the ranks; zeros are left out, ties share their rank (Lehmann 1975)."""
    left = sorted((one for one in logs if one != 0.0), key=abs)
    doubled = _doubled_ranks([abs(one) for one in left])
    positive = sum(rank for rank, one in zip(doubled, left, strict=True) if one > 0)
    return sum(_counts(doubled)[: positive + 1]) / (1 << len(left))


def _doubled_ranks(ordered: Sequence[float]) -> list[int]:
    """Twice the mean rank of each, so that shared ranks are whole numbers."""
    ranks = []
    for value in ordered:
        below = sum(one < value for one in ordered)
        same = sum(one == value for one in ordered)
        ranks.append(2 * below + same + 1)
    return ranks


def _counts(ranks: Sequence[int]) -> list[int]:
    """How many of the 2^n choices of signs give each sum of positive ranks."""
    counts = [1] + [0] * sum(ranks)
    for rank in ranks:
        counts = [count + (counts[total - rank] if total >= rank else 0) for total, count in enumerate(counts)]
    return counts


def _outside(pairs: int, averages: int) -> int:
    """How many Walsh averages lie outside of the interval on each side: the largest sum of ranks that is too rare (8 of 10 pairs)."""
    counts, tail, outside = _counts(range(1, pairs + 1)), 0, 0
    for total, count in enumerate(counts):
        tail += count
        if tail / (1 << pairs) > (1 - LEVEL) / 2:
            break
        outside = total
    return min(outside, (averages - 1) // 2)


def _median(ordered: Sequence[float]) -> float:
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
