"""Marks on the team's dashboards: when a change was applied, and when it was undone."""

from temporalio import workflow
from temporalio.exceptions import ActivityError

from activities.annotations import Annotations
from perfwright.analysis.gate_answers import told
from perfwright.models.delivery import AnnotationOrder
from workflows.shared.options import READ
from workflows.shared.waiting import stop_if_cancelled

TOLD_CHARACTERS = 600


async def marked(order: AnnotationOrder) -> str:
    """Why there is no mark; empty where there is one, or where the registry names no dashboards. It stops nothing."""
    try:
        note: str = await workflow.execute_activity_method(
            Annotations.annotate_change, order, summary=f"Mark on dashboards that it was {order.word}", **READ
        )
    except ActivityError as failed:
        stop_if_cancelled()
        note = told(str(failed.cause or failed), TOLD_CHARACTERS)
    return f"dashboards: {note}" if note else ""
