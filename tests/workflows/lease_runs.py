"""Runs that hold a lease of the test's own, and what is seen of it from outside."""

import asyncio
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle

from perfwright.models.lease import (
    LeaseView,
    lease_workflow_id,
)
from tests.workflows.lease_processes import Careless, Held, Hold, Measuring
from tests.workflows.lease_worker import lease_activities
from workflows.shared.target_lease import TargetLease

PATIENCE_S = 60.0
PROCESSES = [TargetLease, Measuring, Careless]
Starter = Callable[..., Awaitable[WorkflowHandle[Any, Held]]]


@pytest.fixture
def resource() -> str:
    return f"target/{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def worker(running_worker: Any) -> AsyncIterator[None]:
    async with running_worker(workflows=PROCESSES, activities=lease_activities()):
        yield


@pytest.fixture
def start(client: Client, task_queue: str, resource: str) -> Starter:
    """Start a process that holds the resource until it is told to finish."""

    async def start(*, id: str = "", wait_for: str = "", run_timeout: timedelta | None = None, **order: Any) -> WorkflowHandle[Any, Held]:
        process = await client.start_workflow(
            Measuring.run,
            Hold(**({"resources": (resource,)} | order)),
            id=id or f"measuring-{uuid.uuid4().hex[:12]}",
            task_queue=task_queue,
            run_timeout=run_timeout,
        )
        if wait_for:
            await until(lambda: has_status(process, wait_for))
        return process

    return start


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + PATIENCE_S
    while not await condition():
        assert time.monotonic() < deadline, "what was waited for did not come"
        await asyncio.sleep(0.05)


async def has_status(process: WorkflowHandle[Any, Any], status: str) -> bool:
    return await process.query(Measuring.status) == status


async def lease_of(client: Client, resource: str) -> LeaseView:
    return await client.get_workflow_handle_for(TargetLease.run, lease_workflow_id(resource)).query(TargetLease.lease)


async def finished_in_turn(processes: Sequence[WorkflowHandle[Any, Held]]) -> None:
    """Each is told to finish once it holds the lease; they held it one after the other, and none lost it."""
    held = []
    for process in processes:
        await until(lambda process=process: has_status(process, "holding"))
        await process.signal(Measuring.finish)
        held.append(await process.result())
    assert_one_after_the_other(held)
    assert not any(h.lost for h in held)


def assert_one_after_the_other(held: list[Held]) -> None:
    for earlier, later in itertools.pairwise(held):
        assert 0 < earlier.entered <= earlier.left <= later.entered
