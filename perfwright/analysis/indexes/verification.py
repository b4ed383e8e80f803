"""Is a set of indexes worth it, on a fresh clone beside one without? From runs in turns, and from plans.

A query whose plan is the same on both can only differ by noise (ratios of 0.75 to 1.25 were seen), so it is no regression whatever its
times. One whose plan changed is slower if it is so by more than SLOWER in the middle of the pairs, and in nearly all of them.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from perfwright.analysis.explaining.paired_times import compare
from perfwright.analysis.indexes.definitions import IndexDefinition
from perfwright.analysis.indexes.selection import Indexes
from perfwright.models.measurement import Interval

SLOWER = 1.10
SUSPICIOUS = 1.05
SUSPICIOUS_SHARE = 4 / 7
FORBIDDEN = 20.0
"""No gain pays for a query that became slower."""
PAIRS_SHARE = 6 / 7
"""Of the pairs that the run without must have won."""


@dataclass(frozen=True)
class VerifiedQuery:
    """One query on both clones."""

    ratio: float
    """Time with the indexes over time without (Hodges and Lehmann's estimate over the pairs)."""
    interval: Interval
    plan_changed: bool
    slower_pairs: int
    pairs: int
    blocks_before: int = 0
    """Shared blocks hit and read, the same in every run of the same plan."""
    blocks_after: int = 0

    @property
    def regressed(self) -> bool:
        return self.plan_changed and self.ratio > SLOWER and self.slower_pairs >= PAIRS_SHARE * self.pairs

    @property
    def suspicious(self) -> bool:
        """It may be a regression."""
        return self.plan_changed and self.ratio > SUSPICIOUS and self.slower_pairs >= SUSPICIOUS_SHARE * self.pairs


def verified_query(
    before_ms: Sequence[float], after_ms: Sequence[float], *, plan_changed: bool, blocks: tuple[int, int] = (0, 0)
) -> VerifiedQuery:
    """From the times of pairs (same length, at least one); `blocks` before and after."""
    compared = compare(before_ms, after_ms)
    slower = sum(after > before for before, after in zip(before_ms, after_ms, strict=True))
    return VerifiedQuery(compared.ratio, compared.interval, plan_changed, slower, compared.pairs, *blocks)


def geometric_mean_gain(queries: Sequence[VerifiedQuery]) -> float:
    """How many times faster, as the geometric mean over the queries."""
    return math.exp(-sum(math.log(one.ratio) for one in queries) / len(queries)) if queries else 1.0


def value(queries: Mapping[int, VerifiedQuery], weights: Sequence[float]) -> float:
    """Sum of weighted log time ratios, with FORBIDDEN for each query that may be slower: lower is better."""
    return sum(weights[query] * math.log(one.ratio) + (FORBIDDEN if one.suspicious else 0.0) for query, one in queries.items())


def ways_out(
    indexes: Indexes, queries: Mapping[int, VerifiedQuery], used: Mapping[int, Indexes], built: Collection[IndexDefinition]
) -> tuple[Indexes, ...]:
    """Sets to try instead of one that makes a query slower: without an index that a slower plan reads, or with one of `built` in its place
    that begins with the same key. None where no query is slower."""
    blamed = {index for query, one in queries.items() if one.suspicious for index in used.get(query, ())}
    instead: list[Indexes] = []
    for index in sorted(blamed, key=lambda index: index.title):
        alike = [one for one in built if one not in indexes and one.table_name == index.table_name and one.keys[:1] == index.keys[:1]]
        instead += [(indexes - {index}) | {one} for one in alike]
    return (*instead, *(indexes - {index} for index in sorted(blamed, key=lambda index: index.title)))


def least_missed(queries: Mapping[int, VerifiedQuery], used: Mapping[int, Indexes]) -> IndexDefinition:
    """Of the indexes that slower plans read (there is one), that from which other queries gain the least."""
    gains: dict[IndexDefinition, float] = {}
    for index in {index for query, one in queries.items() if one.suspicious for index in used[query]}:
        gains[index] = sum(-math.log(one.ratio) for query, one in queries.items() if index in used[query])
    return min(gains, key=lambda index: (gains[index], index.title))


def shorter(indexes: Iterable[IndexDefinition]) -> tuple[IndexDefinition, ...]:
    """Of plain indexes: their keys alone, and their first key alone."""
    found: dict[IndexDefinition, None] = {}
    for one in indexes:
        if one.plain:
            found[replace(one, include=())] = None
            found[replace(one, keys=one.keys[:1], include=(), descending=())] = None
    return tuple(one for one in found if one not in set(indexes))
