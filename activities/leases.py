"""Asking for leases, giving them back, and seeing whether their holders still live. Uses the worker's own client.

A target on which a change stands whose run is gone is not as it was, and is not given to be measured: the change is undone first, under the
lease of whoever asks; where a person has to be asked about it, the target is refused.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from weakref import WeakValueDictionary

from temporalio import activity
from temporalio.client import (
    Client,
    RPCError,
    RPCStatusCode,
    WithStartWorkflowOperation,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import Priority, WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError

from activities.abandoned_changes import AbandonedChangeFinder
from activities.errors import refuse
from perfwright.analysis.changes.abandoned import janitor_id, needs_asking, told_abandoned
from perfwright.models.errors import ErrorType
from perfwright.models.lease import (
    LEASE_WORKFLOW,
    LeaseAnswer,
    LeaseHolderId,
    LeaseRelease,
    LeaseRequest,
    LeaseSetAnswer,
    LeaseSetRelease,
    LeaseSetReleased,
    LeaseSetRequest,
    LeaseSettings,
    LeaseState,
    LeaseTicket,
    LeaseWait,
    ReleaseAnswer,
    Watch,
    Watched,
    lease_workflow_id,
    summary_of,
    target_of,
)
from perfwright.models.undo import UNDO_JANITOR, AbandonedChange, AbandonedQuery, JanitorReport, JanitorRequest

ANSWER_WITHIN = timedelta(seconds=8)
"""Less than the time of one attempt: a worker that was killed leaves its lease's next task waiting for about five seconds."""
AT_ONCE = 6
"""Questions to one lease at the same time, from one worker: the server refuses more than ten."""
LOOK_WITHIN = timedelta(seconds=5)
UNDONE_WITHIN_S = 4.0
"""How long one attempt waits for an abandoned change to be undone; who asked waits on, and asks again."""


