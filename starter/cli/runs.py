"""`perfwright list`, `show`, `cancel`."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from starter.cli.output import VERDICT_STYLES, console, duration, facts, heading, lines, moment, note, say_json, table
from starter.cli.session import AsJson, Config, RunName, connected

if TYPE_CHECKING:
    from perfwright.models.history import RunSummary
    from perfwright.models.progress import Progress
    from starter.client import ListedRun, Perfwright
    from starter.run import Run


def list_runs(
    target: Annotated[str, typer.Option("--target", "-t", help="Only runs on this target.")] = "",
    open: Annotated[bool, typer.Option("--open", help="Only runs that go on.")] = False,
    verdict: Annotated[
        Literal["passed", "failed", "inconclusive", "rejected", "cancelled"] | None,
        typer.Option("--verdict", metavar="VERDICT", help="Only these: passed, failed, inconclusive, rejected, cancelled."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000, help="At most so many, newest first.")] = 50,
    json: AsJson = False,
    config: Config = "",
) -> None:
    """Runs, newest first."""

    async def go(perf: "Perfwright") -> "tuple[list[ListedRun], dict[str, str]]":
        runs = await perf.runs(target=target or None, open_only=open, verdict=verdict, limit=limit)
        return runs, await perf.here.run_names()

    runs, names = connected(go, config)
    if json:
        from dataclasses import asdict

        say_json([{"name": names.get(run.run_id, "")} | asdict(run) for run in runs])
        return
    rows = [
        (
            run.workflow_id,
            names.get(run.run_id, ""),
            (run.verdict or run.status, VERDICT_STYLES.get(run.verdict, "cyan" if run.status == "running" else "red")),
            (", ".join(run.pending_gates) and f"waits at {', '.join(run.pending_gates)}") or run.phase,
            run.environment,
            moment(run.started_at),
            _took(run),
        )
        for run in runs
    ]
    table(["run", "name", "state", "phase", "environment", "started", "took"], rows, empty="No runs.")


def show(
    id: RunName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on telling until it is closed.")] = False,
    json: AsJson = False,
    config: Config = "",
) -> None:
    """Phase, live numbers, steps done, open gate, refused decisions."""

    async def go(perf: "Perfwright") -> int:
        run = await perf.run(id)
        return await (_follow(perf, run, json) if follow else _show(perf, run, json))

    raise typer.Exit(connected(go, config))


def cancel(id: RunName, json: AsJson = False) -> None:
    """Stop a run: tools are ended, changes undone, leases given back."""

    async def go(perf: "Perfwright") -> "Run":
        run = await perf.run(id)
        await run.cancel()
        return run

    run = connected(go)
    if json:
        say_json({"workflow_id": run.workflow_id, "run_id": run.run_id, "cancelled": True})
        return
    print(f"asked {run.workflow_id} to stop")
    note(f"`perfwright show {run.workflow_id} --follow` tells when it has.")


async def _follow(perf: "Perfwright", run: "Run", json: bool) -> int:
    from asyncio import CancelledError

    from starter.cli.outcome import EXIT_CODES, show_outcome
    from starter.cli.watching import come_back, watch

    try:
        await watch(run, json=json)
        result = await run.result()
    except CancelledError:
        come_back(run)
        raise
    if not json:
        console().print()
        await show_outcome(result, perf.here)
    return EXIT_CODES[result.verdict]


async def _show(perf: "Perfwright", run: "Run", json: bool) -> int:
    from asyncio import gather

    from starter.client import ListedRun
    from starter.following import no_worker_on, running_steps, summaries
    from starter.pollers import pollers_of
    from starter.refusals import NoWorkerAnswers, UnknownRun

    try:
        description = await run.describe()
    except UnknownRun:
        if run.recorded is None:
            raise
        await _show_recorded(perf, run, run.recorded, json)
        return 0
    listed = ListedRun.of(description)
    names = await perf.here.run_names()
    progress: Progress | None = None
    refused: list[Any] = []
    trouble = ""
    queue = description.task_queue
    if (await pollers_of(perf.client, queue, workflows=True)).present:
        try:
            progress, refused = await gather(run.progress(), run.refused_decisions())
        except NoWorkerAnswers as silent:
            trouble = str(silent)
    elif listed.status == "running":
        trouble = no_worker_on(queue)
    pending = description.raw_description.pending_activities
    live = await running_steps(run, description, await summaries(run) if pending else {})
    gates = await run.open_gates() if progress is not None and listed.status == "running" else []
    result = await run.result() if listed.status == "completed" else None
    if json:
        from dataclasses import asdict

        say_json(
            {"name": names.get(run.run_id, "")}
            | asdict(listed)
            | {
                "steps": progress.steps if progress else (),
                "latest": progress.latest if progress else (),
                "running": live,
                "waiting_for": progress.waiting_for if progress else trouble,
                "open_gates": gates,
                "refused_decisions": refused,
                "summary": result.summary if result else "",
                "report": result.report if result else None,
            }
        )
        return 0
    from starter.cli.outcome import show_outcome
    from starter.cli.watching import numbers_line, say_gate

    facts(
        {
            "run": f"{listed.workflow_id}{f'  ({names[run.run_id]})' if run.run_id in names else ''}",
            "target": listed.target,
            "environment": listed.environment,
            "state": listed.verdict or listed.status,
            "phase": listed.phase if listed.status == "running" else "",
            "started": moment(listed.started_at),
            "took": _took(listed),
            "waits for": progress.waiting_for if progress else trouble,
        }
    )
    if progress and progress.steps:
        heading("Steps")
        rows = [((step.outcome, STEP_STYLES[step.outcome]), step.name, duration(step.duration_s), step.note) for step in progress.steps]
        table(["", "step", "took", "note"], rows, empty="")
    if live:
        heading("Now")
        lines([f"{step.text}: {numbers_line(step.numbers) or duration(step.seconds)} {step.trouble}".rstrip() for step in live])
    if progress and progress.latest:
        heading("Latest")
        lines(progress.latest)
    for gate in gates:
        console().print()
        say_gate(run.workflow_id, gate)
    if refused:
        heading("Decisions that were not taken")
        lines([f"{moment(one.at)} {one.message}{f' by {one.by}' if one.by else ''}: {one.reason}" for one in refused])
    if result is not None:
        console().print()
        await show_outcome(result, perf.here)
    elif listed.status != "running":
        await _say_why(run)
    return 0


STEP_STYLES = {"done": "green", "skipped": "dim", "failed": "red", "cancelled": "yellow"}


async def _say_why(run: "Run") -> None:
    from starter.refusals import ProcessFailed

    try:
        await run.result()
    except ProcessFailed as failed:
        console().print()
        lines([str(failed)], indent="", style="red")


async def _show_recorded(perf: "Perfwright", run: "Run", recorded: "RunSummary", json: bool) -> None:
    """What the history keeps of a run that the server no longer has."""
    from starter.cli.outcome import show_outcome

    if json:
        say_json(recorded)
        return
    facts({"run": f"{recorded.workflow_id}  ({recorded.name})", "started": moment(recorded.started_at), "state": recorded.verdict})
    console().print()
    await show_outcome(await run.result(), perf.here)


def _took(run: "ListedRun") -> str:
    from datetime import UTC, datetime

    until = datetime.fromisoformat(run.closed_at) if run.closed_at else datetime.now(UTC)
    return duration(max(0.0, round((until - datetime.fromisoformat(run.started_at)).total_seconds(), 1)))
