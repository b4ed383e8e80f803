"""A PostgreSQL for the shop: one of our own in a temporary folder, or a database of our own on a server that is given.

Neither outlives whoever started it: see `lab.database.guard` and `lab.database.dropper`.
"""

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import asyncpg

from lab.database.dsn import VARIABLE, plain, quoted, with_database
from lab.database.programs import WHEEL_PARTS, Programs, other_user
from lab.database.settings import SERVER_TUNING, configuration, tuning
from lab.starting import ROOT, NotStarted

ROLE = "shop"
DATABASE = "shop"
ADMINISTRATOR = "postgres"
GIVEN_PREFIX = "lab_shop_"
_GUARD = Path(__file__).with_name("guard.py")
_UNSEEN = {"log_min_duration_statement": "-1", "pg_stat_statements.track": "none"}
"""For the session that makes the role: its statements are none of the shop's."""
_READY_S = 60.0
_END_S = 15.0
_SHOWN_CHARACTERS = 2_000
EXTENSIONS = ("pg_stat_statements", "pg_trgm", "hypopg")
NEEDED_EXTENSION = "pg_trgm"


@dataclass
class Place:
    """Where the shop's data goes."""

    dsn: str
    """Of the shop's role, with its password."""
    administrator_dsn: str
    """Of a role that may make extensions, in the shop's database; on a given server the role that was given."""
    port: int
    log_folder: str
    """Empty where the server is not ours."""
    source: str
    """`debian`, `wheel` or `given`."""
    missing_extensions: list[str]
    """Extensions that could not be made there."""
    keeper: subprocess.Popen[bytes]
    """The process that ends the server and its folder, or drops our database."""
    words: IO[bytes]
    """What the keeper and what it runs say."""

    def returncode(self) -> int | None:
        """None as long as the server (or, of a given one, what will drop our database) runs."""
        return self.keeper.poll()

    def stop(self) -> None:
        """Ends server and folder, or drops the database. Harmless when that has happened."""
        _let_go(self.keeper)
        if self.log_folder:
            shutil.rmtree(Path(self.log_folder).parent, ignore_errors=True)  # the keeper has, unless it was killed
        self.words.close()


def start_own(programs: Programs, orders: int, port: int) -> Place:
    """Our own server, ready, with a role and an empty database for the shop. NotStarted says why not."""
    user = other_user()
    held = socket.socket()
    # Bound and not listening, both with SO_REUSEADDR: nobody else is given the port until the server listens there (socket(7)).
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with held, contextlib.ExitStack() as undo:
        try:
            held.bind(("127.0.0.1", port))
        except OSError as error:
            raise NotStarted(f"port {port} cannot be had: {error.strerror}") from error
        port = held.getsockname()[1]
        folder = Path(tempfile.mkdtemp(prefix="lab-database-"))
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        password, administrator_password = secrets.token_urlsafe(18), secrets.token_urlsafe(18)
        logs = _furnish(folder, programs, user, orders, port, administrator_password)
        words = undo.enter_context(tempfile.TemporaryFile())
        guard = _guard(_commands(folder, programs), user, folder, words)
        undo.callback(_let_go, guard)
        try:
            administrator_dsn = f"postgresql://{ADMINISTRATOR}:{administrator_password}@127.0.0.1:{port}/{ADMINISTRATOR}"
            asyncio.run(_prepare_own(administrator_dsn, password, guard))
        except (NotStarted, OSError, asyncpg.PostgresError, TimeoutError) as error:
            _let_go(guard)
            raise NotStarted(f"PostgreSQL of {programs.folder} did not start: {error}; {_last_words(words)}") from error
        (folder / "password").unlink()
        administrator_dsn = with_database(administrator_dsn, DATABASE)
        missing = asyncio.run(_extensions(administrator_dsn))
        undo.pop_all()
    dsn = f"postgresql://{ROLE}:{password}@127.0.0.1:{port}/{DATABASE}"
    return Place(dsn, administrator_dsn, port, str(logs), programs.kind, missing, guard, words)


