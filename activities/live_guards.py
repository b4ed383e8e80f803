"""The live PostgreSQL server while a change stands on it: what its statements cost, call for call, beside what they cost before.

Reads pg_stat_statements and pg_stat_database, every half minute; nothing of ours is in what is compared.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from temporalio import activity

from activities.heartbeats import beating
from activities.live_windows import LiveWindows
from activities.postgres_connection import APPLICATION_NAME, PATIENCE_S, STATEMENT_S, connected, reading, went_away
from activities.postgres_counters import CountersView, fetch_texts, find_counters, take_snapshot
from perfwright.analysis.changes.index_statements import NotAnIndex, read_create
from perfwright.analysis.database.own_statements import is_own
from perfwright.analysis.database.statement_counters import Counters, EntryKey, Snapshot
from perfwright.models.change import IndexSpec, SettingSpec
from perfwright.models.database import NotSeen
from perfwright.models.live_guards import LiveReading, LiveStatement, ReadLive, WatchLive
from perfwright.models.trial import GuardJudgement
from perfwright.models.trial_run import TrialEvidence

if TYPE_CHECKING:
    import asyncpg

LOOKED_AT = 2_000
"""Entries whose texts are read, the costliest."""
LISTED = 200
"""Entries of a reading: they travel through the run's history."""
_TABLE = """
SELECT c.relname::text FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
 WHERE i.indexrelid = pg_catalog.to_regclass($1)
"""
_TRANSACTIONS = "SELECT xact_commit, xact_rollback FROM pg_catalog.pg_stat_database WHERE datname = pg_catalog.current_database()"
_ROLE = "SELECT oid::int8 FROM pg_catalog.pg_roles WHERE rolname = $1"
_SESSIONS = f"""
SELECT count(*) AS sessions, count(*) FILTER (WHERE backend_start <= pg_catalog.to_timestamp($1)) AS old
  FROM pg_catalog.pg_stat_activity
 WHERE datname = pg_catalog.current_database() AND backend_type = 'client backend' AND backend_start IS NOT NULL
   AND application_name <> '{APPLICATION_NAME}' AND ($2::text IS NULL OR usename = $2)
"""  # noqa: S608  # a word of ours


class _NotWatched(Exception):
    """Why there is nothing to read for this change."""


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
        """Guards over windows of half a minute; ends with a breach, or when the time since it was asked for is over."""
        watch = _Watch(self, order)
        async with beating(watch.windows.progress):
            return await watch.run()

    async def read(self, order: ReadLive) -> LiveReading:
        async with connected(order.target, self._environ, answer_s=2 * STATEMENT_S) as connection, reading(connection):
            view = await find_counters(connection)
            if isinstance(view, NotSeen):
                return LiveReading(not_seen=view.sentence)
            snapshot = await take_snapshot(connection, view)
            try:
                names = order.again or await _concerned(connection, view, snapshot, order)
            except _NotWatched as reason:
                return LiveReading(not_seen=str(reason))
            counted = await connection.fetchrow(_TRANSACTIONS)
            sessions, old_sessions = await _sessions(connection, order)
        entries = {_name(key): counters for key, counters in snapshot.entries.items()}
        return LiveReading(
            taken_s=snapshot.taken_s,
            since=_since(snapshot),
            statements={name: _statement(entries[name]) for name in names if name in entries},
            commits=int(counted["xact_commit"] or 0) if counted else 0,
            rollbacks=int(counted["xact_rollback"] or 0) if counted else 0,
            sessions=sessions,
            old_sessions=old_sessions,
        )


