"""Index advice against how others choose, in one run: TPC-H, and with no parameter changed TPC-DS and an OLTP schema.

Every configuration gets a fresh clone. Each query runs on all clones in turns, in an order that is drawn anew each time, so that what the
machine does meanwhile hits all alike; one clone has no index and is measured twice (A/A), which shows the noise. Q17 and Q20 of TPC-H take
half a minute without an index and are measured apart. Buffers, WAL and planner questions are the same in every run.
"""

import asyncio
import json
import math
import os
import random
import statistics
import sys
import time
from collections.abc import Sequence
from functools import partial

import asyncpg
import psutil

from activities.index_clone import IndexClone, Written
from activities.index_measuring import choose_by_measuring, verify
from activities.index_what_ifs import IndexWhatIfs
from activities.postgres_catalog import read_catalog_of
from activities.postgres_connection import connected
from activities.postgres_explain_session import PlanSession, Timeouts
from benchmarks.index_peers import dexter, index_advisor, narrow_extend, predicate_columns
from benchmarks.index_results import (
    AGAIN,
    CUT_OFF_S,
    NOTHING,
    OURS,
    PAGE_COST,
    SLOW_CUT_OFF_S,
    Configuration,
    Searched,
    as_measured,
    gain,
    regressions,
    told_noise,
    told_oltp,
    told_tpc_ds,
    told_tpc_h,
    verified,
)
from benchmarks.index_workloads import Statements, oltp, tpc_ds, tpc_h
from benchmarks.measured import Measured
from perfwright.analysis.indexes.candidates import exists
from perfwright.analysis.indexes.plan_shapes import plan_shape
from perfwright.analysis.indexes.selection import Asking, Indexes, select
from perfwright.analysis.indexes.workload import Workload, read_workload
from perfwright.models.database import Catalog, DatabaseFacts
from perfwright.models.target import Target
from tests.postgres import PostgresServer, server_programs, start_postgres

BUDGET_BYTES = 60_000_000
MEASURE_S = 59.0
"""What runs then is cut short; the limit is a minute."""
VERIFY_S = 30.0
ROUNDS, FEWEST_ROUNDS = 7, 5
ROUNDS_S = 100.0
DSN = "PERFWRIGHT_BENCHMARK_DSN"
# All clones side by side fit: with less, plans that read pages in no order would pay for the others' clones.
SETTINGS = {"shared_buffers": "2GB", "max_wal_size": "2GB", "autovacuum": "off", "jit": "off"}
SEED = 20_260_131
NOISY = 1.2
"""Ratio of the times of one plan on two clones that is told with all rounds."""
STARTED = time.monotonic()


class Counted:
    """Counts what a method asks, by standing between it and the planner."""

    def __init__(self) -> None:
        self.asked = 0

    def through(self, asking: Asking[Indexes]) -> Asking[Indexes]:
        """The same questions and answers."""
        try:
            question = next(asking)
            while True:
                self.asked += 1
                question = asking.send((yield question))
        except StopIteration as done:
            return frozenset(done.value)


async def measure() -> list[Measured]:
    programs = server_programs()
    if programs is None:
        return [Measured("index advice", None, "", note="PostgreSQL is not installed (Debian: postgresql)")]
    chosen = os.environ.get("PERFWRIGHT_INDEX_WORKLOADS", "tpc_h tpc_ds oltp").split()
    found: list[Measured] = []
    with start_postgres(programs, SETTINGS) as server:
        for made, told in ((tpc_h, told_tpc_h), (tpc_ds, told_tpc_ds), (oltp, told_oltp)):
            if made.__name__ in chosen:
                statements = await made(server)
                searched, configurations = await compared(server, statements)
                found += told(statements, searched, configurations)
    return found


