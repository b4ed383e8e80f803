"""Stores of the history that are old, new, locked, full, gone or none: brought up to date, or told with the way out."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection, make_url, text
from temporalio.exceptions import ApplicationError

from activities.history import History
from activities.history_check import REVISION, is_current
from activities.history_engine import open_engine
from activities.history_migration import scripts
from activities.history_tables import metadata
from perfwright.models.history import PreviousProfileQuery
from tests.activities.history_stores import PROCESS, a_record, a_start, history, url
from tests.disks import read_only_folder, tiny_disk
from tests.postgres import PASSWORD, PostgresServer, postgres

__all__ = ["history", "postgres", "read_only_folder", "tiny_disk", "url"]


async def test_a_store_of_the_first_release_is_brought_up(url: str) -> None:
    """Profiles that were recorded before tool and runtime were kept are still there after the migration, with neither."""
    database = make_url(url)
    if database.get_backend_name() == "sqlite":
        Path(str(database.database)).parent.mkdir(parents=True, exist_ok=True)
    engine = open_engine(database, busy_s=1, pooled=False)
    async with engine.begin() as connection:
        await connection.run_sync(_first_release)
    await engine.dispose()
    history = await History.open(url)
    found = await history.find_previous_profile(PreviousProfileQuery(process=PROCESS, target="shop", compare_with="shop#1"))
    await history.close()
    assert found is not None and (found.profile.uri, found.tool, found.runtime, found.usage) == ("runs/a.json.gz", "", "", None)


def _first_release(connection: Connection) -> None:
    with Operations.context(MigrationContext.configure(connection)):
        scripts().get_revision("0001").module.upgrade()
    connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('0001')")
    run = a_record(a_start())
    connection.exec_driver_sql(
        "INSERT INTO runs (process, target, number, environment, workflow_id, run_id, started_at, verdict, summary, request, report)"
        f" VALUES ('{PROCESS}', 'shop', 1, 'lab', 'w', '{run.run_id}', '2026-03-01 10:00:00', 'passed', '', '{{}}', '{{}}')"
    )
    artifact = run.profiles[0].artifact.model_dump_json().replace(":", "\\:")
    connection.execute(text(f"INSERT INTO profiles (run_id, kind, artifact) VALUES ('{run.run_id}', 'cpu', '{artifact}')"))


async def test_migrations_make_the_tables_of_the_code(history: History, url: str) -> None:
    """The schema that migrations lead to is exactly the one the code works with."""
    engine = open_engine(make_url(url), busy_s=1, pooled=False)
    async with engine.connect() as connection:
        differences = await connection.run_sync(lambda sync: compare_metadata(MigrationContext.configure(sync), metadata))
    await engine.dispose()
    assert differences == []
    assert scripts().get_current_head() == REVISION


async def test_a_newer_database_is_refused(url: str) -> None:
    """A worker of an older release does not touch a database that a newer one made, and says so."""
    await (await History.open(url)).close()
    engine = open_engine(make_url(url), busy_s=1, pooled=False)
    async with engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    await engine.dispose()
    with pytest.raises(ApplicationError, match=r"newer release \(revision 9999\)") as refused:
        await History.open(url)
    assert (refused.value.type, refused.value.non_retryable) == ("StoreUnavailable", True)
    assert PASSWORD not in str(refused.value)


OPEN_AND_NUMBER = """
import asyncio, sys
from activities.history import History
from perfwright.models.history import RunStart

async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    history = await History.open(sys.argv[1])
    for n in range(4):
        run = RunStart(process="P", target="t", environment="lab", workflow_id="w", run_id=f"{sys.argv[2]}-{n}", started_at="2026-03-01T10:00:00Z")
        print(await history.number_run(run))
    await history.close()

asyncio.run(main())
"""


async def test_workers_that_start_at_once_migrate_once(url: str) -> None:
    """Several worker processes that start on an empty database at the same moment all work, on one schema."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_AND_NUMBER, url, str(i)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(3)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None and worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        told = [worker.communicate(timeout=120) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert [worker.returncode for worker in workers] == [0] * 3, told
    names = [name for out, _ in told for name in out.split()]
    assert sorted(names, key=lambda name: int(name[2:])) == [f"t#{n}" for n in range(1, 13)]


async def test_a_server_that_is_gone_is_told(postgres: PostgresServer) -> None:
    """A server that does not answer, a database that does not exist and a wrong password are told without the password, and tried again."""
    gone = f"postgresql+asyncpg://someone:{PASSWORD}@127.0.0.1:1/history"
    for wrong in (gone, postgres.url("no_such_database"), postgres.url(password=f"{PASSWORD}-wrong")):
        with pytest.raises(ApplicationError, match="cannot open the history postgresql") as refused:
            await History.open(wrong)
        assert (refused.value.type, refused.value.non_retryable) == ("StoreUnavailable", False)
        assert "Check store.history" in refused.value.message
        assert PASSWORD not in str(refused.value)


