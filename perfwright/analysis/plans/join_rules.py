"""Join strategies: R02, R24, R25. (R10, a nested loop on an underestimate, is with the estimates: its cure is statistics.)

Formulas: tools-db 2.1; PostgreSQL documentation, "Planner/Optimizer" and "Examining Index Usage".
"""

from collections.abc import Iterator

from perfwright.analysis.plans.conditions import Part, columns_in, read_condition
from perfwright.analysis.plans.examined import MIN_STATEMENT_COST, ExaminedPlan, in_list, told
from perfwright.analysis.plans.node_kinds import JOINS
from perfwright.analysis.plans.plan_tree import PlanNode
from perfwright.analysis.plans.repeated_scans import repeated_scan, whole_table_for_few
from perfwright.models.query_performance import PlanHit

MIN_WASTED_PAIRS = 100_000.0
"""Pairs of rows compared in vain: some 10 ms (tools-db R24)."""
MIN_PRODUCT = 100_000.0
"""Rows of a product (tools-db R25)."""
MIN_PAIRS = 10_000.0
"""Of the product itself, where the joins above make 100,000 rows of it."""
MIN_SIDE = 10.0
"""A product with a few rows (one setting, three periods) is a way to write constants."""


def rules(plan: ExaminedPlan) -> Iterator[PlanHit]:
    """All hits of this family."""
    if plan.trivial:
        return
    for node in plan.tree.nodes:
        if node.kind == "seq scan":
            yield from repeated_seq_scan(plan, node)
        elif node.kind in JOINS:
            yield from scan_for_few_keys(plan, node)
            yield from wasted_pairs(plan, node)
            yield from product(plan, node)


def repeated_seq_scan(plan: ExaminedPlan, node: PlanNode) -> Iterator[PlanHit]:
    """R02: a whole table is read again for every row of another: the inner side of a nested loop, or a correlated subquery.

    More than 10 runs in one process (parallel workers are no repetition), >= 10,000 rows over all and 50 a run, share >= 0.1, and no index
    begins with the column that links the two.
    """
    columns = repeated_scan(plan, node)
    if columns and plan.counts(node):
        repeats = plan.repeats(node)
        read = plan.rows(node) + plan.removed(node)
        yield plan.hit(
            "R02",
            node,
            f"{node.relation} is read as a whole {told(repeats)} times, {told(read)} rows in all: no index on {in_list(columns)} finds "
            "the rows "
            "of one value",
            numbers={"loops": repeats, "rows_read": read, "rows_kept": plan.rows(node)},
            columns=columns,
        )


def scan_for_few_keys(plan: ExaminedPlan, join: PlanNode) -> Iterator[PlanHit]:
    """R02, without the loop: a hash or merge join reads a whole table to find the partners of a few rows, because no index has the
    column."""
    found = whole_table_for_few(plan, join)
    if found is None:
        return
    scan, columns, keys = found
    if plan.counts(scan):
        read = plan.rows(scan) + plan.removed(scan)
        yield plan.hit(
            "R02",
            scan,
            f"{told(read)} rows of {scan.relation} are read to join {told(plan.rows(join))} of them to {told(keys)} rows: no index on "
            f"{in_list(columns)} finds those of one value",
            numbers={"loops": 1.0, "rows_read": read, "rows_kept": plan.rows(join), "keys": keys},
            columns=columns,
        )


def wasted_pairs(plan: ExaminedPlan, join: PlanNode) -> Iterator[PlanHit]:
    """R24: a join compares pairs of rows that do not belong together.

    Rows Removed by Join Filter >= 100,000 over all loops and 90 % of the pairs, share of the join >= 0.1. Not where R02 says that an index
    on the inner table is missing.
    """
    removed = plan.removed(join, "Rows Removed by Join Filter")
    kept = plan.rows(join)
    if removed < MIN_WASTED_PAIRS or removed < 0.9 * (removed + kept) or not plan.counts(join):
        return
    if any(repeated_scan(plan, child) for child in plan.tree.inputs(join)):
        return
    parts = read_condition(join.text("Join Filter"))
    inner = _single_table(plan, join)
    columns = _columns_of(inner, parts) if inner else ()
    yield plan.hit(
        "R24",
        join,
        f"Compares {told(removed + kept)} pairs of rows and discards {told(removed)} of them: {_why(parts)}",
        numbers={"pairs_removed": removed, "rows_kept": kept},
        relation=inner.relation if inner else "",
        columns=columns,
    )


