"""PostgreSQL settings: ALTER SYSTEM, ALTER ROLE ... SET, ALTER DATABASE ... SET, with a reload, or a restart under a watchdog.

The undo restores the entry that stood there, which may be a value and not its absence. A restart is guarded: a server that does not come
back within the time gets its earlier line in postgresql.auto.conf back, and is started again.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import psutil

from activities.changes.kind import NotAllowed, Prepared, Site, only, passed, refused
from activities.changes.postgres_session import changing, looking, refuse_unsuited
from activities.changes.restarts import answers, forget_restart, is_down_by_us, patiently, restart, restored_offline, stopped_standing
from activities.changes.setting_entries import (
    auto_conf,
    is_earlier,
    is_foreign,
    is_wanted,
    known_settings,
    moved_owner,
    not_read_yet,
    others_waiting,
    own_entries,
    owner_oids,
    read_entry,
    reload_and_wait,
    told_foreign,
    trouble_in_files,
    waits_for_restart,
)
from activities.errors import refuse
from activities.postmaster import postmaster_of
from perfwright.analysis.changes.settings_checks import PRELOADED, KnownSetting, memory_trouble, refusal
from perfwright.analysis.changes.settings_texts import is_list, restoring_statement, set_statement
from perfwright.analysis.query_advice.identifiers import literal
from perfwright.models.change import Change, SettingSpec
from perfwright.models.errors import ErrorType
from perfwright.models.target import Operation
from perfwright.models.undo import ChangeCheck, ChangeDescription, ChangeOrder, Standing, UndoRecord
from perfwright.models.undo_data import SettingUndo

if TYPE_CHECKING:
    import asyncpg

MISSING_LIBRARY = "58P01"
NEW_SESSIONS_ONLY = ("backend", "superuser-backend")


class Settings:
    """Changes settings of a server, a role or a database."""

    spec: ClassVar = SettingSpec
    operation: ClassVar[Operation | None] = "settings"
    looks_itself: ClassVar[bool] = False

    async def describe(self, order: ChangeOrder, site: Site) -> ChangeDescription:
        undo, setting = await self._prepared(order, site)
        async with looking(order.target, site) as connection:
            sessions = await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'") - 1
            others = {role for role, _ in await own_entries(connection, undo) if role}
        command = " ".join(order.target.restart_command or ())
        after = f";\nthen: {command}" if undo.restarts else ";\nSELECT pg_reload_conf();" if undo.scope == "system" else ";"
        concerned = {
            "system": "every session of the server",
            "role": f"new sessions of {undo.role}",
            "database": f"new sessions in {undo.database}",
            "role in database": f"new sessions of {undo.role} in {undo.database}",
        }[undo.scope]
        if undo.scope == "system" and setting.context in NEW_SESSIONS_ONLY:
            concerned = "new sessions of the server"
        if undo.restarts:
            concerned = f"every session of the server: {sessions} that are open end, and its caches begin cold"
        if others:
            concerned += f"; not those of {', '.join(sorted(others))}, which have an entry of their own"
        shown = f"{setting.name} from {setting.value}{setting.unit and ' x ' + setting.unit} to {', '.join(undo.wanted)}"
        return ChangeDescription(
            change=Change(
                kind="settings",
                title=shown[:300],
                apply=f"{set_statement(undo, undo.wanted)}{after}",
                undo=f"{restoring_statement(undo)}{after}",
                risk="restart" if undo.restarts else "reload",
                undo_cost="another restart" if undo.restarts else "milliseconds",
                spec=only(order.spec, SettingSpec),
            ),
            blast_radius=concerned,
            cost="a restart: seconds without answers" if undo.restarts else "milliseconds",
            survives_restart=True,
        )

    async def check(self, order: ChangeOrder, site: Site) -> tuple[ChangeCheck, ...]:
        undo, setting = await self._prepared(order, site)
        return (passed("setting", f"{setting.name}, context {setting.context}"), passed("undo", restoring_statement(undo)))

    async def prepare(self, order: ChangeOrder, site: Site) -> Prepared:
        undo, _ = await self._prepared(order, site)
        whose = {"system": "the server", "role": undo.role, "database": undo.database}.get(undo.scope, f"{undo.role} in {undo.database}")
        subject = f"setting {undo.name} {undo.scope} {undo.role} {undo.database}"
        return Prepared(subject, f"{undo.name} of {whose} to {', '.join(undo.wanted)}"[:300], undo)

    async def apply(self, record: UndoRecord, site: Site) -> None:
        await patiently(only(record.undo, SettingUndo), lambda: self._apply(record, site))

    async def look(self, record: UndoRecord, site: Site) -> Standing:
        return await patiently(only(record.undo, SettingUndo), lambda: self._look(record, site))

    async def revert(self, record: UndoRecord, site: Site) -> None:
        await patiently(only(record.undo, SettingUndo), lambda: self._revert(record, site))

    async def _apply(self, record: UndoRecord, site: Site) -> None:
        spec = only(record.spec, SettingSpec)
        undo = only(record.undo, SettingUndo)
        if undo.restarts and not await answers(record, site, spec.back_within_s):
            if not await asyncio.to_thread(is_down_by_us, record):
                told = f"the server of {record.target.title} does not run, and was not stopped by this change"
                raise refuse(ErrorType.DATABASE_UNREACHABLE, told, way_out="Start it, or undo the change", retryable=True)
            await restored_offline(record, site, spec.back_within_s)  # an earlier attempt stopped it, and was killed
        async with changing(record.target, site, record.change_id) as connection:
            await _put(connection, record, set_statement(undo, undo.wanted), is_wanted)
            if undo.scope != "system":
                return
            await reload_and_wait(connection, record.target, site)
            if trouble := await trouble_in_files(connection, undo.name):
                raise refuse(ErrorType.DATABASE_REFUSED, f"the server does not take it: {trouble}")
        await self._in_force(record, site)

    async def _look(self, record: UndoRecord, site: Site) -> Standing:
        spec, undo = only(record.spec, SettingSpec), only(record.undo, SettingUndo)
        if undo.restarts and not await answers(record, site, spec.back_within_s):
            return await asyncio.to_thread(stopped_standing, record)
        async with changing(record.target, site, record.change_id) as connection:
            if (moved := await moved_owner(connection, undo)) is not None:
                return moved
            raw = await read_entry(connection, undo)
            if undo.restarts:
                await reload_and_wait(connection, record.target, site)
        if is_foreign(undo, raw):
            return Standing(word="foreign", told=told_foreign(undo, raw))
        if undo.restarts and await waits_for_restart(record.target, site, undo.name):
            return Standing(word="partial", told="the server has not been restarted since")
        return Standing(word="changed" if is_wanted(undo, raw) and not is_earlier(undo, raw) else "before", told=f"entry: {raw}")

    async def _revert(self, record: UndoRecord, site: Site) -> None:
        spec = only(record.spec, SettingSpec)
        undo = only(record.undo, SettingUndo)
        down = undo.restarts and not await answers(record, site, spec.back_within_s)
        if down and not await restored_offline(record, site, spec.back_within_s):
            return
        async with changing(record.target, site, record.change_id) as connection:
            await _put(connection, record, restoring_statement(undo), is_earlier)
            if undo.scope != "system":
                return
            await reload_and_wait(connection, record.target, site)
        await self._in_force(record, site)

    async def _in_force(self, record: UndoRecord, site: Site) -> None:
        """Of what stands in the files, where only a restart does that."""
        undo = only(record.undo, SettingUndo)
        if undo.restarts and await waits_for_restart(record.target, site, undo.name):
            async with looking(record.target, site) as connection:
                if others := await others_waiting(connection, undo.name):
                    raise refused(
                        record.target,
                        f"{', '.join(others[:5])} of somebody else wait for a restart as well, and ours would put them into force",
                        way_out="Restart the server when they may come, or take them back",
                    )
            await restart(record, site, only(record.spec, SettingSpec).back_within_s)
        elif undo.restarts:
            await asyncio.to_thread(forget_restart, record)

    async def _prepared(self, order: ChangeOrder, site: Site) -> tuple[SettingUndo, KnownSetting]:
        """Raises NotAllowed."""
        spec = only(order.spec, SettingSpec)
        system = spec.role is None and spec.database is None
        async with looking(order.target, site) as connection:
            await refuse_unsuited(connection, order.target, site)
            settings = await known_settings(connection, spec.name)
            setting = next((one for one in settings.values() if one.name.lower() == spec.name.lower()), None)
            if setting is None:
                raise NotAllowed("setting", f"the server has no setting {spec.name} (its extension may not be loaded)")
            listed = is_list(setting.name)
            if reason := refusal(setting, spec.parts, listed=listed, system=system):
                raise NotAllowed("setting", f"{setting.name}: {reason}")
            memory = await asyncio.to_thread(memory_bytes)
            if reason := memory_trouble(setting, spec.parts[0], settings, memory):
                raise NotAllowed("memory", f"{setting.name}: {reason}")
            undo = SettingUndo(
                scope="system" if system else "role in database" if spec.role and spec.database else "role" if spec.role else "database",
                name=setting.name,
                role=spec.role or "",
                database=spec.database or "",
                listed=listed,
                wanted=spec.parts,
                context=setting.context,
            )
            if system:
                undo = await _of_system(connection, undo)
            else:
                undo = await _with_owners(connection, undo)
            await _refuse_hidden(connection, undo)
            undo = undo.model_copy(update={"earlier": await read_entry(connection, undo)})
            if is_wanted(undo, undo.earlier):
                raise NotAllowed("setting", f"{setting.name}: its entry has this value already")
            if undo.restarts:
                await _refuse_restart(connection, order, undo)
        if setting.name in PRELOADED:
            await _refuse_missing_libraries(order, site, spec.parts)
        elif setting.context in ("user", "superuser"):
            await _refuse_value(order, site, setting, spec.parts)
        return undo, setting


async def _put(
    connection: "asyncpg.Connection", record: UndoRecord, statement: str, stands: Callable[[SettingUndo, str | None], bool]
) -> None:
    """The entry, where it does not stand already; compared in the session that writes it. Raises TargetRefused for one of somebody else."""
    import asyncpg

    undo = only(record.undo, SettingUndo)
    raw = await read_entry(connection, undo)
    if is_foreign(undo, raw):
        raise refused(record.target, told_foreign(undo, raw))
    if not stands(undo, raw):
        try:
            await connection.execute(statement)
        except asyncpg.DataError as mistake:
            raise refused(record.target, f"the server does not take it: {str(mistake).splitlines()[0][:300]}") from None


async def _of_system(connection: "asyncpg.Connection", undo: SettingUndo) -> SettingUndo:
    import asyncpg

    try:
        folder = await connection.fetchval("SELECT current_setting('data_directory')")
        trouble = await trouble_in_files(connection)
    except asyncpg.InsufficientPrivilegeError:
        raise NotAllowed(
            "rights",
            "our role may not read pg_file_settings, so the earlier entry would not be known; connect as a superuser,"
            " or set it for a role or database (managed servers: change the parameter group)",
        ) from None
    if trouble:
        raise NotAllowed("files", f"the server's files have a mistake already, which a reload would meet: {trouble}")
    if file := await not_read_yet(connection):
        raise NotAllowed("files", f"{file} was changed since the server read it: our reload would put that into force; reload it first")
    return undo.model_copy(update={"data_directory": folder})


async def _refuse_hidden(connection: "asyncpg.Connection", undo: SettingUndo) -> None:
    """Where another entry goes before ours in all sessions of the target, it would stand there without effect."""
    for role, database in await own_entries(connection, undo):
        if not role or undo.role:
            whose = " in ".join(filter(None, (role or ("" if database else "all roles"), f"database {database}" if database else "")))
            raise NotAllowed("setting", f"{undo.name}: {whose} has an entry of its own, which goes before this one: change that one")


async def _with_owners(connection: "asyncpg.Connection", undo: SettingUndo) -> SettingUndo:
    oids = await owner_oids(connection, undo)
    for what, name in (("role", undo.role), ("database", undo.database)):
        if name and not oids[f"{what}_oid"]:
            raise NotAllowed(what, f"there is no {what} {name}")
    return undo.model_copy(update=oids)


async def _refuse_restart(connection: "asyncpg.Connection", order: ChangeOrder, undo: SettingUndo) -> None:
    """Only where the watchdog can do its work: on the server's machine, with a command that starts it."""
    name = order.target.name
    if "restart" not in order.target.allow:
        raise NotAllowed("restart", f'{undo.name} needs a restart; add "restart" to `allow` of [targets."{name}"]')
    if order.target.restart_command is None:
        raise NotAllowed("restart", f'{undo.name} needs a restart; give restart_command in [targets."{name}"]')
    await _refuse_others(connection, undo.name)
    file = auto_conf(undo)
    if not (file.is_file() and os.access(file, os.R_OK | os.W_OK) and os.access(file.parent, os.W_OK)):
        raise NotAllowed("restart", f"{file} cannot be written from here: a server that does not come back could not be helped")
    backend = await connection.fetchval("SELECT pg_backend_pid()")
    holder = postmaster_of(Path(undo.data_directory))
    try:
        mine = holder is not None and psutil.Process(backend).ppid() == holder.pid
    except psutil.Error:
        mine = False
    if not mine:
        raise NotAllowed("restart", f"the server does not run on this machine, or not in {undo.data_directory}")


