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


Figure = Annotated[FlameGraphFigure | SeriesFigure | TableFigure, Field(discriminator="figure")]


class Fact(Model):
    """A line of "How it was measured"."""

    label: str
    value: str


class ReportExtras(Model):
    """What one process adds to the report."""

    figures: tuple[Figure, ...] = ()
    facts: tuple[Fact, ...] = ()
    warnings: tuple[str, ...] = ()
