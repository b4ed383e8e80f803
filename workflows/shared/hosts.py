"""Is there a worker on the target's host? Asked once, before the first step, so that its absence is told within a minute."""

from temporalio import workflow
from temporalio.exceptions import ActivityError, TimeoutError, TimeoutType

from activities.errors import refuse
from activities.hosts import Hosts
from activities.queues import Queues
from perfwright.models.errors import ErrorType
from perfwright.models.host import HostFacts
from workflows.shared.options import PROBE_WAIT_S, READ, probing


async def reach_host(host: str, *, within_s: float = PROBE_WAIT_S) -> HostFacts:
    """Facts of the host; raises HostUnreachable, with the command to start a worker there, when none answers within `within_s`."""
    try:
        return await workflow.execute_activity_method(
            Hosts.probe_host, summary=f"Is there a worker on host {host}?", **probing(host, wait_s=within_s)
        )
    except ActivityError as e:
        if not _nobody_came(e):
            raise
    sighting = await workflow.execute_activity_method(Queues.describe_host_queue, host, summary=f"Who polled for host {host} last?", **READ)
    raise refuse(ErrorType.HOST_UNREACHABLE, sighting.sentence)


def _nobody_came(error: ActivityError) -> bool:
    """The task was never picked up, or whoever picked it up was gone before it answered."""
    return isinstance(error.cause, TimeoutError) and error.cause.type in (
        TimeoutType.SCHEDULE_TO_START,
        TimeoutType.SCHEDULE_TO_CLOSE,
        TimeoutType.START_TO_CLOSE,
    )
