"""A direct, writing connection that belongs to one change: what an earlier attempt of it still does on the server is ended first.

A killed worker's statement goes on in the server, which looks at its client only when it has something to say. Every session of a change
bears the change's mark as its application name, from its login on; so it is found, also where its statement has not arrived yet.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from activities.changes.kind import NotAllowed, Site
from activities.errors import refuse
from activities.postgres_connection import connected
from activities.postgres_facts import OLDEST
from activities.postgres_pooler import find_pooler
from perfwright.models.errors import ErrorType
from perfwright.models.target import Target

if TYPE_CHECKING:
    import asyncpg

LOCK_S = 2.0
ANSWER_S = 30.0
SETTLE_S = 30.0
"""How long a session that was told to end may take: a build of an index looks at interrupts all the time."""
_OTHERS = "SELECT pid FROM pg_stat_activity WHERE application_name = $1 AND pid <> pg_backend_pid()"


def mark_of(change_id: str) -> str:
    """The application name of a change's sessions."""
    return f"perfwright change {hashlib.sha256(change_id.encode()).hexdigest()[:16]}"


@asynccontextmanager
async def looking(target: Target, site: Site) -> "AsyncIterator[asyncpg.Connection]":
    """A connection of no particular change, to read with."""
    async with connected(target, site.environ, answer_s=ANSWER_S, session={"search_path": "pg_catalog"}) as connection:
        yield connection


@asynccontextmanager
async def changing(
    target: Target,
    site: Site,
    change_id: str,
    *,
    lock_timeout_s: float = LOCK_S,
    limit_s: float = ANSWER_S,
    more: Mapping[str, str] | None = None,
) -> "AsyncIterator[asyncpg.Connection]":
    """The change's only session. Raises ToolFailed (retried) where an earlier one does not end."""
    session = {
        "application_name": mark_of(change_id),
        "lock_timeout": str(max(1, round(lock_timeout_s * 1000))),
        "statement_timeout": str(round(limit_s * 1000)),
        "standard_conforming_strings": "on",
    }
    async with connected(target, site.environ, read_only=False, session=session | dict(more or {})) as connection:
        await settle(connection, change_id, target)
        yield connection


async def settle(connection: "asyncpg.Connection", change_id: str, target: Target) -> None:
    """End what earlier attempts still do, and wait until it has ended."""
    mark = mark_of(change_id)
    try:
        async with asyncio.timeout(SETTLE_S):
            while others := await connection.fetch(_OTHERS, mark):
                for other in others:
                    await connection.execute("SELECT pg_terminate_backend($1)", other["pid"])
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise refuse(
            ErrorType.TOOL_FAILED,
            f"an earlier attempt at this change still runs on the server of {target.title} and does not end",
            way_out=f"Look at pg_stat_activity for application_name = '{mark}'",
            retryable=True,
        ) from None


async def refuse_unsuited(connection: "asyncpg.Connection", target: Target, site: Site) -> None:
    """A pooler, a standby, or what is too old. Raises NotAllowed."""
    if target.kind != "postgresql":
        raise NotAllowed("server", f"{target.name} is a target of kind {target.kind}, not postgresql")
    if await connection.fetchval("SELECT current_setting('server_version_num')::int") < OLDEST:
        raise NotAllowed("server", "PostgreSQL 13 or later is needed")
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        raise NotAllowed("server", "it is a standby, which takes no changes: name the primary")
    if pooler := await find_pooler(connection, target, site.environ):
        raise NotAllowed("server", f"there is a {pooler} in between; give {target.dsn_env} the server's own address for changes")
