"""Which TCP ports are free, and who holds one that is not."""

import contextlib
import socket
from dataclasses import dataclass

import psutil

from starter.failures import CannotStart

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Wanted:
    """A port somebody asked for, what it is for, and the option that changes it."""

    number: int
    purpose: str
    option: str


def free_ports(count: int) -> list[int]:
    """Ports that are free now and differ from each other (all are held while they are picked)."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in sockets]


def is_free(number: int, address: str = LOOPBACK) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections in TIME_WAIT do not count
        try:
            probe.bind((address, number))
        except OSError:
            return False
    return True


def require_free(*wanted: Wanted) -> None:
    """Raise `CannotStart` that names every taken port at once, who holds it and the option that changes it."""
    taken = [port for port in wanted if not is_free(port.number)]
    if taken:
        raise CannotStart(
            "; ".join(f"port {port.number} ({port.purpose}) is in use by {holder(port.number)}" for port in taken),
            way_out="Stop it, or choose another with " + ", ".join(port.option for port in taken),
        )


def holder(number: int) -> str:
    """Name the program that listens on the port, as far as we may see."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:  # macOS: other users' connections are not shown at all
        return "a program that this user cannot see"
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == number:
            if connection.pid is None:
                return "another user's program"
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(connection.pid)
                return f"{process.name()} (pid {process.pid}: {' '.join(process.cmdline())[:120]})"
    return "a program that is not to be seen from here"
