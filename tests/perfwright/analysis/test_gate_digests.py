"""Decisions are bound to what was on show, and a replay by a release that words its questions differently takes them all the same."""

from datetime import UTC, datetime

from perfwright.analysis.gates import GateMachine
from perfwright.models.gate import GatePolicy, GateQuestion, shown_digest

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def question(consequence: str) -> GateQuestion:
    return GateQuestion(name="keep", kind="keep", question="Keep it?", consequence=consequence)


def test_a_reworded_question_takes_the_decisions_of_its_recorded_wording() -> None:
    """The policy, recorded when the gate opened, carries the essence of what was on show then."""
    was, now = question("The index stays."), question("The index is kept; nothing else changes.")
    signal = {"gate": "keep", "by": "grace", "digest": shown_digest(was.essence, 1)}
    machine = GateMachine(expected=("keep",))
    machine.open(now, GatePolicy(essence=was.essence), NOW)
    taken = machine.receive("approve", signal, NOW)
    assert taken.decision is not None and taken.decision.outcome == "approved"


def test_a_decision_on_another_wording_is_refused() -> None:
    """What a person did not see is not approved."""
    was, now = question("The index stays."), question("The table is dropped.")
    machine = GateMachine(expected=("keep",))
    machine.open(now, GatePolicy(essence=now.essence), NOW)
    taken = machine.receive("approve", {"gate": "keep", "by": "grace", "digest": shown_digest(was.essence, 1)}, NOW)
    assert taken.refused is not None and "digest" in taken.refused.reason


def test_every_revision_is_something_else_to_look_at() -> None:
    """The same question asked again has another digest: an answer that was on its way to the first is not one to the second."""
    assert shown_digest(question("x").essence, 1) != shown_digest(question("x").essence, 2)
