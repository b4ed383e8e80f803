"""A PostgreSQL server of the worker's own, for a block: on this host, in a folder of its own, reached by a socket in it and a password.

    initdb -> running -> shut down (files may be worked on) -> running -> folder removed

It runs below a supervisor (`activities/subprocesses.py`), so that it ends with its worker, whatever ends that. Folder: mode 0700, in the
system's folder for temporary files, because a socket's path may have a hundred bytes only; its name bears the mark of the worker's state
folder, of the target and of the owner. An attempt that comes after a crash removes it and begins anew, and a later run removes what a
killed one left (and ends a server that still lives there). PostgreSQL refuses to run as root: then it runs as the user `postgres`.

The server writes nothing but what ends it, and no statement: what is put into it may be values of rows.
"""

import asyncio
import os
import pwd
import re
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from activities.database_clones import digest
from activities.database_dumps import PROGRAM_FOLDER
from activities.errors import refuse
from activities.postmaster import postmaster_of
from activities.subprocesses import RunningTool, Tool, run, running
from perfwright.analysis.database.connection_string import ConnectionParameters
from perfwright.analysis.explaining.what_if import EXTENSION
from perfwright.models.errors import ErrorType

OWNER = "postgres"
"""Whom it runs as where the worker is root."""
SUPERUSER = "perfwright"
PORT = 5432
"""Of a socket in a folder of our own: the number is a part of its name, and nothing listens on the network."""
ASKING_S, MAKING_S, READY_S, ENDING_S = 30.0, 120.0, 60.0, 60.0
LOOK_EVERY_S = 0.02
KEPT_BYTES = 16_384
NO_CHECKSUMS_SINCE = 18
"""Versions that write them unless told otherwise."""
SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "10",
    "shared_buffers": "32MB",
    "min_wal_size": "32MB",
    "max_wal_size": "64MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # Nothing of it is wanted after a crash.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "jit": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_statement": "none",
    "log_min_messages": "fatal",
    "log_min_error_statement": "panic",
}


@dataclass(frozen=True)
class ServerPrograms:
    """Where initdb and postgres are, and what they are."""

    folder: Path
    version: str
    """`15.18`."""
    hypopg: bool

    @property
    def major(self) -> int:
        return int(re.sub(r"\D.*", "", self.version))


async def programs_with_hypopg(major: int) -> ServerPrograms:
    """Of that version, or the next later one that has HypoPG. Raises ToolMissing with the packages, NotPermitted, ToolFailed."""
    there = [one for folder in _folders() if (one := await _looked_at(folder)) and one.major >= major]
    if not there:
        raise refuse(
            ErrorType.TOOL_MISSING,
            f"PostgreSQL {major} or later (initdb, postgres) is not installed on this host",
            way_out=f"Install its server there with HypoPG (Debian: apt install postgresql-{major} postgresql-{major}-hypopg)",
        )
    if not (able := [one for one in there if one.hypopg]):
        versions = ", ".join(str(one.major) for one in there)
        raise refuse(
            ErrorType.TOOL_MISSING,
            f"PostgreSQL {versions} on this host has no {EXTENSION}, without which nothing can be hypothetical where there are no rows",
            way_out=f"Install it there (Debian: apt install postgresql-{there[0].major}-hypopg)",
        )
    return min(able, key=lambda one: one.major)


def private_folder(state_folder: Path, *marks: str) -> Path:
    """Where a server with these marks stands; the more of them, the fewer it may be."""
    mark = "-".join(digest(one, 8) for one in (str(state_folder.resolve()), *marks))
    return Path(tempfile.gettempdir()) / f"perfwright-{mark}"


def remove_left(state_folder: Path, target_name: str) -> tuple[str, ...]:
    """End and remove what is left of the target's servers, whoever made them for this worker's state folder; names of their folders."""
    mark = private_folder(state_folder, target_name)
    left = [one for one in mark.parent.glob(f"{mark.name}-*") if one.is_dir() and not one.is_symlink()]
    for one in left:
        remove_folder(one)
    return tuple(one.name for one in left)


def remove_folder(folder: Path) -> None:
    """With the server that may still live in it. Raises NotPermitted where the folder belongs to somebody else."""
    _end_server(folder / "data")
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists() or folder.is_symlink():
        raise refuse(
            ErrorType.NOT_PERMITTED,
            f"{folder} is in the way of a private server and cannot be removed",
            way_out="Remove it by hand, or start the worker with another TMPDIR",
        )


