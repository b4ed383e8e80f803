"""Indexes for MySQL and MariaDB as changes: what is run, and what undoes it."""

from collections.abc import Sequence

from perfwright.analysis.query_advice.plan_view import Tables
from perfwright.analysis.query_advice.statistics_fixes import CheapFix
from perfwright.models.change import Change
from perfwright.models.query_advice import IndexCandidate
from perfwright.models.query_performance import PlanHit

WHY = "the server reads rows that an index would leave out; it was not asked, as it knows no hypothetical indexes"


def index_fixes(candidates: Sequence[IndexCandidate], hits: Sequence[PlanHit], tables: Tables) -> tuple[CheapFix, ...]:
    """One change per candidate, with the hits on its table whose columns it serves."""
    fixes: dict[str, CheapFix] = {}
    for one in candidates:
        served = tuple(
            hit
            for hit in hits
            if hit.fingerprint == one.fingerprint and hit.relation and one.table.endswith(hit.relation.rpartition(".")[2])
        )
        if not served:
            continue
        table = tables.find(served[0].relation, None)
        known = fixes.get(one.ddl)
        fixes[one.ddl] = CheapFix(
            kind="index",
            subject=f"{one.table}({','.join(one.columns)})",
            change=Change(
                kind="sql",
                title=f"Create an index on {one.table} ({', '.join(one.columns)})",
                apply=one.ddl,
                undo=one.undo,
                risk="reload",
                undo_cost="building it again takes as long as it took to build",
            ),
            why=WHY,
            hits=(*known.hits, *served) if known else served,
            tables=(table,) if table else (),
        )
    return tuple(fixes.values())
