"""The server's log, read on its host: of real servers, of files that are named, and of folders."""

import asyncio
import gzip
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError

from activities.log_reading import CHECKPOINT_FILE
from activities.log_sources import LogFolderUnseen, folder_sources, given_sources
from activities.postgres_log import PostgresLog, database_of
from perfwright.models.errors import ErrorType
from perfwright.models.statement import LogDigest, LoggedStatement
from perfwright.models.target import Target
from tests.activities.log_readings import PREFIX, TARGET, bench, call, connected, digest_of, read, reading, work, work_folder
from tests.activities.recordings import Bench, until
from tests.perfwright.analysis.server_log.written import Line, calls, csvlog, jsonlog, stderr
from tests.postgres import PostgresServer, needed_programs, start_postgres
from tests.postgres18 import needed_programs18

__all__ = ["bench"]

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
            logs = server.folder / "data" / "log"
            await until(lambda: any("'before'" in file.read_text() for file in logs.glob("*.json")))
            follow_s = 3.0
            request = reading(folder=str(logs), log_format="jsonlog", follow_s=follow_s)
            running = asyncio.create_task(read(bench, request))
            await until(lambda: (work_folder(bench) / CHECKPOINT_FILE).exists())
            for number in range(3):
                await connection.execute(f"SELECT {number} AS a, 'within'")
            await own.execute("SELECT 'ours' AS a, 'b', 'c'")
            await connection.execute("SELECT pg_rotate_logfile()")
            await until(lambda: len(list(logs.glob("*.json"))) > 1)
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
