"""A plan with everything rules ask of it, and the hit they answer with."""

from dataclasses import dataclass
from functools import cached_property

from perfwright.analysis.plans.node_times import NodeTimes, planned_loops
from perfwright.analysis.plans.partitions import partition_groups, partition_of
from perfwright.analysis.plans.plan_tree import PlanNode, PlanTree
from perfwright.models.database import Catalog, TableFacts
from perfwright.models.query_performance import PlanHit

MIN_STATEMENT_MS = 1.0
"""A statement that takes less has nothing to win; most of it is fixed cost (pgbench's simplest SELECT takes 0.1 ms)."""
MIN_FREQUENT_MS, FREQUENT_SHARE = 0.2, 0.01
"""One that takes a hundredth of the server's time by being called often is worth a look from twice that fixed cost on."""
MIN_STATEMENT_COST = 1_000.0
"""The same by planned cost: reading 1,000 pages, some milliseconds (costsize.c: seq_page_cost 1)."""
MIN_SHARE = 0.1
"""A node that takes less of the statement's time is not what makes it slow (pev2 highlights from 10 % on)."""
MIN_REMOVED_ROWS = 1_000.0
"""Below, a scan is a few pages (tools-db R01)."""
REMOVED_SHARE = 0.9
"""pev2's second threshold; at 10 % of the rows an index still reads about half of what a full scan costs (cost_index in costsize.c)."""
REPEATED = 10.0
"""A node that one process runs more often than this is repeated (tools-db R02)."""
BY_ESTIMATE = " (by the planner's estimates: the statement was not executed)"