def _why(parts: tuple[Part, ...]) -> str:
    if any(part.comparison == "equality" and part.others and not part.subplan for part in parts):
        return "the tables are joined by equality, but row by row"
    if any(part.comparison == "or" for part in parts):
        return "the join condition is an OR, so neither hashing nor an index helps"
    return "the join condition is no equality, so every row meets every other"


def _single_table(plan: ExaminedPlan, join: PlanNode) -> PlanNode | None:
    """The scan that the inner side is, below what only keeps its rows."""
    node = plan.tree.input(join, "Inner")
    while node is not None and node.kind in ("materialize", "hash", "sort", "memoize"):
        inputs = plan.tree.inputs(node)
        node = inputs[0] if len(inputs) == 1 else None
    return node if node is not None and node.relation else None


def _columns_of(scan: PlanNode, parts: tuple[Part, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(column.name for column in columns_in(parts) if column.qualifier == scan.alias))


def product(plan: ExaminedPlan, join: PlanNode) -> Iterator[PlanHit]:
    """R25: every row of one side is paired with every row of the other: no condition joins the two.

    Nested loop (inner or outer join) without a join filter, whose inner side depends on no column of the outer one, >= 10 rows on both
    sides, >= 100,000 pairs, share >= 0.1. Not where both sides are restricted to the same value (the planner replaces `a.x = b.x and a.x =
    5` by `a.x = 5` and `b.x = 5`), nor over functions (LATERAL: what they depend on is not printed), nor of generated rows with others: a
    calendar of days and shops is such a product, and a generated row has no key that a condition could have joined.
    """
    outer, inner = plan.tree.input(join, "Outer"), plan.tree.input(join, "Inner")
    if join.kind != "nested loop" or join.text("Join Filter") or join.text("Join Type") not in ("Inner", "Left", "Full", "Right", ""):
        return
    if outer is None or inner is None:
        return
    first = plan.rows(outer)
    second = plan.rows(inner) / max(1.0, plan.repeats(inner)) if plan.analyzed else inner.plan_rows
    pairs = plan.rows(join)
    widest = max([join, *(above for above in plan.tree.ancestors(join) if above.kind in JOINS)], key=plan.rows)
    if min(first, second) < MIN_SIDE or pairs < MIN_PAIRS or pairs < 0.5 * first * second:
        return
    if plan.rows(widest) < MIN_PRODUCT or not plan.counts(widest):
        return
    if not plan.analyzed and plan.tree.root.total_cost < MIN_STATEMENT_COST:
        return
    if _depends(plan, inner) or _functions(plan, inner) or _generated(plan, outer) or _values(plan, outer) & _values(plan, inner):
        return
    yield plan.hit(
        "R25",
        join,
        f"Pairs each of {told(first)} rows with each of {told(second)}, {told(pairs)} pairs: no condition joins the two sides",
        numbers={"outer_rows": first, "inner_rows": second, "pairs": pairs},
        relation=next((one.relation for one in plan.tree.subtree(inner) if one.relation), ""),
    )


def _depends(plan: ExaminedPlan, inner: PlanNode) -> bool:
    """Whether a condition below compares with a table that is not below."""
    below = plan.tree.subtree(inner)
    known = {name for one in below for name in (one.alias, one.text("CTE Name"), one.text("Function Name")) if name}
    texts = [text for one in below for field in one.values for text in one.texts(field) if field in _CONDITIONS]
    used = {column.qualifier for text in texts for column in columns_in(read_condition(text))}
    return bool(used - known - {""}) or any(one.kind == "memoize" for one in below)


_CONDITIONS = frozenset(
    {"Filter", "Index Cond", "Recheck Cond", "Hash Cond", "Merge Cond", "Join Filter", "TID Cond", "One-Time Filter", "Order By"}
)


def _functions(plan: ExaminedPlan, inner: PlanNode) -> bool:
    return any(one.kind == "function scan" or one.type in ("ProjectSet", "Values Scan", "Result") for one in plan.tree.subtree(inner))


def _generated(plan: ExaminedPlan, side: PlanNode) -> bool:
    """Rows that come from no table: generate_series, VALUES."""
    below = plan.tree.subtree(side)
    return _functions(plan, side) and not any(one.relation or one.kind == "cte scan" for one in below)


def _values(plan: ExaminedPlan, node: PlanNode) -> set[str]:
    """Constants that the tables of one side are restricted to by equality."""
    texts = [one.text(field) for one in plan.tree.subtree(node) for field in ("Filter", "Index Cond", "Recheck Cond")]
    return {part.constant for text in texts for part in read_condition(text) if part.comparison == "equality" and part.constant}
