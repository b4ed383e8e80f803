"""Verifies a set of indexes on a fresh clone, with what it costs writers, and makes proposals of what is left."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from activities.index_clone import IndexClone, Written
from activities.index_measuring import VerifiedChoice, verify
from perfwright.analysis.indexes.definitions import IndexDefinition
from perfwright.analysis.indexes.entry_sizes import ValueSizes, entry_risk
from perfwright.analysis.indexes.proposals import created, estimated_growth, measured_growth, query_effects, write_effects
from perfwright.analysis.indexes.selection import NONE, Indexes
from perfwright.analysis.indexes.statement_texts import RunnableStatement
from perfwright.analysis.indexes.verification import shorter
from perfwright.analysis.indexes.workload import Workload
from perfwright.analysis.indexes.write_costs import write_penalty
from perfwright.models.database import Catalog
from perfwright.models.index_strategy import IndexStrategy, IndexStrategyRequest

READERS_MOST, TABLES_MOST, READERS_TOLD_MOST = 200, 100, 2_000
"""What a strategy tells of who reads what: of one table, tables, and names in all; it goes through histories."""
NO_GAIN = "no query is shown to gain from it, or one became slower by it"
WARNINGS_MOST = 10
WRITES_MOST = 50
"""Statements whose WAL is measured, those of the most calls."""


@dataclass(frozen=True)
class Verifying:
    """One verification. `clone` has no index of ours yet."""

    clone: IndexClone
    workload: Workload
    statements: Sequence[RunnableStatement]
    catalog: Catalog
    taken: set[str]
    request: IndexStrategyRequest
    asked_for: Indexes = NONE
    """By a person, in so many words."""
    sizes: ValueSizes = field(default_factory=dict)
    """Of the values that indexes may hold."""

    async def strategy(self, wanted: Indexes, tried: Sequence[IndexDefinition]) -> IndexStrategy:
        """What is left of the set within the budget of writes. `tried`: other forms that may take an index's place."""
        began = time.monotonic()
        await self.clone.build((), self.taken)  # sets the bound of every statement
        before = await self._written()
        risky = {one: risk.told for one in {*wanted, *tried} - self.asked_for if (risk := entry_risk(one, self.sizes)) and not risk.fits}
        kept = await self._verified(wanted - set(risky), [one for one in tried if one not in risky])
        dropped = {one: why for one, why in risky.items() if one in wanted} | dict.fromkeys(kept.dropped, NO_GAIN)
        while True:
            kept = await self._worth_it(kept, dropped)
            after = await self._written()
            effects = write_effects(self.statements, before, after)
            growth = measured_growth(self.statements, effects)
            source = "measured"
            if growth is None:
                growth, source = estimated_growth(self.catalog, kept.indexes)
            if growth <= self.request.write_growth_most or (dearest := self._dearest(kept)) is None:
                break
            dropped[dearest] = f"writes would put {growth:.0%} more into the WAL with it and the others; it gives the least for that"
            kept = await self._verified(self._instead(kept.indexes, dearest, dropped), ())
            dropped |= dict.fromkeys(kept.dropped, NO_GAIN)
        refused = list(self.clone.refused.items())[:WARNINGS_MOST]
        return IndexStrategy(
            proposals=created(kept, self.workload, self.statements, self.taken, {one: self.clone.built[one].bytes for one in kept.indexes}),
            effects=query_effects(kept, self.workload, self.statements),
            writes=effects,
            geomean_gain=self._gain(kept),
            write_growth=growth,
            write_growth_source="measured" if source == "measured" else "estimated" if source == "estimated" else "no writes",
            measured_dropped=tuple(f"{one.title}: {why}" for one, why in sorted(dropped.items(), key=lambda item: item[0].title)),
            seconds=round(time.monotonic() - began, 3),
            calls={one.fingerprint: float(one.calls) for one in self.statements},
            readers=self._readers(),
            warnings=(*self._risks(kept.indexes), *(f"{one.title} cannot be built: {why}"[:500] for one, why in refused)),
        )

    async def _worth_it(self, kept: VerifiedChoice, dropped: dict[IndexDefinition, str]) -> VerifiedChoice:
        """Without indexes that save too little of the workload's time for what every index takes: room, writes, planning, attention. What
        a person asked for is not measured by that."""
        least, weights = self.request.least_gain_share, self.workload.problem.weights
        total = math.fsum(weights) or 1.0
        while True:
            saved = {
                one: math.fsum(weights[query] * (1 - kept.queries[query].ratio) for query, read in kept.used.items() if one in read) / total
                for one in kept.indexes - self.asked_for
            }
            small = min(saved, key=lambda one: (saved[one], one.title), default=None)
            if small is None or saved[small] >= least:
                return kept
            dropped[small] = f"it would save {saved[small]:.1%} of the workload's time, and {least:.1%} is asked for"
            kept = await self._verified(kept.indexes - {small}, ())
            dropped |= dict.fromkeys(kept.dropped, NO_GAIN)

    async def _verified(self, wanted: Indexes, tried: Sequence[IndexDefinition]) -> VerifiedChoice:
        """Only what is kept is left on the clone: hidden ones would be kept up by writes as well."""
        kept = await verify(self.clone, self.workload, wanted, self.taken, self.request.measure_s / 2, tried)
        await self.clone.forget([one for one in self.clone.built if one not in kept.indexes])
        return kept

    async def _written(self) -> Mapping[str, Written | str]:
        """What each write puts into the WAL with the indexes that the clone has now, or why that is not known."""
        from asyncpg.exceptions import PostgresError

        found: dict[str, Written | str] = {}
        writes = sorted((one for one in self.statements if one.writes), key=lambda one: (-one.calls, one.fingerprint))
        for one in writes[:WRITES_MOST]:
            try:
                await self.clone.write(one.text, NONE)  # the first writes whole pages after a checkpoint
                found[one.fingerprint] = await self.clone.write(one.text, NONE)
            except PostgresError as refused:
                found[one.fingerprint] = f"the server refuses it: {refused.sqlstate} {type(refused).__name__}"
        return found

    def _dearest(self, kept: VerifiedChoice) -> IndexDefinition | None:
        """Which index gives the least for what it costs writers; None where none costs them anything that is known."""
        writes, weights = self.workload.problem.writes, self.workload.problem.weights
        whole = write_penalty(writes, kept.indexes)
        costs = {one: whole - write_penalty(writes, kept.indexes - {one}) for one in kept.indexes}
        gains = {
            one: sum(-weights[query] * math.log(kept.queries[query].ratio) for query, read in kept.used.items() if one in read)
            for one in kept.indexes
        }
        dear = [one for one in kept.indexes if costs[one] > 0]
        return min(dear, key=lambda one: (gains[one] / costs[one], one.title), default=None)

    def _instead(self, indexes: Indexes, dearest: IndexDefinition, gone: Mapping[IndexDefinition, str]) -> Indexes:
        """With its next shorter form in its place: less of every row is written, and what writes change need not be carried along."""
        rest = indexes - {dearest}
        left = [one for one in shorter((dearest,)) if one not in gone and one not in rest]
        return rest | set(left[:1])

    def _risks(self, indexes: Indexes) -> list[str]:
        """Of what is proposed: what later writes it may refuse."""
        found = ((one, entry_risk(one, self.sizes)) for one in sorted(indexes, key=lambda one: one.title))
        return [f"{one.title}: {risk.told}" for one, risk in found if risk is not None]

    def _readers(self) -> dict[str, tuple[str, ...]]:
        weights, left = self.workload.problem.weights, READERS_TOLD_MOST
        found: dict[str, list[str]] = {}
        for query in sorted(range(len(weights)), key=lambda query: (-weights[query], query)):
            statement = self.statements[self.workload.statements[query]]
            for table in dict.fromkeys(f"{use.table.schema_name}.{use.table.name}" for use in self.workload.problem.uses[query]):
                if not statement.writes and left and len(found.setdefault(table, [])) < READERS_MOST:
                    found[table].append(statement.fingerprint)
                    left -= 1
        return {table: tuple(names) for table, names in list(found.items())[:TABLES_MOST]}

    def _gain(self, kept: VerifiedChoice) -> float:
        weights = self.workload.problem.weights
        logs = sum(-weights[query] * math.log(one.ratio) for query, one in kept.queries.items())
        return math.exp(logs / total) if (total := sum(weights)) else 1.0
