import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from perfwright.analysis.gates import KEPT_DECISIONS, KEPT_REFUSED, GateMachine
from perfwright.models.gate import DecisionInput, GateKind, GatePolicy, GateQuestion, GateState

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def question(name: str = "findings_review", kind: GateKind = "review", **fields: Any) -> GateQuestion:
    return GateQuestion(name=name, kind=kind, question="Is this so?", consequence="The report says so.", **fields)


def opened(kind: GateKind = "review", *, max_revisions: int = 3, check: Any = None, **fields: Any) -> tuple[GateMachine, str]:
    policy = GatePolicy(**{"deadline_s": 100.0, "reminders": 0} | fields.pop("policy", {}))
    machine = GateMachine(expected=("findings_review", "later_review"))
    machine.open(question(kind=kind, **fields), policy, T0, max_revisions=max_revisions, check=check)
    return machine, machine.state.gates["findings_review"].digest


def says(**fields: Any) -> dict[str, Any]:
    return {"gate": "findings_review", "by": "ada"} | fields


def refused(machine: GateMachine, action: Any, payload: Any, seconds: float = 1.0) -> str:
    """The reason of a message that must be refused, and listed."""
    before = len(machine.state.refused)
    reason = machine.reason_against(action, payload, at(seconds))
    taken = machine.receive(action, payload, at(seconds))
    assert taken.refused is not None
    assert taken.refused.reason == reason
    assert len(machine.state.refused) == before + 1
    return reason


def test_an_approval_closes_the_gate() -> None:
    """An approval with the digest on show is the decision of the gate."""
    machine, digest = opened("keep")
    taken = machine.receive("approve", says(digest=digest, comment="fine"), at(3))
    assert taken.decision is not None
    assert (taken.decision.outcome, taken.decision.by, taken.decision.at) == ("approved", "ada", "2026-03-01T12:00:03.000+00:00")
    assert machine.answer("findings_review") == taken.decision
    assert machine.open_gates() == ()


