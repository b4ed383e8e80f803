"""Changes whose owner is no longer there: found for the janitor, which undoes them. Uses the worker's own client."""

from datetime import UTC, datetime, timedelta

from temporalio import activity
from temporalio.client import Client, RPCError, RPCStatusCode, WorkflowExecutionStatus

from activities.changing import server_id
from activities.history import History
from perfwright.models.change import limit_s
from perfwright.models.undo import (
    OPEN_STATES,
    UNDO_BEGUN,
    AbandonedChange,
    AbandonedChanges,
    AbandonedQuery,
    ChangeReference,
    UndoQuery,
    UndoRecord,
)

LOOK_WITHIN = timedelta(seconds=5)
LISTED = 100
"""At a time; the next look finds the rest."""
GOING_ON = (WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.CONTINUED_AS_NEW)


class AbandonedChangeFinder:
    """Errors: StoreUnavailable; and what is repeated while Temporal does not answer."""

    def __init__(self, history: History) -> None:
        self._history = history

    @activity.defn
    async def find_abandoned_changes(self, query: AbandonedQuery) -> AbandonedChanges:
        """Records that are open and whose run is closed, terminated or unknown; the latest first. What cannot be told counts as owned."""
        # Imported when it is first used: SQLAlchemy takes a fifth of a worker's start.
        from activities.undo_records import UndoRecords

        open_ones = await UndoRecords(self._history).find_all(UndoQuery(states=OPEN_STATES, target=query.target, limit=1_000))
        client, here = activity.client(), await server_id()
        reasons: dict[tuple[str, str], str] = {}
        found = []
        for record in open_ones:
            owner = record.owner
            if not owner.workflow_id or _age_s(record) < query.settle_s:
                continue
            unknown = owner.server != here
            if unknown:
                reason = f"{owner.workflow_id} ran on another Temporal server"
            else:
                key = (owner.workflow_id, owner.first_run_id)
                if key not in reasons:
                    reasons[key] = await _why_over(client, record, query.settle_s)
                    activity.heartbeat({"looked": len(reasons)})
                reason = reasons[key]
            if reason:
                found.append(
                    AbandonedChange(
                        change_id=record.change_id,
                        target=record.target,
                        title=record.title,
                        state=record.state,
                        owner=owner,
                        reason=reason,
                        owner_unknown=unknown,
                        limit_s=limit_s(record.spec),
                    )
                )
        return AbandonedChanges(changes=tuple(found[:LISTED]), left_out=max(0, len(found) - LISTED))

    @activity.defn
    async def begin_undo(self, change: ChangeReference) -> None:
        """What was kept is kept no longer: until it is undone it counts as abandoned once its run is closed. Of all others: nothing."""
        from activities.undo_records import UndoRecords  # SQLAlchemy takes a fifth of a worker's start

        await UndoRecords(self._history).move(change.change_id, "applied", since=("kept",), note=UNDO_BEGUN)


def _age_s(record: UndoRecord) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(record.updated_at)).total_seconds()


async def _why_over(client: Client, record: UndoRecord, settle_s: float) -> str:
    """Why nobody is responsible any more; empty: somebody is, or it cannot be told now."""
    owner = record.owner
    try:
        now = await client.get_workflow_handle(owner.workflow_id).describe(rpc_timeout=LOOK_WITHIN)
    except RPCError as trouble:
        if trouble.status == RPCStatusCode.NOT_FOUND:
            return f"{owner.workflow_id} is not known to the server"
        activity.logger.warning("Cannot see whether %s is open: %s", owner.workflow_id, trouble)
        return ""
    if owner.first_run_id and now.raw_description.workflow_execution_info.first_run_id != owner.first_run_id:
        return f"{owner.workflow_id} has ended, and was started anew since"
    if now.status in GOING_ON or now.status is None:
        return ""
    closed = now.close_time or now.start_time
    if (datetime.now(UTC) - closed).total_seconds() < settle_s:
        return ""
    return f"{owner.workflow_id} is {now.status.name.lower().replace('_', ' ')}"
