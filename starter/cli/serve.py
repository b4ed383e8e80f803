"""`perfwright up` and `perfwright worker`: what runs in the foreground until Ctrl-C."""

from pathlib import Path
from typing import Annotated

import typer

from starter.cli.session import Config


def up(
    lab: Annotated[bool, typer.Option("--lab", help="Start the lab too: a shop with planted problems, under load.")] = False,
    db: Annotated[
        Path | None, typer.Option("--db", metavar="FILE", help="The server's database (default: .perfwright/temporal.db).")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65_535, help="Port of the Temporal server (0: a free one).")] = None,
    ui_port: Annotated[int | None, typer.Option("--ui-port", min=0, max=65_535, help="Port of its UI (0: a free one).")] = None,
    config: Config = "",
) -> None:
    """Temporal server, worker and, if asked, the lab; Ctrl-C stops all."""
    from starter.up import up as run_up

    raise typer.Exit(run_up(lab, db, port, ui_port, config=Path(config) if config else None))


def worker(
    host: Annotated[list[str] | None, typer.Option("--host", metavar="NAME", help="Serve only the steps of this host.")] = None,
    config: Config = "",
) -> None:
    """Poll for work: the same as `python worker.py`."""
    from starter.worker_process import main

    arguments = [word for name in host or [] for word in ("--host", name)]
    raise typer.Exit(main([*arguments, *(["--config", config] if config else [])]))
