"""The slow query log of MySQL or MariaDB on the database's host: given files, or what the server appends to its own during the window.

The reading runs in a process of its own. Where it begins and ends is kept first, so that a killed worker's next attempt reads the same
part of the file again: reading changes nothing.
"""

import asyncio
import gzip
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.artifacts import ArtifactStore
from activities.compute import in_own_process
from activities.errors import refuse
from activities.log_sources import MOST_BYTES, PACKED, LogSource, given_sources
from activities.recording_folder import RecordingFolder, nobody_comes_back
from perfwright.models.database import NotSeen
from perfwright.models.errors import ErrorType
from perfwright.models.query_steps import LogReadDone, ReadLog
from perfwright.models.vocabulary import Model

if TYPE_CHECKING:
    from activities.kept_values import KeptIn
    from perfwright.analysis.mysql.slow_log import SlowLogReader

PLAN_FILE, DIGEST_FILE = "plan.jsonl", "digest"
WHAT = "slow log"
HOW = "SET GLOBAL slow_query_log = ON, long_query_time = 0 for a time, or give log_files"
MEMORY_BYTES = 500 << 20
LIMIT_S = 4 * 3600.0
"""Besides the window, for large given files."""
POLL_S = 0.2
LINE_CHARACTERS = 1 << 20
FORMAT_BYTES = 64 << 10
LATE_S = 5.0
"""A window that ended longer ago than this was missed by the attempt that should have read its end."""


class _Plan(Model):
    sources: tuple[LogSource, ...]
    until_s: float


@dataclass(frozen=True)
class SlowLogOrder:
    """What is to be read."""

    sources: tuple[LogSource, ...]
    database: str
    digest: str
    """File to write it to."""
    until_s: float = 0.0
    """Wall clock; 0: the sources are read to their end."""
    values: "KeptIn | None" = None
    """Literals are masked: where values are kept."""


@dataclass(frozen=True)
class SlowLogOutcome:
    """What was read."""

    read_bytes: int
    lines: int
    calls: int
    statements: int
    gaps: tuple[str, ...]


class MysqlLog:
    """Reads the slow log. `environ` names the database: only its statements are taken (all, where the name is not to be had here)."""

    def __init__(self, artifacts: ArtifactStore, state_folder: Path, environ: Mapping[str, str] = os.environ) -> None:
        self._artifacts, self._state_folder, self._environ = artifacts, state_folder, environ

    @activity.defn
    async def read_slow_log(self, request: ReadLog) -> LogReadDone:
        """Statements, durations and samples of the log, as a `LogDigest`.

        A given file that cannot be read is refused (InvalidInput, NotPermitted); the server's own that cannot is told in `not_seen`.
        """
        folder = RecordingFolder(self._state_folder, f"{request.artifact_prefix}/slow-log")
        work = folder.open()
        if done := folder.result(LogReadDone):
            return done
        try:
            done = await self._done(request, folder, work)
        except asyncio.CancelledError:
            if nobody_comes_back():
                folder.remove()
            raise
        except ApplicationError as failure:
            if failure.non_retryable:
                folder.remove()
            raise
        folder.finish(done)
        return done

    async def _done(self, request: ReadLog, folder: RecordingFolder, work: Path) -> LogReadDone:
        plan = await asyncio.to_thread(_plan, request, folder)
        if isinstance(plan, NotSeen):
            return LogReadDone(not_seen=(plan,))
        from activities.kept_values import KeptIn

        values = KeptIn(str(self._state_folder), f"{request.artifact_prefix}/slow-log") if request.mask_literals else None
        order = SlowLogOrder(plan.sources, self._database(request), str(work / DIGEST_FILE), plan.until_s, values)

        def beat(elapsed_s: float, _: Any) -> None:
            activity.heartbeat({"doing": "reading the slow log", "elapsed_s": elapsed_s})

        limit_s = LIMIT_S + request.follow_s
        outcome = await in_own_process(read_slow_log_here, order, heartbeat=beat, memory_bytes=MEMORY_BYTES, limit_s=limit_s)
        from perfwright.analysis.statements.stored import MEDIA_TYPE

        path = f"{request.artifact_prefix}/slow-log.json.gz"
        digest = await self._artifacts.put_file(path, work / DIGEST_FILE, MEDIA_TYPE, "Statements in the slow log")
        nothing = NotSeen(what="statements in the slow log", reason=f"none of its {outcome.lines:,} lines is of this database", way_out=HOW)
        return LogReadDone(
            digest=digest,
            read_bytes=outcome.read_bytes,
            lines=outcome.lines,
            statements=outcome.statements,
            gaps=outcome.gaps,
            not_seen=() if outcome.calls else (nothing,),
        )

    def _database(self, request: ReadLog) -> str:
        from perfwright.analysis.mysql.connection_string import ConnectionStringInvalid, parse_connection_string

        try:
            return parse_connection_string(self._environ.get(request.target.dsn_env or "", "")).database
        except ConnectionStringInvalid:
            return ""


