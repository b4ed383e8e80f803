"""Our kind of driver connection. Imported where it is used: the driver takes a twentieth of a second to load."""

from typing import Any

import asyncpg
from asyncpg.transaction import Transaction

from perfwright.analysis.database.own_statements import named


class MarkedConnection(asyncpg.Connection):
    """Statements are marked as ours; transactions are READ ONLY unless `may_write` was set.

    Nothing relies on prepared statements that outlive a call, so that it works through a pooler in transaction mode: neither
    `cursor()` nor `prepare()` may be used.
    """

    may_write = False

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        return str(await super().execute(named(query), *args, timeout=timeout))

    async def fetch(self, query: str, *args: Any, timeout: float | None = None, record_class: Any = None) -> list[Any]:
        return list(await super().fetch(named(query), *args, timeout=timeout, record_class=record_class))

    async def fetchval(self, query: str, *args: Any, column: int = 0, timeout: float | None = None) -> Any:
        return await super().fetchval(named(query), *args, column=column, timeout=timeout)

    async def fetchrow(self, query: str, *args: Any, timeout: float | None = None, record_class: Any = None) -> Any:
        return await super().fetchrow(named(query), *args, timeout=timeout, record_class=record_class)

    def transaction(self, *, isolation: Any = None, readonly: bool = False, deferrable: bool = False) -> Transaction:
        return super().transaction(isolation=isolation, readonly=readonly or not self.may_write, deferrable=deferrable)


class WritingConnection(MarkedConnection):
    """The same, but its transactions may write (to be rolled back)."""

    may_write = True