@pytest.mark.parametrize(
    ("action", "fields", "reason"),
    [
        ("approve", {"gate": "finding_review"}, "nearest: findings_review"),
        ("approve", {"gate": "later_review"}, "is not open yet; it opens later"),
        ("approve", {"gate": "Not A Gate"}, "gate: the name of a gate is needed"),
        ("approve", {"digest": "00000000"}, "digest 00000000 is not of what is on show"),
        ("approve", {"digest": "short"}, "digest: the eight characters"),
        ("approve", {"by": ""}, "by: "),
        ("approve", {"by": "  "}, "by: missing"),
        ("approve", {"by": 7}, "by: "),
        ("approve", {"whom": "me"}, "whom: not a known field"),
        ("approve", {"comment": "x" * 2_001}, "comment: "),
        ("approve", {"overrides": {"duration_s": 5}}, "overrides: approve takes none"),
        ("reject", {}, "comment: missing"),
        ("reject", {"comment": "   "}, "comment: missing"),
        ("request_changes", {"overrides": {"duration_s": 5}}, "comment: missing"),
        (
            "request_changes",
            {"comment": "longer", "overrides": {"durations_s": 5}},
            "overrides.durations_s: not allowed; nearest: duration_s",
        ),
        ("request_changes", {"comment": "longer", "overrides": {"duration_s": -5}}, "overrides: duration_s must be positive"),
        ("request_changes", {"comment": "longer", "overrides": {"duration_s": float("nan")}}, "overrides: not plain JSON"),
        ("request_changes", {"comment": "longer", "overrides": {"duration_s": "x" * 5_000}}, "overrides: at most 4,000 characters"),
        ("request_changes", {"comment": "longer", "overrides": {"duration_s": "\ud800"}}, "overrides: "),
        ("aprove", {}, "action: one of approve, reject, request_changes"),
        (None, {}, "action: one of"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_its_reason(action: Any, fields: dict[str, Any], reason: str) -> None:
    """Every mistake in a decision is told with the field and what is allowed, and the gate stays open."""

    def check(overrides: dict[str, Any]) -> list[str]:
        value = overrides["duration_s"]
        return ["duration_s must be positive"] if isinstance(value, int) and value < 0 else []

    machine, _ = opened(overrides={"duration_s": "seconds to record"}, check=check)
    assert reason in refused(machine, action, says(**fields))
    assert machine.is_open("findings_review")


@pytest.mark.parametrize(
    "payload", [None, "approve", 7, [], [{}], b"\xff", float("inf"), {}, {"gate": None}, {1: 2}, object(), {"gate": {"a": [1]}}]
)
def test_junk_is_refused(payload: Any) -> None:
    """Anything that is not a decision is listed as it came, cut."""
    machine, _ = opened()
    assert refused(machine, "approve", payload)
    assert len(machine.state.refused[-1].received) <= 300


def test_nobody_decides_blind() -> None:
    """A change or keep gate takes no decision without the digest of what is on show."""
    for kind in ("change", "keep"):
        machine, digest = opened(kind)
        assert "digest: missing" in refused(machine, "approve", says())
        assert machine.receive("approve", says(digest=digest), at(2)).decision


def test_a_digest_of_an_earlier_revision_is_stale() -> None:
    """What was looked at before a change was requested cannot be approved afterwards."""
    machine, first = opened("keep")
    assert machine.receive("request_changes", says(digest=first, comment="again"), at(1)).decision
    assert machine.take_answer("findings_review")
    machine.open(question(kind="keep"), GatePolicy(deadline_s=100), at(2))
    assert "is of an earlier revision; revision 2 is on show" in refused(machine, "approve", says(digest=first), 3)
    second = machine.state.gates["findings_review"].digest
    assert second != first
    decision = machine.receive("approve", says(digest=second), at(4)).decision
    assert decision is not None
    assert decision.revision == 2


def test_the_digest_covers_the_exact_change_whole() -> None:
    """Two changes that differ after the part that is shown have different digests."""
    long = "x" * 50_000
    first, second = (opened("change", exact_change=long + end) for end in ("a", "b"))
    assert first[1] != second[1]
    assert "cut here" in first[0].open_gates()[0].question.exact_change


def test_too_late_is_told_with_who_decided() -> None:
    """A second decision on a gate is refused and names the first."""
    machine, _ = opened()
    machine.receive("approve", says(by="ada"), at(1))
    assert "was decided already: approved by ada" in refused(machine, "reject", says(by="bob", comment="no"))


def test_duplicates_count_once() -> None:
    """The same decision sent twice, with or without an id, is one decision and one counted duplicate."""
    for extra in ({}, {"decision_id": "d1"}):
        machine, _ = opened()
        assert machine.receive("approve", says(**extra), at(1)).decision
        assert machine.receive("approve", says(**extra), at(2)).duplicate
        assert machine.reason_against("approve", says(**extra), at(2)) == ""
        assert machine.earlier_decision(says(**extra)) == machine.answer("findings_review")
        assert (len(machine.state.decisions), machine.state.duplicates, machine.state.refused) == (1, 1, ())


def test_an_id_stands_for_one_decision() -> None:
    """A decision_id that was used for something else is refused, so that a rejection under it is not lost as a duplicate."""
    machine, digest = opened("change")
    machine.receive("approve", says(digest=digest, decision_id="d1"), at(1))
    assert "was used already" in refused(machine, "reject", says(digest=digest, comment="no", decision_id="d1"))


def test_an_id_that_was_refused_may_be_sent_again() -> None:
    """A decision that came too early can be repeated as it is once the gate is open."""
    machine, _ = opened()
    later = says(gate="later_review", decision_id="d1")
    refused(machine, "approve", later)
    machine.open(question("later_review"), GatePolicy(deadline_s=100), at(2))
    assert machine.receive("approve", later, at(3)).decision


def test_until_apply_begins_a_rejection_wins() -> None:
    """An approved change can be stopped until the moment it is applied, and not after it."""
    machine, digest = opened("change")
    machine.receive("approve", says(digest=digest), at(1))
    assert "only reject is taken" in refused(machine, "request_changes", says(digest=digest, comment="more"))
    assert machine.receive("reject", says(by="bob", digest=digest, comment="freeze"), at(2)).decision
    final = machine.begin_apply("findings_review")
    assert final is not None
    assert final.refused
    assert "was decided already" in refused(machine, "approve", says(by="eve", digest=digest))

    assert "was decided already" in refused(machine, "approve", says(digest=digest))

    machine, digest = opened("change")
    machine.receive("approve", says(digest=digest), at(1))
    assert machine.begin_apply("findings_review") == machine.answer("findings_review")
    assert "was decided already" in refused(machine, "reject", says(by="bob", digest=digest, comment="freeze"))


def test_changes_are_requested_at_most_max_revisions_times() -> None:
    """One request more than allowed is a rejection that says so."""
    machine, _ = opened(max_revisions=2)
    for number in range(2):
        decision = machine.receive("request_changes", says(comment=f"again {number}"), at(1 + number)).decision
        assert decision is not None
        assert decision.wants_changes
        assert machine.take_answer("findings_review") == decision
        machine.open(question(), GatePolicy(deadline_s=100), at(1 + number), max_revisions=2)
        assert machine.open_gates()[0].revisions_left == 1 - number
    decision = machine.receive("request_changes", says(comment="once more"), at(9)).decision
    assert decision is not None
    assert decision.refused
    assert "changes 2 times at most" in decision.comment


def test_only_approvers_answer_and_not_for_themselves() -> None:
    """Approvers of the registry answer, others are told who may; the one who started the run may reject it but not approve it."""
    machine, digest = opened("keep", policy={"approvers": ("ada", "bob"), "self_approval": False, "started_by": ("ada",)})
    assert "eve is not an approver here (approvers: ada, bob)" in refused(machine, "approve", says(by="eve", digest=digest))
    assert "ada started this run" in refused(machine, "approve", says(by="ada", digest=digest))
    assert machine.receive("approve", says(by="bob", digest=digest), at(2)).decision


def test_a_policy_that_needs_approvers_and_has_none_lets_nobody_approve() -> None:
    """In production a change without approvers in the registry can only be rejected."""
    machine, digest = opened("change", policy={"approvers_required": True, "environment": "production"})
    assert "environment production names no approvers" in refused(machine, "approve", says(digest=digest))
    assert machine.receive("reject", says(digest=digest, comment="no"), at(2)).decision


def test_all_problems_of_a_decision_are_told_at_once() -> None:
    """A decision with three mistakes in what it says is refused with all three."""
    machine, _ = opened(policy={"approvers": ("bob",)})
    reason = refused(machine, "reject", says(overrides={"a": 1}))
    assert all(word in reason for word in ("by: ", "comment: ", "overrides: "))


def test_a_check_that_breaks_takes_nothing() -> None:
    """Overrides that the process cannot judge are refused, not believed."""

    def check(overrides: dict[str, Any]) -> list[str]:
        raise KeyError("oops")

    machine, _ = opened(overrides={"x": "anything"}, check=check)
    assert "could not be checked" in refused(machine, "request_changes", says(comment="c", overrides={"x": 1}))


@pytest.mark.parametrize(("kind", "outcome"), [("review", "unreviewed"), ("change", "rejected"), ("keep", "rejected")])
def test_a_timeout_is_never_an_approval(kind: GateKind, outcome: str) -> None:
    """A review nobody answered is unreviewed; a change or keep is rejected by the deadline."""
    machine, digest = opened(kind)
    assert machine.tick(at(99.9)).decided == ()
    (decision,) = machine.tick(at(100)).decided
    assert (decision.outcome, decision.by, decision.source) == (outcome, "deadline", "deadline")
    assert machine.tick(at(200)).decided == ()
    assert "decided already" in refused(machine, "approve", says(digest=digest), 101)


def test_a_change_is_not_approved_after_its_deadline_even_before_the_timer_tells() -> None:
    """A worker that was away takes no approval of a change that came after the deadline; a late review does no harm."""
    machine, digest = opened("change")
    assert "deadline has passed" in refused(machine, "approve", says(digest=digest), 101)
    machine, digest = opened("review")
    assert machine.receive("approve", says(), at(101)).decision


def test_reminders_are_evenly_spaced_and_sent_once() -> None:
    """Three reminders in a hundred seconds fall due at 25, 50 and 75; after a long sleep only one is sent."""
    machine, _ = opened(policy={"reminders": 3})
    assert machine.seconds_to_wait("findings_review", at(0)) == 25
    assert machine.tick(at(24)).reminders == ()
    assert machine.tick(at(25)).reminders == ("findings_review",)
    assert machine.tick(at(26)).reminders == ()
    assert machine.seconds_to_wait("findings_review", at(26)) == 24
    assert machine.tick(at(80)).reminders == ("findings_review",)
    assert machine.tick(at(90)).reminders == ()
    assert machine.seconds_to_wait("findings_review", at(90)) == 10


def test_notify_goes_on_and_takes_objections() -> None:
    """With policy notify a review is noted at once; a rejection before its deadline is an objection, of several people too."""
    machine = GateMachine()
    decision = machine.open(question(), GatePolicy(policy="notify", deadline_s=100, reason="lab"), T0)
    assert decision is not None
    assert (decision.outcome, decision.source, decision.comment) == ("noted", "policy", "lab")
    assert machine.open_gates() == ()
    assert "policy notify" in refused(machine, "request_changes", says(comment="again"))
    assert "comment: missing" in refused(machine, "reject", says())
    for by in ("ada", "bob"):
        assert machine.receive("reject", says(by=by, comment="wrong target"), at(5)).decision
    assert machine.receive("reject", says(by="bob", comment="wrong target"), at(6)).duplicate
    assert machine.receive("approve", says(by="eve"), at(6)).decision
    assert [objection.by for objection in machine.objections()] == ["ada", "bob"]
    assert machine.answer("findings_review") == decision
    assert "time for objections is over" in refused(machine, "reject", says(by="cy", comment="late"), 101)


def test_the_end_of_the_run_ends_objections() -> None:
    """After the end nothing is open any more and a late objection is refused."""
    machine = GateMachine()
    machine.open(question(), GatePolicy(policy="notify", deadline_s=100), T0)
    machine.end()
    assert machine.noted_gates() == ()
    assert "over" in refused(machine, "reject", says(comment="late"))


@pytest.mark.parametrize(
    ("kind", "quality", "environment", "answer"),
    [
        ("review", True, "lab", "approved"),
        ("review", False, "lab", "ask: the quality gates behind it did not pass"),
        ("review", None, "lab", "ask: the quality gates behind it have no result"),
        ("change", True, "lab", "approved"),
        ("change", True, "production", "ask: auto applies no change in production"),
        ("keep", True, "production", "approved"),
    ],
)
def test_auto_answers_only_what_passed(kind: GateKind, quality: bool | None, environment: str, answer: str) -> None:
    """Policy auto approves when the quality gates passed, records itself, and asks everywhere else with the reason."""
    machine = GateMachine()
    policy = GatePolicy(policy="auto", deadline_s=100, environment=environment)
    decision = machine.open(question(kind=kind, quality_passed=quality), policy, T0)
    if answer == "approved":
        assert decision is not None
        assert (decision.outcome, decision.by, decision.source) == ("approved", "policy", "policy")
    else:
        assert decision is None
        assert answer.removeprefix("ask: ") in machine.open_gates()[0].policy.reason


def test_notify_is_for_reviews_only() -> None:
    """A change gate under policy notify asks."""
    machine = GateMachine()
    assert machine.open(question(kind="change"), GatePolicy(policy="notify"), T0) is None
    assert "notify is for reviews only" in machine.open_gates()[0].policy.reason


def test_a_withdrawn_gate_takes_nothing() -> None:
    """When the run is cancelled at a gate, later decisions are told that it was withdrawn."""
    machine, _ = opened()
    machine.withdraw("findings_review")
    assert machine.answer("findings_review") is None
    assert "withdrawn" in refused(machine, "approve", says())


def test_lists_are_bounded_and_say_what_they_dropped() -> None:
    """A flood of junk keeps the newest refusals and the count of the rest."""
    machine = GateMachine()
    for number in range(KEPT_REFUSED + 30):
        machine.receive("approve", f"junk {number}", T0)
    assert len(machine.state.refused) == KEPT_REFUSED
    assert machine.state.refused_dropped == 30
    assert machine.state.refused[-1].received == f"junk {KEPT_REFUSED + 29}"
    for _ in range(KEPT_DECISIONS + 5):
        machine.open(question(), GatePolicy(policy="auto"), T0)
        machine.open(question(quality_passed=True), GatePolicy(policy="auto"), T0)
    assert len(machine.state.decisions) == KEPT_DECISIONS
    assert machine.state.decisions_dropped == 5


def test_carried_gates_stay_open_and_messages_before_them_are_judged_again() -> None:
    """A decision that comes before a continued run has read its gates is taken when it has."""
    before, digest = opened("keep")
    after = GateMachine()
    assert after.receive("approve", says(digest=digest), at(5)).refused
    assert after.receive("approve", "junk", at(5)).refused
    after.resume(GateState.model_validate_json(before.state.model_dump_json()))
    decision = after.answer("findings_review")
    assert decision is not None
    assert decision.outcome == "approved"
    assert [entry.received for entry in after.state.refused] == ["junk"]


def test_a_flood_before_a_carried_state_is_counted_exactly() -> None:
    """However much comes before a continued run has read its gates, every message is a decision, a duplicate or a refusal."""
    before, digest = opened("keep")
    after = GateMachine()
    for number in range(250):
        after.receive("approve", says(digest=digest, by=f"person {number}"), at(5))
    after.resume(before.state)
    state = after.state
    assert len(state.decisions) == 1
    assert len(state.refused) + state.refused_dropped == 249
    assert state.refused_dropped > 0


def test_asking_the_same_again_after_a_carry_keeps_revision_and_deadline() -> None:
    """A continued run that asks the same question goes on waiting for the same deadline."""
    before, digest = opened("keep", overrides={"x": "anything"}, check=lambda overrides: [])
    after = GateMachine()
    after.resume(before.state)
    asks = says(digest=digest, comment="c", overrides={"x": 1})
    assert "cannot be checked in this moment" in refused(after, "request_changes", asks, 20)
    after.open(question(kind="keep", overrides={"x": "anything"}), GatePolicy(deadline_s=100), at(50), check=lambda overrides: [])
    (gate,) = after.open_gates()
    assert (gate.revision, gate.deadline_at) == (1, "2026-03-01T12:01:40.000+00:00")
    assert after.receive("request_changes", asks, at(51)).decision


def test_an_answer_that_was_not_taken_before_a_carry_is_given_when_asked_again() -> None:
    """A run that continues as new between the answer and the process that asked hears the answer, once."""
    before, digest = opened("keep")
    decision = before.receive("approve", says(digest=digest), at(1)).decision
    after = GateMachine()
    after.resume(before.state)
    assert after.open(question(kind="keep"), GatePolicy(deadline_s=100), at(2)) == decision
    assert after.open(question(kind="keep"), GatePolicy(deadline_s=100), at(3)) is None
    assert after.open_gates()[0].revision == 2


def test_a_gate_that_nobody_could_name_is_a_mistake_of_the_process() -> None:
    """A process cannot open a gate whose name no decision may carry."""
    with pytest.raises(ValueError, match="small letters"):
        GateMachine().open(question("Findings Review"), GatePolicy(), T0)


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