async def test_connections_that_broke_are_replaced(postgres: PostgresServer) -> None:
    """After the server dropped all connections, the next call works again without a restart of the worker."""
    url = await postgres.new_database()
    history = await History.open(url)
    await history.number_run(a_start())
    admin = await postgres.connect()
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", make_url(url).database)
    await admin.close()
    assert await history.number_run(a_start()) == "shop#2"
    await history.close()


async def test_a_locked_file_is_told(tmp_path: Path) -> None:
    """A file that another program holds for long is told within the bound, tried again, and works when it is free."""
    history = await History.open("sqlite+aiosqlite:///history.db", folder_of_relative=tmp_path, busy_s=0.2)
    with sqlite3.connect(tmp_path / "history.db", isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ApplicationError, match="Another program holds the file") as refused:
            await history.number_run(a_start())
        other.execute("ROLLBACK")
    other.close()
    assert (refused.value.type, refused.value.non_retryable) == ("StoreUnavailable", False)
    assert await history.number_run(a_start()) == "shop#1"
    await history.close()


async def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    """A history that is some other file is left alone, and the message says what to do."""
    (tmp_path / "notes.txt").write_text("not a database, but the notes of a year\n" * 100)
    with pytest.raises(ApplicationError, match=r"file is not a database\. The file is no SQLite database") as refused:
        await History.open("sqlite+aiosqlite:///notes.txt", folder_of_relative=tmp_path)
    assert refused.value.type == "StoreUnavailable"
    assert (tmp_path / "notes.txt").read_text().startswith("not a database")


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A history below something that is no folder is told at the start."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ApplicationError, match="cannot open the history") as refused:
        await History.open("sqlite+aiosqlite:///file/history.db", folder_of_relative=tmp_path)
    assert refused.value.type == "StoreUnavailable"


async def test_a_read_only_disk_is_told(read_only_folder: Path) -> None:
    """A history on a disk that cannot be written is told at the start."""
    with pytest.raises(ApplicationError, match="cannot open the history") as refused:
        await History.open("sqlite+aiosqlite:///history.db", folder_of_relative=read_only_folder)
    assert refused.value.type == "StoreUnavailable"


async def test_a_full_disk_is_told(tiny_disk: Path) -> None:
    """A history on a full disk says that it is full, keeps what it has, and goes on when there is room."""
    history = await History.open("sqlite+aiosqlite:///history.db", folder_of_relative=tiny_disk)
    await history.number_run(a_start())
    ballast = tiny_disk / "ballast"
    with pytest.raises(OSError, match="No space left"), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(os.urandom(4096))
    with pytest.raises(ApplicationError, match="disk is full") as refused:
        await history.record_run(a_record(a_start(request={"padding": "x" * 200_000})))
    assert (refused.value.type, refused.value.non_retryable) == ("StoreUnavailable", False)
    ballast.unlink()
    assert await history.number_run(a_start()) == "shop#2"
    await history.close()


@pytest.mark.parametrize(
    "url", ["mysql://u:very-secret-word@h/d", "sqlite+aiosqlite://", "sqlite:///x.db", "nonsense", "postgresql+asyncpg//h"]
)
async def test_a_wrong_url_is_refused(url: str) -> None:
    """A URL that is no history store is refused with the two forms that are, and without its password."""
    with pytest.raises(ApplicationError, match=r"postgresql\+asyncpg://USER@HOST/DATABASE") as refused:
        await History.open(url)
    assert refused.value.type == "InvalidInput"
    assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize(
    "change", ["nothing", "DELETE FROM alembic_version", "PRAGMA journal_mode=DELETE", "DROP TABLE alembic_version", "another file"]
)
async def test_only_a_current_store_is_left_for_later(tmp_path: Path, change: str) -> None:
    """A store as this release left it is known without SQLAlchemy; of any other the quick look says so, and creates nothing."""
    await (await History.open("sqlite+aiosqlite:///history.db", folder_of_relative=tmp_path)).close()
    if change not in ("nothing", "another file"):
        with closing(sqlite3.connect(tmp_path / "history.db", isolation_level=None)) as connection:
            connection.execute(change)
    name = "another.db" if change == "another file" else "history.db"
    assert is_current(f"sqlite+aiosqlite:///{name}", tmp_path, busy_s=1) is (change == "nothing")
    assert [path.name for path in tmp_path.glob("*.db")] == ["history.db"]
    assert not is_current("postgresql+asyncpg://ada@localhost/history", tmp_path, busy_s=1)
