"""Private PostgreSQL servers for tests: their own folder, a free port, stopped by their pid when the block or session ends."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4
from zlib import crc32

import asyncpg
import pytest

from tests.made_once import made_once
from tests.needs import in_ci

PASSWORD = "very-secret-word"
USER = "perfwright"
OBSERVED = {"shared_preload_libraries": "pg_stat_statements,auto_explain", "compute_query_id": "on", "track_commit_timestamp": "on"}
"""Settings of a server whose statements can be observed. `CREATE EXTENSION pg_stat_statements` is left to the test."""
READY_S = 60.0
MEMORY = "/dev/shm"
ROOM_BYTES = 4 * 1024**3
"""A dozen servers at a time take less than half of it."""
INITDB = ("--auth=scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-U", USER)


_RUNNING: dict[Path, subprocess.Popen[bytes]] = {}
"""Folder -> server."""
_SHARED: dict[tuple[Any, ...], "PostgresServer"] = {}
"""(programs, settings) -> server."""


@dataclass(frozen=True)
class PostgresServer:
    """A server that runs. `folder` holds `data`, the socket and `log` (what it writes before its own log begins)."""

    port: int
    folder: Path = field(default=Path(), compare=False)
    programs: Path = field(default=Path(), compare=False)
    """The folder with initdb, postgres, pg_basebackup, ..."""

    def url(self, database: str = "postgres", *, user: str = USER, password: str = PASSWORD) -> str:
        return f"postgresql+asyncpg://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def dsn(self, database: str = "postgres", *, user: str = USER, password: str = PASSWORD) -> str:
        """The URL as libpq and asyncpg read it."""
        return self.url(database, user=user, password=password).replace("+asyncpg", "")

    async def new_database(self) -> str:
        """The URL of a fresh, empty database."""
        name = f"test_{uuid4().hex}"
        connection = await self.connect()
        try:
            await connection.execute(f"CREATE DATABASE {name}")
        finally:
            await connection.close()
        return self.url(name)

    async def connect(self, database: str = "postgres") -> asyncpg.Connection:
        return await asyncpg.connect(self.dsn(database), timeout=5)

    def restart(self) -> None:
        """Stop and start again at the same port with the same settings."""
        self.stop()
        self.start()

    def start(self) -> None:
        """Start, and wait until it takes connections (a standby that is not hot: until it recovers)."""
        # The kernel ends it with us, also when pytest is killed.
        dying = [program, "--pdeathsig", "QUIT"] if (program := shutil.which("setpriv")) else []
        with (self.folder / "log").open("ab") as log:
            server = subprocess.Popen(
                [*dying, self.programs / "postgres", "-D", self.folder / "data"],
                user=system_user(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        _RUNNING[self.folder] = server
        deadline = time.monotonic() + READY_S
        while not self._ready(server.pid):
            if server.poll() is not None or time.monotonic() > deadline:
                _end(self.folder, signal.SIGQUIT)
                raise RuntimeError(f"PostgreSQL did not start: {(self.folder / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """As an administrator does: sessions are ended, everything is written down."""
        _end(self.folder, signal.SIGINT)

    def crash(self) -> None:
        """kill -9 of the server, and start again: it recovers, without what it had in memory."""
        _end(self.folder, signal.SIGKILL)
        deadline = time.monotonic() + READY_S
        while True:
            try:
                self.start()
                return
            except RuntimeError:
                # Its children still hold the memory that they shared, for moments.
                if time.monotonic() > deadline:
                    raise

    def _ready(self, pid: int) -> bool:
        """PostgreSQL 18 documentation, 66.1: the first line of postmaster.pid is the process, the eighth its state."""
        try:
            lines = (self.folder / "data" / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and int(lines[0]) == pid and lines[7].strip() in ("ready", "standby")


def server_programs() -> Path | None:
    """The folder with initdb and postgres: of PATH, or the newest of Debian's."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


def system_user() -> str | None:
    """Whom servers run as: PostgreSQL refuses to run as root."""
    return "postgres" if os.geteuid() == 0 else None


@contextmanager
def server_folder() -> Iterator[Path]:
    """An empty folder that belongs to whom servers run as; pytest's own folders are closed to other users."""
    folder = _empty_folder()
    try:
        if user := system_user():
            shutil.chown(folder, user)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _empty_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="perfwright-postgres-", dir=_place()))


def _place() -> Path:
    """In memory where there is room: a server is a thousand small files, which some disks take seconds to remove."""
    try:
        room = shutil.disk_usage(MEMORY).free
    except OSError:
        room = 0
    return Path(MEMORY if room > ROOM_BYTES else tempfile.gettempdir())


