"""`perfwright up`: development server, worker and, if asked, the lab, in the foreground. Ctrl-C stops all, in order."""

import contextlib
import os
import queue
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starter.children import Child
from starter.dev_server import DEFAULT_DB, DEFAULT_PORT, DEFAULT_UI_PORT, NAMESPACE, DevServer, start_dev_server, without_temporal
from starter.failures import CANNOT_BE_CARRIED_OUT, CannotStart
from starter.settings import ALLOW_INLINE_TARGETS, LOG_FORMAT, REGISTRY, SERVE_LOCAL
from starter.temporal_cli import find_temporal_cli
from starter.up_state import FOLDER, UpState, own_start_s, remove_state, running_up, write_state

ROOT = Path(__file__).resolve().parent.parent
WORKER_TIMEOUT_S = 90.0
LAB_TIMEOUT_S = 180.0
"""It may compile its small programs first."""
WORKER_GRACE_S = 30.0
"""More than the worker's own grace: its running steps are told first, then cancelled, then handed on."""
LAB_LOAD_S = 3_600
LAB_STORE = '\n[store]\nartifacts = "file://./artifacts"\nhistory = "sqlite+aiosqlite:///history.db"\n'
"""The lab's registry lies in `.perfwright` itself: the default stores would make another one inside."""

Say = Callable[[str], None]


def say_on_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@dataclass
class Stack:
    """Everything that is up: what `started` yields."""

    server: DevServer
    worker: Child
    worker_told: dict[str, Any]
    lab: Child | None
    lab_told: dict[str, Any]
    """The lab's ready line: `url`, `pids` ..."""
    config: Path | None
    temporal_cli: Path
    ended: "queue.SimpleQueue[Child]" = field(default_factory=queue.SimpleQueue)
    """Children that ended without being asked to."""


def up(
    lab: bool = False,
    db: Path | None = None,
    port: int | None = None,
    ui_port: int | None = None,
    *,
    config: Path | None = None,
    say: Say = say_on_stderr,
) -> int:
    """Run until Ctrl-C (exit code 0) or until a child ends by itself (5: it is said which and why)."""
    interrupt_at_signals()
    try:
        with started(lab, db, port, ui_port, config=config, say=say) as stack:
            for line in _greeting(stack):
                say(line)
            say(stack.ended.get().epitaph())
            say("error: stopping everything else")
            return CANNOT_BE_CARRIED_OUT
    except KeyboardInterrupt:
        say("stopped")
        return 0
    except CannotStart as error:
        say(f"error: {error}")
        return CANNOT_BE_CARRIED_OUT


@contextmanager
def started(
    lab: bool = False,
    db: Path | None = None,
    port: int | None = None,
    ui_port: int | None = None,
    *,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
    lab_options: tuple[str, ...] = ("--load", "--duration", str(LAB_LOAD_S)),
    say: Say = say_on_stderr,
    folder: Path = FOLDER,
) -> Iterator[Stack]:
    """Bring server, lab and worker up in this order, and down in the other: running steps end while the lab still answers.

    Raises `CannotStart` with what went wrong; nothing is left running then.
    """
    if (other := running_up(folder)) is not None:
        raise CannotStart(
            f"`perfwright up` runs in this folder already (pid {other.pid}, {other.address})", way_out="Stop it with Ctrl-C there"
        )
    base = dict(os.environ if environ is None else environ)
    cli = find_temporal_cli(environ=base, say=say)
    ended: queue.SimpleQueue[Child] = queue.SimpleQueue()

    def on_end(child: Child) -> None:
        if not child.was_stopped:
            ended.put(child)

    def echo(name: str, line: str) -> None:
        say(f"{name} | {line}")

    with contextlib.ExitStack() as running:
        say("starting the Temporal server")
        server = running.enter_context(
            start_dev_server(
                cli.path,
                db=db or folder / DEFAULT_DB.name,
                port=DEFAULT_PORT if port is None else port or None,
                ui_port=DEFAULT_UI_PORT if ui_port is None else ui_port or None,
                on_end=on_end,
            )
        )
        ours = _environment(base, server, folder)
        lab_child, lab_told = None, {}
        if lab:
            say("starting the lab")
            from lab.problems import VARIABLE  # the lab is no part of what services install

            ours.setdefault(VARIABLE, "all")  # also for what the worker launches
            targets = (folder / "lab.toml").resolve()
            config = config or targets
            command = [sys.executable, "-m", "lab.up", "--database", "--registry", str(targets), *lab_options]
            lab_child = running.enter_context(Child("lab", command, env=ours, cwd=ROOT, echo=echo, on_end=on_end))
            lab_told = lab_child.wait_ready(LAB_TIMEOUT_S)
            ours |= lab_told.get("environment", {})  # where its database is: secrets reach the worker by environment only
            with targets.open("a") as file:
                file.write(LAB_STORE)
        if config is not None:
            ours[REGISTRY] = str(config.resolve())
        say("starting the worker")
        command = [sys.executable, str(ROOT / "worker.py")]
        worker = running.enter_context(Child("worker", command, env=ours, grace_s=WORKER_GRACE_S, echo=echo, on_end=on_end))
        worker_told = worker.wait_ready(WORKER_TIMEOUT_S)

        running.callback(remove_state, folder)
        write_state(
            UpState(
                pid=os.getpid(),
                started_s=own_start_s(),
                address=server.address,
                ui=server.ui_url or "",
                worker_pid=worker.pid or 0,
                config=str(config.resolve()) if config else None,
                lab=lab_told.get("url"),
            ),
            folder,
        )
        yield Stack(server, worker, worker_told, lab_child, lab_told, config, cli.path, ended)


def interrupt_at_signals() -> None:
    """SIGINT and SIGTERM raise KeyboardInterrupt once, so that everything is stopped in order; a second one ends this process at once.

    The children's supervisors see that and stop what is left.
    """
    told = False

    def interrupt(number: int, _frame: object) -> None:
        nonlocal told
        if told:
            os._exit(128 + number)
        told = True
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)


def _environment(base: Mapping[str, str], server: DevServer, folder: Path) -> dict[str, str]:
    """Children talk to our server whatever profile the user has, and serve this machine, also what no registry names."""
    return {
        LOG_FORMAT: "text",
        "PYTHONUNBUFFERED": "1",
        **without_temporal(base),
        "TEMPORAL_ADDRESS": server.address,
        "TEMPORAL_NAMESPACE": NAMESPACE,
        "TEMPORAL_CONFIG_FILE": os.devnull,
        ALLOW_INLINE_TARGETS: "1",
        SERVE_LOCAL: "1",
    }


def _greeting(stack: Stack) -> list[str]:
    lines = [
        "",
        "Perfwright is up. Ctrl-C stops everything.",
        f"  Temporal UI   {stack.server.ui_url}",
        f"  Temporal      {stack.server.address}, namespace {NAMESPACE}; every run is kept in {stack.server.db}",
    ]
    if metrics := stack.worker_told.get("metrics"):
        lines.append(f"  metrics       {metrics}")
    if stack.lab is not None:
        lines.append(f"  the lab       {stack.lab_told.get('url')}, its targets in {stack.config}")
    return [*lines, "  a first look  perfwright cpu --pid PID, perfwright query --dsn-env VARIABLE", ""]
