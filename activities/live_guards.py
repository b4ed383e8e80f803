"""The live PostgreSQL server while a change stands on it: what its statements cost, call for call, beside what they cost before.

Reads pg_stat_statements and pg_stat_database, every half minute; nothing of ours is in what is compared.
"""

import asyncio
import statistics
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from temporalio import activity

from activities.heartbeats import beating
from activities.postgres_connection import PATIENCE_S, STATEMENT_S, connected, reading, went_away
from activities.postgres_counters import fetch_texts, find_counters, take_snapshot
from perfwright.analysis.changes.index_statements import NotAnIndex, read_create
from perfwright.analysis.database.own_statements import is_own
from perfwright.analysis.database.statement_counters import Counters, EntryKey, Snapshot
from perfwright.models.change import IndexSpec
from perfwright.models.database import NotSeen
from perfwright.models.live_guards import LiveReading, LiveStatement, ReadLive, WatchLive
from perfwright.models.trial_run import TrialEvidence

if TYPE_CHECKING:
    import asyncpg

WATCH_EVERY_S = 30.0
WATCH_WINDOWS = 24
"""A watch that is shorter than so many windows is paced to hold as many: twice the fewest that show a breach."""
LOOKED_AT = 2_000
"""Entries whose texts are read, the costliest."""
LISTED = 200
"""Entries of a reading: they travel through the run's history."""
_TABLE = """
SELECT c.relname::text FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
 WHERE i.indexrelid = pg_catalog.to_regclass($1)
"""
_TRANSACTIONS = "SELECT xact_commit, xact_rollback FROM pg_catalog.pg_stat_database WHERE datname = pg_catalog.current_database()"


class LiveGuards:
    """Errors: TargetRefused, DatabaseUnreachable (when it is away for two minutes), DatabaseRefused, ToolFailed."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    @activity.defn
    async def read_live_counters(self, order: ReadLive) -> LiveReading:
        """Counters of the statements that the change may concern; why there are none, where the server does not tell."""
        async with beating(lambda: {"doing": "reading counters"}):
            return await self.read(order)

    @activity.defn
    async def watch_live_counters(self, order: WatchLive) -> TrialEvidence:
        """Guards over windows of half a minute; ends with a breach, or when the time since it was asked for is over.

        A killed worker's next attempt begins with new windows, within the same time.
        """
        from perfwright.analysis.trials.live import judge_live  # NumPy takes a fifth of a worker's start

        watch = _Watch(self, order)
        async with beating(watch.progress):
            await watch.run()
        told = {metric for one in watch.windows for metric in one}
        return TrialEvidence(
            phase="watch",
            rounds=len(watch.windows),
            seconds=round(time.time() - watch.began, 3),
            round_s=watch.every_s,
            guards=judge_live(order.guards, watch.windows),
            medians={metric: _medians(watch.windows, metric) for metric in sorted(told)},
        )

    async def read(self, order: ReadLive) -> LiveReading:
        async with connected(order.target, self._environ, answer_s=2 * STATEMENT_S) as connection, reading(connection):
            view = await find_counters(connection)
            if isinstance(view, NotSeen):
                return LiveReading(not_seen=view.sentence)
            snapshot = await take_snapshot(connection, view)
            if order.again:
                names = order.again
            else:
                from perfwright.analysis.trials.live import names_table

                costly = sorted(snapshot.entries, key=lambda key: -snapshot.entries[key].total_ms)[:LOOKED_AT]
                texts = await fetch_texts(connection, view, costly, ())
                if (table := await _table_of(connection, order)) == "":
                    return LiveReading(not_seen="the table of the index was not found")
                concerned = [
                    key for key in costly if not is_own(text := texts.get(key, "")) and (table is None or names_table(text, table))
                ]
                names = tuple(_name(key) for key in concerned[:LISTED])
                if not names:
                    return LiveReading(not_seen="no statement was counted that names the table" if table else "no statement was counted")
            counted = await connection.fetchrow(_TRANSACTIONS)
        entries = {_name(key): counters for key, counters in snapshot.entries.items()}
        return LiveReading(
            taken_s=snapshot.taken_s,
            since=_since(snapshot),
            statements={name: _statement(entries[name]) for name in names if name in entries},
            commits=int(counted["xact_commit"] or 0) if counted else 0,
            rollbacks=int(counted["xact_rollback"] or 0) if counted else 0,
        )


class _Watch:
    """Windows, one after the other."""

    def __init__(self, guards: LiveGuards, order: WatchLive) -> None:
        self._guards, self._order = guards, order
        self._order_again = ReadLive(target=order.target, change=order.change, again=tuple(order.before[1].statements))
        self.began = activity.info().scheduled_time.timestamp()
        self.every_s = min(WATCH_EVERY_S, order.seconds / WATCH_WINDOWS)
        self.windows: list[Mapping[str, tuple[float, float]]] = []

    def progress(self) -> dict[str, Any]:
        return {"phase": "watch", "windows": len(self.windows), "of_s": self._order.seconds}

    async def run(self) -> None:
        from perfwright.analysis.trials.live import costs_between, judge_live

        last = await self._patiently_read()
        while time.time() - self.began < self._order.seconds:
            await asyncio.sleep(self.every_s)
            now = await self._patiently_read()
            self.windows.append(costs_between(last, now, self._order.before))
            last = now
            if any(one.verdict == "breached" for one in judge_live(self._order.guards, self.windows)):
                return

    async def _patiently_read(self) -> LiveReading:
        """A server that restarts is waited for."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await self._guards.read(self._order_again)
            except Exception as raised:
                if not went_away(raised) or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(1.0)


async def _table_of(connection: "asyncpg.Connection", order: ReadLive) -> str | None:
    """None where the change is of no table; empty where it is not found."""
    if not isinstance(order.change, IndexSpec):
        return None
    if order.change.drop:
        return str(await connection.fetchval(_TABLE, order.change.drop) or "")
    try:
        return read_create(order.change.create).table
    except NotAnIndex:
        return ""


def _since(snapshot: Snapshot) -> str:
    return f"{snapshot.server_started_s:.3f} {snapshot.reset_s or 0.0:.3f}"


def _name(key: EntryKey) -> str:
    return f"{key.role_id}/{key.query_id}/{'top' if key.top_level else 'nested'}"


def _statement(counters: Counters) -> LiveStatement:
    blocks = counters.shared_hit_blocks + counters.shared_read_blocks
    return LiveStatement(calls=counters.calls, total_ms=counters.total_ms, blocks=blocks)


def _medians(windows: list[Mapping[str, tuple[float, float]]], metric: str) -> tuple[float, float]:
    pairs = [one[metric] for one in windows if metric in one]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)
