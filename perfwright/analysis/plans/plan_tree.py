"""A PostgreSQL plan as a value: parsed once from what EXPLAIN (FORMAT JSON) gives, versions 13 to 18.

Tolerant of what it does not know: node types and fields of later versions, of extensions and forks, missing or mistyped values. A node
keeps every field under the server's own name, so that a rule reads `node.number("Rows Removed by Filter")` as the documentation writes it.

Numbers of a node are as the server prints them: averages over its loops (and, below a Gather, over the processes too), except buffers
and temporary blocks, which are sums and include the children's. https://www.postgresql.org/docs/current/using-explain.html
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from perfwright.analysis.plans.node_kinds import JOINS, NodeKind, kind_of

MAX_NODES = 20_000
"""A partitioned table of thousands of partitions joined twice has as many; what is beyond is counted, not kept."""
MAX_DEPTH = 500
"""PostgreSQL's own `max_stack_depth` ends a query long before its plan is this deep."""
MAX_NUMBER = 1e18
"""Larger numbers are cut to it, so that products stay finite."""
MAX_TEXT = 100_000
"""Characters of a condition that are kept: a list of ten thousand keys."""
MAX_LIST = 1_000

_CHILDREN = "Plans"
_WORKERS = "Workers"


class NotAPlan(ValueError):
    """The document is not what EXPLAIN (FORMAT JSON) gives for a statement."""


@dataclass(frozen=True)
class Fields:
    """The fields of a node (or of one of its workers) by the server's names, read with a type; what is missing or mistyped is nothing."""

    values: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))

    def number(self, name: str) -> float:
        """Finite and not negative; 0 where there is none."""
        return _number(self.values.get(name)) or 0.0

    def optional(self, name: str) -> float | None:
        return _number(self.values.get(name))

    def text(self, name: str) -> str:
        value = self.values.get(name)
        return value if isinstance(value, str) else ""

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts (sort keys), or the one text there is."""
        value = self.values.get(name)
        if isinstance(value, str):
            return (value,)
        return tuple(one for one in value if isinstance(one, str)) if isinstance(value, tuple) else ()

    def flag(self, name: str) -> bool:
        return self.values.get(name) is True


@dataclass(frozen=True)
class PlanNode(Fields):
    """One node. Rows, times and costs as the server gives them: per loop."""

    id: int = 0
    """Number in preorder; the root is 0."""
    parent: int = -1
    children: tuple[int, ...] = ()
    last: int = 0
    """The highest number in its subtree: node n is below it when `id < n <= last`."""
    depth: int = 0
    type: str = ""
    """As the server names it: `Seq Scan`."""
    kind: NodeKind = "other"
    relationship: str = ""
    """`Outer`, `Inner`, `Subquery`, `Member`, `InitPlan`, `SubPlan`; empty for the root."""
    workers: tuple[Fields, ...] = ()

    @property
    def plan_rows(self) -> float:
        return self.number("Plan Rows")

    @property
    def total_cost(self) -> float:
        return self.number("Total Cost")

    @property
    def loops(self) -> float:
        return self.number("Actual Loops")

    @property
    def rows(self) -> float:
        """Per loop; before PostgreSQL 18 rounded to a whole number."""
        return self.number("Actual Rows")

    @property
    def all_rows(self) -> float:
        """Over all loops and processes."""
        return self.rows * self.loops

    @property
    def executed(self) -> bool:
        return self.loops > 0

    @property
    def time_ms(self) -> float | None:
        """Average of a loop, children included; None without timing."""
        return self.optional("Actual Total Time")

    @property
    def relation(self) -> str:
        """`schema.table` where the plan tells the schema (VERBOSE), else the table's name; empty where no table is read."""
        name, schema = self.text("Relation Name"), self.text("Schema")
        return f"{schema}.{name}" if name and schema else name

    @property
    def alias(self) -> str:
        return self.text("Alias") or self.text("Relation Name")

    @property
    def blocks(self) -> float:
        """Shared blocks hit and read, children included."""
        return self.number("Shared Hit Blocks") + self.number("Shared Read Blocks")

    @property
    def io_read_ms(self) -> float:
        """Named `I/O Read Time` until version 16; children included; needs track_io_timing."""
        return self.number("Shared I/O Read Time") or self.number("I/O Read Time")

    @property
    def title(self) -> str:
        """As EXPLAIN's text format has it: `Parallel Index Scan using orders_pkey on orders o`."""
        words = [self.type]
        if self.flag("Parallel Aware"):
            words.insert(0, "Parallel")
        if self.kind == "aggregate" and (strategy := self.text("Strategy")) in ("Hashed", "Sorted", "Mixed"):
            words[-1] = {"Hashed": "HashAggregate", "Sorted": "GroupAggregate", "Mixed": "MixedAggregate"}[strategy]
        if self.kind == "modify table":
            words[-1] = self.text("Operation") or words[-1]
        if self.kind in JOINS and (join := self.text("Join Type")) not in ("", "Inner"):
            words[-1] = f"{words[-1].removesuffix(' Join')} {join} Join"
        if index := self.text("Index Name"):
            words.append(f"on {index}" if self.kind == "bitmap index scan" else f"using {index}")
        name = self.relation or self.text("CTE Name") or self.text("Function Name")
        if name:
            words.append(f"on {name}")
        alias = self.text("Alias")
        if alias and alias not in (self.text("Relation Name"), name):
            words.append(alias if name else f"on {alias}")
        return " ".join(words)


