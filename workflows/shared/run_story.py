"""What a run tells about itself while it goes on: target, phase, steps, latest results."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeKey, SearchAttributeUpdate
from temporalio.exceptions import is_cancelled_exception

from perfwright.analysis.gate_answers import told
from perfwright.models.lease import LeaseWait
from perfwright.models.progress import Progress
from perfwright.models.result import Step, StepOutcome, TaskType, Verdict
from perfwright.models.target import Target
from workflows.shared.gate_details import details
from workflows.shared.refused_messages import RefusedMessages

PENDING_GATES = SearchAttributeKey.for_keyword_list("PerfPendingGates")
PHASE = SearchAttributeKey.for_keyword("PerfPhase")
TARGET = SearchAttributeKey.for_keyword("PerfTarget")
ENVIRONMENT = SearchAttributeKey.for_keyword("PerfEnvironment")
HOST = SearchAttributeKey.for_keyword("PerfHost")
VERDICT = SearchAttributeKey.for_keyword("PerfVerdict")

LATEST_KEPT = 8
STEPS_KEPT = 200
LINE_CHARACTERS = 400


class StepNote:
    """What a step says about itself: `step.note = "py-spy 0.4"`, or `step.skip("the target has one thread")`."""

    def __init__(self) -> None:
        self.note = ""
        self.outcome: StepOutcome = "done"

    def skip(self, reason: str) -> None:
        self.outcome, self.note = "skipped", reason

    def fail(self, reason: str) -> None:
        """The step could not be done and the process goes on without it."""
        self.outcome, self.note = "failed", reason


class RunStory(RefusedMessages):
    """Mixin: `about(target)`, `phase(...)`, `say(...)`, `with self.step(...)`; told by details, search attributes and queries."""

    def __init__(self) -> None:
        super().__init__()
        self._target: Target | None = None
        self._phase = ""
        self._latest: list[str] = []
        self._steps: list[Step] = []
        self._running: list[str] = []
        self._waiting_for = ""

    @property
    def target_name(self) -> str:
        return self._target.name if self._target else ""

    @property
    def environment(self) -> str:
        """Decides how gates are answered; empty until `about` was called, and then every gate asks."""
        return self._target.environment if self._target else ""

    @property
    def steps(self) -> tuple[Step, ...]:
        """For the result: what was done, in the order of its beginning."""
        return tuple(sorted(self._steps, key=lambda step: step.started_s))

    @property
    def step_name(self) -> str:
        """What is done in this moment, the phase between two steps: for the log."""
        return ", ".join(self._running) or self._phase

    def about(self, target: Target, phase: str = "") -> None:
        """Which target this run examines; searchable from now on."""
        self._target = target
        fields: list[SearchAttributeUpdate[Any]] = [
            TARGET.value_set(target.name),
            ENVIRONMENT.value_set(target.environment),
            HOST.value_set(target.host),
        ]
        self._enter(phase, fields)

    def phase(self, name: str) -> None:
        """The part of the process that begins: `Recording`."""
        self._enter(name, [])

    def conclude(self, verdict: Verdict, phase: str = "Finished") -> None:
        """The verdict, searchable."""
        self._enter(phase, [VERDICT.value_set(verdict)])

    def say(self, line: str) -> None:
        """A result, as one sentence with its number."""
        self._latest = [*self._latest, told(" ".join(line.split()), LINE_CHARACTERS)][-LATEST_KEPT:]
        self._waiting_for = ""
        self._show()

    def waits_for_lease(self, wait: LeaseWait) -> None:
        """For `target_lease(..., on_waiting=self.waits_for_lease)`: who holds the target."""
        self._waiting_for = wait.sentence
        self._show()

    @contextmanager
    def step(self, name: str, task: TaskType) -> Iterator[StepNote]:
        """Record a step of the process: what it was, how long it took, how it ended.

        with self.step("Record stacks", "profiling") as step:
            recording = await ...
            step.note = recording.tool
        """
        note, began = StepNote(), workflow.now()
        self._running.append(name)
        self._waiting_for = ""
        self._show()
        try:
            yield note
        except asyncio.CancelledError:
            note.outcome = "cancelled"
            self._end_step(name, task, note, began)
            raise
        except Exception as error:
            note.outcome = "cancelled" if is_cancelled_exception(error) else "failed"
            note.note = note.note or told(str(getattr(error, "cause", None) or error), LINE_CHARACTERS)
            self._end_step(name, task, note, began)
            raise
        self._end_step(name, task, note, began)

    def skip_step(self, name: str, task: TaskType, reason: str) -> None:
        """Record a step that was not taken, and why."""
        note = StepNote()
        note.skip(reason)
        self._running.append(name)
        self._end_step(name, task, note, workflow.now())

    def story(self) -> Progress:
        """What is known here of where the run stands."""
        info = workflow.info()
        return Progress(
            process=info.workflow_type,
            target=self.target_name,
            environment=self.environment,
            phase=self._phase,
            step=", ".join(self._running),
            steps=self.steps,
            latest=tuple(self._latest),
            waiting_for=self._waiting_for,
            elapsed_s=round((workflow.now() - info.workflow_start_time).total_seconds(), 3),
        )

    def _end_step(self, name: str, task: TaskType, note: StepNote, began: datetime) -> None:
        self._running.remove(name)
        step = Step(
            name=name,
            task=task,
            outcome=note.outcome,
            started_s=round((began - workflow.info().workflow_start_time).total_seconds(), 3),
            duration_s=round((workflow.now() - began).total_seconds(), 3),
            note=told(note.note, LINE_CHARACTERS),
        )
        self._steps = [*self._steps, step][-STEPS_KEPT:]
        self._show()

    def _enter(self, phase: str, fields: list[SearchAttributeUpdate[Any]]) -> None:
        if phase and phase != self._phase:
            self._phase = phase
            self._waiting_for = ""
            fields = [*fields, PHASE.value_set(phase)]
        if fields:
            workflow.upsert_search_attributes(fields)
        self._show()

    def _show(self) -> None:
        """Write the current details."""
        workflow.set_current_details(details(self.story(), self.refused_messages, (), workflow.info().workflow_id))
