"""The measured part of index advice: build what is promising on a clone and search it by time, bounded in seconds; then verify the result
on a fresh one."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from activities.index_clone import IndexClone
from perfwright.analysis.explaining.plan_answers import index_names
from perfwright.analysis.indexes.build_order import build_order, relevance
from perfwright.analysis.indexes.definitions import IndexDefinition
from perfwright.analysis.indexes.measured_search import Measured, search_measured
from perfwright.analysis.indexes.plan_shapes import plan_shape
from perfwright.analysis.indexes.selection import NONE, Found, Indexes
from perfwright.analysis.indexes.verification import VerifiedQuery, least_missed, shorter, value, verified_query, ways_out, without_use
from perfwright.analysis.indexes.workload import Workload

FEWEST_PAIRS, MOST_PAIRS = 3, 11
MOST_ALIKE = 8
BUILDING_SHARE = 0.3
"""Of the seconds for measuring, at most, until no further index is begun."""


@dataclass(frozen=True)
class MeasuredChoice:
    """The best set, and what it took."""

    measured: Measured
    built: int
    wanted: int
    building_s: float
    seconds: float
    tried: tuple[IndexDefinition, ...]
    """All that were built, the most promising first."""


async def choose_by_measuring(
    clone: IndexClone, workload: Workload, found: Found, taken: Collection[str], seconds: float
) -> MeasuredChoice:
    """Search on the clone for at most so many seconds (and one query more). `taken`: names of relations there are."""
    began = time.monotonic()
    order = build_order(workload.problem, found, workload.candidates)
    await clone.build(order, taken, lambda: time.monotonic() - began < BUILDING_SHARE * seconds)
    built = time.monotonic() - began
    for one, real in clone.built.items():
        workload.sizes.learn(one, real.bytes)
    there = tuple(clone.built)
    starts = [frozenset(one for one in selection.indexes if one in clone.built) for selection in found.selections]
    search = search_measured(workload.problem, starts, there, relevance(there, workload.problem.uses))
    measured = await clone.answer(search, began + seconds)
    return MeasuredChoice(measured, len(there), len(order), built, time.monotonic() - began, there)


@dataclass(frozen=True)
class VerifiedChoice:
    """What is left of a set when it was verified, and what it does to each query whose plan it changes."""

    indexes: Indexes
    dropped: tuple[IndexDefinition, ...]
    queries: Mapping[int, VerifiedQuery]
    used: Mapping[int, Indexes]
    """Of these queries, the indexes that their plans read."""


async def verify(
    clone: IndexClone, workload: Workload, indexes: Indexes, taken: Collection[str], seconds: float, others: Sequence[IndexDefinition] = ()
) -> VerifiedChoice:
    """On a fresh clone with these indexes, shorter forms of them and those of `others` that begin with the same key: every changed plan in
    pairs, more of them where it may be slower. While one is, the best way out within the budget is taken: without an index that its plan
    reads, or with another form. After `seconds` ways are not compared any more: of what slower plans read, the least missed is shortened,
    and dropped where that does not help. Then what no query is shown to gain from goes, one after the other; what went does not come
    back."""
    began = time.monotonic()
    wanted = sorted(indexes, key=lambda one: one.title)
    forms = shorter(wanted)
    first = {(one.table_name, one.keys[:1]) for one in wanted}
    alike = [one for one in others if one.plain and one not in indexes and (one.table_name, one.keys[:1]) in first][:MOST_ALIKE]
    # Without its shorter forms an index that makes a query slower could only go as a whole, with all that it does for others.
    needed = {*wanted, *forms}
    await clone.build([*wanted, *forms, *alike], taken, lambda: not needed <= {*clone.built, *clone.refused} or _within(began, seconds / 3))
    began = time.monotonic()
    verifier = _Verifier(clone, workload)
    left, gone = frozenset(one for one in wanted if one in clone.built), NONE
    while True:
        queries, used = await verifier.verified(left)
        ways = ways_out(left, queries, used, [one for one in clone.built if one not in gone])
        if not ways:
            idle = without_use(left, queries, used, workload.problem.weights)
            if idle is None:
                return VerifiedChoice(left, tuple(one for one in wanted if one not in left), queries, used)
            left, gone = left - {idle}, gone | {idle}
            continue
        best, best_value = None, value(queries, workload.problem.weights)
        for way in ways:
            if sum(clone.built[one].bytes for one in way) > workload.problem.budget_bytes:
                continue
            if not _within(began, seconds):
                break
            found = value((await verifier.verified(way))[0], workload.problem.weights)
            if found < best_value:
                best, best_value = way, found
        left = best if best is not None else _shortened(left, least_missed(queries, used), clone)


def _within(began: float, seconds: float) -> bool:
    return time.monotonic() - began < seconds


def _shortened(indexes: Indexes, index: IndexDefinition, clone: IndexClone) -> Indexes:
    """With the next smaller form of the index in its place, if there is one; it is measured like everything else."""
    forms = [one for one in shorter((index,)) if one in clone.built and clone.built[one].bytes < clone.built[index].bytes]
    smaller = sorted(forms, key=lambda one: clone.built[one].bytes)[:1]
    return (indexes - {index}) | set(smaller)


class _Verifier:
    """Measures each plan once."""

    def __init__(self, clone: IndexClone, workload: Workload) -> None:
        self._clone, self._queries = clone, range(len(workload.texts))
        self._known: dict[tuple[int, str], VerifiedQuery] = {}

    async def verified(self, indexes: Indexes) -> tuple[dict[int, VerifiedQuery], dict[int, Indexes]]:
        """Queries whose plan the set changes, and the indexes that their plans read."""
        queries: dict[int, VerifiedQuery] = {}
        used: dict[int, Indexes] = {}
        for query in self._queries:
            before, after = await self._clone.plan(query, NONE), await self._clone.plan(query, indexes)
            if (shape := plan_shape(after)) == plan_shape(before):
                continue
            names = index_names(after)
            used[query] = frozenset(one for one in indexes if self._clone.built[one].name in names)
            if (query, shape) not in self._known:
                found = await _in_pairs(self._clone, query, indexes)
                if found.suspicious:
                    # Fresh pairs decide: of a dozen equal queries, one or the other looks slower by chance.
                    found = await _in_pairs(self._clone, query, indexes)
                self._known[query, shape] = found
            queries[query] = self._known[query, shape]
        return queries, used


async def _in_pairs(clone: IndexClone, query: int, indexes: Indexes) -> VerifiedQuery:
    before: list[float] = []
    after: list[float] = []
    blocks = (0, 0)
    first = await clone.run(query, indexes)  # reads what no run before it needed
    for number in range(MOST_PAIRS):
        sides = [NONE, indexes] if number % 2 else [indexes, NONE]
        runs = {side: await clone.run(query, side) for side in sides}
        without, with_them = runs[NONE], runs[indexes]
        before.append(without.ms if without else clone.cut_off_ms)
        after.append(with_them.ms if with_them else clone.cut_off_ms)
        blocks = (without.blocks if without else 0, with_them.blocks if with_them else 0)
        found = verified_query(before, after, plan_changed=True, blocks=blocks)
        if without is None or first is None:
            break  # a side is cut off: that is clear, and takes seconds each time
        if number + 1 >= FEWEST_PAIRS and found.decided:
            break
    return found
