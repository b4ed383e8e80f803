"""PostgreSQL's server log on the database's host: given files, or what the server writes into its log folder during the window.

The reading runs in a process of its own (`activities/log_reading.py`), the analysis is pure (`perfwright/analysis/server_log/`).
"""

import asyncio
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.artifacts import ArtifactStore
from activities.compute import in_own_process
from activities.log_sources import FORMATS, GROUP, WHAT, LogFolderUnseen, LogSource, folder_sources, given_sources
from activities.postgres_connection import APPLICATION_NAME
from activities.recording_folder import RecordingFolder, nobody_comes_back
from activities.subprocesses import Heartbeat
from perfwright.analysis.database.connection_string import ConnectionStringInvalid, parse_connection_string
from perfwright.analysis.statements.stored import MEDIA_TYPE
from perfwright.models.database import NotSeen
from perfwright.models.errors import ErrorType
from perfwright.models.query_steps import LogReadDone, ReadLog
from perfwright.models.target import Target
from perfwright.models.vocabulary import Model

if TYPE_CHECKING:
    from activities.log_reading import LogOrder, LogOutcome

PLAN_FILE = "plan.jsonl"
MEMORY_BYTES = 500 << 20
"""The state is below 150 MB, its JSON and the digest's are made beside it."""
LIMIT_S = 4 * 3600.0
"""Besides the window: 64 GB of a plain log, the slowest format, take that long."""
TRIES = 3
SHOW_STATEMENTS = (
    "SET log_min_duration_statement (or log_min_duration_sample with log_statement_sample_rate) lower, for a time or for one role"
)


class _Plan(Model):
    """What was there when the reading began: an attempt after a kill keeps to it."""

    sources: tuple[LogSource, ...]
    until_s: float
    log_format: str = ""
    """Of the files in a folder: others in it are left alone."""


class PostgresLog:
    """Reads the server's log. `environ` names the database: only its statements are taken."""

    def __init__(self, artifacts: ArtifactStore, state_folder: Path, environ: Mapping[str, str] = os.environ) -> None:
        self._artifacts, self._state_folder, self._environ = artifacts, state_folder, environ

    @activity.defn
    async def read_log(self, request: ReadLog) -> LogReadDone:
        """Statements, durations, samples and plans of the log, as a `LogDigest`.

        A given file that cannot be read is refused (InvalidInput, NotPermitted); a log folder that cannot is told in `not_seen`.
        """
        folder = RecordingFolder(self._state_folder, f"{request.artifact_prefix}/log")
        work = folder.open()
        if done := folder.result(LogReadDone):
            return done
        try:
            plan = await self._plan(request, folder)
            outcome = await self._read(request, plan, work)
            done = await self._store(request, outcome, work)
        except LogFolderUnseen as unseen:
            done = LogReadDone(not_seen=(unseen.told,))
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

    async def _plan(self, request: ReadLog, folder: RecordingFolder) -> _Plan:
        for line in folder.lines(PLAN_FILE):
            return _Plan.model_validate(line)
        until_s, log_format = time.time() + request.follow_s, ""
        if request.files:
            sources = await asyncio.to_thread(given_sources, request.files)
        elif not request.folder:
            raise LogFolderUnseen("the server does not tell its log folder", "Give log_files")
        else:
            follow = request.follow_s > 0
            sources = await asyncio.to_thread(folder_sources, request.folder, request.log_format, follow=follow)
            log_format = FORMATS[Path(sources[0].path).suffix]
        plan = _Plan(sources=sources, until_s=until_s, log_format=log_format)
        folder.append(PLAN_FILE, plan.model_dump())
        return plan

    async def _read(self, request: ReadLog, plan: _Plan, work: Path) -> "LogOutcome":
        from activities.kept_values import KeptIn
        from activities.log_reading import PROGRESS_FILE, LogOrder

        order = LogOrder(
            sources=plan.sources,
            work=str(work),
            database=database_of(request.target, self._environ),
            own_application=APPLICATION_NAME,
            folder=request.folder if request.follow_s > 0 and not request.files else "",
            log_format=plan.log_format,
            until_s=plan.until_s,
            values=KeptIn(str(self._state_folder), f"{request.artifact_prefix}/log") if request.mask_literals else None,
        )

        def beat(elapsed_s: float, _: Any) -> None:
            activity.heartbeat({"doing": "reading the server log", "elapsed_s": elapsed_s} | _progress(work / PROGRESS_FILE))

        for _ in range(TRIES - 1):
            try:
                return await _in_own_process(order, request.follow_s, beat)
            except ApplicationError as failure:
                if failure.type != ErrorType.TOOL_FAILED:
                    raise
                # Whoever killed the reader (the kernel, short of memory; a person): it goes on from its checkpoint.
        return await _in_own_process(order, request.follow_s, beat)

    async def _store(self, request: ReadLog, outcome: "LogOutcome", work: Path) -> LogReadDone:
        from activities.log_reading import DIGEST_FILE

        digest = await self._artifacts.put_file(
            f"{request.artifact_prefix}/server-log.json.gz", work / DIGEST_FILE, MEDIA_TYPE, "Statements in the server log"
        )
        not_seen: tuple[NotSeen, ...] = ()
        if not outcome.calls:
            not_seen = (_nothing(request, outcome),)
        return LogReadDone(
            digest=digest,
            read_bytes=outcome.read_bytes,
            lines=outcome.lines,
            statements=outcome.shapes,
            gaps=outcome.gaps,
            not_seen=not_seen,
        )


async def _in_own_process(order: "LogOrder", follow_s: float, beat: Heartbeat) -> "LogOutcome":
    from activities.log_reading import read_log_here

    return await in_own_process(read_log_here, order, heartbeat=beat, memory_bytes=MEMORY_BYTES, limit_s=LIMIT_S + follow_s)


def database_of(target: Target, environ: Mapping[str, str]) -> str:
    """The name of the target's database, as its connection string says it; empty when that is not to be had here: then all are read."""
    if target.dsn_env is None or not (text := environ.get(target.dsn_env, "").strip()):
        return ""
    try:
        parameters = parse_connection_string(text)
    except ConnectionStringInvalid:
        return ""
    return parameters.database or parameters.user


def _nothing(request: ReadLog, outcome: "LogOutcome") -> NotSeen:
    if not outcome.read_bytes and outcome.unreadable:
        return NotSeen(what=WHAT, reason=outcome.unreadable, way_out=GROUP)
    where = "in the files" if request.files else "in the window" if request.follow_s > 0 else f"in {request.folder}"
    reason = f"none of the {outcome.lines:,} lines {where} has a statement with its duration"
    return NotSeen(what="statements in the server log", reason=reason, way_out=". ".join(outcome.gaps[-2:]) or SHOW_STATEMENTS)


def _progress(path: Path) -> dict[str, Any]:
    try:
        progress = json.loads(path.read_bytes())
    except (OSError, json.JSONDecodeError):
        return {}
    return progress if isinstance(progress, dict) else {}
