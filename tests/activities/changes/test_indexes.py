"""Indexes on real PostgreSQL servers: made and dropped beside writers, and read from pg_index."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities.changes.indexes import Indexes
from perfwright.analysis.changes.deliveries import files_of
from perfwright.models.change import IndexSpec
from perfwright.models.target import Target
from perfwright.models.undo import UndoRecord
from tests.activities.changes.changing_runs import KILLS, Bench, bench, killed_at_random
from tests.databases import VARIABLE, database_of, fresh_database
from tests.postgres import PostgresServer, postgres

__all__ = ["postgres"]

TABLES = (
    'CREATE SCHEMA "Sales ""x"" y"',
    'CREATE TABLE "Sales ""x"" y".orders (id serial PRIMARY KEY, customer int, "state of it" text, at timestamptz)',
    """INSERT INTO "Sales ""x"" y".orders (customer, "state of it", at) SELECT n % 500, 'open', now() FROM generate_series(1, 20000) n""",
    'CREATE INDEX "old one" ON "Sales ""x"" y".orders (lower("state of it"), customer DESC) WITH (fillfactor = 80) WHERE customer > 0',
    """COMMENT ON INDEX "Sales ""x"" y"."old one" IS 'it''s old'""",
    'ALTER INDEX "Sales ""x"" y"."old one" ALTER COLUMN 1 SET STATISTICS 500',
    "CREATE TABLE plain (a int, b int UNIQUE)",
    "INSERT INTO plain SELECT n, n FROM generate_series(1, 1000) n",
)
CREATE = IndexSpec(
    create='CREATE INDEX CONCURRENTLY "new ""one""" ON "Sales ""x"" y".orders (customer) WHERE "state of it" = \'a;b\'', lock_timeout_s=0.5
)
DROP = IndexSpec(drop='"Sales ""x"" y"."old one"', lock_timeout_s=0.5)
ALL = """
SELECT n.nspname, c.relname, pg_get_indexdef(c.oid) AS definition, i.indisvalid, i.indisready, obj_description(c.oid, 'pg_class') AS comment,
       (SELECT array_agg(attstattarget ORDER BY attnum) FROM pg_attribute WHERE attrelid = c.oid) AS statistics
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^pg_' ORDER BY 1, 2
"""


class Shop(Bench):
    connection: Any

    async def indexes(self) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.connection.fetch(ALL)]


@asynccontextmanager
async def opened(server: PostgresServer, folder: Path) -> AsyncIterator[Shop]:
    async with fresh_database(server, *TABLES) as connection:
        name = await database_of(connection)
        target = Target(name=f"indexes-{name}", kind="postgresql", environment="lab", dsn_env=VARIABLE, allow=("ddl",))
        async with bench(folder, target, {VARIABLE: server.dsn(name)}) as plain:
            shop = Shop.__new__(Shop)
            shop.__dict__.update(plain.__dict__)
            shop.connection = connection
            yield shop
            plain.worker = shop.worker


