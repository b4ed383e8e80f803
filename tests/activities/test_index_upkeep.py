"""Indexes of the target: what is told of them, what is removed, and what is left alone."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import asyncpg
import pytest
from temporalio.testing import ActivityEnvironment

from activities.artifacts import ArtifactStore
from activities.changes.indexes import Indexes
from activities.changes.kind import Site
from activities.history import History
from activities.index_catalog import read_scans
from activities.index_upkeep import IndexUpkeep
from activities.postgres_catalog import read_catalog_of
from perfwright.analysis.statements.stored import MEDIA_TYPE, encode
from perfwright.models.change import IndexSpec
from perfwright.models.history import CATALOG, RecordedProfile
from perfwright.models.index_steps import ReadExistingIndexes, ReadIndexUse, RemoveInvalidIndex
from perfwright.models.index_strategy import ExistingIndexes
from perfwright.models.undo import ChangeOrder
from tests.activities.history_stores import a_record, a_start
from tests.databases import TARGET, VARIABLE, fresh_database, observed_postgres, postgres, postgres18, server
from tests.postgres import PostgresServer

__all__ = ["observed_postgres", "postgres", "postgres18", "server"]

TABLES = (
    "CREATE TABLE t AS SELECT n, n % 7 AS kind FROM generate_series(1, 1000) n",
    'CREATE INDEX "T kind" ON t (kind)',
    "CREATE INDEX t_kind_n ON t (kind, n)",
)


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[History]:
    opened = await History.open("sqlite+aiosqlite:///history.db", folder_of_relative=tmp_path)
    yield opened
    await opened.close()


async def run(activities: IndexUpkeep, name: str, request: Any) -> Any:
    return await ActivityEnvironment().run(getattr(activities, name), request)


async def invalid(connection: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute("CREATE UNIQUE INDEX CONCURRENTLY broken ON t (kind)")


async def test_an_invalid_index_is_told_and_removed_once(server: PostgresServer, history: History, tmp_path: Path) -> None:
    """By the definition that was on show; again, and for one that is gone, it says so. What is valid, or another one, is left alone."""
    async with fresh_database(server, *TABLES) as connection:
        await invalid(connection)
        store = ArtifactStore(f"file://{tmp_path}/artifacts")
        environ = {VARIABLE: server.dsn(await connection.fetchval("SELECT current_database()::text"))}
        activities = IndexUpkeep(store, history, environ, tmp_path)
        catalog = await store.put("catalog.json.gz", encode(await read_catalog_of(connection)), MEDIA_TYPE)
        found: ExistingIndexes = await run(activities, "read_existing_indexes", ReadExistingIndexes(target=TARGET, catalog=catalog))
        noted = {one.name: one for one in found.noted}
        assert {name: one.kind for name, one in noted.items()} == {"public.broken": "invalid", 'public."T kind"': "prefix"}
        assert noted['public."T kind"'].undo == ('CREATE INDEX CONCURRENTLY "T kind" ON public.t USING btree (kind)',)

        order = RemoveInvalidIndex(target=TARGET, name="public.broken", definition=noted["public.broken"].definition)
        another = order.model_copy(update={"definition": "CREATE INDEX broken ON public.t USING btree (n)"})
        sound = order.model_copy(update={"name": 'public."T kind"', "definition": noted['public."T kind"'].definition})
        for wrong in (another, sound):
            assert not (await run(activities, "remove_invalid_index", wrong)).removed
        assert await connection.fetchval("SELECT count(*) FROM pg_indexes WHERE tablename = 't'") == 3
        assert (await run(activities, "remove_invalid_index", order)).told == "dropped"
        assert (await run(activities, "remove_invalid_index", order)).told == "it is gone"
        assert await connection.fetchval("SELECT count(*) FROM pg_indexes WHERE tablename = 't'") == 2


async def test_values_in_definitions_are_not_shown(server: PostgresServer, history: History, tmp_path: Path) -> None:
    """Where literals are masked: not in what is told of an index, nor in what a drop would do and undo; the record of the undo has them,
    and an invalid index is still known again."""
    secret = "wensleydale"
    more = (
        f"CREATE INDEX part ON t (n) WHERE kind::text <> '{secret}'",
        f"CREATE INDEX whole ON t (n, kind) WHERE kind::text <> '{secret}'",
    )
    async with fresh_database(server, *TABLES, *more) as connection:
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute(f"CREATE UNIQUE INDEX CONCURRENTLY broken ON t (kind) WHERE kind::text <> '{secret}'")
        store = ArtifactStore(f"file://{tmp_path}/artifacts")
        environ = {VARIABLE: server.dsn(await connection.fetchval("SELECT current_database()::text"))}
        activities = IndexUpkeep(store, history, environ, tmp_path)
        catalog = await store.put("catalog.json.gz", encode(await read_catalog_of(connection)), MEDIA_TYPE)
        asked = ReadExistingIndexes(target=TARGET, catalog=catalog, mask_literals=True)
        found: ExistingIndexes = await run(activities, "read_existing_indexes", asked)
        noted = {one.name: one for one in found.noted}
        assert secret not in found.model_dump_json() and "<> '?'" in noted["public.part"].definition and noted["public.part"].undo

        order = ChangeOrder(change_id="drop", target=TARGET, spec=IndexSpec(drop="public.part"), mask_literals=True)
        site = Site(environ, tmp_path)
        told = [await Indexes().describe(order, site), *await Indexes().check(order, site)]
        assert not any(secret in one.model_dump_json() for one in told)
        assert secret in (await Indexes().prepare(order, site)).undo.model_dump_json()

        definition = noted["public.broken"].definition
        gone = RemoveInvalidIndex(target=TARGET, name="public.broken", definition=definition, mask_literals=True)
        other = gone.model_copy(update={"definition": definition.replace("(kind)", "(n)")})
        assert not (await run(activities, "remove_invalid_index", other)).removed
        assert (await run(activities, "remove_invalid_index", gone)).told == "dropped"


async def test_use_is_told_by_name(server: PostgresServer, history: History, tmp_path: Path) -> None:
    """As the server counts it; what does not exist is left out."""
    async with fresh_database(server, *TABLES) as connection:
        environ = {VARIABLE: server.dsn(await connection.fetchval("SELECT current_database()::text"))}
        activities = IndexUpkeep(ArtifactStore(f"file://{tmp_path}/artifacts"), history, environ, tmp_path)
        await connection.execute("SET enable_seqscan = off")
        await connection.fetch("SELECT n FROM t WHERE kind = 3 AND n = 17")
        await connection.close()  # it reports what it counted at its end, at the latest
        read = await run(
            activities, "read_index_use", ReadIndexUse(target=TARGET, names=('public."T kind"', "public.t_kind_n", "public.gone"))
        )
        assert set(read.scans) == {'public."T kind"', "public.t_kind_n"} and sum(read.scans.values()) == 1
        assert all(size > 0 for size in read.bytes.values())


async def test_only_what_an_earlier_run_saw_is_called_unused(postgres: PostgresServer, history: History, tmp_path: Path) -> None:
    """The server counts for long enough, and nobody scanned either index: one was there when a run read the catalog 40 days ago, of the other
    nobody knows. A catalog that is not in the store any more says nothing."""
    more = ("CREATE INDEX idle ON t (n) WHERE kind = 3", "CREATE INDEX young ON t (n) WHERE kind = 4")
    async with fresh_database(postgres, TABLES[0], more[0]) as connection:
        store = ArtifactStore(f"file://{tmp_path}/artifacts")
        environ = {VARIABLE: postgres.dsn(await connection.fetchval("SELECT current_database()::text"))}
        activities = IndexUpkeep(store, history, environ, tmp_path)
        earlier = await store.put("earlier.json.gz", encode(await read_catalog_of(connection)), MEDIA_TYPE)
        await connection.execute(more[1])
        catalog = await store.put("catalog.json.gz", encode(await read_catalog_of(connection)), MEDIA_TYPE)
        scans, standbys = await read_scans(connection, TARGET.name)
        old = scans.model_copy(update={"counted_since": _ago(100)})
        order = ReadExistingIndexes(target=TARGET, catalog=catalog)
        with patch("activities.index_upkeep.read_scans", return_value=(old, standbys)):
            nobody: ExistingIndexes = await run(activities, "read_existing_indexes", order)
            for closed_at, kept in ((_ago(40), earlier), (_ago(3), catalog)):
                seen = (RecordedProfile(kind=CATALOG, artifact=kept),)
                await history.record_run(a_record(a_start(TARGET.name), closed_at=closed_at, profiles=seen))
            found: ExistingIndexes = await run(activities, "read_existing_indexes", order)
            (tmp_path / "artifacts" / earlier.uri).unlink()
            lost: ExistingIndexes = await run(activities, "read_existing_indexes", order)
    assert [one.name for one in found.noted] == ["public.idle"] and found.of_unknown_age == ("public.young",)
    assert not nobody.noted and nobody.of_unknown_age == ("public.idle", "public.young") == lost.of_unknown_age


def _ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()
