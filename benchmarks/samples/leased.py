"""A process that takes the lease of one resource again and again, as a process that measures takes its target's."""

from temporalio import workflow

from benchmarks.samples.models import Bracket, LeaseOrder
from benchmarks.samples.steps import do_step
from workflows.shared.leasing import LeaseHolder, target_lease
from workflows.shared.options import READ


@workflow.defn
class TakesLeases(LeaseHolder):
    """Holds it for one step, `times` times; a lease that is lost meanwhile fails the run."""

    @workflow.run
    async def run(self, order: LeaseOrder) -> list[Bracket]:
        brackets = []
        for number in range(order.times):
            async with target_lease(self, [order.resource]) as ticket:
                entered = workflow.now().timestamp()
                await workflow.execute_activity(do_step, number, summary=f"Step {number}", **READ)
                brackets.append(Bracket(token=ticket.tokens[order.resource], entered_s=entered, left_s=workflow.now().timestamp()))
        return brackets
