"""`perfwright processes`."""

from typing import Annotated

import typer

from starter.catalogue import PROCESSES
from starter.cli.output import say_json, table


def processes(json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.")] = False) -> None:
    """All processes by category, one line each."""
    if json:
        say_json([{"name": p.name, "category": p.category, "question": p.question, "targets": p.targets} for p in PROCESSES])
        return
    rows = [((p.name, "bold"), p.category, p.question) for p in sorted(PROCESSES, key=lambda p: p.category)]
    table(["process", "category", "question"], rows, empty="none")


def complete_process(incomplete: str) -> list[str]:
    """For the shell."""
    return [p.name for p in PROCESSES if p.name.lower().startswith(incomplete.lower())]
