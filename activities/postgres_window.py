"""The observed window: pg_stat_statements read at its beginning and at its end, and nothing asked of the server in between.

The first reading is kept in the recording's folder, so that a killed worker's next attempt ends the same window.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from temporalio import activity

from activities.artifacts import ArtifactStore
from activities.errors import refuse
from activities.heartbeats import beating
from activities.postgres_connection import PATIENCE_S, PING, STATEMENT_S, connected, reading, went_away
from activities.postgres_counters import CountersView, fetch_texts, find_counters, names, take_snapshot
from activities.recording_folder import RecordingFolder
from perfwright.analysis.database.observed_window import LONG_TEXTS, Gathered, chosen_keys, gather
from perfwright.analysis.database.statement_counters import Counters, EntryKey, Snapshot, WindowDifference, difference
from perfwright.analysis.masking.documents import masked_window
from perfwright.analysis.statements.stored import MEDIA_TYPE, DocumentTooLarge, encode
from perfwright.models.database import NotSeen
from perfwright.models.errors import ErrorType
from perfwright.models.query_steps import ObservedStatements, ObserveStatements

if TYPE_CHECKING:
    import asyncpg

START_FILE = "start.jsonl"
RETRY_S = 1.0


class StatementWindow:
    """One window of `duration_s` seconds, from its first reading on, whichever attempt took it."""

    def __init__(self, request: ObserveStatements, environ: Mapping[str, str], folder: RecordingFolder) -> None:
        self._request, self._environ, self._folder = request, environ, folder
        self._began = time.time()
        self._doing = "first reading"

    async def run(self, artifacts: ArtifactStore) -> ObservedStatements:
        """Observe. Raises what `connected` does; `not_seen` where the server counts no statements."""
        async with beating(self._progress):
            before = self._kept() or await self._begin()
            if isinstance(before, NotSeen):
                return ObservedStatements(not_seen=(before,))
            self._doing = "observing"
            await asyncio.sleep(max(0.0, self._request.duration_s - (time.time() - self._began)))
            self._doing = "last reading"
            return await self._end(before, artifacts)

    def _progress(self) -> dict[str, Any]:
        elapsed_s = max(0.0, time.time() - self._began)
        return {"doing": self._doing, "elapsed_s": round(elapsed_s, 1), "of_s": self._request.duration_s}

    def _kept(self) -> Snapshot | None:
        """The first reading of an earlier attempt. A clock that went back makes the window longer, never negative."""
        if (kept := next(self._folder.lines(START_FILE), None)) is None:
            return None
        self._began = min(time.time(), float(kept["began"]))
        entries = {EntryKey(*key): Counters(*counters) for key, counters in kept["entries"]}
        return Snapshot(**kept["snapshot"], entries=entries)

    async def _begin(self) -> Snapshot | NotSeen:
        async with connected(self._request.target, self._environ, answer_s=2 * STATEMENT_S) as connection, reading(connection):
            view = await find_counters(connection)
            if isinstance(view, NotSeen):
                return view
            snapshot = await take_snapshot(connection, view)
        self._began = time.time()
        # Without dataclasses.asdict: it would copy the counters of thousands of statements, to leave them out.
        facts = {one.name: getattr(snapshot, one.name) for one in fields(snapshot) if one.name != "entries"}
        self._folder.append(START_FILE, {"began": self._began, "snapshot": facts, "entries": list(snapshot.entries.items())})
        return snapshot

    async def _end(self, before: Snapshot, artifacts: ArtifactStore) -> ObservedStatements:
        async with self._patiently_connected() as connection, reading(connection):
            view = await find_counters(connection)
            if isinstance(view, NotSeen):
                # It was there before: dropped meanwhile, or the server came back without it.
                return ObservedStatements(not_seen=(view,), warnings=("statement counters went away within the window",))
            found = difference(before, await take_snapshot(connection, view))
            gathered = await self._gathered(connection, view, found, before)
        window = masked_window(gathered.window, "postgresql") if self._request.mask_literals else gathered.window
        try:
            data = await asyncio.to_thread(encode, window)
        except DocumentTooLarge as trouble:
            raise refuse(ErrorType.OUTPUT_TOO_LARGE, str(trouble), way_out="Lower pg_stat_statements.max, or observe less") from None
        path = f"{self._request.artifact_prefix}/statements.json.gz"
        stored = await artifacts.put(path, data, MEDIA_TYPE, "Statement counters of the window")
        return ObservedStatements(
            window=stored,
            seconds=round(window.seconds, 3),
            statements=len(window.statements),
            total_ms=round(window.total_ms, 3),
            evicted=window.evicted,
            reset=window.reset,
            own_ms=round(gathered.own_ms, 3),
            warnings=tuple(window.note.split("; ")) if window.note else (),
            not_seen=_hidden(before, found, window.total_ms),
        )

    async def _gathered(self, connection: "asyncpg.Connection", view: CountersView, found: WindowDifference, before: Snapshot) -> Gathered:
        keys = chosen_keys(found)
        texts = await fetch_texts(connection, view, keys, keys[:LONG_TEXTS])
        database, roles = await names(connection)
        return gather(found, texts, roles, database, before.taken_s, planning_counted=view.planning_counted, reads_timed=view.reads_timed)

    @asynccontextmanager
    async def _patiently_connected(self) -> "AsyncIterator[asyncpg.Connection]":
        """A connection; while the server restarts, tried again for a time: the window is over, and what was counted must not be lost."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            async with AsyncExitStack() as stack:
                try:
                    connection = await stack.enter_async_context(connected(self._request.target, self._environ, answer_s=2 * STATEMENT_S))
                    # A pooler takes connections also while its server is away.
                    await connection.fetchrow(PING)
                except Exception as raised:
                    if not went_away(raised) or time.monotonic() > deadline:
                        raise
                    self._doing = "waiting for the server"
                else:
                    yield connection
                    return
            await asyncio.sleep(RETRY_S)


def _hidden(before: Snapshot, found: WindowDifference, seen_ms: float) -> tuple[NotSeen, ...]:
    """What other roles' statements took, where they are hidden from us."""
    if found.hidden_ms <= 0 and not before.hidden:
        return ()
    share = found.hidden_ms / (found.hidden_ms + seen_ms) if found.hidden_ms else 0.0
    return (
        NotSeen(
            what="statements of other roles",
            reason=f"our role may not see them; they took {share:.0%} of the time in the window",
            way_out="GRANT pg_read_all_stats (or pg_monitor) to the role",
        ),
    )


async def observe(
    request: ObserveStatements, environ: Mapping[str, str], folder: RecordingFolder, artifacts: ArtifactStore
) -> ObservedStatements:
    """Observe one window; its heartbeats need an activity around it."""
    assert activity.in_activity(), "heartbeats tell where it stands"
    return await StatementWindow(request, environ, folder).run(artifacts)
