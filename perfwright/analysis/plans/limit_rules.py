"""LIMIT that reads far more than it gives: R17 (family scans)."""

from collections.abc import Iterator

from perfwright.analysis.plans.conditions import bare_column
from perfwright.analysis.plans.examined import ExaminedPlan, in_list, told
from perfwright.analysis.plans.node_times import blocking
from perfwright.analysis.plans.plan_tree import PlanNode
from perfwright.analysis.plans.predicates import Predicates, column_is_led, predicates
from perfwright.models.query_performance import PlanHit

MIN_WALKED_ROWS = 10_000.0
"""tools-db R17."""
WALKED_PER_ROW = 100.0
"""Rows looked at for each row given; with the right index it is one."""
MIN_SORT_SHARE = 0.5
"""Of scan and sort together: otherwise the order is not what the statement pays for."""
MAX_SORT_KEYS = 3
"""Nobody keeps an index for an order by more columns."""


def rules(plan: ExaminedPlan) -> Iterator[PlanHit]:
    """All hits of this module."""
    if plan.trivial or not plan.analyzed:
        return
    for node in plan.tree.nodes:
        if node.kind == "limit" and node.executed and plan.counts(node):
            yield from walks_wrong_index(plan, node)
            yield from sorts_all(plan, node)


def walks_wrong_index(plan: ExaminedPlan, limit: PlanNode) -> Iterator[PlanHit]:
    """R17: an index is walked in the order that the LIMIT wants until enough rows also satisfy a filter, or find a partner in a join.

    Index scan below the LIMIT with nothing between that reads all: removed >= 10,000 and 100 times the rows given; or, in a nested loop,
    as many rows given to it. What an OFFSET skips counts as given (R16 has that).
    """
    scan = _walked(plan, limit)
    if scan is None or scan.kind not in ("index scan", "index only scan"):
        return
    given, removed = plan.tree.inputs(limit)[0].all_rows, plan.removed(scan)
    walked = removed + scan.all_rows
    enough = max(MIN_WALKED_ROWS, WALKED_PER_ROW * given)
    index = scan.text("Index Name")
    if removed >= enough and plan.counts(scan):
        found = predicates(scan, plan.facts(scan))
        columns = tuple(dict.fromkeys((*Predicates(found.equalities).columns, *_keys(plan, scan), *found.columns)))
        yield plan.hit(
            "R17",
            scan,
            f"The LIMIT walks {told(walked)} rows along {index} and discards {told(removed)} of them to give {told(given)}: the index "
            "has the "
            f"order, but not {in_list(found.columns) or 'the filter'}",
            numbers={"rows_removed": removed, "rows_walked": walked, "rows_given": given},
            columns=columns if found.columns else (),
            share=plan.share(limit),
        )
    elif walked >= enough and scan.parent != limit.id:
        yield plan.hit(
            "R17",
            scan,
            f"The LIMIT walks {told(walked)} rows along {index} to find {told(given)} that have a partner in the joins: starting from the "
            "other side's condition may read less",
            numbers={"rows_removed": removed, "rows_walked": walked, "rows_given": given},
            share=plan.share(limit),
        )


def _walked(plan: ExaminedPlan, limit: PlanNode) -> PlanNode | None:
    """The scan whose order the LIMIT uses: down through what gives rows one by one, and the outer sides of nested loops."""
    node: PlanNode | None = limit
    while node is not None:
        inputs = plan.tree.inputs(node)
        if not inputs:
            return node
        if blocking(node) or node.kind not in ("limit", "pass", "gather", "subquery scan", "unique", "nested loop"):
            return None
        node = plan.tree.input(node, "Outer") or (inputs[0] if len(inputs) == 1 else None)
    return None


def _keys(plan: ExaminedPlan, scan: PlanNode) -> tuple[str, ...]:
    facts = plan.facts(scan)
    index = next((one for one in facts.indexes if one.name == scan.text("Index Name")), None) if facts else None
    keys = [key.strip('"') for key in index.keys] if index else []
    return tuple(key for key in keys if facts and facts.column(key))


def sorts_all(plan: ExaminedPlan, limit: PlanNode) -> Iterator[PlanHit]:
    """R17, the other way: the LIMIT needs the first rows in an order that no index has, so all are read and sorted.

    Sort (top-N) of >= 10,000 rows of one table, 100 times the rows given, by at most three of its columns, scan and sort >= 50 % of the
    time; the filter, if any, only compares for equality, so that one index has both.
    """
    sort = plan.tree.input(limit, "Outer")
    if sort is not None and sort.kind == "gather":
        sort = plan.tree.input(sort, "Outer")
    scan = plan.tree.input(sort, "Outer") if sort is not None and sort.type == "Sort" else None
    if scan is not None and scan.kind == "gather":
        scan = plan.tree.input(scan, "Outer")
    if sort is None or scan is None or scan.kind != "seq scan" or not plan.counts(sort, MIN_SORT_SHARE):
        return
    facts = plan.facts(scan)
    found = predicates(scan, facts)
    keys = [bare_column(text) for text in sort.texts("Sort Key")]
    order = tuple(key.name for key in keys if key is not None and key.of(scan.alias))
    if not order or len(order) < len(keys) or len(order) > MAX_SORT_KEYS or column_is_led(facts, order[:1]):
        return
    plain = len(found.equalities) == len(found.sargable) and not (
        found.wrapped or found.cast or found.unanchored or found.alternatives or found.other
    )
    given = max(1.0, plan.rows(plan.tree.inputs(limit)[0]))
    if plan.rows(scan) >= max(MIN_WALKED_ROWS, WALKED_PER_ROW * given) and (plain or not scan.text("Filter")):
        columns = tuple(dict.fromkeys((*found.columns, *order)))
        yield plan.hit(
            "R17",
            sort,
            f"All {told(plan.rows(scan))} rows of {scan.relation} are read and sorted by {in_list(order)} to give the first "
            f"{told(given)}: no index "
            "has this order",
            numbers={"rows_sorted": plan.rows(scan), "rows_given": given},
            relation=scan.relation,
            columns=columns,
        )
