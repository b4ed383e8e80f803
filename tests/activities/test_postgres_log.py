"""The server's log, read on its host: of real servers, through rotation and truncation, and after kills."""

import asyncio
import gzip
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
from temporalio.exceptions import ApplicationError

from activities.log_reading import CHECKPOINT_FILE, LogOrder, LogReading
from activities.log_sources import LogFolderUnseen, folder_sources, given_sources
from activities.postgres_log import PostgresLog, database_of
from perfwright.analysis.statements.stored import MEDIA_TYPE, decode
from perfwright.models.errors import ErrorType
from perfwright.models.query_steps import LogReadDone, ReadLog
from perfwright.models.statement import LogDigest, LoggedStatement
from perfwright.models.target import Target
from tests.activities.recordings import Bench, until
from tests.perfwright.analysis.server_log.written import Line, calls, csvlog, jsonlog, stderr
from tests.postgres import PostgresServer, needed_programs, start_postgres
from tests.postgres18 import needed_programs18

PREFIX = "runs/1/log"
TARGET = Target(name="shop-db", kind="postgresql", environment="lab")
LOGGING = {
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgresql-%H%M%S.log",
    "log_destination": "jsonlog,csvlog,stderr",
    "log_line_prefix": "%m [%p] %u@%d ",
    "log_min_duration_statement": "0",
    "log_temp_files": "0",
    "log_lock_waits": "on",
    "deadlock_timeout": "20ms",
    "shared_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_format": "json",
}


def reading(*files: Path | str, **options: Any) -> ReadLog:
    return ReadLog(target=TARGET, files=tuple(map(str, files)), artifact_prefix=PREFIX, **options)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def read(bench: Bench, request: ReadLog) -> LogReadDone:
    done: LogReadDone = await bench.run(PostgresLog, "read_log", request)
    return done


async def digest_of(bench: Bench, done: LogReadDone) -> LogDigest:
    assert done.digest is not None and done.digest.media_type == MEDIA_TYPE
    return decode(LogDigest, await bench.store.get(done.digest))


def work_folder(bench: Bench) -> Path:
    return bench.state / "recordings" / f"{PREFIX}/log".replace("/", "-")


def call(text: str, duration_ms: float = 1.0, **facts: str) -> bytes:
    return jsonlog(Line(f"duration: {duration_ms:.3f} ms  statement: {text}", **facts))


@pytest.fixture(scope="module", params=["15", "18"])
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    with start_postgres(needed_programs() if request.param == "15" else needed_programs18(), LOGGING) as server:
        yield server


