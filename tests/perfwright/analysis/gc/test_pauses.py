"""Pauses as a table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis.gc.pauses import NOTICED_MS, pause_table, within
from perfwright.analysis.gc.python_log import read_python_log
from perfwright.models.gc_tuning import Pause

SIZES = st.lists(st.floats(0.001, 1_000.0), max_size=60)


def young(*sizes_ms: float) -> list[Pause]:
    return [Pause(at_s=float(number), ms=ms, cause="young") for number, ms in enumerate(sizes_ms)]


def test_short_ones_do_not_hide_long_ones() -> None:
    """A thousand collections of 0.1 ms and three of 100 ms in 10 s: p99 is 100 ms, and 4 % of the time is in pauses."""
    table = pause_table(young(*[0.1] * 1_000, *[100.0] * 3), 10.0)
    assert (table.p99_ms, table.noticed, table.count) == (100.0, 3, 1_003)
    assert table.share == pytest.approx(0.04)


def test_without_a_noticed_pause_all_count() -> None:
    """Then the percentile is of what there is; of nothing it is nothing."""
    assert pause_table(young(0.1, 0.2, 0.3), 1.0).max_ms == 0.3
    empty = pause_table([], 1.0)
    assert (empty.p99_ms, empty.share, empty.lines) == (0.0, 0.0, ())


def test_several_processes_share_the_time() -> None:
    """Two workers of which each stands still for a half stand still for a half, not for all of the time."""
    assert pause_table(young(500.0, 500.0), 1.0, processes=2).share == pytest.approx(0.5)
    with pytest.raises(ValueError, match="a time"):
        pause_table([], 0.0)


@given(SIZES)
def test_against_the_obvious(sizes_ms: list[float]) -> None:
    """Sorted and counted by hand, the table is the same; lines sum to the whole."""
    table = pause_table(young(*sizes_ms), 100.0)
    noticed = sorted(one for one in sizes_ms if one >= NOTICED_MS) or sorted(sizes_ms)
    rank = -(-99 * len(noticed) // 100)
    assert table.p99_ms == (noticed[rank - 1] if noticed else 0.0)
    assert sum(line.count for line in table.lines) == table.count == len(sizes_ms)
    assert sum(line.total_ms for line in table.lines) == pytest.approx(sum(sizes_ms))


def test_only_the_window_counts() -> None:
    """Those that ended within it."""
    assert [pause.at_s for pause in within(young(1, 1, 1, 1), 1.0, 2.0)] == [1.0, 2.0]


def test_what_the_agent_wrote_is_read() -> None:
    """A header, whole lines, a line that a kill cut short, and the zeros of the rest of the file."""
    text = '{"version": "3.11.7", "thresholds": [700, 10, 10], "dropped": 3}\n[12.5,0,0.04,0,0]\n[13.0,2,98.7,120,1]\n[13.1,2,9\0\0\0\0'
    log = read_python_log(text)
    assert (log.version, log.thresholds, log.dropped) == ("3.11.7", (700, 10, 10), 3)
    assert [(one.cause, one.ms, one.collected, one.uncollectable) for one in log.pauses] == [
        ("young", 0.04, 0, 0),
        ("full generation", 98.7, 120, 1),
    ]
