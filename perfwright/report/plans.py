"""Rows of a plan tree, as the report draws them: one node a row, indented below its parent."""

from dataclasses import dataclass

from perfwright.models.report import PlanNodePicture, PlanPicture

INDENT_PX, DEEPEST_INDENT = 14, 24
"""Deeper nodes are not moved further: they would leave the page."""
FAR, NEAR = 100.0, 10.0
"""Times that an estimate is off: from ten on it is marked, from a hundred on loudly."""


@dataclass(frozen=True)
class PlanRow:
    """One node, its numbers as text."""

    node: PlanNodePicture
    depth: int
    own: str
    planned: str
    found: str
    factor: str
    far: bool
    loops: str
    blocks: str

    @property
    def indent(self) -> int:
        return INDENT_PX * min(self.depth, DEEPEST_INDENT)

    @property
    def classes(self) -> str:
        return " ".join(word for word, on in (("hot", self.node.hot), ("never", self.node.never_executed)) if on)


@dataclass(frozen=True)
class PlanTable:
    """All rows, and what stands below them."""

    rows: tuple[PlanRow, ...]
    caption: str


def plan_table(picture: PlanPicture) -> PlanTable:
    """Rows in the order of the plan. Nodes name their parents, which come before them."""
    depth: dict[int, int] = {-1: -1}
    rows = []
    for node in picture.nodes:
        depth[node.id] = depth.get(node.parent, -1) + 1
        rows.append(_row(node, depth[node.id]))
    parts = {
        "analyzed": "Executed and rolled back.",
        "planned": "Planned, not executed: shares are of the planned cost.",
        "generic plan": "A generic plan, for any values: planned, not executed.",
    }
    told = [parts.get(picture.mode, "")]
    if picture.execution_ms is not None:
        told.append(f"Execution {_ms(picture.execution_ms)}.")
    if picture.planning_ms is not None:
        told.append(f"Planning {_ms(picture.planning_ms)}.")
    if picture.left_out:
        told.append(f"{picture.left_out} more nodes are in the artifact.")
    return PlanTable(tuple(rows), " ".join(part for part in told if part))


def _row(node: PlanNodePicture, depth: int) -> PlanRow:
    off = abs(node.misestimate) if node.misestimate is not None else 0.0
    word = "too few planned" if (node.misestimate or 0.0) < 0 else "too many planned"
    return PlanRow(
        node=node,
        depth=depth,
        own="never ran" if node.never_executed else _ms(node.self_ms) if node.self_ms is not None else "",
        planned=_count(node.rows_planned),
        found=_count(node.rows_actual) if node.rows_actual is not None and not node.never_executed else "",
        factor=f"{off:,.0f}x {word}" if off >= NEAR else "",
        far=off >= FAR,
        loops=_count(node.loops) if node.loops is not None and not node.never_executed else "",
        blocks=_count(node.blocks) if node.blocks is not None else "",
    )


def _ms(value: float) -> str:
    """`0.012 ms`, `3.4 ms`, `1.25 s`."""
    return f"{value / 1_000:.3g} s" if value >= 1_000 else f"{value:.3g} ms"


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"