@pytest.fixture
async def shop(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[Shop]:
    async with opened(postgres, tmp_path) as made:
        yield made


@pytest.mark.parametrize("spec", [CREATE, DROP], ids=["create", "drop"])
async def test_an_index_comes_and_goes(shop: Shop, spec: IndexSpec) -> None:
    """An index is made, or dropped, whatever its name; the undo leaves all indexes as they were, with comment and statistics target."""
    before = await shop.indexes()
    order = shop.order(spec)
    shown = await shop.work.describe(order)
    assert "CONCURRENTLY" in shown.change.apply and "CONCURRENTLY" in shown.change.undo and shown.change.risk == "observe"
    assert (await shop.work.check(order)).passed and await shop.indexes() == before
    for _ in range(2):
        assert (await shop.work.apply(order)).state == "applied"
        assert len(await shop.indexes()) == len(before) + (1 if spec.create else -1)
    assert all(one["indisvalid"] for one in await shop.indexes())
    for _ in range(2):
        assert (await shop.work.revert(order.change_id)).state == "reverted"
        assert await shop.indexes() == before


async def test_a_failed_build_leaves_nothing(shop: Shop) -> None:
    """A build that waits for an older transaction longer than allowed fails, and its invalid index is found and removed."""
    before = await shop.indexes()
    other = await _another(shop)
    try:
        await other.execute("BEGIN; INSERT INTO plain VALUES (0, 0)")
        with pytest.raises(ApplicationError, match="holds a lock") as failed:
            spec = IndexSpec(create="CREATE INDEX slow ON plain (a)", lock_timeout_s=0.2)
            order = shop.order(spec)
            applying = asyncio.ensure_future(shop.work.apply(order))
            await _invalid_seen(shop)
            await asyncio.wait([applying], timeout=3)
            await other.execute("COMMIT")
            await applying
        assert not failed.value.non_retryable
    finally:
        await other.close()
    assert await shop.indexes() == before
    assert (await shop.work.apply(order)).state == "applied"  # the next attempt, with nobody in the way
    await shop.work.revert(order.change_id)
    assert await shop.indexes() == before


async def test_a_build_that_outlives_its_worker_is_ended(shop: Shop) -> None:
    """A killed worker's build goes on in the server; the undo ends it first, and then removes what it left."""
    before = await shop.indexes()
    building = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%CREATE%INDEX CONCURRENTLY%' AND pid <> pg_backend_pid()"
    other = await _another(shop)
    try:
        await other.execute("BEGIN; INSERT INTO plain VALUES (0, 0)")
        order = shop.order(IndexSpec(create="CREATE INDEX slow ON plain (a)", lock_timeout_s=60))
        pid = shop.start("apply", order)
        await _invalid_seen(shop)
        os.kill(pid, signal.SIGKILL)
        assert shop.heard() == "ended -9"
        assert await shop.connection.fetchval(building) == 1
        reverting = asyncio.ensure_future(shop.work.revert(order.change_id))
        async with asyncio.timeout(20):
            while await shop.connection.fetchval(building):
                await asyncio.sleep(0.02)
        await other.execute("COMMIT")
        assert (await reverting).state == "reverted"
    finally:
        await other.close()
    assert await shop.indexes() == before


async def _another(shop: Shop) -> Any:
    import asyncpg

    return await asyncpg.connect(shop.environ[VARIABLE])


async def _invalid_seen(shop: Shop) -> None:
    """The build has begun, and waits."""
    async with asyncio.timeout(20):
        while not [one for one in await shop.indexes() if not one["indisvalid"]]:
            await asyncio.sleep(0.01)


async def test_a_unique_violation_is_told_and_cleaned(shop: Shop) -> None:
    """A unique index that the rows do not allow fails with the server's words; its invalid rest is removed."""
    before = await shop.indexes()
    await shop.connection.execute("INSERT INTO plain VALUES (7, 100001)")
    with pytest.raises(ApplicationError, match=r"could not create unique index|duplicate|unique.*nothing of it is left"):
        await shop.work.apply(shop.order(IndexSpec(create="CREATE UNIQUE INDEX twice ON plain (a)")))
    assert await shop.indexes() == before


async def test_another_index_of_that_name_is_a_conflict(shop: Shop) -> None:
    """An index that somebody put in our place is theirs: told, and left."""
    order = shop.order(IndexSpec(create="CREATE INDEX mine ON plain (a)"))
    await shop.work.apply(order)
    await shop.connection.execute("DROP INDEX mine; CREATE INDEX mine ON plain (b, a)")
    theirs = await shop.indexes()
    outcome = await shop.work.revert(order.change_id)
    assert outcome.state == "conflict" and "(b, a)" in outcome.note
    assert await shop.indexes() == theirs


@pytest.mark.parametrize(
    ("spec", "name"),
    [(IndexSpec(create='CREATE INDEX loud ON "Sales ""x"" y".orders (upper("state of it"))'), "loud"), (DROP, "old one")],
    ids=["create", "drop"],
)
async def test_expressions_have_statistics(shop: Shop, spec: IndexSpec, name: str) -> None:
    """They belong to the index: one that was made, or made again, is planned with them at once. A repeated step does not gather them anew."""
    await shop.connection.execute('ANALYZE "Sales ""x"" y".orders')
    order = shop.order(spec)
    await shop.work.apply(order)
    if spec.drop:
        await shop.work.revert(order.change_id)
    assert await shop.connection.fetchval("SELECT n_distinct FROM pg_stats WHERE tablename = $1", name) == 1
    if spec.create:
        record = await shop.record(order)
        assert record is not None
        counted = "SELECT s.xmin FROM pg_statistic s JOIN pg_class c ON c.oid = s.starelid WHERE c.relname = $1"
        gathered = await shop.connection.fetchval(counted, name)
        await Indexes().apply(record, shop.site)
        assert await shop.connection.fetchval(counted, name) == gathered
        await shop.connection.execute("DELETE FROM pg_statistic WHERE starelid = (SELECT oid FROM pg_class WHERE relname = 'loud')")
        await Indexes().apply(record, shop.site)  # as after a kill between both statements
        assert await shop.connection.fetchval(counted, name) not in (gathered, None)


@pytest.mark.parametrize("spec", [CREATE, DROP], ids=["create", "drop"])
async def test_a_delivered_migration_fits_where_it_was_kept(shop: Shop, spec: IndexSpec) -> None:
    """Run on the database where the change was kept it changes nothing; its undo leads back to what was there before, and again."""
    before, order = await shop.indexes(), shop.order(spec)
    await shop.work.apply(order)
    await shop.work.keep(order.change_id)
    record, kept = await shop.record(order), await shop.indexes()
    assert record is not None and kept != before
    up, down, _ = files_of(record, "")
    for file, then in ((up, kept), (down, before), (down, before), (up, kept)):
        for statement in filter(None, file.content.split(";\n")):
            await shop.connection.execute(statement)
        assert await shop.indexes() == then


@pytest.mark.parametrize(
    ("rename", "back", "now"),
    [
        ("ALTER INDEX mine RENAME TO theirs", "ALTER INDEX theirs RENAME TO mine", "public.theirs"),
        ("CREATE SCHEMA apart; ALTER TABLE plain SET SCHEMA apart", "ALTER TABLE apart.plain SET SCHEMA public", "apart.mine"),
    ],
    ids=["name", "schema"],
)
async def test_a_renamed_index_is_told(shop: Shop, rename: str, back: str, now: str) -> None:
    """An index that somebody gave another name stands: its undo is a conflict that says where it is; one that was like it before is not
    taken for it."""
    await shop.connection.execute("CREATE INDEX twin ON plain (a)")
    order = shop.order(IndexSpec(create="CREATE INDEX mine ON plain (a)"))
    await shop.work.apply(order)
    await shop.work.keep(order.change_id)
    await shop.connection.execute(rename)
    outcome = await shop.work.revert(order.change_id)
    assert outcome.state == "conflict" and f"called {now} now" in outcome.note
    await shop.connection.execute(back)
    await shop.connection.execute("REINDEX INDEX CONCURRENTLY twin")
    assert (await shop.work.revert(order.change_id)).state == "reverted"
    assert [one["relname"] for one in await shop.indexes() if one["relname"] in ("mine", "twin")] == ["twin"]


async def test_a_renamed_index_was_not_dropped(shop: Shop) -> None:
    """Renamed between the record and the drop: it is not taken for dropped, and not made a second time by the undo."""
    order = shop.order(DROP)
    prepared = await Indexes().prepare(order, shop.site)
    record = UndoRecord(
        change_id=order.change_id, title="", target=order.target, subject=prepared.subject, spec=order.spec, undo=prepared.undo
    )
    await shop.records.add(record)
    await shop.connection.execute('ALTER INDEX "Sales ""x"" y"."old one" RENAME TO older')
    theirs = await shop.indexes()
    outcome = await shop.work.revert(order.change_id)
    assert outcome.state == "conflict" and ".older now" in outcome.note and await shop.indexes() == theirs


async def test_a_dropped_table_needs_no_undo(shop: Shop) -> None:
    """With the table its indexes are gone; the undo of a drop then has nothing to restore."""
    await shop.connection.execute("CREATE INDEX extra ON plain (a)")
    created, dropped = shop.order(IndexSpec(create="CREATE INDEX mine ON plain (b, a)")), shop.order(IndexSpec(drop="extra"))
    await shop.work.apply(created)
    await shop.work.apply(dropped)
    await shop.connection.execute("DROP TABLE plain")
    assert (await shop.work.revert(dropped.change_id)).standing.word == "gone"
    assert (await shop.work.revert(created.change_id)).standing.word == "before"


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (IndexSpec(create="CREATE INDEX i ON nowhere (a)"), "no table nowhere"),
        (IndexSpec(create="CREATE INDEX i ON plain (nothing)"), "does not exist"),
        (IndexSpec(create="CREATE INDEX i ON plain ((random()))"), "IMMUTABLE"),
        (IndexSpec(create="CREATE INDEX i ON plain (a); DROP TABLE plain"), "exactly one CREATE INDEX"),
        (IndexSpec(create="DROP TABLE plain"), "exactly one CREATE INDEX"),
        (IndexSpec(create="CREATE INDEX plain_b_key ON plain (a)"), "something named plain_b_key"),
        (IndexSpec(create="CREATE INDEX i ON plain (a) -- hm"), "comments"),
        (IndexSpec(create="CREATE INDEX ON ONLY plain (a)"), "ONLY"),
        (IndexSpec(drop="plain_b_key"), "keeps a constraint"),
        (IndexSpec(drop="none"), "no index public.none"),
        (IndexSpec(drop='"Sales ""x"" y"."old one"', keeper="public.gone"), "public.gone, which was to serve in place"),
        (IndexSpec(drop="none; DROP TABLE plain"), "name of one index"),
        (IndexSpec(drop='"none"; DROP TABLE plain --"'), "name of one index"),
    ],
)
async def test_what_cannot_be_is_refused(shop: Shop, spec: IndexSpec, reason: str) -> None:
    """Other statements, several, unknown tables and columns, constraints: refused before anything is recorded or done."""
    before = await shop.indexes()
    order = shop.order(spec)
    checked = await shop.work.check(order)
    assert not checked.passed and reason in checked.told
    with pytest.raises(ApplicationError) as refused:
        await shop.work.apply(order)
    assert refused.value.type == "TargetRefused" and reason in refused.value.message
    assert await shop.record(order) is None and await shop.indexes() == before


