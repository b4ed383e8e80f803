"""A clone of statistics beside the database it was made of: are its plans, costs and advice the same? TPC-H, and TPC-DS on request.

    PERFWRIGHT_INDEX_WORKLOADS="tpc_h tpc_ds" python -m benchmarks statistics_clone

All of it are counts and costs, the same in every run, but for the measured strategy that the unverified list is held against: that one is
chosen and verified by time, as `index_advice` does it.
"""

import asyncio
import math
import os
import random
import re
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from activities.index_clone import IndexClone
from activities.index_measuring import choose_by_measuring, verify
from activities.index_what_ifs import IndexWhatIfs
from activities.postgres_catalog import read_catalog_of
from activities.postgres_connection import connected
from activities.postgres_explain_session import PlanSession, Timeouts
from activities.postgres_explain_what_ifs import HypotheticalIndexes
from activities.statistics_clones import StatisticsClone, statistics_clone
from benchmarks.index_advice import BUDGET_BYTES, DSN, MEASURE_S, SEED, SETTINGS, VERIFY_S, copy_of, drop_copy
from benchmarks.index_results import CUT_OFF_S, SLOW_CUT_OFF_S
from benchmarks.index_workloads import Statements, tpc_ds, tpc_h
from benchmarks.measured import Measured
from perfwright.analysis.explaining.plan_answers import read_plan, total_cost
from perfwright.analysis.indexes.definitions import IndexDefinition
from perfwright.analysis.indexes.plan_shapes import plan_shape
from perfwright.analysis.indexes.selection import NONE, Found, Indexes, select
from perfwright.analysis.indexes.unverified import Bounds, Estimated, WriteVolumes, estimate
from perfwright.analysis.indexes.workload import Workload, read_workload
from perfwright.models.database import Catalog, DatabaseFacts
from perfwright.models.index_steps import ClonePlan
from perfwright.models.target import Target
from tests.postgres import PostgresServer, server_programs, start_postgres

SETS, OF_A_SET = 12, 8
LEAST_GAIN_SHARE = 0.05
HYPOTHETICAL = re.compile(r"<\d+>")
CLOSE = 0.05


@dataclass(frozen=True)
class Planned:
    """What one server's planner says."""

    shapes: tuple[str, ...]
    costs: tuple[float, ...]


@dataclass(frozen=True)
class Side:
    """The database, or its clone of statistics."""

    bare: Planned
    sets: tuple[Planned, ...]
    """With each set of hypothetical indexes."""
    found: Found
    judged: Estimated


async def measure() -> list[Measured]:
    programs = server_programs()
    if programs is None:
        return [Measured("statistics clone", None, "", note="PostgreSQL is not installed (Debian: postgresql)")]
    chosen = os.environ.get("PERFWRIGHT_INDEX_WORKLOADS", "tpc_h").split()
    found: list[Measured] = []
    with start_postgres(programs, SETTINGS) as server:
        for made, title in ((tpc_h, "TPC-H"), (tpc_ds, "TPC-DS")):
            if made.__name__ in chosen:
                found += await compared(server, await made(server), title)
    return found


async def compared(server: PostgresServer, statements: Statements, title: str) -> list[Measured]:
    """Both sides, and the measured strategy beside the unverified list."""
    target = Target(name=statements.database, kind="postgresql", environment="lab", dsn_env=DSN, allow=("profile", "analyze", "ddl"))
    environ = {DSN: server.dsn(statements.database)}
    async with connected(target, environ) as connection:
        catalog = await read_catalog_of(connection)
    workload = read_workload(statements.texts, statements.weights, catalog, BUDGET_BYTES)
    plain = [one for one in workload.candidates if one.plain]
    drawn = random.Random(SEED)
    sets = [frozenset(drawn.sample(plain, OF_A_SET)) for _ in range(SETS)]
    real = await _side(target, environ, workload, catalog, sets)
    plan = ClonePlan(target=target, owner="benchmark")
    tables = {(one.schema_name, one.name) for one in catalog.tables}
    with tempfile.TemporaryDirectory(prefix="perfwright-") as folder:
        async with statistics_clone(plan, tables, environ, Path(folder)) as clone:
            copy = await _side(clone.target, clone.environ, workload, catalog, sets)
    measured = await _measured_strategy(server, statements, target, catalog, real.found)
    return told(title, clone, real, copy, measured)


async def _side(target: Target, environ: Mapping[str, str], workload: Workload, catalog: Catalog, sets: Sequence[Indexes]) -> Side:
    async with connected(target, environ, read_only=False) as connection:
        version = connection.get_server_version()
        facts = DatabaseFacts(system="postgresql", version="", version_number=version.major * 10_000, database=target.name)
        session = await PlanSession(connection, facts, Timeouts(SLOW_CUT_OFF_S, 1.0)).open()
        what_ifs = await IndexWhatIfs.find(session, workload.texts)
        bare, *with_sets = [await _planned(session, workload, one) for one in (NONE, *sets)]
        found = await what_ifs.answer(select(workload.problem, workload.candidates))
        best = found.selections[0].indexes
        judged = await what_ifs.answer(estimate(workload, best, WriteVolumes((), catalog), Bounds(LEAST_GAIN_SHARE, math.inf)))
    return Side(bare, tuple(with_sets), found, judged)