@dataclass(frozen=True)
class ExaminedPlan:
    """One plan of one statement."""

    tree: PlanTree
    times: NodeTimes
    fingerprint: str = ""
    sample: int = 0
    catalog: Catalog | None = None
    execution_ms: float | None = None
    """Of the statement without the timing of nodes, where that was measured."""
    mean_ms: float | None = None
    """Of the statement's calls in the window, for plans that were not executed."""
    load_share: float = 0.0
    """Of the time of all statements in the window, by this one."""
    functions: tuple[str, ...] = ()
    """Functions of the users' own that the statement calls: what they do is in the plan's time and blocks, and in no node of their own."""

    @property
    def analyzed(self) -> bool:
        return self.tree.analyzed

    @cached_property
    def takes_ms(self) -> float | None:
        if not self.analyzed:
            return self.mean_ms
        return (
            self.execution_ms
            if self.execution_ms is not None
            else self.tree.execution_ms or (self.times.total if self.tree.timed else None)
        )

    @cached_property
    def trivial(self) -> bool:
        """Too little to win anything."""
        if self.takes_ms is not None:
            return self.takes_ms < (MIN_FREQUENT_MS if self.load_share >= FREQUENT_SHARE else MIN_STATEMENT_MS)
        return self.tree.root.total_cost < MIN_STATEMENT_COST

    def share(self, node: PlanNode) -> float:
        """Of the statement's time. What a Gather spends on starting workers and waiting for them is on behalf of what they do: nodes below
        have their part in it."""
        share = self.times.share(node)
        below = node
        for above in self.tree.ancestors(node):
            if above.kind == "gather" and below.relationship == "Outer" and (whole := self.times.elapsed[below.id]) > 0:
                return min(1.0, share + self.times.own_share(above) * self.times.elapsed[node.id] / whole)
            below = above
        return share

    def counts(self, node: PlanNode, least: float = MIN_SHARE) -> bool:
        """Whether the node takes enough of the statement to matter."""
        return self.share(node) >= least

    def facts(self, node: PlanNode) -> TableFacts | None:
        """What the catalog knows of the table that the node reads."""
        name = node.text("Relation Name")
        return self.catalog.table(name, node.text("Schema")) if self.catalog and name else None

    def system_table(self, node: PlanNode) -> bool:
        """A table of the server's own: nobody can give it an index. The catalog has user tables only."""
        name = node.text("Relation Name")
        in_its_schema = node.text("Schema") in ("pg_catalog", "information_schema")
        return bool(name) and self.facts(node) is None and (name.startswith("pg_") or in_its_schema)

    @cached_property
    def _planned_loops(self) -> list[float]:
        return planned_loops(self.tree)

    def repeats(self, node: PlanNode) -> float:
        """How often one process ran (or is planned to run) the node."""
        return node.loops / self.times.processes[node.id] if self.analyzed else self._planned_loops[node.id]

    def rows(self, node: PlanNode) -> float:
        """Rows that the node gave, over all loops; planned ones where the statement was not executed."""
        if self.analyzed:
            return node.all_rows
        return node.plan_rows * self._planned_loops[node.id] * self.workers_planned(node)

    def removed(self, node: PlanNode, field: str = "Rows Removed by Filter") -> float:
        """Rows that a condition of the node removed, over all loops; not executed: the table's other rows, where the catalog has it."""
        if self.analyzed:
            return node.number(field) * node.loops
        facts = self.facts(node)
        rows = facts.rows if facts and facts.rows > 0 and node.kind == "seq scan" and field == "Rows Removed by Filter" else 0.0
        return max(0.0, rows * self._planned_loops[node.id] - self.rows(node)) if node.text("Filter") else 0.0

    @cached_property
    def partitions(self) -> dict[int, tuple[PlanNode, ...]]:
        """Append node -> scans of partitions of one table."""
        return partition_groups(self.tree)

    @cached_property
    def _scans_together(self) -> dict[int, tuple[PlanNode, ...]]:
        found: dict[int, tuple[PlanNode, ...]] = {}
        for parts in self.partitions.values():
            for kind in {part.kind for part in parts}:
                same = tuple(sorted((part for part in parts if part.kind == kind), key=lambda one: (-self.times.elapsed[one.id], one.id)))
                found |= {part.id: same for part in same}
        return found

    def scans_together(self, node: PlanNode) -> tuple[PlanNode, ...]:
        """Scans of partitions that read their table together, the one that takes most first; of any other node the node alone."""
        return self._scans_together.get(node.id, (node,))

    def table_of(self, node: PlanNode) -> str:
        """The table that a node reads; of a partition its partitioned table, where the statement gave that no alias of its own."""
        base = partition_of(node) if node.id in self._scans_together else ""
        known = self.catalog.table(base) if self.catalog and base else None
        return base if known is not None and known.kind == "partitioned table" else node.relation

    def workers_planned(self, node: PlanNode) -> float:
        """What planned rows below a Gather are to be multiplied with (get_parallel_divisor in costsize.c)."""
        for above in self.tree.ancestors(node):
            if above.kind == "gather":
                workers = above.number("Workers Planned")
                return max(1.0, workers + max(0.0, 1.0 - 0.3 * workers)) if node.flag("Parallel Aware") else 1.0
        return 1.0

    @cached_property
    def _own_blocks(self) -> list[float]:
        return self.times.own_of([node.blocks for node in self.tree.nodes])

    def own_blocks(self, node: PlanNode) -> float:
        """Shared blocks hit and read by the node alone, over all loops and processes."""
        return self._own_blocks[node.id]

    def hit(
        self,
        rule: str,
        node: PlanNode,
        statement: str,
        *,
        numbers: dict[str, float],
        columns: tuple[str, ...] = (),
        relation: str | None = None,
        relations: tuple[str, ...] = (),
        share: float | None = None,
    ) -> PlanHit:
        """What a rule answers with. `share`, unless given, is that of the node with what it waited for."""
        return PlanHit(
            rule=rule,
            fingerprint=self.fingerprint,
            sample=self.sample,
            node=node.id,
            node_title=node.title,
            relation=node.relation if relation is None else relation,
            relations=relations,
            statement=statement + ("" if self.analyzed else BY_ESTIMATE),
            share=round(self.share(node) if share is None else max(0.0, min(1.0, share)), 6),
            numbers={name: round(value, 6) for name, value in numbers.items()},
            columns=columns,
        )


def discards_most(kept: float, removed: float) -> bool:
    """Whether a condition removed so many of the rows that were read that an index is worth it."""
    return removed >= MIN_REMOVED_ROWS and removed >= REMOVED_SHARE * (removed + kept)


def told(value: float) -> str:
    """`12,345`, `3.2`: a count for a sentence."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def in_list(names: tuple[str, ...]) -> str:
    return ", ".join(names)
