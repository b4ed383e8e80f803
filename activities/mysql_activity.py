"""Sessions of a MySQL or MariaDB database, by the process list."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from activities.mysql_connection import MysqlSession, ServerError, connected, connection_parameters
from activities.session_sampling import ANSWER_S, SESSIONS_MOST, TEXT_CHARACTERS, Look
from perfwright.analysis.database.activity import ActivitySample, Session
from perfwright.analysis.mysql.connection_troubles import MISSING_RIGHT
from perfwright.analysis.mysql.sessions import session_of
from perfwright.models.target import Target

_LOOK = f"""
SELECT p.command, p.state, left(p.info, {TEXT_CHARACTERS}), {{transaction}}
  FROM information_schema.processlist p {{join}}
 WHERE p.db = %s AND p.id <> connection_id() AND p.command NOT IN ('Daemon', 'Binlog Dump', 'Binlog Dump GTID') LIMIT {SESSIONS_MOST}
"""  # noqa: S608  # of constants only
_WITH_TRANSACTIONS = _LOOK.format(
    transaction="t.trx_state, timestampdiff(SECOND, t.trx_started, now())",
    join="LEFT JOIN information_schema.innodb_trx t ON t.trx_mysql_thread_id = p.id",
)
_ALONE = _LOOK.format(transaction="NULL, NULL", join="")


class MysqlSessions:
    """Of one database (`activities.session_sampling.Sessions`)."""

    long_transaction = "it holds back the purge of old row versions and keeps its locks"
    """InnoDB keeps every row version that an open transaction may still read (MySQL 8.4 reference manual, 17.6.6 "Undo Logs")."""

    def __init__(self, target: Target, environ: Mapping[str, str]) -> None:
        self._target, self._environ = target, environ
        self._database = connection_parameters(target, environ).database
        self._hidden = False

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Look]:
        async with connected(self._target, self._environ, answer_s=ANSWER_S) as session:
            statement = await self._statement(session)

            async def look() -> list[Session]:
                return [session_of(*row) for row in await session.fetch(statement, (self._database,))]

            yield look

    async def _statement(self, session: MysqlSession) -> str:
        """With transactions, where our user may see them."""
        try:
            await session.fetch(_WITH_TRANSACTIONS, (self._database,))
        except ServerError as refused:
            if refused.number not in MISSING_RIGHT:
                raise
            self._hidden = True
            return _ALONE
        return _WITH_TRANSACTIONS

    def warnings(self, _samples: Sequence[ActivitySample]) -> list[str]:
        return ["sessions and transactions of other users are hidden from us: GRANT PROCESS ON *.* to the user"] if self._hidden else []
