"""Are a table's statistics to blame? Stale ones, and estimates that went wrong in a plan.

A planner that believes in ten rows where ten thousand come takes nested loops and leaves indexes aside: an index built because of such a
plan cures nothing. So the question "are the statistics out of date?" comes before "is an index missing?".
"""

from perfwright.analysis.plans.plan_tree import PlanNode
from perfwright.analysis.query_advice.plan_view import PlanView, rows_of
from perfwright.models.database import TableFacts

STALE_SHARE, STALE_ROWS = 0.1, 50
"""autovacuum_analyze_scale_factor and autovacuum_analyze_threshold as they come (documentation, 20.10): past both, ANALYZE is due."""
MISESTIMATE = 10.0
"""pev2 marks estimates from a factor of ten on; within it plans seldom change (Leis et al., "How Good Are Query Optimizers?", 2015)."""
MISESTIMATE_ROWS = 100.0
"""The larger of the two: ten rows instead of one cost nothing."""


def stale(table: TableFacts) -> str:
    """Why its statistics are out of date, in words that follow the table's name; empty when they are not, or when it cannot be told."""
    if table.kind == "foreign table":
        return ""
    rows = rows_of(table)
    known = any(column.distinct is not None for column in table.columns)
    if not table.analyzed_at and not known and table.columns and (table.rows < 0 or rows > 0):
        return "was never analyzed"
    if table.modified_rows is not None and table.modified_rows >= STALE_ROWS + STALE_SHARE * max(table.rows, 0.0):
        since = f" on {table.analyzed_at}" if table.analyzed_at else ""
        return f"had {table.modified_rows:,} rows changed since the last ANALYZE{since}, of {max(table.rows, 0.0):,.0f} that it knew"
    return ""


def misestimate(node: PlanNode) -> float:
    """How many times more rows came (above 1) or fewer (below 1) than planned, per loop; 1 when not executed or too few to matter."""
    planned, actual = max(1.0, node.plan_rows), max(1.0, node.rows)
    return actual / planned if node.executed and max(planned, actual) >= MISESTIMATE_ROWS else 1.0


def wrongly_looped(plan: PlanView, node: PlanNode) -> PlanNode | None:
    """The outer side that sent far more rows than planned into the nearest nested loop above this node; None when none did.

    That loop was chosen for few rows: what it repeats is expensive because of the estimate.
    """
    below = node
    for above in plan.ancestors(node):
        if above.kind == "nested loop" and len(above.children) > 1 and below.id == above.children[1]:
            outer = plan.nodes[above.children[0]]
            if misestimate(outer) >= MISESTIMATE:
                return next((one for one in plan.below(outer) if one.text("Relation Name") and misestimate(one) >= MISESTIMATE), outer)
            return None
        below = above
    return None
