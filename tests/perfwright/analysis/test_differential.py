"""Answers of old and new code to the same calls are compared; no data is no pass."""

import pytest

from perfwright.analysis.differential import check_problem, compare_answers
from perfwright.models.cpu_optimization import Checked, Differential, ProjectTests


def answer(kind: str = "value", digest: str = "aa", varied: bool = False) -> list[object]:
    return [kind, digest, f"{kind} {digest}", "list of 3 str", varied]


def test_equal_answers_are_counted() -> None:
    """Recorded and varied calls, and those of them that raise equal exceptions."""
    both = [answer(), answer("raised", "bb"), answer(varied=True), answer("raised", "cc", True)]
    assert compare_answers(both, both) == Differential(recorded=2, varied=2, raised=2)


@pytest.mark.parametrize("new", [answer(digest="bb"), answer("raised"), answer("unread", ""), answer("skipped", "")])
def test_other_answers_are_differences(new: list[object]) -> None:
    """Another value, an exception instead, arguments that only the new code cannot read, no end where the old code has one."""
    found = compare_answers([answer()], [new])
    assert found.differences == 1 and not found.equal and found.first[0].old == "value aa"


def test_calls_that_tell_nothing_do_not_count() -> None:
    """What the old code had no time for, or could not read."""
    old = [answer(), answer("skipped", ""), answer("skipped", ""), answer("unread", "")]
    new = [answer(), answer("skipped", ""), answer(), answer("unread", "")]
    found = compare_answers(old, new)
    assert (found.recorded, found.skipped, found.differences) == (1, 2, 0) and found.equal


def test_fewer_answers_are_a_difference() -> None:
    assert not compare_answers([answer(), answer()], [answer()]).equal


@pytest.mark.parametrize("answers", [[], [answer("unread", "")], [answer("skipped", "")], [answer(varied=True)]])
def test_no_recorded_call_is_no_pass(answers: list[list[object]]) -> None:
    found = compare_answers(answers, answers)
    assert not found.equal and found.why_none
    assert "no recorded call" in check_problem(Checked(tests=ProjectTests(passed=True, seconds=1.0), differential=found), candidate=True)
