"""What a benchmark's numbers mean."""

import pytest

from benchmarks.measured import Measured, percentile, ratio


@pytest.mark.parametrize(
    ("value", "limit", "at_least", "verdict"),
    [
        (1.1, 1.1, False, "ok"),
        (1.11, 1.1, False, "MISSED"),
        (0.9, 0.9, True, "ok"),
        (0.89, 0.9, True, "MISSED"),
        (5.0, None, False, "told"),
        (None, 1.0, False, "no data"),
        (None, None, False, "no data"),
    ],
)
def test_a_number_is_judged(value: float | None, limit: float | None, at_least: bool, verdict: str) -> None:
    """A limit is kept up to its very value, and no data is never a pass."""
    measured = Measured("rate", value, "x", limit, at_least)
    assert measured.verdict == verdict
    assert measured.passed == (verdict in ("ok", "told"))


def test_ratios_are_taken_round_by_round() -> None:
    """A round in which the machine was slow for both sides does not change the ratio."""
    found = ratio([2.0, 20.0, 2.2], [1.0, 10.0, 1.1])
    assert found.median == pytest.approx(2.0)
    assert (found.ours, found.theirs) == (2.2, 1.1)


def test_percentiles_are_values_that_occurred() -> None:
    """p95 of one to a hundred is 96, of one value that value."""
    assert percentile(list(range(1, 101)), 0.95) == 96
    assert percentile([7.0], 0.95) == 7.0
