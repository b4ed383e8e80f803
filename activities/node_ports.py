"""Where a Node.js process has, or would open, its inspector. Reads /proc and asks loopback ports; changes nothing."""

import json
import re
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import psutil

UNNAMED = "Node.js inspector"
DEFAULT_PORT = 9229
ASK_LIMIT_S = 1.0
_SIGUSR1_BIT = 1 << 9
_ANY = ("0.0.0.0", "::")  # noqa: S104  # compared with, never bound
_LOOPBACK = ("127.0.0.1", "::1")
_INSPECT = re.compile(r"^--inspect(?:-brk|-wait)?(?:=(?P<where>\S*))?$")
_PORT = re.compile(r"^--(?:inspect|debug)-port=(?:\S*:)?(?P<port>\d+)$")

Address = tuple[str, int]
"""IP and port."""


def open_inspector(process: psutil.Process, known: str = "") -> str | None:
    """The WebSocket address of the process's own inspector if it is open where it is expected (`known` or a usual port)."""
    options = _options(process)
    expected = {signal_port(process)}
    anywhere = False
    for option in options:
        if found := _INSPECT.match(option):
            port = (found["where"] or "").rpartition(":")[2]
            anywhere = anywhere or port == "0"
            expected.add(int(port) if port.isdigit() else DEFAULT_PORT)
    if known:
        expected, anywhere = {int(known.split("/")[2].rpartition(":")[2])}, False
    for address in listening(process):
        # Other ports are the program's own servers: no stray request to them.
        if (anywhere or address[1] in expected) and (found_at := ask_inspector(address)):
            return found_at
    return None


def signal_port(process: psutil.Process) -> int:
    """The port that SIGUSR1 would open."""
    for option in _options(process):
        if found := _PORT.match(option):
            return int(found["port"])
    return DEFAULT_PORT


def listening(process: psutil.Process) -> list[Address]:
    """Ports that the process listens on and that are reached over loopback."""
    try:
        found = [c.laddr for c in process.net_connections(kind="tcp") if c.status == psutil.CONN_LISTEN and c.laddr]
    except psutil.Error:
        return []
    reached = {("127.0.0.1" if one.ip == "0.0.0.0" else "::1" if one.ip == "::" else one.ip, one.port) for one in found}  # noqa: S104
    return sorted(address for address in reached if address[0] in _LOOPBACK)


def holder_of(port: int) -> int | None:
    """Pid of the process that listens on this loopback port; 0 when it is not told, None when nobody does."""
    for connection in psutil.net_connections(kind="tcp"):
        if connection.status != psutil.CONN_LISTEN or not connection.laddr:
            continue
        if connection.laddr.port == port and connection.laddr.ip in (*_LOOPBACK, *_ANY):
            return connection.pid or 0
    return None


def ask_inspector(address: Address) -> str | None:
    """The WebSocket address if a Node.js inspector answers there."""
    told = _get(address, "/json/list")
    for one in told if isinstance(told, list) else ():
        if isinstance(one, dict) and one.get("type") == "node" and "webSocketDebuggerUrl" in one:
            return str(one["webSocketDebuggerUrl"])
    return None


def inspector_title(url: str) -> str:
    """`Node.js inspector v20.20.2`."""
    host, _, port = url.split("/")[2].rpartition(":")
    told = _get((host.strip("[]"), int(port)), "/json/version")
    version = str(told.get("Browser", "")).rpartition("/")[2] if isinstance(told, dict) else ""
    return f"{UNNAMED} {version}".strip()


def _get(address: Address, path: str) -> Any:
    connection = HTTPConnection(*address, timeout=ASK_LIMIT_S)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read(65_536))
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()


def catches_usr1(pid: int) -> bool:
    """Whether the process handles SIGUSR1: unhandled, the signal would end it (signal(7))."""
    try:
        found = re.search(r"^SigCgt:\s*([0-9a-f]+)", Path(f"/proc/{pid}/status").read_text(errors="replace"), re.MULTILINE)
    except OSError:
        return False
    return bool(found and int(found.group(1), 16) & _SIGUSR1_BIT)


def reads_synchronously(pid: int) -> bool:
    """Whether the main thread waits in a read right now: a signal would break it off, and Node.js throws EINTR out of `fs.readSync`.

    libuv repeats other calls that a signal interrupts, but not reads (`uv__fs_work`, `retry_on_eintr`); in its event loop it only polls.
    """
    try:
        waits_in = Path(f"/proc/{pid}/task/{pid}/wchan").read_text(errors="replace")
    except OSError:
        return False
    return "read" in waits_in or "recv" in waits_in


def _options(process: psutil.Process) -> list[str]:
    """Words of the command line up to the script, and of NODE_OPTIONS."""
    try:
        words = process.cmdline()[1:]
        more = process.environ().get("NODE_OPTIONS", "").split()
    except psutil.Error:
        return []
    own = []
    for word in words:
        if not word.startswith("-"):
            break
        own.append(word)
    return own + more
