"""Where a statement's time went: the own time of every node, so that the parts sum to the total.

EXPLAIN prints for a node the average time of a loop, children included. Own time follows from five corrections:

- Loops: elapsed = time x loops.
- Parallel workers: below a Gather the loops of all processes are added up and the time is their average, so elapsed on the clock is time x
  loops / processes; how many took part is read from the loops of the Gather's child, which also knows a leader that did not. What
  the Gather itself then has left is waiting for the slowest worker, starting workers and moving rows.
- InitPlans and CTEs hang below one node and run inside another (init_plans.py): their time is taken from the node that waited for them.
- Never executed nodes have no time. A CTE that writes and is not read runs after the plan's root and is outside its time.
- Averages are rounded to a microsecond, so a million loops may be wrong by half a second, and concurrent children (asynchronous foreign
  scans) overlap: where children claim more than their parent took, they are shrunk to fit, in proportion.

Outside of the nodes, execution has AFTER triggers (foreign keys), starting and ending the executor, and just-in-time compiling where it
does not happen inside a node. BEFORE triggers are within their ModifyTable node.

Sources: PostgreSQL documentation, "Using EXPLAIN"; explain.c (ExplainNode, report_triggers); instrument.c (InstrAggNode). Without times
(planned only, or TIMING OFF) shares are of planned cost (costsize.c).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from perfwright.analysis.plans.init_plans import OUTSIDE, attach
from perfwright.analysis.plans.node_kinds import JOINS
from perfwright.analysis.plans.plan_tree import PlanNode, PlanTree


@dataclass(frozen=True)
class NodeTimes:
    """Times by node number; all in milliseconds on the clock, or in cost units of the planner when `unit` says so."""

    unit: Literal["ms", "cost"]
    elapsed: tuple[float, ...]
    """With everything it waited for."""
    own: tuple[float, ...]
    """Of the node alone. own + triggers + rest sum to `total`."""
    holders: tuple[int, ...]
    """The node inside whose time each ran: its parent, but for InitPlans; -1 for the root and what ran after it."""
    processes: tuple[float, ...]
    """How many processes ran the node beside each other, on average; 1 outside of a Gather."""
    triggers: float
    """Of triggers outside of the nodes."""
    rest: float
    """Outside of nodes and triggers: starting and ending the executor."""
    total: float

    def share(self, node: PlanNode) -> float:
        """Of the total that the node and what it waited for took, 0 to 1."""
        return min(1.0, self.elapsed[node.id] / self.total) if self.total > 0 else 0.0

    def own_share(self, node: PlanNode) -> float:
        return min(1.0, self.own[node.id] / self.total) if self.total > 0 else 0.0

    def own_of(self, values: Sequence[float]) -> list[float]:
        """Of sums that include the children's and those of InitPlans that ran inside (blocks, I/O time, temporary blocks): the node's
        own."""
        own = list(values)
        for number, holder in enumerate(self.holders):
            if holder != OUTSIDE:
                own[holder] -= values[number]
        return [max(0.0, one) for one in own]


def measure(tree: PlanTree) -> NodeTimes:
    """The times of a plan; of its planned costs where it has no times."""
    processes = _processes(tree)
    raw = _elapsed(tree, processes) if tree.timed else _costs(tree)
    holders = attach(tree, raw) if tree.timed else [node.parent for node in tree.nodes]
    elapsed, own = _shared_out(tree, raw, holders)
    inside = elapsed[0] + sum(elapsed[node.id] for node in tree.nodes[1:] if holders[node.id] == OUTSIDE)
    told = tree.execution_ms if tree.timed and tree.execution_ms is not None else 0.0
    fired = sum(trigger.time_ms for trigger in tree.triggers) if tree.timed else 0.0
    total = max(told, inside) if told else inside + fired
    outside = total - inside
    triggers = min(fired, outside)
    return NodeTimes(
        unit="ms" if tree.timed else "cost",
        elapsed=tuple(elapsed),
        own=tuple(own),
        holders=tuple(holders),
        processes=tuple(processes),
        triggers=triggers,
        rest=outside - triggers,
        total=total,
    )


def _processes(tree: PlanTree) -> list[float]:
    """How many processes ran each node. Only the plan below a Gather runs in workers; its InitPlans run in the leader before."""
    found = [1.0] * len(tree.nodes)
    for node in tree.nodes[1:]:
        above = tree.nodes[node.parent]
        found[node.id] = found[above.id]
        if above.kind == "gather" and node.relationship == "Outer":
            launched = above.number("Workers Launched") or above.number("Workers Planned")
            took_part = node.loops / above.loops if above.loops > 0 else 1.0
            found[node.id] *= min(max(1.0, took_part), launched + 1.0)
    return found


def _elapsed(tree: PlanTree, processes: list[float]) -> list[float]:
    """On the clock, as printed. A node without a time of its own (of an extension) takes what its children take."""
    found = [0.0] * len(tree.nodes)
    for node in reversed(tree.nodes):
        if node.time_ms is None:
            found[node.id] = sum(found[child.id] for child in tree.inputs(node))
        else:
            found[node.id] = node.time_ms * node.loops / processes[node.id]
    return found


def _shared_out(tree: PlanTree, raw: list[float], holders: list[int]) -> tuple[list[float], list[float]]:
    """Elapsed and own, from the root down: children never take more than their holder took."""
    held: list[list[int]] = [[] for _ in tree.nodes]
    for node in tree.nodes[1:]:
        if holders[node.id] != OUTSIDE:
            held[holders[node.id]].append(node.id)
    elapsed, own = [0.0] * len(tree.nodes), [0.0] * len(tree.nodes)
    waiting = [node.id for node in tree.nodes if node.id == 0 or holders[node.id] == OUTSIDE]
    for number in waiting:
        elapsed[number] = raw[number]
    while waiting:
        number = waiting.pop()
        claimed = sum(raw[one] for one in held[number])
        fit = elapsed[number] / max(raw[number], claimed) if claimed > 0 and elapsed[number] > 0 else 0.0
        for one in held[number]:
            elapsed[one] = raw[one] * fit
        own[number] = max(0.0, elapsed[number] - claimed * fit)
        waiting.extend(held[number])
    return elapsed, own


def _costs(tree: PlanTree) -> list[float]:
    """The planned cost of each node over its planned repetitions. A parent's cost already holds its children's (and InitPlans')."""
    repeats = planned_loops(tree)
    return [node.total_cost * repeats[node.id] for node in tree.nodes]


def planned_loops(tree: PlanTree) -> list[float]:
    """How often the planner expects each node to run: the inner side of a nested loop once per outer row, a SubPlan once per row of the
    node that evaluates it unless it is hashed. What Materialize and Memoize keep is not run again."""
    found = [1.0] * len(tree.nodes)
    for node in tree.nodes[1:]:
        above = tree.nodes[node.parent]
        found[node.id] = found[above.id]
        if node.relationship == "SubPlan" and not _hashed(above, node):
            found[node.id] *= max(1.0, above.plan_rows)
        elif above.kind == "nested loop" and node.relationship == "Inner" and node.kind not in ("materialize", "memoize"):
            outer = tree.input(above, "Outer")
            found[node.id] *= max(1.0, outer.plan_rows if outer else 1.0)
        elif node.relationship == "InitPlan":
            found[node.id] = 1.0
        elif above.kind == "materialize" and above.relationship == "SubPlan":
            found[node.id] = found[above.parent]
        found[node.id] = min(found[node.id], 1e15)
    return found


def _hashed(holder: PlanNode, sub_plan: PlanNode) -> bool:
    name = sub_plan.text("Subplan Name")
    return bool(name) and any(f"hashed {name}" in text for field in ("Filter", "Join Filter", "Output") for text in holder.texts(field))


def blocking(node: PlanNode) -> bool:
    """Reads all of its input before it gives a row: a LIMIT above does not stop what is below early."""
    return node.kind in ("sort", "hash", "materialize") or (node.kind == "aggregate" and node.text("Strategy") != "Sorted")


def stopped_early(tree: PlanTree, node: PlanNode) -> bool:
    """Whether it may have given fewer rows than it had because what is above needed no more: LIMIT, the inner side of a semi or anti join,
    either side of a merge join, an EXISTS, a hash join whose hash table is empty, a window that ends at its Run Condition (since 15)."""
    below = node
    for above in tree.ancestors(node):
        if blocking(above):
            return False
        if above.kind in ("limit", "merge join") or (above.kind == "window" and above.text("Run Condition")):
            return True
        if above.kind in JOINS and above.text("Join Type") in ("Semi", "Anti") and below.relationship == "Inner":
            return True
        if above.kind == "hash join" and below.relationship == "Outer" and (other := tree.input(above, "Inner")) and other.all_rows == 0:
            return True
        if below.relationship in ("InitPlan", "SubPlan"):
            return not below.text("Subplan Name").startswith("CTE ")
        below = above
    return False
