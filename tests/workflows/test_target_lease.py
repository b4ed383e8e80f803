"""TargetLease and its bracket against a real server."""

import asyncio
import itertools
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, RPCError, WorkflowFailureError, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import Replayer

from activities.leases import Leases
from perfwright.models.lease import (
    LeaseHolderId,
    LeaseMember,
    LeaseRequest,
    LeaseSettings,
    LeaseState,
    LeaseTicket,
    LeaseView,
    Watch,
    lease_workflow_id,
)
from tests.workflows.lease_processes import Careless, Held, Hold, Measuring
from tests.workflows.lease_worker import QUICK, lease_activities
from workflows.plugin.plugin import PerfwrightPlugin
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


def assert_one_after_the_other(held: list[Held]) -> None:
    for earlier, later in itertools.pairwise(held):
        assert 0 < earlier.entered <= earlier.left <= later.entered


async def test_first_come_first_served(worker: None, start: Starter, client: Client, resource: str) -> None:
    """Processes on one target run one after the other, in the order in which they asked."""
    processes = [await start(wait_for=status) for status in ("holding", "waiting", "waiting", "waiting")]
    seen = await lease_of(client, resource)
    assert seen.holder is not None and seen.holder.workflow_id == processes[0].id
    assert [w.holder.workflow_id for w in seen.waiters] == [p.id for p in processes[1:]]
    held = []
    for process in processes:
        await until(lambda process=process: has_status(process, "holding"))
        await process.signal(Measuring.finish)
        held.append(await process.result())
    assert_one_after_the_other(held)
    assert not any(h.lost for h in held)


async def test_who_waits_says_who_holds_it(worker: None, start: Starter, client: Client, resource: str) -> None:
    """A waiting process shows in its details who holds what since when; the lease shows both sides."""
    first = await start(wait_for="holding")
    second = await start(wait_for="waiting")
    shown = str(await second.query("__temporal_workflow_metadata"))
    assert f"Waiting for {resource}: held by {first.id} since" in shown
    (wait,) = await second.query(Measuring.waits)
    assert (wait.resource, wait.holder.workflow_id, wait.position) == (resource, first.id, 1) and wait.since.startswith("20")
    shown = str(await client.get_workflow_handle(lease_workflow_id(resource)).query("__temporal_workflow_metadata"))
    assert f"Held by `{first.id}`" in shown and f"1. `{second.id}`" in shown


async def test_an_uncontended_lease_costs_two_steps(worker: None, start: Starter) -> None:
    """Two resources are taken and given back by two activities, and nothing else enters the process's history."""
    process = await start(resources=("host/" + uuid.uuid4().hex, "target/" + uuid.uuid4().hex), hold_s=0)
    await process.result()
    kinds = [event.event_type async for event in process.fetch_history_events()]
    assert kinds.count(EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED) == 2
    assert len(kinds) <= 17


async def test_two_resources_without_deadlock(worker: None, start: Starter) -> None:
    """Two processes that name the same resources in opposite orders both finish, one after the other."""
    one, other = f"target/{uuid.uuid4().hex}", f"host/{uuid.uuid4().hex}"
    orders = [(one, other), (other, one)] * 4
    processes = [await start(resources=order, hold_s=0) for order in orders]
    held = [await process.result() for process in processes]
    assert not any(h.lost for h in held)
    assert_one_after_the_other(sorted(held, key=lambda h: h.entered))


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


async def test_a_child_works_under_its_parents_lease(worker: None, start: Starter, client: Client, resource: str) -> None:
    """A child with its parent's ticket does not wait for its parent, and what its parent did not lease is refused."""
    parent = await start(child_resources=(resource,), child_hold_s=0, hold_s=0)
    assert not (await parent.result()).lost

    stranger = await start(child_resources=("target/another",), child_hold_s=0, hold_s=0)
    with pytest.raises(WorkflowFailureError) as caught:
        await stranger.result()
    refused = caught.value.cause.__cause__
    assert isinstance(refused, ApplicationError) and refused.type == "InvalidInput" and "target/another" in refused.message


async def test_a_ticket_that_is_no_longer_good_is_told(worker: None, start: Starter, resource: str) -> None:
    """A child that begins after its parent's lease has ended does not measure: it learns at once that the lease is lost."""
    late = await start(ticket=LeaseTicket(tokens={resource: "long-gone"}))
    result = await late.result()
    assert resource in result.lost and not result.entered


