"""Settings of real PostgreSQL servers: of the server, roles and databases; with reloads, and restarts that may not succeed."""

import asyncio
import os
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import psutil
import pytest
from temporalio.exceptions import ApplicationError

from activities.changes.settings import Settings
from perfwright.models.change import SettingSpec
from perfwright.models.target import Target
from tests.activities.changes.changing_runs import KILLS, Bench, bench, killed_at_random
from tests.databases import VARIABLE
from tests.postgres import PASSWORD, PostgresServer, needed_programs, start_postgres

CLIENT = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); sys.exit(s.makefile().readline().strip() or 0)"
ENTRIES = """
SELECT coalesce(r.rolname, ''), coalesce(d.datname, ''), s.setconfig FROM pg_db_role_setting s
LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase ORDER BY 1, 2
"""


class ServiceManager:
    """Restarts the server for whoever asks at its socket, as systemd does: also when the one who asked is gone."""

    def __init__(self, server: PostgresServer) -> None:
        self._server, self._turn = server, threading.Lock()
        self.path = str(server.folder / "manager")
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(self.path)
        self._socket.listen()
        self.restarts = 0
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def command(self) -> tuple[str, ...]:
        return (sys.executable, "-I", "-S", "-c", CLIENT, self.path)

    def _serve(self) -> None:
        while True:
            try:
                asker, _ = self._socket.accept()
            except OSError:
                return
            self._restart(asker)  # in this thread, which lives on: the server ends with the thread that started it (tests/postgres.py)

    def _restart(self, asker: socket.socket) -> None:
        with self._turn, asker:
            self._server.stop()
            self.restarts += 1
            try:
                self._server.start()
                told = b"\n"
            except RuntimeError:
                told = b"it does not start\n"
            with suppress(OSError):
                asker.sendall(told)

    def close(self) -> None:
        self._socket.close()
        with self._turn:
            pass


class Served(Bench):
    server: PostgresServer
    manager: ServiceManager

    async def rows(self, query: str) -> list[Any]:
        """A manager carries out what a killed worker asked it for, and the server may be away once more for that."""
        async with asyncio.timeout(30):
            while True:
                with suppress(OSError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError):
                    connection = await self.server.connect()
                    try:
                        return [tuple(row) for row in await connection.fetch(query)]
                    finally:
                        await connection.close()
                await asyncio.sleep(0.05)

    async def value(self, name: str) -> str:
        return str((await self.rows(f"SELECT current_setting('{name}')"))[0][0])

    async def state(self) -> Any:
        """Of the server itself: what its files say, what is in force, and what roles and databases have."""
        files = await self.rows("SELECT name, setting, error FROM pg_file_settings WHERE sourcefile ~ 'auto.conf' ORDER BY 1")
        live = await self.rows("SELECT name, setting, pending_restart FROM pg_settings WHERE source = 'configuration file' ORDER BY 1")
        return files, live, await self.rows(ENTRIES)


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[PostgresServer, ServiceManager]]:
    with start_postgres(needed_programs()) as started:
        manager = ServiceManager(started)
        yield started, manager
        manager.close()


@pytest.fixture
async def shop(server: tuple[PostgresServer, ServiceManager], tmp_path: Path) -> AsyncIterator[Served]:
    async with opened(server, tmp_path) as made:
        yield made
    connection = await server[0].connect()
    await connection.execute("ALTER SYSTEM RESET ALL")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()


@asynccontextmanager
async def opened(server: tuple[PostgresServer, ServiceManager], folder: Path) -> AsyncIterator[Served]:
    target = Target(
        name=f"settings-{uuid4().hex[:8]}",
        kind="postgresql",
        environment="lab",
        dsn_env=VARIABLE,
        allow=("settings", "restart"),
        restart_command=server[1].command,
    )
    async with bench(folder, target, {VARIABLE: server[0].dsn()}) as plain:
        shop = Served.__new__(Served)
        shop.__dict__.update(plain.__dict__)
        shop.server, shop.manager = server
        yield shop
        plain.worker = shop.worker