def start_given(dsn: str, orders: int) -> Place:
    """A database of our own on the server of `dsn`, dropped at the end. NotStarted says why not."""
    dsn, name = plain(dsn), f"{GIVEN_PREFIX}{secrets.token_hex(4)}"
    words = tempfile.TemporaryFile()  # noqa: SIM115  closed by Place.stop
    command = [sys.executable, "-m", "lab.database.dropper", name]
    environment = {**os.environ, VARIABLE: dsn}
    dropper = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=words, cwd=ROOT, env=environment, start_new_session=True)
    ours = with_database(dsn, name)
    try:
        asyncio.run(_prepare_given(dsn, name, orders))
        return Place(ours, ours, urlsplit(dsn).port or 5_432, "", "given", asyncio.run(_extensions(ours)), dropper, words)
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        _let_go(dropper)
        raise NotStarted(f"the given server cannot be used: {type(error).__name__}: {error}") from None
    except (
        asyncpg.InterfaceError,
        ValueError,
    ):  # of a connection string that cannot be read; what they quote may be a piece of the password
        _let_go(dropper)
        raise NotStarted("the given connection string cannot be read: postgresql://USER:PASSWORD@HOST:PORT/DATABASE is needed") from None
    except BaseException:
        _let_go(dropper)
        raise


def _furnish(folder: Path, programs: Programs, user: str | None, orders: int, port: int, password: str) -> Path:
    """Writes what initdb and postgres read, copies the programs if need be, and returns the log folder."""
    folder.chmod(0o755)
    logs = folder / "log"
    logs.mkdir()
    (folder / "data").mkdir(mode=0o700)
    (folder / "password").touch(mode=0o600)
    (folder / "password").write_text(password)
    own = {**SERVER_TUNING, **tuning(orders)}
    text = configuration(major=programs.major, port=port, log_folder=str(logs), own=own)
    (folder / "postgresql.conf").write_text(text)
    if user:
        for name in ("log", "data", "password", "postgresql.conf"):
            shutil.chown(folder / name, user)
    if programs.copy_from is not None:
        for part in WHEEL_PARTS:
            shutil.copytree(programs.copy_from / part, folder / part)
    return logs


def _commands(folder: Path, programs: Programs) -> list[list[str]]:
    found = folder / WHEEL_PARTS[0] / "bin" if programs.copy_from is not None else programs.folder
    data = ["-D", str(folder / "data")]
    secret = ["-U", ADMINISTRATOR, "--auth=scram-sha-256", f"--pwfile={folder / 'password'}"]
    return [
        [str(found / "initdb"), *data, *secret, "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"],
        [str(found / "postgres"), *data, f"--config-file={folder / 'postgresql.conf'}"],
    ]


def _guard(commands: list[list[str]], user: str | None, folder: Path, words: IO[bytes]) -> subprocess.Popen[bytes]:
    order = json.dumps({"commands": commands, "user": user, "folder": str(folder)})
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(_GUARD), order],
        stdin=subprocess.PIPE,
        stdout=words,
        stderr=words,
        cwd="/",
        env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
        start_new_session=True,
    )


def _let_go(guard: subprocess.Popen[bytes]) -> None:
    assert guard.stdin is not None
    guard.stdin.close()
    try:
        guard.wait(_END_S)
    except subprocess.TimeoutExpired:
        guard.kill()
        guard.wait()


async def _prepare_own(administrator_dsn: str, password: str, guard: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _READY_S
    while True:
        try:
            connection = await asyncpg.connect(administrator_dsn, timeout=10)
            break
        except (OSError, asyncpg.CannotConnectNowError):
            if guard.poll() is not None or time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.02)
    try:
        for setting, value in _UNSEEN.items():
            await connection.execute(f"SET {setting} = '{value}'")
        await connection.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{scram_verifier(password)}'")
        await connection.execute(f"GRANT pg_monitor TO {ROLE}")
        await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {ROLE}")
    finally:
        await connection.close()


def scram_verifier(password: str) -> str:
    """What PostgreSQL keeps of a password (RFC 5803), so that the password itself is in no statement, and so in no log or counter."""
    salt, rounds = secrets.token_bytes(16), 4_096
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt_text, stored_text, server_text = (b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${rounds}:{salt_text}${stored_text}:{server_text}"


async def _prepare_given(dsn: str, name: str, orders: int) -> None:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute(f"CREATE DATABASE {quoted(name)}")
        for setting, value in tuning(orders).items():
            await connection.execute(f"ALTER DATABASE {quoted(name)} SET {setting} = '{value}'")
    finally:
        await connection.close()


async def _extensions(dsn: str) -> list[str]:
    """Makes the extensions in the database; those that are not there or not allowed."""
    connection = await asyncpg.connect(plain(dsn), timeout=10)
    missing = []
    try:
        for name in EXTENSIONS:
            try:
                await connection.execute(f"CREATE EXTENSION IF NOT EXISTS {name}")
            except asyncpg.PostgresError:
                if name == NEEDED_EXTENSION:
                    raise
                missing.append(name)
        return missing
    finally:
        await connection.close()


def _last_words(words: IO[bytes]) -> str:
    words.seek(0)
    return words.read().decode(errors="replace")[-_SHOWN_CHARACTERS:].strip() or "it said nothing"
