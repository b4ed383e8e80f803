"""Where a setting of PostgreSQL is kept: the entry that stands now, and whether the running server has taken it."""

import asyncio
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from activities.changes.kind import Site
from activities.changes.postgres_session import looking
from activities.errors import refuse
from activities.postmaster import postmaster_of
from perfwright.analysis.changes.settings_checks import RESERVING, KnownSetting
from perfwright.analysis.changes.settings_texts import NotAList, parts_of
from perfwright.models.errors import ErrorType
from perfwright.models.target import Target
from perfwright.models.undo import Standing
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
WHERE setrole = CASE WHEN $1 = '' THEN 0 ELSE (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1) END
  AND setdatabase = CASE WHEN $2 = '' THEN 0 ELSE (SELECT oid FROM pg_catalog.pg_database WHERE datname = $2) END
"""
_OWNERS = (
    (
        "role",
        "SELECT oid::bigint FROM pg_catalog.pg_roles WHERE rolname = $1",
        "SELECT rolname FROM pg_catalog.pg_roles WHERE oid = $1::bigint::oid",
    ),
    (
        "database",
        "SELECT oid::bigint FROM pg_catalog.pg_database WHERE datname = $1",
        "SELECT datname FROM pg_catalog.pg_database WHERE oid = $1::bigint::oid",
    ),
)
_SAME_SETTING = """
SELECT coalesce(r.rolname, '') AS role, coalesce(d.datname, '') AS database FROM pg_catalog.pg_db_role_setting s
  LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
WHERE (s.setdatabase = 0 OR d.datname = pg_catalog.current_database())
  AND EXISTS (SELECT FROM unnest(s.setconfig) entry WHERE lower(split_part(entry, '=', 1)) = lower($1))
ORDER BY role, database LIMIT 20
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


async def owner_oids(connection: "asyncpg.Connection", undo: SettingUndo) -> dict[str, int]:
    """`role_oid` and `database_oid` of those that the entry is of; 0 for what is not there, or is not meant."""
    return {
        f"{what}_oid": int(await connection.fetchval(by_name, getattr(undo, what)) or 0) if getattr(undo, what) else 0
        for what, by_name, _ in _OWNERS
    }


async def moved_owner(connection: "asyncpg.Connection", undo: SettingUndo) -> Standing | None:
    """Where the role or database is not there under its name: gone with its entries, or called otherwise now. None: they are there."""
    now = await owner_oids(connection, undo)
    for what, _, by_oid in _OWNERS:
        name, oid, there = getattr(undo, what), getattr(undo, f"{what}_oid"), now[f"{what}_oid"]
        if not name or (there and oid in (0, there)):
            continue
        called = await connection.fetchval(by_oid, oid) if oid else None
        if called:
            return Standing(
                word="foreign", told=f"{what} {name} is called {called} now: give it its name back, or leave the entry as it is"
            )
        if not oid:
            return Standing(word="foreign", told=f"there is no {what} {name} any more: it was dropped, or renamed with our entry")
        return Standing(word="gone", told=f"{what} {name} was dropped, and its entries with it")
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


async def others_waiting(connection: "asyncpg.Connection", name: str) -> list[str]:
    """Settings besides `name` that a restart would change, because of what stands, or stands no more, in the server's files now.

    `pending_restart` does not tell: it stays when an entry that was never in force is taken out again.
    """
    rows = await connection.fetch(
        """
        WITH file AS (SELECT lower(name) AS name, bool_or(error IS NOT NULL) AS waits FROM pg_catalog.pg_file_settings GROUP BY 1)
        SELECT s.name FROM pg_catalog.pg_settings s LEFT JOIN file ON file.name = lower(s.name)
        WHERE s.context = 'postmaster' AND lower(s.name) <> lower($1)
          AND (file.waits OR file.name IS NULL AND s.source = 'configuration file')
        ORDER BY s.name
        """,
        name,
    )
    return [str(row["name"]) for row in rows]


async def not_read_yet(connection: "asyncpg.Connection") -> str:
    """A file of the server's configuration that somebody changed since the server read it last: a reload of ours would put that into force.
    Empty: none, or our role may not look at files."""
    import asyncpg

    try:
        found = await connection.fetchval(
            """
            SELECT f.name FROM (SELECT sourcefile AS name FROM pg_catalog.pg_file_settings UNION SELECT current_setting('config_file')
                UNION SELECT current_setting('data_directory') || '/postgresql.auto.conf') f
            WHERE (pg_catalog.pg_stat_file(f.name, true)).modification > pg_catalog.pg_conf_load_time() LIMIT 1
            """
        )
    except asyncpg.InsufficientPrivilegeError:
        return ""
    return str(found or "")


async def own_entries(connection: "asyncpg.Connection", undo: SettingUndo) -> list[tuple[str, str]]:
    """Entries of the same setting that go before ours in sessions of the target's database: (role or empty, database or empty).

    Role in database goes before role, that before database, that before the server (PostgreSQL documentation, ALTER ROLE).
    """
    rows = await connection.fetch(_SAME_SETTING, undo.name)
    ours = (bool(undo.role), bool(undo.database))
    found = []
    for row in rows:
        role, database = str(row["role"]), str(row["database"])
        stronger = not any(ours) or (bool(role), bool(database)) > ours
        if stronger and (not undo.role or role == undo.role) and (not undo.database or database in ("", undo.database)):
            found.append((role, database))
    return found


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
    """Whether a postmaster holds the data directory on this machine."""
    if (holder := postmaster_of(Path(undo.data_directory))) is None:
        return False
    try:
        state = Path(f"/proc/{abs(holder.pid)}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
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
