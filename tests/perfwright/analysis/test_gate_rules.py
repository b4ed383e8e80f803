"""What policy, approvers, deadlines and reminders make of a gate."""

import pytest

from perfwright.analysis.gates import GateMachine
from perfwright.models.gate import GateKind, GatePolicy
from tests.perfwright.analysis.gate_questions import T0, at, opened, question, refused, says


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
