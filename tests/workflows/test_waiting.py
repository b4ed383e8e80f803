"""`together` and `to_the_end` against a real server, with and without a workflow cache."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.worker import Replayer

from tests.workflows.waiting_samples import Bracketed, Hasty, Order, Parent, Stubborn, Tool, Tools, Typed
from workflows.plugin.plugin import PerfwrightPlugin

CACHES = pytest.mark.parametrize("cached", [1000, 0], ids=["cached", "uncached"])
WORKFLOWS = [Bracketed, Hasty, Parent, Stubborn, Typed]


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str, deadline_s: float = 20) -> None:
    end = time.monotonic() + deadline_s
    while not (await met if isinstance(met := condition(), Awaitable) else met):
        assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
        await asyncio.sleep(0.02)


async def ended(handle: WorkflowHandle) -> BaseException | None:
    """How the run failed, after its history has been replayed with the same outcome."""
    failure = None
    try:
        await asyncio.wait_for(handle.result(), 40)
    except WorkflowFailureError as e:
        failure = e.cause
    history = await handle.fetch_history()
    await Replayer(workflows=WORKFLOWS, plugins=[PerfwrightPlugin()]).replay_workflow(history)
    assert not [e for e in history.events if e.HasField("workflow_task_failed_event_attributes")]
    return failure


@pytest.fixture
def tools() -> Tools:
    return Tools()


async def start(client: Client, task_queue: str, *side_by_side: Tool, forgiving: bool = False) -> WorkflowHandle:
    order = Order(side_by_side=list(side_by_side), forgiving=forgiving)
    return await client.start_workflow(Bracketed.run, order, id=str(uuid.uuid4()), task_queue=task_queue)


@CACHES
async def test_nothing_still_runs_when_the_undo_of_a_cancelled_run_begins(client, running_worker, task_queue, tools, cached):
    """A cancel waits for the slowest tool to stop, then undoes to the end, and a second cancel changes nothing."""
    async with running_worker(workflows=WORKFLOWS, activities=[tools.run_tool], max_cached_workflows=cached):
        handle = await start(client, task_queue, Tool(name="slow", stops_in_s=1.2), Tool(name="quick", stops_in_s=0.1))
        await until(lambda: {"slow runs", "quick runs"} <= set(tools.journal), "both run")
        await handle.cancel()
        await until(lambda: "undo runs" in tools.journal, "undo runs")
        await handle.cancel()
        assert isinstance(await ended(handle), CancelledError)
    assert tools.journal[-6:] == ["quick stopped", "slow stopped", "undo runs", "undo ended", "release runs", "release ended"]


@CACHES
async def test_a_failing_step_stops_its_siblings_before_the_undo(client, running_worker, task_queue, tools, cached):
    """When one of several steps fails, the others are cancelled and awaited, then the first error is told."""
    async with running_worker(workflows=WORKFLOWS, activities=[tools.run_tool], max_cached_workflows=cached):
        handle = await start(client, task_queue, Tool(name="slow", stops_in_s=0.8), Tool(name="broken", runs_s=0.2, fails=True))
        failure = await ended(handle)
        assert isinstance(failure.__cause__, ApplicationError)
        assert failure.__cause__.type == "ToolFailed"
    assert tools.journal.index("slow stopped") < tools.journal.index("undo runs") < tools.journal.index("release ended")
    assert "after runs" not in tools.journal


@CACHES
async def test_a_cancel_during_the_undo_of_a_failed_run_lets_it_finish(client, running_worker, task_queue, tools, cached):
    """Undo and release are not cancelled by the first cancel that comes while they run; the run then counts as cancelled."""
    async with running_worker(workflows=WORKFLOWS, activities=[tools.run_tool], max_cached_workflows=cached):
        handle = await start(client, task_queue, Tool(name="broken", runs_s=0.1, fails=True))
        await until(lambda: "undo runs" in tools.journal, "undo runs")
        await handle.cancel()
        assert isinstance(await ended(handle), CancelledError)
    assert tools.journal[-4:] == ["undo runs", "undo ended", "release runs", "release ended"]


@CACHES
@pytest.mark.parametrize("forgiving", [False, True], ids=["strict", "forgiving"])
@pytest.mark.parametrize("then", ["returns what it has", "ends cancelled", "dies"])
async def test_a_swallowed_cancellation_is_not_lost(client, running_worker, task_queue, tools, cached, then, forgiving):
    """Whatever a step makes of a cancel (a result, an error taken for a skip, a dead worker), the run ends cancelled."""
    async with running_worker(workflows=WORKFLOWS, activities=[tools.run_tool], max_cached_workflows=cached):
        handle = await start(client, task_queue, Tool(name="tool", stops_in_s=0.1, then=then), forgiving=forgiving)
        await until(lambda: "tool runs" in tools.journal, "tool runs")
        await handle.cancel()
        assert isinstance(await ended(handle), CancelledError)
        tools.buried.set()
    assert "after runs" not in tools.journal
    assert tools.journal[-1] == "release ended"


@CACHES
async def test_a_childs_result_does_not_undo_a_cancellation(client, running_worker, task_queue, cached):
    """A parent is cancelled although its child answered the cancel with a result."""
    async with running_worker(workflows=WORKFLOWS, max_cached_workflows=cached):
        handle = await client.start_workflow(Parent.run, id=str(uuid.uuid4()), task_queue=task_queue)
        child = client.get_workflow_handle(f"{handle.id}/child")

        async def child_runs() -> bool:
            events = (await handle.fetch_history()).events
            started = [e.event_id for e in events if e.HasField("child_workflow_execution_started_event_attributes")]
            return bool(started) and events[-1].HasField("workflow_task_completed_event_attributes") and events[-1].event_id > started[0]

        await until(child_runs, "the parent knows that its child runs")
        await handle.cancel()
        assert isinstance(await ended(handle), CancelledError)
        assert await child.result() == "done all the same"


@CACHES
async def test_a_step_cancelled_before_its_first_turn_never_runs(client, running_worker, task_queue, tools, cached):
    """Nothing is left behind by a step that is cancelled as soon as it was started, and the run goes on."""
    async with running_worker(workflows=WORKFLOWS, activities=[tools.run_tool], max_cached_workflows=cached):
        handle = await client.start_workflow(Hasty.run, id=str(uuid.uuid4()), task_queue=task_queue)
        assert await ended(handle) is None
        assert await handle.result() == "the step is gone"
    assert tools.journal == ["next runs", "next ended"]


async def test_results_come_in_order(client, running_worker, task_queue):
    """`together` gives each step's result in the order of the steps, whichever ends first."""
    async with running_worker(workflows=WORKFLOWS):
        assert await client.execute_workflow(Typed.run, id=task_queue, task_queue=task_queue) == [2, "A", []]
