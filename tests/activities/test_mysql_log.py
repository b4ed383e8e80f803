"""The slow log of a real MariaDB is read: whole, or what is appended during a window."""

import asyncio
import gzip
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.artifacts import ArtifactStore
from activities.mysql_log import MysqlLog
from perfwright.analysis.mysql.shapes import fingerprint
from perfwright.analysis.statements.stored import decode
from perfwright.models.query_steps import LogReadDone, ReadLog
from perfwright.models.statement import LogDigest
from tests.activities.test_mysql import PREFIX, TARGET, VARIABLE
from tests.mysql import MysqlServer, mariadb

__all__ = ["mariadb"]
TEXT = "SELECT sum(total) FROM orders WHERE note = 'note {}' AND id > {}"


class Reading:
    def __init__(self, server: MysqlServer, folder: Path) -> None:
        self.store = ArtifactStore(f"file://{folder}/artifacts")
        self.activities = MysqlLog(self.store, folder / "state", {VARIABLE: server.dsn()})

    async def read(self, **changes: Any) -> LogReadDone:
        request = ReadLog(target=TARGET, artifact_prefix=changes.pop("prefix", PREFIX), **changes)
        return await ActivityEnvironment().run(self.activities.read_slow_log, request)

    async def digest(self, done: LogReadDone) -> LogDigest:
        assert done.digest is not None
        return decode(LogDigest, await self.store.get(done.digest))


@pytest.fixture
def reading(mariadb: MysqlServer, tmp_path: Path) -> Reading:
    return Reading(mariadb, tmp_path)


async def test_given_files_are_read_whole(reading: Reading, mariadb: MysqlServer, tmp_path: Path) -> None:
    """Calls are grouped by shape, with durations and runnable samples; other databases, and passwords, are not in it."""
    mariadb.run(*(TEXT.format(number, number) for number in range(5)), "SET PASSWORD FOR poor@localhost = PASSWORD('very-secret-word')")
    mariadb.run("SELECT 'elsewhere'", database="mysql")
    packed = tmp_path / "slow.log.gz"
    packed.write_bytes(gzip.compress((mariadb.folder / "data" / "slow.log").read_bytes()))
    done = await reading.read(files=(str(packed),))
    digest = await reading.digest(done)
    seen = {one.fingerprint: one for one in digest.statements}[fingerprint(TEXT.format(1, 2))]
    assert seen.text == "SELECT sum(total) FROM orders WHERE note = ? AND id > ?"
    assert (seen.calls, len(seen.durations_ms)) == (5, 5)
    assert len(seen.samples) in (2, 3)
    assert all("note = 'note " in one.text and one.duration_ms for one in seen.samples)
    text = digest.model_dump_json()
    assert not any(word in text for word in ("elsewhere", "very-secret-word"))
    assert (done.lines, digest.broken_lines, done.not_seen) == (digest.lines, 0, ())
    assert digest.first_at <= digest.last_at


async def test_the_servers_own_is_read_as_it_grows(reading: Reading, mariadb: MysqlServer) -> None:
    """Only what is appended within the window counts."""
    own = str(mariadb.folder / "data" / "slow.log")
    mark = uuid4().hex
    mariadb.run(TEXT.format(mark, 1))
    async with asyncio.timeout(10):  # the server answers before it writes its log
        while mark not in Path(own).read_text(errors="replace"):
            await asyncio.sleep(0.02)
    task = asyncio.create_task(reading.read(folder=own, log_format="slow log", follow_s=3.0))
    async with asyncio.timeout(10):
        while not list(Path(reading.activities._state_folder).rglob("plan.jsonl")):
            await asyncio.sleep(0.02)
    await asyncio.to_thread(mariadb.run, TEXT.format(2, 2), TEXT.format(3, 3))
    digest = await reading.digest(await task)
    assert {one.fingerprint: one.calls for one in digest.statements}[fingerprint(TEXT.format(1, 2))] == 2


async def test_what_cannot_be_read_is_told(reading: Reading, tmp_path: Path) -> None:
    """A log that is off or elsewhere is told with the way out; a given file that is none is refused by name."""
    off = await reading.read(folder="", prefix="off")
    assert "slow_query_log" in off.not_seen[0].way_out
    elsewhere = await reading.read(folder=str(tmp_path / "no.log"), prefix="elsewhere")
    assert "cannot read its file" in elsewhere.not_seen[0].reason
    other = tmp_path / "other.log"
    other.write_text("2026-01-01 LOG:  something else\n" * 100)
    with pytest.raises(ApplicationError, match=r"other\.log is no slow log"):
        await reading.read(files=(str(other),), prefix="other")
    assert os.listdir(tmp_path / "state" / "recordings")
