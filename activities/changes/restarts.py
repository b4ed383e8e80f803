"""A restart of PostgreSQL under a watchdog: a server that does not come back gets its earlier line back, and is started again."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

from temporalio.exceptions import ApplicationError

from activities.changes.kind import Site, only, refused
from activities.changes.postgres_session import looking
from activities.changes.setting_entries import auto_conf, server_runs, write_auto_conf
from activities.errors import refuse
from activities.postgres_connection import went_away
from activities.subprocesses import Tool, run
from perfwright.analysis.changes.settings_texts import with_line
from perfwright.models.errors import ErrorType
from perfwright.models.undo import UndoRecord
from perfwright.models.undo_data import SettingUndo

T = TypeVar("T")

COMMAND_LIMIT_S = 120.0
LOOK_EVERY_S = 0.1
TRIES = 4
STOPS_WITHIN_S = 30.0
"""After a failed start: how long something may still hold the data directory."""


async def restart(record: UndoRecord, site: Site, back_within_s: float) -> None:
    """Raises ToolFailed where the server did not come back with the new value; then it runs again as before, or the message says not."""
    undo = only(record.undo, SettingUndo)
    async with looking(record.target, site) as connection:
        before: datetime = await connection.fetchval("SELECT pg_postmaster_start_time()")
    trouble = await _run_command(record, site)
    if await _back(record, site, back_within_s if not trouble else min(back_within_s, 5.0), since=before):
        return
    said = f" (its command: {trouble})" if trouble else ""
    if await asyncio.to_thread(server_runs, undo) and not await _stopped(undo):
        raise refuse(
            ErrorType.TOOL_FAILED,
            f"the server of {record.target.title} was not restarted{said}",
            way_out="Correct restart_command in the registry; the change is undone at the next attempt",
        )
    await restored_offline(record, site, back_within_s)
    raise refuse(
        ErrorType.TOOL_FAILED,
        f"the server of {record.target.title} did not come back within {back_within_s:g} s"
        f" with {undo.name} = {', '.join(undo.wanted)}{said};"
        " its earlier line was put back, and it runs again as before",
        way_out="Its log says why",
    )


async def patiently(undo: SettingUndo, work: Callable[[], Awaitable[T]]) -> T:
    """What `work` gives; again where the server went away under it: a killed worker's restart may still be under way."""
    for _ in range(TRIES - 1):
        try:
            return await work()
        except (ApplicationError, OSError) as trouble:
            if not undo.restarts or not went_away(trouble):
                raise
            await asyncio.sleep(LOOK_EVERY_S)
    return await work()


async def answers(record: UndoRecord, site: Site, within_s: float) -> bool:
    """Whether the server takes connections; waits for one that is starting, as after a restart whose worker was killed. False: it is down.

    Raises what keeps us out of a server that runs.
    """
    undo = only(record.undo, SettingUndo)
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    while True:
        try:
            async with looking(record.target, site):
                return True
        except (ApplicationError, OSError) as trouble:
            if not went_away(trouble) or not await asyncio.to_thread(auto_conf(undo).exists):
                raise
            if not await asyncio.to_thread(server_runs, undo):
                return False
            if loop.time() > until:
                raise
        site.heartbeat({"waiting_for": "the server"})
        await asyncio.sleep(LOOK_EVERY_S)


async def restored_offline(record: UndoRecord, site: Site, back_within_s: float) -> None:
    """The earlier line into the file of a server that does not run, and start it. Raises ToolFailed where that does not help."""
    undo = only(record.undo, SettingUndo)
    await asyncio.to_thread(_put_line_back, undo)
    trouble = await _run_command(record, site)
    if not await _back(record, site, back_within_s, since=None):
        said = f"its command: {trouble}" if trouble else "its log says why"
        raise refuse(
            ErrorType.TOOL_FAILED,
            f"the server of {record.target.title} does not start, although the earlier line of {undo.name} is back ({said})",
            way_out=f"Start it by hand; {auto_conf(undo)} is as it was before the change",
        )


def _put_line_back(undo: SettingUndo) -> None:
    file = auto_conf(undo)
    text = file.read_text(encoding="utf-8", errors="surrogateescape")
    wanted = with_line(text, undo.name, undo.earlier)
    if wanted != text:
        write_auto_conf(undo, wanted)


async def _run_command(record: UndoRecord, site: Site) -> str:
    """What is wrong with it; empty: it ended well."""
    if record.target.restart_command is None:
        raise refused(record.target, "there is no restart_command any more", way_out="Give it in the registry")
    tool = Tool(record.target.restart_command, limit_s=COMMAND_LIMIT_S, way_out="Correct restart_command in the registry", stop_grace_s=10)
    ended = await run(tool, heartbeat=lambda elapsed_s, _: site.heartbeat({"restarting_s": elapsed_s}))
    if ended.returncode == 0 and not ended.timed_out:
        return ""
    words = (ended.stderr.strip() or ended.stdout.strip())[-300:]
    return "no end within its limit" if ended.timed_out else f"exit code {ended.returncode} {words}".strip()


async def _back(record: UndoRecord, site: Site, within_s: float, *, since: datetime | None) -> bool:
    """Whether the server takes connections, and was started after `since`."""
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    while True:
        try:
            async with looking(record.target, site) as connection:
                started = await connection.fetchval("SELECT pg_postmaster_start_time()")
                if since is None or started > since:
                    return True
        except (ApplicationError, OSError) as trouble:
            if not went_away(trouble):
                raise
        if loop.time() > until:
            return False
        site.heartbeat({"waiting_for": "the server"})
        await asyncio.sleep(LOOK_EVERY_S)


async def _stopped(undo: SettingUndo) -> bool:
    """Whether what holds the data directory goes away by itself: a server that fails at its start."""
    loop = asyncio.get_running_loop()
    until = loop.time() + STOPS_WITHIN_S
    while loop.time() < until:
        if not await asyncio.to_thread(server_runs, undo):
            return True
        await asyncio.sleep(LOOK_EVERY_S)
    return False