@dataclass(frozen=True)
class PrivateServer:
    """One server; nothing is there before `make`."""

    programs: ServerPrograms
    folder: Path
    password: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def parameters(self, database: str, user: str = SUPERUSER) -> ConnectionParameters:
        """How it is reached; all its roles have the same password."""
        return ConnectionParameters(hosts=(str(self.folder),), ports=(PORT,), user=user, password=self.password, database=database)

    async def make(self) -> None:
        """An empty cluster, in place of whatever was left there. Raises NotPermitted, ToolFailed, ToolTimeout, StoreUnavailable."""
        words = _as_owner()
        await asyncio.to_thread(remove_folder, self.folder)
        password_file = self.folder / "password"
        try:
            self.folder.mkdir(mode=0o700)
            password_file.touch(mode=0o600)
            password_file.write_text(self.password)
            if words:
                for one in (self.folder, password_file):
                    shutil.chown(one, OWNER)
        except OSError as trouble:
            raise refuse(ErrorType.STORE_UNAVAILABLE, f"cannot write to {self.folder}: {trouble.strerror}") from trouble
        flags = ["--no-data-checksums"] if self.programs.major >= NO_CHECKSUMS_SINCE else []
        made = await run(
            Tool(
                [
                    *(*words, str(self.programs.folder / "initdb"), "-D", str(self.data), "-U", SUPERUSER, f"--pwfile={password_file}"),
                    *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", *flags),
                ],
                limit_s=MAKING_S,
                way_out="Install PostgreSQL's server on this host",
                directory=self.folder,
            )
        )
        made.require_success()
        password_file.unlink()

    @asynccontextmanager
    async def running(self, limit_s: float) -> AsyncIterator[RunningTool]:
        """The server for the block, at most so long. Raises ToolFailed, ToolTimeout."""
        settings = SETTINGS | {"unix_socket_directories": str(self.folder)}
        tool = Tool(
            [
                *(*_as_owner(), str(self.programs.folder / "postgres"), "-D", str(self.data)),
                *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
            ],
            limit_s=limit_s,
            way_out="Install PostgreSQL's server on this host",
            directory=self.folder,
            stop_signal=signal.SIGQUIT,
            keep_bytes=KEPT_BYTES,
            title="private PostgreSQL",
        )
        async with running(tool) as server:
            await self._ready(server)
            yield server

    async def shut_down(self, server: RunningTool) -> None:
        """Everything is in its files afterwards. Raises ToolFailed, ToolTimeout."""
        server.send_signal(signal.SIGINT)
        try:
            async with asyncio.timeout(ENDING_S):
                ended = await server.wait()
        except TimeoutError:
            raise refuse(ErrorType.TOOL_TIMEOUT, f"{server.tool.name} did not shut down within {ENDING_S:.0f} s") from None
        ended.require_success()

    async def _ready(self, server: RunningTool) -> None:
        deadline = time.monotonic() + READY_S
        while (holder := postmaster_of(self.data)) is None or holder.pid != server.pid or not holder.ready:
            if server.ended:
                (await server.wait()).require_success(codes=())
            if time.monotonic() > deadline:
                raise refuse(ErrorType.TOOL_TIMEOUT, f"{server.tool.name} took no connections within {READY_S:.0f} s")
            await asyncio.sleep(LOOK_EVERY_S)


def _folders() -> list[Path]:
    """Debian's by version, then that of PATH."""
    places = [one for one in PROGRAM_FOLDER.glob("*/bin/initdb") if one.parent.parent.name.isdigit()]
    found = [one.parent for one in sorted(places, key=lambda one: int(one.parent.parent.name))]
    if on_path := shutil.which("initdb"):
        found.append(Path(on_path).resolve().parent)
    return [one for one in dict.fromkeys(found) if (one / "postgres").is_file()]


async def _looked_at(folder: Path) -> ServerPrograms | None:
    """What initdb tells of itself (`--show` makes nothing); None where it cannot run."""
    asked = Tool(
        [*_as_owner(), str(folder / "initdb"), "--show", "-D", str(folder)],
        limit_s=ASKING_S,
        way_out="Install PostgreSQL's server on this host",
        directory=Path("/"),
    )
    told = (await run(asked)).stderr
    version, share = re.search(r"^VERSION=(\S+)", told, re.MULTILINE), re.search(r"^share_path=(.+)$", told, re.MULTILINE)
    if version is None or share is None:
        return None
    return ServerPrograms(folder, version[1], (Path(share[1]) / "extension" / f"{EXTENSION}.control").is_file())


def _as_owner() -> Sequence[str]:
    """Words before a command: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return ()
    try:
        group = pwd.getpwnam(OWNER).pw_gid
    except KeyError:
        raise refuse(
            ErrorType.NOT_PERMITTED,
            f"PostgreSQL does not run as root, and this host has no user {OWNER}",
            way_out=f"Start the worker as another user, or add the user {OWNER}",
        ) from None
    return ("setpriv", f"--reuid={OWNER}", f"--regid={group}", "--init-groups", "--")


def _end_server(data: Path) -> None:
    """One that outlived its supervisor. Its number may be somebody else's by now: it is known by its folder."""
    if (holder := postmaster_of(data)) is None:
        return
    with suppress(OSError, ValueError, psutil.Error):
        server = psutil.Process(holder.pid)
        if Path(server.cwd()) != data.resolve():
            return
        for number in (signal.SIGQUIT, signal.SIGKILL):
            server.send_signal(number)
            with suppress(psutil.TimeoutExpired):
                server.wait(READY_S / 6)
                return
