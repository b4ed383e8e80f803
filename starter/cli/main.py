"""`perfwright`: the commands, in the order in which `perfwright --help` lists them.

Only Typer and the catalogue are imported here; what a command needs (Temporal, pydantic, SQLAlchemy) is imported when it runs.
"""

import sys

import typer

from starter.cli import compare, describe, doctor, first_look, gates, init, processes, report, runs, serve, start, targets
from starter.failures import CannotStart
from starter.refusals import NotCarriedOut, Refused

app = typer.Typer(
    name="perfwright",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Performance-engineering processes as durable Temporal workflows: measured for real, gated by people, proven or undone.",
)

RUN, FIND, ANSWER, SET_UP = "Run a process", "Look", "Answer", "Set up"

COMMANDS = (
    ("up", serve.up, SET_UP),
    ("init", init.init, SET_UP),
    ("doctor", doctor.doctor, SET_UP),
    ("worker", serve.worker, SET_UP),
    ("cpu", first_look.cpu, RUN),
    ("start", start.start, RUN),
    ("cancel", runs.cancel, RUN),
    ("processes", processes.processes, FIND),
    ("describe", describe.describe, FIND),
    ("targets", targets.targets, FIND),
    ("list", runs.list_runs, FIND),
    ("show", runs.show, FIND),
    ("report", report.report, FIND),
    ("compare", compare.compare, FIND),
    ("gates", gates.gates, ANSWER),
    ("approve", gates.approve, ANSWER),
    ("reject", gates.reject, ANSWER),
    ("request-changes", gates.request_changes, ANSWER),
)

for name, function, panel in COMMANDS:
    settings = {"ignore_unknown_options": False, "allow_interspersed_args": name != "cpu"}
    app.command(name, rich_help_panel=panel, context_settings=settings)(function)


def main() -> None:
    """Exit codes: 0 passed, 1 failed verdict, 2 bad usage, 3 inconclusive, 4 rejected, 5 could not be carried out."""
    try:
        code = app(standalone_mode=True) or 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except KeyboardInterrupt:
        code = 130
    except (Refused, NotCarriedOut) as told:
        print(f"error: {told}", file=sys.stderr)
        if "\n" in told.what_happened and told.way_out:
            print(told.way_out, file=sys.stderr)
        code = told.exit_code
    except CannotStart as told:
        print(f"error: {told}", file=sys.stderr)
        code = 5
    except BrokenPipeError:  # `perfwright list | head`
        code = 0
    if "temporalio" in sys.modules:
        from starter.process_exit import exit_at_once

        exit_at_once(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
