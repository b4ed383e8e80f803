"""Who polls a host's queue: asked of the server when no worker answers."""

from datetime import UTC, datetime, timedelta

from temporalio import activity
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import RPCError

from perfwright.models.host import HostSighting
from perfwright.models.queues import probe_queue

ANSWER_WITHIN = timedelta(seconds=5)


class Queues:
    """Central: works where no host worker does."""

    @activity.defn
    async def describe_host_queue(self, host: str) -> HostSighting:
        """Who polled the probe queue of `host` last, and when. Killed workers stay listed for about five minutes."""
        client, queue = activity.client(), probe_queue(host)
        request = DescribeTaskQueueRequest(
            namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
        )
        try:
            told = await client.workflow_service.describe_task_queue(request, retry=True, timeout=ANSWER_WITHIN)
        except RPCError as e:
            raise ConnectionError(f"the server did not describe {queue}: {e}") from e
        if not told.pollers:
            return HostSighting(host=host, queue=queue)
        last = max(told.pollers, key=lambda poller: poller.last_access_time.ToNanoseconds())
        seen_at = last.last_access_time.ToDatetime(tzinfo=UTC)
        return HostSighting(
            host=host, queue=queue, identity=last.identity, last_seen_s=max(0.0, (datetime.now(UTC) - seen_at).total_seconds())
        )