async def _execute(shop: Served, *statements: str) -> None:
    connection = await shop.server.connect()
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize("earlier", [None, "7MB"])
async def test_a_server_setting_comes_and_goes(shop: Served, earlier: str | None) -> None:
    """ALTER SYSTEM and a reload; the undo puts back the entry that was there, or none. New sessions have the value at once."""
    if earlier:
        await _execute(shop, f"ALTER SYSTEM SET work_mem = '{earlier}'", "SELECT pg_reload_conf()")
    before = await shop.state()
    order = shop.order(SettingSpec(name="Work_Mem", value="64MB"))
    shown = await shop.work.describe(order)
    assert shown.change.apply.startswith("ALTER SYSTEM SET \"work_mem\" = '64MB'") and shown.change.risk == "reload"
    assert shown.change.undo.startswith(f"ALTER SYSTEM SET \"work_mem\" = '{earlier}'" if earlier else 'ALTER SYSTEM RESET "work_mem"')
    assert (await shop.work.check(order)).passed and await shop.state() == before
    for _ in range(2):
        assert (await shop.work.apply(order)).state == "applied"
        assert await shop.value("work_mem") == "64MB"
    for _ in range(2):
        assert (await shop.work.revert(order.change_id)).state == "reverted"
        assert await shop.state() == before


@pytest.mark.parametrize("scope", ["role", "database", "role in database"])
async def test_settings_of_roles_and_databases(shop: Served, scope: str) -> None:
    """Entries of a role, a database, or both are set and put back, with hostile names and lists; other entries stay."""
    role, database = f'r"; DROP ROLE x; {uuid4().hex[:6]}', f"d'b {uuid4().hex[:6]}"
    quoted_role, quoted_database = '"' + role.replace('"', '""') + '"', f'"{database}"'
    subject = {"role": f"ROLE {quoted_role}", "database": f"DATABASE {quoted_database}"}.get(
        scope, f"ROLE {quoted_role} IN DATABASE {quoted_database}"
    )
    await _execute(shop, f"CREATE ROLE {quoted_role}", f"CREATE DATABASE {quoted_database}")
    await _execute(shop, f"ALTER {subject} SET search_path = 'a,b', \"$user\"", f"ALTER {subject} SET jit = off")
    before = await shop.state()
    spec = SettingSpec(
        name="search_path",
        value=('x "y"', "public"),
        role=role if "role" in scope else None,
        database=database if "database" in scope else None,
    )
    order = shop.order(spec)
    assert (await shop.work.apply(order)).state == "applied"
    [entries] = [row[2] for row in await shop.rows(ENTRIES) if row[0] in ("", role) and row[1] in ("", database)]
    assert sorted(entries) == ["jit=off", 'search_path="x ""y""", public']
    assert (await shop.work.revert(order.change_id)).state == "reverted"
    assert await shop.state() == before
    await _execute(shop, f"DROP DATABASE {quoted_database}", f"DROP ROLE {quoted_role}")