@dataclass(frozen=True)
class Trigger:
    """A trigger that the statement fired; `time_ms` over all calls. Of BEFORE triggers the time is in their ModifyTable node too."""

    name: str
    constraint: str
    relation: str
    time_ms: float
    calls: float


@dataclass(frozen=True)
class PlanTree:
    """A plan with its nodes in preorder."""

    nodes: tuple[PlanNode, ...]
    execution_ms: float | None = None
    planning_ms: float | None = None
    triggers: tuple[Trigger, ...] = ()
    jit_ms: float = 0.0
    """Over all processes."""
    jit_functions: float = 0.0
    settings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Those that were not at their defaults, with EXPLAIN (SETTINGS)."""
    left_out: int = 0
    """Nodes beyond MAX_NODES and MAX_DEPTH."""

    @property
    def root(self) -> PlanNode:
        return self.nodes[0]

    @property
    def analyzed(self) -> bool:
        """Whether the statement was executed: loops are known."""
        return self.root.optional("Actual Loops") is not None

    @property
    def timed(self) -> bool:
        return self.analyzed and self.root.time_ms is not None

    def children(self, node: PlanNode) -> tuple[PlanNode, ...]:
        return tuple(self.nodes[number] for number in node.children)

    def inputs(self, node: PlanNode) -> tuple[PlanNode, ...]:
        """Children whose rows it reads: neither InitPlans nor SubPlans."""
        return tuple(child for child in self.children(node) if child.relationship not in ("InitPlan", "SubPlan"))

    def input(self, node: PlanNode, relationship: str) -> PlanNode | None:
        return next((child for child in self.children(node) if child.relationship == relationship), None)

    def parent(self, node: PlanNode) -> PlanNode | None:
        return self.nodes[node.parent] if node.parent >= 0 else None

    def ancestors(self, node: PlanNode) -> Iterator[PlanNode]:
        """From the parent up to the root."""
        while (above := self.parent(node)) is not None:
            yield above
            node = above

    def subtree(self, node: PlanNode) -> tuple[PlanNode, ...]:
        """The node and all below it."""
        return self.nodes[node.id : node.last + 1]


def parse_plan(document: object) -> PlanTree:
    """The plan in the object of EXPLAIN (FORMAT JSON): `{"Plan": {...}, "Planning Time": ...}`.

    Raises NotAPlan where there is no plan at all; anything else that is odd is read as far as it goes.
    """
    if not isinstance(document, Mapping):
        raise NotAPlan(f"a plan is an object with a member Plan, not {_told(document)}")
    root = document.get("Plan")
    if not isinstance(root, Mapping):
        raise NotAPlan(f"the object has no plan: its member Plan is {_told(root)}")
    if not isinstance(root.get("Node Type"), str):
        raise NotAPlan("the object has no plan: its root has no Node Type")
    nodes, left_out = _nodes(root)
    jit = _object(document.get("JIT"))
    return PlanTree(
        nodes=nodes,
        execution_ms=_number(document.get("Execution Time")),
        planning_ms=_number(document.get("Planning Time")),
        triggers=_triggers(document.get("Triggers")),
        jit_ms=_number(_object(jit.get("Timing")).get("Total")) or 0.0,
        jit_functions=_number(jit.get("Functions")) or 0.0,
        settings=MappingProxyType(
            {str(name): value for name, value in _object(document.get("Settings")).items() if isinstance(value, str)}
        ),
        left_out=left_out,
    )


def _nodes(root: Mapping[object, object]) -> tuple[tuple[PlanNode, ...], int]:
    """All nodes in preorder, without recursion: a hostile document may be deeper than Python's stack."""
    found: list[tuple[Mapping[object, object], int, int]] = []
    children: list[list[int]] = []
    waiting: list[tuple[Mapping[object, object], int, int]] = [(root, -1, 0)]
    left_out = 0
    while waiting:
        document, parent, depth = waiting.pop()
        if len(found) >= MAX_NODES:
            left_out += 1
            continue
        number = len(found)
        found.append((document, parent, depth))
        children.append([])
        if parent >= 0:
            children[parent].append(number)
        below = document.get(_CHILDREN)
        if not isinstance(below, list | tuple):
            continue
        plans = [one for one in below if isinstance(one, Mapping)]
        if depth >= MAX_DEPTH:
            left_out += len(plans)
        else:
            waiting.extend((one, number, depth + 1) for one in reversed(plans))
    last = list(range(len(found)))
    for number in range(len(found) - 1, 0, -1):
        parent = found[number][1]
        last[parent] = max(last[parent], last[number])
    nodes = tuple(
        _node(document, number, parent, depth, tuple(children[number]), last[number])
        for number, (document, parent, depth) in enumerate(found)
    )
    return nodes, left_out


