"""Ways to write a query that keep the server from answering it well: R11, R15 over two tables, R16, R23. (R12 to R15 of one scan are in
hidden_columns.py.)

Formulas: tools-db 2.1; PostgreSQL documentation, "LIMIT and OFFSET", "WITH Queries"; Markus Winand, "Use The Index, Luke" (no-offset).
OFFSET (R16) can also be judged in a plan that was not executed, by its estimates.
"""

import re
from collections.abc import Iterator

from perfwright.analysis.plans.conditions import bare_column, columns_in, read_condition
from perfwright.analysis.plans.examined import ExaminedPlan, discards_most, in_list, told
from perfwright.analysis.plans.node_kinds import JOINS, TABLE_SCANS
from perfwright.analysis.plans.plan_tree import PlanNode
from perfwright.analysis.plans.predicates import linked, own_columns
from perfwright.models.query_performance import PlanHit

MANY_RUNS, SUBPLAN_SHARE = 1_000.0, 0.2
"""tools-db R11."""
SLOW_RUNS, SLOW_RUN_MS = 100.0, 0.1
"""Fewer runs count where each is slow: an index finds a few rows in a hundredth of a millisecond."""
MIN_SKIPPED, SKIPPED_PER_ROW = 1_000.0, 10.0
"""tools-db R16."""
_NUMBERING = re.compile(r"\b(row_number|rank|dense_rank)\(\) OVER .* <=? ", re.DOTALL)
CTE_SHARE = 0.1
"""A cheap CTE is not worth a rewrite."""


def rules(plan: ExaminedPlan) -> Iterator[PlanHit]:
    """All hits of this family."""
    if plan.trivial:
        return
    for node in plan.tree.nodes:
        if node.kind in JOINS:
            yield from alternatives_across_tables(plan, node)
        elif node.kind == "limit":
            yield from offset_paging(plan, node)
        elif node.kind == "cte scan":
            yield from filter_after_cte(plan, node)
        elif node.kind == "subquery scan":
            yield from numbered_paging(plan, node)
        if node.relationship == "SubPlan":
            yield from correlated_subplan(plan, node)


def correlated_subplan(plan: ExaminedPlan, node: PlanNode) -> Iterator[PlanHit]:
    """R11: a subquery runs again for every row, where a join or an aggregate would read once.

    SubPlan (not hashed) with >= 1,000 runs, or >= 100 that take 0.1 ms each; subtree >= 20 %.
    """
    if not plan.analyzed or not plan.counts(node, SUBPLAN_SHARE):
        return
    slow = node.loops >= SLOW_RUNS and (node.time_ms or 0.0) >= SLOW_RUN_MS
    if node.loops < MANY_RUNS and not slow:
        return
    scan = next((one for one in plan.tree.subtree(node) if one.kind in TABLE_SCANS), None)
    texts = tuple(
        one.text(field) for one in plan.tree.subtree(node) for field in ("Filter", "Index Cond") if one.alias == (scan and scan.alias)
    )
    name = node.text("Subplan Name") or "A subquery"
    yield plan.hit(
        "R11",
        node,
        f"{name.split(' (')[0]} runs {told(node.loops)} times, once for every row, and takes {plan.share(node):.0%} of the time",
        numbers={"loops": node.loops, "run_ms": node.time_ms or 0.0},
        relation=scan.relation if scan else "",
        columns=linked(texts, scan.alias) if scan else (),
    )


def alternatives_across_tables(plan: ExaminedPlan, join: PlanNode) -> Iterator[PlanHit]:
    """R15, over two tables: the OR can only be checked after the join, so all of it is joined first; a UNION of the two asks each its part.

    Join filter with an OR whose branches are about one table each, and not the same one, removing >= 1,000 rows and 90 %; share >= 0.1.
    """
    removed, kept = plan.removed(join, "Rows Removed by Join Filter"), plan.rows(join)
    if not plan.analyzed or not discards_most(kept, removed) or not plan.counts(join):
        return
    for part in read_condition(join.text("Join Filter")):
        tables = [frozenset(column.qualifier for column in columns_in(branch)) for branch in part.branches]
        if len(tables) > 1 and all(len(one) == 1 for one in tables) and len(set(tables)) > 1:
            yield plan.hit(
                "R15",
                join,
                f"The OR over columns of {' and '.join(sorted({name for one in tables for name in one}))} is checked after joining: "
                f"{told(removed)} of "
                f"{told(removed + kept)} joined rows are discarded",
                numbers={"rows_removed": removed, "rows_kept": kept},
                relation="",
                columns=(),
            )
            return


