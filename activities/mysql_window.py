"""The observed window: performance_schema's digests read at its beginning and at its end, and nothing asked of the server in between.

The first reading is kept in the recording's folder, so that a killed worker's next attempt ends the same window.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from activities.artifacts import ArtifactStore
from activities.errors import refuse
from activities.heartbeats import beating
from activities.mysql_connection import PATIENCE_S, MysqlSession, ServerError, connected, connection_parameters, places, went_away
from activities.recording_folder import RecordingFolder
from perfwright.analysis.masking.documents import masked_window
from perfwright.analysis.mysql.connection_troubles import MISSING_RIGHT
from perfwright.analysis.mysql.counters import Counters, Snapshot, chosen_digests, difference, gather
from perfwright.analysis.statements.stored import MEDIA_TYPE, DocumentTooLarge, encode
from perfwright.models.database import NotSeen
from perfwright.models.errors import ErrorType
from perfwright.models.query_steps import ObservedStatements, ObserveStatements
from perfwright.models.statement import ObservedWindow

START_FILE = "start.jsonl"
RETRY_S = 1.0
DIGESTS_MOST = 20_000
TEXTS_AT_ONCE = 500
WHAT = "statements over time"
_PICOSECONDS = 1e9
"""In a millisecond."""
_COUNTERS = f"""
SELECT digest, count_star, sum_timer_wait, min_timer_wait, max_timer_wait, sum_rows_sent + sum_rows_affected, sum_created_tmp_disk_tables
  FROM performance_schema.events_statements_summary_by_digest
 WHERE schema_name = %s AND digest IS NOT NULL
 ORDER BY sum_timer_wait DESC LIMIT {DIGESTS_MOST}
"""  # noqa: S608  # of constants only


_TEXTS = "SELECT digest, digest_text FROM performance_schema.events_statements_summary_by_digest WHERE schema_name = %s AND digest IN"


class StatementWindow:
    """One window of `duration_s` seconds, from its first reading on, whichever attempt took it."""

    def __init__(self, request: ObserveStatements, environ: Mapping[str, str], folder: RecordingFolder) -> None:
        self._request, self._environ, self._folder = request, environ, folder
        self._database = connection_parameters(request.target, environ).database
        self._began = time.time()
        self._doing = "first reading"

    async def run(self, artifacts: ArtifactStore) -> ObservedStatements:
        """Observe. Raises what `connected` does; `not_seen` where the server counts no statements."""
        async with beating(self._progress):
            before = self._kept() or await self._begin()
            if isinstance(before, NotSeen):
                return ObservedStatements(source="performance_schema", not_seen=(before,))
            self._doing = "observing"
            await asyncio.sleep(max(0.0, self._request.duration_s - (time.time() - self._began)))
            self._doing = "last reading"
            window = await self._end_patiently(before)
            if isinstance(window, NotSeen):
                warning = "statement counters went away within the window"
                return ObservedStatements(source="performance_schema", not_seen=(window,), warnings=(warning,))
            return await self._store(window, artifacts)

    def _progress(self) -> dict[str, Any]:
        elapsed_s = max(0.0, time.time() - self._began)
        return {"doing": self._doing, "elapsed_s": round(elapsed_s, 1), "of_s": self._request.duration_s}

    def _kept(self) -> Snapshot | None:
        """The first reading of an earlier attempt. A clock that went back makes the window longer, never negative."""
        if (kept := next(self._folder.lines(START_FILE), None)) is None:
            return None
        self._began = min(time.time(), float(kept["began"]))
        entries = {str(digest): Counters(*counters) for digest, counters in kept["entries"]}
        return Snapshot(kept["taken_s"], kept["started_s"], kept["lost_calls"], entries)

    async def _begin(self) -> Snapshot | NotSeen:
        async with connected(self._request.target, self._environ) as session:
            if unseen := await digests_unseen(session):
                return unseen
            snapshot = await take_snapshot(session, self._database)
        self._began = time.time()
        facts = {"taken_s": snapshot.taken_s, "started_s": snapshot.started_s, "lost_calls": snapshot.lost_calls}
        self._folder.append(START_FILE, {"began": self._began, "entries": list(snapshot.entries.items())} | facts)
        return snapshot

    async def _end_patiently(self, before: Snapshot) -> ObservedWindow | NotSeen:
        """The last reading; while the server restarts, tried again for a time: what was counted must not be lost."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return await self._end(before)
            except Exception as raised:
                if not went_away(raised) or time.monotonic() > deadline:
                    raise
                self._doing = "waiting for the server"
            await asyncio.sleep(RETRY_S)

    async def _end(self, before: Snapshot) -> ObservedWindow | NotSeen:
        async with connected(self._request.target, self._environ) as session:
            if unseen := await digests_unseen(session):
                return unseen
            found = difference(before, await take_snapshot(session, self._database))
            texts: dict[str, str] = {}
            digests = chosen_digests(found)
            for at in range(0, len(digests), TEXTS_AT_ONCE):
                some = digests[at : at + TEXTS_AT_ONCE]
                rows = await session.fetch(f"{_TEXTS} {places(some)}", (self._database, *some))
                texts |= {str(digest): str(text or "") for digest, text in rows}
        return await asyncio.to_thread(gather, found, texts, self._database, before.taken_s)

    async def _store(self, window: ObservedWindow, artifacts: ArtifactStore) -> ObservedStatements:
        if self._request.mask_literals:
            window = masked_window(window, "mysql")
        try:
            data = await asyncio.to_thread(encode, window)
        except DocumentTooLarge as trouble:
            raise refuse(ErrorType.OUTPUT_TOO_LARGE, str(trouble), way_out="Lower performance_schema_digests_size") from None
        path = f"{self._request.artifact_prefix}/statements.json.gz"
        stored = await artifacts.put(path, data, MEDIA_TYPE, "Statement counters of the window")
        return ObservedStatements(
            window=stored,
            source="performance_schema",
            seconds=round(window.seconds, 3),
            statements=len(window.statements),
            total_ms=round(window.total_ms, 3),
            reset=window.reset,
            warnings=tuple(window.note.split("; ")) if window.note else (),
        )


