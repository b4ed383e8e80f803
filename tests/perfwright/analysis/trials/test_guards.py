"""Guards: no harm has to be shown, not merely not seen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfwright.analysis.trials.guards import guard_datum, guards_hold, judge_guard
from perfwright.analysis.trials.sequential import design
from perfwright.models.trial import Guard, TrialDesign

MEMORY = Guard(metric="memory", margin=0.05)
ERRORS = Guard(metric="error rate", margin=0.001, scale="difference")


def plan() -> TrialDesign:
    planned = design(40)
    assert planned is not None
    return planned


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, "held"), (-0.2, "held"), (0.05, "unclear"), (0.15, "breached")])
def test_a_guard_against_its_margin(shift: float, verdict: str) -> None:
    """40 rounds that vary by 3 %: no change and less memory hold, exactly the margin is unclear, 15 % more is a breach."""
    judged = judge_guard(MEMORY, (shift + np.random.default_rng(1).normal(0, 0.03, 40)).tolist(), plan())
    assert judged.verdict == verdict
    assert judged.harm is not None and judged.harm_low is not None and judged.harm_high is not None and judged.smallest_harm is not None
    assert judged.harm_low < judged.harm < judged.harm_high
    assert MEMORY.margin < judged.smallest_harm < MEMORY.margin + 0.03


def test_no_data_is_no_pass() -> None:
    """A guard without data is unseen, one with eleven rounds or much noise unclear, and neither holds."""
    noisy = np.random.default_rng(2).normal(0, 0.5, 40).tolist()
    judged = [judge_guard(MEMORY, data, plan()) for data in ([], [0.0] * 11, noisy)]
    assert [one.verdict for one in judged] == ["unseen", "unclear", "unclear"]
    assert not any(guards_hold([one], [MEMORY]) for one in judged)
    assert not guards_hold([], [MEMORY])


def test_a_guard_that_could_not_have_seen_harm_does_not_hold() -> None:
    """Twelve equal rounds of a trial of 240 reach its boundary by their ties alone: sixteen are needed, which see harm a little above the margin."""
    longest = design(240)
    assert longest is not None
    early, later = (judge_guard(MEMORY, [0.0] * rounds, longest) for rounds in longest.looks[:2])
    assert (early.verdict, early.smallest_harm) == ("unclear", None)
    assert later.verdict == "held" and later.smallest_harm == pytest.approx(MEMORY.margin)
    assert judge_guard(MEMORY, [0.1] * 12, longest).verdict == "breached"


def test_all_guards_have_to_hold() -> None:
    """One that held does not make up for one that did not, or that was forgotten."""
    held, breached = judge_guard(MEMORY, [0.0] * 12, plan()), judge_guard(ERRORS, [0.01] * 12, plan())
    assert guards_hold([held], [MEMORY])
    assert not guards_hold([held, breached], [MEMORY, ERRORS])
    assert not guards_hold([held], [MEMORY, ERRORS])


def test_what_may_be_zero_is_judged_by_difference() -> None:
    """Rounds without any error on both sides hold; a ratio of zeros is refused."""
    assert judge_guard(ERRORS, [guard_datum(ERRORS, 0.0, 0.0)] * 12, plan()).verdict == "held"
    assert guard_datum(MEMORY, 100.0, 105.0) == pytest.approx(0.0488, abs=1e-4)
    with pytest.raises(ValueError, match="by difference"):
        guard_datum(MEMORY, 0.0, 1.0)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-0.2, 0.2), st.integers(1, 40))
def test_higher_is_better_turns_harm_around(seed: int, shift: float, rounds: int) -> None:
    """Less throughput is the harm that more time is."""
    data = np.random.default_rng(seed).normal(shift, 0.02, rounds)
    one, two = (
        judge_guard(MEMORY, data.tolist(), plan()),
        judge_guard(MEMORY.model_copy(update={"higher_is_better": True}), (-data).tolist(), plan()),
    )
    assert one == two


def test_harm_at_the_margin_is_hardly_ever_held() -> None:
    """Of 500 guards with harm exactly as large as the margin at most 0.5 % hold (three standard errors: 1.5 %)."""
    data = MEMORY.margin + np.random.default_rng(4).standard_t(3, (500, 12)) * 0.02
    held = [judge_guard(MEMORY, row.tolist(), plan()).verdict == "held" for row in data]
    assert np.mean(held) < 0.015