class Leases:
    """Speaks to the entity workflows `target-lease/<resource>`."""

    def __init__(self, settings: LeaseSettings | None = None, abandoned: AbandonedChangeFinder | None = None) -> None:
        """`settings` are given to leases that are started here. `abandoned`: None where nothing is ever changed."""
        self._settings = settings or LeaseSettings()
        self._abandoned = abandoned
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        """One for each lease that is spoken to now."""

    @activity.defn
    async def acquire_leases(self, request: LeaseSetRequest) -> LeaseSetAnswer:
        """Ask for the resources in their order, until one is not granted. Asking again changes nothing.

        A target is granted when no change stands on it whose run is gone. Raises TargetRefused where such a change is not undone by itself,
        and StoreUnavailable where that cannot be told.
        """
        client = activity.client()
        granted: list[str] = []
        for resource in request.resources:
            async with self._turn(resource):
                answer = await self._ask(client, resource, request)
            if answer.standing == "lost":
                return LeaseSetAnswer(granted=tuple(granted), lost=(resource,))
            if answer.standing == "waiting":
                return LeaseSetAnswer(granted=tuple(granted), wait=answer.wait)
            if (wait := await self._as_it_was(client, resource, request)) is not None:
                return LeaseSetAnswer(granted=tuple(granted), wait=wait)
            granted.append(resource)
        return LeaseSetAnswer(granted=tuple(granted))

    async def _as_it_was(self, client: Client, resource: str, request: LeaseSetRequest) -> LeaseWait | None:
        """None, once nothing is left on the target of a run that is gone; else what is being waited for."""
        target = target_of(resource)
        if self._abandoned is None or target is None or request.holder.workflow_type == UNDO_JANITOR:
            return None
        query = AbandonedQuery(target=target, settle_s=0.0)  # what a late step still does, the undo waits for
        if not (found := (await self._abandoned.find_abandoned_changes(query)).changes):
            return None
        asks = needs_asking(found)
        janitor = await self._start_janitor(client, resource, request, target, asks=asks)
        if asks:
            raise _left(resource, found, f"{janitor.id} asks a person whether it is undone; start again afterwards")
        failed: tuple[str, ...] = ()
        with contextlib.suppress(TimeoutError, RPCError, WorkflowFailureError):
            async with asyncio.timeout(UNDONE_WITHIN_S):
                failed = JanitorReport.model_validate(await janitor.result()).failed
        if not (found := (await self._abandoned.find_abandoned_changes(query)).changes):
            return None
        if failed:
            raise _left(resource, found, f"it could not be undone ({failed[0][:300]}): see `perfwright undo run {found[0].change_id}`")
        run_id = janitor.result_run_id or janitor.id
        holder = LeaseHolderId(workflow_id=janitor.id, first_run_id=run_id, run_id=run_id, workflow_type=UNDO_JANITOR)
        return LeaseWait(resource=resource, holder=holder, since=datetime.now(UTC).isoformat(timespec="seconds"), position=1)

    async def _start_janitor(
        self, client: Client, resource: str, request: LeaseSetRequest, target: str, *, asks: bool
    ) -> WorkflowHandle[Any, Any]:
        """It undoes at once, under the lease of whoever asks; or asks a person, for which nobody holds a lease."""
        under = request.ticket.tokens[resource] if request.ticket else request.token
        order = JanitorRequest(target=target, ask=asks, settle_s=0.0, ticket=None if asks else LeaseTicket(tokens={resource: under}))
        return await client.start_workflow(
            UNDO_JANITOR,
            order,
            id=janitor_id(target),
            task_queue=activity.info().task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary=summary_of(f"Undo what is left on {target}, before {request.holder.workflow_id} has it"),
        )

    async def _ask(self, client: Client, resource: str, request: LeaseSetRequest) -> LeaseAnswer:
        under = request.ticket.tokens.get(resource) if request.ticket else None
        question = LeaseRequest(token=request.token, holder=request.holder, under=under)
        lease_id = lease_workflow_id(resource)
        try:
            if under is not None:
                handle = client.get_workflow_handle(lease_id)
                joined: LeaseAnswer = await handle.execute_update("acquire", question, result_type=LeaseAnswer, rpc_timeout=ANSWER_WITHIN)
                return joined
            start: WithStartWorkflowOperation[object, object] = WithStartWorkflowOperation(
                LEASE_WORKFLOW,
                LeaseState(resource=resource, settings=self._settings),
                id=lease_id,
                task_queue=activity.info().task_queue,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                static_summary=summary_of(f"Lease of {resource}"),
                priority=Priority(priority_key=1),
            )
            answer: LeaseAnswer = await client.execute_update_with_start_workflow(
                "acquire", question, start_workflow_operation=start, result_type=LeaseAnswer, rpc_timeout=ANSWER_WITHIN
            )
            return answer
        except (RPCError, WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError) as e:
            if under is not None and _not_there(e):
                return LeaseAnswer(standing="lost")
            if isinstance(e.__cause__, ApplicationError) and e.__cause__.type == ErrorType.INVALID_INPUT:
                raise refuse(ErrorType.INVALID_INPUT, f"{lease_id}: {e.__cause__.message}") from e
            raise ConnectionError(f"the lease {lease_id} did not answer: {_cause(e)}") from e

    def _turn(self, resource: str) -> asyncio.Semaphore:
        return self._turns.setdefault(resource, asyncio.Semaphore(AT_ONCE))

    @activity.defn
    async def release_leases(self, request: LeaseSetRelease) -> LeaseSetReleased:
        """Give the resources back; tells which were no longer held."""
        client = activity.client()
        answers = await asyncio.gather(*(self._give_back(client, resource, request) for resource in request.resources))
        return LeaseSetReleased(lost=tuple(r for r, held in zip(request.resources, answers, strict=True) if not held))

    async def _give_back(self, client: Client, resource: str, request: LeaseSetRelease) -> bool:
        handle = client.get_workflow_handle(lease_workflow_id(resource))
        release = LeaseRelease(token=request.token, run_id=request.run_id)
        try:
            answer: ReleaseAnswer = await handle.execute_update("release", release, result_type=ReleaseAnswer, rpc_timeout=ANSWER_WITHIN)
        except (RPCError, WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError) as e:
            if _not_there(e):  # terminated, or never started
                return False
            raise ConnectionError(f"the lease of {resource} did not answer: {_cause(e)}") from e
        return answer.held

    @activity.defn
    async def watch_holders(self, watch: Watch) -> Watched:
        """Return when members of a hold are over, or after `for_s`; looks once at least. What cannot be told counts as alive."""
        client = activity.client()
        end = asyncio.get_running_loop().time() + watch.for_s
        looked = 0
        while True:
            over = tuple([m.token for m in watch.members if await self._is_over(client, m.holder, watch.settle_s)])
            looked += 1
            activity.heartbeat({"watching": watch.members[0].holder.workflow_id if watch.members else "", "looked": looked})
            if over or asyncio.get_running_loop().time() + watch.every_s > end:
                return Watched(over=over)
            await asyncio.sleep(watch.every_s)

    async def _is_over(self, client: Client, holder: LeaseHolderId, settle_s: float) -> bool:
        """Closed, or followed by another run of its id, for `settle_s`; continue-as-new and reset keep the first run's id."""
        try:
            now = await client.get_workflow_handle(holder.workflow_id).describe(rpc_timeout=LOOK_WITHIN)
        except RPCError as e:
            if e.status not in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):
                activity.logger.warning("Cannot see whether %s is open: %s", holder.workflow_id, e)
            return e.status in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT)
        if (closed_at := _closed_at(now, holder)) is None:
            return False
        return (datetime.now(UTC) - closed_at).total_seconds() >= settle_s


def _closed_at(now: WorkflowExecutionDescription, holder: LeaseHolderId) -> datetime | None:
    """None while it is open. Another run of the same id was started after it had closed."""
    if now.raw_description.workflow_execution_info.first_run_id != holder.first_run_id:
        return now.start_time
    if now.status in (WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.CONTINUED_AS_NEW):
        return None
    return now.close_time or now.start_time


def _left(resource: str, changes: Sequence[AbandonedChange], way_out: str) -> Exception:
    return refuse(ErrorType.TARGET_REFUSED, f"{resource} is not as it was: {told_abandoned(changes)}", way_out=way_out)


def _not_there(error: Exception) -> bool:
    return isinstance(error, RPCError) and error.status == RPCStatusCode.NOT_FOUND


def _cause(error: Exception) -> str:
    return str(error.__cause__ or error)[:300]