async def _refuse_others(connection: "asyncpg.Connection", name: str) -> None:
    """A restart of ours puts everybody's settings into force: then B is not our change alone, and the watchdog cannot take theirs back."""
    if others := await others_waiting(connection, name):
        told = f"{', '.join(others[:5])} of somebody else wait for a restart, and ours would put them into force"
        raise NotAllowed("restart", f"{told}: restart the server first, or take them back")


async def _refuse_missing_libraries(order: ChangeOrder, site: Site, parts: tuple[str, ...]) -> None:
    """A server does not start with a library that it does not find; a session of our own finds out without harm."""
    import asyncpg

    for part in parts:
        async with looking(order.target, site) as connection:
            try:
                await connection.execute(f"LOAD {literal(part)}")
            except asyncpg.PostgresError as trouble:
                if trouble.sqlstate == MISSING_LIBRARY:
                    raise NotAllowed("libraries", f"the server finds no library {part!r}: install its package first") from None


async def _refuse_value(order: ChangeOrder, site: Site, setting: KnownSetting, parts: tuple[str, ...]) -> None:
    """Whether the server takes the value, asked for a transaction that is rolled back."""
    import asyncpg

    async with looking(order.target, site) as connection:
        transaction = connection.transaction(readonly=True)
        await transaction.start()
        try:
            name = ".".join(f'"{word}"' for word in setting.name.split("."))
            await connection.execute(f"SET LOCAL {name} = {', '.join(literal(part) for part in parts)}")
        except asyncpg.InsufficientPrivilegeError:
            raise NotAllowed("rights", f"our role may not set {setting.name}") from None
        except asyncpg.DataError as mistake:
            raise NotAllowed("setting", f"the server refuses the value: {str(mistake)[:300]}") from None
        except asyncpg.PostgresError as mistake:
            if isinstance(mistake, asyncpg.PostgresConnectionError):
                raise
            raise NotAllowed("setting", f"the server refuses the value: {str(mistake)[:300]}") from None
        finally:
            if not connection.is_closed():
                await transaction.rollback()


def memory_bytes() -> int:
    """Of this machine, or of the container that this worker is in."""
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):
        limit = psutil.virtual_memory().total
    return min(limit, psutil.virtual_memory().total)
