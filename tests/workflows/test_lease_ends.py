"""What becomes of a TargetLease when a holder, a waiter, its worker or the lease itself ends."""

import asyncio
import sys
import uuid
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import CancelledError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import Replayer

from activities.leases import Leases
from perfwright.models.lease import (
    LeaseHolderId,
    LeaseMember,
    LeaseRequest,
    LeaseState,
    Watch,
    lease_workflow_id,
)
from tests.workflows.lease_processes import Careless, Held, Measuring
from tests.workflows.lease_runs import (
    PATIENCE_S,
    PROCESSES,
    Starter,
    finished_in_turn,
    has_status,
    lease_of,
    resource,
    start,
    until,
    worker,
)
from tests.workflows.lease_worker import QUICK, lease_activities
from workflows.plugin.plugin import PerfwrightPlugin
from workflows.shared.target_lease import TargetLease

__all__ = ["resource", "start", "worker"]


@pytest.mark.parametrize("end", ["terminate", "timeout", "cancel", "failure"])
async def test_a_holder_that_ends_frees_it(worker: None, start: Starter, end: str) -> None:
    """However a holder ends (terminated, timed out, cancelled, failed), the next in line measures."""
    options: dict[str, Any] = {"timeout": {"run_timeout": timedelta(seconds=3)}, "failure": {"fail": True}}.get(end, {})
    first = await start(wait_for="holding", **options)
    second = await start(wait_for="waiting")
    if end == "terminate":
        await first.terminate()
    elif end == "cancel":
        await first.cancel()
    elif end == "failure":
        await first.signal(Measuring.finish)
    with pytest.raises(WorkflowFailureError):
        await first.result()
    await until(lambda: has_status(second, "holding"))
    await second.signal(Measuring.finish)
    assert not (await second.result()).lost


async def test_a_dead_holders_profilers_get_time_to_stop(client: Client, task_queue: str) -> None:
    """A terminated holder keeps the lease for the settling time, because its steps hear of its end only with their next heartbeat."""
    holder = await client.start_workflow(Careless.run, id=f"careless-{uuid.uuid4()}", task_queue=task_queue)
    first_run_id = (await holder.describe()).raw_description.workflow_execution_info.first_run_id
    known = LeaseHolderId(workflow_id=holder.id, first_run_id=first_run_id, run_id=first_run_id)
    member = LeaseMember(token="its", holder=known)

    async def over(settle_s: float) -> tuple[str, ...]:
        watch = Watch(members=(member,), every_s=0.1, for_s=0, settle_s=settle_s)
        return (await ActivityEnvironment(client=client).run(Leases().watch_holders, watch)).over

    assert await over(settle_s=0) == ()
    await holder.terminate()
    assert await over(settle_s=3_600) == ()
    assert await over(settle_s=0) == ("its",)


async def test_a_dead_holder_is_found_also_when_nobody_waits(worker: None, start: Starter, client: Client, resource: str) -> None:
    """The lease of a terminated holder does not stand for ever: it becomes free and completes."""
    first = await start(wait_for="holding")
    await first.terminate()
    result = await client.get_workflow_handle_for(TargetLease.run, lease_workflow_id(resource)).result()
    assert result.holder is None and result.grants == 1


async def test_a_later_run_of_the_same_id_is_another_holder(worker: None, start: Starter) -> None:
    """A process that was terminated and started again under its id waits for its own dead predecessor only until that is noticed."""
    first = await start(id=f"again-{uuid.uuid4().hex}", wait_for="holding")
    await first.terminate()
    second = await start(id=first.id, hold_s=0)
    assert not (await second.result()).lost


async def test_a_reset_holder_goes_on_holding(worker: None, start: Starter, client: Client, resource: str) -> None:
    """A holder that is reset to its beginning asks again and holds at once, while the others go on waiting."""
    first = await start(wait_for="holding")
    second = await start(wait_for="waiting")
    description = await first.describe()
    reset = await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=first.id, run_id=description.run_id),
            reason="test",
            workflow_task_finish_event_id=4,
            request_id=uuid.uuid4().hex,
        )
    )
    assert reset.run_id
    again = client.get_workflow_handle(first.id)

    async def is_the_new_run() -> bool:
        seen = await lease_of(client, resource)
        return seen.holder is not None and seen.holder.run_id == reset.run_id

    await until(is_the_new_run)
    assert await has_status(second, "waiting")
    await again.signal(Measuring.finish)
    assert not Held.model_validate(await again.result()).lost
    await until(lambda: has_status(second, "holding"))
    await second.signal(Measuring.finish)
    assert not (await second.result()).lost


@pytest.mark.parametrize("end", ["cancel", "terminate"])
async def test_a_waiter_that_ends_is_skipped(worker: None, start: Starter, client: Client, resource: str, end: str) -> None:
    """A waiter that is cancelled leaves the line at once, a terminated one when its turn comes; the next one measures."""
    first, second = await start(wait_for="holding"), await start(wait_for="waiting")
    third = await start(wait_for="waiting")
    await (second.cancel() if end == "cancel" else second.terminate())
    with pytest.raises(WorkflowFailureError) as caught:
        await second.result()
    if end == "cancel":
        assert isinstance(caught.value.cause, CancelledError)
        assert [w.holder.workflow_id for w in (await lease_of(client, resource)).waiters] == [third.id]
    await first.signal(Measuring.finish)
    await until(lambda: has_status(third, "holding"))
    await third.signal(Measuring.finish)
    assert not (await third.result()).lost


