"""A thousand processes that wait at a gate, on one worker: each can be answered, and no workflow task fails.

They are started fifty at a time, found by the search that an inbox makes, asked what waits (query) and answered (update), ten at a time.
Then every history is read for workflow tasks that failed or timed out.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle

from benchmarks.measured import Measured, percentile
from benchmarks.running import OURS, SampleWorker, sample_worker, server, wait_until
from benchmarks.samples.models import Request
from workflows.plugin.plugin import PerfwrightPlugin

PROCESSES = 1_000
STARTED_AT_ONCE = 50
ANSWERED_AT_ONCE = 10
BAD = {EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED, EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT}
ANSWER = {"action": "approve", "gate": "findings_review", "by": "benchmark"}
WAITING = "ExecutionStatus = 'Running' AND PerfPendingGates = 'findings_review'"

Handle = WorkflowHandle[Any, Any]


async def measure() -> list[Measured]:
    async with server() as address:
        with sample_worker(OURS, address) as worker:
            return await wait_and_answer(await Client.connect(address, plugins=[PerfwrightPlugin()]), worker)


async def wait_and_answer(client: Client, worker: SampleWorker) -> list[Measured]:
    empty_bytes, began = worker.resident_bytes(), time.perf_counter()
    handles: list[Handle] = []

    async def start(number: int) -> None:
        name = f"benchmark-{uuid.uuid4()}"
        handles.append(await client.start_workflow("OnlyGate", Request(target=f"shop-{number}"), id=name, task_queue=worker.queue))

    async def all_wait() -> bool:
        return (await client.count_workflows(WAITING)).count == PROCESSES

    await some_at_once(start, range(PROCESSES), STARTED_AT_ONCE)
    await wait_until(all_wait, 240, f"{PROCESSES} open gates")
    opened_s, held_bytes = time.perf_counter() - began, worker.resident_bytes() - empty_bytes

    seconds: list[float] = []
    taken: list[str] = []

    async def answer(handle: Handle) -> None:
        sent = time.perf_counter()
        decision = await handle.execute_update("decide", ANSWER, result_type=dict)
        seconds.append(time.perf_counter() - sent)
        result = await handle.result()
        taken.append(f"{decision['outcome']} {result['verdict']}")

    await some_at_once(answer, handles, ANSWERED_AT_ONCE)
    bad: list[str] = []

    async def read(handle: Handle) -> None:
        kinds = [event.event_type async for event in handle.fetch_history_events()]
        bad.extend(f"{handle.id}: {EventType.Name(kind)}" for kind in kinds if kind in BAD)

    await some_at_once(read, handles, ANSWERED_AT_ONCE)
    answered = taken.count("approved passed")
    return [
        Measured(
            f"{PROCESSES:,} gates: answered", answered, "processes", PROCESSES, at_least=True, note=f"all open after {opened_s:.0f} s"
        ),
        Measured(f"{PROCESSES:,} gates: failed workflow tasks", len(bad), "", 0, note="; ".join(bad[:3])),
        Measured(
            "memory of a waiting process", held_bytes / PROCESSES / 1024, "KiB", note=f"worker {empty_bytes / 2**20:.0f} MiB when empty"
        ),
        Measured("answer to a gate, p50", percentile(seconds, 0.5) * 1e3, "ms", note=f"update `decide`, {ANSWERED_AT_ONCE} at once"),
        Measured("answer to a gate, p95", percentile(seconds, 0.95) * 1e3, "ms"),
    ]


async def some_at_once(do: Callable[[Any], Awaitable[None]], items: Any, at_once: int) -> None:
    """Run `do` for each item, so many at one time; the first failure ends all."""
    slots = asyncio.Semaphore(at_once)

    async def one(item: Any) -> None:
        async with slots:
            await do(item)

    async with asyncio.TaskGroup() as group:
        for item in items:
            group.create_task(one(item))
