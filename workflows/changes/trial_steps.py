"""Steps of a trial that need nothing of its course, and what is told of those that fail."""

import asyncio
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from activities.abandoned_changes import AbandonedChangeFinder
from activities.delivery import Delivery
from perfwright.analysis.gate_answers import told
from perfwright.models.delivery import Delivered, DeliveryOrder
from perfwright.models.lease import summary_of
from perfwright.models.undo import ChangeReference
from workflows.shared.options import READ, outlasting
from workflows.shared.run_story import RunStory


async def delivered(process: RunStory, order: DeliveryOrder) -> tuple[Delivered, str]:
    """In the form in which its owner keeps state; and why it is not: what cannot be delivered stops nothing."""
    with process.step("Deliver the kept change", "documentation") as step:
        try:
            done: Delivered = await workflow.execute_activity_method(
                Delivery.deliver_change, order, summary=summary_of(f"Write it down for its owner: {order.reason}"), **READ
            )
        except ActivityError as failed:
            step.skip(told_trouble(failed))
            return Delivered(), f"not delivered: {told_trouble(failed)}"
        step.note = done.told
    return done, ""


async def begin_undo(change: ChangeReference, title: str) -> None:
    """A central step, before that of the host, which may be away: from now on the janitor undoes what was kept, should the run be lost."""
    await workflow.execute_activity_method(
        AbandonedChangeFinder.begin_undo, change, summary=summary_of(f"It is kept no longer: {title}"), **outlasting(READ)
    )


async def stopped(*tasks: "asyncio.Task[Any] | None") -> None:
    """Cancelled, and at their end, however they end."""
    running = [task for task in tasks if task is not None]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def told_trouble(trouble: BaseException) -> str:
    """Why it failed, in one line."""
    if isinstance(trouble, asyncio.CancelledError) or is_cancelled_exception(trouble):
        return "it was cancelled"
    return told(str(getattr(trouble, "cause", None) or trouble), 600)


def error_type(failed: ActivityError) -> str | None:
    return failed.cause.type if isinstance(failed.cause, ApplicationError) else None
