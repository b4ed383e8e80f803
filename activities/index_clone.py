"""Index sets on a disposable clone: all indexes built once and hidden, shown in any combination within a millisecond, and timed.

`UPDATE pg_index SET indisvalid = false` hides an index from the planner at once, and its size is exact (found by experiment on 15 to 18).
That is a superuser's change of the catalog: never on a database that anybody else uses.
"""

import json
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from activities.errors import refuse
from perfwright.analysis.explaining.plan_answers import Plan, execution_ms, index_names, shared_blocks, total_cost
from perfwright.analysis.explaining.sql_texts import sendable
from perfwright.analysis.indexes.definitions import IndexDefinition
from perfwright.analysis.indexes.measured_search import Measuring, OutOfTime, Shape, ShapeQuestion, Timed, TimeQuestion
from perfwright.analysis.indexes.plan_shapes import plan_shape
from perfwright.analysis.indexes.selection import NONE, Indexes
from perfwright.models.errors import ErrorType
from perfwright.models.registry_checks import PRODUCTION
from perfwright.models.target import Target

if TYPE_CHECKING:
    import asyncpg

T = TypeVar("T")
PAIRS, DOUBTED_PAIRS = 3, 6
"""...where the query seems to be slower: that decides about an index."""
DOUBTED = 1.03
CUT_OFF_GAIN = 50.0
CLEAR = 2.0
"""A ratio beyond it either way needs no further pair to be believed."""
CLEAR_IN_TWO = 1.25
"""...and one beyond this no third: measuring time is for close calls."""
RECENT_S = 15.0
"""For so long a run without indexes counts for the next plans of its query too, until doubt asks for pairs side by side."""
MANY_TIMES_SLOWER = 3.0
"""A run that takes so much longer than one without indexes is ended: how much slower does not matter..."""
PLANNING_MS = 50.0
"""...and planning, which comes on top of what is compared, may take as long as a short query."""
_EXECUTED = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) "
_WRITTEN = "EXPLAIN (ANALYZE, WAL, TIMING OFF, FORMAT JSON) "
_UPDATED = "SELECT coalesce(sum(n_tup_upd), 0), coalesce(sum(n_tup_hot_upd), 0) FROM pg_catalog.pg_stat_xact_user_tables"


@dataclass(frozen=True)
class BuiltIndex:
    """An index of the clone."""

    oid: int
    name: str
    bytes: int


@dataclass(frozen=True)
class Executed:
    """One run of a query."""

    ms: float
    blocks: int
    """Shared blocks hit and read."""


@dataclass(frozen=True)
class Written:
    """What one write put into the WAL, the same in every run but for full-page images."""

    records: int
    bytes: int
    full_page_images: int
    updated: int = 0
    hot: int = 0
    """Of the updated rows, those that stayed on their page's chain."""


