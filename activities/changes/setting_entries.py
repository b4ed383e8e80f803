"""Where a setting of PostgreSQL is kept: the entry that stands now, and whether the running server has taken it."""

import asyncio
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from activities.changes.kind import Site
from activities.changes.postgres_session import looking
from activities.errors import refuse
from perfwright.analysis.changes.settings_checks import RESERVING, KnownSetting
from perfwright.analysis.changes.settings_texts import NotAList, parts_of
from perfwright.models.errors import ErrorType
from perfwright.models.target import Target
from perfwright.models.undo_data import SettingUndo

if TYPE_CHECKING:
    import asyncpg

AUTO_CONF = "postgresql.auto.conf"
SHUT_DOWN, SHUT_DOWN_IN_RECOVERY = 1, 2
_STATE = struct.Struct("=16xi")
RELOAD_S = 20.0
_SETTINGS = """
SELECT name, setting, coalesce(unit, '') AS unit, context, vartype, source FROM pg_catalog.pg_settings
WHERE name = ANY($1::text[]) OR lower(name) = lower($2)
"""
_SYSTEM = """
SELECT setting FROM pg_catalog.pg_file_settings
WHERE lower(name) = lower($1) AND sourcefile = $2 ORDER BY seqno DESC LIMIT 1
"""
_OF_ROLE_OR_DATABASE = """
SELECT unnest(setconfig) AS entry FROM pg_catalog.pg_db_role_setting
WHERE setrole = coalesce((SELECT oid FROM pg_catalog.pg_roles WHERE rolname = nullif($1, '')), 0)
  AND setdatabase = coalesce((SELECT oid FROM pg_catalog.pg_database WHERE datname = nullif($2, '')), 0)
"""


async def known_settings(connection: "asyncpg.Connection", name: str) -> dict[str, KnownSetting]:
    """The setting by its own name, and those that the server's memory follows from."""
    rows = await connection.fetch(_SETTINGS, list(RESERVING), name)
    return {
        row["name"]: KnownSetting(row["name"], row["setting"], row["unit"], row["context"], row["vartype"], row["source"]) for row in rows
    }


async def read_entry(connection: "asyncpg.Connection", undo: SettingUndo) -> str | None:
    """The entry as the server keeps it; None: there is none."""
    if undo.scope == "system":
        found = await connection.fetchval(_SYSTEM, undo.name, f"{undo.data_directory}/{AUTO_CONF}")
        return None if found is None else str(found)
    for row in await connection.fetch(_OF_ROLE_OR_DATABASE, undo.role, undo.database):
        name, _, value = str(row["entry"]).partition("=")
        if name.lower() == undo.name.lower():
            return value
    return None


def is_wanted(undo: SettingUndo, raw: str | None) -> bool:
    """Whether an entry is the one that the change makes."""
    return raw is not None and _parts(undo, raw) == undo.wanted


def is_earlier(undo: SettingUndo, raw: str | None) -> bool:
    """Whether an entry is the one that stood there before."""
    if raw is None or undo.earlier is None:
        return raw is None and undo.earlier is None
    return raw == undo.earlier or _parts(undo, raw) == _parts(undo, undo.earlier)


def is_foreign(undo: SettingUndo, raw: str | None) -> bool:
    """Whether an entry is neither ours nor the earlier: somebody else's, who decides on it."""
    return not is_wanted(undo, raw) and not is_earlier(undo, raw)


def told_foreign(undo: SettingUndo, raw: str | None) -> str:
    told = "its entry was removed" if raw is None else f"its entry is now {raw[:200]!r}"
    return f"{undo.name} was changed by somebody else meanwhile: {told}"


def _parts(undo: SettingUndo, raw: str) -> tuple[str, ...] | None:
    try:
        return parts_of(undo.name, raw)
    except NotAList:
        return None


async def reload_and_wait(connection: "asyncpg.Connection", target: Target, site: Site) -> None:
    """Have the server read its files, and wait until a new session is one of the server that has."""
    asked = await connection.fetchval("SELECT clock_timestamp()")
    await connection.fetchval("SELECT pg_reload_conf()")
    loop = asyncio.get_running_loop()
    until = loop.time() + RELOAD_S
    while loop.time() < until:
        async with looking(target, site) as fresh:
            if await fresh.fetchval("SELECT pg_conf_load_time() > $1", asked):
                return
        await asyncio.sleep(0.05)
    raise refuse(
        ErrorType.TOOL_FAILED,
        f"the server of {target.title} did not read its configuration within {RELOAD_S:.0f} s of being told to",
        way_out="Look into its log",
        retryable=True,
    )


async def trouble_in_files(connection: "asyncpg.Connection", name: str = "") -> str:
    """What the server says against its configuration files, beyond settings that only wait for a restart; of all, or one setting."""
    row = await connection.fetchrow(
        """
        SELECT coalesce(name, '') AS name, error, sourceline FROM pg_catalog.pg_file_settings
        WHERE error IS NOT NULL AND ($1 = '' OR lower(name) = lower($1)) AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_settings s WHERE lower(s.name) = lower(pg_file_settings.name) AND s.context = 'postmaster')
        ORDER BY seqno LIMIT 1
        """,
        name,
    )
    return f"{row['name']} in line {row['sourceline']}: {row['error']}" if row else ""


async def waits_for_restart(target: Target, site: Site, name: str) -> bool:
    """Whether the running server has another value than its files; true of one that has read them."""
    async with looking(target, site) as fresh:
        return bool(await fresh.fetchval("SELECT pending_restart FROM pg_catalog.pg_settings WHERE lower(name) = lower($1)", name))


def auto_conf(undo: SettingUndo) -> Path:
    return Path(undo.data_directory) / AUTO_CONF


def write_auto_conf(undo: SettingUndo, text: str) -> None:
    """Whole or not at all, with owner and mode as they were. Only while the server does not run: it writes the file itself."""
    file = auto_conf(undo)
    status = file.stat()
    temporary = file.with_name(f"{AUTO_CONF}.perfwright")
    temporary.unlink(missing_ok=True)
    with temporary.open("x", encoding="utf-8", errors="surrogateescape") as opened:
        opened.write(text)
        os.fchown(opened.fileno(), status.st_uid, status.st_gid)
        os.fchmod(opened.fileno(), status.st_mode & 0o7777)
        opened.flush()
        os.fsync(opened.fileno())
    temporary.rename(file)


def server_runs(undo: SettingUndo) -> bool:
    """Whether a postmaster holds the data directory on this machine. The first line of postmaster.pid is its pid."""
    try:
        pid = int((Path(undo.data_directory) / "postmaster.pid").read_text().split("\n", 1)[0])
        state = Path(f"/proc/{abs(pid)}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError):
        return False
    return state != "Z"


def shut_down_in_order(undo: SettingUndo) -> bool:
    """Whether a server that does not run was told to stop, and did. False: it crashed, or was killed.

    Its state is the fourth field of global/pg_control, behind 8, 4 and 4 bytes (catalog/pg_control.h, `ControlFileData`).
    """
    try:
        control = (Path(undo.data_directory) / "global" / "pg_control").read_bytes()
    except OSError:
        return True
    return len(control) < _STATE.size or _STATE.unpack_from(control)[0] in (SHUT_DOWN, SHUT_DOWN_IN_RECOVERY)
