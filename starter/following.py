"""A run told as it goes on: steps from its history, live numbers from heartbeats, gates and results from its queries.

Nothing here changes the run: whoever stops following leaves it as it is.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from temporalio.api.enums.v1 import EventType, PendingActivityState, PendingWorkflowTaskState
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowExecutionDescription
from temporalio.service import RPCError

from perfwright.models.gate import OpenGate
from perfwright.models.progress import Progress
from starter.pollers import pollers_of
from starter.refusals import NoWorkerAnswers, UnknownRun
from starter.run import Run
from starter.run_history import CLOSING, batches

UNANSWERED_S = 5.0
"""How long a task may wait for a worker before it is asked whether there is one."""

MomentKind = Literal["started", "done", "failed", "stopped", "phase", "result", "gate", "note", "closed"]


@dataclass(frozen=True)
class Moment:
    """Something that happened, once."""

    kind: MomentKind
    text: str
    seconds: float | None = None
    """How long the step took."""
    gate: OpenGate | None = None
    at: str = ""
    """ISO 8601, UTC."""


@dataclass(frozen=True)
class RunningStep:
    """A step that is under way."""

    text: str
    seconds: float
    numbers: dict[str, Any]
    """What it told last: the activity's heartbeat."""
    trouble: str = ""
    """Why an earlier attempt failed."""


@dataclass(frozen=True)
class Live:
    """What is going on right now, about once a second."""

    phase: str
    steps: tuple[RunningStep, ...]
    waiting_for: str = ""


