"""Changes of indexes as IndexStrategyOptimization makes them: told exactly before, carried out one by one, watched after."""

from collections.abc import Sequence
from dataclasses import dataclass

from temporalio import workflow
from temporalio.exceptions import ActivityError
from temporalio.workflow import ParentClosePolicy

from activities.changing import Changing
from activities.index_upkeep import IndexUpkeep
from perfwright.analysis.indexes.strategy_results import spec_of, tried_index
from perfwright.models.errors import ErrorType
from perfwright.models.index_steps import IndexUseRead, InvalidIndexRemoved, ReadIndexUse, RemoveInvalidIndex
from perfwright.models.index_strategy import IndexProposal, IndexStrategyRequest, IndexUse, TriedIndex
from perfwright.models.lease import summary_of
from perfwright.models.queues import host_queue
from perfwright.models.target import Target
from perfwright.models.trial_run import TrialRequest, TrialResult
from perfwright.models.undo import ChangeDescription, ChangeOrder
from workflows.changes.trial import Trial
from workflows.changes.trial_steps import error_type, told_trouble
from workflows.shared.options import CHANGE, ActivityOptions, asking

ORDER = {"remove invalid": 0, "create": 1, "drop": 2}
"""What is invalid costs writes; what is dropped is dropped with everything there that takes its place."""


@dataclass(frozen=True)
class Described:
    """What is put before a person, and what is not, since it could not be done."""

    proposals: tuple[IndexProposal, ...]
    """In the order in which they are carried out."""
    told: dict[str, ChangeDescription]
    """Title -> exactly what would be done, as the step that does it tells."""
    impossible: tuple[TriedIndex, ...]


async def described(request: IndexStrategyRequest, target: Target, proposals: Sequence[IndexProposal]) -> Described:
    """What the target refuses (another's table, an index that is needed) stops none of the others."""
    told: dict[str, ChangeDescription] = {}
    found: list[IndexProposal] = []
    impossible: list[TriedIndex] = []
    for number, one in enumerate(sorted(proposals, key=lambda one: ORDER[one.action])):
        if one.action == "remove invalid":
            found.append(one)
            continue
        order = ChangeOrder(
            change_id=f"{workflow.info().run_id}/described-{number}",
            target=target,
            spec=spec_of(one, request),
            mask_literals=bool(request.mask_literals),
        )
        try:
            description: ChangeDescription = await workflow.execute_activity_method(
                Changing.describe_change, order, summary=summary_of(f"What exactly would be done: {one.ddl}"), **asking(on=target.host)
            )
        except ActivityError as failed:
            if error_type(failed) != ErrorType.TARGET_REFUSED:
                raise
            impossible.append(TriedIndex(proposal=one, end="not applied", reason=told_trouble(failed)))
            continue
        told[one.title] = description
        exactly = {"ddl": description.change.apply.rstrip(";"), "undo": description.change.undo.rstrip(";")}
        found.append(one.model_copy(update=exactly))
    return Described(tuple(found), told, tuple(impossible))


async def tried(one: IndexProposal, asked: TrialRequest, number: int) -> tuple[TriedIndex, TrialResult]:
    """A create or drop as a trial: measured, then kept or undone."""
    info = workflow.info()
    result: TrialResult = await workflow.execute_child_workflow(
        Trial.run,
        asked,
        id=f"{info.workflow_id}/trial/{info.run_id}/{number}",
        parent_close_policy=ParentClosePolicy.REQUEST_CANCEL,
        static_summary=summary_of(asked.title),
    )
    return tried_index(one, result), result


async def invalid_removed(request: IndexStrategyRequest, target: Target, one: IndexProposal, definition: str) -> TriedIndex:
    """Approved with the strategy: it served nobody, so there is nothing to measure and nothing to bring back."""
    options: ActivityOptions = {**CHANGE, "task_queue": host_queue(target.host)}
    removed: InvalidIndexRemoved = await workflow.execute_activity_method(
        IndexUpkeep.remove_invalid_index,
        RemoveInvalidIndex(
            target=target,
            name=one.name,
            definition=definition,
            lock_timeout_s=request.lock_timeout_s,
            mask_literals=bool(request.mask_literals),
        ),
        summary=summary_of(f"Drop {one.name}, which a failed build left"),
        **options,
    )
    return TriedIndex(proposal=one, end="kept" if removed.removed else "not applied", reason=removed.told)


async def use_read(target: Target, names: tuple[str, ...]) -> IndexUseRead:
    return await workflow.execute_activity_method(
        IndexUpkeep.read_index_use,
        ReadIndexUse(target=target, names=names),
        summary=f"Read scans of {len(names)} indexes of {target.title}",
        **asking(on=target.host),
    )


def use_between(names: Sequence[str], first: IndexUseRead, last: IndexUseRead, watched_s: float) -> tuple[IndexUse, ...]:
    """Scans meanwhile. Where the server's counters began anew, those since then."""
    reset = last.counted_since != first.counted_since
    return tuple(
        IndexUse(
            name=name,
            scans=last.scans.get(name, 0) - (0 if reset else first.scans.get(name, 0)),
            bytes=last.bytes.get(name, 0),
            watched_s=watched_s,
            note="the server's counters were reset meanwhile" if reset else "" if name in last.scans else "it is gone",
        )
        for name in names
    )
