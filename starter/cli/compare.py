"""`perfwright compare ID ID`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from starter.cli.output import console, facts, heading, lines, say_json, table
from starter.cli.session import AsJson, Config, connected

if TYPE_CHECKING:
    from starter.client import Perfwright

FOLDER = Path(".perfwright/comparisons")


def compare(
    earlier: Annotated[str, typer.Argument(metavar="ID", help="The earlier run: shop#1, or its run id.")],
    later: Annotated[str, typer.Argument(metavar="ID", help="The later run: shop#2, shop, or its run id.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where the page is written.")] = None,
    open: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    json: AsJson = False,
    config: Config = "",
) -> None:
    """Two runs of one process, side by side: numbers with intervals, difference flame graph."""
    connected(lambda perf: _compare(perf, (earlier, later), output, open, json), config)


async def _compare(perf: "Perfwright", names: tuple[str, str], output: Path | None, open_it: bool, json: bool) -> None:
    from starter.comparison import compare_results, compared_page, signed
    from starter.comparison import told as number
    from starter.refusals import NotCarriedOut, Refused

    runs = [await perf.run(name) for name in names]
    if runs[0].run_id == runs[1].run_id:
        raise Refused(f"{names[0]} and {names[1]} are the same run")
    for run in runs:
        if await run.is_open():
            raise NotCarriedOut(f"{run.workflow_id} goes on: there is no result to compare yet")
    known = await perf.here.run_names()
    earlier, later = [await run.result() for run in runs]
    told = compare_results(earlier, later, (known.get(runs[0].run_id, names[0]), known.get(runs[1].run_id, names[1])))
    if json:
        say_json(told)
        return
    file = output or FOLDER / f"{_file_name(told.earlier)}-and-{_file_name(told.later)}.html"
    page = await compared_page(earlier, later, told, perf.here)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page, encoding="utf-8")
    except OSError as trouble:
        raise NotCarriedOut(f"{file} cannot be written: {trouble.strerror}", way_out="Name another with --output") from None
    styles = {"more": "red", "less": "green"}
    rows = [
        (
            one.what,
            number(one.earlier),
            number(one.later),
            signed(one),
            (one.shown, styles.get(one.shown, "dim")),
        )
        for one in told.numbers
    ]
    table(["", told.earlier, told.later, "difference", ""], rows, empty="Neither run has numbers to compare.")
    for title, titles in (("New findings", told.new_findings), ("Findings that are gone", told.gone_findings)):
        if titles:
            heading(title)
            lines(titles)
    if told.cautions:
        heading("Take care")
        lines(told.cautions, style="yellow")
    console().print()
    lines([told.summary], indent="", style="bold")
    facts({"page": file}, whole=True)
    if open_it:
        from starter.cli.report import open_in_browser

        open_in_browser(file)


def _file_name(run: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", run).strip("-")[:80] or "run"