async def test_a_foreign_entry_is_a_conflict(shop: Served) -> None:
    """A value that somebody else set meanwhile is told and left; the lower of two changes waits for the upper."""
    lower, upper = shop.order(SettingSpec(name="work_mem", value="64MB")), shop.order(SettingSpec(name="work_mem", value="65MB"))
    await shop.work.apply(lower)
    await shop.work.apply(upper)
    with pytest.raises(ApplicationError, match="lies under later changes"):
        await shop.work.revert(lower.change_id)
    await shop.work.revert(upper.change_id)
    await _execute(shop, "ALTER SYSTEM SET work_mem = '66MB'", "SELECT pg_reload_conf()")
    record = await shop.record(lower)
    assert record is not None
    for late in (Settings().apply, Settings().revert):  # set between the look and the step
        with pytest.raises(ApplicationError, match="by somebody else meanwhile"):
            await late(record, shop.site)
    outcome = await shop.work.revert(lower.change_id)
    assert outcome.state == "conflict" and "66MB" in outcome.note
    assert (await shop.state())[0][0][1] == "66MB"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("shared_buffers", "900GB", "would reserve"),
        ("shared_buffers", "12XB", "no amount that is known"),
        ("shared_buffers", "9e2GB", "would reserve"),
        ("max_connections", "2e5", "would reserve"),
        ("work_mem", "0x40000000", "more than the machine's memory"),
        ("idle_session_timeout", "1ms", "nobody could connect"),
        ("log_destination", "nope", "does not take it"),
        ("max_connections", "262143", "would reserve"),
        ("work_mem", "900GB", "more than the machine's memory"),
        ("work_mem", "lots", "no amount that is known"),
        ("random_page_cost", "-1", "refuses the value"),
        ("shared_preload_libraries", "pg_stat_statements,auto_explain", "list of names"),
        ("shared_preload_libraries", ("pg_stat_statements", "no_such_library"), "finds no library 'no_such_library'"),
        ("work_mem", ("1MB", "2MB"), "one text"),
        ("fsync", "off", "protects the data"),
        ("listen_addresses", "", "nobody could connect"),
        ("archive_command", "rm -rf /", "names programs"),
        ("no_such_setting", "1", "has no setting"),
        ("server_version", "1", "fixed"),
    ],
)
async def test_what_would_harm_is_refused(shop: Served, name: str, value: Any, reason: str) -> None:
    """What the machine cannot bear, what keeps a server from starting, lists as one text, and durability: refused, and nothing is done."""
    before = await shop.state()
    order = shop.order(SettingSpec(name=name, value=value))
    with pytest.raises(ApplicationError, match=reason):
        await shop.work.apply(order)
    assert await shop.state() == before
    record = await shop.record(order)
    assert record is None or record.state == "reverted"


async def test_lists_are_written_as_lists(shop: Served) -> None:
    """Several preloaded libraries are several names; the restarted server has them, and the undo restarts it without."""
    before = await shop.state()
    order = shop.order(SettingSpec(name="shared_preload_libraries", value=("pg_stat_statements", "auto_explain")))
    shown = await shop.work.describe(order)
    assert shown.change.risk == "restart" and "'pg_stat_statements', 'auto_explain'" in shown.change.apply
    assert (await shop.work.apply(order)).state == "applied"
    assert await shop.value("shared_preload_libraries") == "pg_stat_statements, auto_explain"
    restarts = shop.manager.restarts
    assert (await shop.work.apply(order)).state == "applied" and shop.manager.restarts == restarts
    assert (await shop.work.revert(order.change_id)).state == "reverted"
    assert await shop.state() == before


