"""The verdict of a trial, as a rule: what it must not depend on, and what it must."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfwright.analysis.trials.sequential import affordable_rounds, design, judge
from perfwright.models.trial import Judgement, TrialDesign

MIRRORED = {"better": "worse", "worse": "better"}


def planned(most: int, **options: float | bool) -> TrialDesign:
    plan = design(most, **options)  # type: ignore[arg-type]
    assert plan is not None
    return plan


@st.composite
def trials(draw: st.DrawFn) -> tuple[list[float], TrialDesign, bool]:
    """Data about some shift, with ties and without, as many as a budget allows or fewer."""
    most = draw(st.integers(12, 80))
    count = draw(st.integers(0, most))
    chance = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = chance.normal(draw(st.sampled_from([-0.05, -0.01, 0.0, 0.005, 0.03])), draw(st.sampled_from([0.0, 0.002, 0.03])), count)
    if draw(st.booleans()):
        values = np.round(values, 2)
    return values.tolist(), planned(most), draw(st.booleans())


@settings(deadline=None)
@given(trials())
def test_swapping_the_sides_mirrors_the_verdict(trial: tuple[list[float], TrialDesign, bool]) -> None:
    """B against A is better where A against B is worse, as soon and by the same ratio."""
    data, plan, ended = trial
    one, two = judge(data, plan, ended=ended), judge([-value for value in data], plan, ended=ended)
    assert two.verdict == MIRRORED.get(one.verdict, one.verdict)
    assert two.rounds == one.rounds
    if one.ratio and two.ratio:
        assert one.ratio.value * two.ratio.value == pytest.approx(1.0)


@settings(deadline=None)
@given(trials())
def test_higher_is_better_mirrors_the_verdict_but_not_the_ratio(trial: tuple[list[float], TrialDesign, bool]) -> None:
    """The same numbers as throughput instead of time: better is worse, and the ratio is still B over A."""
    data, plan, ended = trial
    one, two = judge(data, plan, ended=ended), judge(data, plan.model_copy(update={"higher_is_better": True}), ended=ended)
    assert two.verdict == MIRRORED.get(one.verdict, one.verdict)
    assert two.ratio == one.ratio


@settings(deadline=None)
@given(trials(), st.floats(1e-6, 1e6))
def test_the_unit_does_not_matter(trial: tuple[list[float], TrialDesign, bool], unit: float) -> None:
    """Milliseconds or seconds: what is judged is a ratio."""
    data, plan, ended = trial
    again = [math.log(math.exp(value) * unit) - math.log(unit) for value in data]
    assert judge(again, plan, ended=ended).verdict == judge(data, plan, ended=ended).verdict


@settings(deadline=None)
@given(trials(), st.lists(st.floats(-0.5, 0.5), max_size=60))
def test_more_rounds_never_change_a_verdict(trial: tuple[list[float], TrialDesign, bool], more: list[float]) -> None:
    """Once decided, it stands, and its numbers too."""
    data, plan, _ = trial
    first = judge(data, plan)
    if first.verdict in ("better", "worse", "equivalent"):
        assert judge([*data, *more], plan) == first


@settings(deadline=None)
@given(trials(), st.randoms(use_true_random=False))
def test_the_order_within_a_look_does_not_matter(trial: tuple[list[float], TrialDesign, bool], chance) -> None:  # type: ignore[no-untyped-def]
    """The first rounds up to the first look are judged together."""
    data, plan, _ = trial
    first = data[: plan.looks[0]]
    other = list(first)
    chance.shuffle(other)
    assert judge(other, plan).verdict == judge(first, plan).verdict


@settings(deadline=None)
@given(trials())
def test_the_verdict_agrees_with_the_interval(trial: tuple[list[float], TrialDesign, bool]) -> None:
    """Where data are all different, worse is an interval above the margin, equivalent one within it."""
    data, plan, ended = trial
    judged = judge(data, plan, ended=ended)
    if judged.ratio is None or judged.ratio.interval is None or len(set(np.round(np.abs(data), 2))) < len(data) / 2:
        return
    low, high = math.log(judged.ratio.interval.low), math.log(judged.ratio.interval.high)
    near = 1e-9
    if judged.verdict == "worse":
        assert low >= plan.margin - near
    elif judged.verdict == "better":
        assert high <= -plan.margin + near
    elif judged.verdict == "equivalent":
        assert -plan.margin - near <= low and high <= plan.margin + near


@settings(deadline=None)
@given(st.integers(0, 11), st.booleans())
def test_fewer_than_twelve_rounds_decide_nothing(count: int, ended: bool) -> None:
    """However clear they look."""
    assert judge([0.5] * count, planned(60), ended=ended).verdict == ("inconclusive" if ended else "continue")


def test_equal_data_are_equivalent() -> None:
    """Twelve rounds without any difference, as counters give: equivalent at the first look."""
    judged = judge([0.0] * 12, planned(40))
    assert (judged.verdict, judged.rounds, judged.sigma) == ("equivalent", 12, 0.0)


def test_a_look_is_held_only_when_it_is_due() -> None:
    """Fourteen rounds are judged as the first twelve, the next look is at sixteen; at the end of the budget all fourteen count.

    Twelve rounds that say nothing (0.3, -0.3, ...), then two more.
    """
    data = [0.3, -0.3] * 7
    waiting: Judgement = judge(data, planned(40))
    assert (waiting.verdict, waiting.rounds, waiting.next_look) == ("continue", 12, 16)
    over = judge(data, planned(40), ended=True)
    assert (over.verdict, over.rounds, over.next_look) == ("inconclusive", 14, None)
    assert judge([0.3, -0.3] * 20, planned(40)).verdict == "inconclusive"


def test_the_end_of_the_budget_may_decide() -> None:
    """The look at 15 rounds, where the budget ends, decides what the first look left open.

    Ranks of y - m: 1 to 8 up, 9 down, 10 to 12 up: Z = 60 / sqrt(650) = 2.35. Then 13 to 15 up: Z = 102 / sqrt(1240) = 2.90.
    """
    data = [0.01 + 0.005 * (-rank if rank == 9 else rank) for rank in range(1, 16)]
    assert judge(data, planned(40)).verdict == "continue"
    assert judge(data[:12], planned(40), ended=True).verdict == "inconclusive"
    for over in (judge(data, planned(15)), judge(data, planned(40), ended=True)):
        assert (over.verdict, over.rounds) == ("worse", 15)


def test_rounds_from_budget() -> None:
    """60 s of rounds of 1.1 s are 54; a round that takes no time is refused."""
    assert affordable_rounds(60, 1.1) == 54
    assert affordable_rounds(60, 61) == 0
    with pytest.raises(ValueError, match="takes time"):
        affordable_rounds(60, 0)


def test_a_void_round_is_no_datum() -> None:
    """Not a number is refused, not ranked."""
    with pytest.raises(ValueError, match="finite"):
        judge([0.0] * 11 + [math.nan], planned(40))
