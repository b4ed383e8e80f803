"""Is a set of indexes worth it, on a fresh clone beside one without? From runs in turns, and from plans.

A query whose plan is the same on both can only differ by noise (ratios of 0.75 to 1.25 were seen), so it is no regression whatever its
times. One whose plan changed is slower if it is so by more than SLOWER in the middle of the pairs, and in nearly all of them.

Blocks are the same in every run, times are not. More blocks are no reason against an index by themselves (an index scan reads pages again
and again, and wins), but then its time has to speak for it: an index stays only where a query that reads it is shown to be faster, or
reads fewer blocks and does not seem slower.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from perfwright.analysis.explaining.paired_times import CLOCK_MS, compare
from perfwright.analysis.indexes.definitions import IndexDefinition
from perfwright.analysis.indexes.selection import Indexes
from perfwright.models.measurement import Interval

SLOWER = 1.10
SUSPICIOUS = 1.05
SUSPICIOUS_SHARE = 4 / 7
SLOWER_AT_BEST = 1.03
FORBIDDEN = 20.0
"""No gain pays for a query that became slower."""
PAIRS_SHARE = 6 / 7
"""Of the pairs that the run without must have won; or that with the indexes, where a query is shown to be faster."""
FASTER = 0.95
CLEARLY_FASTER = 0.8
"""Three pairs show it; a smaller gain takes PROVING_PAIRS."""
PROVING_PAIRS = 7
FEWER_BLOCKS = 0.95
DESCENT_BLOCKS = 4
"""To come down a B-tree takes three or four: a difference of so few is one of the shapes of two indexes, and nothing that was saved."""
LEAST_SAVED_MS = 0.1
"""Of a call: about what it takes besides its execution (parsing, planning, its way there and back). Less than that nobody notices."""


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
    saved_ms: float = 0.0
    """Of the median call."""
    quickest_ratio: float = math.inf
    """Of the quickest runs of both sides: what disturbs only slows, and nine pairs of equal plans are 5 % apart every fourth time on a busy
    machine."""

    @property
    def regressed(self) -> bool:
        return self.plan_changed and self.ratio > SLOWER and self.slower_pairs >= PAIRS_SHARE * self.pairs

    @property
    def suspicious(self) -> bool:
        """It may be a regression, and more than chance makes of equal ones: a false alarm costs a good index."""
        most = self.slower_pairs >= SUSPICIOUS_SHARE * self.pairs and self.interval.low > 1.0
        return self.plan_changed and most and self.ratio > SUSPICIOUS and self.quickest_ratio > SLOWER_AT_BEST

    @property
    def shown_faster(self) -> bool:
        """Beyond what chance makes of equal ones."""
        enough = (self.ratio < CLEARLY_FASTER or self.pairs >= PROVING_PAIRS) and self.saved_ms >= LEAST_SAVED_MS
        return enough and self.ratio < FASTER and self.slower_pairs <= (1 - PAIRS_SHARE) * self.pairs

    @property
    def fewer_blocks(self) -> bool:
        return 0 < self.blocks_after < min(FEWER_BLOCKS * self.blocks_before, self.blocks_before - DESCENT_BLOCKS)

    @property
    def helped(self) -> bool:
        """What it reads is worth having for it."""
        return self.plan_changed and (self.shown_faster or (self.fewer_blocks and not self.suspicious))

    @property
    def decided(self) -> bool:
        """Further pairs are not needed: it is no slower, and blocks or times speak for it."""
        return self.ratio < SUSPICIOUS and (self.fewer_blocks or self.shown_faster)


def verified_query(
    before_ms: Sequence[float], after_ms: Sequence[float], *, plan_changed: bool, blocks: tuple[int, int] = (0, 0)
) -> VerifiedQuery:
    """From the times of pairs (same length, at least one); `blocks` before and after."""
    compared = compare(before_ms, after_ms)
    slower = sum(after > before for before, after in zip(before_ms, after_ms, strict=True))
    saved_ms = median(before_ms) - median(after_ms)
    quickest = min(after_ms) / max(min(before_ms), CLOCK_MS)
    return VerifiedQuery(compared.ratio, compared.interval, plan_changed, slower, compared.pairs, *blocks, saved_ms, quickest)


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


def without_use(
    indexes: Indexes, queries: Mapping[int, VerifiedQuery], used: Mapping[int, Indexes], weights: Sequence[float]
) -> IndexDefinition | None:
    """An index that helps no query whose plan reads it; of several that from which queries gain the least. None where all help."""
    idle = [one for one in indexes if not any(queries[query].helped for query, read in used.items() if one in read and query in queries)]
    gains = {
        one: sum(-weights[query] * math.log(queries[query].ratio) for query, read in used.items() if one in read and query in queries)
        for one in idle
    }
    return min(idle, key=lambda one: (gains[one], one.title), default=None)


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
