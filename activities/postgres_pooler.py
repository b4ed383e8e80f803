"""Whether a pooler stands between us and the server, and whether it gives every transaction another server connection."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from temporalio.exceptions import ApplicationError

from activities.postgres_connection import PING, connected
from perfwright.models.target import Target

if TYPE_CHECKING:
    import asyncpg

ROUNDS = 5
ANSWER_S = 3.0
TRANSACTION_MODE = "pooler in transaction mode (as pgbouncer)"
SESSION_MODE = "pooler in session mode (as pgbouncer)"


async def find_pooler(connection: "asyncpg.Connection", target: Target, environ: Mapping[str, str]) -> str:
    """TRANSACTION_MODE, SESSION_MODE, or nothing for a direct connection.

    A server tells its process id at login; a pooler tells a number of its own. In transaction mode two sessions that are open at the same
    time are served by the same server process (or one by several); in session mode never.
    """
    if await connection.fetchval(PING) == connection.get_server_pid():
        return ""
    ours, others = set[int](), set[int]()
    try:
        async with connected(target, environ, answer_s=ANSWER_S) as other:
            for _ in range(ROUNDS):
                ours.add(await connection.fetchval(PING))
                others.add(await other.fetchval(PING))
    except ApplicationError:
        # No second connection: all of a small pool are held, as it is with sessions.
        return SESSION_MODE
    return TRANSACTION_MODE if ours & others or len(ours) > 1 or len(others) > 1 else SESSION_MODE