async def compared(server: PostgresServer, statements: Statements) -> tuple[Searched, dict[str, Configuration]]:
    """Our advice and that of the others on clones beside each other."""
    database = statements.database
    target = Target(name=database, kind="postgresql", environment="lab", host="local", dsn_env=DSN, allow=("profile", "analyze"))
    environ = {DSN: server.dsn(database)}
    async with connected(target, environ) as connection:
        catalog = await read_catalog_of(connection)
        workload = read_workload(statements.texts, statements.weights, catalog, BUDGET_BYTES)
        version = connection.get_server_version()
        facts = DatabaseFacts(system="postgresql", version="", version_number=version.major * 10_000, database=database)
        session = await PlanSession(connection, facts, Timeouts(SLOW_CUT_OFF_S, 1.0)).open()
        pid = await connection.fetchval("SELECT pg_backend_pid()")
        what_ifs = await IndexWhatIfs.find(session, workload.texts)
        began, cpu = time.perf_counter(), _cpu_s(pid) + time.process_time()
        found = await what_ifs.answer(select(workload.problem, workload.candidates))
        search_s, search_cpu_s = time.perf_counter() - began, _cpu_s(pid) + time.process_time() - cpu
        _progress(f"{database}: searched")
        configurations = [one for one in await _of_peers(what_ifs, workload) if one.name in statements.peers]
    clone = await copy_of(server, database, "measuring")
    async with connected(target, {DSN: server.dsn(clone)}, read_only=False) as connection:
        measuring = IndexClone(target, connection, workload.texts, CUT_OFF_S)
        choice = await choose_by_measuring(measuring, workload, found, {one.name for one in catalog.tables}, MEASURE_S)
    await drop_copy(server, clone)
    _progress(f"{database}: measured: " + "; ".join(sorted(one.title for one in choice.measured.indexes)))
    clone, began = await copy_of(server, database, "verifying"), time.perf_counter()
    async with connected(target, {DSN: server.dsn(clone)}, read_only=False) as connection:
        fresh = IndexClone(target, connection, workload.texts, CUT_OFF_S)
        kept = await verify(fresh, workload, choice.measured.indexes, {one.name for one in catalog.tables}, VERIFY_S, choice.tried)
    verifying_s = time.perf_counter() - began
    told = ", ".join(f"{statements.names[workload.statements[query]]} {one.ratio:.3f}" for query, one in kept.queries.items())
    _progress(f"{database}: verified: {told}; " + "; ".join(sorted(one.title for one in kept.indexes)))
    await drop_copy(server, clone)
    searched = Searched(workload, found, choice, kept, search_s, search_cpu_s, verifying_s)
    ours = Configuration(OURS, kept.indexes, "", found.asked, search_s)
    everything = [Configuration(NOTHING), Configuration(AGAIN), ours, *configurations]
    everything.append(Configuration(PAGE_COST, settings="SET random_page_cost = 1.1"))
    await _verify(server, statements, target, catalog, everything)
    _print(statements, everything, searched)
    return searched, {one.name: one for one in everything}


def _progress(text: str) -> None:
    print(f"{time.monotonic() - STARTED:6.0f} s  {text}", file=sys.stderr, flush=True)


async def _of_peers(what_ifs: IndexWhatIfs, workload: Workload) -> list[Configuration]:
    methods = {
        "index_advisor's method": partial(index_advisor, workload.problem.uses),
        "dexter's method": partial(dexter, workload.problem.uses),
        "Extend, narrow": partial(narrow_extend, workload.problem),
        "a column each": partial(predicate_columns, workload.problem.uses),
    }
    found = []
    for name, method in methods.items():
        began, counted = time.perf_counter(), Counted()
        indexes = await what_ifs.answer(counted.through(method()))
        # What exists as an index or its prefix is left out for all of them: built twice it would only count as size.
        tables = {(use.table.schema_name, use.table.name): use.table for uses in workload.problem.uses for use in uses}
        indexes = frozenset(one for one in indexes if not exists(one, tables[one.schema_name, one.table_name]))
        found.append(Configuration(name, indexes, "", counted.asked, time.perf_counter() - began))
    return found


async def _verify(
    server: PostgresServer, statements: Statements, target: Target, catalog: Catalog, configurations: Sequence[Configuration]
) -> None:
    """Times in turns on fresh clones; buffers, plans and WAL once."""
    taken = {one.name for one in catalog.tables}
    quick = [place for place, name in enumerate(statements.names) if place not in statements.slow and name not in statements.writes]
    connections: dict[str, asyncpg.Connection] = {}
    databases = []
    try:
        for number, one in enumerate(configurations):
            databases.append(await copy_of(server, statements.database, str(number)))
            connections[one.name] = connection = await server.connect(databases[-1])
            await _prepare(connection, one, statements, taken, quick)
        _progress(f"{statements.database}: clones are ready")
        drawn, began = random.Random(SEED), time.perf_counter()
        for number in range(ROUNDS):
            if number >= FEWEST_ROUNDS and time.perf_counter() - began > ROUNDS_S:
                break
            for place in quick:
                for one in drawn.sample(list(configurations), len(configurations)):
                    started = time.perf_counter()
                    await connections[one.name].fetch(statements.texts[place])
                    one.times.setdefault(place, []).append((time.perf_counter() - started) * 1e3)
        _progress(f"{statements.database}: all rounds are done")
        for place in statements.slow:
            for one in configurations:
                if one.name not in (AGAIN, PAGE_COST):
                    one.slow_ms[place] = await _bounded_ms(connections[one.name], statements.texts[place])
    finally:
        for connection in connections.values():
            await connection.close()
        for database in databases:
            await drop_copy(server, database)


