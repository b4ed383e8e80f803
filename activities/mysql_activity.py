"""Looks at the process list through a window: one cheap statement a second."""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

from temporalio.exceptions import ApplicationError

from activities.artifacts import ArtifactStore
from activities.heartbeats import beating
from activities.mysql_connection import PATIENCE_S, MysqlSession, ServerError, connected, connection_parameters, went_away
from activities.recording_folder import RecordingFolder
from perfwright.analysis.database.activity import ActivitySample, activity_series, take_sample, wait_shares
from perfwright.analysis.mysql.connection_troubles import MISSING_RIGHT
from perfwright.analysis.mysql.sessions import session_of
from perfwright.models.query_steps import ActivitySampled, SampleActivity

SAMPLES_FILE, START_FILE = "activity.jsonl", "start.jsonl"
SERIES_MEDIA_TYPE = "application/json"
SAMPLES_MOST = 20_000
COST_SHARE = 0.1
ANSWER_S = 10.0
SESSIONS_MOST = 2_000
TEXT_CHARACTERS = 500
LONG_TRANSACTION_S = 300.0
"""InnoDB keeps every row version that an open transaction may still read (MySQL 8.4 reference manual, 17.6.6 "Undo Logs")."""
_LOOK = f"""
SELECT p.command, p.state, left(p.info, {TEXT_CHARACTERS}), {{transaction}}
  FROM information_schema.processlist p {{join}}
 WHERE p.db = %s AND p.id <> connection_id() AND p.command NOT IN ('Daemon', 'Binlog Dump', 'Binlog Dump GTID') LIMIT {SESSIONS_MOST}
"""  # noqa: S608  # of constants only
_WITH_TRANSACTIONS = _LOOK.format(
    transaction="t.trx_state, timestampdiff(SECOND, t.trx_started, now())",
    join="LEFT JOIN information_schema.innodb_trx t ON t.trx_mysql_thread_id = p.id",
)
_ALONE = _LOOK.format(transaction="NULL, NULL", join="")


class ActivitySampling:
    """One window of looks. What was seen is kept in `folder`, so that a killed worker's next attempt goes on in the same window."""

    def __init__(self, request: SampleActivity, environ: Mapping[str, str], folder: RecordingFolder) -> None:
        self._request, self._environ, self._folder = request, environ, folder
        self._database = connection_parameters(request.target, environ).database
        self._samples = [ActivitySample.model_validate(line) for line in folder.lines(SAMPLES_FILE)]
        self._interval_s = max(request.interval_s, request.duration_s / SAMPLES_MOST)
        self._warned: dict[str, None] = {}
        start = next(folder.lines(START_FILE), None)
        self._began = float(start["began"]) if start else time.time()
        if start is None:
            folder.append(START_FILE, {"began": self._began})

    async def run(self, artifacts: ArtifactStore) -> ActivitySampled:
        """Look until the window is over. Raises what `connected` does where the server cannot be reached at the beginning."""
        async with beating(self._progress):
            await self._look_on()
            stored = None
            if self._samples:
                series = json.dumps(activity_series(self._samples, self._interval_s), separators=(",", ":")).encode()
                path = f"{self._request.artifact_prefix}/activity.json"
                stored = await artifacts.put(path, series, SERIES_MEDIA_TYPE, "Sessions by state over time")
        longest_s = max((sample.longest_s for sample in self._samples), default=0.0)
        if longest_s >= LONG_TRANSACTION_S:
            self._warned[
                f"a transaction was open for {longest_s:.0f} s: it holds back the purge of old row versions and keeps its locks"
            ] = None
        return ActivitySampled(
            samples=len(self._samples),
            seconds=round(min(self._elapsed_s, self._request.duration_s), 1),
            waits=wait_shares(self._samples),
            longest_transaction_s=longest_s,
            series=stored,
            warnings=tuple(self._warned),
        )

    @property
    def _elapsed_s(self) -> float:
        return max(0.0, time.time() - self._began)

    @property
    def _left_s(self) -> float:
        return self._request.duration_s - self._elapsed_s

    def _progress(self) -> dict[str, Any]:
        return {"looks": len(self._samples), "elapsed_s": round(self._elapsed_s, 1), "of_s": self._request.duration_s}

    async def _look_on(self) -> None:
        silent_since: float | None = None
        while self._left_s > 0:
            try:
                async with connected(self._request.target, self._environ, answer_s=ANSWER_S) as session:
                    if silent_since is not None:
                        self._warned[f"the server did not answer for {self._elapsed_s - silent_since:.0f} s of the window"] = None
                        silent_since = None
                    await self._look_through(session)
            except ApplicationError as lost:
                if not went_away(lost) or not self._samples:
                    raise
                silent_since = self._elapsed_s if silent_since is None else silent_since
                if self._elapsed_s - silent_since > PATIENCE_S:
                    break
                await asyncio.sleep(min(self._interval_s, max(0.0, self._left_s)))
        if silent_since is not None:
            self._warned[f"the server did not answer in the last {self._elapsed_s - silent_since:.0f} s"] = None

    async def _look_through(self, session: MysqlSession) -> None:
        look = await self._statement(session)
        while self._left_s > 0:
            began = time.monotonic()
            rows = await session.fetch(look, (self._database,))
            cost_s = time.monotonic() - began
            sample = take_sample(self._elapsed_s, (session_of(*row) for row in rows))
            self._samples.append(sample)
            self._folder.append(SAMPLES_FILE, sample.model_dump(mode="json", exclude_defaults=True))
            rest_s = max(self._interval_s - cost_s, cost_s / COST_SHARE)
            await asyncio.sleep(min(rest_s, max(0.0, self._left_s)))

    async def _statement(self, session: MysqlSession) -> str:
        """With transactions, where our user may see them."""
        try:
            await session.fetch(_WITH_TRANSACTIONS, (self._database,))
        except ServerError as refused:
            if refused.number not in MISSING_RIGHT:
                raise
            self._warned["sessions and transactions of other users are hidden from us: GRANT PROCESS ON *.* to the user"] = None
            return _ALONE
        return _WITH_TRANSACTIONS


async def sample(request: SampleActivity, environ: Mapping[str, str], folder: RecordingFolder, artifacts: ArtifactStore) -> ActivitySampled:
    """Look at sessions until the window is over; its heartbeats need an activity around it."""
    return await ActivitySampling(request, environ, folder).run(artifacts)
