"""A restart of PostgreSQL under a watchdog: a server that does not come back gets its earlier line back, and is started again.

While a restart of ours is under way a file says so, beside postgresql.auto.conf. A server that is down without it, and was shut down in
order, was stopped by somebody: nothing starts it, and its file is put back only where the line there is ours.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from temporalio.exceptions import ApplicationError

from activities.changes.kind import Site, only, refused
from activities.changes.postgres_session import looking, mark_of
from activities.changes.setting_entries import (
    auto_conf,
    is_earlier,
    is_foreign,
    server_runs,
    shut_down_in_order,
    told_foreign,
    write_auto_conf,
)
from activities.errors import refuse
from activities.postgres_connection import went_away
from activities.subprocesses import Tool, run
from perfwright.analysis.changes.settings_texts import line_of, with_line
from perfwright.models.errors import ErrorType
from perfwright.models.undo import Standing, UndoRecord
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
    await asyncio.to_thread(_mark, record)
    trouble = await _run_command(record, site)
    if await _back(record, site, back_within_s if not trouble else min(back_within_s, 5.0), since=before):
        await asyncio.to_thread(forget_restart, record)
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


async def restored_offline(record: UndoRecord, site: Site, back_within_s: float) -> bool:
    """The earlier line into the file of a server that does not run; started again where this change is why it does not. Whether it was.

    Raises TargetRefused where the line is neither ours nor the earlier, ToolFailed where the server does not start.
    """
    undo = only(record.undo, SettingUndo)
    ours = await asyncio.to_thread(is_down_by_us, record)
    await asyncio.to_thread(_put_line_back, record)
    if not ours:
        return False
    await asyncio.to_thread(_mark, record)
    trouble = await _run_command(record, site)
    if not await _back(record, site, back_within_s, since=None):
        said = f"its command: {trouble}" if trouble else "its log says why"
        raise refuse(
            ErrorType.TOOL_FAILED,
            f"the server of {record.target.title} does not start, although the earlier line of {undo.name} is back ({said})",
            way_out=f"Start it by hand; {auto_conf(undo)} is as it was before the change",
        )
    await asyncio.to_thread(forget_restart, record)
    return True


def is_down_by_us(record: UndoRecord) -> bool:
    """Of a server that does not run: whether a restart of ours was cut short, or it came down otherwise than by being told to. Else
    somebody stopped it, and starting it is theirs."""
    return _mark_of(record).exists() or not shut_down_in_order(only(record.undo, SettingUndo))


def stopped_standing(record: UndoRecord) -> Standing:
    """What the file of a server that does not run holds."""
    undo = only(record.undo, SettingUndo)
    raw = line_of(_text(undo), undo.name)
    if is_foreign(undo, raw):
        return Standing(word="foreign", told=f"{told_foreign(undo, raw)}; the server does not run")
    if is_down_by_us(record):
        return Standing(word="partial", told="the server does not run")
    if not is_earlier(undo, raw):
        return Standing(word="partial", told="the server was stopped by somebody, and its file has our line")
    return Standing(word="before", told="the server was stopped by somebody; its file is as it was, and counts from its next start on")


def forget_restart(record: UndoRecord) -> None:
    """Nothing of ours keeps the server down any more."""
    _mark_of(record).unlink(missing_ok=True)


def _mark(record: UndoRecord) -> None:
    """Beside the file that it is about, so that whoever undoes the change finds it; it belongs to the server's user, as all that is there
    must be readable to a backup."""
    file, status = _mark_of(record), auto_conf(only(record.undo, SettingUndo)).stat()
    file.touch(mode=0o600)
    with contextlib.suppress(PermissionError):
        os.chown(file, status.st_uid, status.st_gid)


def _mark_of(record: UndoRecord) -> Path:
    return auto_conf(only(record.undo, SettingUndo)).with_name(f"{mark_of(record.change_id).replace(' ', '-')}.restarting")


def _put_line_back(record: UndoRecord) -> None:
    undo = only(record.undo, SettingUndo)
    text = _text(undo)
    raw = line_of(text, undo.name)
    if is_foreign(undo, raw):
        raise refused(record.target, f"{told_foreign(undo, raw)}; the server does not run, and was not started")
    if not is_earlier(undo, raw):
        write_auto_conf(undo, with_line(text, undo.name, undo.earlier))


def _text(undo: SettingUndo) -> str:
    return auto_conf(undo).read_text(encoding="utf-8", errors="surrogateescape")


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
