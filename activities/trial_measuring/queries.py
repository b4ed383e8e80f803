"""Statements in turns, with and without an index, on a clone of the database where it is hidden from the planner or shown to it.

An index cannot be switched on and off on the target itself without building it anew. So a clone is made of the target as it stands; what
one side has and the other has not is there once, hidden or shown within a millisecond. Each round runs every statement in the order ABBA.
Blocks (found in the cache and read) and WAL are the same in every run, and tell what times are too noisy for.

In the phase `noise` nothing is changed yet: both sides are the clone as it is.
"""

import math
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from activities.changes.index_facts import find_index, gather_statistics
from activities.changes.kind import Site
from activities.database_clones import DatabaseClone, database_clone
from activities.errors import refuse
from activities.index_clone import Executed, IndexClone, Written
from activities.kept_values import KeptValues
from activities.postgres_connection import connected
from activities.trial_measuring.kind import Round, Rounds
from perfwright.analysis.changes.index_statements import read_create, read_name
from perfwright.analysis.indexes.column_uses import Unresolved
from perfwright.analysis.indexes.plan_shapes import plan_shape
from perfwright.analysis.indexes.selection import NONE
from perfwright.analysis.indexes.workload import rows_searched
from perfwright.analysis.query_advice.identifiers import qualified
from perfwright.models.change import IndexSpec
from perfwright.models.errors import ErrorType
from perfwright.models.index_steps import ClonePlan
from perfwright.models.statement import StatementSample
from perfwright.models.trial import RoundPlan, Side
from perfwright.models.trial_run import Companion, MeasuringOrder, QueriesMeasurement, TrialRequest
from perfwright.models.undo import UndoRecord
from perfwright.models.undo_data import IndexUndo

if TYPE_CHECKING:
    import asyncpg

WALL, BLOCKS, WAL, BYTES = "wall_s", "blocks", "wal_bytes", "bytes"
LEAST_MS = 20.0
"""Of a statement's runs per side and half round: quicker ones are run several times, and their mean is one value."""
REPEATED_MOST = 20
RUN_MOST = 30
"""Statements that a round runs: those whose plan the index changes come first..."""
COUNTED_S = 30.0
"""...and of the rest of those, blocks are counted once, for at most so long."""
_BYTES = "SELECT pg_catalog.pg_indexes_size($1::bigint::oid)"
_TABLE = "SELECT pg_catalog.to_regclass($1)::oid::bigint"
_TOGGLE = "UPDATE pg_catalog.pg_index SET indisvalid = $2 WHERE indexrelid = $1::bigint::oid"


class QueriesOnClones:
    """Metrics `wall_s/NAME` and `blocks/NAME` of each statement that reads; `wal_bytes` of those that write together, rolled back; `bytes`
    of all indexes of the table."""

    spec: ClassVar = QueriesMeasurement

    @asynccontextmanager
    async def opened(self, order: MeasuringOrder, record: UndoRecord | None, site: Site) -> AsyncIterator[Rounds]:
        measurement = order.request.measurement
        assert isinstance(measurement, QueriesMeasurement), "the kind is chosen by its spec"
        if not isinstance(order.request.change, IndexSpec):
            raise refuse(
                ErrorType.INVALID_INPUT,
                f'a change of kind "{order.request.change.kind}" is not measured by queries on a clone: indexes are',
            )
        plan = ClonePlan(
            target=order.request.target,
            dsn_env=measurement.clone_dsn_env,
            owner=f"{order.request.artifact_prefix} {order.change_id}",
            limit_mb=measurement.clone_limit_mb,
            limit_s=measurement.clone_limit_s,
            role=measurement.role,
        )
        samples = _statements(measurement, site)
        async with (
            database_clone(plan, order.phase, site.environ, site.state_folder / "dumps") as clone,
            connected(clone.target, clone.environ, read_only=False) as connection,
        ):
            yield await _Clone.opened(clone, connection, samples, order.request, record)


