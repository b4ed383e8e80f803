"""Undoing changes by hand: from the history store directly, so that it works where no Temporal server and no worker is left."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from temporalio.exceptions import ApplicationError

from activities.annotations import Annotations
from activities.changes.carrying_out import CarryingOut, place_of
from activities.changes.kind import Site
from perfwright.models.delivery import AnnotationOrder
from perfwright.models.undo import OPEN_STATES, STANDING_STATES, ChangeOutcome, UndoQuery, UndoRecord
from perfwright.models.undo_data import IndexUndo, SettingUndo
from starter.here import Here
from starter.refusals import NotCarriedOut, UnknownRun
from starter.run_names import run_query, several

if TYPE_CHECKING:
    from activities.history import History
    from activities.undo_records import UndoRecords

LISTED = 1_000


class Undoing:
    """The records that the registry here leads to, and what undoes them on this machine."""

    def __init__(self, here: Here, history: "History", records: "UndoRecords") -> None:
        self._history, self._records = history, records
        site = Site(os.environ, here.state_folder(), registered=here.registry_file.registered)
        self._work, self._place = CarryingOut(records, site), place_of(site)
        self._annotations = Annotations(here.registry_file, os.environ) if here.registry() is not None else None

    async def listed(self, *, everything: bool = False) -> list[UndoRecord]:
        """What may stand on a target, the latest first; `everything`: also what was undone."""
        return await self._records.find_all(UndoQuery(states=() if everything else STANDING_STATES, limit=LISTED))

    async def of_run(self, name: str) -> list[UndoRecord]:
        """Changes of a run (run id, workflow id, `shop#12`) and of its trials, or one by its own id, in the order in which they come off.

        Of a run those are left out that were kept: they are named one by one. Raises UnknownRun where there are none, or where several runs
        go by `shop#12` that have some.
        """
        if (one := await self._records.find(name)) is not None:
            return [one]
        if (numbered := run_query(name)) is not None:
            runs = await self._history.list_runs(numbered)
            by_run = {run.run_id: await self._of_run_id(run.run_id) for run in runs}
            if len(having := [run for run in runs if by_run[run.run_id]]) > 1:
                raise several(name, having)
            found = [record for records in by_run.values() for record in records]
        else:
            found = await self._of_run_id(name) or await self._records.find_all(UndoQuery(workflow_id=name, limit=LISTED))
            found += [one for one in await self.listed(everything=True) if one.owner.workflow_id.startswith(f"{name}/")]
        if not found:
            raise UnknownRun(f"no change of {name!r} is recorded", way_out="`perfwright undo list --all` has them all")
        wanted = {record.change_id: record for record in found if record.state in (*OPEN_STATES, "conflict")}
        return sorted(wanted.values(), key=lambda record: -record.sequence)

    async def _of_run_id(self, run_id: str) -> list[UndoRecord]:
        """Its own, and those of its trials, whose workflow ids hold it."""
        own = await self._records.find_all(UndoQuery(run_id=run_id, limit=LISTED))
        return own + [one for one in await self.listed(everything=True) if run_id in one.owner.workflow_id.split("/")]

    async def undo(self, record: UndoRecord, *, here: bool = False) -> ChangeOutcome:
        """`here`: the record's place is this one, under another name. Raises NotCarriedOut with the cause and the way out."""
        if not here:
            self._refuse_elsewhere(record)
        try:
            outcome = await self._work.revert(record.change_id)
        except (ApplicationError, OSError) as trouble:
            now = await self._records.find(record.change_id)
            begun = record.state == "kept" and now is not None and now.state == "applied"
            then = "; its undo has begun, and the janitor tries again" if begun else ""
            raise NotCarriedOut(f"{_named(record)}: {getattr(trouble, 'message', trouble)}{then}") from None
        if outcome.state == "reverted" and record.state != "reverted" and (note := await self._marked(record)):
            outcome = outcome.model_copy(update={"note": "; ".join(filter(None, (outcome.note, f"dashboards: {note}")))})
        return outcome

    async def leave(self, record: UndoRecord, by: str) -> ChangeOutcome:
        """Close the record; the target is not touched. Raises NotCarriedOut."""
        try:
            return await self._work.leave(record.change_id, by)
        except ApplicationError as trouble:
            raise NotCarriedOut(f"{_named(record)}: {trouble.message}") from None

    def _refuse_elsewhere(self, record: UndoRecord) -> None:
        """Elsewhere another file, process or launch would be taken for its, and the record closed over what still stands there."""
        if not record.place or record.place == self._place or not _has_a_place(record):
            return
        (host, _, folder), (this_host, _, this_folder) = record.place.partition(":"), self._place.partition(":")
        raise NotCarriedOut(
            f"{_named(record)} was carried out on {host} with the state folder {folder}; this is {this_host} with {this_folder}",
            way_out="Run it there; or with --here, if this is that place under another name; --leave closes the record",
        )

    async def _marked(self, record: UndoRecord) -> str:
        """Why there is no mark on dashboards; empty where there is one, or none is named."""
        order = AnnotationOrder(
            target=record.target.name,
            change_id=record.change_id,
            word="undone",
            title=record.title,
            workflow_id=record.owner.workflow_id,
        )
        return await self._annotations.annotate_change(order) if self._annotations is not None else ""


def _named(record: UndoRecord) -> str:
    return f"{record.title} of {record.target.name}"


def _has_a_place(record: UndoRecord) -> bool:
    """Not what is reached by a connection string; but a setting that takes a restart: its command, and the server's own file."""
    undo = record.undo
    return undo.restarts if isinstance(undo, SettingUndo) else not isinstance(undo, IndexUndo)


@asynccontextmanager
async def undoing(config: str = "") -> AsyncIterator[Undoing]:
    """Raises NoStoreHere where the history is not reached from here."""
    from activities.undo_records import UndoRecords

    here = Here(config or None)
    async with here.history() as history:
        yield Undoing(here, history, UndoRecords(history))