async def _prepare(
    connection: asyncpg.Connection, one: Configuration, statements: Statements, taken: set[str], quick: Sequence[int]
) -> None:
    names = set(taken)
    for index in sorted(one.indexes, key=lambda index: index.title):
        if index.trigrams:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        name = index.name(names)
        await connection.execute(index.ddl(name))
        one.bytes += await connection.fetchval("SELECT pg_relation_size($1::text::regclass)", name)
    for table in sorted({f'"{index.schema_name}"."{index.table_name}"' for index in one.indexes if index.expression}):
        await connection.execute(f"ANALYZE {table}")
    if one.settings:
        await connection.execute(one.settings)
    for place in quick:
        answer = await connection.fetchval("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) " + statements.texts[place])
        plan = json.loads(answer)[0]
        one.shapes[place] = plan_shape(plan)
        one.blocks[place] = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
    for name in statements.writes:
        text = statements.texts[statements.names.index(name)]
        for _ in range(2):  # the first writes full-page images
            async with connection.transaction():
                answer = await connection.fetchval("EXPLAIN (ANALYZE, WAL, TIMING OFF, FORMAT JSON) " + text)
        told = json.loads(answer)[0]["Plan"]
        one.written[name] = Written(told["WAL Records"], told["WAL Bytes"], told["WAL FPI"])


async def _bounded_ms(connection: asyncpg.Connection, text: str) -> float:
    await connection.execute(f"SET statement_timeout = {SLOW_CUT_OFF_S * 1000:.0f}")
    best = SLOW_CUT_OFF_S * 1000
    for _ in range(3):
        started = time.perf_counter()
        try:
            await connection.fetch(text)
        except asyncpg.QueryCanceledError:
            break
        best = min(best, (time.perf_counter() - started) * 1e3)
        if best > 5_000:
            break
    return best


async def copy_of(server: PostgresServer, database: str, word: str) -> str:
    name = f"{database}_{word}"
    administrator = await server.connect()
    try:
        await administrator.execute(f"CREATE DATABASE {name} TEMPLATE {database}")
    finally:
        await administrator.close()
    return name


async def drop_copy(server: PostgresServer, database: str) -> None:
    administrator = await server.connect()
    try:
        await administrator.execute(f"DROP DATABASE {database} WITH (FORCE)")
    finally:
        await administrator.close()


def _cpu_s(pid: int) -> float:
    used = psutil.Process(pid).cpu_times()
    return used.user + used.system


def _print(statements: Statements, configurations: Sequence[Configuration], searched: Searched) -> None:
    by_name = {one.name: one for one in configurations}
    print(
        f"\n{statements.database}: {len(configurations[0].times)} quick queries, {len(next(iter(configurations[0].times.values())))} rounds"
    )
    print(
        f"{'configuration':28}{'indexes':>8}{'MB':>7}{'geomean':>9}{'raw':>7}{'total':>7}{'blocks':>8}  {'asked':>6}{'search s':>9}"
        "  regressions, slow queries"
    )
    for one in configurations:
        base = by_name[NOTHING]
        total = sum(map(statistics.median, base.times.values())) / sum(map(statistics.median, one.times.values()))
        blocks = math.exp(statistics.mean(math.log(max(1, one.blocks[p]) / max(1, base.blocks[p])) for p in base.blocks))
        slow = ", ".join(f"{statements.names[place]} {ms:,.1f} ms" for place, ms in one.slow_ms.items())
        slower = ", ".join(regressions(by_name, one.name, statements.names)) or "none"
        print(
            f"{one.name:28}{len(one.indexes):8}{one.bytes / 1e6:7.1f}{gain(by_name, one.name):9.2f}"
            f"{as_measured(by_name, one.name):7.2f}{total:7.2f}{blocks:8.2f}  "
            f"{one.asked:6}{one.search_s:9.1f}  {slower}; {slow}"
        )
    checked = verified(by_name[OURS], by_name[NOTHING])
    for one in configurations[2:]:
        per_query = verified(one, by_name[NOTHING])
        print(f"{one.name}, per query: " + ", ".join(f"{statements.names[place]} {of.ratio:.2f}" for place, of in per_query.items()))
    for place, found in checked.items():
        if not found.plan_changed and abs(math.log(found.ratio)) > math.log(NOISY):
            without, with_ours = (" ".join(f"{ms:.0f}" for ms in by_name[name].times[place]) for name in (NOTHING, OURS))
            print(f"  {statements.names[place]} has the same plan and took {without} ms without, {with_ours} ms with")
    for index in sorted(by_name[OURS].indexes, key=lambda index: index.title):
        print(f"  {index.title}")
    if statements.writes:
        for one in configurations:
            print(f"  WAL {one.name:26}" + ", ".join(f"{name} {told.bytes} B in {told.records}" for name, told in one.written.items()))
    print(told_noise(statements, searched, by_name))
    choice = searched.choice
    print(
        f"search {searched.search_s:.1f} s ({searched.search_cpu_s:.1f} s of CPU), {searched.found.asked} plans asked about,"
        f" {len(searched.workload.candidates)} candidates; measuring {choice.seconds:.1f} s: {choice.built} of {choice.wanted}"
        f" indexes built in {choice.building_s:.1f} s, {choice.measured.plans_timed} plans timed,"
        f" {'finished' if choice.measured.finished else 'ended by time'}; verifying {searched.verifying_s:.1f} s, dropped"
        f" {', '.join(one.title for one in searched.kept.dropped) or 'none'}",
        flush=True,
    )


if __name__ == "__main__":
    for one in asyncio.run(measure()):
        print(one.name, one.value, one.unit, one.limit, one.verdict, one.note)
