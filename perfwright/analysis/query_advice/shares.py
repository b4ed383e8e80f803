"""How much of the database's time a hit stands for: share of its statement x share of the statement's time at its nodes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from perfwright.analysis.query_advice.index_candidates import PlanViews
from perfwright.models.query_performance import PlanHit
from perfwright.models.query_steps import PlanSet, TakenPlan
from perfwright.models.statement import Statement, StatementTable

OF_DATABASE = "share of database time"
OF_GIVEN = "share of the given statements' time"


@dataclass(frozen=True)
class Load:
    """One statement's part."""

    statement: Statement
    share: float
    """0 to 1."""


class Loads:
    """Shares of all statements.

    Statements that were given as text have no calls: beside observed ones each counts as if it had run once in the window, by its measured
    execution; without any observed ones their shares are those of one execution each (or, never executed, of planned cost).
    """

    def __init__(self, table: StatementTable, plans: PlanSet) -> None:
        observed = {one.fingerprint: _observed(one, table) for one in table.statements if one.total_ms > 0 or one.share > 0}
        once = {one.fingerprint: _execution_ms(one.plans) for one in plans.statements if one.fingerprint not in observed}
        if not observed and not any(once.values()):
            views = PlanViews(plans)
            once = {name: view.cost for name in once if (view := views.of(name, 0)) is not None}
        seen_ms = table.total_ms if observed else 0.0
        whole = seen_ms + sum(once.values())
        scale = seen_ms / whole if observed and whole else 1.0
        shares = {name: share * scale for name, share in observed.items()} | {
            name: ms / whole if whole else 0.0 for name, ms in once.items()
        }
        self.unit = OF_DATABASE if observed else OF_GIVEN
        self.seconds = table.seconds
        self.total_ms = table.total_ms
        self._loads = {one.fingerprint: Load(one, min(1.0, shares.get(one.fingerprint, 0.0))) for one in table.statements}

    def statement(self, fingerprint: str) -> Statement | None:
        return self._loads[fingerprint].statement if fingerprint in self._loads else None

    def share(self, fingerprint: str) -> float:
        return self._loads[fingerprint].share if fingerprint in self._loads else 0.0

    def sessions(self) -> float | None:
        """Sessions that were executing something, on average over the window; None without a window."""
        return self.total_ms / (1_000 * self.seconds) if self.seconds > 0 and self.total_ms > 0 and self.unit == OF_DATABASE else None

    def at_nodes(self, hits: Iterable[PlanHit], views: PlanViews) -> dict[str, float]:
        """Of each statement's time, the share at the nodes that were hit. Nodes below another one that was hit are part of it. Of several
        samples the one with the most counts: the rules keep the worst, and where samples differ it also takes most of the time."""
        by_statement: dict[str, dict[int, list[PlanHit]]] = {}
        for hit in hits:
            by_statement.setdefault(hit.fingerprint, {}).setdefault(hit.sample, []).append(hit)
        return {
            fingerprint: min(1.0, max(sum(_outermost(of_sample, views)) for of_sample in samples.values()))
            for fingerprint, samples in by_statement.items()
        }

    def of_hits(self, hits: Sequence[PlanHit], views: PlanViews) -> float:
        """Of the database's time."""
        return min(1.0, sum(share * self.share(fingerprint) for fingerprint, share in self.at_nodes(hits, views).items()))


def _outermost(hits: list[PlanHit], views: PlanViews) -> list[float]:
    nodes = {hit.node: max(one.share for one in hits if one.node == hit.node) for hit in hits}
    view = views.view(hits[0])
    kept = []
    for number, share in nodes.items():
        node = view.node(number) if view else None
        above = {one.id for one in view.ancestors(node)} if view and node else set()
        if not any(other in above and nodes[other] >= share for other in nodes):
            kept.append(share)
    return kept


def _observed(statement: Statement, table: StatementTable) -> float:
    """As the table has it: sources may cover different times, so it is more than a quotient of totals."""
    return statement.share or (statement.total_ms / table.total_ms if table.total_ms > 0 else 0.0)


def _execution_ms(plans: Sequence[TakenPlan]) -> float:
    """Of the median sample."""
    times = sorted(one.execution_ms for one in plans if one.execution_ms is not None)
    return times[len(times) // 2] if times else 0.0
