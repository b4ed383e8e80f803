"""Turns with and without something under one load of pgbench, and what their throughputs decide."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measured import Measured
from perfwright.analysis.statistics import student_quantile

LIMIT = 0.01
"""Of the throughput."""
LEVEL = 0.95
LOG_COLUMNS = 6
"""Of pgbench's log: client, number, microseconds it took, script, second and microsecond of its end."""
PIECE_BYTES = 16 << 20
Times = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Kept:
    """The throughput with the collection over that without."""

    ratio: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        if self.low >= 1 - LIMIT:
            return "kept"
        return "lost" if self.high < 1 - LIMIT else "inconclusive"

    def measured(self, name: str, note: str) -> Measured:
        """Only what the interval decides is held against the limit."""
        note = f"{LEVEL:.0%} interval {self.low:.4f} to {self.high:.4f}; {note}"
        if self.verdict == "inconclusive":
            return Measured(name, self.ratio, "", note=f"inconclusive against {1 - LIMIT:g}: {note}")
        return Measured(name, self.ratio, "", 1 - LIMIT, at_least=True, note=note)


def kept(fours: Sequence[tuple[float, float]]) -> Kept:
    """Of (with, without) per four turns: mean of the logarithms, with Student's interval."""
    logs = [math.log(having / lacking) for having, lacking in fours]
    middle, half = statistics.mean(logs), math.inf
    if len(logs) > 1:
        half = student_quantile(0.5 + LEVEL / 2, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return Kept(math.exp(middle), math.exp(middle - half), math.exp(middle + half))


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
