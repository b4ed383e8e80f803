"""Processes that hold leases, for tests; in a file of their own, because the sandbox imports it again for every run."""

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from perfwright.models.lease import LeaseTicket, LeaseWait
from perfwright.models.vocabulary import Model
from workflows.shared.leasing import LeaseHolder, LeaseLost, target_lease


class Hold(Model):
    """Hold `resources` until the signal `finish`, or for `hold_s`."""

    resources: tuple[str, ...]
    hold_s: float | None = None
    ticket: LeaseTicket | None = None
    fail: bool = False
    child_resources: tuple[str, ...] = ()
    child_hold_s: float | None = None
    times: int = 1
    ask_again_s: float = 60.0


class Held(Model):
    """When the block was entered and left."""

    entered: float = 0.0
    left: float = 0.0
    lost: str = ""
    waits: tuple[LeaseWait, ...] = ()


@workflow.defn
class Measuring(LeaseHolder):
    def __init__(self) -> None:
        super().__init__()
        self._finished = False
        self._status = "starting"
        self._waits: list[LeaseWait] = []

    @workflow.run
    async def run(self, order: Hold) -> Held:
        entered = left = 0.0
        try:
            for _ in range(order.times):
                async with target_lease(
                    self, order.resources, ticket=order.ticket, on_waiting=self._wait, ask_again_s=order.ask_again_s
                ) as ticket:
                    entered = workflow.now().timestamp()
                    self._status = "holding"
                    if order.child_resources:
                        child = await workflow.start_child_workflow(
                            Measuring.run,
                            Hold(resources=order.child_resources, ticket=ticket, hold_s=order.child_hold_s),
                            id=f"{workflow.info().workflow_id}/trial-1",
                            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                        )
                        if order.child_hold_s is not None:
                            await child
                    if order.hold_s is None:
                        await workflow.wait_condition(lambda: self._finished)
                    elif order.hold_s:
                        await workflow.sleep(order.hold_s)
                    if order.fail:
                        raise ApplicationError("the tool broke", type="ToolFailed", non_retryable=True)
                    left = workflow.now().timestamp()
                self._status = "released"
        except LeaseLost as e:
            return Held(entered=entered, left=left, lost=e.message, waits=tuple(self._waits))
        return Held(entered=entered, left=left, waits=tuple(self._waits))

    def _wait(self, wait: LeaseWait) -> None:
        self._status = "waiting"
        self._waits.append(wait)
        workflow.set_current_details(wait.sentence)

    @workflow.signal
    def finish(self) -> None:
        self._finished = True

    @workflow.query
    def status(self) -> str:
        return self._status

    @workflow.query
    def waits(self) -> list[LeaseWait]:
        return self._waits


@workflow.defn
class Careless:
    """A process that asks, and never gives back; it ends without a release."""

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)