class _Watch:
    def __init__(self, guards: LiveGuards, order: WatchLive) -> None:
        self._guards, self._order = guards, order
        self._order_again = ReadLive(
            target=order.target,
            change=order.change,
            again=tuple(order.before[1].statements),
            opened_before_s=order.before[1].taken_s,
        )
        self.windows = LiveWindows(order.seconds)
        self._last = LiveReading()

    async def run(self) -> TrialEvidence:
        # Imported when it is first used: NumPy takes a fifth of a worker's start.
        from perfwright.analysis.trials.live import costs_between, told_old_sessions

        await self.windows.run(self._patiently_read, lambda first, last: costs_between(first, last, self._order.before), self._judged)
        return self.windows.evidence(tuple(self._judged()), tuple(filter(None, (told_old_sessions(self._last),))))

    def _judged(self) -> Sequence[GuardJudgement]:
        from perfwright.analysis.trials.live import judge_live

        return judge_live(self._order.guards, self.windows.taken, self.windows.most)

    async def _patiently_read(self) -> LiveReading:
        """A server that restarts is waited for."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._last = await self._guards.read(self._order_again)
                return self._last
            except Exception as raised:
                if not went_away(raised) or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(1.0)


async def _concerned(connection: "asyncpg.Connection", view: CountersView, snapshot: Snapshot, order: ReadLive) -> tuple[str, ...]:
    """The costliest statements that the change may concern. Raises _NotWatched."""
    from perfwright.analysis.trials.live import names_table

    table = await _table_of(connection, order)
    role, role_id = await _role_of(connection, order)
    theirs = [key for key in snapshot.entries if role_id is None or key.role_id == role_id]
    costly = sorted(theirs, key=lambda key: -snapshot.entries[key].total_ms)[:LOOKED_AT]
    texts = await fetch_texts(connection, view, costly, ())
    found = [key for key in costly if not is_own(text := texts.get(key, "")) and (table is None or names_table(text, table))]
    if not found:
        raise _NotWatched(
            "no statement was counted that names the table"
            if table
            else f"no statement of {role} was counted in this database"
            if role
            else "no statement was counted"
        )
    return tuple(_name(key) for key in found[:LISTED])


async def _role_of(connection: "asyncpg.Connection", order: ReadLive) -> tuple[str, int | None]:
    """Whose statements alone a setting concerns; nobody's where it is everybody's. Raises _NotWatched where another database's are."""
    change = order.change
    if not isinstance(change, SettingSpec):
        return "", None
    if change.database and change.database != (here := str(await connection.fetchval("SELECT pg_catalog.current_database()::text"))):
        raise _NotWatched(f"the setting is of the database {change.database}, and the target's connection is to {here}")
    if not change.role:
        return "", None
    found = await connection.fetchval(_ROLE, change.role)
    if found is None:
        raise _NotWatched(f"there is no role {change.role}")
    return change.role, int(found)


async def _sessions(connection: "asyncpg.Connection", order: ReadLive) -> tuple[int, int]:
    """Of a role or a database whose setting it is: all, and those that go on without it."""
    change = order.change
    if not order.opened_before_s or not isinstance(change, SettingSpec) or not (change.role or change.database):
        return 0, 0
    found = await connection.fetchrow(_SESSIONS, order.opened_before_s, change.role)
    return (int(found["sessions"]), int(found["old"])) if found else (0, 0)


async def _table_of(connection: "asyncpg.Connection", order: ReadLive) -> str | None:
    """None where the change is of no table. Raises _NotWatched where it is not found."""
    if not isinstance(order.change, IndexSpec):
        return None
    table = ""
    if order.change.drop:
        table = str(await connection.fetchval(_TABLE, order.change.drop) or "")
    else:
        with suppress(NotAnIndex):
            table = read_create(order.change.create).table
    if not table:
        raise _NotWatched("the table of the index was not found")
    return table


def _since(snapshot: Snapshot) -> str:
    return f"{snapshot.server_started_s:.3f} {snapshot.reset_s or 0.0:.3f}"


def _name(key: EntryKey) -> str:
    return f"{key.role_id}/{key.query_id}/{'top' if key.top_level else 'nested'}"


def _statement(counters: Counters) -> LiveStatement:
    blocks = counters.shared_hit_blocks + counters.shared_read_blocks
    return LiveStatement(calls=counters.calls, total_ms=counters.total_ms, blocks=blocks)