def make_data(programs: Path, folder: Path) -> None:
    """A fresh `folder/data` of `USER` with `PASSWORD`: made by initdb once per version, copied afterwards."""
    made = made_once(f"postgres-{crc32(bytes(programs)):08x}", _place(), lambda folder: _initdb(programs, folder))
    subprocess.run(
        ["cp", "-a", made / "data", folder / "data"], user=system_user(), cwd=folder, check=True, capture_output=True, timeout=60
    )


def _initdb(programs: Path, folder: Path) -> None:
    password_file = folder / "password"
    password_file.write_text(PASSWORD)
    if user := system_user():
        for one in (folder, password_file):
            shutil.chown(one, user)
    subprocess.run(
        [programs / "initdb", "-D", folder / "data", f"--pwfile={password_file}", *INITDB],
        user=system_user(),
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=60,
    )


@contextmanager
def started(programs: Path, folder: Path, settings: Mapping[str, str]) -> Iterator[PostgresServer]:
    """Run a server on `folder/data` for the time of the block. `settings` are written to its configuration, so that restarts keep them."""
    server = PostgresServer(free_port(), folder, programs)
    basic = {
        "listen_addresses": "127.0.0.1",
        "port": str(server.port),
        "unix_socket_directories": str(folder),
        "fsync": "off",
        "max_connections": "60",
        "shared_buffers": "32MB",
        "min_wal_size": "32MB",
        "max_wal_size": "64MB",
    }
    with (folder / "data" / "postgresql.conf").open("a") as configuration:
        for name, value in (basic | dict(settings)).items():
            quoted = value.replace("'", "''")
            configuration.write(f"{name} = '{quoted}'\n")
    server.start()
    try:
        yield server
    finally:
        _end(folder, signal.SIGQUIT)


@contextmanager
def start_postgres(programs: Path, settings: Mapping[str, str] | None = None) -> Iterator[PostgresServer]:
    """A fresh server for the time of the block: `with start_postgres(server_programs(), OBSERVED | {"log_destination": "jsonlog"}) as s`."""
    with server_folder() as folder:
        make_data(programs, folder)
        with started(programs, folder, settings or {}) as server:
            yield server


@contextmanager
def start_standby(primary: PostgresServer, *, hot_standby: str = "on") -> Iterator[PostgresServer]:
    """A standby of a running server, for the time of the block; with `hot_standby="off"` it refuses connections like a starting server."""
    with server_folder() as folder:
        subprocess.run(
            [
                *(primary.programs / "pg_basebackup", "-D", folder / "data", "-R", "-X", "stream", "-c", "fast", "--no-sync"),
                *("-d", primary.dsn()),
            ],
            user=system_user(),
            cwd=folder,
            check=True,
            capture_output=True,
            timeout=60,
        )
        with started(primary.programs, folder, {"hot_standby": hot_standby}) as server:
            yield server


def needed_programs() -> Path:
    """Those of `server_programs`; the test is skipped (in CI: fails) where there are none."""
    programs = server_programs()
    if programs is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("PostgreSQL is not installed (Debian: postgresql)")
    return programs


def shared_postgres(session: pytest.Session, programs: Path, settings: Mapping[str, str]) -> PostgresServer:
    """One server per test process: a session's fixture that modules import is another fixture, and another server, in each of them."""
    key = (programs, *sorted(settings.items()))
    if key not in _SHARED:
        running = ExitStack()
        _SHARED[key] = running.enter_context(start_postgres(programs, settings))
        session.addfinalizer(running.close)
    return _SHARED[key]


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> PostgresServer:
    """Debian's PostgreSQL as it comes: nothing preloaded."""
    return shared_postgres(request.session, needed_programs(), {})


@pytest.fixture(scope="session")
def observed_postgres(request: pytest.FixtureRequest) -> PostgresServer:
    """Debian's PostgreSQL with pg_stat_statements and auto_explain preloaded."""
    return shared_postgres(request.session, needed_programs(), OBSERVED)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _end(folder: Path, number: signal.Signals) -> None:
    """Signal the server of `folder` and wait until it is gone; nothing to do where a test stopped it."""
    if server := _RUNNING.pop(folder, None):
        server.send_signal(number)
        server.wait(READY_S)


async def needs_hypopg(connection: asyncpg.Connection) -> None:
    """Skips the test where the server has no hypopg to create; in CI, which installs it, fails it."""
    if not await connection.fetchval("SELECT count(*) FROM pg_available_extensions WHERE name = 'hypopg'"):
        (pytest.fail if in_ci() else pytest.skip)("hypopg is not installed (Debian: postgresql-15-hypopg)")