class TestRealServers:
    """What PostgreSQL 15 and 18 write is what is read."""

    async def test_all_formats_tell_the_same(self, server: PostgresServer, bench: Bench) -> None:
        """jsonlog, csvlog and the plain log of one server: every statement with its calls, errors, parameters and plan, and no password."""
        url = await server.new_database()
        async with connected(url) as connection:
            await work(connection, url)
        database = url.rpartition("/")[2]
        digests = {}
        for suffix in ("json", "csv", "log"):
            bench.environment = bench.new_environment()
            files = sorted((server.folder / "data" / "log").glob(f"*.{suffix}"))
            request = reading(*files).model_copy(update={"artifact_prefix": f"{PREFIX}/{suffix}", "target": with_dsn()})
            reader = PostgresLog(bench.store, bench.state, {"SHOP_DSN": f"postgresql://a:b@c/{database}"})
            done = await bench.environment.run(reader.read_log, request)
            assert done.not_seen == () and done.gaps == (), done
            digests[suffix] = await digest_of(bench, done)
        for digest in digests.values():
            assert digest.broken_lines == 0
            assert statement(digest, "SELECT count(*) FROM items WHERE a = $1").calls == 3
            searched = statement(digest, "SELECT * FROM items WHERE b = '")
            assert (searched.calls, len(searched.samples)) == (2, 2)
            assert {one.text for one in searched.samples} == {f"SELECT * FROM items WHERE b = 'Grüße\n\"{n}\"' LIMIT 1" for n in (1, 2)}
            prepared = statement(digest, "SELECT count(*) FROM items WHERE a = $1")
            assert {one.parameters for one in prepared.samples} <= {("1", "it's"), ("2", "it's"), ("3", None)}
            assert str(prepared.plans[0]["Query Text"]).startswith("SELECT count(*) FROM items")
            assert '"Seq Scan"' in json.dumps(prepared.plans)
            assert statement(digest, "SELECT 1 / $1::int").errors == 1
            assert digest.temp_file_bytes > 100_000 and digest.lock_waits == 1
            assert "very-secret" not in digest.model_dump_json()
            outer = statement(digest, "SELECT inner_count(")
            assert outer.calls == 1
        assert digests["json"].statements == digests["csv"].statements == digests["log"].statements

    async def test_the_window_alone_is_read(self, server: PostgresServer, bench: Bench) -> None:
        """Of a running server only what it writes in the window is read, through a rotation of its own, and our own sessions are left out."""
        url = await server.new_database()
        async with connected(url) as connection, connected(url, application_name="perfwright") as own:
            await connection.execute("SELECT 'before' AS a")
            follow_s = 3.0
            request = reading(folder=str(server.folder / "data" / "log"), log_format="jsonlog", follow_s=follow_s)
            running = asyncio.create_task(read(bench, request))
            await until(lambda: (work_folder(bench) / CHECKPOINT_FILE).exists())
            for number in range(3):
                await connection.execute(f"SELECT {number} AS a, 'within'")
            await own.execute("SELECT 'ours' AS a, 'b', 'c'")
            await connection.execute("SELECT pg_rotate_logfile()")
            await until(lambda: len(list((server.folder / "data" / "log").glob("*.json"))) > 1)
            await connection.execute("SELECT 4 AS a, 'within'")
            done = await running
        digest = await digest_of(bench, done)
        assert done.gaps == ()
        found = {text: number for text, number in calls(digest).items() if "within" in text or "before" in text or "ours" in text}
        assert list(found.values()) == [4], calls(digest)
        assert any(beat.get("statements") for beat in bench.beats)


def with_dsn() -> Target:
    return TARGET.model_copy(update={"dsn_env": "SHOP_DSN"})


def statement(digest: LogDigest, begin: str) -> LoggedStatement:
    found = [one for one in digest.statements if one.text.startswith(begin)]
    assert len(found) == 1, [one.text[:60] for one in digest.statements]
    return found[0]


@asynccontextmanager
async def connected(url: str, **settings: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""), timeout=10, server_settings=settings)
    try:
        yield connection
    finally:
        await connection.close()


async def work(connection: asyncpg.Connection, url: str) -> None:
    """Some of everything that a log can tell."""
    await connection.execute("CREATE TABLE items (a int, b text)")
    await connection.execute("INSERT INTO items SELECT i, md5(i::text) FROM generate_series(1, 20000) i")
    for number in (1, 2):
        await connection.execute(f"SELECT * FROM items WHERE b = 'Grüße\n\"{number}\"' LIMIT 1")
    for values in ((1, "it's"), (2, "it's"), (3, None)):
        await connection.fetch("SELECT count(*) FROM items WHERE a = $1 AND b <> $2", *values)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await connection.fetch("SELECT 1 / $1::int", 0)
    await connection.execute("SET work_mem = '64kB'")
    await connection.fetch("SELECT * FROM items ORDER BY b")
    await connection.execute("CREATE ROLE reader PASSWORD 'very-secret-indeed'")
    await connection.execute("DROP ROLE reader")
    await connection.execute("CREATE FUNCTION inner_count(int) RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM items WHERE a < $1'")
    await connection.execute("SET auto_explain.log_nested_statements = on; SELECT 1")
    await connection.execute("SELECT inner_count(10)")
    async with connected(url) as other:
        async with connection.transaction():
            await connection.execute("LOCK TABLE items")
            waiting = asyncio.create_task(other.execute("SELECT max(a) FROM items"))
            await asyncio.sleep(0.15)  # longer than deadlock_timeout: the wait is in the log then
        await waiting


