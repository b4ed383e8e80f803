import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis.comparison import compare_estimates, compare_numbers
from perfwright.models.measurement import Estimate, Interval


def share(value: float, low: float, high: float, level: float = 0.95) -> Estimate:
    return Estimate(value=value, unit="share", interval=Interval(low=low, high=high, level=level))


def test_the_interval_of_a_difference() -> None:
    """
    earlier  0.20 (0.15 .. 0.30)      later  0.40 (0.36 .. 0.48)      later less earlier: 0.20
    low  = 0.20 - hypot(0.40 - 0.36, 0.30 - 0.20) = 0.0923
    high = 0.20 + hypot(0.48 - 0.40, 0.20 - 0.15) = 0.2943
    """
    one = compare_estimates("self", share(0.20, 0.15, 0.30), share(0.40, 0.36, 0.48))
    assert one.shown == "more" and one.difference is not None and one.difference.interval is not None
    assert one.difference.value == pytest.approx(0.20)
    assert (one.difference.interval.low, one.difference.interval.high) == pytest.approx((0.0923, 0.2943), abs=1e-4)


def test_what_is_not_clear_of_zero_is_not_claimed() -> None:
    """Two numbers whose intervals leave room for no difference are not called different."""
    assert compare_estimates("self", share(0.20, 0.15, 0.25), share(0.24, 0.19, 0.29)).shown == "no difference shown"


def test_numbers_without_intervals_or_in_other_units_are_not_judged() -> None:
    """Without intervals, or at other levels, the change is told and not judged; in different units not even told."""
    plain = compare_estimates("cores", Estimate(value=1.0, unit="cores"), Estimate(value=2.0, unit="cores"))
    assert plain.shown == "no interval" and plain.difference == Estimate(value=1.0, unit="cores")
    levels = compare_estimates("self", share(0.2, 0.1, 0.3, 0.90), share(0.9, 0.8, 1.0))
    assert levels.shown == "no interval"
    units = compare_estimates("size", Estimate(value=1.0, unit="s"), Estimate(value=2.0, unit="bytes"))
    assert units.shown == "no interval" and units.difference is None


def test_what_only_one_run_has_is_kept() -> None:
    """Numbers are listed in the order of the later run; those that only the earlier one has come last."""
    one, two = share(0.1, 0.0, 0.2), share(0.3, 0.2, 0.4)
    told = compare_numbers({"gone": one, "both": one}, {"new": two, "both": two})
    assert [(number.what, number.shown) for number in told] == [
        ("new", "only later"),
        ("both", "more"),
        ("gone", "only earlier"),
    ]


estimates = st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)).map(sorted).map(lambda v: share(v[1], v[0], v[2]))


@given(estimates, estimates)
def test_a_comparison_is_symmetric(earlier: Estimate, later: Estimate) -> None:
    """Compared the other way round, the difference changes its sign and nothing else; a number never differs from itself."""
    there, back = compare_estimates("x", earlier, later), compare_estimates("x", later, earlier)
    assert there.difference and back.difference and there.difference.interval and back.difference.interval
    assert there.difference.value == -back.difference.value
    assert there.difference.interval.low == pytest.approx(-back.difference.interval.high)
    assert {there.shown, back.shown} in ({"more", "less"}, {"no difference shown"})
    assert compare_estimates("x", earlier, earlier).shown == "no difference shown"