def offset_paging(plan: ExaminedPlan, node: PlanNode) -> Iterator[PlanHit]:
    """R16: OFFSET reads and throws away the pages before.

    A LIMIT without OFFSET stops its input at the rows it gives; what the input gave more was skipped: >= 1,000 rows and at least ten times
    as many as were given. Not executed: OFFSET is in the startup cost of the LIMIT (adjust_limit_rows_costs in pathnode.c).
    """
    below = plan.tree.input(node, "Outer")
    if below is None or not plan.counts(node):
        return
    given, read = (node.rows, below.rows) if plan.analyzed else (node.plan_rows, node.plan_rows + _planned_offset(node, below))
    skipped = read - given
    if skipped >= MIN_SKIPPED and skipped >= SKIPPED_PER_ROW * given:
        yield _paged(plan, node, below, "OFFSET", skipped, given)


def _paged(plan: ExaminedPlan, node: PlanNode, below: PlanNode, what: str, skipped: float, given: float) -> PlanHit:
    table = next((one for one in plan.tree.subtree(below) if one.relation), None)
    sort = next((one for one in plan.tree.subtree(below) if one.texts("Sort Key")), None)
    keys = [bare_column(text) for text in sort.texts("Sort Key")] if sort else []
    names = tuple(key.name for key in keys if key and table and key.of(table.alias)) or _index_order(plan, table)
    return plan.hit(
        "R16",
        node,
        f"{what} reads {told(skipped + given)} rows and throws {told(skipped)} of them away to give {told(given)}; later pages take longer",
        numbers={"rows_skipped": skipped, "rows_given": given},
        relation=table.relation if table else "",
        columns=names,
    )


def numbered_paging(plan: ExaminedPlan, node: PlanNode) -> Iterator[PlanHit]:
    """R16, written with row_number(): rows are numbered from the first one on, and those before the page are thrown away.

    Subquery Scan whose filter compares a number with a lower end, over a WindowAgg that stops at the upper end (its Run Condition, since
    15: nodeWindowAgg.c), skipping as many as OFFSET would. The best one or few of each group have no lower end.
    """
    below = plan.tree.input(node, "Outer") or next(iter(plan.tree.inputs(node)), None)
    if below is None or below.kind != "window" or not plan.analyzed or not plan.counts(node):
        return
    runs = _NUMBERING.search(below.text("Run Condition"))
    lower = [part for part in read_condition(node.text("Filter")) if part.comparison == "range" and part.constant]
    given, skipped = plan.rows(node), plan.removed(node)
    if runs is None or len(lower) != 1 or skipped < MIN_SKIPPED or skipped < SKIPPED_PER_ROW * given:
        return
    yield _paged(plan, node, below, "A page by row_number()", skipped, given)


def _planned_offset(node: PlanNode, below: PlanNode) -> float:
    run_cost = below.total_cost - below.number("Startup Cost")
    into = node.number("Startup Cost") - below.number("Startup Cost")
    return below.plan_rows * into / run_cost if run_cost > 0 and into > 0 else 0.0


def _index_order(plan: ExaminedPlan, table: PlanNode | None) -> tuple[str, ...]:
    facts = plan.facts(table) if table else None
    index = next((one for one in facts.indexes if table and one.name == table.text("Index Name")), None) if facts else None
    return tuple(key for key in (key.strip('"') for key in index.keys) if facts and facts.column(key)) if index else ()


def filter_after_cte(plan: ExaminedPlan, node: PlanNode) -> Iterator[PlanHit]:
    """R23: a CTE is computed as a whole, and most of it is thrown away by a filter that could have been inside.

    CTE Scan that removes >= 1,000 rows and >= 90 %, where the CTE takes >= 10 % of the time; not recursive, not writing, no LIMIT or window
    on top; over a grouping only when the filter is on what it groups by.
    """
    removed, kept = plan.removed(node), plan.rows(node)
    if not plan.analyzed or not discards_most(kept, removed):
        return
    name = node.text("CTE Name")
    body = next((one for one in plan.tree.nodes if one.relationship == "InitPlan" and one.text("Subplan Name") == f"CTE {name}"), None)
    if body is None or body.kind in ("recursive union", "modify table", "limit", "window") or not plan.counts(body, CTE_SHARE):
        return
    columns = own_columns((node.text("Filter"),), node.alias)
    if body.kind in ("aggregate", "unique"):
        keys = {key.name for text in body.texts("Group Key") if (key := bare_column(text))}
        if not columns or not set(columns) <= keys:
            return
    if _read_elsewhere_whole(plan, node, name):
        return
    table = next((one for one in plan.tree.subtree(body) if one.relation), None)
    yield plan.hit(
        "R23",
        node,
        f"The CTE {name} gives {told(removed + kept)} rows, of which the filter on {in_list(columns) or 'it'} keeps {told(kept)}: inside "
        "the CTE (or "
        "NOT MATERIALIZED) it would read less",
        numbers={"rows_removed": removed, "rows_kept": kept},
        relation=table.relation if table else "",
        columns=columns,
        share=plan.share(body),
    )


def _read_elsewhere_whole(plan: ExaminedPlan, node: PlanNode, name: str) -> bool:
    """Another reader needs all of it: computing it once is right."""
    return any(
        one.kind == "cte scan" and one.text("CTE Name") == name and one.id != node.id and not one.text("Filter") for one in plan.tree.nodes
    )
