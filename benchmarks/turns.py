"""Turns with and without something under one load, and what their throughputs decide."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measured import Measured
from perfwright.analysis.statistics import student_quantile
from perfwright.analysis.trials.signed_ranks import hodges_lehmann, walsh_interval

LEVEL = 0.95
BOUNDARY = statistics.NormalDist().inv_cdf(0.5 + LEVEL / 2)
FEWEST_RATIOS = 6
"""Fewer pairs reach no interval at this level, whatever they are."""
LOG_COLUMNS = 6
"""Of pgbench's log: client, number, microseconds it took, script, second and microsecond of its end."""
PIECE_BYTES = 16 << 20
Times = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Kept:
    """The throughput with the collection over that without; `limit`: the share of the throughput that it may take."""

    ratio: float
    low: float
    high: float
    limit: float

    @property
    def verdict(self) -> str:
        """By non-inferiority: the whole interval is on one side of the limit, or nothing is decided."""
        if self.low >= 1 - self.limit:
            return "within"
        return "exceeds" if self.high < 1 - self.limit else "undecided"

    @property
    def interval(self) -> str:
        return f"{LEVEL:.0%} interval {self.low:.4f} to {self.high:.4f}"

    def measured(self, name: str, note: str) -> Measured:
        """Only what the interval decides is held against the limit."""
        note = f"{self.interval}; {note}"
        if self.verdict == "undecided":
            return Measured(name, self.ratio, "", note=f"undecided against {1 - self.limit:g}: {note}")
        return Measured(name, self.ratio, "", 1 - self.limit, at_least=True, note=f"{self.verdict}: {note}")


def kept(pairs: Sequence[tuple[float, float]], limit: float) -> Kept:
    """Of (with, without) per pair of turns: Hodges and Lehmann's estimate of the ratio, and the interval of the signed ranks.

    A turn in which something else ran is one odd rank, where a mean would carry it whole.
    """
    logs = np.array([math.log(having / lacking) for having, lacking in pairs])
    ends = walsh_interval(logs, BOUNDARY) if len(logs) >= FEWEST_RATIOS else None
    low, high = ends or (-math.inf, math.inf)
    return Kept(math.exp(hodges_lehmann(logs)), math.exp(low), math.exp(high), limit)


def weighed(most: Kept, share: float, rest: Sequence[float]) -> Kept:
    """Of a whole, of whose time `most` is known by many turns, and a `share` by these few ratios: their mean, with Student's interval.

    The halves of both intervals are added as squares, because they are of different turns.
    """
    if not rest or share <= 0:
        return most
    half = math.inf
    if len(rest) > 1:
        half = student_quantile(0.5 + LEVEL / 2, len(rest) - 1) * statistics.stdev(rest) / math.sqrt(len(rest))
    ratio = (1 - share) * most.ratio + share * statistics.mean(rest)
    below, above = (math.hypot((1 - share) * side, share * half) for side in (most.ratio - most.low, most.high - most.ratio))
    return Kept(ratio, ratio - below, ratio + above, most.limit)


def neighbours(rates: Sequence[float]) -> list[tuple[float, float]]:
    """Each turn without against the mean of those before and after it, all without: what equal things seem to differ by."""
    return [(rate, (before + after) / 2) for before, rate, after in zip(rates, rates[1:], rates[2:], strict=False)]


def ends_of(log: Path) -> Times:
    """When each transaction ended, seconds since 1970, sorted (pgbench documentation, "Per-Transaction Logging")."""
    return np.sort(np.concatenate([_read(path) for path in log.glob("transactions*")]))


def _read(path: Path) -> Times:
    """A piece at a time: a quick server writes millions of lines."""
    found, rest = [np.empty(0)], b""
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            # The last line may be cut: the load was ended in the middle of it.
            whole, newline, rest = (rest + piece).rpartition(b"\n")
            if newline:
                numbers = np.fromstring(whole, dtype=np.int64, sep=" ").reshape(-1, LOG_COLUMNS)
                found.append(numbers[:, 4] + numbers[:, 5] / 1e6)
    return np.concatenate(found)


def throughputs(ends: Times, turns: Sequence[tuple[float, float, bool]]) -> list[tuple[float, float]]:
    """(with, without) per four turns, in transactions per second; a turn is (from, until, whether the collection ran)."""
    rates = []
    for first in range(0, len(turns), 4):
        done, seconds = {True: 0.0, False: 0.0}, {True: 0.0, False: 0.0}
        for began, ended, observed in turns[first : first + 4]:
            done[observed] += float(np.searchsorted(ends, ended) - np.searchsorted(ends, began))
            seconds[observed] += ended - began
        rates.append((done[True] / seconds[True], done[False] / seconds[False]))
    return rates
