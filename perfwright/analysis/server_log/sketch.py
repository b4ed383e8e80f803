"""Durations of one statement in bounded memory: all of the first hundred, then buckets of 1 % width.

Masson, Rim, Lee: DDSketch, a fast and fully-mergeable quantile sketch with relative-error guarantees, PVLDB 12 (12), 2019. A value x falls
into bucket ceil(log(x) / log(gamma)), gamma = (1 + a) / (1 - a); the bucket's middle, 2 gamma^i / (gamma + 1), is at most a share `a` off.
"""

import math
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    Durations = array[float]
    Counts = array[int]
else:  # not subscriptable before Python 3.12
    Durations = Counts = array

ACCURACY = 0.01
GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_PER_LOG = 1 / math.log(GAMMA)
KEPT_EXACTLY = 101
MOST_BUCKETS = 512
"""The slowest call is then 28,000 times the fastest; what is below counts as the lowest bucket (collapsing, section 3.3 of the paper)."""
SMALLEST_MS = 0.001
"""PostgreSQL writes microseconds; 0.000 counts as one."""
POINTS: tuple[float, ...] = (*(percent / 100 for percent in range(100)), 0.999, 1.0)


class Sketch(msgspec.Struct):
    """Durations in milliseconds."""

    count: int = 0
    smallest: float = 1e300
    largest: float = 0.0
    exact: Durations | None = msgspec.field(default_factory=lambda: array("d"))
    """All of them, in order; None once there are more than KEPT_EXACTLY."""
    first: int = 0
    """Number of the bucket that `buckets` begins with."""
    buckets: Counts = msgspec.field(default_factory=lambda: array("I"))

    def add(self, duration_ms: float) -> None:
        """Count one call."""
        self.count += 1
        if duration_ms < self.smallest:
            self.smallest = duration_ms
        if duration_ms > self.largest:
            self.largest = duration_ms
        if self.exact is None:
            at = math.ceil(math.log(duration_ms) * _PER_LOG) - self.first if duration_ms > SMALLEST_MS else -1
            if 0 <= at < len(self.buckets):
                self.buckets[at] += 1
            else:
                self._bucket(duration_ms)
        else:
            self.exact.append(duration_ms)
            if len(self.exact) > KEPT_EXACTLY:
                durations, self.exact = self.exact, None
                for one in durations:
                    self._bucket(one)

    def median(self) -> float:
        """Of an even number of calls between the two in the middle, while all are kept; 0 when there are none."""
        if self.exact is None or not self.count:
            return self.quantiles((0.5,))[0]
        ordered = sorted(self.exact)
        return (ordered[(self.count - 1) // 2] + ordered[self.count // 2]) / 2

    def quantiles(self, shares: Sequence[float]) -> tuple[float, ...]:
        """Of ascending shares, the lower ranks; exact at 0 and 1, and while all durations are kept."""
        if not self.count:
            return (0.0,) * len(shares)
        if self.exact is not None:
            ordered = sorted(self.exact)
            return tuple(ordered[int(share * (self.count - 1))] for share in shares)
        found, at, below = [], -1, 0
        for share in shares:
            rank = int(share * (self.count - 1))
            while below <= rank:
                at += 1
                below += self.buckets[at]
            middle = 2 * GAMMA ** (self.first + at) / (GAMMA + 1)
            found.append(min(max(middle, self.smallest), self.largest))
        if shares[0] == 0:
            found[0] = self.smallest
        if shares[-1] == 1:
            found[-1] = self.largest
        return tuple(found)

    def points(self) -> tuple[float, ...]:
        """Sorted durations while all are kept, then the quantiles at POINTS; to a microsecond, or five digits."""
        values = sorted(self.exact) if self.exact is not None else self.quantiles(POINTS)
        return tuple(float(f"{value:.5g}") for value in values)

    def _bucket(self, duration_ms: float) -> None:
        number = math.ceil(math.log(max(duration_ms, SMALLEST_MS)) * _PER_LOG)
        if not self.buckets:
            self.first = number
        if (below := self.first - number) > 0:
            room = max(0, min(below, MOST_BUCKETS - len(self.buckets)))
            self.buckets = array("I", bytes(4 * room)) + self.buckets
            self.first -= room
            number = max(number, self.first)
        at = number - self.first
        if at >= len(self.buckets):
            self.buckets.extend(array("I", bytes(4 * (at + 1 - len(self.buckets)))))
            if (over := len(self.buckets) - MOST_BUCKETS) > 0:
                folded = sum(self.buckets[: over + 1])
                self.buckets = self.buckets[over:]
                self.buckets[0] = folded
                self.first += over
                at -= over
        self.buckets[at] += 1
