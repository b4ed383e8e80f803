"""Scans of a whole table that an index on the join column would spare: what R02 reports and other rules leave to it."""

from perfwright.analysis.plans.examined import REPEATED, ExaminedPlan
from perfwright.analysis.plans.node_kinds import JOINS
from perfwright.analysis.plans.plan_tree import PlanNode
from perfwright.analysis.plans.predicates import column_is_led, linked, predicates

MIN_ROWS_READ = 10_000.0
"""Over all repetitions; below, all of it is a few milliseconds."""
MIN_ROWS_PER_LOOP = 50.0
"""A table of a page or two is best read whole, however often."""
FEW_KEYS = 0.01
"""Lookups that an index join needs, as a share of the rows that the scan reads: one costs about as much as reading twenty rows."""
FEW_MATCHES = 0.1


def repeated_scan(plan: ExaminedPlan, node: PlanNode) -> tuple[str, ...]:
    """The columns by which a full scan is repeated, again and again for another value; empty where it is not, or an index has them.

    More than 10 runs in one process, 10,000 rows and 50 a run.
    """
    repeats = plan.repeats(node)
    if node.kind != "seq scan" or repeats <= REPEATED:
        return ()
    if plan.analyzed:
        read = plan.rows(node) + plan.removed(node)
    else:
        facts = plan.facts(node)
        read = repeats * max(facts.rows if facts else 0.0, node.plan_rows)
    if read < MIN_ROWS_READ or read < MIN_ROWS_PER_LOOP * max(node.loops, repeats):
        return ()
    columns = linked(_linking_conditions(plan, node), node.alias) or predicates(node, plan.facts(node)).columns
    return () if column_is_led(plan.facts(node), columns) else columns


def _linking_conditions(plan: ExaminedPlan, node: PlanNode) -> tuple[str, ...]:
    """The scan's own filter and the conditions of the joins above, up to where it is repeated."""
    texts = [node.text("Filter")]
    below = node
    for above in plan.tree.ancestors(node):
        if above.kind in JOINS:
            texts += [above.text(name) for name in ("Join Filter", "Hash Cond", "Merge Cond")]
        if below.relationship in ("SubPlan", "InitPlan") or (above.kind == "nested loop" and below.relationship == "Inner"):
            break
        below = above
    return tuple(text for text in texts if text)


def whole_table_for_few(plan: ExaminedPlan, join: PlanNode) -> tuple[PlanNode, tuple[str, ...], float] | None:
    """A hash or merge join that reads a whole table although the other side has few keys: (scan, join columns, keys).

    The other side gives at most 1 % as many rows as the scan reads (>= 10,000), and at most 10 % of them have a partner; rows without one
    are not asked for (that side of an outer join must be read); no index begins with the join column.
    """
    if join.kind not in ("hash join", "merge join") or not plan.analyzed:
        return None
    outer, inner = plan.tree.input(join, "Outer"), plan.tree.input(join, "Inner")
    if outer is None or inner is None:
        return None
    kind = join.text("Join Type")
    for side, other, keeps in (
        (outer, inner, ("Left", "Full", "Anti")),
        (inner, outer, ("Right", "Full", "Right Anti")),
    ):
        scan = _scan_of(plan, side)
        if scan is None or kind in keeps:
            continue
        read = plan.rows(scan) + plan.removed(scan)
        few = plan.rows(other) <= FEW_KEYS * read and plan.rows(join) <= FEW_MATCHES * read and plan.rows(scan) > FEW_MATCHES * read
        columns = linked((join.text("Hash Cond"), join.text("Merge Cond")), scan.alias)
        if read >= MIN_ROWS_READ and few and columns and plan.repeats(scan) <= REPEATED and not column_is_led(plan.facts(scan), columns):
            return scan, columns, plan.rows(other)
    return None


def _scan_of(plan: ExaminedPlan, node: PlanNode) -> PlanNode | None:
    """The full scan that a side of a join is, below Hash, Sort, Materialize or Gather."""
    while node.kind in ("hash", "sort", "materialize", "gather"):
        inputs = plan.tree.inputs(node)
        if len(inputs) != 1:
            return None
        node = inputs[0]
    return node if node.kind == "seq scan" else None
