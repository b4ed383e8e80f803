"""What a report shows beyond the common result: pictures and tables, said by each process in the same few words."""

from typing import Annotated, Literal

from pydantic import Field

from perfwright.models.artifact import ArtifactRef
from perfwright.models.vocabulary import Model


class FlameGraphFigure(Model):
    """An interactive flame graph; `data` is d3-flame-graph JSON (name, value, children, delta for diffs)."""

    figure: Literal["flame_graph"] = "flame_graph"
    title: str
    caption: str = ""
    data: ArtifactRef
    diff: bool = False


class Mark(Model):
    """Something that happened while a series was recorded: a change, a gap that was not measured."""

    at_s: float
    until_s: float | None = None
    label: str
    gap: bool = False


class SeriesFigure(Model):
    """Values over time; `data` is JSON `{"t_s": [...], "series": [{"label": ..., "unit": ..., "values": [... or null]}]}`."""

    figure: Literal["series"] = "series"
    title: str
    caption: str = ""
    data: ArtifactRef
    marks: tuple[Mark, ...] = ()


class Column(Model):
    """A column of a table."""

    title: str
    numeric: bool = False
    bar: bool = False
    """Draw the cell's number (a share, 0 to 1) as a bar as well."""


class TableFigure(Model):
    """A table. Cells are text; a `bar` column's cells are numbers."""

    figure: Literal["table"] = "table"
    title: str
    caption: str = ""
    columns: tuple[Column, ...]
    rows: tuple[tuple[str | float, ...], ...]


class PlanFigure(Model):
    """A plan tree; `data` is the JSON of a `PlanPicture`."""

    figure: Literal["plan"] = "plan"
    title: str
    caption: str = ""
    data: ArtifactRef
    anchor: str = ""
    """Element id in the page, so that findings can link to it: `plan-1f0c...`."""


class PictureFigure(Model):
    """A picture that was drawn by us; `data` is SVG."""

    figure: Literal["picture"] = "picture"
    title: str
    caption: str = ""
    data: ArtifactRef


class PlanMark(Model):
    """Something that was found at a node."""

    rule: str
    statement: str


class PlanNodePicture(Model):
    """One node of a plan, as it is drawn."""

    id: int
    """Number in preorder; the root is 0."""
    parent: int
    """-1 for the root."""
    title: str
    """`Seq Scan on orders`."""
    details: tuple[str, ...] = ()
    """Conditions, sort keys, what was removed: as the server writes them, shortened."""
    self_ms: float | None = None
    """Own time over all loops (None: not executed or not timed)."""
    total_ms: float | None = None
    self_share: float | None = None
    """Of the statement's execution time; without times, of its planned cost."""
    rows_planned: float = 0.0
    """Per loop."""
    rows_actual: float | None = None
    """Per loop."""
    loops: float | None = None
    misestimate: float | None = None
    """How many times too high (positive) or too low (negative) the estimate is; None when not executed."""
    blocks: int | None = None
    """Shared blocks hit and read, own."""
    cost: float = 0.0
    hot: bool = False
    never_executed: bool = False
    marks: tuple[PlanMark, ...] = ()


class PlanPicture(Model):
    """A plan tree that a person can read."""

    mode: str
    """`analyzed`, `planned`, `generic plan`."""
    execution_ms: float | None = None
    planning_ms: float | None = None
    nodes: tuple[PlanNodePicture, ...]
    left_out: int = 0
    """Nodes beyond the bound."""


Figure = Annotated[FlameGraphFigure | SeriesFigure | TableFigure | PlanFigure | PictureFigure, Field(discriminator="figure")]


class Fact(Model):
    """A line of "How it was measured"."""

    label: str
    value: str


class ReportExtras(Model):
    """What one process adds to the report."""

    figures: tuple[Figure, ...] = ()
    facts: tuple[Fact, ...] = ()
    warnings: tuple[str, ...] = ()
