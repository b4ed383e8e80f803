"""Differences of pg_stat_statements, against a server that is simulated call by call."""

import math
from dataclasses import dataclass, field, replace
from statistics import pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis.database.statement_counters import Counters, EntryKey, Snapshot, difference

KEY, OTHER = EntryKey(10, 1, True), EntryKey(10, 2, True)


def counted(calls: int, total_ms: float, *, since_s: float | None = None) -> Counters:
    """With extremes that do not move."""
    least, most = (0.1, 100.0) if calls else (0.0, 0.0)
    return Counters(calls, total_ms, least, most, 0.0, 0.0, calls, calls, 0, 0, 0.0, 0, since_s)


def taken(at_s: float, *, started_s: float = 0.0, **fields: object) -> Snapshot:
    values: dict[str, object] = {"reset_s": 0.0, "eviction_rounds": 0, "size": 2} | fields
    return Snapshot(taken_s=at_s, server_started_s=started_s, **values)  # type: ignore[arg-type]


def test_a_quiet_window_is_the_plain_difference() -> None:
    """Calls and time of the window only; entries without calls in it are not listed."""
    before = taken(100, entries={KEY: counted(10, 50.0), OTHER: counted(7, 7.0)})
    found = difference(before, taken(160, entries={KEY: counted(14, 90.0), OTHER: counted(7, 7.0)}))
    assert found.seconds == 60
    assert {key: (one.calls, one.total_ms) for key, one in found.entries.items()} == {KEY: (4, 40.0)}
    assert (found.reset, found.restarted, found.evicted) == (False, False, 0)


def test_a_reset_begins_the_window_anew() -> None:
    """More calls after the reset than before the window are still counted from the reset on, and the seconds too."""
    before = taken(100, entries={KEY: counted(5, 50.0)})
    found = difference(before, taken(160, reset_s=140.0, entries={KEY: counted(100, 90.0)}))
    assert (found.entries[KEY].calls, found.seconds, found.reset, found.moment_known) == (100, 20.0, True, True)


def test_an_ordinary_restart_keeps_counters() -> None:
    """The server wrote them down when it stopped: the window is whole."""
    before = taken(100, entries={KEY: counted(5, 50.0)})
    found = difference(before, taken(160, started_s=130.0, entries={KEY: counted(9, 70.0)}))
    assert (found.entries[KEY].calls, found.seconds, found.reset, found.restarted) == (4, 60.0, False, True)


def test_a_crash_loses_them_and_the_window_begins_with_the_new_server() -> None:
    """What was counted since then is in it."""
    before = taken(100, entries={KEY: counted(5, 50.0), OTHER: counted(1, 1.0)})
    found = difference(before, taken(160, started_s=130.0, entries={KEY: counted(9, 70.0)}))
    assert (found.entries[KEY].calls, found.seconds, found.reset, found.restarted) == (9, 30.0, True, True)


def test_a_crash_of_one_session_loses_them_at_an_unknown_moment() -> None:
    """All entries are gone and none was evicted: it is told that the moment is not known."""
    before = taken(100, entries={KEY: counted(5, 50.0)})
    found = difference(before, taken(160, entries={OTHER: counted(3, 3.0)}))
    assert (found.reset, found.moment_known, found.seconds, found.entries[OTHER].calls) == (True, False, 60.0, 3)


def test_single_entries_that_were_reset_are_counted() -> None:
    """Others go on as if nothing had happened."""
    before = taken(100, entries={KEY: counted(50, 50.0), OTHER: counted(5, 5.0)})
    found = difference(before, taken(160, entries={KEY: counted(2, 2.0), OTHER: counted(6, 6.0)}))
    assert (found.reset, found.reset_entries) == (True, 1)
    assert {key: one.calls for key, one in found.entries.items()} == {KEY: 2, OTHER: 1}


def test_an_entry_that_was_evicted_and_came_back_begins_anew() -> None:
    """PostgreSQL 17 and later tell since when an entry counts: more calls than before do not deceive."""
    before = taken(100, room=100, entries={KEY: counted(5, 50.0, since_s=10.0)})
    found = difference(before, taken(160, room=100, eviction_rounds=3, entries={KEY: counted(8, 60.0, since_s=150.0)}))
    assert (found.entries[KEY].calls, found.evicted, found.reset) == (8, 30, False)


def test_version_13_evicts_silently_when_it_is_full() -> None:
    """Without a counter of evictions, entries that vanish from a full table were evicted."""
    before = taken(100, eviction_rounds=None, reset_s=None, size=95, room=100, entries={KEY: counted(1, 1.0), OTHER: counted(9, 9.0)})
    found = difference(before, taken(160, eviction_rounds=None, reset_s=None, size=96, room=100, entries={OTHER: counted(12, 10.0)}))
    assert (found.evicted, found.reset, found.entries[OTHER].calls) == (1, False, 3)


def test_extremes_are_known_only_where_they_moved_or_the_entry_is_new() -> None:
    """A maximum from last week is not told as one of this window."""
    then = replace_counters(counted(2, 20.0), min_ms=1.0, max_ms=19.0)
    now = replace_counters(counted(4, 30.0), min_ms=1.0, max_ms=25.0)
    found = difference(taken(1, entries={KEY: then}), taken(2, entries={KEY: now, OTHER: counted(1, 3.0)}))
    assert math.isnan(found.entries[KEY].min_ms)
    assert found.entries[KEY].max_ms == 25.0
    assert found.entries[OTHER].max_ms == 100.0


