"""Queries of a trial: both sides on a clone, alike in everything but the index."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import asyncpg
import pytest
from temporalio.exceptions import ApplicationError

from activities.changes.indexes import Indexes
from activities.changes.kind import Site
from activities.kept_values import KeptValues
from activities.trial_measuring.kind import Rounds
from activities.trial_measuring.kinds import kind_of
from perfwright.models.change import IndexSpec, SettingSpec
from perfwright.models.statement import StatementSample
from perfwright.models.trial import RoundPlan
from perfwright.models.trial_run import MeasuringOrder, QueriesMeasurement, TrialRequest
from perfwright.models.undo import ChangeOrder, UndoRecord
from tests.databases import TARGET, VARIABLE, database_of, fresh_database, postgres
from tests.postgres import PostgresServer

__all__ = ["postgres"]

TABLES = (
    "CREATE TABLE orders (id int PRIMARY KEY, customer int, total int) WITH (fillfactor = 70)",
    "INSERT INTO orders SELECT n, n * 7919 % 2000, n % 977 FROM generate_series(1, 20000) n",
    "VACUUM ANALYZE orders",
)
STATEMENTS = {
    "found": "SELECT sum(total) FROM orders WHERE customer = 77",
    "other": "SELECT count(*) FROM orders WHERE id = 4711",
    "moves": "UPDATE orders SET customer = customer + 1 WHERE id = 4711",
    "refused": "INSERT INTO orders VALUES (1, 1, 1)",
}
CREATE = IndexSpec(create="CREATE INDEX CONCURRENTLY orders_customer ON orders (customer, (total / 2))")
DROP = IndexSpec(drop="public.orders_customer")
PLAN = RoundPlan(first="B", core=0, hash_seed=1, padding_bytes=0, quads=())


class Measured:
    """One phase, open."""

    def __init__(self, connection: asyncpg.Connection, rounds: Rounds, site: Site) -> None:
        self.connection, self.rounds, self.site = connection, rounds, site

    async def indexes(self) -> list[tuple[Any, ...]]:
        rows = await self.connection.fetch("SELECT indexrelid, indisvalid FROM pg_index WHERE indrelid = 'orders'::regclass ORDER BY 1")
        return [tuple(row) for row in rows]


@asynccontextmanager
async def opened(
    server: PostgresServer,
    folder: Path,
    spec: IndexSpec | SettingSpec,
    *,
    applied: bool,
    kept: bool = False,
    statements: dict[str, str] = STATEMENTS,
) -> AsyncIterator[Measured]:
    """The change as it is on the target (applied, or not yet), and the rounds that measure it."""
    async with fresh_database(server, *TABLES) as connection:
        database = await database_of(connection)
        site = Site({VARIABLE: server.dsn(database)}, folder)
        if spec == DROP:
            await connection.execute("CREATE INDEX orders_customer ON orders (customer, (total / 2))")
        record = None
        if applied and isinstance(spec, IndexSpec):
            prepared = await Indexes().prepare(ChangeOrder(change_id="r/1", target=TARGET, spec=spec), site)
            record = UndoRecord(change_id="r/1", title="", target=TARGET, subject=prepared.subject, spec=spec, undo=prepared.undo)
            await Indexes().apply(record, site)
        given = {name: text for name, text in statements.items() if not kept}
        if kept:
            samples = [StatementSample(text=text, source="given", kept_as=f"here:{name}") for name, text in STATEMENTS.items()]
            KeptValues(folder).keep("here", samples)
        measurement = QueriesMeasurement(statements=given, weights=dict.fromkeys(statements, 1.0), kept_in="here" if kept else "")
        request = TrialRequest(target=TARGET, title="t", change=spec, measurement=measurement, artifact_prefix=f"p/{server.port}")
        order = MeasuringOrder(request=request, phase="trial" if applied else "noise", change_id="r/1" if applied else "")
        await connection.close()  # else a copy of its database waits five seconds for it
        async with kind_of(measurement).opened(order, record, site) as rounds:
            again = await server.connect(database)
            yield Measured(again, rounds, site)
        rows = await again.fetch("SELECT FROM pg_database WHERE datname LIKE 'perfwright_clone_%'")
        assert not rows, "its clone is gone"
        await again.close()


@pytest.mark.parametrize(("spec", "better"), [(CREATE, "B"), (DROP, "A")])
async def test_the_index_is_there_on_one_side_only(postgres: PostgresServer, tmp_path: Path, spec: IndexSpec, better: str) -> None:
    """Fewer blocks with it, the same where it is not read; what writers pay and what it takes are told; the target is left as it is. Its
    expression has statistics, as on the target: what was built for one side is not planned by a guess."""
    async with opened(postgres, tmp_path, spec, applied=True) as measured:
        known = await measured.rounds.connection.fetch("SELECT FROM pg_stats WHERE tablename = 'orders_customer'")  # type: ignore[attr-defined]
        before = await measured.indexes()
        rounds = [await measured.rounds.measure(PLAN.model_copy(update={"first": first}), n) for n, first in enumerate("BA")]
        assert rounds[0].values["blocks/found"] == rounds[1].values["blocks/found"], "blocks are the same in every round"
        found, other = rounds[0].values["blocks/found"], rounds[0].values["blocks/other"]
        wal, size = rounds[0].values["wal_bytes"], rounds[0].values["bytes"]
        with_it, without = (1, 0) if better == "B" else (0, 1)
        assert found[with_it] < 0.5 * found[without] and other[0] == other[1]
        assert wal[with_it] > wal[without] + 60 and size[with_it] > size[without]
        assert "blocks/moves" in rounds[0].values, "finding the rows of an UPDATE is measured like a query"
        assert rounds[0].values["wall_s/found"][with_it] < rounds[0].values["wall_s/found"][without]
        assert {one.name.partition(",")[0] for one in await measured.rounds.companions()} >= {"blocks", "indexes of the table"}
        assert any("refused was not executed: 23505" in note for note in measured.rounds.notes)  # type: ignore[attr-defined]
        assert await measured.indexes() == before and len(known) == 1


@pytest.mark.parametrize(("spec", "applied"), [(DROP, True), (DROP, False), (CREATE, True)])
async def test_statements_that_the_index_concerns_come_first(
    postgres: PostgresServer, tmp_path: Path, spec: IndexSpec, applied: bool
) -> None:
    """Where rounds have no room for all: those with another plan are run, before a drop was made too; of those that get no turn either,
    blocks are counted. That others were not run is told."""
    named = {f"other{number}": STATEMENTS["other"] for number in range(3)} | {
        "found": STATEMENTS["found"],
        "also": STATEMENTS["found"].replace("77", "78"),
    }
    with patch("activities.trial_measuring.queries.RUN_MOST", 1):
        async with opened(postgres, tmp_path, spec, applied=applied, statements=named) as measured:
            values = (await measured.rounds.measure(PLAN, 0)).values
            notes = measured.rounds.notes  # type: ignore[attr-defined]
    assert {name for name in values if name.startswith("wall_s/")} == {"wall_s/found"}
    assert ("blocks/also" in values) is applied, "counted, where there are two sides"
    assert not applied or values["blocks/also"][0] != values["blocks/also"][1]
    assert notes == ("3 statements were not run: the index changes nothing about their plans",)


async def test_before_the_change_both_sides_are_the_same(postgres: PostgresServer, tmp_path: Path) -> None:
    """A against A: nothing is built, nothing hidden; statements are those that the host keeps with their values."""
    async with opened(postgres, tmp_path, CREATE, applied=False, kept=True) as measured:
        values = (await measured.rounds.measure(PLAN, 0)).values
        assert values["blocks/found"][0] == values["blocks/found"][1] > 100
        assert values["wal_bytes"][0] == values["wal_bytes"][1] > 0 and values["bytes"] == (1.0, 1.0)


async def test_what_is_no_index_is_refused(postgres: PostgresServer, tmp_path: Path) -> None:
    """A setting is not switched on a clone."""
    with pytest.raises(ApplicationError, match='kind "settings" is not measured by queries'):
        async with opened(postgres, tmp_path, SettingSpec(name="work_mem", value="64MB"), applied=True):
            pass


async def test_statements_that_are_not_kept_any_more_are_told(postgres: PostgresServer, tmp_path: Path) -> None:
    """They are kept for three days, on one host."""
    measurement = QueriesMeasurement(weights={"gone": 1.0}, kept_in="elsewhere")
    request = TrialRequest(target=TARGET, title="t", change=CREATE, measurement=measurement)
    with pytest.raises(ApplicationError, match="1 statements are not kept on this host"):
        async with kind_of(measurement).opened(MeasuringOrder(request=request, phase="noise"), None, Site({}, tmp_path)):
            pass
