"""`perfwright init`."""

from pathlib import Path
from typing import Annotated

import typer

from starter.cli.output import note

FILE = Path("perfwright.toml")


def init(
    stdout: Annotated[bool, typer.Option("--stdout", help="Print it instead of writing it.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a perfwright.toml that is there.")] = False,
) -> None:
    """Find local processes with ports, databases and containers, and write a commented perfwright.toml."""
    from starter.discovery import listening_processes, running_containers
    from starter.refusals import NotCarriedOut, Refused
    from starter.registry_draft import draft_registry

    if not stdout and not force and FILE.exists():
        raise Refused(f"{FILE} is there already", way_out="Look at the draft with --stdout, or replace it with --force")
    processes, containers = listening_processes(), running_containers()
    text = draft_registry(processes, containers)
    if stdout:
        print(text, end="")
        return
    try:
        FILE.write_text(text, encoding="utf-8")
    except OSError as trouble:
        raise NotCarriedOut(f"{FILE} cannot be written: {trouble.strerror}") from None
    targets = f"{len(processes)} target{'' if len(processes) == 1 else 's'}"
    print(f"wrote {FILE} with {targets}{f' and {len(containers)} containers noted' if containers else ''}")
    note("Read it through: names, environments, what belongs to whom. Then `perfwright targets` and `perfwright doctor`.")
