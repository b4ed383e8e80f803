"""The history store, on real SQLite files and a real PostgreSQL server."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

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
from perfwright.models.artifact import ArtifactRef
from perfwright.models.gate import Decision
from perfwright.models.history import PreviousProfileQuery, RecordedProfile, RunEnd, RunQuery, RunRecord, RunStart
from perfwright.models.measurement import EnvironmentFingerprint
from perfwright.models.result import ReportRefs
from tests.disks import read_only_folder, tiny_disk
from tests.drawn_profiles import use
from tests.postgres import PASSWORD, PostgresServer, postgres

__all__ = ["postgres", "read_only_folder", "tiny_disk"]

PROCESS = "CpuProfilingInvestigation"


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/deep/history.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return await server.new_database()


@pytest.fixture
async def history(url: str) -> AsyncIterator[History]:
    opened = await History.open(url)
    yield opened
    await opened.close()


def a_start(target: str = "shop", process: str = PROCESS, **fields: object) -> RunStart:
    values = {
        "process": process,
        "target": target,
        "environment": "lab",
        "workflow_id": f"cpu-profiling-investigation/{target}",
        "run_id": str(uuid4()),
        "started_at": "2026-03-01T10:00:00+00:00",
        "request": {"target": target, "duration_s": 30.0},
    }
    return RunStart.model_validate(values | fields)


def a_record(start: RunStart, verdict: str = "passed", *, profile: str | None = "a", **fields: object) -> RunRecord:
    artifact = ArtifactRef(uri=f"runs/{profile}.json.gz", sha256="0" * 64, size_bytes=3, media_type="application/json")
    values = {
        "verdict": verdict,
        "summary": "One line takes 40 % of the time.",
        "closed_at": "2026-03-01T10:05:00+00:00",
        "fingerprint": EnvironmentFingerprint(host="h", kernel="6.1", cpu_model="x", cpu_count=2, memory_bytes=1),
        "report": ReportRefs(html=artifact),
        "profiles": (RecordedProfile(kind="cpu", artifact=artifact),) if profile else (),
        "decisions": (
            Decision(
                gate="profile_review", revision=1, digest="0" * 8, outcome="approved", by="ann", source="signal", at="2026-03-01T10:03:00Z"
            ),
        ),
    }
    return RunRecord.model_validate(start.model_dump() | values | fields)


async def test_runs_are_numbered(history: History) -> None:
    """Runs are numbered from 1 for each process and target, and asking twice gives the same name."""
    first, second, other_target, other_process = a_start(), a_start(), a_start("till"), a_start(process="MemoryLeakHunt")
    assert [await history.number_run(run) for run in (first, second, other_target, other_process)] == [
        "shop#1",
        "shop#2",
        "till#1",
        "shop#1",
    ]
    assert await history.number_run(first) == "shop#1"


async def test_many_workers_number_at_once(history: History, url: str) -> None:
    """Numbers stay unique and without holes when workers ask for them at the same moment."""
    other = await History.open(url)
    try:
        names = await asyncio.gather(*(store.number_run(a_start()) for _ in range(15) for store in (history, other)))
    finally:
        await other.close()
    assert sorted(int(name.removeprefix("shop#")) for name in names) == list(range(1, 31))


async def test_a_run_is_recorded_once(history: History) -> None:
    """A record that is sent twice is one run with one set of profiles and decisions; a later record replaces it."""
    start = a_start()
    await history.number_run(start)
    assert [await history.record_run(a_record(start)) for _ in range(2)] == ["shop#1", "shop#1"]
    [run] = await history.list_runs(RunQuery(target="shop"))
    assert (run.name, run.verdict, run.closed_at, run.run_id) == ("shop#1", "passed", "2026-03-01T10:05:00+00:00", start.run_id)
    assert run.report.html is not None and run.report.html.uri == "runs/a.json.gz"
    assert [decision.by for decision in await history.list_decisions(start.run_id)] == ["ann"]
    await history.record_run(a_record(start, "failed", decisions=()))
    [run] = await history.list_runs(RunQuery(target="shop"))
    assert run.verdict == "failed"
    assert await history.list_decisions(start.run_id) == []


async def test_a_run_that_was_never_numbered_is_recorded(history: History) -> None:
    """A run that ends before it asked for a number gets one with its record."""
    assert await history.record_run(a_record(a_start())) == "shop#1"


async def test_a_run_without_a_result_is_kept(history: History) -> None:
    """A cancelled run, and one that could not be carried out, are closed with their reason; a recorded result is not touched by it."""
    cancelled, failed, done = a_start(), a_start(), a_record(a_start())
    for run in (cancelled, failed):
        await history.number_run(run)
    await history.record_run(done)
    at = "2026-03-01T11:00:00+00:00"
    await history.end_run(RunEnd(run_id=cancelled.run_id, closed_at=at, verdict="cancelled", summary="cancelled"))
    await history.end_run(RunEnd(run_id=failed.run_id, closed_at=at, summary="process 4711 exited"))
    await history.end_run(RunEnd(run_id=done.run_id, closed_at=at, verdict="cancelled"))
    await history.end_run(RunEnd(run_id="never numbered", closed_at=at))
    kept = {run.run_id: (run.verdict, run.summary) for run in await history.list_runs(RunQuery())}
    assert kept == {
        cancelled.run_id: ("cancelled", "cancelled"),
        failed.run_id: (None, "process 4711 exited"),
        done.run_id: (done.verdict, done.summary),
    }
    (found,) = await history.list_runs(RunQuery(verdict="cancelled"))
    assert (found.run_id, found.closed_at) == (cancelled.run_id, at)


async def test_runs_are_listed_newest_first(history: History) -> None:
    """Lists are in the order of time and can be narrowed to a process, target, number, verdict or run."""
    starts = [a_start(started_at=f"2026-03-01T1{hour}:00:00+00:00") for hour in (0, 2, 1)]
    for start in starts:
        await history.number_run(start)
    await history.record_run(a_record(starts[1], "failed"))
    assert [run.name for run in await history.list_runs(RunQuery())] == ["shop#2", "shop#3", "shop#1"]
    assert [run.name for run in await history.list_runs(RunQuery(verdict="failed"))] == ["shop#2"]
    assert [run.name for run in await history.list_runs(RunQuery(number=3, target="shop", process=PROCESS))] == ["shop#3"]
    assert [run.name for run in await history.list_runs(RunQuery(run_id=starts[0].run_id))] == ["shop#1"]
    assert [run.name for run in await history.list_runs(RunQuery(limit=1))] == ["shop#2"]
    assert await history.list_runs(RunQuery(target="nobody")) == []


async def test_times_keep_their_zone(history: History) -> None:
    """Times written with any offset come back as the same moment in UTC."""
    await history.number_run(a_start(started_at="2026-03-01T10:00:00.5+02:00"))
    [run] = await history.list_runs(RunQuery())
    assert run.started_at == "2026-03-01T08:00:00.500000+00:00"


async def test_the_latest_believed_profile_is_found(history: History) -> None:
    """`latest` is the newest run with a profile that was neither rejected nor inconclusive, and never the run that asks."""
    query = PreviousProfileQuery(process=PROCESS, target="shop")
    assert await history.find_previous_profile(query) is None
    runs = [a_start() for _ in range(5)]
    for start, verdict, profile in zip(
        runs, ("passed", "passed", "rejected", "passed", "inconclusive"), ("a", "b", "c", None, "e"), strict=True
    ):
        await history.record_run(a_record(start, verdict, profile=profile))
    asking = a_start()
    await history.record_run(a_record(asking, profile="f"))
    found = await history.find_previous_profile(query.model_copy(update={"run_id": asking.run_id}))
    assert found is not None and (found.run, found.profile.uri, found.at) == ("shop#2", "runs/b.json.gz", "2026-03-01T10:05:00+00:00")
    assert await history.find_previous_profile(query.model_copy(update={"compare_with": "none"})) is None
    assert await history.find_previous_profile(query.model_copy(update={"kind": "memory"})) is None
    named = await history.find_previous_profile(query.model_copy(update={"compare_with": "shop#3"}))
    assert named is not None and named.profile.uri == "runs/c.json.gz"


async def test_like_is_compared_with_like(history: History) -> None:
    """`latest` is of the same tool and runtime where these are known, and what its threads used comes back with it."""
    used = use({"MainThread": 0.4, "pool-1": 0.1})
    for profile, tool, runtime in (("a", "py-spy", "python"), ("b", "perf", "native"), ("c", "perf", "python"), ("d", "", "")):
        artifact = ArtifactRef(uri=f"runs/{profile}.json.gz", sha256="0" * 64, size_bytes=3, media_type="application/json")
        kept = RecordedProfile(kind="cpu", artifact=artifact, tool=tool, runtime=runtime, usage=used if tool else None)
        await history.record_run(a_record(a_start(), profiles=(kept,)))
    query = PreviousProfileQuery(process=PROCESS, target="shop")
    found = await history.find_previous_profile(query.model_copy(update={"tool": "py-spy", "runtime": "python"}))
    assert found is not None
    assert (found.profile.uri, found.tool, found.runtime, found.usage) == ("runs/a.json.gz", "py-spy", "python", used)
    other = await history.find_previous_profile(query.model_copy(update={"tool": "perf", "runtime": "native"}))
    assert other is not None and other.profile.uri == "runs/b.json.gz"
    assert await history.find_previous_profile(query.model_copy(update={"tool": "jfr", "runtime": "jvm"})) is None
    anything = await history.find_previous_profile(query)
    assert anything is not None and (anything.profile.uri, anything.usage) == ("runs/d.json.gz", None)


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


@pytest.mark.parametrize(
    ("compare_with", "cause"),
    [
        ("shop#9", "no run shop#9"),
        ("shop#2", "kept no profile"),
        ("shop#3", "has not ended"),
        ("till#1", "no run of target shop"),
        ("x", "is no run"),
    ],
)
async def test_a_wrong_comparison_is_refused(history: History, compare_with: str, cause: str) -> None:
    """A run to compare with that does not exist or has no profile is refused, and those that have one are named."""
    await history.record_run(a_record(a_start()))
    await history.record_run(a_record(a_start(), profile=None))
    await history.number_run(a_start())
    with pytest.raises(ApplicationError, match=cause) as refused:
        await history.find_previous_profile(PreviousProfileQuery(process=PROCESS, target="shop", compare_with=compare_with))
    assert (refused.value.type, refused.value.non_retryable) == ("InvalidInput", True)
    assert "shop#1" in refused.value.message


async def test_odd_text_is_kept_or_refused(history: History) -> None:
    """Text with NUL characters or emoji is kept; a time that is none is refused and not tried again."""
    await history.record_run(a_record(a_start(request={"comment": "a\0b 🚀"}), summary="a\0b 🚀"))
    [run] = await history.list_runs(RunQuery())
    assert run.summary == "ab 🚀"
    with pytest.raises(ApplicationError, match="started_at") as refused:
        await history.number_run(a_start(started_at="yesterday"))
    assert refused.value.non_retryable


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
    for url in (gone, postgres.url("no_such_database"), postgres.url(password=f"{PASSWORD}-wrong")):
        with pytest.raises(ApplicationError, match="cannot open the history postgresql") as refused:
            await History.open(url)
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
