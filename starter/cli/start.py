"""`perfwright start PROCESS`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from starter.cli.output import console, note, say_json
from starter.cli.processes import complete_process
from starter.cli.session import AsJson, Config, connected

if TYPE_CHECKING:
    from starter.client import Perfwright
    from starter.run import Run


def start(
    process: Annotated[str, typer.Argument(help="Name of the process.", autocompletion=complete_process)],
    target: Annotated[str, typer.Option("--target", "-t", help="Name of the target in the registry.")] = "",
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="A field of the input; the value is JSON, or text.")
    ] = None,
    input: Annotated[str, typer.Option("--input", metavar="FILE|-", help="The input as a JSON object.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Follow live; the exit code tells the verdict.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Preflight only: check everything, print the plan, start nothing.")] = False,
    json: AsJson = False,
    config: Config = "",
) -> None:
    """Start a process on a target.

    With --wait the exit code tells the verdict: 0 passed, 1 failed, 2 bad usage, 3 inconclusive, 4 rejected, 5 not carried out.
    """
    from starter.catalogue import find_process
    from starter.here import Here
    from starter.inputs import build_request, merged, read_assignments, read_object

    entry = find_process(process)
    mistakes: list[str] = []
    given: dict[str, Any] = read_object(_text_of(input), f"--input {input}") if input else {}
    given = merged(given, read_assignments(assignments or [], mistakes))
    if target:
        given["target"] = target
    build_request(entry, given, registry=Here(config or None).registry(), mistakes=mistakes)  # told before any server is asked
    if dry_run:
        from starter.cli.plan import show_plan

        raise typer.Exit(connected(lambda perf: show_plan(perf, entry, given, mistakes, json=json), config))

    async def go(perf: "Perfwright") -> int:
        run = await perf.start(entry.name, mistakes=mistakes, **given)
        if wait:
            return await wait_for(run, perf, json=json)
        if json:
            say_json({"workflow_id": run.workflow_id, "run_id": run.run_id, "process": entry.name})
        else:
            print(f"started {run.workflow_id} (run {run.run_id})", flush=True)
            note(f"Follow it with `perfwright show {run.workflow_id} --follow`.")
        await say_if_nobody_polls(perf)
        return 0

    raise typer.Exit(connected(go, config))


async def wait_for(run: "Run", perf: "Perfwright", *, json: bool = False) -> int:
    """Follow a run to its end and tell how it ended; the exit code of its verdict."""
    from asyncio import CancelledError

    from starter.cli.outcome import EXIT_CODES, show_outcome
    from starter.cli.watching import come_back, watch

    if not json:
        print(f"started {run.workflow_id} (run {run.run_id})", flush=True)
    try:
        if not json:
            await watch(run)
        result = await run.result()
    except CancelledError:
        come_back(run)
        raise
    if json:
        say_json(result)
    else:
        console().print()
        await show_outcome(result, perf.here)
    return EXIT_CODES[result.verdict]


async def say_if_nobody_polls(perf: "Perfwright") -> None:
    """A run without a worker waits; better told at once."""
    from starter.following import no_worker_on
    from starter.pollers import pollers_of

    if not (await pollers_of(perf.client, perf.task_queue, workflows=True)).present:
        note(f"note: {no_worker_on(perf.task_queue)}")


def _text_of(source: str) -> str:
    from starter.inputs import MAX_CHARACTERS
    from starter.refusals import Refused

    try:
        if source == "-":
            return sys.stdin.read(MAX_CHARACTERS + 1)
        with Path(source).open(encoding="utf-8") as file:
            return file.read(MAX_CHARACTERS + 1)
    except (OSError, UnicodeDecodeError) as trouble:
        reason = trouble.strerror if isinstance(trouble, OSError) else "not UTF-8 text"
        raise Refused(f"--input {source} cannot be read: {reason}") from None
