"""`async with target_lease(self, target.resources):` nobody else measures them meanwhile.

Without contention it costs two activities (ask, give back), whatever the number of resources. A process that has to wait is told who
holds the resource and since when, is woken by the signal `lease_granted`, and asks again every minute in case the lease was lost.
Do not hold it while a person reviews: end the block first.

    async with target_lease(self, target.resources, on_waiting=self._show_wait) as ticket:
        recording = await ...                                   # a child gets `ticket=ticket` in its input
"""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.workflow import ActivityCancellationType

from activities.errors import refuse
from activities.leases import Leases
from perfwright.models.errors import ErrorType
from perfwright.models.lease import (
    LEASE_GRANTED,
    LeaseGranted,
    LeaseHolderId,
    LeaseSetAnswer,
    LeaseSetRelease,
    LeaseSetRequest,
    LeaseTicket,
    LeaseWait,
    summary_of,
)
from workflows.plugin.mistakes import describe_mistakes, one_line
from workflows.shared.options import ActivityOptions
from workflows.shared.refused_messages import RefusedMessages
from workflows.shared.waiting import to_the_end

ASK_AGAIN_S = 60.0
ASK_RARELY_AFTER = 60
"""Asked so many times, a waiter asks at a fifth of the rate: its history must last for days."""

LEASING: ActivityOptions = {
    "start_to_close_timeout": timedelta(seconds=10),
    "retry_policy": RetryPolicy(initial_interval=timedelta(seconds=0.2), maximum_interval=timedelta(seconds=5)),
    "cancellation_type": ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    "priority": Priority(priority_key=1),
}
"""Short and idempotent, repeated for ever: a lease that is not given back blocks others. A cancel waits for the answer."""


class LeaseLost(ApplicationError):
    """The lease was taken away during the block: somebody else may have measured meanwhile, so the result is inconclusive."""

    def __init__(self, resources: Iterable[str]) -> None:
        super().__init__(
            f"The lease of {', '.join(resources)} was lost while it was held (its workflow was terminated, or gave it to another): "
            "another process may have measured at the same time. Start the process again",
            type=ErrorType.LEASE_LOST.value,
            non_retryable=True,
        )


class LeaseHolder(RefusedMessages):
    """Mixin of every process that uses `target_lease`: receives the wake-up of a lease."""

    _lease_brackets = 0
    _lease_calls = 0

    @workflow.signal(name=LEASE_GRANTED, description="A lease says: it is your turn, ask again")
    def lease_granted(self, message: Any = None) -> None:
        try:
            LeaseGranted.model_validate(message)
        except ValidationError as e:
            self.refuse_message(LEASE_GRANTED, one_line(describe_mistakes(e, LeaseGranted)), message)
        else:
            self._lease_calls += 1

    def _next_lease_token(self) -> str:
        """One per block; the same again when the run is reset to before it, so that it does not wait for itself."""
        self._lease_brackets += 1
        return f"{workflow.info().original_execution_run_id}/{self._lease_brackets}"


@asynccontextmanager
async def target_lease(
    process: LeaseHolder,
    resources: Iterable[str],
    *,
    ticket: LeaseTicket | None = None,
    on_waiting: Callable[[LeaseWait], None] | None = None,
    ask_again_s: float = ASK_AGAIN_S,
) -> AsyncIterator[LeaseTicket]:
    """Hold `resources` for the block; gives the ticket for children.

    With `ticket` (the parent's) the block works under the parent's lease, which is not given on before this block has ended too.
    `on_waiting` is called with who holds what, since when, and the place in line. Raises `LeaseLost` at the end of a block (or at its
    beginning, under a ticket) that did not hold all of the time; InvalidInput when the ticket does not cover the resources.
    """
    wanted = tuple(sorted(set(resources)))
    if ticket is not None and (missing := [r for r in wanted if r not in ticket.tokens]):
        raise refuse(
            ErrorType.INVALID_INPUT,
            f"ticket: does not cover {', '.join(missing)}",
            way_out="The parent leases all that its children measure",
        )
    info, token = workflow.info(), process._next_lease_token()
    holder = LeaseHolderId(
        workflow_id=info.workflow_id, first_run_id=info.first_execution_run_id, run_id=info.run_id, workflow_type=info.workflow_type
    )
    try:
        request = LeaseSetRequest(resources=wanted, token=token, holder=holder, ticket=ticket)
        release = LeaseSetRelease(resources=wanted, token=token, run_id=info.run_id)
    except ValidationError as e:
        raise refuse(ErrorType.INVALID_INPUT, one_line(describe_mistakes(e, LeaseSetRequest))) from None
    try:
        await _acquire(process, request, on_waiting, ask_again_s)
        yield ticket or LeaseTicket(tokens=dict.fromkeys(wanted, token))
    except GeneratorExit:  # the run is only dropped from memory, by a worker that has stopped: it goes on holding
        raise
    except BaseException:
        await to_the_end(_release(release))
        raise
    if lost := await to_the_end(_release(release)):
        raise LeaseLost(lost)


async def _acquire(
    process: LeaseHolder, request: LeaseSetRequest, on_waiting: Callable[[LeaseWait], None] | None, ask_again_s: float
) -> None:
    asked = 0
    while True:
        calls = process._lease_calls
        answer: LeaseSetAnswer = await workflow.execute_activity_method(
            Leases.acquire_leases,
            request,
            summary=summary_of(f"Take the lease of {', '.join(request.resources)}"),
            **LEASING,
        )
        asked += 1
        if answer.lost:
            raise LeaseLost(answer.lost)
        request = request.model_copy(update={"resources": tuple(r for r in request.resources if r not in answer.granted)})
        if not request.resources or answer.wait is None:
            return
        if on_waiting is not None:
            on_waiting(answer.wait)
        patience_s = ask_again_s if asked <= ASK_RARELY_AFTER else 5 * ask_again_s
        await _called(process, calls, patience_s, answer.wait)


async def _called(process: LeaseHolder, calls: int, patience_s: float, wait: LeaseWait) -> None:
    """Until the lease calls, or it is time to ask again."""
    try:
        await workflow.wait_condition(
            lambda: process._lease_calls != calls, timeout=timedelta(seconds=patience_s), timeout_summary=summary_of(wait.sentence)
        )
    except TimeoutError:
        return


async def _release(request: LeaseSetRelease) -> tuple[str, ...]:
    released = await workflow.execute_activity_method(
        Leases.release_leases,
        request,
        summary=summary_of(f"Give back {', '.join(request.resources)}"),
        **LEASING,
    )
    return released.lost