async def digests_unseen(session: MysqlSession) -> NotSeen | None:
    """Why the server's counters of statements cannot be read; None: they can."""
    [(switched_on,)] = await session.fetch("SELECT @@performance_schema")
    if not switched_on:
        return NotSeen(
            what=WHAT,
            reason="performance_schema is off (as MariaDB comes)",
            way_out="Set performance_schema = ON (needs a restart), or let the slow log be read (slow_query_log = ON, "
            "long_query_time = 0 for a time)",
        )
    try:
        consumers = await session.fetch("SELECT enabled FROM performance_schema.setup_consumers WHERE name = 'statements_digest'")
        await session.fetch("SELECT digest FROM performance_schema.events_statements_summary_by_digest LIMIT 1")
    except ServerError as refused:
        if refused.number not in MISSING_RIGHT:
            raise
        return NotSeen(
            what=WHAT,
            reason="our user may not read performance_schema",
            way_out="GRANT SELECT ON performance_schema.* to the user",
        )
    if consumers and consumers[0][0] != "YES":
        return NotSeen(
            what=WHAT,
            reason="the consumer statements_digest is off",
            way_out="UPDATE performance_schema.setup_consumers SET enabled = 'YES' WHERE name = 'statements_digest'",
        )
    return None


async def take_snapshot(session: MysqlSession, database: str) -> Snapshot:
    """Counters of the database's digests. Ours are not among them: our sessions have no default database."""
    rows = await session.fetch(_COUNTERS, (database,))
    lost = await session.fetch("SELECT sum(count_star) FROM performance_schema.events_statements_summary_by_digest WHERE digest IS NULL")
    [(now, uptime)] = await session.fetch(
        "SELECT unix_timestamp(now(6)), variable_value FROM performance_schema.global_status WHERE variable_name = 'Uptime'"
    )
    entries = {
        str(digest): Counters(
            int(calls), float(total) / _PICOSECONDS, float(least) / _PICOSECONDS, float(most) / _PICOSECONDS, int(sent), int(disk)
        )
        for digest, calls, total, least, most, sent, disk in rows
    }
    return Snapshot(float(now), float(now) - float(uptime), int(lost[0][0] or 0) if lost else 0, entries)


async def observe(
    request: ObserveStatements, environ: Mapping[str, str], folder: RecordingFolder, artifacts: ArtifactStore
) -> ObservedStatements:
    """Observe one window; its heartbeats need an activity around it."""
    return await StatementWindow(request, environ, folder).run(artifacts)
