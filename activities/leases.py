"""Asking for leases, giving them back, and seeing whether their holders still live. Uses the worker's own client."""

import asyncio
from datetime import UTC, datetime, timedelta
from weakref import WeakValueDictionary

from temporalio import activity
from temporalio.client import (
    Client,
    RPCError,
    RPCStatusCode,
    WithStartWorkflowOperation,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import Priority, WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError

from activities.errors import refuse
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
    ReleaseAnswer,
    Watch,
    Watched,
    lease_workflow_id,
    summary_of,
)

ANSWER_WITHIN = timedelta(seconds=8)
"""Less than the time of one attempt: a worker that was killed leaves its lease's next task waiting for about five seconds."""
AT_ONCE = 6
"""Questions to one lease at the same time, from one worker: the server refuses more than ten."""
LOOK_WITHIN = timedelta(seconds=5)


class Leases:
    """Speaks to the entity workflows `target-lease/<resource>`."""

    def __init__(self, settings: LeaseSettings | None = None) -> None:
        """`settings` are given to leases that are started here."""
        self._settings = settings or LeaseSettings()
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        """One for each lease that is spoken to now."""

    @activity.defn
    async def acquire_leases(self, request: LeaseSetRequest) -> LeaseSetAnswer:
        """Ask for the resources in their order, until one is not granted. Asking again changes nothing."""
        client = activity.client()
        granted: list[str] = []
        for resource in request.resources:
            async with self._turn(resource):
                answer = await self._ask(client, resource, request)
            if answer.standing == "lost":
                return LeaseSetAnswer(granted=tuple(granted), lost=(resource,))
            if answer.standing == "waiting":
                return LeaseSetAnswer(granted=tuple(granted), wait=answer.wait)
            granted.append(resource)
        return LeaseSetAnswer(granted=tuple(granted))

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


def _not_there(error: Exception) -> bool:
    return isinstance(error, RPCError) and error.status == RPCStatusCode.NOT_FOUND


def _cause(error: Exception) -> str:
    return str(error.__cause__ or error)[:300]