async def test_a_server_that_does_not_come_back_is_helped(shop: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the checks let something through, the watchdog puts the earlier line back: the server runs, as before, and the error says so."""
    await _execute(shop, "ALTER SYSTEM SET shared_buffers = '24MB'")
    shop.server.restart()
    before = await shop.state()
    monkeypatch.setattr("activities.changes.settings.memory_bytes", lambda: 2**60)
    order = shop.order(SettingSpec(name="shared_buffers", value="900GB"))
    with pytest.raises(ApplicationError, match=r"did not come back .* its earlier line was put back.*nothing of it is left") as failed:
        await shop.work.apply(order)
    assert failed.value.non_retryable and await shop.state() == before
    assert await shop.value("shared_buffers") == "24MB"
    record = await shop.record(order)
    assert record is not None and record.state == "reverted"
    await _execute(shop, "ALTER SYSTEM RESET shared_buffers")
    shop.server.restart()


@pytest.mark.parametrize("how", ["cut short", "crashed"])
async def test_a_server_left_down_is_started_by_the_undo(shop: Served, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Down because a worker was killed in its restart, or because it crashed with the change in force: the undo puts the line back in the
    file, starts it, and leaves nothing else there."""
    before = await shop.state()
    order = shop.order(SettingSpec(name="max_connections", value="61"))

    async def cut_short(*_: object) -> str:
        shop.server.stop()
        raise asyncio.CancelledError

    if how == "cut short":
        with monkeypatch.context() as patched:
            patched.setattr("activities.changes.restarts._run_command", cut_short)
            with pytest.raises(asyncio.CancelledError):
                await shop.work.apply(order)
    else:
        await shop.work.apply(order)
        _kill(shop.server)
    assert (await shop.work.revert(order.change_id)).state == "reverted"
    assert await shop.state() == before and not list((shop.server.folder / "data").glob("perfwright*"))


def _kill(server: PostgresServer) -> None:
    """kill -9; what it had started ends by itself."""
    postmaster = psutil.Process(int((server.folder / "data" / "postmaster.pid").read_text().split("\n", 1)[0]))
    children = postmaster.children(recursive=True)
    postmaster.kill()
    _, alive = psutil.wait_procs([postmaster, *children], timeout=30)
    assert not alive


@pytest.mark.parametrize("theirs", [None, "77"])
async def test_a_stopped_server_is_left_to_those_who_stopped_it(shop: Served, theirs: str | None) -> None:
    """Nobody's maintenance is ended by an undo: our line goes from the file, somebody else's is a conflict and stays, and in neither case is
    the server started."""
    before, order = await shop.state(), shop.order(SettingSpec(name="max_connections", value="61"))
    await shop.work.apply(order)
    if theirs:
        await _execute(shop, f"ALTER SYSTEM SET max_connections = {theirs}")
    shop.server.stop()
    restarts = shop.manager.restarts
    for _ in range(2):
        outcome = await shop.work.revert(order.change_id)
        assert outcome.state == ("conflict" if theirs else "reverted")
    assert shop.manager.restarts == restarts and not (shop.server.folder / "data" / "postmaster.pid").exists()
    shop.server.start()
    if theirs:
        assert "77" in outcome.note and await shop.value("max_connections") == "77"
        await _execute(shop, "ALTER SYSTEM RESET max_connections")
        shop.server.restart()
    assert await shop.state() == before


async def test_a_restart_must_be_possible(shop: Served) -> None:
    """Without the command, or the permission, a setting that needs a restart is refused."""
    spec = SettingSpec(name="max_connections", value="61")
    for less, reason in (({"restart_command": None}, "give restart_command"), ({"allow": ("settings",)}, 'add "restart"')):
        shop.target = shop.target.model_copy(update=less)
        with pytest.raises(ApplicationError, match=reason):
            await shop.work.apply(shop.order(spec))


async def test_settings_of_others_are_not_put_into_force(shop: Served) -> None:
    """What somebody set and has not put into force yet stays so: a restart of ours would be theirs as well, and so would a reload."""
    spec, file = SettingSpec(name="max_connections", value="61"), shop.server.folder / "data" / "postgresql.auto.conf"
    await _execute(shop, "ALTER SYSTEM SET max_worker_processes = 9", "SELECT pg_reload_conf()")
    restarts = shop.manager.restarts
    with pytest.raises(ApplicationError, match="max_worker_processes of somebody else wait"):
        await shop.work.apply(shop.order(spec))
    await _execute(shop, "ALTER SYSTEM RESET max_worker_processes", "SELECT pg_reload_conf()")
    order = shop.order(spec)
    await shop.work.apply(order)
    await _execute(shop, "ALTER SYSTEM SET max_worker_processes = 9")
    assert shop.manager.restarts == restarts + 1
    with pytest.raises(ApplicationError, match="max_worker_processes of somebody else wait"):
        await shop.work.revert(order.change_id)
    assert shop.manager.restarts == restarts + 1 and await shop.value("max_worker_processes") == "8"
    await _execute(shop, "ALTER SYSTEM RESET max_worker_processes")
    assert (await shop.work.revert(order.change_id)).state == "reverted"
    os.utime(file, (time.time() + 60, time.time() + 60))  # as an edit that nobody has reloaded
    with pytest.raises(ApplicationError, match=r"auto\.conf was changed since the server read it"):
        await shop.work.apply(shop.order(SettingSpec(name="work_mem", value="64MB")))
    os.utime(file)


async def test_an_entry_that_another_hides_is_refused(shop: Served) -> None:
    """Where the database, or the role in it, has an entry of its own, one of the server would stand there without effect."""
    role, database = f"app_{uuid4().hex[:6]}", (await shop.rows("SELECT current_database()"))[0][0]
    await _execute(shop, f"CREATE ROLE {role}", f"ALTER ROLE {role} SET work_mem = '5MB'")
    order = shop.order(SettingSpec(name="work_mem", value="64MB"))
    assert f"not those of {role}, which have an entry of their own" in (await shop.work.describe(order)).blast_radius
    await _execute(shop, f"ALTER DATABASE \"{database}\" SET work_mem = '6MB'")
    with pytest.raises(ApplicationError, match=f"database {database} has an entry of its own"):
        await shop.work.apply(order)
    whose = shop.order(SettingSpec(name="work_mem", value="64MB", database=database))
    assert (await shop.work.apply(whose)).state == "applied" and (await shop.work.revert(whose.change_id)).state == "reverted"
    await _execute(shop, f'ALTER DATABASE "{database}" RESET work_mem', f"DROP ROLE {role}")


async def test_a_renamed_or_dropped_role_is_told(shop: Served) -> None:
    """Its entry goes where it goes: under another name it stands, and is a conflict that says where; dropped, it is gone."""
    role = f"app_{uuid4().hex[:6]}"
    await _execute(shop, f"CREATE ROLE {role}")
    order = shop.order(SettingSpec(name="work_mem", value="64MB", role=role))
    await shop.work.apply(order)
    await _execute(shop, f"ALTER ROLE {role} RENAME TO {role}_old", f"CREATE ROLE {role}")
    outcome = await shop.work.revert(order.change_id)
    assert outcome.state == "conflict" and f"is called {role}_old now" in outcome.note
    await _execute(shop, f"DROP ROLE {role}", f"DROP ROLE {role}_old")
    assert (await shop.work.revert(order.change_id)).standing.word == "gone"


async def test_rights_are_needed(shop: Served) -> None:
    """A role without rights is told what it lacks; its password is in no message."""
    role = f"weak_{uuid4().hex[:8]}"
    await _execute(shop, f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    shop.environ[VARIABLE] = shop.server.dsn(user=role)
    with pytest.raises(ApplicationError, match=r"pg_file_settings|rights") as refused:
        await shop.work.apply(shop.order(SettingSpec(name="work_mem", value="64MB")))
    assert PASSWORD not in refused.value.message
    shop.environ[VARIABLE] = shop.server.dsn()
    await _execute(shop, f"DROP ROLE {role}")


async def test_kills_during_a_reload(shop: Served) -> None:
    """kill -9 while a setting is made or put back: afterwards files and sessions are as they were, an earlier entry too."""
    await _execute(shop, "ALTER SYSTEM SET work_mem = '7MB'", "SELECT pg_reload_conf()")
    await killed_at_random(shop, SettingSpec(name="work_mem", value="64MB"), shop.state, kills=KILLS // 2)


async def test_kills_during_a_restart(shop: Served) -> None:
    """kill -9 while the server is restarted, and perhaps down: afterwards it runs as before."""
    await killed_at_random(shop, SettingSpec(name="max_connections", value="61"), shop.state, kills=KILLS // 2)  # reload and restart
