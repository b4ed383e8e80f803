"""The Temporal development server as a supervised child: one file on disk, every run kept over restarts."""

import contextlib
import fcntl
import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from starter.children import Child, Echo
from starter.failures import CannotStart
from starter.ports import LOOPBACK, Wanted, free_ports, require_free

DEFAULT_PORT = 7233
DEFAULT_UI_PORT = 8233
DEFAULT_DB = Path(".perfwright/temporal.db")
NAMESPACE = "default"
START_TIMEOUT_S = 60.0
SETTINGS = {"history.transferProcessorMaxPollRPS": "2000"}
"""The server looks for tasks to hand out at most 20 times a second per shard, and this one has a single shard: every step of a lone run
would wait 45 ms for the next look (a process of ten steps took 1.05 s, with this 0.17 s)."""


@dataclass
class DevServer:
    """A server that answers. Use as a context manager, or call `stop`."""

    address: str
    ui_url: str | None
    db: Path | None
    child: Child
    _lock: IO[str] | None = None

    @property
    def pid(self) -> int:
        assert self.child.pid is not None, "a server that answers has been started"
        return self.child.pid

    def stop(self) -> int | None:
        code = self.child.stop()
        if self._lock is not None:
            self._lock.close()
        return code

    def __enter__(self) -> "DevServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_dev_server(
    cli: Path,
    *,
    db: Path | None = DEFAULT_DB,
    port: int | None = DEFAULT_PORT,
    ui_port: int | None = DEFAULT_UI_PORT,
    ui: bool = True,
    environ: Mapping[str, str] | None = None,
    echo: Echo | None = None,
    on_end: Callable[[Child], None] | None = None,
) -> DevServer:
    """Start a server on loopback and return when it serves and the namespace `default` is there.

    `db` None keeps everything in memory; a port of None takes a free one. Raises `CannotStart` for a taken port (with who holds
    it), a database file that another server uses or that cannot be written, and a server that ends or does not serve in time.
    """
    port_picked, ui_picked, http_port, metrics_port = free_ports(4)
    wanted = []
    if port is not None:
        wanted.append(Wanted(port, "Temporal server", "--port"))
    if ui_port is not None and ui:
        wanted.append(Wanted(ui_port, "Temporal UI", "--ui-port"))
    require_free(*wanted)
    port, ui_port = port or port_picked, ui_port or ui_picked
    if port == ui_port:
        raise CannotStart(f"port {port} is asked for twice", way_out="Choose two different ones with --port and --ui-port")

    lock = _own(db) if db is not None else None
    address = f"{LOOPBACK}:{port}"
    command = [str(cli), "server", "start-dev", "--ip", LOOPBACK, "--port", str(port), "--log-level", "error"]
    command += ["--http-port", str(http_port), "--metrics-port", str(metrics_port), "--ui-disable-news-fetch"]
    command += ["--ui-port", str(ui_port)] if ui else ["--headless"]
    command += ["--db-filename", str(db)] if db is not None else []
    command += [word for name, value in SETTINGS.items() for word in ("--dynamic-config-value", f"{name}={value}")]
    child = Child(
        "Temporal server",
        command,
        env=without_temporal(os.environ if environ is None else environ),
        echo=echo,
        on_end=on_end,
        pass_fds=[lock.fileno()] if lock is not None else [],  # inherited: a second server is refused even after we were killed
    )
    server = DevServer(address, f"http://{LOOPBACK}:{ui_port}" if ui else None, db, child, lock)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _serves(cli, address) or child.ended:  # another server may answer where ours could not bind
            if child.wait_ended(0.1):
                raise CannotStart(child.epitaph())
            if time.monotonic() > deadline:
                raise CannotStart(f"the Temporal server did not serve on {address} within {START_TIMEOUT_S:g} s")
    except BaseException:
        server.stop()
        raise
    return server


def without_temporal(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without TEMPORAL_*: a profile for another server must not steer ours."""
    return {name: value for name, value in environ.items() if not name.startswith("TEMPORAL_")}


def _own(db: Path) -> IO[str]:
    """Lock the file: two servers on one database would corrupt each other's shards."""
    try:
        db.parent.mkdir(parents=True, exist_ok=True)
        lock = Path(f"{db}.lock").open("a")  # noqa: SIM115  (closed by DevServer.stop)
        if db.exists():
            with db.open("r+b"):
                empty = db.stat().st_size == 0
            if empty:  # the server makes its tables only in a file that it creates itself
                db.unlink()
    except OSError as error:
        raise CannotStart(f"the database file {db} cannot be written ({error.strerror})", way_out="Choose another with --db") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise CannotStart(f"the database file {db} is in use by another server", way_out="Stop it, or choose another with --db") from None
    return lock


def _serves(cli: Path, address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
    except OSError:  # not yet, which is learned for less than by a process for each question
        return False
    command = [str(cli), "operator", "namespace", "describe", "--namespace", NAMESPACE, "--address", address]
    command += ["--command-timeout", "3s", "--output", "none", "--disable-config-file"]
    with contextlib.suppress(subprocess.TimeoutExpired):
        asked = subprocess.run(command, env=without_temporal(os.environ), capture_output=True, stdin=subprocess.DEVNULL, timeout=10)
        return asked.returncode == 0
    return False
