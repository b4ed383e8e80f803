"""Which messages a gate takes, which it refuses, and why."""

from typing import Any

import pytest

from perfwright.analysis.gates import KEPT_DECISIONS, KEPT_REFUSED, GateMachine
from perfwright.models.gate import GatePolicy, GateState
from tests.perfwright.analysis.gate_questions import T0, at, opened, question, refused, says


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
        ("request_changes", {"comment": "longer", "overrides": {"duration_s": -5}}, "overrides.duration_s: must be positive"),
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
        return ["duration_s: must be positive"] if isinstance(value, int) and value < 0 else []

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


def test_all_problems_of_a_decision_are_told_at_once() -> None:
    """A decision with three mistakes in what it says is refused with all three."""
    machine, _ = opened(policy={"approvers": ("bob",)})
    reason = refused(machine, "reject", says(overrides={"a": 1}))
    assert all(word in reason for word in ("by: ", "comment: ", "overrides: "))


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        ("passes[1]: no such pass", "overrides.passes[1]: no such pass"),
        ("workload.command: missing", "overrides.workload.command: missing"),
        ("duration_s is too short for passes", "overrides: duration_s is too short for passes"),
        ("Request: too long altogether", "overrides: Request: too long altogether"),
    ],
)
def test_a_problem_of_an_override_names_its_place(problem: str, told: str) -> None:
    """Whoever sent the decision reads one spelling of a field, whether the gate or the process found the mistake."""
    machine, _ = opened(overrides=dict.fromkeys(("passes", "workload", "duration_s"), "..."), check=lambda overrides: [problem])
    assert refused(machine, "request_changes", says(comment="c", overrides={"passes": []})) == told


def test_a_check_that_breaks_takes_nothing() -> None:
    """Overrides that the process cannot judge are refused, not believed."""

    def check(overrides: dict[str, Any]) -> list[str]:
        raise KeyError("oops")

    machine, _ = opened(overrides={"x": "anything"}, check=check)
    assert "could not be checked" in refused(machine, "request_changes", says(comment="c", overrides={"x": 1}))


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
