"""The schedule that looks for abandoned changes: ensured by every central worker when it starts."""

import logging
from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
)
from temporalio.service import RPCError

from perfwright.models.queues import CENTRAL_QUEUE
from perfwright.models.undo import JanitorRequest

SCHEDULE_ID = "perfwright-undo-janitor"
LOOK_EVERY = timedelta(minutes=5)

log = logging.getLogger("perfwright.worker")


async def ensure_undo_janitor(client: Client, *, every: timedelta = LOOK_EVERY) -> None:
    """Make it, unless it is there: what somebody changed about it, or paused, stays so. A server that refuses is told in the log."""
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(
            "UndoJanitor",
            JanitorRequest(),
            id="undo-janitor",
            task_queue=CENTRAL_QUEUE,
            static_summary="Undo changes whose run is gone",
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=timedelta(minutes=1)),
    )
    try:
        await client.create_schedule(SCHEDULE_ID, schedule)
    except ScheduleAlreadyRunningError:
        return
    except RPCError as refused:
        log.warning(
            "the schedule %s cannot be made (%s: %s): changes of terminated runs are undone by `perfwright undo` only",
            SCHEDULE_ID,
            refused.status.name,
            " ".join(refused.message.split())[:200],
        )
