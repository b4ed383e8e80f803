"""What statements cost between two readings of performance_schema.events_statements_summary_by_digest.

The table counts from a TRUNCATE or a start of the server on; it drops no entry: what finds no room is counted together in one row without
a digest. Times are in picoseconds. Source: MySQL 8.4 reference manual, 29.12.20.3 "Statement Summary Tables".
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from perfwright.analysis.database.passwords import without_passwords
from perfwright.analysis.mysql.shapes import fingerprint
from perfwright.models.statement import ObservedWindow, ServerCounters

STATEMENTS_KEPT = 5_000
"""The costliest: half of what performance_schema_digests_size holds at most by default (-1: 10,000)."""
RESTART_SLACK_S = 5.0
"""Uptime is in whole seconds, and clocks are set: a start that moved by less is none."""


class Counters(NamedTuple):
    """Of one digest: times in milliseconds."""

    calls: int
    total_ms: float
    min_ms: float
    max_ms: float
    rows: int
    """Sent or changed."""
    temp_tables_on_disk: int


@dataclass(frozen=True)
class Snapshot:
    """One reading: digests of one database."""

    taken_s: float
    started_s: float
    """When the server started: its clock, seconds since 1970."""
    lost_calls: int = 0
    """Calls in the row without a digest."""
    entries: Mapping[str, Counters] = field(default_factory=dict)


@dataclass(frozen=True)
class WindowDifference:
    """What happened between two snapshots."""

    seconds: float
    entries: dict[str, Counters]
    """Differences; only digests with calls. `min_ms` and `max_ms` are NaN where the window's are not known."""
    restarted: bool
    reset: bool
    lost_calls: int


def difference(before: Snapshot, after: Snapshot) -> WindowDifference:
    """Counters of the window; never counts what was before it."""
    restarted = abs(after.started_s - before.started_s) > RESTART_SLACK_S
    smaller = any(key not in after.entries or after.entries[key].calls < one.calls for key, one in before.entries.items())
    reset = restarted or smaller
    entries = {}
    for key, now in after.entries.items():
        then = None if reset else before.entries.get(key)
        change = now if then is None else _change(then, now)
        if change.calls > 0:
            entries[key] = change
    seconds = after.taken_s - (max(before.taken_s, after.started_s) if restarted else before.taken_s)
    lost = after.lost_calls if reset else after.lost_calls - before.lost_calls
    return WindowDifference(max(0.0, seconds), entries, restarted, reset, max(0, lost))


def chosen_digests(found: WindowDifference) -> list[str]:
    """Digests whose texts are worth fetching, the costliest first."""
    return sorted(found.entries, key=lambda key: (-found.entries[key].total_ms, key))[:STATEMENTS_KEPT]


def gather(found: WindowDifference, texts: Mapping[str, str], database: str, started_s: float) -> ObservedWindow:
    """The window's statements by total time."""
    chosen = [digest for digest in chosen_digests(found) if digest in texts]
    notes = []
    if found.restarted:
        notes.append("the server restarted within the window: it begins there")
    elif found.reset:
        notes.append("counters were reset within the window: when is not known, so rates are too low")
    if found.lost_calls:
        notes.append(f"{found.lost_calls} calls found no room for a digest: raise performance_schema_digests_size")
    if left_out := len(found.entries) - len(chosen):
        notes.append(f"the cheapest {left_out} statements are left out")
    return ObservedWindow(
        seconds=found.seconds,
        started_at=datetime.fromtimestamp(started_s, UTC).isoformat(timespec="seconds"),
        source="performance_schema",
        statements=tuple(_statement(digest, found.entries[digest], texts[digest], database) for digest in chosen),
        reset=found.reset,
        total_ms=sum(one.total_ms for one in found.entries.values()),
        complete=not notes,
        note="; ".join(notes),
    )


def _statement(digest: str, counters: Counters, text: str, database: str) -> ServerCounters:
    return ServerCounters(
        # Statements are named by the first sixteen digits: the shape's, so that calls in the slow log find their statement here.
        query_id=f"{fingerprint(text)}:{digest}",
        database=database,
        text=without_passwords(text),
        calls=counters.calls,
        total_ms=counters.total_ms,
        min_ms=None if math.isnan(counters.min_ms) else counters.min_ms,
        max_ms=None if math.isnan(counters.max_ms) else counters.max_ms,
        rows=counters.rows,
    )


def digest_of(query_id: str) -> str:
    """The server's own digest in a `query_id` of ours."""
    return query_id.rpartition(":")[2]


def _change(then: Counters, now: Counters) -> Counters:
    return Counters(
        calls=now.calls - then.calls,
        total_ms=max(0.0, now.total_ms - then.total_ms),
        # An extreme that moved was reached within the window.
        min_ms=now.min_ms if now.min_ms < then.min_ms else math.nan,
        max_ms=now.max_ms if now.max_ms > then.max_ms else math.nan,
        rows=max(0, now.rows - then.rows),
        temp_tables_on_disk=max(0, now.temp_tables_on_disk - then.temp_tables_on_disk),
    )
