"""`perfwright report ID`."""

from typing import TYPE_CHECKING, Annotated

import typer

from starter.cli.output import console, facts, lines, note, say_json
from starter.cli.session import Config, RunName, connected

if TYPE_CHECKING:
    from pathlib import Path

    from starter.client import Perfwright
    from starter.run import Run


def report(
    id: RunName,
    open: Annotated[bool, typer.Option("--open", help="Open the HTML report in the browser.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The result as JSON.")] = False,
    config: Config = "",
) -> None:
    """The report of a run: what was found, and where the HTML, Markdown and JSON are."""
    connected(lambda perf: _report(perf, id, open, json), config)


async def _report(perf: "Perfwright", name: str, open_it: bool, json: bool) -> None:
    from starter.cli.outcome import show_outcome

    run = await perf.run(name)
    if await run.is_open():
        await _report_under_review(perf, run, open_it, json)
        return
    result = await run.result()
    if json:
        say_json(result)
    else:
        await show_outcome(result, perf.here, findings=20)
    if open_it and result.report.html:
        open_in_browser(await perf.here.local_file(result.report.html))


async def _report_under_review(perf: "Perfwright", run: "Run", open_it: bool, json: bool) -> None:
    """A report is there before the gate that asks about it."""
    from starter.cli.outcome import where
    from starter.refusals import NotCarriedOut

    gates = await run.open_gates()
    found = [(gate, ref) for gate in gates for ref in gate.question.artifacts if ref.media_type in ("text/html", "text/markdown")]
    if not found or json:
        waits = f" (waiting at {', '.join(gate.name for gate in gates)})" if gates else ""
        missing = "its result" if json else "its report"
        way_out = f"Follow it with `perfwright show {run.workflow_id} --follow`"
        raise NotCarriedOut(f"{run.workflow_id} goes on{waits}: {missing} is not written yet", way_out=way_out)
    lines([f"under review at {found[0][0].name}: {found[0][0].question.question}"], indent="")
    lines([f"- {line.replace('**', '')}" for line in found[0][0].question.evidence])
    console().print()
    facts({ref.media_type: await where(ref, perf.here) for _, ref in found}, whole=True)
    html = next((ref for _, ref in found if ref.media_type == "text/html"), None)
    if open_it and html:
        open_in_browser(await perf.here.local_file(html))


def open_in_browser(file: "Path") -> None:
    """Where there is one; else its path is told."""
    import webbrowser

    if not webbrowser.open(file.resolve().as_uri()):
        note(f"no browser could be opened here: open {file} yourself")
