"""What statements cost between two readings of pg_stat_statements, whatever happened to its counters meanwhile.

The extension counts from a reset on, per (role, statement, nested or not), and drops the least executed entries when it is full.
Source: PostgreSQL 18 documentation, F.32 "pg_stat_statements"; the share that one round of eviction drops is USAGE_DEALLOC_PERCENT
of contrib/pg_stat_statements/pg_stat_statements.c, at least ten entries.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

EVICTED_SHARE = 0.05
EVICTED_AT_LEAST = 10
NEARLY_FULL = 0.9
"""PostgreSQL 13 does not count evictions: a table this full may have had some. One round leaves it at 95 %."""


class EntryKey(NamedTuple):
    """What identifies an entry within one database."""

    role_id: int
    query_id: int
    top_level: bool


class Counters(NamedTuple):
    """Counters of one entry: times in milliseconds, blocks of the server's block size."""

    calls: int
    total_ms: float
    min_ms: float
    max_ms: float
    stddev_ms: float
    """Of the population, over all calls."""
    planning_ms: float
    rows: int
    shared_hit_blocks: int
    shared_read_blocks: int
    temp_written_blocks: int
    block_read_ms: float
    wal_bytes: int
    since_s: float | None
    """When the entry began (seconds since 1970, the server's clock); None before PostgreSQL 17."""


@dataclass(frozen=True)
class Snapshot:
    """One reading: entries of one database, and what tells a reset, an eviction or a restart. Clocks are the server's, in seconds."""

    taken_s: float
    server_started_s: float
    reset_s: float | None = None
    """pg_stat_statements_info.stats_reset; None before PostgreSQL 14."""
    eviction_rounds: int | None = None
    """pg_stat_statements_info.dealloc; None before PostgreSQL 14."""
    size: int = 0
    """Entries of all databases."""
    room: int = 5_000
    """pg_stat_statements.max."""
    hidden: int = 0
    """Entries of roles whose statements we may not see."""
    hidden_ms: float = 0.0
    entries: Mapping[EntryKey, Counters] = field(default_factory=dict)


@dataclass(frozen=True)
class WindowDifference:
    """What happened between two snapshots."""

    seconds: float
    entries: dict[EntryKey, Counters]
    """Differences; only entries with calls. `min_ms`, `max_ms` and `stddev_ms` are NaN where the window's cannot be known."""
    restarted: bool = False
    reset: bool = False
    """Counters were reset, or lost with a crash, within the window."""
    reset_entries: int = 0
    """Single entries that were reset: not all at once."""
    evicted: int = 0
    """Entries that were dropped for lack of room, about."""
    hidden_ms: float = 0.0
    moment_known: bool = True
    """Whether `seconds` begin at the reset; otherwise they are those of the whole window."""


def difference(before: Snapshot, after: Snapshot) -> WindowDifference:
    """Counters of the window from `before` to `after`.

    Never counts what was before the window. What it loses: calls of an entry before it was reset or evicted within the window, and
    entries that were evicted and did not come back.
    """
    restarted = after.server_started_s != before.server_started_s
    rounds = None if before.eviction_rounds is None or after.eviction_rounds is None else after.eviction_rounds - before.eviction_rounds
    began_again = {key for key in before.entries if _began_again(before, after, key)}
    full = max(before.size, after.size) >= NEARLY_FULL * before.room
    may_have_evicted = rounds > 0 if rounds is not None else full
    # Entries survive an ordinary restart (pg_stat_statements.save) and are all lost with a crash.
    everything = bool(before.entries) and len(began_again) == len(before.entries)
    told = after.reset_s is not None and after.reset_s != before.reset_s
    all_gone = everything and (restarted or not may_have_evicted)
    lost = told or (rounds is not None and rounds < 0) or all_gone or (restarted and bool(began_again) and not may_have_evicted)
    evicted = 0
    if not lost and may_have_evicted:
        evicted = rounds * max(EVICTED_AT_LEAST, round(EVICTED_SHARE * before.room)) if rounds else len(began_again)
    reset_entries = 0 if lost or may_have_evicted else len(began_again)

    entries: dict[EntryKey, Counters] = {}
    for key, now in after.entries.items():
        earlier = None if lost or key in began_again else before.entries.get(key)
        change = now if earlier is None else _change(earlier, now)
        if change.calls > 0:
            entries[key] = change
    seconds, known = _since(before, after, restarted) if lost else (after.taken_s - before.taken_s, True)
    return WindowDifference(
        seconds=max(0.0, seconds),
        entries=entries,
        restarted=restarted,
        reset=lost or reset_entries > 0,
        reset_entries=reset_entries,
        evicted=evicted,
        hidden_ms=after.hidden_ms if lost else max(0.0, after.hidden_ms - before.hidden_ms),
        moment_known=known,
    )