def _node(document: Mapping[object, object], number: int, parent: int, depth: int, children: tuple[int, ...], last: int) -> PlanNode:
    values = _kept(document)
    name, relationship = values.get("Node Type"), values.get("Parent Relationship")
    name = name if isinstance(name, str) else "Unknown"
    workers = document.get(_WORKERS)
    return PlanNode(
        values=values,
        id=number,
        parent=parent,
        children=children,
        last=last,
        depth=depth,
        type=name,
        kind=kind_of(name),
        relationship=relationship if isinstance(relationship, str) and parent >= 0 else "",
        workers=tuple(Fields(_kept(one)) for one in workers[:MAX_LIST] if isinstance(one, Mapping))
        if isinstance(workers, list | tuple)
        else (),
    )


def _kept(document: Mapping[object, object]) -> Mapping[str, object]:
    """Its fields but the children; lists of texts as tuples, and of objects (sort groups, workers' parts) the fields one level down."""
    kept: dict[str, object] = {}
    for name, value in document.items():
        if not isinstance(name, str) or name in (_CHILDREN, _WORKERS):
            continue
        if isinstance(value, str):
            kept[name] = value[:MAX_TEXT]
        elif isinstance(value, bool | int | float):
            kept[name] = value
        elif isinstance(value, list | tuple):
            kept[name] = tuple(one[:MAX_TEXT] for one in value[:MAX_LIST] if isinstance(one, str))
        elif isinstance(value, Mapping):
            kept |= {f"{name}/{inner}": one for inner, one in _leaves(value)}
    return MappingProxyType(kept)


def _leaves(document: Mapping[object, object]) -> Iterator[tuple[str, object]]:
    """`Full-sort Groups` of an incremental sort: {"Sort Methods Used": [...], "Sort Space Disk": {"Peak Sort Space Used": ...}}."""
    for name, value in list(document.items())[:MAX_LIST]:
        if isinstance(value, str):
            yield str(name), value[:MAX_TEXT]
        elif isinstance(value, bool | int | float):
            yield str(name), value
        elif isinstance(value, Mapping):
            for inner, one in list(value.items())[:MAX_LIST]:
                if isinstance(one, bool | int | float):
                    yield f"{name}/{inner}", one


def _triggers(document: object) -> tuple[Trigger, ...]:
    if not isinstance(document, list | tuple):
        return ()
    found = [Fields(_kept(one)) for one in document[:MAX_LIST] if isinstance(one, Mapping)]
    return tuple(
        Trigger(one.text("Trigger Name"), one.text("Constraint Name"), one.text("Relation"), one.number("Time"), one.number("Calls"))
        for one in found
    )


def _number(value: object) -> float | None:
    """A number between 0 and MAX_NUMBER: what is negative is 0. None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and math.isnan(value):
        return None
    return float(min(max(value, 0), MAX_NUMBER))


def _object(value: object) -> Mapping[object, object]:
    return value if isinstance(value, Mapping) else {}


def _told(value: object) -> str:
    return "missing" if value is None else f"of type {type(value).__name__}"