@dataclass
class _Follower:
    run: Run
    pending: dict[int, tuple[str, datetime]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    """Activity id -> its summary."""
    told: set[object] = field(default_factory=set)
    progress: Progress | None = None
    closed: bool = False
    said_no_worker: str = ""
    """The queue that nobody polls; empty again when somebody does."""

    async def read(self, event: HistoryEvent) -> AsyncIterator[Moment]:
        at = event.event_time.ToDatetime(tzinfo=UTC)
        kind = event.event_type
        if kind == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            scheduled = event.activity_task_scheduled_event_attributes
            text = await summary_of(self.run, event) or scheduled.activity_type.name
            self.pending[event.event_id] = (text, at)
            self.texts[scheduled.activity_id] = text
        elif kind == EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED:
            child = event.start_child_workflow_execution_initiated_event_attributes
            self.pending[event.event_id] = (await summary_of(self.run, event) or f"{child.workflow_type.name} {child.workflow_id}", at)
        elif kind in _ENDINGS:
            attributes = getattr(event, _ENDINGS[kind])
            started = getattr(attributes, "scheduled_event_id", 0) or getattr(attributes, "initiated_event_id", 0)
            text, began = self.pending.pop(started, ("a step", at))
            failure = getattr(attributes, "failure", None)
            message = _message(failure) if failure is not None else ""
            word: MomentKind = "done" if kind in _GOOD_ENDINGS else "stopped" if kind in _CANCELLED else "failed"
            self.told.discard(started)
            yield Moment(word, f"{text}: {message}" if message else text, (at - began).total_seconds(), at=at.isoformat())
        elif kind in CLOSING:
            self.closed = True
            yield Moment("closed", _CLOSED[kind], at=at.isoformat())

    async def ask(self) -> AsyncIterator[Moment]:
        """What the run says of itself, where that has changed."""
        try:
            now = await self.run.progress()
        except (NoWorkerAnswers, UnknownRun):
            return
        before, self.progress = self.progress, now
        if now.phase and (before is None or now.phase != before.phase):
            yield Moment("phase", now.phase)
        if now.waiting_for and (before is None or now.waiting_for != before.waiting_for):
            yield Moment("note", f"waiting: {now.waiting_for}")
        for line in now.latest:
            if line not in self.told:
                self.told.add(line)
                yield Moment("result", line)
        for gate in now.open_gates:
            if (key := (gate.name, gate.revision, gate.opened_at)) not in self.told:
                self.told.add(key)
                yield Moment("gate", gate.question.question, gate=gate, at=gate.opened_at)
        if now.refused_decisions > (before.refused_decisions if before else 0):
            yield Moment("note", "a decision was refused: `perfwright show` tells why")

    async def ask_once_more(self) -> AsyncIterator[Moment]:
        """The last words of a run that is closed; where no worker polls there are none, and nobody waits for them."""
        queue = (await self.run.describe()).task_queue
        if (await pollers_of(self.run.client, queue, workflows=True)).present:
            async for moment in self.ask():
                if moment.kind == "result":
                    yield moment

    async def look(self) -> AsyncIterator[Moment | Live]:
        """Live numbers of pending steps, and whether anybody does the work."""
        try:
            description = await self.run.describe()
        except (UnknownRun, RPCError):
            return
        now = datetime.now(UTC)
        steps = await running_steps(self.run, description, self.texts)
        for scheduled, (text, began) in self.pending.items():
            if scheduled not in self.told and (now - began).total_seconds() > 2:
                self.told.add(scheduled)
                yield Moment("started", text)
        if (queue := await self._unanswered(description, now)) != self.said_no_worker:
            self.said_no_worker = queue
            if queue:
                yield Moment("note", no_worker_on(queue))
        progress = self.progress
        yield Live(progress.phase if progress else "", tuple(steps), progress.waiting_for if progress else "")

    async def _unanswered(self, description: WorkflowExecutionDescription, now: datetime) -> str:
        """The task queue on which a task of this run waits while nobody polls; empty when there is none."""
        raw = description.raw_description
        task = raw.pending_workflow_task
        if raw.HasField("pending_workflow_task") and task.state == PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_SCHEDULED:
            queue = description.task_queue
            waited_s = (now - task.scheduled_time.ToDatetime(tzinfo=UTC)).total_seconds()
            if waited_s > UNANSWERED_S and not (await pollers_of(self.run.client, queue, workflows=True)).present:
                return queue
        for one in raw.pending_activities:
            waited_s = (now - one.scheduled_time.ToDatetime(tzinfo=UTC)).total_seconds() if one.HasField("scheduled_time") else 0.0
            if one.state != PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED or waited_s < UNANSWERED_S:
                continue
            queue = one.activity_options.task_queue.name
            if queue and not (await pollers_of(self.run.client, queue, workflows=False)).present:
                return queue
        return ""


async def follow(run: Run) -> AsyncGenerator[Moment | Live, None]:
    """What happened so far, then what happens, until the run is closed."""
    follower = _Follower(run)
    first = True
    async with aclosing(batches(run.client, run.workflow_id, run.run_id)) as changes:
        async for events in changes:
            for event in events:
                async for moment in follower.read(event):
                    yield moment
            if follower.closed:
                async for moment in follower.ask_once_more():
                    yield moment
                return
            if first or any(event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED for event in events):
                first = not events
                async for moment in follower.ask():
                    yield moment
            async for told in follower.look():
                yield told


async def running_steps(run: Run, description: WorkflowExecutionDescription, texts: Mapping[str, str]) -> tuple[RunningStep, ...]:
    """The pending activities of a run, with the numbers that they heartbeat; `texts` has their summaries by activity id."""
    now, steps = datetime.now(UTC), []
    for one in description.raw_description.pending_activities:
        numbers: Any = {}
        if one.heartbeat_details.payloads:
            try:
                numbers = (await run.client.data_converter.decode(one.heartbeat_details.payloads[:1], [dict]))[0]
            except Exception:  # what another release heartbeats may be of any shape
                numbers = {}
        began = one.last_started_time if one.HasField("last_started_time") else one.scheduled_time
        steps.append(
            RunningStep(
                text=texts.get(one.activity_id, one.activity_type.name.replace("_", " ")),
                seconds=max(0.0, (now - began.ToDatetime(tzinfo=UTC)).total_seconds()),
                numbers=numbers if isinstance(numbers, dict) else {"progress": numbers},
                trouble=f"attempt {one.attempt}: {_message(one.last_failure)}" if one.attempt > 1 and one.HasField("last_failure") else "",
            )
        )
    return tuple(steps)


async def summaries(run: Run) -> dict[str, str]:
    """Activity id -> summary of all that the run has called so far."""
    texts = {}
    async for event in run.handle.fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED and (text := await summary_of(run, event)):
            texts[event.activity_task_scheduled_event_attributes.activity_id] = text
    return texts


async def summary_of(run: Run, event: HistoryEvent) -> str:
    """The sentence that says what a step does; empty where it has none or it cannot be read."""
    if not event.user_metadata.HasField("summary"):
        return ""
    try:
        text = str((await run.client.data_converter.decode([event.user_metadata.summary], [str]))[0])
    except Exception:  # written by another client, with another codec
        return ""
    return " ".join(text.split())


def no_worker_on(queue: str) -> str:
    host = queue.removeprefix("perf-host.").removesuffix(".probe") if queue.startswith("perf-host.") else ""
    option = f" --host {host}" if host and host != "local" else ""
    named = ", or name the host of its targets in the registry" if host == "local" else ""
    return f"no worker polls the task queue {queue}: start one with `perfwright worker{option}`{named}; the run waits for it"


def _message(failure: Any) -> str:
    """What the step said; where the server wraps it (a timeout, a child), what is inside."""
    while not failure.HasField("application_failure_info") and failure.HasField("cause"):
        failure = failure.cause
    return " ".join(failure.message.split())[:400]


_GOOD_ENDINGS = frozenset(
    {EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED, EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED},
)
_CANCELLED = frozenset(
    {EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED, EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_CANCELED},
)
_ENDINGS = {
    EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED: "activity_task_completed_event_attributes",
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED: "activity_task_failed_event_attributes",
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT: "activity_task_timed_out_event_attributes",
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED: "activity_task_canceled_event_attributes",
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED: "child_workflow_execution_completed_event_attributes",
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED: "child_workflow_execution_failed_event_attributes",
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_CANCELED: "child_workflow_execution_canceled_event_attributes",
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TIMED_OUT: "child_workflow_execution_timed_out_event_attributes",
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TERMINATED: "child_workflow_execution_terminated_event_attributes",
}
_CLOSED = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED: "completed",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED: "failed",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED: "cancelled",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED: "terminated",
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT: "timed out",
}
