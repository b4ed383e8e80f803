"""The window that is handed on: bounded, without our own statements, honest about what is missing."""

import math

from perfwright.analysis.database.observed_window import SHORT_CHARACTERS, STATEMENTS_KEPT, chosen_keys, gather
from perfwright.analysis.database.statement_counters import Counters, EntryKey, WindowDifference

KEY, OWN, NESTED = EntryKey(10, 1, True), EntryKey(11, 2, True), EntryKey(10, 3, False)


def counted(total_ms: float) -> Counters:
    return Counters(1, total_ms, math.nan, total_ms, math.nan, 0.0, 5, 7, 0, 0, 0.0, 0, None)


def test_own_statements_are_out_and_their_cost_is_told() -> None:
    """The application's total has no time of ours, and no nested time twice."""
    found = WindowDifference(60.0, {KEY: counted(40.0), OWN: counted(2.0), NESTED: counted(30.0)})
    texts = {KEY: "SELECT f()", OWN: "SELECT /* perfwright */ 1", NESTED: "SELECT $1"}
    gathered = gather(found, texts, {10: "app"}, "shop", 1_700_000_000.0, planning_counted=False, reads_timed=False)
    window = gathered.window
    assert (gathered.own_ms, window.total_ms, window.complete, window.note) == (2.0, 40.0, True, "")
    assert [(one.text, one.role, one.top_level) for one in window.statements] == [("SELECT f()", "app", True), ("SELECT $1", "app", False)]
    first = window.statements[0]
    assert (first.min_ms, first.max_ms, first.planning_ms, first.block_read_ms) == (None, 40.0, None, None)
    assert window.started_at == "2023-11-14T22:13:20+00:00"


def test_a_server_with_very_many_statements_is_cut_to_the_costliest() -> None:
    """What is left out counts in the total, and is told."""
    entries = {EntryKey(10, n, True): counted(float(n)) for n in range(1, STATEMENTS_KEPT + 101)}
    found = WindowDifference(60.0, entries)
    texts = dict.fromkeys(chosen_keys(found), "x" * SHORT_CHARACTERS)
    window = gather(found, texts, {}, "shop", 0.0, planning_counted=True, reads_timed=True).window
    assert len(window.statements) == STATEMENTS_KEPT
    assert window.statements[0].total_ms == STATEMENTS_KEPT + 100
    assert window.total_ms == sum(one.total_ms for one in entries.values())
    assert window.note == "the cheapest 100 statements are left out"


def test_everything_that_is_missing_is_told() -> None:
    """A restart, a reset, evictions and statements without text: one sentence each, and the window is not complete."""
    found = WindowDifference(60.0, {KEY: counted(1.0)}, restarted=True, reset=True, evicted=50)
    window = gather(found, {}, {}, "shop", 0.0, planning_counted=True, reads_timed=True).window
    assert not window.complete
    assert len(window.note.split("; ")) == 4
    partly = gather(WindowDifference(1.0, {}, reset=True, reset_entries=3), {}, {}, "shop", 0.0, planning_counted=True, reads_timed=True)
    assert "3 statements were reset" in partly.window.note
