"""Looks at a database's sessions through a window: one cheap statement a second, whatever the server is."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from temporalio.exceptions import ApplicationError

from activities.artifacts import ArtifactStore
from activities.heartbeats import beating
from activities.recording_folder import RecordingFolder
from perfwright.analysis.database.activity import ActivitySample, Session, activity_series, take_sample, wait_shares
from perfwright.models.errors import ErrorType
from perfwright.models.query_steps import ActivitySampled, SampleActivity

SAMPLES_FILE, START_FILE = "activity.jsonl", "start.jsonl"
SERIES_MEDIA_TYPE = "application/json"
SAMPLES_MOST = 20_000
"""Longer windows are looked at less often: shares do not get better by more, but files longer."""
COST_SHARE = 0.1
"""Of the time that one connection may wait for answers, the way there included: a server that is slow to answer is looked at less often."""
ANSWER_S = 10.0
SESSIONS_MOST = 2_000
TEXT_CHARACTERS = 500
LONG_TRANSACTION_S = 300.0
"""Five minutes: row versions that it may still read cannot be removed meanwhile, noticeably on busy tables."""
PATIENCE_S = 120.0
"""How long a server may be away in the middle of a window."""

Look = Callable[[], Awaitable[Iterable[Session]]]


class Sessions(Protocol):
    """A server's sessions, as they are read there."""

    long_transaction: str
    """What a transaction that stays open does on this server: `it holds back VACUUM and keeps its locks`."""

    def connected(self) -> AbstractAsyncContextManager[Look]:
        """A connection of the window, and how it looks. Raises an ApplicationError of the type DatabaseUnreachable where it went away."""
        ...

    def warnings(self, samples: Sequence[ActivitySample]) -> list[str]:
        """What could not be seen."""
        ...


class SessionSampling:
    """One window of looks. What was seen is kept in `folder`, so that a killed worker's next attempt goes on in the same window."""

    def __init__(self, request: SampleActivity, sessions: Sessions, folder: RecordingFolder) -> None:
        self._request, self._sessions, self._folder = request, sessions, folder
        self._samples = [ActivitySample.model_validate(line) for line in folder.lines(SAMPLES_FILE)]
        self._interval_s = max(request.interval_s, request.duration_s / SAMPLES_MOST)
        self._outages: list[str] = []
        start = next(folder.lines(START_FILE), None)
        self._began = float(start["began"]) if start else time.time()
        if start is None:
            folder.append(START_FILE, {"began": self._began})

    async def run(self, artifacts: ArtifactStore) -> ActivitySampled:
        """Look until the window is over. Raises what `Sessions.connected` does where the server cannot be reached at the beginning."""
        async with beating(self._progress):
            await self._look_on()
            stored = None
            if self._samples:
                series = json.dumps(activity_series(self._samples, self._interval_s), separators=(",", ":")).encode()
                path = f"{self._request.artifact_prefix}/activity.json"
                stored = await artifacts.put(path, series, SERIES_MEDIA_TYPE, "Sessions by state over time")
        longest_s = max((sample.longest_s for sample in self._samples), default=0.0)
        warnings = [*self._outages, *self._sessions.warnings(self._samples)]
        if longest_s >= LONG_TRANSACTION_S:
            warnings.append(f"a transaction was open for {longest_s:.0f} s: {self._sessions.long_transaction}")
        return ActivitySampled(
            samples=len(self._samples),
            seconds=round(min(self._elapsed_s, self._request.duration_s), 1),
            waits=wait_shares(self._samples),
            longest_transaction_s=longest_s,
            series=stored,
            warnings=tuple(warnings),
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
                async with self._sessions.connected() as look:
                    if silent_since is not None:
                        self._outages.append(f"the server did not answer for {self._elapsed_s - silent_since:.0f} s of the window")
                        silent_since = None
                    await self._look_through(look)
            except ApplicationError as lost:
                if lost.type != ErrorType.DATABASE_UNREACHABLE or not self._samples:
                    raise
                silent_since = self._elapsed_s if silent_since is None else silent_since
                if self._elapsed_s - silent_since > PATIENCE_S:
                    break
                await asyncio.sleep(min(self._interval_s, max(0.0, self._left_s)))
        if silent_since is not None:
            self._outages.append(f"the server did not answer in the last {self._elapsed_s - silent_since:.0f} s")

    async def _look_through(self, look: Look) -> None:
        while self._left_s > 0:
            began = time.monotonic()
            sample = take_sample(self._elapsed_s, await look())
            cost_s = time.monotonic() - began
            self._samples.append(sample)
            self._folder.append(SAMPLES_FILE, sample.model_dump(mode="json", exclude_defaults=True))
            rest_s = max(self._interval_s - cost_s, cost_s / COST_SHARE)
            await asyncio.sleep(min(rest_s, max(0.0, self._left_s)))
