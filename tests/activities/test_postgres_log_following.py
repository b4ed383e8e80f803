"""The server's log, followed through rotation and truncation, and read on after kills."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from activities.log_reading import CHECKPOINT_FILE, LogOrder, LogReading
from activities.log_sources import folder_sources
from tests.activities.log_readings import bench, call, digest_of, read, reading, work_folder
from tests.activities.recordings import Bench, until
from tests.perfwright.analysis.server_log.written import Line, calls, stderr

__all__ = ["bench"]


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
