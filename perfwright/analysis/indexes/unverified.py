"""What can be said of a set of indexes where nothing can be measured: the planner's costs, without and with it, and what is left of it.

Costs rank and time decides: of ten advisors' sets measured on TPC-H, five made a query slower that the planner had promised to be faster.
So what comes out here is a list to be verified, with the bounds of the measured search applied to costs in place of times.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from perfwright.analysis.indexes.definitions import IndexDefinition
from perfwright.analysis.indexes.proposals import EFFECTS_TOLD, estimated_growth
from perfwright.analysis.indexes.selection import NONE, Asking, Indexes, PlanAnswer, PlanQuestion
from perfwright.analysis.indexes.statement_texts import RunnableStatement
from perfwright.analysis.indexes.verification import DESCENT_BLOCKS, shorter
from perfwright.analysis.indexes.workload import Workload
from perfwright.analysis.indexes.write_costs import wal_bytes, write_statement
from perfwright.analysis.query_advice.identifiers import qualified
from perfwright.models.database import Catalog
from perfwright.models.unverified_indexes import EstimatedEffect, UnverifiedIndex, UnverifiedStrategy

EFFECTS_OF_ONE = 5
UNCHANGED = 1e-3
"""Relative difference of two costs that counts as none."""
LEAST_SAVED_COST = 4.0 * DESCENT_BLOCKS
"""Of one call, in pages read in sequence; one read in no order counts as four. Less is what the planner charges for coming down one B-tree
rather than another. A hypothetical one is charged nothing for its height (HypoPG#79), so that a copy of a primary key with more columns
seems to save half of a look-up that takes a hundredth of a millisecond."""


@dataclass(frozen=True)
class Estimated:
    """What is left of a set, by costs alone."""

    indexes: Indexes
    before: Mapping[int, float]
    """Cost of each query without."""
    after: Mapping[int, PlanAnswer]
    """Of each query with all of them."""
    dropped: Mapping[IndexDefinition, str]
    """What went, with the reason."""

    def ratio(self, query: int) -> float:
        """Cost with over cost without; 1 where the planner charges nothing."""
        return self.after[query].cost / self.before[query] if self.before[query] > 0 else 1.0

    def saved(self, query: int) -> float:
        """Share of its time, if costs were times; 0 where so little is saved that nobody would notice."""
        saved = self.before[query] - self.after[query].cost
        return 0.0 if 0 <= saved < LEAST_SAVED_COST else 1 - self.ratio(query)

    def readers(self, index: IndexDefinition) -> list[int]:
        """Queries whose plans read it."""
        return [query for query, answer in self.after.items() if index in answer.used]


class WriteVolumes:
    """WAL of the workload's writes by their calls, as indexes would have it: estimated, full-page images aside."""

    def __init__(self, statements: Sequence[RunnableStatement], catalog: Catalog) -> None:
        found = ((one.calls, write_statement(one.text, catalog)) for one in statements if one.writes)
        self._writes = [(calls, write) for calls, write in found if write is not None]
        self._catalog = catalog

    def growth(self, indexes: Iterable[IndexDefinition]) -> tuple[float, Literal["estimated", "no writes"]]:
        """Share of more WAL; where the workload has no write that is known, from the counters of the tables."""
        added = tuple(indexes)
        before = sum(calls * wal_bytes(write, ()) for calls, write in self._writes)
        if before <= 0:
            return estimated_growth(self._catalog, added)
        return sum(calls * wal_bytes(write, added) for calls, write in self._writes) / before - 1, "estimated"


@dataclass(frozen=True)
class Bounds:
    """As a request has them; `asked` by a person in so many words, and not measured by what they save."""

    least_gain_share: float
    write_growth_most: float
    asked: Indexes = NONE


def estimate(workload: Workload, chosen: Indexes, writes: WriteVolumes, bounds: Bounds) -> Asking[Estimated]:
    """Ask about the whole set, and let go what would save too little, then, while writes would grow too much, what gives the least for what
    it costs them (or take a shorter form of it)."""
    queries = range(len(workload.texts))
    before: dict[int, float] = {}
    for query in queries:
        before[query] = (yield PlanQuestion(query, NONE)).cost
    dropped: dict[IndexDefinition, str] = {}
    left = chosen
    while True:
        after: dict[int, PlanAnswer] = {}
        for query in queries:
            after[query] = yield PlanQuestion(query, left)
        found = Estimated(left, before, after, dropped)
        saved = {one: saved_share(found, one, workload.problem.weights) for one in left}
        small = min(left - bounds.asked, key=lambda one: (saved[one], one.title), default=None)
        growth, _ = writes.growth(left)
        costs = {one: growth - writes.growth(left - {one})[0] for one in left}
        dear = min((one for one in left if costs[one] > 0), key=lambda one: (saved[one] / costs[one], one.title), default=None)
        if small is not None and saved[small] < bounds.least_gain_share:
            dropped[small] = (
                f"it would save {saved[small]:.1%} of the time if costs were times, and {bounds.least_gain_share:.1%} is asked for"
            )
            left = left - {small}
        elif growth > bounds.write_growth_most and dear is not None:
            dropped[dear] = f"writes would put {growth:.0%} more into the WAL with it and the others; it gives the least for that"
            # Less of every row is written with a shorter form, and what writes change need not be carried along.
            forms = [one for one in shorter((dear,)) if one not in dropped and one not in left]
            left = (left - {dear}) | set(forms[:1])
        else:
            return found


def saved_share(found: Estimated, index: IndexDefinition, weights: Sequence[float]) -> float:
    """Of the workload's time, by the queries whose plans read the index, if costs were times."""
    total = math.fsum(weights) or 1.0
    return math.fsum(weights[query] * found.saved(query) for query in found.readers(index)) / total


def unverified(
    found: Estimated, workload: Workload, statements: Sequence[RunnableStatement], taken: Collection[str], writes: WriteVolumes
) -> UnverifiedStrategy:
    """As it is told, what would save most first. `taken`: names of relations there are."""
    weights, names = workload.problem.weights, set(taken)
    effects = {
        query: EstimatedEffect(
            fingerprint=(statement := statements[workload.statements[query]]).fingerprint,
            text=statement.shown,
            weight=round(weights[query], 4),
            cost_before=round(cost, 2),
            cost_after=round(found.after[query].cost, 2),
        )
        for query, cost in found.before.items()
    }
    saved = {one: saved_share(found, one, weights) for one in found.indexes}
    whole, source = writes.growth(found.indexes)
    listed = []
    for one in sorted(found.indexes, key=lambda one: (-saved[one], one.title)):
        name = one.name(names)
        full = qualified(one.schema_name, name)
        listed.append(
            UnverifiedIndex(
                title=one.title,
                name=full,
                ddl=one.ddl(name, concurrently=True),
                undo=f"DROP INDEX CONCURRENTLY {full}",
                bytes=workload.sizes(one),
                saved_share=round(saved[one], 4),
                write_growth=round(whole - writes.growth(found.indexes - {one})[0], 4),
                queries=len(readers := found.readers(one)),
                effects=tuple(sorted((effects[query] for query in readers), key=_by_ratio)[:EFFECTS_OF_ONE]),
            )
        )
    changed = [effects[query] for query in effects if abs(found.ratio(query) - 1) > UNCHANGED]
    logs = math.fsum(-weights[query] * math.log(max(found.ratio(query), 1e-6)) for query in effects)
    return UnverifiedStrategy(
        indexes=tuple(listed),
        effects=tuple(sorted(changed, key=_by_ratio)[:EFFECTS_TOLD]),
        write_growth=round(whole, 4),
        write_growth_source=source,
        cost_gain=math.exp(logs / total) if (total := math.fsum(weights)) else 1.0,
        queries=len(workload.texts),
        not_listed=tuple(f"{one.title}: {why}" for one, why in sorted(found.dropped.items(), key=lambda item: item[0].title)),
    )


def _by_ratio(effect: EstimatedEffect) -> tuple[float, str]:
    return effect.ratio, effect.fingerprint
