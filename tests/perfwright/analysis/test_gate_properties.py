"""Promises of gates that hold in any order of any messages, and when the state is stored in between."""

import random
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from perfwright.analysis.gates import KEPT_REFUSED, GateMachine
from perfwright.models.gate import DecisionInput, GatePolicy, GateState
from tests.perfwright.analysis.gate_questions import T0, at, question

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)

ANYTHING = JSON | st.binary() | st.builds(object) | st.dictionaries(st.integers(), st.text(), max_size=2)
NAMES = st.sampled_from(["first", "second"])
ACTIONS = st.sampled_from(["approve", "approve", "reject", "request_changes"])
PEOPLE = st.sampled_from(["ada", "bob"])
GOOD = st.fixed_dictionaries({"gate": NAMES, "by": PEOPLE, "comment": st.just("because"), "digest": st.just("current")})
WITHOUT_DIGEST = st.fixed_dictionaries({"gate": NAMES, "by": PEOPLE, "comment": st.just("because")})

ODD = st.fixed_dictionaries(
    {"gate": st.sampled_from(["first", "second", "third"]), "by": st.sampled_from(["ada", "bob", " "])},
    optional={
        "comment": st.sampled_from(["", "because", "x" * 3_000]),
        "digest": st.sampled_from(["00000000", "current", "earlier"]),
        "overrides": st.just({"x": 1}) | st.dictionaries(st.text(max_size=5), JSON, max_size=2),
        "decision_id": st.sampled_from(["a", "b"]),
        "more": JSON,
    },
)

DECISIONS = GOOD | WITHOUT_DIGEST | ODD


