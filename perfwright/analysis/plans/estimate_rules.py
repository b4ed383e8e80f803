"""Misestimates: R09, R10, R30.

Formulas: tools-db 2.1, after pev2's factors 10, 100, 1000; what estimates mean and which statistics cure them: PostgreSQL documentation,
"Row Estimation Examples", "Extended Statistics", "CREATE FUNCTION ... ROWS".
"""

from collections.abc import Iterator

from perfwright.analysis.plans.conditions import read_condition
from perfwright.analysis.plans.examined import ExaminedPlan, in_list, told
from perfwright.analysis.plans.node_kinds import JOINS, TABLE_SCANS
from perfwright.analysis.plans.node_times import stopped_early
from perfwright.analysis.plans.plan_tree import PlanNode
from perfwright.analysis.plans.predicates import own_columns, predicates, unknown_to_statistics
from perfwright.models.database import TableFacts
from perfwright.models.query_performance import PlanHit

MISESTIMATE = 10.0
"""pev2's first factor."""
MIN_ROWS = 100.0
"""Of the larger of estimate and actual: below, no plan changes."""
MIN_SUBTREE_SHARE = 0.05
"""tools-db R09."""
MIN_INNER_LOOPS = 10_000.0
"""From here on a hash join would have been cheaper than the lookups (tools-db R10)."""
MIN_LOOP_SHARE = 0.1
"""As for any node that is to matter (MIN_SHARE)."""
DEFAULT_ROWS = (100.0, 1_000.0)
"""What a set-returning function is taken to return without ROWS: 1,000, of some of the server's own 100 (pg_proc.prorows)."""
STALE_SHARE = 0.1
"""autovacuum_analyze_scale_factor: from here on ANALYZE is due."""


def rules(plan: ExaminedPlan) -> Iterator[PlanHit]:
    """All hits of this family. Estimates can only be judged where the statement was executed."""
    if plan.trivial or not plan.analyzed:
        return
    for node in plan.tree.nodes:
        if node.executed:
            yield from misestimate(plan, node)
            yield from loop_on_underestimate(plan, node)
            yield from function_default(plan, node)


def factor(node: PlanNode) -> float:
    """How many times too low (above 1) or too high (below 1) the estimate was, per loop; 1 where it was right or is not known.

    Less than a row counts as one: before PostgreSQL 18 the average over loops is rounded.
    """
    if not node.executed or node.optional("Plan Rows") is None:
        return 1.0
    return max(1.0, node.rows) / max(1.0, node.plan_rows)


def wrong(node: PlanNode) -> bool:
    ratio = factor(node)
    return max(ratio, 1 / ratio) >= MISESTIMATE and max(node.rows, node.plan_rows) >= MIN_ROWS


def misestimate(plan: ExaminedPlan, node: PlanNode) -> Iterator[PlanHit]:
    """R09: the planner expected ten times more or fewer rows, here for the first time on the way up.

    max(plan / actual, actual / plan) >= 10, the larger >= 100, share >= 5 %: of the subtree, or, of an underestimate, of the join above,
    which suffers from it. Reported where it begins: of scans and of joins and groupings whose inputs were estimated well. Overestimates
    below a LIMIT, a semi or anti join, or a merge join are no fault of the estimate, nor are conditions that no statistics know:
    subqueries, values of InitPlans, HAVING, expressions (R12 to R14 say those); what follows a pattern's beginning is guessed
    (like_support.c). Joins and groupings count where another join, or a spill, is above.
    """
    below = [child for child in plan.tree.inputs(node) if child.kind not in ("bitmap index scan", "bitmap combine")]
    if not wrong(node) or any(wrong(child) for child in below):
        return
    ratio = factor(node)
    if _harm(plan, node, ratio) < MIN_SUBTREE_SHARE or (ratio < 1 and stopped_early(plan.tree, node)):
        return
    if node.kind in TABLE_SCANS:
        yield from _of_scan(plan, node, ratio)
    elif (node.kind in JOINS or (node.kind == "aggregate" and not node.text("Filter"))) and _matters_above(plan, node):
        yield _misestimated(plan, node, ratio, f"{node.title} gives", (), None)


def _harm(plan: ExaminedPlan, node: PlanNode, ratio: float) -> float:
    join = next((above for above in plan.tree.ancestors(node) if above.kind in JOINS), None) if ratio >= 1 else None
    return max(plan.share(node), plan.share(join) if join else 0.0)


def _of_scan(plan: ExaminedPlan, node: PlanNode, ratio: float) -> Iterator[PlanHit]:
    facts = plan.facts(node)
    texts = tuple(
        text for one in plan.tree.subtree(node) for text in (one.text("Filter"), one.text("Index Cond"), one.text("Recheck Cond")) if text
    )
    parts = tuple(dict.fromkeys(part for text in texts for part in read_condition(text)))
    found = predicates(node, facts)
    if unknown_to_statistics(parts) or _merge_inner(plan, node):
        return
    patterns = any(part.comparison in ("pattern", "regex") for part in found.sargable)
    guessed = any(one.operand in ("function", "expression") for part in found.other for branch in part.branches for one in branch)
    if (found.wrapped or found.cast or found.unanchored or patterns or guessed) and (ratio < 1 or not _matters_above(plan, node)):
        return
    columns = own_columns(texts, node.alias)
    yield _misestimated(plan, node, ratio, f"{node.relation} gives", columns, facts)


