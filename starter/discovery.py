"""What runs on this machine and could be a target: processes with listening TCP ports, databases, containers. Nothing is contacted but
the container engine's socket."""

import http.client
import json
import os
import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

DOCKER_SOCKETS = (Path("/var/run/docker.sock"), Path("/run/podman/podman.sock"))
ENGINE_TIMEOUT_S = 3.0
ENGINE_LIMIT_BYTES = 4_000_000
MAX_FOUND = 200
SYSTEM = frozenset(
    {"sshd", "systemd", "systemd-resolve", "systemd-resolved", "cupsd", "chronyd", "ntpd", "rpcbind", "dnsmasq", "avahi-daemon", "init"}
    | {"dockerd", "docker-proxy", "containerd", "conmon", "master", "exim4", "temporal", "temporal-build"}
)
"""Programs that listen on most machines and that nobody means."""
OWN_WORKER = str(Path(__file__).resolve().parent.parent / "worker.py")
DATABASES = {
    "postgres": ("postgresql", "postgresql"),
    "postmaster": ("postgresql", "postgresql"),
    "mysqld": ("mysql", "mysql"),
    "mariadbd": ("mysql", "mysql"),
    "redis-server": ("cache", "redis"),
    "valkey-server": ("cache", "redis"),
    "memcached": ("cache", "memcached"),
}
"""Program -> kind of target, scheme of its URL."""
IMAGES = ("postgres", "mysql", "mariadb", "redis", "valkey", "memcached")


@dataclass(frozen=True)
class FoundProcess:
    """A program that listens."""

    pid: int
    program: str
    ports: tuple[int, ...]
    command: str
    kind: str
    """`process`, `postgresql`, `mysql` or `cache`."""
    scheme: str = ""
    folder: str = ""
    """Its working directory, where it can be read."""


@dataclass(frozen=True)
class FoundContainer:
    """A running container."""

    name: str
    image: str
    ports: tuple[int, ...]
    """Published on this machine."""


def listening_processes() -> list[FoundProcess]:
    """One entry per program that listens on TCP, by its lowest port; those of other users only where we may see them."""
    ports: dict[int, set[int]] = {}
    with suppress(psutil.AccessDenied):
        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.pid and connection.pid != os.getpid():
                ports.setdefault(connection.pid, set()).add(connection.laddr.port)
    found = []
    for pid, listened in ports.items():
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            parent = process.parent()
            if parent is not None and ports.get(parent.pid, set()) >= listened:
                continue  # a worker that shares its parent's sockets
            program = process.name()
            if program in SYSTEM:
                continue
            kind, scheme = DATABASES.get(program, ("process", ""))
            folder = ""
            with suppress(psutil.AccessDenied):
                folder = process.cwd()
            if OWN_WORKER in process.cmdline():
                continue
            found.append(FoundProcess(pid, program, tuple(sorted(listened)), _shown(process.cmdline()), kind, scheme, folder))
    return sorted(found, key=lambda one: one.ports)[:MAX_FOUND]


def running_containers(sockets: Iterable[Path] = DOCKER_SOCKETS) -> list[FoundContainer]:
    """As the local container engine tells; empty where there is none, or where it may not be asked."""
    for path in sockets:
        if not path.is_socket():
            continue
        with suppress(OSError, http.client.HTTPException, ValueError, KeyError):
            connection = _UnixConnection(path)
            try:
                connection.request("GET", "/containers/json")
                listed = json.loads(connection.getresponse().read(ENGINE_LIMIT_BYTES))
            finally:
                connection.close()
            return [
                FoundContainer(
                    name=str(one["Names"][0]).lstrip("/"),
                    image=str(one["Image"]),
                    ports=tuple(sorted({int(port["PublicPort"]) for port in one.get("Ports") or () if port.get("PublicPort")})),
                )
                for one in listed[:MAX_FOUND]
            ]
    return []


def _shown(command: list[str]) -> str:
    """A command line as a comment: one line, bounded, without what looks like a secret."""
    text = "".join(c if c.isprintable() else " " for c in " ".join(command))
    text = re.sub(r"(://)[^\s/@]*@", r"\1***@", text)
    text = re.sub(r"(?i)((?:pass|pwd|token|secret|key|credential)\w*[= ])\S+", r"\1***", text)
    return text if len(text) <= 100 else text[:99] + "…"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ENGINE_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ENGINE_TIMEOUT_S)
        self.sock.connect(str(self._path))