class AnyOrderOfAnyMessages(RuleBasedStateMachine):
    """Any order of openings, messages and time; whatever is approved must have come from a valid approval or from policy auto."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = GateMachine(expected=("first", "second", "third"))
        self.now = T0
        self.received = self.taken = self.by_machine = self.before_resume = 0
        self.ended = False

    @initialize(junk=st.lists(ANYTHING, max_size=3))
    def early_messages(self, junk: list[Any]) -> None:
        for payload in junk:
            self._receive("approve", payload)

    @rule(
        name=NAMES,
        kind=st.sampled_from(["review", "change", "keep"]),
        word=st.sampled_from(["ask", "ask", "notify", "auto"]),
        quality=st.sampled_from([True, False, None]),
        approvers=st.sampled_from([(), ("ada",)]),
        started_by=st.sampled_from([(), ("ada",)]),
        deadline_s=st.sampled_from([50.0, 0.0, 1.0, 1e12, float("nan")]),
        environment=st.sampled_from(["lab", "production"]),
        max_revisions=st.integers(-1, 2),
    )
    def open(self, name: str, kind: Any, word: Any, deadline_s: float, environment: str, max_revisions: int, **rest: Any) -> None:
        policy = GatePolicy(
            policy=word,
            approvers=rest["approvers"],
            started_by=rest["started_by"],
            self_approval=False,
            deadline_s=deadline_s,
            reminders=2,
            environment=environment,
        )
        asked = question(name, kind, quality_passed=rest["quality"], overrides={"x": "any"})
        was = self.machine.state.gates.get(name)
        self.machine.take_answer(name)
        decision = self.machine.open(asked, policy, self.now, max_revisions=max_revisions, check=lambda o: [] if o["x"] == 1 else ["no"])
        if decision is not None:
            self.by_machine += 1
            assert decision.source == "policy"
            assert word != "ask"
            if decision.outcome == "approved":
                assert word == "auto"
                assert rest["quality"] is True
                assert not (kind == "change" and environment == "production")
            else:
                assert (decision.outcome, kind, word) == ("noted", "review", "notify")
        assert was is None or self.machine.state.gates[name].revision >= was.revision

    @rule(action=ACTIONS, payload=DECISIONS)
    def decide(self, action: str, payload: dict[str, Any]) -> None:
        self._receive(action, self._with_digest(payload))

    def _with_digest(self, payload: Any) -> Any:
        if not isinstance(payload, dict) or payload.get("digest") not in ("current", "earlier"):
            return payload
        held = self.machine.state.gates.get(payload["gate"])
        if held is None:
            return payload | {"digest": "12345678"}
        earlier = held.earlier_digests[-1] if held.earlier_digests else "12345678"
        return payload | {"digest": held.digest if payload["digest"] == "current" else earlier}

    @rule(action=ACTIONS | ANYTHING, payload=ANYTHING)
    def junk(self, action: Any, payload: Any) -> None:
        self._receive(action, payload)

    def _receive(self, action: Any, payload: Any) -> None:
        state = self.machine.state
        reason = self.machine.reason_against(action, payload, self.now)
        assert self.machine.state == state, "asking changes nothing"
        taken = self.machine.receive(action, payload, self.now)
        self.received += 1
        assert [taken.decision is not None, taken.refused is not None, taken.duplicate].count(True) == 1
        assert bool(reason) == (taken.refused is not None)
        if taken.decision is None:
            return
        self.taken += 1
        held = state.gates[payload["gate"]]
        assert held.status != "closed"
        if taken.decision.outcome == "approved":
            self._valid_approval(action, payload, held)
        if held.status == "noted":
            assert self.machine.state.gates[held.name].decision == held.decision, "the run has gone on"
            assert taken.decision.objection == (action == "reject")

    def _valid_approval(self, action: Any, payload: Any, held: Any) -> None:
        assert action == "approve"
        assert DecisionInput.model_validate(payload)
        assert held.status in ("open", "noted")
        assert payload.get("digest") == held.digest or (held.kind == "review" and "digest" not in payload)
        assert not payload.get("overrides")
        policy = held.shown.policy
        assert not policy.approvers or payload["by"] in policy.approvers
        assert payload["by"] not in policy.started_by
        assert held.kind == "review" or self.now < datetime.fromisoformat(held.shown.deadline_at)

    @rule(seconds=st.sampled_from([0.001, 1.0, 30.0, 200.0]))
    def tick(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        due = self.machine.tick(self.now)
        self.by_machine += len(due.decided)
        assert all(decision.outcome in ("unreviewed", "rejected") for decision in due.decided)
        again = self.machine.tick(self.now)
        assert again == ((), ())
        for gate in self.machine.open_gates():
            assert self.machine.seconds_to_wait(gate.name, self.now) > 0

    @rule(name=NAMES)
    def apply(self, name: str) -> None:
        before = self.machine.answer(name)
        assert self.machine.begin_apply(name) == before

    @rule(name=NAMES)
    def withdraw(self, name: str) -> None:
        self.machine.withdraw(name)

    @rule(early=st.lists(st.tuples(ACTIONS, DECISIONS | ANYTHING), max_size=4))
    @precondition(lambda self: self.machine.state.gates)
    def continue_as_new(self, early: list[tuple[str, Any]]) -> None:
        early = [(action, self._with_digest(payload)) for action, payload in early]
        carried = GateState.model_validate_json(self.machine.state.model_dump_json())
        assert carried == self.machine.state
        decisions = len(carried.decisions) + carried.decisions_dropped
        self.machine = GateMachine(expected=("first", "second", "third"))
        for action, payload in early:
            self.machine.receive(action, payload, self.now)
            self.received += 1
        self.machine.resume(carried)
        self.taken += len(self.machine.state.decisions) + self.machine.state.decisions_dropped - decisions

    @invariant()
    def nothing_is_lost(self) -> None:
        state = self.machine.state
        assert self.received == self.taken + state.duplicates + len(state.refused) + state.refused_dropped
        assert len(state.decisions) + state.decisions_dropped == self.taken + self.by_machine
        assert len(state.refused) <= KEPT_REFUSED

    @invariant()
    def what_is_on_show_can_be_answered(self) -> None:
        for gate in self.machine.open_gates():
            assert self.machine.is_open(gate.name)
            assert gate.digest == self.machine.state.gates[gate.name].digest


TestAnyOrderOfAnyMessages = AnyOrderOfAnyMessages.TestCase
TestAnyOrderOfAnyMessages.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def decision_of(chance: random.Random) -> dict[str, Any]:
    """Mostly what people send, with a mistake now and then."""
    payload: dict[str, Any] = {"gate": chance.choice(["first", "second"]), "by": chance.choice(["ada", "bob"]), "comment": "because"}
    if chance.random() < 0.8:
        payload["digest"] = chance.choice(["current"] * 6 + ["earlier", "00000000"])
    mistakes: list[dict[str, Any]] = [
        {"gate": "third"},
        {"by": " "},
        {"comment": ""},
        {"more": 1},
        {"overrides": {"x": 1}},
        {"overrides": {"x": 2}},
    ]
    if chance.random() < 0.3:
        payload |= chance.choice(mistakes)
    if chance.random() < 0.2:
        payload["decision_id"] = chance.choice("abc")
    return payload


@pytest.mark.parametrize("seed", range(8))
def test_long_random_runs_keep_the_same_promises(seed: int) -> None:
    """Runs of hundreds of mostly sensible messages keep what the property test says, deep inside of gates and revisions."""
    chance = random.Random(seed)
    outcomes: set[str] = set()
    for _ in range(20):
        play = AnyOrderOfAnyMessages()
        for _ in range(80):
            act = chance.choice(["open", "decide", "decide", "decide", "decide", "tick", "rare"])
            if act == "open":
                play.open(
                    name=chance.choice(["first", "second"]),
                    kind=chance.choice(["review", "change", "keep"]),
                    word=chance.choice(["ask", "ask", "notify", "auto"]),
                    quality=chance.choice([True, False, None]),
                    approvers=chance.choice([(), ("ada",)]),
                    started_by=chance.choice([(), ("ada",)]),
                    deadline_s=chance.choice([20.0, 500.0]),
                    environment=chance.choice(["lab", "production"]),
                    max_revisions=chance.choice([0, 2]),
                )
            elif act == "decide":
                play.decide(action=chance.choice(["approve", "approve", "reject", "request_changes"]), payload=decision_of(chance))
            elif act == "tick":
                play.tick(seconds=chance.choice([0.001, 1.0, 30.0]))
            elif chance.random() < 0.5:
                play.apply(name=chance.choice(["first", "second"]))
            elif play.machine.state.gates:
                play.continue_as_new(early=[("approve", decision_of(chance)) for _ in range(2)])
            play.nothing_is_lost()
            play.what_is_on_show_can_be_answered()
        outcomes |= {decision.outcome for decision in play.machine.state.decisions}
    assert outcomes == {"approved", "rejected", "changes_requested", "unreviewed", "noted"}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(ACTIONS | ANYTHING, DECISIONS | ANYTHING), max_size=12), st.integers(0, 12))
def test_a_run_that_is_stored_in_the_middle_goes_on_the_same(messages: list[tuple[Any, Any]], cut: int) -> None:
    """Storing the state as JSON between any two messages changes nothing of what follows."""

    def play(stored_at: int | None) -> GateState:
        machine = GateMachine()
        for name in ("first", "second"):
            machine.open(question(name), GatePolicy(deadline_s=100), T0)
        for number, (action, payload) in enumerate(messages):
            if number == stored_at:
                machine = GateMachine(GateState.model_validate_json(machine.state.model_dump_json()))
            machine.receive(action, payload, at(number))
        return machine.state.model_copy(update={"refused": tuple(r.model_copy(update={"received": ""}) for r in machine.state.refused)})

    assert play(cut) == play(None)
