"""Clones: made either way, hidden from nobody, bounded, and gone whatever ends the block."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from temporalio.exceptions import ApplicationError

from activities.database_clones import PREFIX, database_clone, refuse_clones, remove_clones
from activities.postgres_connection import connected
from perfwright.models.index_steps import ClonePlan
from tests.databases import TARGET, VARIABLE, fresh_database, postgres
from tests.postgres import PostgresServer

__all__ = ["postgres"]

TABLES = ("CREATE TABLE t AS SELECT n, n % 7 AS kind FROM generate_series(1, 1000) n", "CREATE INDEX t_by_kind ON t (kind)")


class Source:
    """A database to clone."""

    def __init__(self, server: PostgresServer, connection: asyncpg.Connection, name: str) -> None:
        self.server, self.connection, self.name = server, connection, name
        self.environ = {VARIABLE: server.dsn(name)}
        self.plan = ClonePlan(target=TARGET, owner=f"run of {name}")

    async def clones(self) -> list[str]:
        administrator = await self.server.connect()
        try:
            rows = await administrator.fetch("SELECT datname::text AS name FROM pg_database WHERE starts_with(datname::text, $1)", PREFIX)
            return [row["name"] for row in rows]
        finally:
            await administrator.close()


@pytest.fixture
async def source(postgres: PostgresServer) -> AsyncIterator[Source]:
    async with fresh_database(postgres, *TABLES) as connection:
        yield Source(postgres, connection, await connection.fetchval("SELECT current_database()::text"))


@pytest.mark.parametrize("used", [True, False])
async def test_a_clone_has_what_its_source_has(source: Source, tmp_path: Path, used: bool) -> None:
    """Copied where nobody is connected, dumped where somebody is; the clone is a database of its own, with statistics."""
    if not used:
        await source.connection.close()
    async with database_clone(source.plan, "one", source.environ, tmp_path) as clone:
        assert clone.how == ("dumped and restored" if used else "copied beside the database")
        async with connected(clone.target, clone.environ, read_only=False) as connection:
            assert await connection.fetchval("SELECT count(*) FROM t") == 1000
            assert await connection.fetchval("SELECT reltuples FROM pg_class WHERE relname = 't'") == 1000
            assert await connection.fetchval("SELECT count(*) FROM pg_indexes WHERE indexname = 't_by_kind'") == 1
            await connection.execute("DROP TABLE t")
        assert await source.clones() == [clone.name]
    assert not await source.clones() and not list(tmp_path.iterdir())
    again = await source.server.connect(source.name)
    assert await again.fetchval("SELECT count(*) FROM t") == 1000
    await again.close()


async def test_a_clone_is_gone_whatever_ends_the_block(source: Source, tmp_path: Path) -> None:
    """Also while somebody is still connected to it."""
    with pytest.raises(ZeroDivisionError):
        async with database_clone(source.plan, "one", source.environ, tmp_path) as clone:
            left = await source.server.connect(clone.name)
            raise ZeroDivisionError
    assert not await source.clones()
    left.terminate()


async def test_what_a_killed_worker_left_is_dropped(source: Source, tmp_path: Path) -> None:
    """By the same owner's next attempt, which begins anew, and by a later run."""
    async with database_clone(source.plan, "one", source.environ, tmp_path) as clone:
        name = clone.name
    await source.connection.execute(f"CREATE DATABASE {name}")
    async with database_clone(source.plan, "one", source.environ, tmp_path) as clone:
        assert clone.name == name
        async with connected(clone.target, clone.environ, read_only=False) as connection:
            assert await connection.fetchval("SELECT count(*) FROM t") == 1000
    await source.connection.execute(f"CREATE DATABASE {name}")
    other = source.plan.model_copy(update={"owner": "another run"})
    assert await remove_clones(other, source.environ) == (name,) and not await source.clones()


async def test_what_may_not_be_cloned(source: Source, tmp_path: Path) -> None:
    """Production only to a server of its own, nothing that is too large, and by nobody who could not hide an index."""
    production = source.plan.model_copy(update={"target": TARGET.model_copy(update={"environment": "production"})})
    small = source.plan.model_copy(update={"limit_mb": 1.0})
    same = production.model_copy(update={"dsn_env": "CLONES"})
    await source.connection.execute("DROP ROLE IF EXISTS humble; CREATE ROLE humble LOGIN CREATEDB PASSWORD 'humble'")
    humble = {VARIABLE: source.server.dsn(source.name, user="humble", password="humble")}
    for plan, environ, words in (
        (production, source.environ, "is in production"),
        (same, source.environ | {"CLONES": source.environ[VARIABLE]}, "server of shop-db itself"),
        (small, source.environ, "clones are made of up to 1 MB"),
        (source.plan, humble, "no superuser"),
    ):
        with pytest.raises(ApplicationError, match=words) as refused:
            async with database_clone(plan, "one", environ, tmp_path):
                pass
        with pytest.raises(ApplicationError, match=words):  # a run is told before it observes anything
            await refuse_clones(plan, environ)
        assert refused.value.non_retryable and "humble" not in str(refused.value).replace("'humble'", "")
    assert not await source.clones()
    await source.connection.execute("DROP ROLE humble")
