"""One connection on which statements are explained: each in a transaction of its own that is always rolled back.

What is prepared for a statement is forgotten before its transaction ends (a rollback does not undo PREPARE), so that it works through a
pooler in transaction mode and leaves nothing there. A cancelled activity cancels the statement on the server, and rolls back.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from activities.postgres_connection import went_away
from activities.slice_recorder import carried_out
from perfwright.analysis.database.own_statements import named
from perfwright.analysis.explaining.bags import Column
from perfwright.analysis.explaining.plan_answers import PLAN_BYTES_AT_MOST, Plan, has_placeholder, read_plan
from perfwright.analysis.explaining.samples import Call
from perfwright.analysis.explaining.server_errors import Attempt, ServerError, ends_connection, reason_of
from perfwright.analysis.explaining.sql_texts import (
    CHECKS_CONNECTION_SINCE,
    COUNTS_GENERIC_PLANS_SINCE,
    Execution,
    UnsendableText,
    begin_sql,
    deallocate_sql,
    execute_sql,
    explain_prefix,
    prepare_sql,
    sendable,
    with_types,
)
from perfwright.models.database import DatabaseFacts

if TYPE_CHECKING:
    import asyncpg

END_S, CANCELLED_END_S = 5.0, 0.5
"""A rollback takes milliseconds; a connection that cannot do it in this time is dropped, which ends its transaction as well. Sooner where
the activity was cancelled: a cancel request that finds the server between two messages is lost, and the statement then goes on."""
ANSWER_GRACE_S = 15.0
"""Beyond statement_timeout: a server that does not keep its own timeout is lost."""
LEFTOVER_S, LOOK_EVERY_S = 5.0, 0.1
SAVEPOINT = "perfwright_before"

_STARTED = "pg_catalog.to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
_WHO = f"""
    SELECT current_user::text, pg_catalog.current_setting('search_path'),
        pg_catalog.current_setting('standard_conforming_strings') = 'on', pid, {_STARTED}
    FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid()
"""  # noqa: S608  # a constant of ours
_LEFTOVER = f"FROM pg_catalog.pg_stat_activity WHERE pid = $1 AND {_STARTED} = $2 AND usename = current_user AND pid <> pg_backend_pid()"
_END_LEFTOVER = f"SELECT pg_catalog.pg_terminate_backend(pid) {_LEFTOVER}"
_SEE_LEFTOVER = f"SELECT 1 {_LEFTOVER}"


class Refused(Exception):
    """The server gives no plan of this statement, for this reason. The connection can be used on."""

    def __init__(self, reason: str, sqlstate: str = "", *, timed_out: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.sqlstate, self.timed_out = reason, sqlstate, timed_out


class ServerLost(Exception):
    """The connection went away in the middle."""


@dataclass(frozen=True)
class Timeouts:
    statement_s: float
    lock_s: float

    @property
    def answer_s(self) -> float:
        """How long we wait for an answer."""
        return self.statement_s + ANSWER_GRACE_S


@dataclass(frozen=True)
class Backend:
    """The server's process for our connection; behind a pooler, that of the moment."""

    pid: int
    started_at: str
    """`2026-01-31 12:00:00.123456`, UTC."""