class IndexClone:
    """`connection` (of `connected(..., read_only=False)`, as superuser) leads to the clone; `cut_off_s` bounds every run of a query."""

    def __init__(self, target: Target, connection: "asyncpg.Connection", texts: Sequence[str], cut_off_s: float) -> None:
        if target.environment == PRODUCTION:
            raise refuse(ErrorType.TARGET_REFUSED, f"{target.title} is in production, and a clone's catalog is changed")
        self._connection, self._texts, self._cut_off_s = connection, [sendable(text) for text in texts], cut_off_s
        self.built: dict[IndexDefinition, BuiltIndex] = {}
        self.refused: dict[IndexDefinition, str] = {}
        self._shown: Indexes = NONE
        self._cut: set[int] = set()
        self._without: dict[int, list[tuple[float, float]]] = {}
        """Of each query, when it ran without any index, and how many milliseconds that took."""

    @property
    def cut_off_ms(self) -> float:
        """Bound of every run."""
        return self._cut_off_s * 1000

    async def build(
        self, definitions: Collection[IndexDefinition], taken: Collection[str], goes_on: Callable[[], bool] = lambda: True
    ) -> Mapping[IndexDefinition, BuiltIndex]:
        """Build in this order while `goes_on`, each hidden at once; what the server refuses is in `refused`. `taken`: names of relations
        there are. Trigram indexes need the extension pg_trgm, which the clone gets where it can."""
        from asyncpg.exceptions import PostgresError

        names = set(taken)
        await self._connection.execute(f"SET statement_timeout = {round(self._cut_off_s * 30_000)}; SET maintenance_work_mem = '256MB'")
        for one in definitions:
            if one in self.built or not goes_on():
                continue
            name = one.name(names)
            try:
                if one.trigrams:
                    await self._connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
                await self._connection.execute(one.ddl(name))
            except PostgresError as refused:
                self.refused[one] = str(refused)
                continue
            row = await self._connection.fetchrow(
                "UPDATE pg_index SET indisvalid = false FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                " WHERE indexrelid = c.oid AND n.nspname = $1 AND c.relname = $2 RETURNING c.oid::int8, pg_relation_size(c.oid)",
                one.schema_name,
                name,
            )
            assert row is not None, "it was created just now"
            self.built[one] = BuiltIndex(row[0], name, row[1])
        for table in {(one.schema_name, one.table_name) for one in self.built if one.expression}:
            await self._connection.execute("ANALYZE " + ".".join('"' + part.replace('"', '""') + '"' for part in table))
        await self._connection.execute(f"SET statement_timeout = {round(self._cut_off_s * 1000)}")
        return self.built

    async def show(self, indexes: Indexes) -> None:
        """Exactly these are there for the planner."""
        changed = [self.built[one].oid for one in indexes ^ self._shown]
        if changed:
            await self._connection.execute(
                "UPDATE pg_index SET indisvalid = NOT indisvalid WHERE indexrelid = ANY($1::int8[]::oid[])", changed
            )
            self._shown = indexes

    async def plan(self, query: int, indexes: Indexes) -> Plan:
        """As the planner sees it with these indexes; not executed."""
        await self.show(indexes)
        return _first(await self._connection.fetchval(f"EXPLAIN (FORMAT JSON) {self._texts[query]}"))

    async def run(self, query: int, indexes: Indexes, within_ms: float = math.inf) -> Executed | None:
        """Execute once; None where it was cut off, at `within_ms` if that is earlier than for all."""
        from asyncpg.exceptions import QueryCanceledError

        await self.show(indexes)
        earlier = within_ms < self.cut_off_ms
        if earlier:
            await self._connection.execute(f"SET statement_timeout = {math.ceil(within_ms)}")
        try:
            plan = _first(await self._connection.fetchval(_EXECUTED + self._texts[query]))
        except QueryCanceledError:
            return None
        finally:
            if earlier:
                await self._connection.execute(f"SET statement_timeout = {round(self.cut_off_ms)}")
        return Executed(execution_ms(plan) or 0.0, shared_blocks(plan) or 0)

    async def write(self, text: str, indexes: Indexes) -> Written:
        """Execute a write and roll it back: what it put into the WAL."""
        await self.show(indexes)
        transaction = self._connection.transaction()
        await transaction.start()
        try:
            # The server tells of the transaction what the session has not reported yet, earlier ones included.
            before = await self._connection.fetchrow(_UPDATED)
            plan = _first(await self._connection.fetchval(_WRITTEN + sendable(text)))
            after = await self._connection.fetchrow(_UPDATED)
        finally:
            await transaction.rollback()
        assert before is not None and after is not None, "an aggregate has one row"
        told, updated, hot = plan["Plan"], int(after[0] - before[0]), int(after[1] - before[1])
        return Written(int(told.get("WAL Records", 0)), int(told.get("WAL Bytes", 0)), int(told.get("WAL FPI", 0)), updated, hot)

    async def forget(self, definitions: Collection[IndexDefinition]) -> None:
        """Drop what is not wanted any more: hidden ones are kept up by every write."""
        await self.show(NONE)
        for one in definitions:
            name = ".".join('"' + part.replace('"', '""') + '"' for part in (one.schema_name, self.built.pop(one).name))
            await self._connection.execute(f"DROP INDEX {name}")

    async def answer(self, search: Measuring[T], until: float) -> T:
        """Run a search to its end, or until `time.monotonic()` is `until`."""
        try:
            question = next(search)
            while True:
                answer = await self._answered(question, until) if time.monotonic() < until else None
                # What time cut short is no answer.
                question = search.throw(OutOfTime()) if answer is None or time.monotonic() > until else search.send(answer)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]

    async def _answered(self, question: ShapeQuestion | TimeQuestion, until: float) -> Shape | Timed:
        if isinstance(question, TimeQuestion):
            return Timed(await self.ratio(question.query, question.indexes, until))
        plan = await self.plan(question.query, question.indexes)
        read = index_names(plan)
        return Shape(plan_shape(plan), total_cost(plan), frozenset(one for one in question.indexes if self.built[one].name in read))

    async def ratio(self, query: int, indexes: Indexes, until: float = math.inf) -> float:
        """Time with the indexes over time without, the quickest of up to PAIRS runs on each side, in turns where none without is recent:
        whatever disturbs only slows. A query that is cut off without them is only known to take longer, so its gain counts up to
        CUT_OFF_GAIN."""
        with_them: list[float] = []
        without = [ms for ended, ms in self._without.get(query, ())[-PAIRS:] if time.monotonic() - ended < RECENT_S]
        for number in range(DOUBTED_PAIRS):
            bound_ms = min(self.cut_off_ms, MANY_TIMES_SLOWER * min(without, default=math.inf) + PLANNING_MS)
            one = await self.run(query, indexes, min(bound_ms, _left_ms(until)))
            with_them.append(one.ms if one else bound_ms)
            if query in self._cut:
                without = [self.cut_off_ms]
            elif len(without) <= number or number >= PAIRS:
                without.append(await self._run_without(query, until))
            ratio = min(with_them) / min(without)
            # The first run reads what no run before it needed: what looks much slower is tried once more.
            clear = ratio < 1 / CLEAR or (number > 0 and not 1 / CLEAR_IN_TWO < ratio < CLEAR_IN_TWO)
            both_cut = one is None and query in self._cut
            if time.monotonic() > until or clear or both_cut or (number + 1 >= PAIRS and ratio < DOUBTED):
                break
        return max(ratio, 1 / CUT_OFF_GAIN) if query in self._cut else ratio

    async def _run_without(self, query: int, until: float) -> float:
        """Milliseconds without any index, kept for a while; the bound where it was cut off, which is kept for good."""
        found = await self.run(query, NONE, _left_ms(until))
        if found is not None:
            self._without.setdefault(query, []).append((time.monotonic(), found.ms))
            return found.ms
        if time.monotonic() < until:
            self._cut.add(query)
        return self.cut_off_ms


def _left_ms(until: float) -> float:
    """Until this moment of `time.monotonic()`; what is cut short by it is no answer."""
    return max(1.0, (until - time.monotonic()) * 1000)


def _first(answer: str) -> Plan:
    return dict(json.loads(answer)[0])