def _plan(request: ReadLog, folder: RecordingFolder) -> _Plan | NotSeen:
    """What was there when the reading began: an attempt after a kill keeps to it."""
    for line in folder.lines(PLAN_FILE):
        return _Plan.model_validate(line)
    if request.files:
        plan = _Plan(sources=given_sources(request.files), until_s=0.0)
    elif not request.folder:
        return NotSeen(what=WHAT, reason="the server writes none to a file (slow_query_log, log_output)", way_out=HOW)
    else:
        path = Path(request.folder)
        try:
            with path.open("rb"):
                facts = path.stat()
        except OSError as trouble:
            reason = f"this worker cannot read its file: {trouble.strerror}"
            return NotSeen(what=WHAT, reason=reason, way_out="Start a host worker on the database's machine, as a user who may read it")
        start = facts.st_size if request.follow_s > 0 else 0
        source = LogSource(path=str(path), device=facts.st_dev, inode=facts.st_ino, size_bytes=facts.st_size, start=start)
        plan = _Plan(sources=(source,), until_s=time.time() + request.follow_s if request.follow_s > 0 else 0.0)
    folder.append(PLAN_FILE, plan.model_dump())
    return plan


def read_slow_log_here(order: SlowLogOrder) -> SlowLogOutcome:
    """In a process of its own: read it all, and write the digest. Raises InvalidInput for a given file that is no slow log."""
    from perfwright.analysis.mysql.slow_log import SlowLogReader
    from perfwright.analysis.statements.stored import encode

    reader = SlowLogReader(order.database)
    for source in order.sources:
        reader.files.append(source.path)
        if order.until_s:
            _follow(reader, source, order.until_s)
        else:
            _whole(reader, source)
    digest = reader.digest()
    if order.values is not None:
        from activities.kept_values import without_values

        digest = without_values(digest, "mysql", order.values)
    Path(order.digest).write_bytes(encode(digest))
    return SlowLogOutcome(digest.read_bytes, digest.lines, reader.calls, len(digest.statements), digest.gaps)


def _whole(reader: "SlowLogReader", source: LogSource) -> None:
    """A file to its end, plain or packed with gzip."""
    from perfwright.analysis.mysql.slow_log import LOOKS_LIKE

    packed = source.path.endswith(PACKED)
    with gzip.open(source.path, "rb") if packed else Path(source.path).open("rb") as file:
        try:
            head = file.read(FORMAT_BYTES)
            if head and LOOKS_LIKE.search(head.decode("utf-8", "replace")) is None:
                raise refuse(
                    ErrorType.INVALID_INPUT,
                    f"log_files: {source.path} is no slow log of MySQL or MariaDB",
                    way_out="Give files as the server wrote them (slow_query_log_file), plain or packed with gzip",
                )
            file.seek(source.start)
            while (line := file.readline(LINE_CHARACTERS)) and reader.read_bytes < MOST_BYTES:
                reader.read_bytes += len(line)
                reader.feed((line.decode("utf-8", "replace"),))
        except (OSError, EOFError) as trouble:
            reader.gaps.append(f"{source.path} cannot be read to its end: {str(trouble)[:200]}")
    reader.end_entry()


def _follow(reader: "SlowLogReader", source: LogSource, until_s: float) -> None:
    """What is appended until the time is over; a file that is rotated or truncated meanwhile is told as a gap, and its successor read."""
    if time.time() > until_s + LATE_S:
        reader.gaps.append("the worker was restarted after the window had ended: what was written until then is among it")
    at, identity, rest = source.start, (source.device, source.inode), b""
    while True:
        over = time.time() >= until_s
        try:
            with Path(source.path).open("rb") as file:
                facts = os.fstat(file.fileno())
                if (facts.st_dev, facts.st_ino) != identity or facts.st_size < at:
                    reader.gaps.append(f"{source.path} was rotated or truncated: what was not read by then is lost")
                    reader.end_entry()
                    at, identity, rest = 0, (facts.st_dev, facts.st_ino), b""
                file.seek(at)
                for line in _lines(file, rest):
                    rest = b"" if line.endswith(b"\n") else line
                    if not rest:
                        reader.feed((line.decode("utf-8", "replace"),))
                reader.read_bytes += file.tell() - at
                at = file.tell()
        except OSError as trouble:
            reader.gaps.append(f"{source.path} could not be read: {trouble.strerror}")
            return
        if over:
            return
        time.sleep(min(POLL_S, max(0.0, until_s - time.time())))


def _lines(file: Any, rest: bytes) -> Iterator[bytes]:
    """Lines with what was left of an unfinished one; the last may be unfinished again."""
    while line := file.readline(LINE_CHARACTERS):
        yield rest + line
        rest = b""