class PlanSession:
    """Explains statements one after the other on one connection (of `activities.postgres_connection.connected`)."""

    def __init__(
        self, connection: "asyncpg.Connection", database: DatabaseFacts, timeouts: Timeouts, *, mask_literals: bool = False
    ) -> None:
        self._connection, self._timeouts, self._mask_literals = connection, timeouts, mask_literals
        self._checks_connection = False
        self.version_number = database.version_number
        self.role, self.search_path, self.standard_strings, self.backend = "", "", False, Backend(0, "")

    async def open(self) -> "PlanSession":
        """Learn who we are there. Raises ServerLost."""
        if self.version_number >= CHECKS_CONNECTION_SINCE:
            try:
                async with self._transaction(self._begin(writes=False, checks_connection=True)):
                    self._checks_connection = True
            except Refused:
                self._checks_connection = False  # the server's platform cannot see that a client has gone
        async with self.transaction():
            [row] = await self.fetch(_WHO)
        self.role, self.search_path, self.standard_strings, self.backend = row[0], row[1], row[2], Backend(row[3], row[4])
        return self

    async def plan(self, call: Call, *, generic: bool = False) -> tuple[Call, Plan]:
        """What was planned, and its plan. Where placeholders stand for what a server takes only as a constant (`interval $1`), that is the
        same call with casts to them instead. Raises Refused (what the server says of the text as it was given), ServerLost."""
        try:
            return call, await self.explain(call, generic=generic)
        except Refused as refused:
            if (typed := with_types(call.text, self.version_number)) == call.text:
                raise
            other = replace(call, text=typed)
            try:
                return other, await self.explain(other, generic=generic)
            except Refused:
                raise refused from None

    async def explain(self, call: Call, *, execution: Execution | None = None, generic: bool = False) -> Plan:
        """The plan; `execution`: executed for it; `generic`: without values, of a text with `$n`. Raises Refused, ServerLost."""
        version = self.version_number
        try:
            text = sendable(call.text)
            if generic and execution is not None:
                raise ValueError("a generic plan is never executed: it has no values")
            if generic or call.parameters is not None:
                return await self._explained_prepared(explain_prefix(version, execution), call, execution)
            return await self._explained(explain_prefix(version, execution), text, execution)
        except UnsendableText as unsendable:
            raise Refused(str(unsendable)) from None

    async def _explained(self, prefix: str, text: str, execution: Execution | None = None) -> Plan:
        async with self.transaction(writes=execution is not None and execution.writes):
            rows = await self.fetch(prefix + text, of=text)
        return _read(rows)

    async def _explained_prepared(self, prefix: str, call: Call, execution: Execution | None) -> Plan:
        """Through PREPARE and EXECUTE; `parameters` None: a generic plan, which is only believed where it shows that it is one."""
        generic = call.parameters is None
        begin = self._begin(
            writes=execution is not None and execution.writes,
            plan_cache_mode="force_generic_plan" if generic else "force_custom_plan",
        )
        async with self._transaction(begin), self.prepared(call.text) as name:
            parameters = call.parameters if call.parameters is not None else (None,) * await self._parameters(name)
            plan = _read(await self.fetch(prefix + execute_sql(name, parameters), of=call.text))
            if generic and not (has_placeholder(plan) or await self._made_generic_plan(name)):
                raise Refused("the server did not make a generic plan of it")
        return plan

    @asynccontextmanager
    async def prepared(self, text: str) -> AsyncIterator[str]:
        """The statement prepared under a name of ours within the open transaction; forgotten afterwards, whatever happened."""
        name = f"perfwright_{secrets.token_hex(8)}"
        await self._execute(f"SAVEPOINT {SAVEPOINT}")
        end_s = END_S
        try:
            await self.fetch(prepare_sql(name, text), of=text)
            yield name
        except asyncio.CancelledError:
            end_s = CANCELLED_END_S
            raise
        finally:
            await carried_out(self._forget(name, end_s))

    async def columns(self, query: str) -> tuple[Column, ...]:
        """The columns of a query's result; it is not executed. Raises Refused, ServerLost."""
        async with self.transaction():
            with self._told(time.monotonic(), query, query):
                # Without a name, and described before its transaction ends: a pooler keeps nothing of it.
                described = await self._connection.prepare(sendable(query))
        return tuple(
            Column(one.name, one.type.name if one.type.schema == "pg_catalog" else f"{one.type.schema}.{one.type.name}")
            for one in described.get_attributes()
        )

    async def rows_of_one_snapshot(self, *queries: Call) -> list[Any]:
        """The only row of each query, all over the same rows of the database. Raises Refused, ServerLost."""
        found = []
        async with self.transaction(one_snapshot=True):
            for query in queries:
                if query.parameters is None:
                    [row] = await self.fetch(query.text, of=query.text)
                else:
                    async with self.prepared(named(query.text)) as name:
                        [row] = await self.fetch(execute_sql(name, query.parameters), of=query.text)
                found.append(row)
        return found

    def drop(self) -> None:
        """End the connection at once."""
        self._connection.terminate()

    def transaction(self, *, writes: bool = False, one_snapshot: bool = False) -> Any:
        """`async with`: a transaction with our timeouts, rolled back at the end."""
        return self._transaction(self._begin(writes=writes, one_snapshot=one_snapshot))

    async def fetch(self, sql: str, *values: object, of: str = "") -> list[Any]:
        """Rows of one statement, by the extended protocol; `of`: the observed statement in it. Raises Refused, ServerLost."""
        began = time.monotonic()
        with self._told(began, sql, of):
            return list(await self._connection.fetch(sql, *values))

    def _begin(self, *, writes: bool, checks_connection: bool | None = None, **options: Any) -> str:
        return begin_sql(
            writes=writes,
            statement_timeout_ms=max(1, round(self._timeouts.statement_s * 1000)),
            lock_timeout_ms=max(1, round(self._timeouts.lock_s * 1000)),
            checks_connection=self._checks_connection if checks_connection is None else checks_connection,
            **options,
        )

    @asynccontextmanager
    async def _transaction(self, begin: str) -> AsyncIterator[None]:
        end_s = END_S
        try:
            await self._execute(begin)
            yield
        except asyncio.CancelledError:
            end_s = CANCELLED_END_S
            raise
        finally:
            await carried_out(self._end(end_s))

    async def _execute(self, sql: str) -> None:
        """Statements of ours alone, in one message."""
        with self._told(time.monotonic(), sql, ""):
            await self._connection.execute(sql)

    async def _end(self, end_s: float) -> None:
        """Roll back; where that does not work, the connection and with it the transaction ends."""
        if self._connection.is_closed():
            return
        try:
            await self._connection.execute("ROLLBACK", timeout=end_s)
        except Exception:
            self._connection.terminate()

    async def _forget(self, name: str, end_s: float) -> None:
        if self._connection.is_closed():
            return
        try:
            await self._connection.execute(f"ROLLBACK TO SAVEPOINT {SAVEPOINT}", timeout=end_s)
            await self._connection.execute(deallocate_sql(name), timeout=end_s)
        except Exception as raised:
            # 26000: it was never prepared. With anything else the connection ends, and what it had prepared with it.
            if getattr(raised, "sqlstate", "") != "26000":
                self._connection.terminate()

    async def _parameters(self, name: str) -> int:
        [row] = await self.fetch(
            "SELECT pg_catalog.cardinality(parameter_types) FROM pg_catalog.pg_prepared_statements WHERE name = $1", name
        )
        return int(row[0])

    async def _made_generic_plan(self, name: str) -> bool:
        """Where no condition shows `$n` (LIMIT $1), the server's own count tells it; before it kept one, what decides over it."""
        if self.version_number < COUNTS_GENERIC_PLANS_SINCE:
            [row] = await self.fetch("SELECT pg_catalog.current_setting('plan_cache_mode')")
            return str(row[0]) == "force_generic_plan"
        [row] = await self.fetch("SELECT generic_plans FROM pg_catalog.pg_prepared_statements WHERE name = $1", name)
        return int(row[0]) > 0

    @contextmanager
    def _told(self, began: float, sql: str, of: str) -> Iterator[None]:
        """What the driver and the server raise, as Refused or ServerLost."""
        try:
            yield
        except Exception as raised:
            state = getattr(raised, "sqlstate", None)
            gone = ends_connection(state) if isinstance(state, str) else went_away(raised)
            if gone or self._connection.is_closed():
                # Also a timeout of ours: the server did not keep its own.
                self._connection.terminate()
                raise ServerLost(type(raised).__name__) from None
            if not isinstance(state, str):
                raise
            position = getattr(raised, "position", None)
            error = ServerError(state, str(getattr(raised, "message", "")), int(position) if position else None)
            before = named(sql).find(of) if of else 0
            attempt = Attempt(
                time.monotonic() - began,
                self._timeouts.statement_s,
                self._timeouts.lock_s,
                of or sql,
                max(0, before),
                self.search_path,
                self._mask_literals,
            )
            reason = reason_of(error, attempt)
            raise Refused(reason, state, timed_out=reason.startswith("statement_timeout")) from None


async def end_leftover(connection: "asyncpg.Connection", backend: Backend) -> bool:
    """End a backend of ours that a killed worker left at work, and wait until it is gone; whether there was one.

    Only for direct connections: a pooler may have given the backend to somebody else.
    """
    ended = await connection.fetch(_END_LEFTOVER, backend.pid, backend.started_at)
    until = time.monotonic() + LEFTOVER_S
    while await connection.fetch(_SEE_LEFTOVER, backend.pid, backend.started_at):
        if time.monotonic() > until:
            break
        await asyncio.sleep(LOOK_EVERY_S)
    return bool(ended)


def _read(rows: list[Any]) -> Plan:
    answer = "".join(str(row[0]) for row in rows)
    size = len(answer.encode())
    if size > PLAN_BYTES_AT_MOST:
        raise Refused(f"its plan has {size / 1e6:.1f} MB; at most {PLAN_BYTES_AT_MOST / 1e6:.1f} MB are kept")
    try:
        return read_plan(answer)
    except ValueError as unreadable:
        raise Refused(str(unreadable)) from None
