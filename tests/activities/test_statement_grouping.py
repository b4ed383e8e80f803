"""Grouping as an activity: from artifacts to an artifact, within the bounds of memory and of what may cross the workflow boundary."""

import asyncio
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.artifacts import ArtifactStore
from activities.compute import in_own_process
from activities.statement_grouping import StatementGrouping, grouped_from
from perfwright.analysis.statements import stored
from perfwright.analysis.statements.stored import MEDIA_TYPE, decode, encode
from perfwright.models.artifact import ArtifactRef
from perfwright.models.database import Catalog, ColumnFacts, DatabaseFacts, TableFacts
from perfwright.models.errors import ErrorType
from perfwright.models.query_performance import QueryPerformanceRequest
from perfwright.models.query_steps import GroupedStatements, GroupStatements, LogReadDone, ObservedStatements
from perfwright.models.statement import LogDigest, LoggedStatement, ObservedWindow, ServerCounters, StatementSample, StatementTable
from perfwright.models.vocabulary import Model

FACTS = DatabaseFacts(system="postgresql", version="15.1", version_number=150001, database="shop")
PREFIX = "query-performance-analysis/shop-db/run/1"
CATALOG = Catalog(
    database="shop", tables=(TableFacts(schema_name="public", name="orders", columns=(ColumnFacts(name="id", type="integer"),)),)
)


def counted(text: str, total_ms: float) -> ServerCounters:
    return ServerCounters(query_id=str(total_ms), database="shop", text=text, calls=1, total_ms=total_ms)


def window(*statements: ServerCounters) -> ObservedWindow:
    return ObservedWindow(seconds=60.0, started_at="", source="pg_stat_statements", statements=statements)


class Grouping:
    """The activity on a store of its own."""

    def __init__(self, folder: Path) -> None:
        self.store = ArtifactStore(f"file://{folder}/artifacts")
        self.beats: list[object] = []

    async def keep(self, name: str, model: Model) -> ArtifactRef:
        return await self.store.put(f"{PREFIX}/{name}.json.gz", encode(model), MEDIA_TYPE)

    async def run(
        self, seen: ObservedWindow | None = None, log: LogDigest | None = None, *, given: tuple[str, ...] = (), **fields: object
    ) -> GroupedStatements:
        request = GroupStatements(
            request=QueryPerformanceRequest.model_validate({"target": "shop-db"} | fields),
            database=FACTS,
            observed=ObservedStatements(window=await self.keep("window", seen)) if seen else None,
            log=LogReadDone(digest=await self.keep("log", log)) if log else None,
            catalog=await self.keep("catalog", CATALOG),
            given=given,
            artifact_prefix=PREFIX,
        )
        environment = ActivityEnvironment()
        environment.on_heartbeat = lambda *details: self.beats.append(details[0])
        return await environment.run(StatementGrouping(self.store).group_statements, request)

    async def table(self, grouped: GroupedStatements) -> StatementTable:
        return decode(StatementTable, await self.store.get(grouped.table))


@pytest.fixture
def grouping(tmp_path: Path) -> Grouping:
    return Grouping(tmp_path)


async def test_from_every_source_to_one_table(grouping: Grouping) -> None:
    """Counters, log and given SQL become one artifact; the answer has the costliest, the chosen ones, and what was not seen."""
    text = "SELECT id FROM orders WHERE id = $1"
    sample = StatementSample(text="SELECT id FROM orders WHERE id = 5", duration_ms=3.0, source="log")
    log = LogDigest(statements=(LoggedStatement(fingerprint="0" * 16, text=sample.text, calls=1, total_ms=3.0, samples=(sample,)),))
    seen = window(counted(text, 90.0), counted("BEGIN", 10.0), counted("SELECT 'cut", 1.0))
    grouped = await grouping.run(
        seen, log, given=("SELECT count(*) FROM orders",), statements=("DELETE FROM orders",), add_fingerprints=("0" * 16,)
    )
    table = await grouping.table(grouped)
    assert (grouped.statements, grouped.unreadable, grouped.total_ms) == (5, 1, 101.0)
    assert [one.text for one in grouped.top[:3]] == [text, "BEGIN", "SELECT ?"]
    assert {one.text for one in grouped.top[3:]} == {"SELECT count(*) FROM orders", "DELETE FROM orders"}
    by_text = {one.text: one for one in table.statements}
    assert grouped.chosen[0] == by_text[text].fingerprint
    assert set(grouped.chosen) == {by_text[one].fingerprint for one in (text, "SELECT count(*) FROM orders", "DELETE FROM orders")}
    assert grouped.unknown_fingerprints == ("0" * 16,)
    assert grouped.chosen_share == pytest.approx(90 / 101)
    assert (by_text[text].samples, by_text[text].safety) == ((sample,), "reads only")
    assert grouped.table.media_type == MEDIA_TYPE