class TestGivenFiles:
    """Files that a user names."""

    async def test_plain_packed_and_linked(self, tmp_path: Path, bench: Bench) -> None:
        """Plain files, gzip files of several members, links; a file that is named twice is read once."""
        files = [tmp_path / name for name in ("a.json", "b.json.gz", "c.csv", "link.json")]
        files[0].write_bytes(call("SELECT a FROM t"))
        files[1].write_bytes(gzip.compress(call("SELECT b FROM t")) + gzip.compress(call("SELECT b FROM t")) + b"\0" * 512)
        files[2].write_bytes(csvlog(Line("duration: 1.000 ms  statement: SELECT c FROM t")))
        files[3].symlink_to(files[0])
        digest = await digest_of(bench, await read(bench, reading(*files)))
        assert calls(digest) == {"SELECT a FROM t": 1, "SELECT b FROM t": 2, "SELECT c FROM t": 1}
        assert len(digest.files) == 3 and digest.gaps == ()

    async def test_the_answer_of_a_finished_reading(self, tmp_path: Path, bench: Bench) -> None:
        """An attempt whose answer was lost is not repeated, and nothing of the reading is left but that answer."""
        file = tmp_path / "a.json"
        file.write_bytes(call("SELECT a FROM t"))
        done = await read(bench, reading(file))
        file.unlink()
        assert await read(bench, reading(file)) == done
        assert [Path(name).name for name in bench.left] == ["result.jsonl"]

    async def test_gzip_that_is_not_whole(self, tmp_path: Path, bench: Bench) -> None:
        """Of a packed file that was cut or damaged the readable part is read, and the gap is told."""
        text = b"".join(call(f"SELECT {os.urandom(8).hex()!r} FROM t") for _ in range(3000))
        packed = gzip.compress(text)
        cut, damaged = tmp_path / "cut.json.gz", tmp_path / "damaged.json.gz"
        cut.write_bytes(packed[: len(packed) // 2])
        damaged.write_bytes(packed[: len(packed) // 2] + b"\xff" * 200 + packed[len(packed) // 2 + 200 :])
        done = await read(bench, reading(cut, damaged))
        assert done.statements == 1 and 1000 < done.lines < 6000
        assert any("not whole" in gap for gap in done.gaps) and any("cannot be unpacked" in gap for gap in done.gaps)

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            (bytes(range(256)) * 100, "no server log of PostgreSQL"),
            (b"# Time: 2024-05-17T10:00:00\n# Query_time: 1.0\nSELECT 1;\n", "no server log"),
        ],
    )
    async def test_what_is_no_log(self, tmp_path: Path, bench: Bench, content: bytes, told: str) -> None:
        """Binary files and logs of other servers are refused by name."""
        file = tmp_path / "strange.log"
        file.write_bytes(content)
        with pytest.raises(ApplicationError, match=f"strange.log is {told}") as refused:
            await read(bench, reading(file))
        assert refused.value.type == ErrorType.INVALID_INPUT and refused.value.non_retryable
        assert bench.left == []

    async def test_files_without_statements(self, tmp_path: Path, bench: Bench) -> None:
        """Empty files, and logs without durations, are told with what would help."""
        empty, quiet = tmp_path / "empty.json", tmp_path / "quiet.json"
        empty.write_bytes(b"")
        quiet.write_bytes(jsonlog(Line("connection received: host=10.0.0.1")))
        done = await read(bench, reading(empty, quiet))
        assert done.digest is not None and done.statements == 0
        assert any("empty.json is empty" in gap for gap in done.gaps)
        assert "none of the 1 lines" in done.not_seen[0].reason

    def test_paths_that_are_no_files(self, tmp_path: Path) -> None:
        """Missing files, folders, devices, pipes, broken and circular links are refused by name, and nothing is opened that would wait."""
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        for path, told in (
            (tmp_path / "missing", "there is no file"),
            (tmp_path, "is a folder"),
            ("/dev/zero", "is no regular file"),
            (tmp_path / "pipe", "is no regular file"),
            (tmp_path / "broken", "there is no file"),
            (tmp_path / "loop", "cannot read"),
            ("a\0b", "cannot read"),
        ):
            with pytest.raises(ApplicationError, match=told) as refused:
                given_sources([str(path)])
            assert refused.value.type == ErrorType.INVALID_INPUT

    def test_bounds(self, tmp_path: Path) -> None:
        """More than 64 files, or than 64 GiB, are refused before anything is read."""
        files = [tmp_path / f"{n}.json" for n in range(65)]
        for file in files:
            file.touch()
        with pytest.raises(ApplicationError, match="at most 64"):
            given_sources(map(str, files))
        os.truncate(files[0], 65 << 30)
        with pytest.raises(ApplicationError, match="65 GiB"):
            given_sources([str(files[0])])

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
    def test_permissions(self, tmp_path: Path) -> None:
        """A file or folder that the worker may not read is told with the permission to grant."""
        file = tmp_path / "log" / "a.json"
        file.parent.mkdir(mode=0o755)
        file.write_bytes(call("SELECT 1"))
        file.chmod(0o600)
        with as_nobody():
            with pytest.raises(ApplicationError, match="may not read") as refused:
                given_sources([str(file)])
            with pytest.raises(LogFolderUnseen) as unseen:
                folder_sources(str(file.parent), "", follow=True)
        assert refused.value.type == ErrorType.NOT_PERMITTED
        assert "log_file_mode" in unseen.value.told.way_out


@contextmanager
def as_nobody() -> Iterator[None]:
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


class TestFolders:
    """A log folder that cannot be read is no error of the run."""

    async def test_there_is_nothing_to_read(self, tmp_path: Path, bench: Bench) -> None:
        """No folder, a missing one, a file, an empty one: told in `not_seen`, with the way out."""
        (tmp_path / "file").touch()
        for number, (folder, told) in enumerate(
            (("", "does not tell"), ("missing", "no folder"), ("file", "is a file"), (".", "holds no"))
        ):
            where = str(tmp_path / folder) if folder else ""
            request = reading(folder=where, follow_s=1.0).model_copy(update={"artifact_prefix": f"{PREFIX}/{number}"})
            done = await read(bench, request)
            assert done.digest is None
            assert told in done.not_seen[0].reason and done.not_seen[0].way_out

    async def test_what_is_there(self, tmp_path: Path, bench: Bench) -> None:
        """Without a window the newest files are read, in the most telling format that is being written."""
        (tmp_path / "a.json").write_bytes(call("SELECT a FROM t"))
        (tmp_path / "a.csv").write_bytes(csvlog(Line("duration: 1.000 ms  statement: SELECT a FROM t")))
        (tmp_path / "a.log").write_bytes(stderr(Line("duration: 1.000 ms  statement: SELECT a FROM t")))
        digest = await digest_of(bench, await read(bench, reading(folder=str(tmp_path))))
        assert calls(digest) == {"SELECT a FROM t": 1}
        os.utime(tmp_path / "a.json", (1, 1))
        assert [Path(one.path).name for one in folder_sources(str(tmp_path), "", follow=False)] == ["a.csv"]
        assert [Path(one.path).name for one in folder_sources(str(tmp_path), "stderr", follow=False)] == ["a.log"]


class TestFollowing:
    """Step by step: what is appended, and what becomes of the files meanwhile."""

    @pytest.fixture
    def log(self, tmp_path: Path) -> Path:
        (tmp_path / "log").mkdir()
        (tmp_path / "work").mkdir()
        log = tmp_path / "log" / "pg.json"
        log.write_bytes(call("SELECT 'before' FROM t"))
        return log

    @staticmethod
    def order(log: Path) -> LogOrder:
        sources = folder_sources(str(log.parent), "", follow=True)
        return LogOrder(sources, str(log.parent.parent / "work"), "shop", "perfwright", str(log.parent), "jsonlog", time.time() + 60)

    @staticmethod
    def append(log: Path, data: bytes) -> None:
        with log.open("ab") as file:
            file.write(data)

    def test_a_line_that_is_written_in_halves(self, log: Path) -> None:
        """A line whose first half was read waits for the second; one that is unfinished at the end of the window is no broken line."""
        reading = LogReading(self.order(log))
        line = call("SELECT a FROM t WHERE b = 'ö'")
        for cut in (1, 30, line.index("ö".encode()) + 1, len(line) - 1):
            self.append(log, line[:cut])
            reading.catch_up()
            self.append(log, line[cut:])
            reading.catch_up()
        self.append(log, line[:50])
        reading.catch_up()
        digest = reading.digest()
        assert calls(digest) == {"SELECT a FROM t WHERE b = 'ö'": 4}
        assert (digest.broken_lines, digest.gaps) == (0, ())

    def test_starting_within_a_line(self, log: Path) -> None:
        """A window that begins while a line is being written takes that line whole."""
        line = call("SELECT a FROM t")
        self.append(log, line[:60])
        reading = LogReading(self.order(log))
        reading.catch_up()
        self.append(log, line[60:])
        reading.catch_up()
        assert calls(reading.digest()) == {"SELECT a FROM t": 1}

    def test_rotation_by_the_server(self, log: Path) -> None:
        """A new file is read from its begin, and the old one to its end."""
        reading = LogReading(self.order(log))
        self.append(log, call("SELECT a FROM t"))
        reading.catch_up()
        self.append(log, call("SELECT b FROM t"))
        new = log.with_name("pg-2.json")
        new.write_bytes(call("SELECT c FROM t"))
        (log.parent / "pg-2.csv").write_bytes(b"another format")
        reading.catch_up()
        self.append(new, call("SELECT d FROM t"))
        reading.catch_up()
        digest = reading.digest()
        assert set(calls(digest)) == {f"SELECT {name} FROM t" for name in "abcd"}
        assert digest.gaps == ()

    def test_rotation_by_renaming(self, log: Path) -> None:
        """A file that gets another name is read on under it, in the middle of a line, beside the new one of its old name."""
        reading = LogReading(self.order(log))
        line = call("SELECT a FROM t")
        self.append(log, line[:70])
        reading.catch_up()
        old = log.rename(log.with_name("pg.json.1"))
        self.append(old, line[70:])
        log.write_bytes(call("SELECT b FROM t"))
        reading.catch_up()
        self.append(old, call("SELECT c FROM t"))
        self.append(log, call("SELECT d FROM t"))
        reading.catch_up()
        old.unlink()
        reading.catch_up()
        digest = reading.digest()
        assert set(calls(digest)) == {f"SELECT {name} FROM t" for name in "abcd"}
        assert (digest.gaps, digest.broken_lines) == ((), 0)

    def test_truncation(self, log: Path) -> None:
        """A file that is copied and truncated, in the middle of a line, is read from its begin; the cut line is broken and the gap told."""
        reading = LogReading(self.order(log))
        self.append(log, call("SELECT a FROM t") + call("SELECT b FROM t")[:80])
        reading.catch_up()
        shutil.copy(log, log.with_name("pg.json.1"))
        os.truncate(log, 0)
        self.append(log, call("SELECT c FROM t"))
        reading.catch_up()
        # Longer than it was, with another begin: its size alone would not tell.
        log.write_bytes(b"".join(call(f"SELECT d{n} FROM t") for n in range(30)))
        reading.catch_up()
        digest = reading.digest()
        assert calls(digest) == {"SELECT a FROM t": 1, "SELECT c FROM t": 1} | {f"SELECT d{n} FROM t": 1 for n in range(30)}
        assert digest.broken_lines == 1
        assert len(digest.gaps) == 2 and all("truncated" in gap for gap in digest.gaps)

    def test_a_file_of_last_week_is_used_again(self, log: Path) -> None:
        """With names by weekday the server truncates an old file and goes on there: nothing is lost, and nothing old is read."""
        monday = log.with_name("pg-Mon.json")
        monday.write_bytes(call("SELECT 'last week' FROM t") * 50)
        reading = LogReading(self.order(log))
        reading.catch_up()
        monday.write_bytes(call("SELECT a FROM t"))
        reading.catch_up()
        digest = reading.digest()
        assert (calls(digest), digest.gaps) == ({"SELECT a FROM t": 1}, ())

    def test_another_attempt_goes_on(self, log: Path) -> None:
        """What was appended while no reader lived is read by the next one, also under another name; what was taken away is told."""
        order = self.order(log)
        first = LogReading(order)
        self.append(log, call("SELECT a FROM t") + call("SELECT b FROM t")[:40])
        first.catch_up()
        first.keep()
        self.append(log, call("SELECT b FROM t")[40:])
        log.rename(log.with_name("pg.json.1"))
        log.write_bytes(call("SELECT c FROM t"))
        second = LogReading(order)
        second.catch_up()
        second.keep()
        for file in log.parent.iterdir():
            file.unlink()
        third = LogReading(order)
        third.catch_up()
        digest = third.digest()
        assert calls(digest) == {f"SELECT {name} FROM t": 1 for name in "abc"}
        assert len(digest.gaps) == 2 and all("taken away" in gap for gap in digest.gaps)

    def test_files_that_are_no_logs(self, log: Path) -> None:
        """Something else that is written there does not end the reading."""
        reading = LogReading(self.order(log))
        log.with_name("other.json").write_bytes(b'{"some": "thing"}\n' * 20_000)
        self.append(log, call("SELECT a FROM t"))
        reading.catch_up()
        digest = reading.digest()
        assert set(calls(digest)) == {"SELECT a FROM t"}
        assert any("other.json is no server log" in gap for gap in digest.gaps)


def readers(of: int | None = None) -> list[psutil.Process]:
    below = psutil.Process(of).children(recursive=True)
    return [one for one in below if "activities.compute_runner" in " ".join(one.cmdline())]


BLOCK = stderr(*(Line(f"duration: {n % 17}.000 ms  statement: SELECT a{n % 40} FROM t WHERE b = {n}") for n in range(2000)))
"""The plain log is the slowest to read."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 26 MB: more than a second's work, and more than a checkpoint's."""
    file = tmp_path_factory.mktemp("large") / "pg.log"
    with file.open("wb") as opened:
        for _ in range(26_000_000 // len(BLOCK)):
            opened.write(BLOCK)
    return file


KILLED_WORKER = """
import asyncio, sys
from pathlib import Path
from activities.artifacts import ArtifactStore
from activities.postgres_log import PostgresLog
from perfwright.models.query_steps import ReadLog
from temporalio.testing import ActivityEnvironment
store, state, request = sys.argv[1:]
reader = PostgresLog(ArtifactStore(store), Path(state))
asyncio.run(ActivityEnvironment().run(reader.read_log, ReadLog.model_validate_json(request)))
"""


class TestKills:
    """A reading that was killed gives what an undisturbed one gives."""

    @staticmethod
    def kept_bytes(bench: Bench) -> int:
        try:
            return int(json.loads((work_folder(bench) / CHECKPOINT_FILE).read_bytes())["tails"][0]["offset"])
        except FileNotFoundError:
            return 0

    async def test_the_worker_is_killed(self, tmp_path: Path, bench: Bench, large: Path) -> None:
        """After SIGKILL of the worker its reader is gone; the next attempt goes on from the checkpoint without reading what is before it
        again, and every call is counted once."""
        file = tmp_path / "pg.log"
        shutil.copy(large, file)
        request = reading(file)
        command = [sys.executable, "-c", KILLED_WORKER, f"file://{bench.state.parent}/store", str(bench.state), request.model_dump_json()]
        worker = subprocess.Popen(command, cwd=Path(__file__).parents[2])
        try:
            await until(lambda: self.kept_bytes(bench) > 0)
            [child] = readers(worker.pid)
        finally:
            worker.kill()
            worker.wait()
        await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
        assert 0 < self.kept_bytes(bench) < file.stat().st_size
        with file.open("r+b") as opened:  # whoever reads this again finds something else
            opened.seek(len(BLOCK))
            opened.write(BLOCK.replace(b"SELECT", b"UPDATE"))
        digest = await digest_of(bench, await read(bench, request))
        assert digest.read_bytes == file.stat().st_size and digest.gaps == ()
        assert {one.text[:8] for one in digest.statements} == {"SELECT a"}
        assert [one.calls for one in digest.statements] == [2000 // 40 * (file.stat().st_size // len(BLOCK))] * 40

    async def test_the_reader_is_killed(self, bench: Bench, large: Path) -> None:
        """When only the reading process is killed, another one goes on within the same attempt, in bounded memory."""
        running = asyncio.create_task(read(bench, reading(large)))
        await until(lambda: self.kept_bytes(bench) > 0)
        [child] = readers()
        child.kill()
        done = await running
        assert done.read_bytes == large.stat().st_size and done.gaps == ()

    async def test_cancelled(self, bench: Bench, large: Path) -> None:
        """A cancelled reading ends at once, and leaves neither a process nor a file."""
        running = asyncio.create_task(read(bench, reading(large)))
        await until(lambda: bool(readers()))
        bench.environment.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert readers() == []


def test_the_database_comes_from_the_connection_string() -> None:
    """Both forms name it; without one, or with one that cannot be read, statements of all databases are taken."""
    for text, name in (
        ("postgresql://a:b@c/shop?sslmode=require", "shop"),
        ("host=c dbname=shop", "shop"),
        ("postgresql://a@c", "a"),
        ("?", ""),
    ):
        assert database_of(with_dsn(), {"SHOP_DSN": text}) == name
    assert database_of(with_dsn(), {}) == database_of(TARGET, {}) == ""
