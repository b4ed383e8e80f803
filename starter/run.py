"""One run: where it stands, its gates, its result."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter, ValidationError
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError, CancelledError, TerminatedError
from temporalio.exceptions import TimeoutError as TimedOut
from temporalio.service import RPCError, RPCStatusCode

from perfwright.models.gate import Action, DecideInput, Decision, OpenGate, RefusedDecision
from perfwright.models.history import RunSummary
from perfwright.models.progress import Progress
from perfwright.models.queues import CENTRAL_QUEUE
from perfwright.models.result import ProcessResult
from starter.catalogue import PROCESSES, ProcessEntry
from starter.here import Here
from starter.pollers import pollers_of
from starter.refusals import DecisionRefused, InvalidRequest, NoStoreHere, NoWorkerAnswers, ProcessFailed, UnknownRun, nearest
from starter.run_history import batches
from workflows.plugin.mistakes import describe_mistakes

PATIENCE = timedelta(seconds=10)
"""For queries: without a worker they would fail only after 29 seconds."""
DECIDE_PATIENCE_S = 20.0
MAX_FAMILY = 50
MAX_GENERATIONS = 3


@dataclass(frozen=True)
class Answered:
    """What became of a decision."""

    workflow_id: str
    gate: str
    decision: Decision | None
    """As it was taken; None when it was sent and waits for a worker."""


class Run:
    """A run of a process. Made by `Perfwright.start` and `Perfwright.run`."""

    def __init__(
        self,
        client: Client,
        here: Here,
        workflow_id: str,
        run_id: str,
        entry: ProcessEntry | None = None,
        *,
        recorded: RunSummary | None = None,
    ) -> None:
        self.client = client
        self.workflow_id = workflow_id
        self.run_id = run_id
        self._here = here
        self._entry = entry
        self.recorded = recorded

    @property
    def handle(self) -> WorkflowHandle[Any, Any]:
        return self.client.get_workflow_handle(self.workflow_id, run_id=self.run_id)

    async def describe(self) -> WorkflowExecutionDescription:
        """The run as the server knows it; raises UnknownRun, also after the namespace's retention."""
        try:
            return await self.handle.describe()
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            gone = "the server keeps it no longer" if self.recorded else "the server knows no such run"
            raise UnknownRun(f"{self.workflow_id} ({self.run_id}): {gone}", way_out="`perfwright list` shows the runs") from None

    async def is_open(self) -> bool:
        """Whether it goes on; a run that the server has forgotten and the history keeps does not."""
        try:
            return (await self.describe()).status == WorkflowExecutionStatus.RUNNING
        except UnknownRun:
            if self.recorded is None:
                raise
            return False

    async def entry(self) -> ProcessEntry | None:
        """The process it is a run of; None for a workflow that is no process."""
        if self._entry is None:
            name = self.recorded.process if self.recorded else (await self.describe()).workflow_type
            self._entry = next((one for one in PROCESSES if one.name == name), None)
        return self._entry

    async def progress(self) -> Progress:
        """Phase, steps done, latest results, open gates; raises NoWorkerAnswers."""
        told: Progress = await self._query("progress", Progress)
        return told

    async def decisions(self) -> list[Decision]:
        """Decisions taken so far."""
        told: list[Decision] = await self._query("decisions", list[Decision])
        return told

    async def refused_decisions(self) -> list[RefusedDecision]:
        """Messages that were not taken, and why."""
        told: list[RefusedDecision] = await self._query("rejected_decisions", list[RefusedDecision])
        return told

    async def open_gates(self) -> list[OpenGate]:
        """What waits for a person now, in this run and in the runs it has started."""
        return [gate for _, gate in await self._family_gates()]

    async def gates(self) -> AsyncIterator[OpenGate]:
        """Gates as they open, each revision once, until the run ends."""
        seen: set[tuple[str, str, int, str]] = set()
        async with aclosing(batches(self.client, self.workflow_id, self.run_id)) as changes:
            async for events in changes:
                if not events and not await self._has_children():
                    continue
                try:
                    found = await self._family_gates()
                except NoWorkerAnswers:
                    continue
                for workflow_id, gate in found:
                    key = (workflow_id, gate.name, gate.revision, gate.opened_at)
                    if key not in seen:
                        seen.add(key)
                        yield gate

    async def approve(self, gate: str, *, by: str, comment: str = "", digest: str | None = None) -> Answered:
        return await self.decide("approve", gate, by=by, comment=comment, digest=digest)

    async def reject(self, gate: str, *, by: str, comment: str, digest: str | None = None) -> Answered:
        return await self.decide("reject", gate, by=by, comment=comment, digest=digest)

    async def request_changes(
        self, gate: str, *, by: str, comment: str, overrides: Mapping[str, Any] | None = None, digest: str | None = None
    ) -> Answered:
        return await self.decide("request_changes", gate, by=by, comment=comment, overrides=overrides, digest=digest)

    async def decide(
        self,
        action: Action,
        gate: str,
        *,
        by: str,
        comment: str = "",
        overrides: Mapping[str, Any] | None = None,
        digest: str | None = None,
        decision_id: str | None = None,
    ) -> Answered:
        """Answer a gate of this run, or of a run it has started, and hear whether it counts; raises DecisionRefused.

        Decisions on `change` and `keep` gates need the digest of what was on show. Where no worker polls, the decision is sent as a
        signal, which the run takes, or lists as refused, when one is back.
        """
        given = {"action": action, "gate": gate, "by": by, "comment": comment, "digest": digest, "overrides": dict(overrides or {})}
        try:
            decision = DecideInput.model_validate(given | {"decision_id": decision_id})
        except ValidationError as mistakes:
            raise InvalidRequest("this decision", describe_mistakes(mistakes, DecideInput)) from None
        description = await self.describe()
        if description.status != WorkflowExecutionStatus.RUNNING:
            word = description.status.name.lower().replace("_", " ") if description.status else "closed"
            raise DecisionRefused(f"{self.workflow_id} is over ({word}): nothing waits for a decision")
        sent = decision.model_dump(mode="json", exclude_none=True, exclude_defaults=True) | {"action": action}
        queue = description.task_queue or CENTRAL_QUEUE
        if not (await pollers_of(self.client, queue, workflows=True)).present:
            payload = {name: value for name, value in sent.items() if name != "action"}
            await self.handle.signal(action, payload)
            return Answered(self.workflow_id, gate, None)
        workflow_id, run_id = await self._member_with(gate)
        handle = self.client.get_workflow_handle(workflow_id, run_id=run_id)
        try:
            async with asyncio.timeout(DECIDE_PATIENCE_S):
                taken: Decision = await handle.execute_update("decide", sent, result_type=Decision)
        except WorkflowUpdateFailedError as refused:
            raise DecisionRefused(_cause(refused.cause)[1]) from None
        except (TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError):
            raise NoWorkerAnswers(
                f"no worker took the decision within {DECIDE_PATIENCE_S:g} s",
                way_out=f"Look at the worker's log, and at `perfwright show {workflow_id}` before sending it again",
            ) from None
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                raise DecisionRefused(f"{workflow_id} ended meanwhile: nothing waits for a decision") from None
            raise
        return Answered(workflow_id, gate, taken)

    async def result(self) -> ProcessResult[Any]:
        """Wait for the end; the result with the process's own `details`. Raises ProcessFailed when it was not carried out."""
        entry = await self.entry()
        result_type = ProcessResult[entry.details] if entry else ProcessResult[Any]  # type: ignore[name-defined]
        handle = self.client.get_workflow_handle(self.workflow_id, run_id=self.run_id, result_type=result_type)
        try:
            result: ProcessResult[Any] = await handle.result()
        except WorkflowFailureError as failure:
            raise ProcessFailed(*_cause(failure.cause)) from None
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            return await self._stored_result(result_type)
        return result

    async def cancel(self) -> None:
        """Ask it to stop: tools are ended, changes undone, leases given back; then it is closed. Raises UnknownRun."""
        description = await self.describe()
        if description.status != WorkflowExecutionStatus.RUNNING:
            raise UnknownRun(f"{self.workflow_id} is over already: there is nothing to cancel")
        await self.handle.cancel()

    async def _stored_result(self, result_type: Any) -> ProcessResult[Any]:
        """What the artifact store has, where the server keeps the run no longer."""
        if self.recorded is None or self.recorded.report.data is None:
            raise UnknownRun(f"{self.workflow_id} ({self.run_id}): the server knows no such run") from None
        stored = await self._here.read(self.recorded.report.data)
        try:
            result: ProcessResult[Any] = TypeAdapter(result_type).validate_json(stored)
        except ValidationError:
            raise NoStoreHere(f"the stored result of {self.recorded.name} is of a release that this one cannot read") from None
        return result

    async def _query(self, name: str, result_type: Any) -> Any:
        try:
            return await self.handle.query(name, result_type=result_type, rpc_timeout=PATIENCE)
        except WorkflowQueryFailedError as error:
            raise NoWorkerAnswers(f"{self.workflow_id} does not answer {name}: {str(error)[:200]}") from None
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                raise UnknownRun(f"{self.workflow_id} ({self.run_id}): the server knows no such run") from None
            raise NoWorkerAnswers(
                f"no worker answers for {self.workflow_id}", way_out="Start one with `perfwright worker` (or `perfwright up`)"
            ) from None

    async def _has_children(self) -> bool:
        return bool((await self.describe()).raw_description.pending_children)

    async def _family_gates(self) -> list[tuple[str, OpenGate]]:
        """Open gates of this run and of its open children, with the workflow id that each belongs to."""
        found = [(self.workflow_id, gate) for gate in await self._query("pending_gates", list[OpenGate])]
        for child in await self._children():
            try:
                found += [(child.workflow_id, gate) for gate in await child._query("pending_gates", list[OpenGate])]
            except (NoWorkerAnswers, UnknownRun):  # a child without gates, or one that ended meanwhile
                continue
        return found

    async def _children(self) -> list["Run"]:
        """Open runs that this one has started, and theirs."""
        family: list[Run] = []
        generation: list[Run] = [self]
        for _ in range(MAX_GENERATIONS):
            known = [one for run in generation for one in (await run.describe()).raw_description.pending_children]
            pending = [one for one in known if one.run_id]  # without: it is about to be started
            generation = [Run(self.client, self._here, one.workflow_id, one.run_id) for one in pending[: MAX_FAMILY - len(family)]]
            if not generation:
                break
            family += generation
        return family

    async def _member_with(self, gate: str) -> tuple[str, str]:
        """Which run of the family has this gate open; this one where none has, so that it says why it refuses."""
        if not await self._has_children():
            return self.workflow_id, self.run_id
        having = [workflow_id for workflow_id, one in await self._family_gates() if one.name == gate]
        if self.workflow_id in having or not having:
            return self.workflow_id, self.run_id
        if len(having) > 1:
            raise DecisionRefused(
                f"{gate} is open in several runs: {', '.join(having)}", way_out="Name one of them instead of their parent"
            )
        return having[0], ""

    async def gate(self, name: str) -> OpenGate:
        """The open gate of that name; raises DecisionRefused with the gates that are open."""
        gates = await self.open_gates()
        for one in gates:
            if one.name == name:
                return one
        raise DecisionRefused(f'no gate "{name[:60]}" is open in {self.workflow_id}{nearest(name, [one.name for one in gates])}')


def _cause(cause: BaseException | None) -> tuple[str, str]:
    """Type and message of what ended a run, through the layers that Temporal wraps around it."""
    told: BaseException | None = cause
    while told is not None:
        if isinstance(told, ApplicationError):
            return told.type or "Error", told.message
        if isinstance(told, CancelledError):
            return "Cancelled", "the run was cancelled"
        if isinstance(told, TerminatedError):
            return "Terminated", told.message or "the run was terminated"
        if isinstance(told, TimedOut) and told.__cause__ is None:
            return "TimedOut", told.message or "the run was out of time"
        told = told.__cause__
    return "Error", str(cause)[:500]
