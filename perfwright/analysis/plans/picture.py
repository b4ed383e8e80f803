"""A plan tree as a report draws it."""

from collections.abc import Sequence

from perfwright.analysis.plans.examined import told
from perfwright.analysis.plans.node_times import NodeTimes, measure
from perfwright.analysis.plans.plan_tree import PlanNode, PlanTree
from perfwright.models.query_performance import ExplainMode, PlanHit
from perfwright.models.report import PlanMark, PlanNodePicture, PlanPicture

MAX_NODES = 400
"""More do not fit on a page that a person reads."""
MAX_DETAILS = 10
DETAIL_CHARACTERS = 300
MAX_MARKS = 6

_CONDITIONS = (
    "Index Cond",
    "Recheck Cond",
    "Hash Cond",
    "Merge Cond",
    "Join Filter",
    "Filter",
    "TID Cond",
    "One-Time Filter",
    "Cache Key",
    "Sort Key",
    "Presorted Key",
    "Group Key",
    "Order By",
    "Function Call",
)
_COUNTS = ("Rows Removed by Filter", "Rows Removed by Join Filter", "Rows Removed by Index Recheck")
_FIGURES = (
    "Heap Fetches",
    "Hash Batches",
    "HashAgg Batches",
    "Cache Hits",
    "Cache Misses",
    "Cache Evictions",
    "Lossy Heap Blocks",
    "Temp Written Blocks",
)
_USUAL = {"Hash Batches": 1.0, "HashAgg Batches": 1.0}
"""Figures that say something only above this."""


def picture_of(
    plan: PlanTree,
    hits: Sequence[PlanHit] = (),
    mode: ExplainMode = "analyzed",
    *,
    execution_ms: float | None = None,
    times: NodeTimes | None = None,
) -> PlanPicture:
    """The tree with own times, misestimates and what was found at each node; the node with the most own time is hot.

    `hits` are those of this plan's sample. `execution_ms` is shown instead of the plan's own when it was measured without the timing of
    nodes. Of more than 400 nodes those with the largest shares, and all above them, are kept; the rest is counted in `left_out`.
    """
    times = times or measure(plan)
    marks: dict[int, list[PlanMark]] = {}
    for hit in hits:
        marks.setdefault(hit.node, []).append(PlanMark(rule=hit.rule, statement=hit.statement))
    kept = _kept(plan, times, set(marks))
    hottest = max(plan.nodes, key=lambda node: (times.own[node.id], -node.id))
    hot = hottest.id if times.own[hottest.id] > 0 and (len(plan.nodes) > 1 or plan.timed) else -1
    numbers = {node.id: number for number, node in enumerate(kept)}
    own_blocks = times.own_of([node.blocks for node in plan.nodes])
    return PlanPicture(
        mode=mode,
        execution_ms=execution_ms if execution_ms is not None else plan.execution_ms,
        planning_ms=plan.planning_ms,
        nodes=tuple(
            _drawn(
                plan,
                times,
                node,
                numbers[node.id],
                numbers.get(node.parent, -1),
                own_blocks[node.id],
                node.id == hot,
                marks.get(node.id, []),
            )
            for node in kept
        ),
        left_out=plan.left_out + len(plan.nodes) - len(kept),
    )


def misestimate_of(node: PlanNode) -> float | None:
    """How many times too high (positive) or too low (negative) the estimate is, 1 or -1 where it is right; None when not executed."""
    if not node.executed or node.optional("Plan Rows") is None:
        return None
    planned, actual = max(1.0, node.plan_rows), max(1.0, node.rows)
    return round(planned / actual, 2) if planned >= actual else -round(actual / planned, 2)


def _stopped(plan: PlanTree, node: PlanNode) -> bool:
    """A LIMIT right above took what it wanted: fewer rows than planned are no misestimate."""
    above = plan.parent(node)
    return above is not None and above.kind == "limit" and node.executed and node.rows < node.plan_rows


def _kept(plan: PlanTree, times: NodeTimes, marked: set[int]) -> list[PlanNode]:
    if len(plan.nodes) <= MAX_NODES:
        return list(plan.nodes)
    chosen: set[int] = set()
    for node in sorted(plan.nodes, key=lambda one: (one.id not in marked, -times.elapsed[one.id], one.id)):
        path = [one.id for one in (node, *plan.ancestors(node)) if one.id not in chosen]
        if len(chosen) + len(path) <= MAX_NODES:
            chosen.update(path)
    return [node for node in plan.nodes if node.id in chosen]


def _drawn(
    plan: PlanTree, times: NodeTimes, node: PlanNode, number: int, parent: int, own_blocks: float, hot: bool, marks: list[PlanMark]
) -> PlanNodePicture:
    timed = times.unit == "ms" and node.executed
    buffers = node.optional("Shared Hit Blocks") is not None or node.optional("Shared Read Blocks") is not None
    return PlanNodePicture(
        id=number,
        parent=parent,
        title=node.title[:DETAIL_CHARACTERS],
        details=tuple(_details(node))[:MAX_DETAILS],
        self_ms=round(times.own[node.id], 3) if timed else None,
        total_ms=round(times.elapsed[node.id], 3) if timed else None,
        self_share=round(times.own_share(node), 4),
        rows_planned=node.plan_rows,
        rows_actual=node.rows if node.executed else None,
        loops=node.loops if plan.analyzed else None,
        misestimate=None if _stopped(plan, node) else misestimate_of(node),
        blocks=round(own_blocks) if buffers else None,
        cost=node.total_cost,
        hot=hot,
        never_executed=plan.analyzed and not node.executed,
        marks=tuple(marks[:MAX_MARKS]),
    )


def _details(node: PlanNode) -> list[str]:
    told_as = [f"{name}: {_shortened(', '.join(node.texts(name)))}" for name in _CONDITIONS if node.texts(name)]
    if name := node.text("Subplan Name"):
        told_as.insert(0, name)
    each = " a loop" if node.loops > 1 else ""
    told_as += [f"{name}: {told(node.number(name))}{each}" for name in _COUNTS if node.number(name)]
    if kind := node.text("Sort Space Type"):
        told_as.append(f"Sort Method: {node.text('Sort Method')}, {told(node.number('Sort Space Used'))} kB {kind.lower()}")
    if node.optional("Workers Planned") is not None:
        told_as.append(f"Workers: {told(node.number('Workers Launched'))} of {told(node.number('Workers Planned'))}")
    return told_as + [f"{name}: {told(node.number(name))}" for name in _FIGURES if node.number(name) > _USUAL.get(name, 0.0)]


def _shortened(text: str) -> str:
    return text if len(text) <= DETAIL_CHARACTERS else f"{text[: DETAIL_CHARACTERS - 1]}…"
