"""From counters to the `ObservedWindow`: texts and roles added, statements of our own taken out, bounded."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from perfwright.analysis.database.own_statements import counted_text, is_own
from perfwright.analysis.database.passwords import without_passwords
from perfwright.analysis.database.statement_counters import Counters, EntryKey, WindowDifference
from perfwright.models.statement import ObservedWindow, ServerCounters

STATEMENTS_KEPT = 5_000
"""The costliest: as many as pg_stat_statements holds by default (pg_stat_statements.max)."""
LONG_TEXTS = 100
"""So many of the costliest statements keep long texts, the rest shorter ones: at most 60 million characters, whatever the server holds."""
LONG_CHARACTERS = 100_000
SHORT_CHARACTERS = 10_000


@dataclass(frozen=True)
class Gathered:
    """The window, and what is told beside it."""

    window: ObservedWindow
    own_ms: float
    """Execution time of statements of our own."""


def chosen_keys(found: WindowDifference) -> list[EntryKey]:
    """Entries whose texts are worth fetching, the costliest first."""
    return sorted(found.entries, key=lambda key: (-found.entries[key].total_ms, key))[:STATEMENTS_KEPT]


def gather(
    found: WindowDifference,
    texts: Mapping[EntryKey, str],
    roles: Mapping[int, str],
    database: str,
    started_s: float,
    *,
    planning_counted: bool,
    reads_timed: bool,
) -> Gathered:
    """The window's statements by total time. `texts` are those of `chosen_keys`; those without were evicted meanwhile."""
    chosen = chosen_keys(found)
    rest = found.entries.keys() - set(chosen)
    statements, own_ms, total_ms = [], 0.0, sum(found.entries[key].total_ms for key in rest if key.top_level)
    for key in chosen:
        counters, text = found.entries[key], texts.get(key)
        # Nested in an EXPLAIN of ours also the application's statements are ours.
        if text is not None and is_own(counted_text(text) if key.top_level else text):
            own_ms += counters.total_ms if key.top_level else 0.0
            continue
        # Time of nested statements is in that of the statement that called the function.
        total_ms += counters.total_ms if key.top_level else 0.0
        if text is not None:
            role = roles.get(key.role_id, str(key.role_id))
            statements.append(
                _statement(key, counters, counted_text(text), role, database, planning_counted=planning_counted, reads_timed=reads_timed)
            )
    notes = _notes(found, without_text=sum(key not in texts for key in chosen), left_out=len(rest))
    window = ObservedWindow(
        seconds=found.seconds,
        started_at=datetime.fromtimestamp(started_s, UTC).isoformat(timespec="seconds"),
        source="pg_stat_statements",
        statements=tuple(statements),
        evicted=found.evicted,
        reset=found.reset,
        total_ms=total_ms,
        complete=not notes,
        note="; ".join(notes),
    )
    return Gathered(window, own_ms)


def _statement(
    key: EntryKey, counters: Counters, text: str, role: str, database: str, *, planning_counted: bool, reads_timed: bool
) -> ServerCounters:
    return ServerCounters(
        query_id=str(key.query_id),
        role=role,
        database=database,
        top_level=key.top_level,
        text=without_passwords(text),
        calls=counters.calls,
        total_ms=counters.total_ms,
        min_ms=_known(counters.min_ms),
        max_ms=_known(counters.max_ms),
        stddev_ms=_known(counters.stddev_ms),
        planning_ms=counters.planning_ms if planning_counted else None,
        rows=counters.rows,
        shared_hit_blocks=counters.shared_hit_blocks,
        shared_read_blocks=counters.shared_read_blocks,
        temp_written_blocks=counters.temp_written_blocks,
        block_read_ms=counters.block_read_ms if reads_timed else None,
        wal_bytes=counters.wal_bytes,
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _notes(found: WindowDifference, *, without_text: int, left_out: int) -> list[str]:
    """One sentence for everything that is missing or changed in the window."""
    notes = []
    if found.restarted:
        notes.append("the server restarted within the window" + ("" if found.reset else "; its counters went on"))
    if found.reset and not found.reset_entries:
        begin = "the window begins there" if found.moment_known else "when is not known, so rates are too low"
        lost = "counters were lost in a crash" if found.restarted else "all counters were reset, or lost in a crash of one session,"
        notes.append(f"{lost} within the window: {begin}")
    if found.reset_entries:
        notes.append(f"{found.reset_entries} statements were reset within the window: what they cost before is missing")
    if found.evicted:
        notes.append(
            f"about {found.evicted} entries were evicted within the window: rare statements are missing (raise pg_stat_statements.max)"
        )
    if without_text:
        notes.append(f"{without_text} statements have no text: they count in the total only")
    if left_out:
        notes.append(f"the cheapest {left_out} statements are left out")
    return notes
