"""`perfwright`: the commands, in the order in which `perfwright --help` lists them.

Only Typer is imported here; what a command needs (Temporal, pydantic, SQLAlchemy, Rich) is imported when it runs. Help is plain text,
because drawing it with Rich takes longer than everything else together.
"""

import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from starter.cli import compare, describe, doctor, first_look, gates, init, processes, report, runs, serve, start, submit, targets, undo
from starter.failures import CANNOT_BE_CARRIED_OUT, CannotStart
from starter.refusals import NotCarriedOut, Refused

INTERRUPTED = 130

SECTIONS: tuple[tuple[str, dict[str, Callable[..., None]]], ...] = (
    (
        "Run a process",
        {"cpu": first_look.cpu, "query": first_look.query, "start": start.start, "cancel": runs.cancel, "undo": undo.undo},
    ),
    (
        "Answer",
        {
            "gates": gates.gates,
            "approve": gates.approve,
            "reject": gates.reject,
            "request-changes": gates.request_changes,
            "submit": submit.submit,
        },
    ),
    (
        "Look",
        {
            "processes": processes.processes,
            "describe": describe.describe,
            "targets": targets.targets,
            "list": runs.list_runs,
            "show": runs.show,
            "report": report.report,
            "compare": compare.compare,
        },
    ),
    (
        "Set up",
        {"up": serve.up, "init": init.init, "doctor": doctor.doctor, "worker": serve.worker},
    ),
)


class Sections(TyperGroup):
    """Commands under headings."""

    def invoke(self, ctx: Any) -> Any:
        """A value that is none of those allowed is told without the word that pydantic, which checks it for Typer, puts before it."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as mistake:
            mistake.message = mistake.message.removeprefix("Value error, ")
            raise

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        wide = max(len(name) for name in self.commands)
        for title, commands in SECTIONS:
            with formatter.section(title):
                formatter.write_dl([(name.ljust(wide), (function.__doc__ or "").partition("\n")[0]) for name, function in commands.items()])


app = typer.Typer(
    name="perfwright",
    cls=Sections,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    help="Performance-engineering processes as durable Temporal workflows: measured for real, gated by people, proven or undone.",
)
for _, commands in SECTIONS:
    for name, function in commands.items():
        app.command(name)(function)


def main() -> None:
    """Exit codes: 0 passed, 1 failed verdict, 2 bad usage, 3 inconclusive, 4 rejected, 5 could not be carried out."""
    code = _run()
    if "temporalio" in sys.modules:
        from starter.process_exit import exit_at_once

        exit_at_once(code)
    sys.exit(code)


def _run() -> int:
    try:
        app()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (Refused, NotCarriedOut) as told:
        print(f"error: {told}", file=sys.stderr)
        return told.exit_code
    except CannotStart as told:
        print(f"error: {told}", file=sys.stderr)
        return CANNOT_BE_CARRIED_OUT
    return 0


if __name__ == "__main__":
    main()
