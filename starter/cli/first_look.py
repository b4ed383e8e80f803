"""`perfwright cpu`: a first look at something on this machine, without a registry. Only under `perfwright up`, and read-only."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from starter.cli.session import AsJson, connected

if TYPE_CHECKING:
    from starter.client import Perfwright


def cpu(
    pid: Annotated[int | None, typer.Option("--pid", min=1, help="A running process.")] = None,
    port: Annotated[int | None, typer.Option("--port", min=1, max=65_535, help="The process that listens on this TCP port.")] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="The one process of this program name, or with this in its command line.")
    ] = None,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[-- COMMAND]", help="A program to start, with its arguments.", show_default=False)
    ] = None,
    duration: Annotated[float, typer.Option("--duration", min=2, max=3_600, help="Seconds to record.")] = 10.0,
    json: AsJson = False,
) -> None:
    """A first look: where does the CPU time of a process on this machine go?

    Needs `perfwright up` in this folder. Records, follows live, and prints what was found and where the report is.
    """
    from starter.refusals import InvalidRequest, NotCarriedOut
    from starter.up_state import running_up

    given: dict[str, Any] = {key: value for key, value in (("pid", pid), ("port", port), ("name", name)) if value is not None}
    if command:
        given |= {"command": command, "working_directory": str(Path.cwd())}
    if len([key for key in given if key != "working_directory"]) != 1:
        raise InvalidRequest("perfwright cpu", ["exactly one of --pid, --port, --name or -- COMMAND is needed"])
    if running_up() is None:
        raise NotCarriedOut(
            "`perfwright up` does not run in this folder, and a first look works only beside it",
            way_out="Start `perfwright up` here in another terminal, then try again; elsewhere name the target in perfwright.toml "
            "and use `perfwright start CpuProfilingInvestigation --target NAME --wait`",
        )

    if name is not None:
        given = {"pid": _pid_of(name)}

    async def go(perf: "Perfwright") -> int:
        from starter.cli.start import wait_for

        run = await perf.start("CpuProfilingInvestigation", target={"process": given}, duration_s=duration)
        return await wait_for(run, perf, json=json)

    raise typer.Exit(connected(go))


def _pid_of(name: str) -> int:
    """Looked up here and not by the worker, which would find this very command by its `--name`."""
    from temporalio.exceptions import ApplicationError

    from activities.finding_processes import find_process
    from perfwright.models.target import ProcessSelector
    from starter.refusals import NotCarriedOut

    try:
        return find_process(ProcessSelector(name=name)).pid
    except ApplicationError as refused:
        raise NotCarriedOut(refused.message) from None
