"""Which node waited for an InitPlan or a CTE.

EXPLAIN draws them below the topmost node of their query level. They run when something first asks for their result: inside the CTE Scan
that reads first, inside the node whose condition compares with the InitPlan's value, or, where that node runs in parallel workers, inside
the Gather above it, which evaluates them before it starts the workers (execParallel.c). That node's printed time includes theirs.

Conditions name an InitPlan `$0` (its name: `InitPlan 1 (returns $0)`) until PostgreSQL 16, `(InitPlan 1).col1` since 17. Values that are
asked for in a target list or a LIMIT are not printed; then the topmost node below which the time fits waited.
"""

import re

from perfwright.analysis.plans.plan_tree import PlanNode, PlanTree

OUTSIDE = -1
"""Ran after the plan's root: a writing CTE that nothing reads."""
_FITS = 0.98
"""A node that waited took at least this share of the time of what it waited for: both are rounded averages."""
MAX_INIT_PLANS = 200
"""More than a person writes into one statement; further ones stay with the node they are drawn below."""
_REFERENCES = re.compile(r"\$\d+|\((InitPlan \d+)\)")
_NOT_CONDITIONS = frozenset({"Subplan Name", "Alias", "Relation Name", "Schema", "Index Name", "Node Type"})


def attach(tree: PlanTree, elapsed: list[float]) -> list[int]:
    """The node inside whose time each node ran: its parent, but for InitPlans. OUTSIDE: inside none. Never a cycle.

    `elapsed` is corrected in place for time that was printed at the wrong node.
    """
    plans = [node for node in tree.nodes[1:] if node.relationship == "InitPlan"][:MAX_INIT_PLANS]
    reading = _reading(tree) if plans else {}
    holders = [node.parent for node in tree.nodes]
    own = _own(tree, elapsed)
    for node in plans:
        above = tree.nodes[node.parent]
        name = node.text("Subplan Name")
        readers = [_leader(tree, above, one) for one in _readers(reading, above, node, name)]
        fitting = [one for one in readers if own[one.id] >= _FITS * elapsed[node.id]]
        if name.startswith("CTE "):
            chosen = _first_reader(fitting) or max(readers, key=lambda one: own[one.id], default=None)
            holder = chosen.id if chosen and elapsed[node.id] > 0 and own[chosen.id] > 0 else _unread(tree, node)
        else:
            holder = (_first_reader(fitting) or _topmost(tree, above, node, own, elapsed) or above).id
        if _within(holders, holder, node.id):
            holder = node.parent
        holders[node.id] = holder
        if holder != OUTSIDE:
            own[holder] -= elapsed[node.id]
            if own[holder] < 0 < own[above.id]:
                _move(tree, elapsed, own, holder, above.id)
    return holders


def _move(tree: PlanTree, elapsed: list[float], own: list[float], holder: int, above: int) -> None:
    """What an InitPlan took beyond the time of the node that waited for it: workers are ended when the statement ends, and that time is
    printed at the node above which it is drawn (ExecShutdownNode). It belongs to those who needed the workers."""
    path = []
    number = holder
    while number not in (above, OUTSIDE):
        path.append(number)
        number = tree.nodes[number].parent
    excess = min(-own[holder], own[above])
    if number == above and path:
        for one in path:
            elapsed[one] += excess
        own[holder] += excess
        own[above] -= excess


def _own(tree: PlanTree, elapsed: list[float]) -> list[float]:
    own = list(elapsed)
    for node in tree.nodes[1:]:
        if node.relationship != "InitPlan":
            own[node.parent] -= elapsed[node.id]
    return own


def _reading(tree: PlanTree) -> dict[str, list[PlanNode]]:
    """What is read (`CTE o`, `$0`, `InitPlan 1`) -> the nodes whose conditions or scans name it."""
    found: dict[str, list[PlanNode]] = {}
    for node in tree.nodes:
        texts = [text for field in node.values if field not in _NOT_CONDITIONS for text in node.texts(field)]
        names = {match[1] or match[0] for text in texts if "$" in text or "InitPlan" in text for match in _REFERENCES.finditer(text)}
        if node.kind == "cte scan":
            names.add(f"CTE {node.text('CTE Name')}")
        for name in names:
            found.setdefault(name, []).append(node)
    return found


def _readers(reading: dict[str, list[PlanNode]], above: PlanNode, plan: PlanNode, name: str) -> list[PlanNode]:
    """Executed nodes below `above`, not in the plan itself, that read its result."""
    if name.startswith("CTE "):
        names = [name]
    else:
        returned = re.findall(r"\$\d+", name[:2_000])
        names = returned or re.findall(r"InitPlan \d+", name[:2_000])
    found = {one.id: one for wanted in names for one in reading.get(wanted, ()) if above.id <= one.id <= above.last and one.executed}
    return [one for one in found.values() if not plan.id <= one.id <= plan.last]


def _leader(tree: PlanTree, above: PlanNode, reader: PlanNode) -> PlanNode:
    """The Gather between the two, where there is one: it asks for the value on behalf of its workers."""
    found = reader
    for one in tree.ancestors(reader):
        if one.kind == "gather":
            found = one
        if one.id == above.id:
            break
    return found


def _first_reader(readers: list[PlanNode]) -> PlanNode | None:
    """Of several that took long enough, the one that ran fewest times: one that is repeated has read what another left."""
    return min(readers, key=lambda one: (one.loops, one.id), default=None)


def _topmost(tree: PlanTree, above: PlanNode, plan: PlanNode, own: list[float], elapsed: list[float]) -> PlanNode | None:
    """The highest node of the query level that had the time to wait for it."""
    for one in tree.subtree(above):
        if not plan.id <= one.id <= plan.last and one.executed and own[one.id] >= _FITS * elapsed[plan.id]:
            return one
    return None


def _unread(tree: PlanTree, plan: PlanNode) -> int:
    """A writing CTE runs to its end after the root is done, even when nothing reads it."""
    return OUTSIDE if plan.kind == "modify table" and plan.executed else plan.parent


def _within(holders: list[int], holder: int, number: int) -> bool:
    """Whether `holder` itself runs inside `number`: then it cannot have waited for it."""
    for _ in range(len(holders)):
        if holder == number:
            return True
        if holder <= 0:
            return False
        holder = holders[holder]
    return True
