"""What every process that asks people inherits: the messages they answer with, and `await self.ask(question)`.

    decision = await self.ask(findings_review(report), deadline_s=request.review_deadline_s)

It also keeps what a person sees meanwhile (phase, latest results, steps, refused messages) in the current details, the search
attributes and the query `progress`. The rules of gates are in `perfwright.analysis.gates`; here is only what Temporal adds to them.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, ClassVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, ApplicationErrorCategory

from activities.gates import Gates
from perfwright.analysis.gate_answers import OverridesCheck, told
from perfwright.analysis.gates import GateMachine
from perfwright.models.errors import ErrorType
from perfwright.models.gate import (
    Decision,
    DecisionSource,
    GateNotification,
    GatePolicyQuery,
    GateQuestion,
    GateState,
    OpenGate,
    RefusedDecision,
)
from perfwright.models.progress import Progress
from workflows.plugin import metrics
from workflows.shared.gate_details import details
from workflows.shared.options import READ, ActivityOptions
from workflows.shared.run_story import PENDING_GATES, RunStory
from workflows.shared.waiting import stop_if_cancelled

POLICY: ActivityOptions = {**READ, "schedule_to_close_timeout": timedelta(days=30)}
"""Repeated until the registry can be read: what was measured for hours is not thrown away over a typing mistake in a file."""
NOTIFY: ActivityOptions = {
    "start_to_close_timeout": timedelta(seconds=15),
    "schedule_to_close_timeout": timedelta(seconds=20),
    "retry_policy": RetryPolicy(maximum_attempts=2),
}
"""Bounded and tried twice at most: the gate is open already, and nobody should hear of it five times."""
SHORTEST_WAIT_S = 0.05


class HumanGates(RunStory):
    """Mixin of processes: signals `approve`, `reject`, `request_changes`, update `decide`, queries about gates and progress.

    `gate_names` may name the gates of the process, so that a decision that comes too early is told from one that names no gate at all.
    """

    gate_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        self._gates = GateMachine(expected=self.gate_names)
        self._notices: list[str] = []

    async def ask(
        self,
        question: GateQuestion,
        deadline_s: float = 86_400.0,
        max_revisions: int = 3,
        validate_overrides: OverridesCheck | None = None,
    ) -> Decision:
        """Put a question and wait for its answer: a person's, the deadline's, or at once that of a policy.

        The deadline counts from when the gate opens; an environment may shorten it. `validate_overrides` says what is wrong with the
        overrides of a `request_changes` when it arrives, so that the sender is told and not the run. After `wants_changes` the process
        repeats its work and asks again under the same name.
        """
        policy = await workflow.execute_activity_method(
            Gates.read_gate_policy,
            GatePolicyQuery(
                gate=question.name,
                kind=question.kind,
                environment=self.environment,
                risk=question.risk,
                deadline_s=deadline_s,
                essence=question.essence,
            ),
            summary=f"Read who answers {question.name}",
            **POLICY,
        )
        opened_at = workflow.now()
        decision = self._gates.open(question, policy, opened_at, max_revisions=max_revisions, check=validate_overrides)
        metrics.gate_opened(question.name, question.kind)
        if decision is None:
            decision = await self._wait_for_answer(question.name)
        else:
            await self._notify_of_noted(question.name)
        metrics.gate_answered(question.name, question.kind, decision.outcome, (workflow.now() - opened_at).total_seconds())
        by = "" if decision.source == "deadline" else f" by {told(decision.by, 100)}"
        self.say(f"{question.name}: {decision.outcome.replace('_', ' ')}{by}")
        return decision

    async def _wait_for_answer(self, name: str) -> Decision:
        self._show_pending()
        try:
            await self._notify(name)
            while self._gates.is_open(name):
                wait_s = max(self._gates.seconds_to_wait(name, workflow.now()), SHORTEST_WAIT_S)
                with suppress(TimeoutError):
                    await workflow.wait_condition(
                        lambda: not self._gates.is_open(name),
                        timeout=timedelta(seconds=wait_s),
                        timeout_summary=f"Reminder or deadline of {name}",
                    )
                stop_if_cancelled()
                due = self._gates.tick(workflow.now(), only=name)
                if due.reminders:
                    await self._notify(name)
        except (Exception, asyncio.CancelledError):  # no `finally`: it would also run when the worker only drops the run from its cache
            self._gates.withdraw(name)
            self._show_pending()
            raise
        self._show_pending()
        decision = self._gates.take_answer(name)
        assert decision is not None, "a gate closes with a decision, or its run is cancelled"
        return decision

    def begin_apply(self, gate: str) -> Decision:
        """Call it in the moment before a change is applied: the decision in force, which a late rejection may have turned."""
        decision = self._gates.begin_apply(gate)
        assert decision is not None, f"{gate} was never decided"
        self._show()
        return decision

    async def finish(self) -> tuple[Decision, ...]:
        """Before a process returns: every message is handled, no gate takes more; returns the objections to reviews let pass."""
        await workflow.wait_condition(workflow.all_handlers_finished)
        self._gates.end()
        self._show()
        return self._gates.objections()

    @property
    def gate_state(self) -> GateState:
        """All of it, to be carried through continue-as-new."""
        return self._gates.state

    def resume_gates(self, carried: GateState) -> None:
        """The first thing a continued run does: what it carries is merged with what it has heard already."""
        self._gates.resume(carried)
        self._show()

    # Messages. Handlers are sync and take anything: what cannot be used is listed with its reason, and never fails the run.

    @workflow.signal(description="Approve an open gate: {gate, by, digest, comment}")
    def approve(self, decision: Any) -> None:
        self._receive("approve", decision)

    @workflow.signal(description="Reject an open gate, with a comment: {gate, by, comment, digest}")
    def reject(self, decision: Any) -> None:
        self._receive("reject", decision)

    @workflow.signal(description="Ask for changes at an open gate: {gate, by, comment, digest, overrides}")
    def request_changes(self, decision: Any) -> None:
        self._receive("request_changes", decision)

    @workflow.update(description="Decide, and be told at once whether it counts: {action, gate, by, comment, digest, overrides}")
    def decide(self, decision: Any) -> Decision:
        action, payload = _action_in(decision)
        taken = self._gates.receive(action, payload, workflow.now(), "update")
        self._show()
        answer = self._gates.earlier_decision(payload) if taken.duplicate else taken.decision
        if answer is None:
            raise _refusal(taken.refused.reason if taken.refused else "it counted already, and is too old to be told again")
        return answer

    @decide.validator
    def _check_decide(self, decision: Any) -> None:
        if reason := self._gates.reason_against(*_action_in(decision), workflow.now()):
            raise _refusal(reason)

    @workflow.query(description="Gates that wait for a person, oldest first")
    def pending_gates(self) -> list[OpenGate]:
        return list(self._gates.open_gates())

    @workflow.query(description="Decisions taken, oldest first")
    def decisions(self) -> list[Decision]:
        return list(self._gates.state.decisions)

    @workflow.query(description="Where the run stands")
    def progress(self) -> Progress:
        return self.story().model_copy(
            update={
                "open_gates": self._gates.open_gates(),
                "noted_gates": self._gates.noted_gates(),
                "refused_decisions": len(self._gates.state.refused) + self._gates.state.refused_dropped,
            }
        )

    @property
    def refused_messages(self) -> tuple[RefusedDecision, ...]:
        """The newest hundred, oldest first; before them one entry that tells how many more came."""
        state = self._gates.state
        if not state.refused_dropped:
            return state.refused
        more = RefusedDecision(message="", reason=f"{state.refused_dropped} earlier ones were refused and are not kept")
        return (more, *state.refused)

    def refuse_message(self, message: str, reason: str, received: Any = "", gate: str = "", by: str = "") -> None:
        """Note a message that is not taken; one list with refused decisions."""
        refused = self._gates.refuse(message, reason, received, workflow.now(), gate=gate, by=by)
        workflow.logger.warning("%s refused: %s", refused.message, refused.reason)
        self._show()

    def _receive(self, action: str, payload: Any, source: DecisionSource = "signal") -> None:
        taken = self._gates.receive(action, payload, workflow.now(), source)
        if taken.refused:
            workflow.logger.warning("%s refused: %s", action, taken.refused.reason)
        self._show()

    # What people see.

    def _show(self) -> None:
        workflow.set_current_details(details(self.progress(), self.refused_messages, self._notices, workflow.info().workflow_id))

    def _show_pending(self) -> None:
        """An approver's inbox is a search for what has this attribute; it is unset when nothing waits, as [] would be found too."""
        waiting = [gate.name for gate in self._gates.open_gates()]
        workflow.upsert_search_attributes([PENDING_GATES.value_set(waiting) if waiting else PENDING_GATES.value_unset()])
        self._show()

    async def _notify_of_noted(self, name: str) -> None:
        if any(gate.name == name for gate in self._gates.noted_gates()):
            await self._notify(name)

    async def _notify(self, name: str) -> None:
        """Tell the team's addresses, where there are any; that nobody could be told is shown, and stops nothing."""
        held = self._gates.state.gates[name]
        gate = held.shown
        if gate is None or not gate.policy.notifies:
            return
        info = workflow.info()
        about = GateNotification(
            workflow_id=info.workflow_id,
            run_id=info.run_id,
            gate=name,
            kind=gate.kind,
            question=gate.question.question,
            consequence=gate.question.consequence,
            evidence=gate.question.evidence,
            target=self.target_name,
            environment=self.environment,
            digest=gate.digest,
            deadline_at=gate.deadline_at,
            policy=gate.policy.policy,
            reminder=held.reminders_sent,
        )
        what = f"Send reminder {held.reminders_sent} of {name}" if held.reminders_sent else f"Tell the team about {name}"
        try:
            outcome = await workflow.execute_activity_method(Gates.send_notification, about, summary=what, **NOTIFY)
            trouble = outcome.note if outcome.failed else ""
        except ActivityError as failed:
            stop_if_cancelled()
            trouble = told(str(failed.cause or failed), 200)
        if trouble:
            self._notices = [*self._notices, f"Not everybody was notified of {name}: {trouble}"][-3:]
            self._show()


def _action_in(decision: Any) -> tuple[Any, Any]:
    """The action of an update's argument, and the rest of it, which is what signals take."""
    if not isinstance(decision, Mapping):
        return "approve", decision
    return decision.get("action"), {field: value for field, value in decision.items() if field != "action"}


def _refusal(reason: str) -> ApplicationError:
    return ApplicationError(reason, type=ErrorType.INVALID_INPUT.value, non_retryable=True, category=ApplicationErrorCategory.BENIGN)
