"""How turns with and without the collection become a verdict."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.turns import Kept, ends_of, kept, throughputs


@pytest.mark.parametrize(
    ("low", "high", "verdict", "shown"),
    [
        (0.992, 1.003, "kept", "ok"),
        (0.97, 0.985, "lost", "MISSED"),
        (0.985, 0.999, "inconclusive", "told"),
    ],
)
def test_only_what_the_interval_decides_is_judged(low: float, high: float, verdict: str, shown: str) -> None:
    """An interval on both sides of the limit is told as inconclusive, never as kept or lost."""
    found = Kept((low + high) / 2, low, high)
    measured = found.measured("throughput", "8 ratios")
    assert (found.verdict, measured.verdict, measured.note.startswith("inconclusive")) == (verdict, shown, verdict == "inconclusive")


def test_a_drift_cancels_out_within_four_turns() -> None:
    """
    A machine that gets faster by the second, and a collection that costs nothing:

        turn       without  with  with  without
        rate           100   110   120      130
    """
    turns = [(0.0, 1.0, False), (1.0, 2.0, True), (2.0, 3.0, True), (3.0, 4.0, False)]
    ends = np.concatenate([np.linspace(second, second + 1, 100 + 10 * second, endpoint=False) for second in range(4)])
    assert throughputs(ends, turns) == [(115.0, 115.0)]
    found = kept([(115.0, 115.0), (114.0, 114.0)])
    assert (found.ratio, found.verdict) == (pytest.approx(1.0), "kept")


def test_one_ratio_decides_nothing() -> None:
    """Without a second one nothing is known of the noise."""
    assert kept([(98.0, 100.0)]).verdict == "inconclusive"


def test_pgbench_logs_are_read_to_the_last_whole_line(tmp_path: Path) -> None:
    """Of all threads, in order; the last line of a load that was ended may be cut."""
    (tmp_path / "transactions.7").write_text("0 1 812 0 1700000002 500000\n0 2 901 0 17000")
    (tmp_path / "transactions.7.1").write_text("1 1 733 0 1700000001 250000\n")
    assert ends_of(tmp_path).tolist() == [1700000001.25, 1700000002.5]