def _statements(measurement: QueriesMeasurement, site: Site) -> dict[str, str]:
    """By name, with their values."""
    if measurement.statements_artifact is not None:
        raise refuse(
            ErrorType.INVALID_INPUT, "statements_artifact: statements are taken from `statements`, or from where the host keeps them"
        )
    texts = dict(measurement.statements)
    if measurement.kept_in:
        kept = KeptValues(site.state_folder)
        for name in measurement.weights:
            found = kept.sample(StatementSample(text="", source="given", kept_as=f"{measurement.kept_in}:{name}"))
            if found is not None:
                texts[name] = found.text
        if missing := [name for name in measurement.weights if name not in texts]:
            raise refuse(
                ErrorType.INVALID_INPUT,
                f"{len(missing)} statements are not kept on this host (any more): {', '.join(missing[:5])}",
                way_out="Run the process again: values are kept for three days, on the host where they were read",
            )
    return texts


def _search_of(text: str) -> str:
    """Of an UPDATE or DELETE, the SELECT that finds its rows: an index may help that."""
    try:
        return rows_searched(text)
    except Unresolved:
        return ""


@dataclass
class _Clone:
    """The clone with both sides."""

    clone: IndexClone
    connection: "asyncpg.Connection"
    reads: tuple[str, ...]
    """Names; their numbers are those of the clone's texts."""
    weights: Mapping[str, float]
    statement_limit_ms: float
    build_limit_s: float
    index: int | None = None
    """Of the index that makes the difference; None: there is none."""
    shown_on: Side = "B"
    constants: dict[str, tuple[float, float]] = field(default_factory=dict)
    """What is the same in every round."""
    notes: tuple[str, ...] = ()
    _run: tuple[int, ...] = ()
    """Numbers of the statements that a round runs."""
    _shown: bool = True
    _cut: dict[tuple[int, Side], float] = field(default_factory=dict)
    _blocks: dict[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    async def opened(
        cls,
        made: DatabaseClone,
        connection: "asyncpg.Connection",
        texts: Mapping[str, str],
        request: TrialRequest,
        record: UndoRecord | None,
    ) -> "_Clone":
        from perfwright.analysis.statements.parsing import Unreadable, syntax_tree

        def is_read(text: str) -> bool:
            try:
                return next(iter(syntax_tree(text))) == "SelectStmt"
            except Unreadable:
                return False

        reads = {name: text for name, text in texts.items() if is_read(text)}
        writes = {name: text for name, text in texts.items() if name not in reads}
        for name, text in writes.items():
            if searching := _search_of(text):
                reads[name] = searching
        measurement = request.measurement
        assert isinstance(measurement, QueriesMeasurement), "the kind is chosen by its spec"
        clone = IndexClone(made.target, connection, tuple(reads.values()), measurement.statement_limit_s)
        await clone.build((), ())  # sets the bound of every statement
        both = cls(clone, connection, tuple(reads), measurement.weights, measurement.statement_limit_s * 1000, measurement.clone_limit_s)
        both.notes = made.warnings
        if record is None:
            written, refused = await both._written(writes)
            both.constants = {WAL: (written, written)} if writes and written else {}
            both.constants[BYTES] = (1.0, 1.0)
            going = await _going(connection, request)
        else:
            assert isinstance(record.undo, IndexUndo), "an index was changed"
            refused = await both._two_sides(record.undo, writes)
            going = both.index
        both.notes += refused
        await both._choose(going)
        return both

    async def _choose(self, index: int | None) -> None:
        """Which statements rounds run: those whose plan this index changes, then others, in the order given, in which the heaviest come
        first. Where all would not get a turn, of the first ones the rest are counted."""
        changed = await self._changed(index) if index is not None and len(self.reads) > RUN_MOST else []
        ordered = list(dict.fromkeys((*changed, *range(len(self.reads)))))
        self._run = tuple(ordered[:RUN_MOST])
        if (unchanged := len(ordered) - max(len(changed), RUN_MOST)) > 0:
            self.notes += (f"{unchanged} statements were not run" + (": the index changes nothing about their plans" if changed else ""),)
        if self.index is not None:
            await self._count(changed[RUN_MOST:])

    async def _changed(self, index: int) -> list[int]:
        """Statements whose plan is another where the index is hidden."""
        shapes: dict[bool, list[str]] = {}
        for shown in (False, True):
            await self.connection.execute(_TOGGLE, index, shown)
            shapes[shown] = [plan_shape(await self.clone.plan(query, NONE)) for query in range(len(self.reads))]
        return [query for query, (hidden, there) in enumerate(zip(shapes[False], shapes[True], strict=True)) if hidden != there]

    async def _count(self, queries: Sequence[int]) -> None:
        """Blocks of both sides, which are the same in every round."""
        until = time.monotonic() + COUNTED_S
        for number, query in enumerate(queries):
            if time.monotonic() > until:
                self.notes += (f"{len(queries) - number} statements with other plans were neither run nor counted",)
                return
            blocks: dict[Side, int] = {}
            for side in ("A", "B"):
                await self._switch(side)
                ran = await self.clone.run(query, NONE)
                blocks[side] = ran.blocks if ran is not None else 0
            if min(blocks.values()) > 0:
                name = self.reads[query]
                self.constants[f"{BLOCKS}/{name}"] = self._blocks[name] = (float(blocks["A"]), float(blocks["B"]))

    async def _two_sides(self, undo: IndexUndo, writes: Mapping[str, str]) -> tuple[str, ...]:
        """The clone has what the target has: with the change. What writes cost is measured in both states, and then the index is there."""
        full = qualified(undo.schema_name, undo.name)
        found = await find_index(self.connection, undo.schema_name, undo.name)
        creates = undo.action == "create"
        if (found is None) is creates:
            raise refuse(ErrorType.TOOL_FAILED, f"{full} is {'not ' if creates else ''}on the clone: the target was changed meanwhile")
        build = undo.statement.replace(" INDEX CONCURRENTLY ", " INDEX ", 1)
        relation = await self._table_of(undo)
        after, refused = await self._written(writes)
        bytes_after = float(await self.connection.fetchval(_BYTES, relation))
        if creates:
            await self.connection.execute(f"DROP INDEX {full}")
        else:
            await self._build(build, undo)
        before, _ = await self._written(writes)
        bytes_before = float(await self.connection.fetchval(_BYTES, relation))
        if creates:
            await self._build(build, undo)
        again = await find_index(self.connection, undo.schema_name, undo.name)
        assert again is not None, "it was just built"
        self.index, self.shown_on = again.oid, "B" if creates else "A"
        if writes and before and after:
            self.constants[WAL] = (before, after)
        self.constants[BYTES] = (max(bytes_before, 1.0), max(bytes_after, 1.0))
        return refused

    async def _build(self, statement: str, undo: IndexUndo) -> None:
        await self.connection.execute(f"SET statement_timeout = {round(self.build_limit_s * 1000)}")
        await self.connection.execute(statement)
        await gather_statistics(self.connection, undo.schema_name, undo.name)
        await self.clone.build((), ())  # sets the bound of every statement again

    async def _table_of(self, undo: IndexUndo) -> int:
        """A clone by dump has other numbers than the target."""
        statement = read_create(undo.statement)
        name = qualified(statement.schema_name, statement.table)
        found = await self.connection.fetchval(_TABLE, name)
        if found is None:
            raise refuse(ErrorType.TOOL_FAILED, f"{name} is not on the clone: the target was changed meanwhile")
        return int(found)

    async def _written(self, writes: Mapping[str, str]) -> tuple[float, tuple[str, ...]]:
        """WAL of all of them, weighted, and which the server refuses; each is executed twice, because the first writes whole pages."""
        from asyncpg.exceptions import PostgresError

        total, refused = 0.0, []
        for name, text in writes.items():
            try:
                written: Written | None = None
                for _ in range(2):
                    written = await self.clone.write(text, frozenset())
            except PostgresError as trouble:
                refused.append(f"{name} was not executed: {trouble.sqlstate} {type(trouble).__name__}")
                continue
            total += self.weights.get(name, 1.0) * (written.bytes if written else 0)
        return total, tuple(refused)

    async def measure(self, plan: RoundPlan, number: int) -> Round:
        """Every statement ABBA or BAAB."""
        began = time.monotonic()
        values: dict[str, tuple[float, float]] = dict(self.constants)
        other: Side = "B" if plan.first == "A" else "A"
        for query in self._run:
            name = self.reads[query]
            times: dict[Side, list[float]] = {"A": [], "B": []}
            blocks: dict[Side, int] = {"A": 0, "B": 0}
            for side in (plan.first, other, other, plan.first):
                if (query, side) in self._cut and times[side]:
                    continue
                ms, blocks[side] = await self._mean_ms(query, side)
                times[side].append(ms)
            values[f"{WALL}/{name}"] = (_mean(times["A"]) / 1000, _mean(times["B"]) / 1000)
            if min(blocks.values()) > 0:
                values[f"{BLOCKS}/{name}"] = (float(blocks["A"]), float(blocks["B"]))
                self._blocks[name] = values[f"{BLOCKS}/{name}"]
        return Round(values=values, wall_s=time.monotonic() - began)

    async def _mean_ms(self, query: int, side: Side) -> tuple[float, int]:
        """Of enough runs; one that was cut off is not run again: it takes longer than the bound, and that is all there is to know."""
        if (known := self._cut.get((query, side))) is not None:
            return known, 0
        await self._switch(side)
        first = await self.clone.run(query, frozenset())
        if first is None:
            self._cut[query, side] = self.statement_limit_ms
            self.notes = (*self.notes, f"{self.reads[query]} was cut off after {self.statement_limit_ms / 1000:g} s on side {side}")
            return self.statement_limit_ms, 0
        runs: list[Executed] = [first]
        while len(runs) < min(REPEATED_MOST, math.ceil(LEAST_MS / max(first.ms, 0.01))):
            if (more := await self.clone.run(query, frozenset())) is None:
                break
            runs.append(more)
        # Beyond the first: that one pays for what the other side left in the caches.
        counted = runs[1:] or runs
        return max(_mean([one.ms for one in counted]), 0.001), first.blocks

    async def _switch(self, side: Side) -> None:
        shown = side == self.shown_on
        if self.index is not None and shown is not self._shown:
            await self.connection.execute(_TOGGLE, self.index, shown)
            self._shown = shown

    async def companions(self) -> tuple[Companion, ...]:
        found = []
        if self._blocks:
            a, b = (math.fsum(self.weights.get(name, 1.0) * pair[side] for name, pair in self._blocks.items()) for side in (0, 1))
            found.append(Companion(name="blocks, hit and read, by weight", unit="blocks", a=a, b=b))
        if WAL in self.constants:
            found.append(Companion(name="WAL of the writes, by weight", unit="bytes", a=self.constants[WAL][0], b=self.constants[WAL][1]))
        if self.index is not None:
            found.append(Companion(name="indexes of the table", unit="bytes", a=self.constants[BYTES][0], b=self.constants[BYTES][1]))
        return tuple(found)


async def _going(connection: "asyncpg.Connection", request: TrialRequest) -> int | None:
    """The index that is to be dropped, before it is: it tells which statements it concerns. None of one that is to be made."""
    if not isinstance(request.change, IndexSpec) or not request.change.drop:
        return None
    found = await find_index(connection, *read_name(request.change.drop))
    return found.oid if found is not None else None


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
