"""How turns with and without the collection become a verdict."""

import math
from pathlib import Path
from random import Random

import numpy as np
import pytest

from benchmarks.turns import Kept, ends_of, kept, neighbours, throughputs, weighed


@pytest.mark.parametrize(
    ("low", "high", "verdict", "shown"),
    [
        (0.992, 1.003, "within", "ok"),
        (0.97, 0.985, "exceeds", "MISSED"),
        (0.985, 0.999, "undecided", "told"),
    ],
)
def test_only_what_the_interval_decides_is_judged(low: float, high: float, verdict: str, shown: str) -> None:
    """An interval on both sides of the limit is told as undecided, never as within or beyond."""
    found = Kept((low + high) / 2, low, high, 0.01)
    measured = found.measured("throughput", "8 ratios")
    assert (found.verdict, measured.verdict, measured.note.startswith(verdict)) == (verdict, shown, True)


def test_a_drift_cancels_out_within_four_turns() -> None:
    """
    A machine that gets faster by the second, and a collection that costs nothing:

        turn       without  with  with  without
        rate           100   110   120      130
    """
    turns = [(0.0, 1.0, False), (1.0, 2.0, True), (2.0, 3.0, True), (3.0, 4.0, False)]
    ends = np.concatenate([np.linspace(second, second + 1, 100 + 10 * second, endpoint=False) for second in range(4)])
    assert throughputs(ends, turns) == [(115.0, 115.0)]
    found = kept([(rate, rate) for rate in range(100, 108)], 0.01)
    assert (found.ratio, found.verdict) == (pytest.approx(1.0), "within")


def test_a_few_ratios_decide_nothing() -> None:
    """Five pairs reach no interval of 95 %, however equal they are."""
    assert kept([(98.0, 100.0)], 0.01).verdict == "undecided"
    assert kept([(98.0, 100.0)] * 5, 0.01).verdict == "undecided"


def test_a_turn_that_was_disturbed_does_not_decide() -> None:
    """One pair of 20 that lost half of its throughput to something else moves the estimate by less than its mean's 3 %."""
    chance = Random(7)
    pairs = [(100.0 * chance.gauss(0.99, 0.005), 100.0) for _ in range(19)] + [(50.0, 100.0)]
    found = kept(pairs, 0.02)
    assert found.ratio == pytest.approx(0.99, abs=0.003)
    assert found.verdict == "within"


def test_the_rest_counts_by_its_time_and_its_noise() -> None:
    """A tenth of the time at half of the throughput costs five per cent more; where it is uncertain, so is the whole."""
    most = Kept(1.0, 0.998, 1.002, 0.02)
    assert weighed(most, 0.1, [0.5, 0.5]).ratio == pytest.approx(0.95)
    assert weighed(most, 0.1, [0.5, 0.5]).verdict == "exceeds"
    assert weighed(most, 0.1, [0.5, 1.4]).verdict == "undecided"
    assert math.isinf(weighed(most, 0.1, [0.5]).high)
    assert weighed(most, 0.0, []) is most


def test_equal_turns_are_held_against_their_neighbours() -> None:
    """A steady drift is no difference."""
    assert neighbours([100.0, 101.0, 102.0, 103.0]) == [(101.0, 101.0), (102.0, 102.0)]


def test_pgbench_logs_are_read_to_the_last_whole_line(tmp_path: Path) -> None:
    """Of all threads, in order; the last line of a load that was ended may be cut."""
    (tmp_path / "transactions.7").write_text("0 1 812 0 1700000002 500000\n0 2 901 0 17000")
    (tmp_path / "transactions.7.1").write_text("1 1 733 0 1700000001 250000\n")
    assert ends_of(tmp_path).tolist() == [1700000001.25, 1700000002.5]
