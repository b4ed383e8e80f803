"""Following a run from outside, to do something to it at a certain step; and what must be true of its target and lease afterwards."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import Client, RPCError, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.service import RPCStatusCode

from perfwright.models.gate import OpenGate
from perfwright.models.lease import LeaseView, lease_workflow_id

PATIENCE_S = 240.0
"""A deadline against hanging; a crowded machine is five times slower than a quiet one."""
PROFILERS = {"py-spy", "perf", "activities.cpython.sampler"}
"""Programs, and the module that reads Python's stacks."""
HELD = ("T", "t")
"""States of a thread that is stopped, or held by a tracer."""

Handle = WorkflowHandle[Any, Any]


async def until(condition: Callable[[], Awaitable[Any]], what: str) -> Any:
    """The first true answer of `condition`."""
    deadline = time.monotonic() + PATIENCE_S
    while not (answer := await condition()):
        assert time.monotonic() < deadline, f"did not come: {what}"
        await asyncio.sleep(0.05)
    return answer


async def steps_of(handle: Handle) -> AsyncIterator[tuple[HistoryEvent, str]]:
    """The run's events as they happen, to its end, with the activity type that an event is about (or nothing)."""
    scheduled: dict[int, str] = {}
    async for event in handle.fetch_history_events(wait_new_event=True):
        name = ""
        match event.event_type:
            case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                name = event.activity_task_scheduled_event_attributes.activity_type.name
                scheduled[event.event_id] = name
            case EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
                name = scheduled[event.activity_task_completed_event_attributes.scheduled_event_id]
        yield event, name


async def reached(handle: Handle, activity: str, times: int = 1) -> None:
    """Return when the run has scheduled the activity for the n-th time."""
    seen = 0
    async with asyncio.timeout(PATIENCE_S):
        async for event, name in steps_of(handle):
            seen += name == activity and event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
            if seen == times:
                return
    raise AssertionError(f"the run ended without {activity}")


async def task_failures(handle: Handle) -> list[str]:
    """Workflow tasks that our code failed; not those that the server repeats because something came in meanwhile."""
    failed = [
        event.workflow_task_failed_event_attributes
        async for event in handle.fetch_history_events()
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
    ]
    expected = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND
    return [f"{WorkflowTaskFailedCause.Name(one.cause)}: {one.failure.message}" for one in failed if one.cause != expected]


async def activities_of(handle: Handle) -> list[str]:
    """Every activity that the run has scheduled, in order."""
    return [
        event.activity_task_scheduled_event_attributes.activity_type.name
        async for event in handle.fetch_history_events()
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    ]


async def attempts_of(handle: Handle, activity: str) -> int:
    """How many attempts the activity took until it completed, the first time that the run called it."""
    scheduled: dict[int, str] = {}
    async for event in handle.fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            scheduled[event.event_id] = event.activity_task_scheduled_event_attributes.activity_type.name
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
            started = event.activity_task_started_event_attributes
            if scheduled[started.scheduled_event_id] == activity:
                return started.attempt
    raise AssertionError(f"{activity} did not complete")


async def pending(handle: Handle, activity: str) -> PendingActivityInfo | None:
    described = await handle.describe()
    return next((one for one in described.raw_description.pending_activities if one.activity_type.name == activity), None)


async def heartbeat(client: Client, handle: Handle, activity: str) -> dict[str, Any]:
    """The newest progress of a pending activity; empty when there is none."""
    step = await pending(handle, activity)
    if step is None or not step.heartbeat_details.payloads:
        return {}
    (details,) = await client.data_converter.decode(list(step.heartbeat_details.payloads))
    return details


async def recording(client: Client, handle: Handle, *, slices: int = 1, activity: str = "record_python_stacks") -> dict[str, Any]:
    """Return in the middle of a recording: so many slices are taken, and another one is being taken."""

    async def under_way() -> dict[str, Any] | None:
        progress = await heartbeat(client, handle, activity)
        if not progress and (await handle.describe()).status != WorkflowExecutionStatus.RUNNING:
            raise AssertionError(f"the run ended before: {await handle.result()}")
        samples = progress.get("recorded_s", 0.0) > 0 and progress.get("pass") not in ("probe", "reading stacks")
        return progress if samples and progress["slices"] >= slices else None

    return await until(under_way, f"a recording of {slices} slices in {handle.id}")


async def open_gate(handle: Handle, name: str, revision: int = 1) -> OpenGate:
    """The gate, once it waits for a person; the run is asked whenever it has taken a step, and left alone meanwhile."""
    events, completed = handle.fetch_history_events(wait_new_event=True), EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        await events.fetch_next_page()
        if any(event.event_type == completed for event in events.current_page or ()):
            gates: list[OpenGate] = await handle.query("pending_gates", result_type=list[OpenGate])
            if found := next((gate for gate in gates if (gate.name, gate.revision) == (name, revision)), None):
                return found
        if not events.next_page_token:
            raise AssertionError(f"the run ended before {name}: {await handle.result()}")
    raise AssertionError(f"did not come: {name} of {handle.id}")


async def failure_of(handle: Handle) -> ApplicationError:
    """The typed failure that the run ends with."""
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    error: Any = failed.value.cause
    while error is not None and not isinstance(error, ApplicationError):
        error = error.__cause__
    assert isinstance(error, ApplicationError), failed.value.cause
    return error


async def assert_cancelled(handle: Handle) -> None:
    """The run ends as cancelled, and not as failed or finished."""
    with pytest.raises(WorkflowFailureError) as ended:
        await handle.result()
    assert isinstance(ended.value.cause, CancelledError), ended.value.cause


async def lease_of(client: Client, resource: str) -> LeaseView:
    """Who holds it and who waits; nobody, when there is no such lease (any more)."""
    handle = client.get_workflow_handle(lease_workflow_id(resource), result_type=LeaseView)
    try:
        if (await handle.describe()).status != WorkflowExecutionStatus.RUNNING:
            return LeaseView(resource=resource)
        return await handle.query("lease", result_type=LeaseView)
    except RPCError as e:
        if e.status == RPCStatusCode.NOT_FOUND:
            return LeaseView(resource=resource)
        raise


async def assert_free(client: Client, *resources: str) -> None:
    for resource in resources:
        view = await lease_of(client, resource)
        assert view.holder is None and not view.waiters, view


def profilers_on(pid: int) -> list[str]:
    """Profilers that are attached to the process, or about to be."""
    found = []
    for process in psutil.process_iter(["name", "cmdline", "status"]):
        words = process.info["cmdline"] or []
        if (
            not PROFILERS.isdisjoint((process.info["name"], *words))
            and str(pid) in words
            and process.info["status"] != psutil.STATUS_ZOMBIE
        ):
            found.append(f"{process.pid}: {' '.join(words)}")
    return found


def held_threads(pid: int) -> list[str]:
    """Threads of the process that are stopped or traced: nothing that measures may leave one."""
    held = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        status = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
        if status["State"][0] in HELD or status["TracerPid"].strip() != "0":
            held.append(f"{task.name}: {status['State']}, tracer {status['TracerPid']}")
    return held


def assert_untouched(pid: int) -> None:
    """The target runs as if nobody had ever looked at it."""
    assert psutil.pid_exists(pid), "the target is gone"
    assert not profilers_on(pid)
    assert not held_threads(pid)


def running_with(word: str) -> list[int]:
    """Processes with the word in their command line."""
    return [p.pid for p in psutil.process_iter(["cmdline"]) if any(word in part for part in p.info["cmdline"] or ())]