async def _planned(session: PlanSession, workload: Workload, indexes: Indexes) -> Planned:
    hypothetical = await HypotheticalIndexes.find(session)
    try:
        async with session.transaction():
            if indexes:
                await hypothetical.create([one.ddl("") for one in sorted(indexes, key=lambda one: one.title)])
            plans = [
                read_plan((await session.fetch(f"EXPLAIN (FORMAT JSON) {text.rstrip().rstrip(';')}"))[0][0]) for text in workload.texts
            ]
    finally:
        await hypothetical.forget()
    return Planned(tuple(HYPOTHETICAL.sub("", plan_shape(one)) for one in plans), tuple(map(total_cost, plans)))


async def _measured_strategy(server: PostgresServer, statements: Statements, target: Target, catalog: Catalog, found: Found) -> Indexes:
    """As `index_advice` comes to it: chosen by measuring on a clone with rows, and verified on another."""
    workload = read_workload(statements.texts, statements.weights, catalog, BUDGET_BYTES)
    taken = {one.name for one in catalog.tables}
    clone = await copy_of(server, statements.database, "measuring")
    async with connected(target, {DSN: server.dsn(clone)}, read_only=False) as connection:
        choice = await choose_by_measuring(IndexClone(target, connection, workload.texts, CUT_OFF_S), workload, found, taken, MEASURE_S)
    await drop_copy(server, clone)
    clone = await copy_of(server, statements.database, "verifying")
    async with connected(target, {DSN: server.dsn(clone)}, read_only=False) as connection:
        fresh = IndexClone(target, connection, workload.texts, CUT_OFF_S)
        kept = await verify(fresh, workload, choice.measured.indexes, taken, VERIFY_S, choice.tried)
    await drop_copy(server, clone)
    return kept.indexes


def told(title: str, clone: StatisticsClone, real: Side, copy: Side, measured: Indexes) -> list[Measured]:
    """The numbers, and the lists themselves on stderr."""
    queries, ratios = len(real.bare.costs), _ratios((real.bare,), (copy.bare,))
    equal = sum(one == other for one, other in zip(real.bare.shapes, copy.bare.shapes, strict=True))
    shapes = [
        one == other
        for ours, theirs in zip(real.sets, copy.sets, strict=True)
        for one, other in zip(ours.shapes, theirs.shapes, strict=True)
    ]
    with_sets = _ratios(real.sets, copy.sets)
    off = [abs(one - 1) for one in with_sets]
    listed, by_real, firsts = copy.judged.indexes, real.judged.indexes, {_first(one) for one in copy.judged.indexes}
    for name, indexes in (("listed", listed), ("by the real database's costs", by_real), ("measured", measured)):
        print(f"{title}, {name}: " + "; ".join(sorted(one.title for one in indexes)), file=sys.stderr)
    return [
        Measured(f"{title} plans that are equal", equal, f"of {queries}", note=f"{_spread(ratios)}; {'; '.join(clone.copied.warnings)}"),
        Measured(f"{title} costs off, without an index", statistics.mean(abs(one - 1) for one in ratios) * 100, "%", note="in the mean"),
        Measured(
            f"{title} plans equal, hypothetical",
            sum(shapes),
            f"of {len(shapes)}",
            note=f"with {OF_A_SET} drawn indexes, {SETS} times; {sum(one <= CLOSE for one in off)} costs within {CLOSE:.0%}",
        ),
        Measured(f"{title} costs off, hypothetical", statistics.mean(off) * 100, "%", note=_spread(with_sets)),
        Measured(f"{title} seconds to make the clone", clone.copied.seconds, "s", note=f"{clone.copied.heights} B-trees with their height"),
        Measured(
            f"{title} indexes listed as the database's",
            len(listed & by_real),
            f"of {len(by_real)}",
            note=f"the same search by costs on the database itself; {len(listed)} are listed",
        ),
        Measured(
            f"{title} measured indexes that are listed",
            len(listed & measured),
            f"of {len(measured)}",
            note=f"{sum(_first(one) in firsts for one in measured)} begin with the same column of the same table",
        ),
    ]


def _first(index: IndexDefinition) -> tuple[str, tuple[str, ...]]:
    return index.table_name, index.keys[:1]


def _ratios(real: Sequence[Planned], copy: Sequence[Planned]) -> list[float]:
    return [theirs / ours for one, other in zip(real, copy, strict=True) for ours, theirs in zip(one.costs, other.costs, strict=True)]


def _spread(ratios: Sequence[float]) -> str:
    return f"costs {min(ratios):.3f} to {max(ratios):.3f} of the real ones"


if __name__ == "__main__":
    for one in asyncio.run(measure()):
        print(one.name, one.value, one.unit, one.verdict, one.note)
