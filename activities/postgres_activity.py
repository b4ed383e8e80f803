"""Sessions of a PostgreSQL database, by pg_stat_activity, outside of any transaction."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from activities.postgres_connection import APPLICATION_NAME, connected
from activities.session_sampling import ANSWER_S, SESSIONS_MOST, TEXT_CHARACTERS, Look
from perfwright.analysis.database.activity import ActivitySample, Session
from perfwright.models.target import Target

_LOOK = f"""
SELECT state, wait_event_type, wait_event, left(query, {TEXT_CHARACTERS}),
       extract(epoch FROM pg_catalog.clock_timestamp() - xact_start)::float8
  FROM pg_catalog.pg_stat_activity
 WHERE datname = pg_catalog.current_database() AND pid <> pg_catalog.pg_backend_pid() AND application_name <> '{APPLICATION_NAME}'
   AND coalesce(backend_type, 'client backend') = 'client backend' AND coalesce(state, '') <> 'idle'
 LIMIT {SESSIONS_MOST}
"""  # noqa: S608  # of constants only


class PostgresSessions:
    """Of one database (`activities.session_sampling.Sessions`)."""

    long_transaction = "it holds back VACUUM and keeps its locks"
    """PostgreSQL 18 documentation, 24.1 "Routine Vacuuming"."""

    def __init__(self, target: Target, environ: Mapping[str, str]) -> None:
        self._target, self._environ = target, environ

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Look]:
        async with connected(self._target, self._environ, answer_s=ANSWER_S) as connection:

            async def look() -> list[Session]:
                return [Session(*row) for row in await connection.fetch(_LOOK)]

            yield look

    def warnings(self, samples: Sequence[ActivitySample]) -> list[str]:
        if any(sample.hidden for sample in samples):
            return ["sessions of other roles are hidden from us: GRANT pg_read_all_stats (or pg_monitor) to the role"]
        return []
