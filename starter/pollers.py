"""Who polls a task queue: whether anybody will do the work is said, not waited for."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

RECENT_S = 90.0
"""A worker polls at least once a minute; the server lists one that was killed for some minutes more."""


@dataclass(frozen=True)
class Pollers:
    """The workers that asked for work lately."""

    queue: str
    identities: tuple[str, ...]
    last_seen_s: float | None
    """Seconds since the latest of them asked; None: the server remembers none."""

    @property
    def present(self) -> bool:
        return self.last_seen_s is not None and self.last_seen_s < RECENT_S


async def pollers_of(client: Client, queue: str, *, workflows: bool) -> Pollers:
    """Those that poll for workflow tasks, or for activities."""
    kind = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW if workflows else TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
    request = DescribeTaskQueueRequest(namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind)
    told = await client.workflow_service.describe_task_queue(request, retry=True, timeout=timedelta(seconds=10))
    seen = {one.identity: one.last_access_time.ToDatetime(tzinfo=UTC) for one in told.pollers}
    if not seen:
        return Pollers(queue, (), None)
    newest = max(seen.values())
    recent = tuple(sorted(name for name, at in seen.items() if (newest - at).total_seconds() < RECENT_S))
    return Pollers(queue, recent, max(0.0, (datetime.now(UTC) - newest).total_seconds()))
