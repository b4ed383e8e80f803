"""A process's result as a report: HTML that opens offline, Markdown that says the same, JSON for programs.

One template for all processes: what a process adds is said as `ReportExtras` (pictures, tables, facts). Scripts and styles are vendored
(see `assets/README.md`) and inlined; a content security policy forbids the page any network.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markdown_it import MarkdownIt
from markupsafe import Markup, escape

from perfwright.models.report import PictureFigure, PlanFigure, PlanPicture, ReportExtras, SeriesFigure, TableFigure
from perfwright.models.result import ProcessResult
from perfwright.report import words
from perfwright.report.plans import plan_table

HTML_LIMIT_BYTES = 3_000_000
"""A report can be mailed."""
FIGURES_LIMIT_BYTES = 2_600_000
"""What pictures may take of it; those that do not fit are told, with where their data is."""
_CODE_SPAN = re.compile(r"`([^`]+)`")
PLAN_MARKUP_FACTOR = 3
"""A plan is drawn as a table: so many times the bytes of its data."""
LEGEND = (
    ("your code", "#f2a65a"),
    ("libraries", "#e8d174"),
    ("runtime", "#9ec5e8"),
    ("compiled", "#b7a7e0"),
    ("kernel", "#e89aa8"),
    ("other", "#cfd6dd"),
)


def render_html(result: ProcessResult[Any], extras: ReportExtras, run: str, repeat: str, data: Mapping[str, bytes]) -> str:
    """The page. `run` is the run's short name (`shop#12`), `repeat` the command that repeats it, `data` the figures' artifacts by uri."""
    figures = _figures(extras, data)
    anchors = {f"{figure['spec'].anchor}-{row.node.id}" for figure in figures if figure.get("plan") for row in figure["plan"].rows}
    return (
        templates()
        .get_template("report.html.j2")
        .render(
            result=result,
            extras=extras,
            run=run,
            repeat=repeat,
            figures=figures,
            anchors=anchors,
            legend=LEGEND,
            assets=assets(),
            process_title=words.process_title(result.process),
        )
    )


def render_markdown(result: ProcessResult[Any], extras: ReportExtras, run: str, repeat: str) -> str:
    """The same for a pull request or a chat."""
    figures = [{"spec": figure} for figure in extras.figures]
    text = (
        templates()
        .get_template("report.md.j2")
        .render(result=result, extras=extras, run=run, repeat=repeat, figures=figures, process_title=words.process_title(result.process))
    )
    return text.strip() + "\n"


def render_json(result: ProcessResult[Any]) -> str:
    """`result.json`: the whole result."""
    return result.model_dump_json(indent=2) + "\n"


def _figures(extras: ReportExtras, data: Mapping[str, bytes]) -> list[dict[str, Any]]:
    left, out = FIGURES_LIMIT_BYTES, []
    for figure in extras.figures:
        shown: dict[str, Any] = {"spec": figure, "problem": "", "data": "", "marks": ""}
        if isinstance(figure, SeriesFigure):
            shown["marks"] = json.dumps([mark.model_dump() for mark in figure.marks])
        if not isinstance(figure, TableFigure):
            content = data.get(figure.data.uri)
            if content is None:
                shown["problem"] = f"The data of this picture could not be read: {figure.data.uri}"
            elif len(content) > left:
                shown["problem"] = f"This picture does not fit into a report of 3 MB; its data is in {figure.data.uri}"
            elif isinstance(figure, PlanFigure):
                left -= PLAN_MARKUP_FACTOR * len(content)
                shown["plan"] = plan_table(PlanPicture.model_validate_json(content))
            elif isinstance(figure, PictureFigure):
                left -= len(content)
                shown["data"] = Markup(content.decode("utf-8", "replace"))  # noqa: S704 drawn by us, with every name in it escaped
            else:
                left -= len(content)
                shown["data"] = script_json(content)
        out.append(shown)
    return out


def script_json(content: bytes) -> Markup:
    """JSON that cannot end the script element it stands in."""
    return Markup(content.decode("utf-8", "replace").replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))  # noqa: S704 escaped here


def _table(figure: TableFigure) -> str:
    def cell(value: str | float, bar: bool) -> str:
        return words.share(value) if bar and isinstance(value, float) else str(value).replace("|", "\\|").replace("\n", " ")

    head = "| " + " | ".join(column.title for column in figure.columns) + " |"
    rule = "|" + "|".join("---:" if column.numeric or column.bar else "---" for column in figure.columns) + "|"
    rows = [
        "| " + " | ".join(cell(value, column.bar) for value, column in zip(row, figure.columns, strict=True)) + " |" for row in figure.rows
    ]
    return "\n".join([head, rule, *rows])


def _plain(text: object) -> str:
    """Text that stays text in Markdown: no headings, links or HTML out of a comment."""
    return "".join("\\" + c if c in "\\`*_[]<>#|" else c for c in str(text)).replace("\n", " ")


def _code_spans(text: object) -> Markup:
    """A sentence with `names of code` set as such; everything in it is text."""
    return Markup(_CODE_SPAN.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 escaped here


def _breakable(text: object) -> Markup:
    """A cell whose paths may be broken after a slash, where the table is narrow."""
    return Markup(str(escape(text)).replace("/", "/<wbr>"))  # noqa: S704 escaped here


def _html_from_markdown(text: str) -> Markup:
    return Markup(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))  # noqa: S704 raw HTML is off: the renderer escapes it


def _bar(value: float) -> str:
    return f"{100 * min(1.0, max(0.0, float(value))):.1f}"


def _dump(value: object) -> str:
    return json.dumps(value, sort_keys=True)


@cache
def assets() -> dict[str, Markup]:
    folder = files("perfwright.report")
    names = {
        "flame_js": "assets/flamegraph.min.js",
        "flame_css": "assets/flamegraph.min.css",
        "uplot_js": "assets/uplot.min.js",
        "uplot_css": "assets/uplot.css",
        "report_css": "templates/report.css",
        "report_js": "templates/report.js",
    }
    return {key: Markup(folder.joinpath(name).read_text(encoding="utf-8")) for key, name in names.items()}  # noqa: S704 our own files


@cache
def templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("perfwright.report", "templates"),
        autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
        undefined=StrictUndefined,
        trim_blocks=False,
    )
    environment.filters |= {
        "estimate": words.estimate,
        "share": words.share,
        "seconds": words.seconds,
        "moment": words.moment,
        "observed": words.observed,
        "allowed": words.allowed,
        "bar": _bar,
        "code_spans": _code_spans,
        "breakable": _breakable,
        "json": _dump,
        "markdown": _html_from_markdown,
        "md": _plain,
        "md_table": _table,
    }
    return environment
