"""Databases to examine, and activities that examine them outside of a Temporal server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import asyncpg
import pytest
from temporalio.testing import ActivityEnvironment

from activities.artifacts import ArtifactStore
from activities.postgres import Postgres
from perfwright.analysis.statements.stored import decode
from perfwright.models.artifact import ArtifactRef
from perfwright.models.target import Target
from perfwright.models.vocabulary import Model
from tests.postgres import OBSERVED, PASSWORD, PostgresServer, needed_programs, observed_postgres, postgres, start_postgres
from tests.postgres18 import needed_programs18, postgres18

__all__ = ["breakable", "breakable15", "breakable18", "observed_postgres", "postgres", "postgres18", "server"]

VARIABLE = "SHOP_DB_DSN"
TARGET = Target(name="shop-db", kind="postgresql", environment="lab", dsn_env=VARIABLE)
PREFIX = "query-performance-analysis/shop-db/run/1"
Read = TypeVar("Read", bound=Model)


@pytest.fixture(params=["PostgreSQL 15", "PostgreSQL 18"])
def server(request: pytest.FixtureRequest) -> PostgresServer:
    """Both versions, with pg_stat_statements loaded."""
    found: PostgresServer = request.getfixturevalue("observed_postgres" if request.param == "PostgreSQL 15" else "postgres18")
    return found


BREAKABLE = {
    "pg_stat_statements.max": "100",
    "logging_collector": "on",
    "log_destination": "jsonlog",
    "log_min_duration_statement": "100",
    "track_io_timing": "on",
    "max_wal_senders": "0",
    "wal_level": "minimal",
}
"""Little room for statements, and a log of its own."""


@pytest.fixture(scope="session")
def breakable15() -> Iterator[PostgresServer]:
    """A server that tests may restart and crash."""
    with start_postgres(needed_programs(), OBSERVED | BREAKABLE) as server:
        yield server


@pytest.fixture(scope="session")
def breakable18() -> Iterator[PostgresServer]:
    """A server that tests may restart and crash."""
    with start_postgres(needed_programs18(), OBSERVED | BREAKABLE) as server:
        yield server


@pytest.fixture(params=["PostgreSQL 15", "PostgreSQL 18"])
def breakable(request: pytest.FixtureRequest) -> PostgresServer:
    """Both versions of them."""
    found: PostgresServer = request.getfixturevalue("breakable15" if request.param == "PostgreSQL 15" else "breakable18")
    return found


class Examined:
    """One connection string, and the activities on it; each call is an activity of its own."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self.environ = {VARIABLE: dsn}
        self.store = ArtifactStore(f"file://{folder}/artifacts")
        self.activities = Postgres(self.store, self.environ, folder / "state")
        self.beats: list[Any] = []

    async def run(self, name: str, request: Model, environment: ActivityEnvironment | None = None) -> Any:
        environment = environment or ActivityEnvironment()
        environment.on_heartbeat = lambda *details: self.beats.append(details[0])
        return await environment.run(getattr(self.activities, name), request)

    async def read(self, model: type[Read], ref: ArtifactRef | None) -> Read:
        assert ref is not None
        return decode(model, await self.store.get(ref))


_FREE: dict[int, list[str]] = {}
"""Port of a server -> databases that are empty again: making one costs what a whole test does."""
_EMPTY = """
DO $$
DECLARE one name;
BEGIN
    FOR one IN SELECT extname FROM pg_extension WHERE extname <> 'plpgsql' LOOP
        EXECUTE format('DROP EXTENSION %I CASCADE', one);
    END LOOP;
    FOR one IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', one);
    END LOOP;
    EXECUTE format('ALTER DATABASE %I RESET ALL', current_database());
END $$;
CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC; SELECT pg_stat_reset()
"""


@asynccontextmanager
async def fresh_database(server: PostgresServer, *statements: str) -> AsyncIterator[asyncpg.Connection]:
    """An empty database, filled by `statements`; its name is `database_of` the connection."""
    free = _FREE.setdefault(server.port, [])
    name = free.pop() if free else await _new_database(server)
    connection = await server.connect(name)
    try:
        for statement in statements:
            await connection.execute(statement)
        yield connection
    finally:
        connection.terminate()
        # By another connection: the test may have restarted the server meanwhile.
        cleaner = await server.connect(name)
        try:
            await cleaner.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await cleaner.execute(_EMPTY)
        finally:
            await cleaner.close()
        free.append(name)


async def _new_database(server: PostgresServer) -> str:
    name = f"test_{uuid4().hex}"
    admin = await server.connect()
    try:
        await admin.execute(f"CREATE DATABASE {name}")
    finally:
        await admin.close()
    return name


async def database_of(connection: asyncpg.Connection) -> str:
    return str(await connection.fetchval("SELECT current_database()"))


@asynccontextmanager
async def login_role(connection: asyncpg.Connection, *grants: str) -> AsyncIterator[str]:
    """A role that may log in with `PASSWORD` and has nothing but `grants` (`GRANT ... TO {role}`); dropped afterwards."""
    role = f"role_{uuid4().hex}"
    await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    try:
        for grant in grants:
            await connection.execute(grant.format(role=role))
        yield role
    finally:
        await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def nothing_left(server: PostgresServer) -> None:
    """No session of ours is there any more (the server notices a closed one within moments), nor a transaction or temporary thing."""
    connection = await server.connect()
    try:
        async with asyncio.timeout(10):
            while await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'perfwright'"):
                await asyncio.sleep(0.02)
        assert await connection.fetchval("SELECT count(*) FROM pg_prepared_xacts") == 0
        assert await connection.fetchval("SELECT count(*) FROM pg_class WHERE relpersistence = 't'") == 0
    finally:
        await connection.close()