@pytest.mark.parametrize(
    ("index", "beside", "is_dropped"),
    [
        ("(a)", "", False),
        ("(a)", "UNIQUE INDEX other ON plain (a) WHERE a > 0", False),
        ("(a, b)", "UNIQUE INDEX other ON plain (a)", True),
        ("(a)", "UNIQUE INDEX other ON plain (a, b)", False),
        ("(a) NULLS NOT DISTINCT", "UNIQUE INDEX other ON plain (a)", False),
        ("(a) WHERE a > 5", "UNIQUE INDEX other ON plain (a) WHERE a > 5", True),
        ("(lower(t))", "UNIQUE INDEX other ON plain (t)", False),
        ("(a, b)", "INDEX other ON plain (a, b)", True),  # b alone is unique, by a constraint
        ('(t COLLATE "C", a)', "UNIQUE INDEX other ON plain (t)", False),
    ],
)
async def test_what_alone_is_unique_is_not_dropped(shop: Shop, index: str, beside: str, is_dropped: bool) -> None:
    """What came twice meanwhile would keep the undo from making it again. Where another index sees to it, nothing can."""
    if "NOT DISTINCT" in index and shop.connection.get_server_version().major < 15:
        pytest.skip("NULLS NOT DISTINCT is of PostgreSQL 15")
    await shop.connection.execute("ALTER TABLE plain ADD t text")
    for statement in filter(None, (f"UNIQUE INDEX alone ON plain {index}", beside)):
        await shop.connection.execute(f"CREATE {statement}")
    checked = await shop.work.check(shop.order(IndexSpec(drop="alone")))
    assert checked.passed == is_dropped and is_dropped != ("no other index keeps the same from coming twice" in checked.told)


