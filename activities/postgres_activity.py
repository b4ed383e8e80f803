"""Looks at pg_stat_activity through a window: one cheap statement a second, outside of any transaction."""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.artifacts import ArtifactStore
from activities.heartbeats import beating
from activities.postgres_connection import APPLICATION_NAME, PATIENCE_S, connected, went_away
from activities.recording_folder import RecordingFolder
from perfwright.analysis.database.activity import ActivitySample, Session, activity_series, take_sample, wait_shares
from perfwright.models.query_steps import ActivitySampled, SampleActivity

if TYPE_CHECKING:
    import asyncpg

SAMPLES_FILE = "activity.jsonl"
START_FILE = "start.jsonl"
SERIES_MEDIA_TYPE = "application/json"
SAMPLES_MOST = 20_000
"""Longer windows are looked at less often: shares do not get better by more, but files longer."""
COST_SHARE = 0.1
"""Of the time that one connection may wait for answers, the way there included: a server that is slow to answer is looked at less often."""
ANSWER_S = 10.0
SESSIONS_MOST = 2_000
TEXT_CHARACTERS = 500
LONG_TRANSACTION_S = 300.0
"""Five minutes: it then holds back VACUUM noticeably on busy tables (PostgreSQL 18 documentation, 24.1 "Routine Vacuuming")."""
_LOOK = f"""
SELECT state, wait_event_type, wait_event, left(query, {TEXT_CHARACTERS}),
       extract(epoch FROM pg_catalog.clock_timestamp() - xact_start)::float8
  FROM pg_catalog.pg_stat_activity
 WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid() AND application_name <> '{APPLICATION_NAME}'
   AND coalesce(backend_type, 'client backend') = 'client backend' AND coalesce(state, '') <> 'idle'
 LIMIT {SESSIONS_MOST}
"""  # noqa: S608  # of constants only


class ActivitySampling:
    """One window of looks. What was seen is kept in `folder`, so that a killed worker's next attempt goes on in the same window."""

    def __init__(self, request: SampleActivity, environ: Mapping[str, str], folder: RecordingFolder) -> None:
        self._request, self._environ, self._folder = request, environ, folder
        self._samples = [ActivitySample.model_validate(line) for line in folder.lines(SAMPLES_FILE)]
        self._interval_s = max(request.interval_s, request.duration_s / SAMPLES_MOST)
        self._outages: list[str] = []
        start = next(folder.lines(START_FILE), None)
        self._began = float(start["began"]) if start else time.time()
        if start is None:
            folder.append(START_FILE, {"began": self._began})

    async def run(self, artifacts: ArtifactStore) -> ActivitySampled:
        """Look until the window is over. Raises what `connected` does where the server cannot be reached at the beginning."""
        async with beating(self._progress):
            await self._look_on()
            series = json.dumps(activity_series(self._samples, self._interval_s), separators=(",", ":")).encode()
            stored = None
            if self._samples:
                path = f"{self._request.artifact_prefix}/activity.json"
                stored = await artifacts.put(path, series, SERIES_MEDIA_TYPE, "Sessions by state over time")
        return ActivitySampled(
            samples=len(self._samples),
            seconds=round(min(self._elapsed_s, self._request.duration_s), 1),
            waits=wait_shares(self._samples),
            longest_transaction_s=max((sample.longest_s for sample in self._samples), default=0.0),
            series=stored,
            warnings=tuple(self._warnings()),
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
                async with connected(self._request.target, self._environ, answer_s=ANSWER_S) as connection:
                    if silent_since is not None:
                        self._outages.append(f"the server did not answer for {self._elapsed_s - silent_since:.0f} s of the window")
                        silent_since = None
                    await self._look_through(connection)
            except ApplicationError as lost:
                if not went_away(lost) or not self._samples:
                    raise
                silent_since = self._elapsed_s if silent_since is None else silent_since
                if self._elapsed_s - silent_since > PATIENCE_S:
                    break
                await asyncio.sleep(min(self._interval_s, max(0.0, self._left_s)))
        if silent_since is not None:
            self._outages.append(f"the server did not answer in the last {self._elapsed_s - silent_since:.0f} s")

    async def _look_through(self, connection: "asyncpg.Connection") -> None:
        while self._left_s > 0:
            began = time.monotonic()
            rows = await connection.fetch(_LOOK)
            cost_s = time.monotonic() - began
            sample = take_sample(self._elapsed_s, (Session(*row) for row in rows))
            self._samples.append(sample)
            self._folder.append(SAMPLES_FILE, sample.model_dump(mode="json", exclude_defaults=True))
            rest_s = max(self._interval_s - cost_s, cost_s / COST_SHARE)
            await asyncio.sleep(min(rest_s, max(0.0, self._left_s)))

    def _warnings(self) -> list[str]:
        warnings = list(self._outages)
        if any(sample.hidden for sample in self._samples):
            warnings.append("sessions of other roles are hidden from us: GRANT pg_read_all_stats (or pg_monitor) to the role")
        if (longest := max((sample.longest_s for sample in self._samples), default=0.0)) >= LONG_TRANSACTION_S:
            warnings.append(f"a transaction was open for {longest:.0f} s: it holds back VACUUM and keeps its locks")
        return warnings


async def sample(request: SampleActivity, environ: Mapping[str, str], folder: RecordingFolder, artifacts: ArtifactStore) -> ActivitySampled:
    """Look at sessions until the window is over; its heartbeats need an activity around it."""
    assert activity.in_activity(), "heartbeats tell where it stands"
    return await ActivitySampling(request, environ, folder).run(artifacts)