async def test_a_resource_that_is_none_is_refused(worker: None, start: Starter) -> None:
    """What is neither a target nor a host is refused with its name, instead of a workflow task that fails for ever."""
    process = await start(resources=("target/fine", "moon/7"))
    with pytest.raises(WorkflowFailureError) as caught:
        await process.result()
    assert isinstance(caught.value.cause, ApplicationError) and "moon/7" in caught.value.cause.message


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
        held = []
        for process in processes:
            await until(lambda process=process: has_status(process, "holding"))
            await process.signal(Measuring.finish)
            held.append(await process.result())
        assert_one_after_the_other(held)
        assert not any(h.lost for h in held)
        assert (await lease.result()).grants == 5

    replayer = Replayer(workflows=PROCESSES, plugins=[PerfwrightPlugin()])
    for handle in (lease, *processes):
        await replayer.replay_workflow(await handle.fetch_history())


@pytest.mark.parametrize("cached", [1_000, 0])
async def test_sixty_contended_leases(running_worker: Any, start: Starter, client: Client, resource: str, cached: int) -> None:
    """Twenty processes at once, three leases each, with continue-as-new in between: none is lost, none overlaps; also without a cache."""
    settings = QUICK.model_copy(update={"max_grants": 7})
    times = 3 if cached else 1
    async with running_worker(workflows=PROCESSES, activities=lease_activities(settings), max_cached_workflows=cached):
        processes = await asyncio.gather(*(start(hold_s=0, times=times, ask_again_s=5.0) for _ in range(20)))
        held = await asyncio.gather(*(process.result() for process in processes))
        assert not any(h.lost for h in held)
        assert_one_after_the_other(sorted(held, key=lambda h: h.entered))
        assert (await lease_of(client, resource)).grants == 20 * times


async def test_asking_while_it_completes_is_safe(running_worker: Any, start: Starter) -> None:
    """A lease that completes as soon as it is idle never swallows a request that comes at that moment."""
    settings = QUICK.model_copy(update={"idle_s": 0.05})
    async with running_worker(workflows=PROCESSES, activities=lease_activities(settings)):
        for process in [await start(hold_s=0.05, times=3) for _ in range(3)]:
            assert not (await process.result()).lost


BAD_UPDATES: list[tuple[str, list[Any]]] = [
    ("acquire", []),
    ("acquire", ["me"]),
    ("acquire", [None]),
    ("acquire", [{"token": "t"}]),
    ("acquire", [{"token": "", "holder": {"workflow_id": "w", "first_run_id": "r", "run_id": "r"}}]),
    ("acquire", [{"token": "t"}, {"token": "t"}]),
    ("release", []),
    ("release", [7]),
    ("release", [{"token": "t" * 1_000, "run_id": "r"}]),
    ("steal", [{}]),
]


async def test_bad_messages_do_not_wedge_it(
    worker: None, start: Starter, client: Client, raw_client: Client, task_queue: str, resource: str
) -> None:
    """Whatever is sent to a lease is refused or listed, and its holder and waiters do not notice."""
    first, second = await start(wait_for="holding"), await start(wait_for="waiting")
    lease = raw_client.get_workflow_handle(lease_workflow_id(resource))
    for name, args in BAD_UPDATES:
        with pytest.raises((WorkflowUpdateFailedError, RPCError)):
            await lease.execute_update(name, args=args, rpc_timeout=timedelta(seconds=10))
    for name in ("request", "release", "lease_granted"):
        await lease.signal(name, {"any": "thing"})
    for args in ([], ["x"], [{"resource": resource}], [{"resource": resource, "token": "not-mine"}], [1, 2]):
        await raw_client.get_workflow_handle(second.id).signal("lease_granted", args=args)

    async def are_listed() -> bool:
        return len(await lease.query("rejected_decisions")) == 3 and len(await second.query("rejected_decisions")) == 4

    await until(are_listed)
    assert await has_status(second, "waiting") and await has_status(first, "holding")
    await first.signal(Measuring.finish)
    await until(lambda: has_status(second, "holding"))
    await second.signal(Measuring.finish)
    assert not (await first.result()).lost and not (await second.result()).lost
    kinds = [event.event_type async for event in lease.fetch_history_events()]
    assert EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED not in kinds
    for args in ([], ["x"], [{"grants": "many"}], [{}, {}]):
        bad = await raw_client.start_workflow("TargetLease", args=args, id=f"target-lease/{uuid.uuid4()}", task_queue=task_queue)
        with pytest.raises(WorkflowFailureError) as caught:
            await bad.result()
        assert isinstance(caught.value.cause, ApplicationError) and caught.value.cause.type == "InvalidInput"


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


def test_settings_are_bounded() -> None:
    """A lease cannot be told to look without a pause, or never to continue as new."""
    for wrong in ({"watch_every_s": 0}, {"max_grants": 0}, {"idle_s": -1}, {"max_grants": 100_000}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            LeaseSettings.model_validate(wrong)