async def test_without_any_source(grouping: Grouping) -> None:
    """A database that shows nothing gives an empty table, not an error."""
    grouped = await grouping.run()
    assert (grouped.statements, grouped.chosen, grouped.top) == (0, (), ())


async def test_same_input_gives_the_same_artifact(grouping: Grouping) -> None:
    """A repeated attempt writes the same bytes."""
    seen = window(*(counted(f"SELECT id FROM orders WHERE id + {number} > a{'b' * number}", float(number)) for number in range(1, 30)))
    assert (await grouping.run(seen)).table == (await grouping.run(seen)).table


async def test_answer_is_bounded(grouping: Grouping) -> None:
    """Whatever was seen, the answer stays below 200 KiB."""
    texts = [f"SELECT c{number} /* {chr(1) * 3000}é */ FROM orders" for number in range(700)]
    seen = window(*(counted(text, 1.0) for text in texts))
    grouped = await grouping.run(seen, top=500, min_share=0.0, add_fingerprints=tuple(f"{number:016x}" for number in range(500)))
    assert len(grouped.model_dump_json().encode()) < 200 * 1024
    assert len(grouped.top) == 40
    assert len(grouped.chosen) == 500


async def test_a_source_that_is_too_large_is_refused(grouping: Grouping, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What would not fit into memory is told with a way out."""
    path = tmp_path / "window"
    path.write_bytes(encode(window(counted("SELECT " + "1" * 2_000, 1.0))))
    monkeypatch.setattr(stored, "MAX_DECODED_BYTES", 1_000)
    with pytest.raises(stored.DocumentTooLarge):
        grouped_from(str(path), "", "", (), FACTS, QueryPerformanceRequest(target="shop-db"))
    monkeypatch.undo()

    async def too_large(*_: object, **__: object) -> None:
        raise stored.DocumentTooLarge("an ObservedWindow of more than 256 MiB is not read")

    monkeypatch.setattr("activities.statement_grouping.in_own_process", too_large)
    with pytest.raises(ApplicationError, match="Observe for a shorter time") as error:
        await grouping.run(window(counted("SELECT 1", 1.0)))
    assert error.value.type == ErrorType.OUTPUT_TOO_LARGE


async def test_thousands_of_statements_in_bounded_memory(tmp_path: Path) -> None:
    """5,000 different statements of 2 kB take less than 300 MB, and none is lost."""

    def text(number: int) -> str:
        conditions = " AND ".join(f"(o.column_{at} = $1 OR coalesce(o.other_{at}, lower(o.name_{at})) LIKE 'x%')" for at in range(22))
        return f"SELECT o.id, o.total_{number}, sum(o.amount) AS amount FROM orders o WHERE {conditions} GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 10"

    assert len(text(1)) > 1_700
    path = tmp_path / "window"
    await asyncio.to_thread(path.write_bytes, encode(window(*(counted(text(number), float(number)) for number in range(5_000)))))
    request = QueryPerformanceRequest(target="shop-db", top=500, min_share=0.0)
    data, grouped = await in_own_process(grouped_from, str(path), "", "", (), FACTS, request, memory_bytes=300 << 20)
    assert (grouped.statements, len(grouped.chosen)) == (5_000, 500)
    assert len(decode(StatementTable, data).statements) == 5_000
