"""Who may measure a target now: first come, first served, and freed when its holder is closed in any way.

One workflow per resource, `target-lease/<resource>`. Processes ask through `target_lease(...)` (leasing.py) by the updates `acquire` and
`release`, which are answered at once; who has to wait gets the signal `lease_granted` when its turn comes, and asks again.
The query `lease` and the current details say who holds it, since when, and who waits.

grant -> (somebody waits: watch the holder) -> released, or holder closed -> wake the first waiter -> ... -> idle -> complete
"""

from datetime import timedelta
from urllib.parse import unquote

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.exceptions import FailureError, is_cancelled_exception
from temporalio.workflow import ActivityCancellationType, ActivityHandle

from activities.leases import Leases
from perfwright.analysis import lease_queue
from perfwright.models.lease import (
    LEASE_GRANTED,
    REFUSED_LIMIT,
    Hold,
    LeaseAnswer,
    LeaseGranted,
    LeaseRelease,
    LeaseRequest,
    LeaseState,
    LeaseView,
    ReleaseAnswer,
    Watch,
    Watched,
    summary_of,
)
from workflows.shared.refused_messages import RefusedMessages

WATCH_MARGIN_S = 60.0
WATCH_HEARTBEAT_S = 15.0
PAUSE_AFTER_TROUBLE_S = 5.0


@workflow.defn
class TargetLease(RefusedMessages):
    """Entity workflow: the lease of one resource."""

    def __init__(self) -> None:
        super().__init__()
        self._state: LeaseState | None = None
        """None until `run` has it: an update may come before."""
        self._told = ""
        """Token of the hold whose owner knows that it holds."""
        self._watch: ActivityHandle[Watched] | None = None
        self._watched: tuple[bool, tuple[str, ...]] | None = None
        """Whether somebody waited, and the members' tokens, when the watch began."""

    @workflow.run
    async def run(self, carried: LeaseState) -> LeaseView:
        resource = carried.resource or unquote(workflow.info().workflow_id.removeprefix("target-lease/"))
        self._refused_messages = [*carried.refused, *self._refused_messages]
        self._told = carried.hold.token if carried.hold else ""
        self._state = carried.model_copy(update={"resource": resource, "refused": ()})
        while True:
            workflow.set_current_details(lease_queue.describe(self._state))
            if self._state.hold is not None and self._state.hold.token != self._told:
                await self._wake_holder(self._state.hold.token)
                continue
            if self._is_long(carried):
                await self._continue_as_new()
                continue
            if self._watch is not None and self._watched != self._to_watch():
                self._stop_watch()
            if await self._next_event():
                continue
            if self._state.hold is not None:
                self._start_watch(self._state.hold)
            elif workflow.all_handlers_finished():
                return lease_queue.view(self._state)

    @workflow.update(description="Ask for the resource: granted, waiting (with who holds it), or lost (the ticket no longer holds)")
    async def acquire(self, request: LeaseRequest) -> LeaseAnswer:
        await workflow.wait_condition(lambda: self._state is not None)
        self._state, answer = lease_queue.acquire(self._current, request, _now())
        if self._state.hold is not None and self._state.hold.token == request.token:
            self._told = request.token
        return answer

    @workflow.update(description="Give the resource back, or stop waiting; answers whether it was held to the end")
    async def release(self, request: LeaseRelease) -> ReleaseAnswer:
        await workflow.wait_condition(lambda: self._state is not None)
        self._state, answer = lease_queue.release(self._current, request.token, request.run_id, _now())
        return answer

    @workflow.query(description="Who holds the resource, since when, and who waits")
    def lease(self) -> LeaseView:
        return lease_queue.view(self._current)

    @property
    def _current(self) -> LeaseState:
        return self._state or LeaseState()

    async def _wake_holder(self, token: str) -> None:
        """Tell the first in line; one that is closed cannot be told, and is skipped."""
        hold = self._current.hold
        assert hold is not None
        try:
            process = workflow.get_external_workflow_handle(hold.owner.workflow_id)
            await process.signal(LEASE_GRANTED, LeaseGranted(resource=self._current.resource, token=token))
        except FailureError as e:
            if is_cancelled_exception(e):
                raise
            workflow.logger.info("%s waited for %s and is closed: skipped", hold.owner.workflow_id, self._current.resource)
            self._state = lease_queue.forget(self._current, {token}, _now())
        else:
            self._told = token

    def _to_watch(self) -> tuple[bool, tuple[str, ...]]:
        hold = self._current.hold
        return bool(self._current.waiters), tuple(m.token for m in hold.members) if hold else ()

    def _start_watch(self, hold: Hold) -> None:
        """While somebody waits the holder is watched; else it is looked at once, now and then."""
        settings = self._current.settings
        for_s = settings.watch_for_s if self._current.waiters else 0.0
        self._watched = self._to_watch()
        self._watch = workflow.start_activity_method(
            Leases.watch_holders,
            Watch(members=hold.members, every_s=settings.watch_every_s, for_s=for_s, settle_s=settings.settle_s),
            summary=summary_of(f"Is {hold.owner.workflow_id} still open?"),
            start_to_close_timeout=timedelta(seconds=for_s + WATCH_MARGIN_S),
            heartbeat_timeout=timedelta(seconds=WATCH_HEARTBEAT_S + settings.watch_every_s),
            retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=10)),
            cancellation_type=ActivityCancellationType.TRY_CANCEL,
            priority=Priority(priority_key=1),
        )

    def _stop_watch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch.add_done_callback(lambda watch: watch.cancelled() or watch.exception())
        self._watch = None

    async def _next_event(self) -> bool:
        """Wait until something has changed; False when nothing has for the time after which a look is due, or the lease is idle."""
        before = self._current
        try:
            await workflow.wait_condition(
                lambda: self._current is not before or (self._watch is not None and self._watch.done()),
                timeout=self._patience_s(),
                timeout_summary=summary_of(f"Held by {before.hold.owner.workflow_id}" if before.hold else "Nobody holds it"),
            )
        except TimeoutError:
            return False
        if self._watch is not None and self._watch.done():
            watch, self._watch = self._watch, None
            await self._heed(watch)
        return True

    def _patience_s(self) -> float:
        settings = self._current.settings
        if self._current.hold is None:
            return settings.idle_s
        if self._watch is not None:
            return settings.watch_for_s + 2 * WATCH_MARGIN_S
        return settings.watch_every_s if self._current.waiters else settings.look_every_s

    async def _heed(self, watch: ActivityHandle[Watched]) -> None:
        try:
            seen = await watch
        except FailureError as e:
            if is_cancelled_exception(e):
                raise
            workflow.logger.warning("The holder of %s could not be watched: %s", self._current.resource, e)
            await workflow.sleep(PAUSE_AFTER_TROUBLE_S)
            return
        if seen.over:
            workflow.logger.info("%s: closed without a release: %s", self._current.resource, seen.over)
            self._state = lease_queue.forget(self._current, set(seen.over), _now())

    def _is_long(self, carried: LeaseState) -> bool:
        grants = self._current.grants - carried.grants
        return grants >= self._current.settings.max_grants or workflow.info().is_continue_as_new_suggested()

    async def _continue_as_new(self) -> None:
        """Carry everything; only when nobody has to be told first."""
        self._stop_watch()
        await workflow.wait_condition(workflow.all_handlers_finished)
        hold = self._current.hold
        if hold is None or hold.token == self._told:
            workflow.continue_as_new(self._current.model_copy(update={"refused": tuple(self._refused_messages[-REFUSED_LIMIT:])}))


def _now() -> str:
    return workflow.now().isoformat(timespec="seconds")