def _merge_inner(plan: ExaminedPlan, node: PlanNode) -> bool:
    """The inner side of a merge join is read again for equal keys of the outer one, and counted again."""
    parent = plan.tree.parent(node)
    return parent is not None and parent.kind == "merge join" and node.relationship == "Inner"


def _matters_above(plan: ExaminedPlan, node: PlanNode) -> bool:
    return any(
        above.kind in JOINS or above.number("Disk Usage") > 0 or above.text("Sort Space Type") == "Disk"
        for above in plan.tree.ancestors(node)
    )


def _misestimated(
    plan: ExaminedPlan, node: PlanNode, ratio: float, subject: str, columns: tuple[str, ...], facts: TableFacts | None
) -> PlanHit:
    size = ratio if ratio >= 1 else 1 / ratio
    changed = _changed_share(facts)
    each = " each time" if node.loops > 1 else ""
    numbers = {"rows_planned": node.plan_rows, "rows_actual": node.rows, "factor": size, "underestimate": float(ratio >= 1)}
    if changed is not None:
        numbers["changed_share"] = changed
    return plan.hit(
        "R09",
        node,
        f"{subject} {told(node.rows)} rows{each}, {told(size)} times {'more' if ratio >= 1 else 'fewer'} than the {told(node.plan_rows)} "
        "the planner "
        f"expected: {_cause(facts, changed, columns)}",
        numbers=numbers,
        columns=columns,
        share=_harm(plan, node, ratio),
    )


def _changed_share(facts: TableFacts | None) -> float | None:
    """Share of the table's rows that changed since its last ANALYZE; None when not known."""
    if facts is None or facts.modified_rows is None:
        return None
    return min(1.0, facts.modified_rows / max(1.0, facts.live_rows or facts.rows))


def _cause(facts: TableFacts | None, changed: float | None, columns: tuple[str, ...]) -> str:
    if facts is not None and (facts.rows < 0 or (not facts.analyzed_at and not facts.columns)):
        return "the table was never analyzed"
    if changed is not None and changed >= STALE_SHARE:
        return f"{changed:.0%} of the table changed since its last ANALYZE"
    if len(columns) > 1:
        return f"it takes the conditions on {in_list(columns)} for independent"
    if columns:
        return f"its statistics do not show how the values of {columns[0]} are spread"
    return "its statistics do not show how the inputs belong together"


def loop_on_underestimate(plan: ExaminedPlan, node: PlanNode) -> Iterator[PlanHit]:
    """R10: a nested loop was chosen for a few rows, and there were many.

    Inner side run >= 10,000 times, outer rows >= 10 times the estimate, share >= 0.1. The cure is the outer side's statistics, not
    enable_nestloop. Of nested loops within each other the innermost.
    """
    outer, inner = plan.tree.input(node, "Outer"), plan.tree.input(node, "Inner")
    if node.kind != "nested loop" or outer is None or inner is None or not plan.counts(node, MIN_LOOP_SHARE):
        return
    loops = inner.loops
    if _looped_too_often(plan, node) and not _looped_too_often(plan, outer):
        yield plan.hit(
            "R10",
            node,
            f"The nested loop was planned for {told(outer.plan_rows)} rows on its outer side and got {told(outer.rows)}: its inner side "
            "ran "
            f"{told(loops)} times",
            numbers={"loops": loops, "outer_planned": outer.plan_rows, "outer_actual": outer.rows},
            relation=next((one.relation for one in plan.tree.subtree(inner) if one.relation), ""),
        )


def _looped_too_often(plan: ExaminedPlan, node: PlanNode) -> bool:
    outer, inner = plan.tree.input(node, "Outer"), plan.tree.input(node, "Inner")
    if node.kind != "nested loop" or outer is None or inner is None:
        return False
    return inner.loops >= MIN_INNER_LOOPS and outer.rows >= MISESTIMATE * max(1.0, outer.plan_rows)


def function_default(plan: ExaminedPlan, node: PlanNode) -> Iterator[PlanHit]:
    """R30: a set-returning function is taken to return its default number of rows and returns ten times as many.

    Function Scan with 100 or 1,000 planned rows, actual >= 10 times, share of it or of the join above >= 5 %.
    """
    if node.kind != "function scan" or _harm(plan, node, factor(node)) < MIN_SUBTREE_SHARE:
        return
    if node.plan_rows in DEFAULT_ROWS and node.rows >= MISESTIMATE * node.plan_rows:
        name = node.text("Function Name") or node.alias or "the function"
        yield plan.hit(
            "R30",
            node,
            f"{name} returns {told(node.rows)} rows; the planner took its default of {told(node.plan_rows)}",
            numbers={"rows_planned": node.plan_rows, "rows_actual": node.rows, "factor": node.rows / node.plan_rows},
        )