async def test_a_terminated_lease_is_told(worker: None, start: Starter, client: Client, resource: str) -> None:
    """When the lease itself is terminated its waiter goes on by asking again, and the holder learns that it may not have been alone."""
    first = await start(wait_for="holding")
    second = await start(wait_for="waiting", ask_again_s=0.5)
    await client.get_workflow_handle(lease_workflow_id(resource)).terminate()
    await until(lambda: has_status(second, "holding"))
    for process in (first, second):
        await process.signal(Measuring.finish)
    lost = (await first.result()).lost
    assert resource in lost and "Start the process again" in lost
    assert not (await second.result()).lost


async def test_a_terminated_parents_child_keeps_the_lease(worker: None, start: Starter, client: Client, resource: str) -> None:
    """While a child of a terminated parent still works (it may be undoing), nobody else measures."""
    parent = await start(child_resources=(resource,), wait_for="holding")
    child = client.get_workflow_handle_for(Measuring.run, f"{parent.id}/trial-1")

    async def child_holds() -> bool:
        return len((await lease_of(client, resource)).members) == 2

    await until(child_holds)
    other = await start(wait_for="waiting")
    await parent.terminate()

    async def only_the_child_holds() -> bool:
        return [m.workflow_id for m in (await lease_of(client, resource)).members] == [child.id]

    await until(only_the_child_holds)
    assert await has_status(other, "waiting")
    await child.signal(Measuring.finish)
    assert not (await child.result()).lost
    await until(lambda: has_status(other, "holding"))
    await other.signal(Measuring.finish)
    await other.result()


async def test_it_survives_continue_as_new(running_worker: Any, start: Starter, client: Client, resource: str) -> None:
    """A lease that continues as new after every grant keeps holder, waiters, their order, and the count; all replays."""
    settings = QUICK.model_copy(update={"max_grants": 1})
    async with running_worker(workflows=PROCESSES, activities=lease_activities(settings)):
        processes = [await start(wait_for=status) for status in ("holding", *["waiting"] * 4)]
        lease = client.get_workflow_handle_for(TargetLease.run, lease_workflow_id(resource))
        description = await lease.describe()
        assert description.raw_description.workflow_execution_info.first_run_id != description.run_id
        await finished_in_turn(processes)
        assert (await lease.result()).grants == 5

    replayer = Replayer(workflows=PROCESSES, plugins=[PerfwrightPlugin()])
    for handle in (lease, *processes):
        await replayer.replay_workflow(await handle.fetch_history())


async def test_a_holder_that_does_not_exist_does_not_wedge_it(worker: None, start: Starter, client: Client, task_queue: str) -> None:
    """A lease that somebody took in the name of a run that never was, or that cannot take signals, is given on."""
    careless = await client.start_workflow(Careless.run, id=f"careless-{uuid.uuid4()}", task_queue=task_queue)
    info = (await careless.describe()).raw_description.workflow_execution_info
    known = LeaseHolderId(workflow_id=careless.id, first_run_id=info.first_run_id, run_id=info.first_run_id)
    for holder in (LeaseHolderId(workflow_id="nobody", first_run_id="r", run_id="r"), known):
        resource = f"target/{uuid.uuid4().hex}"
        lease = await client.start_workflow(
            TargetLease.run, LeaseState(resource=resource, settings=QUICK), id=lease_workflow_id(resource), task_queue=task_queue
        )
        answer = await lease.execute_update(TargetLease.acquire, LeaseRequest(token="theirs", holder=holder))
        assert answer.standing == "granted"
        process = await start(resources=(resource,), hold_s=0)
        if holder is known:
            await until(lambda process=process: has_status(process, "waiting"))
            await careless.terminate()
        assert not (await process.result()).lost


async def test_a_worker_that_is_killed_while_it_holds(temporal_server: str, start: Starter, client: Client, task_queue: str) -> None:
    """kill -9 of the only worker while one holds and one waits: with the next worker both finish, and nothing is lost."""

    async def spawn() -> asyncio.subprocess.Process:
        command = (sys.executable, "-m", "tests.workflows.lease_worker", temporal_server, task_queue)
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), PATIENCE_S) == b"polling\n"
        return process

    spawned = [await spawn()]
    try:
        first, second = await start(wait_for="holding"), await start(wait_for="waiting")
        spawned[0].kill()
        await spawned[0].wait()
        await first.signal(Measuring.finish)
        spawned.append(await spawn())
        await until(lambda: has_status(second, "holding"))
        await second.signal(Measuring.finish)
        assert not (await first.result()).lost and not (await second.result()).lost
    finally:
        for process in spawned:
            if process.returncode is None:
                process.kill()
            await process.wait()
