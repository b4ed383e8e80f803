"""Clones: made either way, hidden from nobody, bounded, and gone whatever ends the block."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from temporalio.exceptions import ApplicationError

from activities.database_clones import PREFIX, database_clone, remove_clones, why_no_clone
from activities.planner_settings import PlannerSettings, plan_alike
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


PLANNED_WITH = "SELECT current_setting('random_page_cost'), current_setting('work_mem'), current_setting('search_path')"


async def test_a_clone_plans_like_its_source(source: Source, tmp_path: Path) -> None:
    """Every session on it has what `ALTER DATABASE` and `ALTER ROLE` gave the application's sessions on the source, which no copy carries: of
    the role that is named, else of ours. What it cannot be given is told."""
    name, role = source.name, f"till_{source.name}"
    for statement in (
        f"ALTER DATABASE {name} SET random_page_cost = 1.1",
        f"ALTER DATABASE {name} SET search_path = app, public",
        f"CREATE ROLE {role}",
        f"ALTER ROLE {role} SET work_mem = '3MB'",
        f"ALTER ROLE {role} IN DATABASE {name} SET work_mem = '9216kB'",
        f"ALTER ROLE CURRENT_USER IN DATABASE {name} SET cpu_tuple_cost = 0.3",
    ):
        await source.connection.execute(statement)
    await source.connection.close()  # else a copy of it waits five seconds for us
    seen = {}
    for whose in ("", role):
        async with database_clone(source.plan.model_copy(update={"role": whose}), "one", source.environ, tmp_path) as clone:
            async with connected(clone.target, clone.environ) as connection:
                seen[whose] = tuple(await connection.fetchrow(PLANNED_WITH) or ())
            assert clone.warnings == ((f"cpu_tuple_cost is that of our own role: what {role} has is not seen",) if whose else ())
            odd = {"shared_buffers": "9TB", "newer": "on", "newest": "off", "work_mem": "many", "jit_above_cost": "7", "search_path": "app"}
            told = await plan_alike(clone.target, clone.environ, PlannerSettings(odd, role, frozenset(("newer",))), clone.name)
            assert [one.partition(" is ")[0] for one in told] == ["shared_buffers", "newer", "work_mem"], told
    assert seen == {"": ("1.1", "4MB", "app, public"), role: ("1.1", "9MB", "app, public")}
    again = await source.server.connect(name)
    await again.execute(f"DROP ROLE {role}; ALTER ROLE CURRENT_USER IN DATABASE {name} RESET ALL")
    gone = "SELECT count(*) FROM pg_db_role_setting WHERE setdatabase NOT IN (SELECT oid FROM pg_database UNION SELECT 0)"
    assert not await again.fetchval(gone), "they went with the clones"
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
        no_clone = await why_no_clone(plan, environ)  # a run is told before it observes anything
        assert no_clone and words in no_clone.reason
        assert refused.value.non_retryable and "humble" not in str(refused.value).replace("'humble'", "")
    assert not await source.clones()
    await source.connection.execute("DROP ROLE humble")
