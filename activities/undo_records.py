"""Undo records in the history store: written before anything is done, and moved from state to state by compare-and-swap.

Not activities themselves: the steps that change a target keep their own record, and so does `perfwright undo` where no Temporal answers.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import RowMapping, Select, insert, select, text, update

from activities.history import History
from activities.history_tables import undo_records
from perfwright.models.undo import STANDING_STATES, UndoQuery, UndoRecord, UndoState
from perfwright.models.undo_data import PatchUndo


class UndoRecords:
    """Errors of all: StoreUnavailable, InvalidInput."""

    def __init__(self, history: History) -> None:
        self._history = history

    async def add(self, record: UndoRecord) -> UndoRecord:
        """Keep it, if there is none of its id yet; what is kept. After this returns it survives a crash of the machine."""
        store = await self._history.store()
        now = datetime.now(UTC)
        async with store.transaction("write to") as connection:
            if connection.dialect.name == "postgresql":
                key = {"key": f"perfwright undo {record.change_id}"}
                await connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), key)
            known = (await connection.execute(_of(record.change_id))).mappings().first()
            if known is None:
                await connection.execute(
                    insert(undo_records).values(
                        change_id=record.change_id,
                        state=record.state,
                        kind=record.spec.kind,
                        target=record.target.name,
                        environment=record.target.environment,
                        host=record.target.host,
                        subject=record.subject,
                        workflow_id=record.owner.workflow_id,
                        run_id=record.owner.run_id,
                        recorded_at=now,
                        updated_at=now,
                        note=record.note,
                        record=record.model_dump(mode="json"),
                    )
                )
                known = (await connection.execute(_of(record.change_id))).mappings().one()
        return _record(known)

    async def find(self, change_id: str) -> UndoRecord | None:
        store = await self._history.store()
        async with store.reading() as connection:
            row = (await connection.execute(_of(change_id))).mappings().first()
        return _record(row) if row is not None else None

    async def move(self, change_id: str, to: UndoState, *, since: Sequence[UndoState], note: str = "") -> UndoRecord | None:
        """The record in its new state; None where it was in none of the states `since`, and is left as it is."""
        store = await self._history.store()
        async with store.transaction("write to") as connection:
            moved = await connection.execute(
                update(undo_records)
                .where(undo_records.c.change_id == change_id, undo_records.c.state.in_(since))
                .values(state=to, note=note.replace("\0", "")[:2_000], updated_at=datetime.now(UTC))
            )
            if moved.rowcount != 1:
                return None
            row = (await connection.execute(_of(change_id))).mappings().one()
        return _record(row)

    async def on_top_of(self, record: UndoRecord) -> list[UndoRecord]:
        """Later changes of the same subject that may stand, the latest first; of a patch those whose commit follows its own."""
        same = (undo_records.c.target == record.target.name) & (undo_records.c.subject == record.subject)
        if isinstance(record.undo, PatchUndo):
            same |= undo_records.c.record[("undo", "base")].as_string() == record.undo.commit
        wanted = select(undo_records).where(same, undo_records.c.id > record.sequence, undo_records.c.state.in_(STANDING_STATES))
        return await self._all(wanted)

    async def find_all(self, query: UndoQuery) -> list[UndoRecord]:
        """The latest first: the order in which they come off."""
        wanted = select(undo_records)
        if query.states:
            wanted = wanted.where(undo_records.c.state.in_(query.states))
        for field in ("run_id", "workflow_id", "target"):
            if value := getattr(query, field):
                wanted = wanted.where(undo_records.c[field] == value)
        return await self._all(wanted.limit(query.limit))

    async def _all(self, wanted: Select[Any]) -> list[UndoRecord]:
        store = await self._history.store()
        async with store.reading() as connection:
            return [_record(row) for row in (await connection.execute(wanted.order_by(undo_records.c.id.desc()))).mappings()]


def _of(change_id: str) -> Select[Any]:
    return select(undo_records).where(undo_records.c.change_id == change_id)


def _record(row: RowMapping) -> UndoRecord:
    now = {"sequence": row["id"], "state": row["state"], "note": row["note"]}
    times = {name: row[name].astimezone(UTC).isoformat() for name in ("recorded_at", "updated_at")}
    return UndoRecord.model_validate_json(json.dumps(row["record"] | now | times))  # JSON has lists where strict fields want tuples
