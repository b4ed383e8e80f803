"""The history: runs with their numbers, profiles to compare with, and the audit of decisions.

SQLite in a file (WAL: safe with several worker processes of one machine) or PostgreSQL. Every activity here is idempotent by run id.
"""

import asyncio
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from temporalio import activity

from activities.history_check import is_current
from perfwright.models.cpu_profiling import PreviousProfile
from perfwright.models.gate import Decision
from perfwright.models.history import KeptArtifact, PreviousProfileQuery, RunEnd, RunQuery, RunRecord, RunStart, RunSummary
from perfwright.models.secrets import without_secrets

if TYPE_CHECKING:
    from activities.history_store import HistoryStore


class History:
    """Runs and decisions, in SQL.

    Errors: StoreUnavailable (retried; not where the database is of a newer release), InvalidInput.
    """

    def __init__(self, url: str, folder_of_relative: Path, busy_s: float) -> None:
        self.shown_url = without_secrets(url)
        self._url = url
        self._folder = folder_of_relative
        self._busy_s = busy_s
        self._opening = asyncio.Lock()
        self._opened: HistoryStore | None = None

    @classmethod
    async def open(cls, url: str, *, folder_of_relative: Path | None = None, busy_s: float = 10.0) -> Self:
        """See that the store can be used, and bring its schema to this release."""
        history = cls(url, folder_of_relative or Path.cwd(), busy_s)
        if not await asyncio.to_thread(is_current, url, history._folder, busy_s):
            await history.store()
        return history

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()

    @activity.defn
    async def number_run(self, run: RunStart) -> str:
        """The run's name, `shop#12`: numbers count from 1 for each process and target; the same run gets the same number again."""
        return await (await self.store()).number_run(run)

    @activity.defn
    async def record_run(self, record: RunRecord) -> str:
        """Keep how the run ended, and return its name; the same record again changes nothing, a later one replaces it."""
        return await (await self.store()).record_run(record)

    @activity.defn
    async def end_run(self, end: RunEnd) -> None:
        """Keep that a numbered run ended without a result; one that has a result, or was never numbered, is left alone."""
        await (await self.store()).end_run(end)

    @activity.defn
    async def find_previous_profile(self, query: PreviousProfileQuery) -> PreviousProfile | None:
        """The profile to compare with: of the latest believed run, or of the run that was named. None where `latest` finds none.

        Errors: InvalidInput for a named run that does not exist, kept no profile, or is of another target.
        """
        if query.compare_with == "none":
            return None
        return await (await self.store()).find_previous_profile(query)

    @activity.defn
    async def list_runs(self, query: RunQuery) -> list[RunSummary]:
        """Runs, newest first."""
        return await (await self.store()).list_runs(query)

    async def find_kept(self, target: str, kind: str, closed_by: datetime) -> KeptArtifact | None:
        """What the latest run that had closed by then kept of this kind, whichever process it was; None: there is no such run."""
        return await (await self.store()).find_kept(target, kind, closed_by)

    async def list_decisions(self, run_id: str) -> list[Decision]:
        """The decisions of a run, in their order."""
        return await (await self.store()).list_decisions(run_id)

    async def store(self) -> "HistoryStore":
        """The open database. Opened when it is first used: SQLAlchemy, which it needs, takes a fifth of a worker's start to import."""
        async with self._opening:
            if self._opened is None:
                from activities.history_store import HistoryStore

                self._opened = await HistoryStore.open(self._url, folder_of_relative=self._folder, busy_s=self._busy_s)
            return self._opened
