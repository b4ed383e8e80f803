"""The garbage collector's settings inside a running CPython process, read and set by injection.

The comparison with what stood there before is made inside the process, under the interpreter's lock: nothing can come in between.
"""

from typing import Any, ClassVar

from temporalio.exceptions import ApplicationError

from activities.changes.injection import forget, injected
from activities.changes.kind import NotAllowed, Prepared, Site, only, passed
from activities.errors import refuse
from activities.finding_processes import describe, find_process, still_there, through_wrappers
from perfwright.models.change import Change, InterpreterSpec
from perfwright.models.cpu_profiling import TargetProcess
from perfwright.models.errors import ErrorType
from perfwright.models.target import Operation
from perfwright.models.undo import ChangeCheck, ChangeDescription, ChangeOrder, Standing, UndoRecord
from perfwright.models.undo_data import CollectorState, InterpreterUndo

_STATE = """
import gc

def state():
    return {"thresholds": list(gc.get_threshold()), "enabled": gc.isenabled(), "frozen": gc.get_freeze_count() > 0}
"""
_READ = _STATE + "ask = state\n"
_SET = """
def put(one):
    gc.set_threshold(*one["thresholds"])
    (gc.enable if one["enabled"] else gc.disable)()
    if one["frozen"] and not gc.get_freeze_count():
        gc.collect()
        gc.freeze()
    elif not one["frozen"] and gc.get_freeze_count():
        gc.unfreeze()

def ask():
    expected, wanted = {expected!r}, {wanted!r}
    before = state()
    if before not in (expected, wanted):
        return {{"outcome": "foreign", "state": before}}
    put(wanted)
    after = state()
    if after != wanted:
        put(before)
        return {{"outcome": "not taken", "state": after}}
    return {{"outcome": "set", "state": after}}
"""


class Interpreters:
    """Sets the collector of a running process."""

    spec: ClassVar = InterpreterSpec
    operation: ClassVar[Operation | None] = "inject"
    looks_itself: ClassVar[bool] = True

    async def describe(self, order: ChangeOrder, site: Site) -> ChangeDescription:
        process, before, after = await self._read(order, site)
        return ChangeDescription(
            change=Change(
                kind="interpreter",
                title=f"Garbage collector of pid {process.pid}: {_told(after)}",
                apply=f"in pid {process.pid} ({process.program}), under its interpreter's lock: {_calls(before, after)}",
                undo=f"in the same process: {_calls(after, before)}",
                risk="reload",
                undo_cost="a pause of some tenths of a second",
                spec=only(order.spec, InterpreterSpec),
            ),
            blast_radius=f"process {process.pid} alone; processes that it forks from now on inherit it",
            cost="each look, and the change itself, holds the process up for some tenths of a second, and takes 4 KiB of its memory",
            survives_restart=False,
        )

    async def check(self, order: ChangeOrder, site: Site) -> tuple[ChangeCheck, ...]:
        process, before, _ = await self._read(order, site)
        return (passed("process", f"pid {process.pid}, {process.runtime_version}"), passed("collector", _told(before)))

    async def prepare(self, order: ChangeOrder, site: Site) -> Prepared:
        process, before, after = await self._read(order, site)
        undo = InterpreterUndo(pid=process.pid, create_time_s=process.create_time_s, before=before, after=after)
        return Prepared(f"collector of pid {process.pid} since {process.create_time_s:.2f}", f"Collector of pid {process.pid}", undo)

    async def apply(self, record: UndoRecord, site: Site) -> None:
        undo = only(record.undo, InterpreterUndo)
        await _set(undo, undo.before, undo.after, site)

    async def look(self, record: UndoRecord, site: Site) -> Standing:
        undo = only(record.undo, InterpreterUndo)
        if still_there(_process(undo)) is None:
            forget(_process(undo))
            return Standing(word="gone", told=f"process {undo.pid} has ended, and its settings with it")
        try:
            found = CollectorState.model_validate(await injected(_process(undo), _READ, site))
        except ApplicationError as trouble:
            if trouble.type == ErrorType.TARGET_GONE:
                return Standing(word="gone", told=trouble.message)
            raise
        if found == undo.before:
            return Standing(word="before", told=_told(found))
        if found == undo.after:
            return Standing(word="changed", told=_told(found))
        return Standing(word="foreign", told=f"the program set its collector itself meanwhile: {_told(found)}")

    async def revert(self, record: UndoRecord, site: Site) -> None:
        undo = only(record.undo, InterpreterUndo)
        if still_there(_process(undo)) is not None:
            await _set(undo, undo.after, undo.before, site)

    async def _read(self, order: ChangeOrder, site: Site) -> tuple[TargetProcess, CollectorState, CollectorState]:
        """The process, its collector now, and as it would be. Raises NotAllowed."""
        spec = only(order.spec, InterpreterSpec)
        selector = order.target.process
        if selector is None or selector.command is not None:
            told = "there is no running process of it; a command of ours is changed by its flags and environment (kind command)"
            raise NotAllowed("process", told)
        if "inject" not in order.target.allow:
            raise NotAllowed("allowed", f'code may not run in it; add "inject" to `allow` of [targets."{order.target.name}"]')
        process, _ = through_wrappers(find_process(selector))
        found = describe(process)
        before = CollectorState.model_validate(await injected(found, _READ, site))
        after = CollectorState(
            thresholds=spec.gc_thresholds or before.thresholds,
            enabled=before.enabled if spec.gc_enabled is None else spec.gc_enabled,
            frozen=before.frozen or spec.gc_freeze,
        )
        if spec.gc_freeze and before.frozen:
            raise NotAllowed("collector", "the program has frozen objects already; freezing more could not be undone alone")
        if after == before:
            raise NotAllowed("collector", f"it is set so already: {_told(before)}")
        return found, before, after


async def _set(undo: InterpreterUndo, expected: CollectorState, wanted: CollectorState, site: Site) -> None:
    code = _STATE + _SET.format(expected=expected.model_dump(mode="json"), wanted=wanted.model_dump(mode="json"))
    answer: dict[str, Any] = await injected(_process(undo), code, site)
    if answer["outcome"] != "set":
        found = _told(CollectorState.model_validate(answer["state"]))
        reason = "was set by the program itself meanwhile" if answer["outcome"] == "foreign" else "does not take these values"
        raise refuse(ErrorType.TARGET_REFUSED, f"the collector of process {undo.pid} {reason}: {found}")


def _process(undo: InterpreterUndo) -> TargetProcess:
    """As far as it is told apart from others."""
    return TargetProcess(pid=undo.pid, create_time_s=undo.create_time_s, program="", runtime="python")


def _told(state: CollectorState) -> str:
    words = [f"thresholds {', '.join(map(str, state.thresholds))}"]
    words += [] if state.enabled else ["disabled"]
    words += ["frozen"] if state.frozen else []
    return "; ".join(words)


def _calls(before: CollectorState, after: CollectorState) -> str:
    calls = []
    if after.thresholds != before.thresholds:
        calls.append(f"gc.set_threshold{tuple(after.thresholds)}")
    if after.enabled != before.enabled:
        calls.append("gc.enable()" if after.enabled else "gc.disable()")
    if after.frozen != before.frozen:
        calls.append("gc.collect(); gc.freeze()" if after.frozen else "gc.unfreeze()")
    return "; ".join(calls)
