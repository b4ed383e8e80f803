"""TargetLease and its bracket against a real server."""

import asyncio
import contextlib
import dataclasses
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, RPCError, WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.leases import Leases
from benchmarks.leases import runs_of
from perfwright.models.lease import (
    LeaseHolderId,
    LeaseSetRelease,
    LeaseSetRequest,
    LeaseSettings,
    LeaseTicket,
    lease_workflow_id,
)
from tests.workflows.lease_processes import Careless, Measuring
from tests.workflows.lease_runs import (
    PATIENCE_S,
    PROCESSES,
    Starter,
    assert_one_after_the_other,
    finished_in_turn,
    has_status,
    lease_of,
    resource,
    start,
    until,
    worker,
)
from tests.workflows.lease_worker import QUICK, lease_activities
from workflows.shared.target_lease import TargetLease

__all__ = ["resource", "start", "worker"]

LEASES, IN_LINE = 240, 5
"""Of one resource in all, and how many wait at a time."""


async def test_first_come_first_served(worker: None, start: Starter, client: Client, resource: str) -> None:
    """Processes on one target run one after the other, in the order in which they asked."""
    processes = [await start(wait_for=status) for status in ("holding", "waiting", "waiting", "waiting")]
    seen = await lease_of(client, resource)
    assert seen.holder is not None and seen.holder.workflow_id == processes[0].id
    assert [w.holder.workflow_id for w in seen.waiters] == [p.id for p in processes[1:]]
    await finished_in_turn(processes)


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


async def test_hundreds_of_leases_in_their_order(running_worker: Any, client: Client, task_queue: str, resource: str) -> None:
    """Each holds when the one before has given back, over every continue-as-new, and no run of the lease grows (thousands: `benchmarks leases`)."""
    leases, environment = Leases(LeaseSettings(max_grants=40, idle_s=60)), ActivityEnvironment(client)
    environment.info = dataclasses.replace(environment.info, task_queue=task_queue)
    process = await client.start_workflow(Careless.run, id=f"holding-{resource}", task_queue=f"nobody-{task_queue}")  # open, and no more
    run_id = process.first_execution_run_id or ""
    holder = LeaseHolderId(workflow_id=process.id, first_run_id=run_id, run_id=run_id)

    async def ask(number: int) -> None:
        if number < LEASES:
            request = LeaseSetRequest(resources=(resource,), token=f"{number}", holder=holder)
            answer = await answered(environment, leases.acquire_leases, request)
            assert (answer.granted, answer.lost) == (() if number else (resource,), ())

    async def give_back(number: int) -> None:
        released = await answered(
            environment, leases.release_leases, LeaseSetRelease(resources=(resource,), token=f"{number}", run_id=run_id)
        )
        assert not released.lost, f"{number} did not hold when {number - 1} had given back"

    async with running_worker(workflows=[TargetLease], activities=lease_activities()):
        for number in range(IN_LINE):
            await ask(number)
        for number in range(LEASES):
            await asyncio.gather(ask(number + IN_LINE), give_back(number))
        seen = await lease_of(client, resource)
        runs = await runs_of(client, lease_workflow_id(resource))
    await process.terminate()
    assert (seen.grants, seen.holder, seen.waiters) == (LEASES, None, ())
    assert len(runs) >= LEASES // 40
    assert max(map(len, runs)) <= 2 * min(map(len, runs[:-1]))


async def test_asking_while_it_completes_is_safe(running_worker: Any, start: Starter) -> None:
    """A lease that completes as soon as it is idle never swallows a request that comes at that moment."""
    settings = QUICK.model_copy(update={"idle_s": 0.05})
    async with running_worker(workflows=PROCESSES, activities=lease_activities(settings)):
        for process in [await start(hold_s=0.05, times=3) for _ in range(3)]:
            assert not (await process.result()).lost


async def answered(environment: ActivityEnvironment, step: Callable[[Any], Awaitable[Any]], question: Any) -> Any:
    """As the retry policy of processes has it: until the lease answers, which it does not while it continues as new."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(ConnectionError):
                return await environment.run(step, question)


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


def test_settings_are_bounded() -> None:
    """A lease cannot be told to look without a pause, or never to continue as new."""
    for wrong in ({"watch_every_s": 0}, {"max_grants": 0}, {"idle_s": -1}, {"max_grants": 100_000}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            LeaseSettings.model_validate(wrong)
