"""Rounds of services: a fresh server of each side, every request sent to both.

Which server starts first, and which gets a request first, is drawn: always A first gave false alarms.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from perfwright.analysis.trials.boundaries import TWO_METRICS_LEVEL
from perfwright.analysis.trials.sequential import design
from perfwright.models.trial import Side, TrialDesign

P50_MARGIN = 0.01
P99_MARGIN = 0.03
P99_FEWEST_ROUNDS = 22
FEWEST_REQUESTS = 100
"""Of a round, below which its 99th percentile is its maximum."""


def request_orders(chance: np.random.Generator, requests: int) -> tuple[tuple[Side, Side], ...]:
    """For each request the side that gets it first, and the other."""
    orders: tuple[tuple[Side, Side], tuple[Side, Side]] = (("A", "B"), ("B", "A"))
    return tuple(orders[int(one)] for one in chance.integers(2, size=requests))


def p50_datum(a_s: Mapping[str, float], b_s: Mapping[str, float]) -> float:
    """Median over the requests of log B / A, each request against itself. Raises ValueError where a side lacks one: then both are compared
    on what differs."""
    if not a_s or a_s.keys() != b_s.keys():
        raise ValueError(f"{len(a_s.keys() ^ b_s.keys())} of {len(a_s.keys() | b_s.keys())} requests were answered by one side only")
    return float(np.median([_log_ratio(a_s[request], b_s[request]) for request in a_s]))


def p99_datum(a_s: Sequence[float], b_s: Sequence[float]) -> float:
    """Log of the ratio of a round's 99th percentiles (nearest rank)."""
    if min(len(a_s), len(b_s)) < FEWEST_REQUESTS:
        raise ValueError(f"a 99th percentile needs {FEWEST_REQUESTS} requests a side; there are {len(a_s)} and {len(b_s)}")
    a, b = (float(np.quantile(side, 0.99, method="inverted_cdf")) for side in (a_s, b_s))
    return _log_ratio(a, b)


def service_designs(rounds_at_most: int) -> tuple[TrialDesign | None, TrialDesign | None]:
    """How p50 and p99 are judged, each at half the level, because either may decide; None for what the budget does not afford."""
    return (
        design(rounds_at_most, margin=P50_MARGIN, level=TWO_METRICS_LEVEL),
        design(rounds_at_most, margin=P99_MARGIN, level=TWO_METRICS_LEVEL, fewest=P99_FEWEST_ROUNDS),
    )


def _log_ratio(a_s: float, b_s: float) -> float:
    if not (0 < a_s < math.inf and 0 < b_s < math.inf):
        raise ValueError(f"a response takes time; {a_s} s and {b_s} s given")
    return math.log(b_s / a_s)