@pytest.mark.parametrize("moved", [{"min_ms": 0.2}, {"max_ms": 99.0}, {"rows": 4}], ids=["least", "most", "rows"])
def test_what_cannot_shrink_tells_a_reset_that_nothing_else_tells(moved: dict[str, float]) -> None:
    """PostgreSQL 13 has no time of the reset, and the entry has more calls since then than it had before: they are counted from there."""
    then, now = counted(5, 50.0), replace_counters(counted(20, 80.0), **moved)
    before = taken(100, reset_s=None, eviction_rounds=None, entries={KEY: then, OTHER: counted(3, 3.0)})
    found = difference(before, taken(160, reset_s=None, eviction_rounds=None, entries={KEY: now, OTHER: counted(4, 4.0)}))
    assert ({key: one.calls for key, one in found.entries.items()}, found.reset) == ({KEY: 20, OTHER: 1}, True)


def replace_counters(counters: Counters, **fields: float) -> Counters:
    return counters._replace(**fields)


durations = st.lists(st.floats(0.01, 10_000), min_size=1, max_size=30)


@given(durations, durations)
def test_the_spread_of_a_window_is_that_of_its_calls(earlier: list[float], later: list[float]) -> None:
    """The standard deviation of the window's calls comes out of the two readings, or is told to be unknown."""
    both = earlier + later
    found = difference(taken(1, entries={KEY: summed(earlier)}), taken(2, entries={KEY: summed(both)}))
    change = found.entries[KEY]
    assert change.calls == len(later)
    assert change.total_ms == pytest.approx(sum(later), rel=1e-6, abs=1e-6)
    if not math.isnan(change.stddev_ms):
        assert change.stddev_ms == pytest.approx(pstdev(later), rel=0.05, abs=1e-3 * max(both))


def summed(calls: list[float]) -> Counters:
    return Counters(len(calls), sum(calls), min(calls), max(calls), pstdev(calls), 0.0, len(calls), 0, 0, 0, 0.0, 0, None)


@dataclass
class Server:
    """pg_stat_statements as a dictionary that forgets, and beside it the truth of the window."""

    clock_s: float = 100.0
    started_s: float = 1.0
    reset_s: float = 1.0
    rounds: int = 0
    modern: bool = True
    entries: dict[EntryKey, Counters] = field(default_factory=dict)
    truth: dict[EntryKey, int] = field(default_factory=dict)

    def act(self, what: str, key: EntryKey) -> None:
        self.clock_s += 1
        match what:
            case "call":
                old = self.entries.get(key) or counted(0, 0.0, since_s=self.clock_s if self.modern else None)
                self.entries[key] = counted(old.calls + 1, old.total_ms + 2.0, since_s=old.since_s)
                self.truth[key] = self.truth.get(key, 0) + 1
            case "evict":
                self.entries.pop(key, None)
                self.rounds += 1
            case "reset":
                self.entries.clear()
                self.reset_s = self.clock_s
            case "restart":
                self.started_s = self.clock_s
            case "crash":
                self.entries.clear()
                self.started_s, self.reset_s, self.rounds = self.clock_s, 0.0, 0

    def snapshot(self) -> Snapshot:
        self.clock_s += 1
        return Snapshot(self.clock_s, self.started_s, self.reset_s, self.rounds, len(self.entries), 5_000, entries=dict(self.entries))


keys = st.builds(EntryKey, st.just(10), st.integers(1, 3), st.booleans())
events = st.lists(st.tuples(st.sampled_from(["call", "call", "call", "evict", "reset", "restart", "crash"]), keys), max_size=40)


@given(events, events, st.booleans())
def test_no_call_is_counted_that_was_not_in_the_window(
    earlier: list[tuple[str, EntryKey]], later: list[tuple[str, EntryKey]], modern: bool
) -> None:
    """Whatever is reset, evicted or crashed: never more calls than there were, never negative; all of them where nothing happened."""
    server = Server(modern=modern)
    for event in earlier:
        server.act(*event)
    before = server.snapshot()
    server.truth.clear()
    for event in later:
        server.act(*event)
    after = server.snapshot()
    found = difference(before, after)
    for key, change in found.entries.items():
        assert 0 < change.calls <= server.truth[key]
        assert 0 <= change.total_ms <= 2.0 * server.truth[key]
    happened = {what for what, _ in later}
    if happened <= {"call", "restart"}:
        assert {key: change.calls for key, change in found.entries.items()} == server.truth
        assert not found.reset
    if "reset" in happened and "crash" not in happened:
        assert found.reset
    assert found.restarted == bool(happened & {"restart", "crash"})
    assert 0 <= found.seconds <= after.taken_s - before.taken_s


def test_hidden_time_is_told_for_the_window() -> None:
    """Time of other roles' statements counts from the window's beginning too."""
    found = difference(taken(1, hidden=3, hidden_ms=100.0), taken(2, hidden=4, hidden_ms=130.0))
    assert found.hidden_ms == 30.0
    assert replace(found, hidden_ms=0.0).entries == {}
