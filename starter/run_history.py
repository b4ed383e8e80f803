"""The events of a run as they happen: long polls that survive a restarted server, and follow a run that continues as new."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import timedelta

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

SERVER_BACK_S = 120.0
"""How long a server may be away before following ends."""
POLL = timedelta(seconds=90)
QUEUED_EVENTS = 5_000
PASSING = frozenset({RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED, RPCStatusCode.RESOURCE_EXHAUSTED})

CLOSING = frozenset(
    {
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT,
    }
)


async def batches(client: Client, workflow_id: str, run_id: str | None, *, tick_s: float = 1.0) -> AsyncGenerator[list[HistoryEvent], None]:
    """Lists of new events, oldest first; an empty one every `tick_s` in which nothing happened. Ends after the closing event.

    Raises RPCError when there is no such run, or when the server is away for longer than two minutes.
    """
    queue: asyncio.Queue[HistoryEvent | None] = asyncio.Queue(QUEUED_EVENTS)
    reader = asyncio.create_task(_read(client, workflow_id, run_id, queue))
    try:
        while True:
            batch: list[HistoryEvent | None] = []
            with suppress(TimeoutError):
                async with asyncio.timeout(tick_s):  # wait_for loses a Ctrl-C that comes together with an event (Python 3.11)
                    batch.append(await queue.get())
            while not queue.empty():
                batch.append(queue.get_nowait())
            yield [event for event in batch if event is not None]
            if None in batch:
                await reader
                return
    finally:
        reader.cancel()
        with suppress(asyncio.CancelledError, RPCError):
            await reader


async def _read(client: Client, workflow_id: str, run_id: str | None, queue: "asyncio.Queue[HistoryEvent | None]") -> None:
    """Puts every event, then None: after the last one, and before raising."""
    seen, away_since = 0, None
    clock = asyncio.get_running_loop().time
    try:
        while True:
            handle = client.get_workflow_handle(workflow_id, run_id=run_id)
            try:
                async for event in handle.fetch_history_events(wait_new_event=True, rpc_timeout=POLL):
                    away_since = None
                    if event.event_id <= seen:
                        continue
                    seen = event.event_id
                    await queue.put(event)
                    if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW:
                        run_id = event.workflow_execution_continued_as_new_event_attributes.new_execution_run_id
                        seen = 0
                    if event.event_type in CLOSING:
                        return
            except RPCError as error:
                away_since = away_since or clock()
                if error.status not in PASSING or clock() - away_since > SERVER_BACK_S:
                    raise
                await asyncio.sleep(0.5)
    finally:
        await queue.put(None)
