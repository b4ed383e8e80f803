"""`perfwright cpu`, `perfwright query`: a first look, without a registry. Only under `perfwright up`, and read-only."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
    from starter.refusals import InvalidRequest

    given: dict[str, Any] = {key: value for key, value in (("pid", pid), ("port", port), ("name", name)) if value is not None}
    if command:
        given |= {"command": command, "working_directory": str(Path.cwd())}
    if len([key for key in given if key != "working_directory"]) != 1:
        raise InvalidRequest("perfwright cpu", ["exactly one of --pid, --port, --name or -- COMMAND is needed"])
    _refuse_without_up("CpuProfilingInvestigation")
    if name is not None:
        given = {"pid": _pid_of(name)}

    async def go(perf: "Perfwright") -> int:
        from starter.cli.start import wait_for

        run = await perf.start("CpuProfilingInvestigation", target={"process": given}, duration_s=duration)
        return await wait_for(run, perf, json=json)

    raise typer.Exit(connected(go))


def query(
    dsn_env: Annotated[
        str, typer.Option("--dsn-env", help="Environment variable with the connection string, as it was set when `perfwright up` started.")
    ],
    kind: Annotated[
        Literal["postgresql", "mysql"],
        typer.Option("--kind", metavar="KIND", help="What answers there: postgresql, or mysql (MariaDB as well)."),
    ] = "postgresql",
    window: Annotated[float, typer.Option("--window", min=1, max=86_400, help="Seconds to observe.")] = 20.0,
    sql_file: Annotated[str | None, typer.Option("--sql-file", help="File with statements to examine as well.")] = None,
    json: AsJson = False,
) -> None:
    """A first look: which queries of a database cost most, why, and what first?

    Needs `perfwright up` in this folder. Reads only: statements are executed for their plans only when they can do nothing but read.
    """
    _refuse_without_up("QueryPerformanceAnalysis")
    more: dict[str, Any] = {"sql_file": str(Path(sql_file).resolve())} if sql_file else {}

    async def go(perf: "Perfwright") -> int:
        from starter.cli.start import wait_for

        run = await perf.start("QueryPerformanceAnalysis", target={"dsn_env": dsn_env, "kind": kind}, window_s=window, **more)
        return await wait_for(run, perf, json=json)

    raise typer.Exit(connected(go))


def _refuse_without_up(process: str) -> None:
    from starter.refusals import NotCarriedOut
    from starter.up_state import running_up

    if running_up() is None:
        raise NotCarriedOut(
            "`perfwright up` does not run in this folder, and a first look works only beside it",
            way_out="Start `perfwright up` here in another terminal, then try again; elsewhere name the target in perfwright.toml "
            f"and use `perfwright start {process} --target NAME --wait`",
        )


def _pid_of(name: str) -> int:
    """Looked up here and not by the worker, which would find this very command by its `--name`."""
    from pydantic import ValidationError
    from temporalio.exceptions import ApplicationError

    from activities.finding_processes import find_process
    from perfwright.models.target import ProcessSelector
    from starter.refusals import InvalidRequest, NotCarriedOut
    from workflows.plugin.mistakes import describe_mistakes

    try:
        return find_process(ProcessSelector(name=name)).pid
    except ValidationError as error:
        raise InvalidRequest("perfwright cpu", [f"--{mistake}" for mistake in describe_mistakes(error, ProcessSelector)]) from None
    except ApplicationError as refused:
        raise NotCarriedOut(refused.message) from None