async def test_an_old_transaction_is_waited_for_by_people(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build would wait for it: told with the description, and refused only when it is about to be made."""
    monkeypatch.setattr("activities.changes.indexes.OLD_TRANSACTION_S", 0.0)
    order = shop.order(CREATE)
    async with shop.connection.transaction():
        await shop.connection.execute("INSERT INTO plain VALUES (0, 0)")
        assert "the build would wait" in (await shop.work.describe(order)).warnings[0]
        assert "the build would wait" in (await shop.work.check(order)).told
    assert (await shop.work.describe(order)).warnings == () and (await shop.work.check(order)).passed


async def test_another_table_does_not_get_what_was_dropped(shop: Shop) -> None:
    """Renamed, with another table in its place: the undo of a drop says so, and makes nothing there; a column that is gone is told as well."""
    await shop.connection.execute("CREATE INDEX old ON plain (a)")
    order = shop.order(IndexSpec(drop="old"))
    await shop.work.apply(order)
    await shop.connection.execute("ALTER TABLE plain RENAME TO earlier; CREATE TABLE plain (a int)")
    before = await shop.indexes()
    outcome = await shop.work.revert(order.change_id)
    assert outcome.state == "conflict" and "called public.earlier now" in outcome.note and await shop.indexes() == before
    await shop.connection.execute("DROP TABLE plain; ALTER TABLE earlier RENAME TO plain; ALTER TABLE plain RENAME a TO aa")
    with pytest.raises(ApplicationError, match='cannot be made: column "a" does not exist'):
        await shop.work.revert(order.change_id)
    await shop.connection.execute("ALTER TABLE plain RENAME aa TO a")
    assert (await shop.work.revert(order.change_id)).state == "reverted"


async def test_ddl_must_be_allowed(shop: Shop) -> None:
    """Without "ddl" in the registry nothing is made."""
    shop.target = shop.target.model_copy(update={"allow": ("analyze",)})
    with pytest.raises(ApplicationError, match='does not allow "ddl"'):
        await shop.work.apply(shop.order(CREATE))


@pytest.mark.parametrize("spec", [CREATE, DROP], ids=["create", "drop"])
async def test_kills_at_any_instant(shop: Shop, spec: IndexSpec) -> None:
    """kill -9 while an index is made or dropped, whose session goes on in the server: afterwards pg_index is as it was."""
    await killed_at_random(shop, spec, shop.indexes, kills=KILLS // 2)  # create and drop
