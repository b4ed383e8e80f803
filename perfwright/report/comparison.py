"""Two runs side by side as one HTML page that opens offline, in the look of the reports."""

from collections.abc import Sequence
from typing import Any

from perfwright.models.result import ProcessResult
from perfwright.report import words
from perfwright.report.render import assets, script_json, templates

PICTURE_LIMIT_BYTES = 2_000_000


def render_comparison(
    earlier: ProcessResult[Any],
    later: ProcessResult[Any],
    names: tuple[str, str],
    *,
    summary: str,
    rows: Sequence[tuple[str, str, str, str, str]],
    new_findings: Sequence[str],
    gone_findings: Sequence[str],
    cautions: Sequence[str],
    picture: bytes | None,
    picture_caption: str,
    repeat: str,
) -> str:
    """The page. `names` are the runs' short names; `rows` say what, earlier, later, difference and what is shown by it; `picture` is
    d3-flame-graph JSON with deltas, left out above two megabytes so that the page can be mailed."""
    shown = picture if picture is not None and len(picture) <= PICTURE_LIMIT_BYTES else None
    return (
        templates()
        .get_template("comparison.html.j2")
        .render(
            earlier=earlier,
            later=later,
            earlier_run=names[0],
            later_run=names[1],
            summary=summary,
            rows=rows,
            new_findings=new_findings,
            gone_findings=gone_findings,
            cautions=cautions,
            picture=script_json(shown) if shown is not None else "",
            picture_caption=picture_caption,
            repeat=repeat,
            assets=assets(),
            process_title=words.process_title(later.process),
        )
    )
