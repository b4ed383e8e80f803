"""The state machine of human gates: pure, so that any order of any messages can be tried.

    open ──ask──▶ open ──approve / reject / request_changes / deadline──▶ closed      (an approved `change` waits as `approved`
      │                                                                                until `begin_apply`; a rejection still wins)
      ├──notify─▶ noted ──deadline or end of run──▶ closed                            (objections are taken meanwhile)
      └──auto───▶ closed

Every message that comes ends as a decision, as a counted duplicate, or as a refusal with its reason; nothing raises, nothing is lost.
Time comes from outside as an aware `datetime`.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from perfwright.analysis.gate_answers import OUTCOMES, OverridesCheck, Unusable, bounded, read_decision, signature, text_at, told
from perfwright.analysis.gate_judging import judge
from perfwright.analysis.gate_policy import settle
from perfwright.analysis.gate_times import is_over, reminders_due, seconds_until_due, stamp
from perfwright.models.gate import (
    Action,
    Decision,
    DecisionInput,
    DecisionOutcome,
    DecisionSource,
    GatePolicy,
    GateQuestion,
    GateState,
    HeldGate,
    OpenGate,
    RefusedDecision,
    is_gate_name,
    shown_digest,
)

KEPT_DECISIONS = 100
KEPT_REFUSED = 100
KEPT_SEEN = 1_000
KEPT_DIGESTS = 50
KEPT_ANSWERS = 50
KEPT_CLOSED = 200
KEPT_EARLY = 200

BY_POLICY, BY_DEADLINE = "policy", "deadline"


class Taken(NamedTuple):
    """What became of a message: exactly one of the three."""

    decision: Decision | None = None
    refused: RefusedDecision | None = None
    duplicate: bool = False


class Due(NamedTuple):
    """What time has brought: gates that their deadline decided, and gates to remind of."""

    decided: tuple[Decision, ...] = ()
    reminders: tuple[str, ...] = ()


class _Early(NamedTuple):
    """A message that came before any gate was opened, kept whole until it is known whether the run carries gates."""

    action: Action
    given: DecisionInput
    now: datetime
    source: DecisionSource
    refused: RefusedDecision


class GateMachine:
    """All gates of one run. `state` is a value: it can be stored, carried into another run and resumed there.

    `expected` names the gates that the process will ask at; it only makes refusals clearer.
    """

    def __init__(self, state: GateState | None = None, expected: Collection[str] = ()) -> None:
        self.state = state or GateState()
        self.expected = tuple(expected)
        self._checks: dict[str, OverridesCheck] = {}
        self._early: list[_Early] = []

    def resume(self, carried: GateState) -> None:
        """Continue from the state of an earlier run, *merged* with what this run has heard already.

        Messages may come before a run has read what it carries: those that seemed too early are judged again.
        """
        heard, early = self.state, self._early
        self.state, self._early = carried, []
        refused = list(heard.refused)
        dropped = heard.refused_dropped
        for message in early:
            if message.refused in refused:
                refused.remove(message.refused)
            else:
                dropped -= 1
        for entry in refused:
            self._keep_refused(entry)
        self._update(refused_dropped=self.state.refused_dropped + dropped, duplicates=self.state.duplicates + heard.duplicates)
        for message in early:
            self.receive(message.action, message.given, message.now, message.source)

    def open(
        self,
        question: GateQuestion,
        policy: GatePolicy,
        now: datetime,
        *,
        max_revisions: int = 3,
        check: OverridesCheck | None = None,
    ) -> Decision | None:
        """Put a question; returns the decision where policy answers at once, None where a person is asked.

        A gate that is open with the same question (carried from an earlier run) stays as it is; one that was answered before the answer
        was taken gives it now. Asking again is the next revision.
        """
        name = question.name
        if not is_gate_name(name):
            raise ValueError(f"a gate is named by small letters, digits and underscores, beginning with a letter: {told(name, 80)}")
        if check is not None:
            self._checks[name] = check
        self._early.clear()
        held = self.state.gates.get(name)
        essence = policy.essence or question.essence
        if held and held.digest == shown_digest(essence, held.revision):
            if held.status == "open":
                return None
            if held.decision is not None and not held.answer_taken:
                return self.take_answer(name)
        revision = held.revision + 1 if held else 1
        digest = shown_digest(essence, revision)
        policy = settle(policy, question)
        again = held is not None and held.decision is not None and held.decision.wants_changes
        requests = held.requests if held and again else 0
        shown = OpenGate(
            name=name,
            kind=question.kind,
            revision=revision,
            digest=digest,
            question=bounded(question),
            policy=policy,
            opened_at=stamp(now),
            deadline_at=stamp(now + timedelta(seconds=policy.deadline_s)),
            revisions_left=max(0, max_revisions - requests),
        )
        fresh = HeldGate(
            name=name,
            revision=revision,
            digest=digest,
            kind=question.kind,
            status="open",
            shown=shown,
            requests=requests,
            max_revisions=max(0, max_revisions),
            checks_overrides=check is not None,
            earlier_digests=(*held.earlier_digests, held.digest)[-KEPT_DIGESTS:] if held else (),
        )
        self._hold(fresh)
        if policy.policy == "ask":
            return None
        outcome: DecisionOutcome = "noted" if policy.policy == "notify" else "approved"
        self._decide(fresh, outcome, BY_POLICY, "policy", now, comment=policy.reason)
        return self.take_answer(name)

    def receive(self, action: object, payload: object, now: datetime, source: DecisionSource = "signal") -> Taken:
        """Take a message, or refuse it with the reason. Never raises, whatever came."""
        judged = judge(self.state, self._checks, self.expected, action, payload, now)
        given, held = judged.given, judged.held
        if judged.duplicate:
            self._update(duplicates=self.state.duplicates + 1)
            return Taken(duplicate=True)
        if judged.reason or given is None or held is None:
            message = "decide" if source == "update" else told(action, 100)
            by, gate = (given.by, given.gate) if given else (text_at(payload, "by"), text_at(payload, "gate"))
            refused = self.refuse(message, judged.reason, payload, now, gate=gate, by=by)
            if given is not None and not self.state.gates and len(self._early) < KEPT_EARLY:
                self._early.append(_Early(judged.action, given, now, source, refused))
            return Taken(refused=refused)
        return Taken(decision=self._take(judged.action, given, held, now, source))

    def reason_against(self, action: object, payload: object, now: datetime) -> str:
        """Why `receive` would refuse this message; empty when it would take it (or count it as a duplicate)."""
        return judge(self.state, self._checks, self.expected, action, payload, now).reason

    def earlier_decision(self, payload: object) -> Decision | None:
        """For a duplicate: the decision that was taken from the message it repeats."""
        try:
            given = read_decision(payload)
        except Unusable:
            return None
        for decision in reversed(self.state.decisions):
            if decision.gate == given.gate and decision.by == given.by and given.decision_id in (None, decision.decision_id):
                return decision
        return self.answer(given.gate)

    def refuse(self, message: str, reason: str, received: object, now: datetime, gate: str = "", by: str = "") -> RefusedDecision:
        """Note a message that was not taken, bounded."""
        refused = RefusedDecision(
            message=told(message, 100),
            reason=told(reason, 1_000),
            gate=told(gate, 100),
            by=told(by, 100),
            at=stamp(now),
            received=told(received),
        )
        self._keep_refused(refused)
        return refused

    def tick(self, now: datetime, only: str = "") -> Due:
        """Let time pass, for all gates or only one: deadlines decide (a review is `unreviewed`, everything else rejected), reminders
        fall due once each."""
        decided: list[Decision] = []
        reminders: list[str] = []
        for held in list(self.state.gates.values()):
            if held.shown is None or held.status not in ("open", "noted") or only not in ("", held.name):
                continue
            if is_over(held.shown, now):
                if held.status == "noted":
                    self._close(held)
                    continue
                outcome: DecisionOutcome = "unreviewed" if held.kind == "review" else "rejected"
                comment = f"nobody answered within {held.shown.policy.deadline_s:g} s"
                decided.append(self._decide(held, outcome, BY_DEADLINE, "deadline", now, comment=comment))
            elif held.status == "open" and held.reminders_sent < (due := reminders_due(held.shown, now)):
                self._hold(held.model_copy(update={"reminders_sent": due}))
                reminders.append(held.name)
        return Due(tuple(decided), tuple(reminders))

    def seconds_to_wait(self, name: str, now: datetime) -> float:
        """Until the next reminder or the deadline of this gate; 0 when something is due or the gate is not open."""
        held = self.state.gates.get(name)
        if held is None or held.shown is None or held.status != "open":
            return 0.0
        return seconds_until_due(held.shown, held.reminders_sent, now)

    def answer(self, name: str) -> Decision | None:
        """The decision in force at the current revision of a gate; None while it is open or when it was withdrawn."""
        held = self.state.gates.get(name)
        return held.decision if held else None

    def take_answer(self, name: str) -> Decision | None:
        """The same, for the process that asked: it is not told again."""
        held = self.state.gates.get(name)
        if held is None or held.decision is None:
            return None
        self._hold(held.model_copy(update={"answer_taken": True}))
        return held.decision

    def is_open(self, name: str) -> bool:
        held = self.state.gates.get(name)
        return held is not None and held.status == "open"

    def open_gates(self) -> tuple[OpenGate, ...]:
        """What waits for a person, in the order of opening."""
        shown = [held.shown for held in self.state.gates.values() if held.status == "open" and held.shown]
        return tuple(sorted(shown, key=lambda gate: gate.opened_at))

    def noted_gates(self) -> tuple[OpenGate, ...]:
        """Reviews that the run went on from and that objections are still taken for."""
        return tuple(held.shown for held in self.state.gates.values() if held.status == "noted" and held.shown)

    def begin_apply(self, name: str) -> Decision | None:
        """The decision in force, from now on final: call it in the moment before a change is applied."""
        held = self.state.gates.get(name)
        if held is None:
            return None
        if held.status == "approved":
            self._close(held)
        return held.decision

    def withdraw(self, name: str) -> None:
        """Close a gate without a decision: the run that asked is being cancelled."""
        held = self.state.gates.get(name)
        if held and held.status == "open":
            self._close(held)

    def end(self) -> None:
        """The run ends: whatever is still open or objectionable is closed."""
        for held in list(self.state.gates.values()):
            if held.status != "closed":
                self._close(held)

    def objections(self) -> tuple[Decision, ...]:
        """Rejections of reviews that policy let pass."""
        return tuple(decision for decision in self.state.decisions if decision.objection)

    # How the state changes.

    def _take(self, action: Action, given: DecisionInput, held: HeldGate, now: datetime, source: DecisionSource) -> Decision:
        outcome = OUTCOMES[action]
        comment = given.comment
        requests = held.requests
        if outcome == "changes_requested":
            requests += 1
            if requests > held.max_revisions:
                outcome = "rejected"
                limit = "no changes" if held.max_revisions == 0 else f"changes {held.max_revisions} times at most"
                comment = f"{comment} (rejected: this gate allows {limit})"
        if given.decision_id is not None:
            seen = {**self.state.seen, given.decision_id: signature(action, given, with_digest=True)}
            self._update(seen=dict(list(seen.items())[-KEPT_SEEN:]))
        answers = (*held.answers, signature(action, given, with_digest=False))[-KEPT_ANSWERS:]
        return self._decide(
            held.model_copy(update={"requests": requests, "answers": answers}),
            outcome,
            given.by,
            source,
            now,
            comment=comment,
            overrides=given.overrides if outcome == "changes_requested" else {},
            decision_id=given.decision_id or "",
        )

    def _decide(
        self,
        held: HeldGate,
        outcome: DecisionOutcome,
        by: str,
        source: DecisionSource,
        now: datetime,
        *,
        comment: str = "",
        overrides: dict[str, Any] | None = None,
        decision_id: str = "",
    ) -> Decision:
        noted = held.status == "noted"
        decision = Decision(
            gate=held.name,
            revision=held.revision,
            digest=held.digest,
            outcome=outcome,
            by=by,
            comment=comment,
            overrides=overrides or {},
            decision_id=decision_id,
            source=source,
            at=stamp(now),
            objection=noted and outcome == "rejected",
        )
        kept = (*self.state.decisions, decision)
        self._update(
            decisions=kept[-KEPT_DECISIONS:],
            decisions_dropped=self.state.decisions_dropped + max(0, len(kept) - KEPT_DECISIONS),
        )
        if noted:  # the run went on: what a person says now is recorded, and the gate stays open to others
            self._hold(held)
        elif outcome == "noted":
            self._hold(held.model_copy(update={"status": "noted", "decision": decision}))
        elif outcome == "approved" and held.kind == "change":
            self._hold(held.model_copy(update={"status": "approved", "decision": decision}))
        else:
            self._close(held, decision)
        return decision

    def _close(self, held: HeldGate, decision: Decision | None = None) -> None:
        self._checks.pop(held.name, None)
        self._hold(held.model_copy(update={"status": "closed", "shown": None, "decision": decision or held.decision}))

    def _hold(self, held: HeldGate) -> None:
        gates = {**self.state.gates, held.name: held}
        closed = [gate.name for gate in gates.values() if gate.status == "closed" and gate.name != held.name]
        for name in closed[: max(0, len(closed) - KEPT_CLOSED)]:
            del gates[name]
        self._update(gates=gates)

    def _keep_refused(self, refused: RefusedDecision) -> None:
        kept = (*self.state.refused, refused)
        dropped = max(0, len(kept) - KEPT_REFUSED)
        self._update(refused=kept[dropped:], refused_dropped=self.state.refused_dropped + dropped)

    def _update(self, **fields: object) -> None:
        self.state = self.state.model_copy(update=fields)
