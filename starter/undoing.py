"""Undoing changes by hand: from the history store directly, so that it works where no Temporal server and no worker is left."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from temporalio.exceptions import ApplicationError

from activities.changes.carrying_out import CarryingOut
from activities.changes.kind import Site
from perfwright.models.history import RunQuery
from perfwright.models.undo import OPEN_STATES, STANDING_STATES, ChangeOutcome, UndoQuery, UndoRecord
from starter.here import Here
from starter.refusals import NotCarriedOut, UnknownRun

if TYPE_CHECKING:
    from activities.history import History
    from activities.undo_records import UndoRecords

LISTED = 1_000


class Undoing:
    """The records that the registry here leads to, and what undoes them on this machine."""

    def __init__(self, here: Here, history: "History", records: "UndoRecords") -> None:
        self._history, self._records = history, records
        self._work = CarryingOut(records, Site(os.environ, here.state_folder()))

    async def listed(self, *, everything: bool = False) -> list[UndoRecord]:
        """What may stand on a target, the latest first; `everything`: also what was undone."""
        return await self._records.find_all(UndoQuery(states=() if everything else STANDING_STATES, limit=LISTED))

    async def of_run(self, name: str) -> list[UndoRecord]:
        """Changes of a run (run id, workflow id, `shop#12`), or one by its own id, in the order in which they come off.

        Of a run those are left out that were kept: they are named one by one.
        """
        if (one := await self._records.find(name)) is not None:
            return [one]
        target, _, number = name.rpartition("#")
        run_ids = [name]
        if target and number.isdigit():
            run_ids = [run.run_id for run in await self._history.list_runs(RunQuery(target=target, number=int(number)))]
        found: dict[str, UndoRecord] = {}
        for run_id in run_ids:
            for record in await self._records.find_all(UndoQuery(run_id=run_id, limit=LISTED)):
                found[record.change_id] = record
        for record in await self._records.find_all(UndoQuery(workflow_id=name, limit=LISTED)):
            found[record.change_id] = record
        if not found:
            raise UnknownRun(f"no change of {name!r} is recorded", way_out="`perfwright undo list --all` has them all")
        wanted = [record for record in found.values() if record.state in (*OPEN_STATES, "conflict")]
        return sorted(wanted, key=lambda record: -record.sequence)

    async def undo(self, record: UndoRecord) -> ChangeOutcome:
        """Raises NotCarriedOut with the cause and the way out."""
        try:
            return await self._work.revert(record.change_id)
        except ApplicationError as trouble:
            raise NotCarriedOut(f"{record.title} of {record.target.name}: {trouble.message}") from None

    async def leave(self, record: UndoRecord, by: str) -> ChangeOutcome:
        """Close the record; the target is not touched."""
        return await self._work.leave(record.change_id, by)


@asynccontextmanager
async def undoing(config: str = "") -> AsyncIterator[Undoing]:
    """Raises NoStoreHere where the history is not reached from here."""
    from activities.undo_records import UndoRecords

    here = Here(config or None)
    async with here.history() as history:
        yield Undoing(here, history, UndoRecords(history))
