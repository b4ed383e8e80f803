"""One change carried out and undone, whatever kind it is, whatever crashes in between: the record first, then the target.

    apply     check -> prepare -> *record* -> apply -> look -> record: applied
    revert    (kept: record: applied) -> look -> revert -> look -> record: reverted; or conflict, and nothing is touched

An attempt that is killed leaves its record at `recorded` or `applied`, and the next one goes on from what stands on the target. Attempts at
one target take turns on this host, by a lock that the kernel frees with the process that holds it.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from temporalio.exceptions import ApplicationError

from activities.changes.kind import KindOfChange, NotAllowed, Site, TidiesKept, allowed, refused
from activities.changes.kinds import kind_of
from activities.errors import refuse
from perfwright.models.errors import ErrorType
from perfwright.models.target import Target
from perfwright.models.undo import (
    STANDING_STATES,
    UNDO_BEGUN,
    ChangeChecked,
    ChangeDescription,
    ChangeOrder,
    ChangeOutcome,
    Standing,
    UndoRecord,
    UndoState,
)

if TYPE_CHECKING:
    from activities.undo_records import UndoRecords

LOCKS = "undo-locks"
TURN_S = 600.0


class CarryingOut:
    """Errors: those of the kinds, StoreUnavailable, TargetRefused, InvalidInput."""

    def __init__(self, records: "UndoRecords", site: Site) -> None:
        self._records, self._site = records, site

    async def describe(self, order: ChangeOrder) -> ChangeDescription:
        """What exactly would happen. Raises TargetRefused where it cannot."""
        self._refuse_unallowed(order)
        try:
            return await kind_of(order.spec).describe(order, self._site)
        except NotAllowed as problem:
            raise refused(order.target, problem.check.told) from None

    async def check(self, order: ChangeOrder) -> ChangeChecked:
        """All preconditions; what keeps it from being applied is data."""
        kind = kind_of(order.spec)
        permission = (allowed(order.target, kind.operation),) if kind.operation else ()
        if permission and not permission[0].passed:
            return ChangeChecked(checks=permission)
        try:
            return ChangeChecked(checks=(*permission, *await kind.check(order, self._site)))
        except NotAllowed as problem:
            return ChangeChecked(checks=(*permission, problem.check))

    async def apply(self, order: ChangeOrder) -> ChangeOutcome:
        """Carried out and seen to be. What fails for good is undone before the error is raised."""
        async with turn(order.target, self._site):
            record = await self._records.find(order.change_id)
            fresh = record is None  # it was read a moment ago, in the same turn
            record = record or await self._recorded(order)
            if record.spec != order.spec or record.target.name != order.target.name:
                raise refuse(ErrorType.INVALID_INPUT, f"{order.change_id} is the id of another change: {record.title}")
            if record.state in ("reverted", "conflict"):
                raise refused(order.target, f"{record.title} was given up: {record.state} ({record.note})", way_out="Give it a new id")
            kind = kind_of(record.spec)
            standing = Standing(word="before") if fresh else await kind.look(record, self._site)
            if record.state == "kept":
                return _outcome(record, standing)
            if standing.word in ("foreign", "gone"):
                return await self._ended(record, standing)
            try:
                await kind.apply(record, self._site)
                standing = await kind.look(record, self._site)
                if standing.word != "changed":
                    told = f"{record.title} was applied and is not there: {standing.word} {standing.told}".strip()
                    raise refuse(ErrorType.TOOL_FAILED, told)
            except ApplicationError as trouble:
                if not trouble.non_retryable:
                    await self._clear_rests(record, kind)
                    raise
                raise await self._after_undo(record, kind, trouble) from None
            return _outcome(await self._moved(record, "applied", STANDING_STATES[:2]), standing)

    async def look(self, change_id: str) -> ChangeOutcome:
        """What stands on the target now; moves nothing."""
        record = await self._known(change_id)
        async with turn(record.target, self._site):
            return _outcome(record, await kind_of(record.spec).look(record, self._site))

    async def revert(self, change_id: str) -> ChangeOutcome:
        """Undone and seen to be; `conflict` where what stands there is neither ours nor the earlier. Undoing twice changes nothing."""
        record = await self._known(change_id)
        async with turn(record.target, self._site):
            record = await self._known(change_id)
            if record.state == "reverted":
                return _outcome(record, Standing(word="before", told=record.note))
            if above := await self._records.on_top_of(record):
                names = ", ".join(f"{one.change_id} ({one.title}, {one.state})" for one in above[:5])
                raise refused(record.target, f"{record.title} lies under later changes: {names}", way_out="Undo those first")
            if record.state == "kept":  # should it fail, or be killed, its undo is tried again
                record = await self._moved(record, "applied", ("kept",), note=UNDO_BEGUN)
            return await self._reverted(record, kind_of(record.spec))

    async def keep(self, change_id: str) -> ChangeOutcome:
        """From now on it stands without its owner; only what is seen to stand is kept."""
        record = await self._known(change_id)
        async with turn(record.target, self._site):
            kind = kind_of(record.spec)
            standing = await kind.look(record, self._site)
            if standing.word != "changed":
                raise refused(record.target, f"{record.title} does not stand there: {standing.word} {standing.told}".strip())
            record = await self._moved(record, "kept", ("applied", "kept"))
            if isinstance(kind, TidiesKept):
                with contextlib.suppress(ApplicationError, OSError):  # what is left in the way is no reason to give up what is kept
                    await kind.tidy_kept(record, self._site)
            return _outcome(record, standing)

    async def switch(self, change_id: str, *, on: bool, again: bool = False) -> None:
        """To the other state and back, while it is measured; the record stays as it is, so that whatever interrupts this, it is undone or
        stands as its record says. `again`: carried out also where it seems to stand so, because an earlier attempt may have been killed
        between the change and the reload after it. Raises TargetRefused where it is undone already, or somebody else has changed it
        meanwhile."""
        record = await self._known(change_id)
        async with turn(record.target, self._site):
            record = await self._known(change_id)
            kind, wanted = kind_of(record.spec), "changed" if on else "before"
            switched, stands = kind.apply if on else kind.revert, record.state in ("applied", "kept")
            if stands and kind.looks_itself:
                await switched(record, self._site)
                return
            standing = await kind.look(record, self._site)
            if not stands or standing.word in ("foreign", "gone"):
                told = f"{record.title} is {record.state} and cannot be switched: {standing.word} {standing.told}".strip()
                raise refused(record.target, told)
            if standing.word == wanted and not again:
                return
            await switched(record, self._site)
            standing = await kind.look(record, self._site)
            if standing.word != wanted:
                told = f"{record.title} was switched and is {standing.word} {standing.told}".strip()
                raise refuse(ErrorType.TOOL_FAILED, told, retryable=True)

    async def leave(self, change_id: str, by: str) -> ChangeOutcome:
        """A person has looked: what stands on the target stays, and the record is closed."""
        record = await self._known(change_id)
        moved = await self._moved(record, "reverted", STANDING_STATES, note=f"left as it is by {by}")
        return _outcome(moved, Standing(word="foreign", told="not touched"))

    async def _recorded(self, order: ChangeOrder) -> UndoRecord:
        """The record, kept before anything is done."""
        self._refuse_unallowed(order)
        kind = kind_of(order.spec)
        try:
            prepared = await kind.prepare(order, self._site)
        except NotAllowed as problem:
            raise refused(order.target, problem.check.told) from None
        record = UndoRecord(
            change_id=order.change_id,
            title=prepared.title,
            target=order.target,
            subject=prepared.subject[:1_000],
            owner=order.owner,
            spec=order.spec,
            undo=prepared.undo,
            place=place_of(self._site),
        )
        return await self._records.add(record)

    async def _reverted(self, record: UndoRecord, kind: KindOfChange) -> ChangeOutcome:
        standing = await kind.look(record, self._site)
        if standing.word in ("foreign", "gone"):
            return await self._ended(record, standing)
        await kind.revert(record, self._site)
        standing = await kind.look(record, self._site)
        if standing.word == "gone":
            return await self._ended(record, standing)
        if standing.word != "before":
            told = f"{record.title} was undone and is still there: {standing.word} {standing.told}".strip()
            raise refuse(ErrorType.TOOL_FAILED, told, way_out="It is tried again; look at the target meanwhile", retryable=True)
        return _outcome(await self._moved(record, "reverted", STANDING_STATES), standing)

    async def _ended(self, record: UndoRecord, standing: Standing) -> ChangeOutcome:
        """Nothing of ours is left to undo, or somebody else has changed it, which is theirs to decide."""
        state: UndoState = "reverted" if standing.word == "gone" else "conflict"
        return _outcome(await self._moved(record, state, STANDING_STATES, note=standing.told), standing)

    async def _clear_rests(self, record: UndoRecord, kind: KindOfChange) -> None:
        """Before it is tried again: half a change (an invalid index) helps nobody. Its record stays as it is."""
        with contextlib.suppress(ApplicationError):
            if (await kind.look(record, self._site)).word == "partial":
                await kind.revert(record, self._site)

    async def _after_undo(self, record: UndoRecord, kind: KindOfChange, trouble: ApplicationError) -> ApplicationError:
        """The error of a change that could not be applied, with what became of it."""
        try:
            outcome = await self._reverted(record, kind)
            became = "nothing of it is left" if outcome.state == "reverted" else f"{outcome.state}: {outcome.note}"
        except ApplicationError as second:
            became = f"its undo failed as well ({second.message[:300]}), and is tried again"
        error = ErrorType(trouble.type) if trouble.type in set(ErrorType) else ErrorType.TOOL_FAILED
        return refuse(error, f"{trouble.message.rstrip('.')}; {became}")

    async def _moved(self, record: UndoRecord, to: UndoState, since: tuple[UndoState, ...], note: str = "") -> UndoRecord:
        moved = await self._records.move(record.change_id, to, since=since, note=note or ("" if to != record.state else record.note))
        if moved is None:
            now = await self._known(record.change_id)
            raise refused(record.target, f"{record.title} is {now.state} meanwhile", way_out="Look at `perfwright undo list`")
        return moved

    async def _known(self, change_id: str) -> UndoRecord:
        record = await self._records.find(change_id)
        if record is None:
            raise refuse(ErrorType.INVALID_INPUT, f"no change {change_id} is recorded here", way_out="`perfwright undo list` has them all")
        now = self._site.registered(record.target.name)
        if now is None or now.kind != record.target.kind:
            return record
        # Commands and the way in may have been corrected since; what was changed, and where, is as it was recorded.
        newer = {name: getattr(now, name) for name in ("reload_command", "restart_command", "dsn_env")}
        return record.model_copy(update={"target": record.target.model_copy(update=newer)})

    def _refuse_unallowed(self, order: ChangeOrder) -> None:
        operation = kind_of(order.spec).operation
        if operation and not (permission := allowed(order.target, operation)).passed:
            raise refused(order.target, permission.told)


def place_of(site: Site) -> str:
    """`HOST:STATE FOLDER`: where files, processes and worktrees of a change are."""
    return f"{socket.gethostname()}:{site.state_folder.resolve()}"


@asynccontextmanager
async def turn(target: Target, site: Site) -> AsyncIterator[None]:
    """One attempt at a target at a time on this host; the kernel ends a killed one's turn."""
    folder = site.state_folder / LOCKS
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / hashlib.sha256(target.name.encode()).hexdigest()[:32]).open("w") as lock:
        loop = asyncio.get_running_loop()
        until = loop.time() + TURN_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if loop.time() > until:
                    told = f"another change of {target.name} is carried out on this host for more than {TURN_S:.0f} s"
                    raise refuse(ErrorType.TOOL_FAILED, told, retryable=True) from None
            site.heartbeat({"waiting_for": "another change"})
            await asyncio.sleep(0.05)
        yield


def _outcome(record: UndoRecord, standing: Standing) -> ChangeOutcome:
    return ChangeOutcome(change_id=record.change_id, state=record.state, standing=standing, title=record.title, note=record.note)
