"""What a benchmark says: numbers with their limits, and ratios of two programs measured in turns."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "MISSED", "no data", "told"]


@dataclass(frozen=True)
class Measured:
    """One number, and what it may be. Without a limit it is only told."""

    name: str
    value: float | None
    """None: it could not be measured, which is never a pass."""
    unit: str
    limit: float | None = None
    at_least: bool = False
    """The limit is a lower one."""
    note: str = ""
    """Spread, absolute values, and whatever else a reader needs to judge the number."""

    @property
    def verdict(self) -> Verdict:
        if self.value is None:
            return "no data"
        if self.limit is None:
            return "told"
        kept = self.value >= self.limit if self.at_least else self.value <= self.limit
        return "ok" if kept else "MISSED"

    @property
    def passed(self) -> bool:
        return self.verdict in ("ok", "told")


@dataclass(frozen=True)
class Ratio:
    """Ours to the other, one ratio per round; both sides of a round were measured within the same seconds."""

    ratios: tuple[float, ...]
    ours: float
    """Median over the rounds, in the unit measured."""
    theirs: float

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)

    def note(self, unit: str, scale: float = 1.0, of: str = "rounds") -> str:
        """`41.2 / 40.1 ms, rounds 0.98 to 1.07`: medians of both, and the middle half of the rounds."""
        low, high = quartiles(self.ratios)
        return f"{self.ours * scale:.4g} / {self.theirs * scale:.4g} {unit}; half of {len(self.ratios)} {of} in {low:.2f} to {high:.2f}"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Round by round: what disturbs the machine disturbs both sides of a round."""
    pairs = tuple(mine / other for mine, other in zip(ours, theirs, strict=True))
    return Ratio(pairs, statistics.median(ours), statistics.median(theirs))


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