def _began_again(before: Snapshot, after: Snapshot, key: EntryKey) -> bool:
    """Whether the entry is gone, or is another one than before."""
    if (now := after.entries.get(key)) is None:
        return True
    then = before.entries[key]
    if now.since_s is not None and then.since_s is not None:
        return now.since_s != then.since_s
    # Extremes can only widen; also where an entry has been called more often since it began again than before.
    narrower = then.calls > 0 and (now.max_ms < then.max_ms or now.min_ms > then.min_ms)
    return now.calls < then.calls or now.total_ms < then.total_ms or now.rows < then.rows or narrower


def _since(before: Snapshot, after: Snapshot, restarted: bool) -> tuple[float, bool]:
    """Seconds from the loss of all counters to the end, and whether its moment is known (a crash of one session resets them silently)."""
    if after.reset_s is not None and before.taken_s <= after.reset_s <= after.taken_s:
        return after.taken_s - after.reset_s, True
    if restarted and before.taken_s <= after.server_started_s <= after.taken_s:
        return after.taken_s - after.server_started_s, True
    return after.taken_s - before.taken_s, False


def _change(earlier: Counters, now: Counters) -> Counters:
    calls, total_ms = now.calls - earlier.calls, now.total_ms - earlier.total_ms
    return Counters(
        calls=calls,
        total_ms=total_ms,
        # An extreme that moved was reached within the window; one that did not tells nothing of it.
        min_ms=now.min_ms if 0 < now.min_ms < earlier.min_ms else math.nan,
        max_ms=now.max_ms if now.max_ms > earlier.max_ms else math.nan,
        stddev_ms=_stddev(earlier, now, calls, total_ms),
        planning_ms=max(0.0, now.planning_ms - earlier.planning_ms),
        rows=now.rows - earlier.rows,
        shared_hit_blocks=now.shared_hit_blocks - earlier.shared_hit_blocks,
        shared_read_blocks=now.shared_read_blocks - earlier.shared_read_blocks,
        temp_written_blocks=now.temp_written_blocks - earlier.temp_written_blocks,
        block_read_ms=max(0.0, now.block_read_ms - earlier.block_read_ms),
        wal_bytes=now.wal_bytes - earlier.wal_bytes,
        since_s=now.since_s,
    )


def _stddev(earlier: Counters, now: Counters, calls: int, total_ms: float) -> float:
    """From the sums of squares: n (s^2 + m^2), of both readings. NaN where the difference drowns in rounding."""
    if calls < 1:
        return math.nan
    squares_now, squares_then = _squares(now), _squares(earlier)
    variance = (squares_now - squares_then) / calls - (total_ms / calls) ** 2
    # Doubles carry sixteen digits; what is left of fewer than three of them is noise.
    if squares_now * 1e-13 > abs(variance) * calls:
        return 0.0 if squares_then == 0 else math.nan
    return math.sqrt(variance) if variance > 0 else math.nan


def _squares(counters: Counters) -> float:
    mean = counters.total_ms / counters.calls if counters.calls else 0.0
    return counters.calls * (counters.stddev_ms**2 + mean**2)
