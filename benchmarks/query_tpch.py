"""The advice for TPC-H at scale factor 0.1 with primary keys only: are all 22 queries analysed, and is what is advised worth it?

Data and queries are those of DuckDB (dbgen). Every query is explained, judged and advised on by the activities that a process
uses; then the indexes that are recommended are created on a clone, and the two slowest, Q17 and Q20, run again. Without an index
they take half a minute each. And TPC-DS: 99 queries over empty tables, to see that none is lost and no text ends the analysis.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import duckdb
from temporalio.testing import ActivityEnvironment

from activities.artifacts import ArtifactStore
from activities.postgres import Postgres
from activities.postgres_explain import PostgresExplain
from activities.postgres_trying import PostgresTrying
from activities.query_analysis import QueryAnalysis
from benchmarks.measured import Measured
from perfwright.analysis.statements.grouping import group_statements
from perfwright.analysis.statements.stored import MEDIA_TYPE, decode, encode
from perfwright.models.artifact import ArtifactRef
from perfwright.models.database import Catalog, DatabaseFacts
from perfwright.models.query_advice import AdviceOnTrial, LookForAdvice, QueryFindingsToRank, RankedQueries, TriedAdvice
from perfwright.models.query_performance import ExplainOutcome, QueryPerformanceRequest
from perfwright.models.query_steps import (
    RULE_FAMILIES,
    ActivitySampled,
    ExplainStatements,
    GroupedStatements,
    InspectDatabase,
    JudgePlans,
    LogReadDone,
    Observation,
    ObservedStatements,
    ReadCatalog,
)
from perfwright.models.statement import StatementTable
from perfwright.models.target import Target
from tests.postgres import PostgresServer, server_programs, start_postgres

SCALE = 0.1
SLOWEST = (17, 20)
FASTER_LIMIT = 50.0
DSN = "PERFWRIGHT_BENCHMARK_DSN"
SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "2GB", "autovacuum": "off", "jit": "off"}
PRIMARY_KEYS = {
    "region": "r_regionkey",
    "nation": "n_nationkey",
    "supplier": "s_suppkey",
    "customer": "c_custkey",
    "part": "p_partkey",
    "partsupp": "ps_partkey, ps_suppkey",
    "orders": "o_orderkey",
    "lineitem": "l_orderkey, l_linenumber",
}
STATEMENT_S = 120.0
TRIAL_S = 10.0
"""For rewrites beside their originals: pairs of half a minute each would take longer than all the rest."""
RUNS = 3
TPC_H, TPC_DS = "tpch", "tpcds"


class Analysis:
    """The activities over one database, with artifacts in a folder of their own."""

    def __init__(self, server: PostgresServer, database: str, folder: Path) -> None:
        self.target = Target(name=database, kind="postgresql", environment="lab", host="local", dsn_env=DSN, allow=("profile", "analyze"))
        environ = {**os.environ, DSN: server.dsn(database)}
        self._artifacts = ArtifactStore(f"file://{folder / database}")
        self._postgres = Postgres(self._artifacts, environ, folder / "state")
        self._explain = PostgresExplain(self._artifacts, environ, folder / "state")
        self._trying = PostgresTrying(self._artifacts, environ, folder / "state")
        self._analysis = QueryAnalysis(self._artifacts)
        self._prefix = f"benchmark/{database}"

    async def advise(self, texts: Sequence[str]) -> "Advised":
        run = ActivityEnvironment().run
        facts: DatabaseFacts = await run(self._postgres.inspect_database, InspectDatabase(target=self.target))
        catalog = await run(self._postgres.read_catalog, ReadCatalog(target=self.target, artifact_prefix=self._prefix))
        known = decode(Catalog, await self._artifacts.get(catalog.catalog))
        table = group_statements(None, None, tuple(texts), known, database=facts)
        stored = await self._artifacts.put(f"{self._prefix}/table.json.gz", encode(table), MEDIA_TYPE)
        chosen = tuple(one.fingerprint for one in table.statements)
        explained = await run(
            self._explain.explain_statements,
            ExplainStatements(
                target=self.target,
                database=facts,
                table=stored,
                fingerprints=chosen,
                analyze=True,
                costly_approved=chosen,
                cost_ceiling=1e12,
                statement_timeout_s=STATEMENT_S,
                lock_timeout_s=2.0,
                artifact_prefix=self._prefix,
            ),
        )
        judged = []
        for family in RULE_FAMILIES:
            asked = JudgePlans(plans=explained.plans, table=stored, catalog=catalog.catalog, family=family, artifact_prefix=self._prefix)
            judged.append((await run(self._analysis.judge_plans, asked)).judged)
        plans = LookForAdvice(
            plans=explained.plans, table=stored, catalog=catalog.catalog, judged=tuple(judged), artifact_prefix=self._prefix
        )
        advice = (await run(self._analysis.make_advice, plans)).advice
        trial = AdviceOnTrial(
            target=self.target,
            database=facts,
            table=stored,
            advice=advice,
            statement_timeout_s=TRIAL_S,
            lock_timeout_s=2.0,
            artifact_prefix=self._prefix,
        )
        tried = (await run(self._trying.try_advice, trial)).tried
        ranked = await run(
            self._analysis.rank_query_findings,
            QueryFindingsToRank(
                request=QueryPerformanceRequest(target=self.target.name),
                database=facts,
                grouped=grouped(table, stored, chosen),
                explained=explained,
                observation=Observation(observed=ObservedStatements(), sampled=ActivitySampled(), log=LogReadDone(), catalog=catalog),
                judged=tuple(judged),
                advice=advice,
                tried=tried,
                artifact_prefix=self._prefix,
            ),
        )
        return Advised(table, explained.outcomes, decode(TriedAdvice, await self._artifacts.get(tried)), ranked)


@dataclass(frozen=True)
class Advised:
    """What came of one database."""

    table: StatementTable
    outcomes: tuple[ExplainOutcome, ...]
    tried: TriedAdvice
    told: RankedQueries

    @property
    def unexplained(self) -> int:
        """Without a plan and without a reason."""
        return sum(one.mode == "not explained" and not one.reason for one in self.outcomes)

    @property
    def skipped(self) -> list[str]:
        return [one.reason for one in self.outcomes if one.mode == "not explained"]

    @property
    def size_bytes(self) -> int:
        return len(self.told.model_dump_json().encode())


def grouped(table: StatementTable, stored: ArtifactRef, chosen: tuple[str, ...]) -> GroupedStatements:
    return GroupedStatements(
        table=stored,
        statements=len(table.statements),
        total_ms=table.total_ms,
        top=(),
        chosen=chosen,
        chosen_share=1.0,
        unreadable=len(table.unreadable),
    )


async def measure() -> list[Measured]:
    programs = server_programs()
    if programs is None:
        return [Measured("TPC-H", None, "", note="PostgreSQL is not installed (Debian: postgresql)")]
    with tempfile.TemporaryDirectory(prefix="perfwright-") as temporary, start_postgres(programs, SETTINGS) as server:
        return [*await tpc_h(server, Path(temporary)), *await tpc_ds(server, Path(temporary))]


async def tpc_h(server: PostgresServer, folder: Path) -> list[Measured]:
    source = duckdb.connect()
    source.execute("LOAD tpch")
    source.execute(f"CALL dbgen(sf={SCALE})")
    await load(server, source, TPC_H, PRIMARY_KEYS)
    queries = dict(source.execute("SELECT query_nr, query FROM tpch_queries()").fetchall())
    advised = await Analysis(server, TPC_H, folder).advise(list(queries.values()))
    ranked = advised.told.ranked
    first = ranked.recommendations[0] if ranked.recommendations else None
    found = [
        Measured(
            "TPC-H statements analysed", len(advised.outcomes), "", len(queries), at_least=True, note="; ".join(advised.skipped)[:200]
        ),
        Measured("TPC-H statements without plan or reason", advised.unexplained, "", 0),
        Measured("TPC-H result of the ranking", advised.size_bytes / 1024, "KiB", 256, note=ranked.summary[:160]),
        Measured("TPC-H findings above information", sum(one.severity != "information" for one in ranked.findings), "", note=told(first)),
    ]
    ddls = [one.change.apply for one in ranked.recommendations if one.change and one.id.startswith("index:")]
    return [*found, *await with_indexes(server, queries, ddls), *rewrites_tried(advised)]


def told(first: object) -> str:
    return f"first: {getattr(first, 'title', 'nothing')}"


async def with_indexes(server: PostgresServer, queries: dict[int, str], ddls: list[str]) -> list[Measured]:
    """Q17 and Q20 on a clone that has the recommended indexes, against one run without."""
    administrator = await server.connect()
    try:
        await administrator.execute(f"CREATE DATABASE {TPC_H}_clone TEMPLATE {TPC_H}")
    finally:
        await administrator.close()
    before, after = await server.connect(TPC_H), await server.connect(f"{TPC_H}_clone")
    try:
        for ddl in ddls:
            await after.execute(ddl)
        found = []
        for number in SLOWEST:
            slow, rows = await timed(before, queries[number])
            quick = [await timed(after, queries[number]) for _ in range(RUNS)]
            best = sorted(seconds for seconds, _ in quick)[RUNS // 2]
            same = all(sorted(map(tuple, other)) == sorted(map(tuple, rows)) for _, other in quick)
            note = f"{slow:.2f} s to {best * 1e3:.1f} ms with {len(ddls)} indexes; rows {'equal' if same else 'DIFFER'}"
            found.append(
                Measured(f"Q{number}: how many times faster", slow / best if same else None, "x", FASTER_LIMIT, at_least=True, note=note)
            )
        return found
    finally:
        await before.close()
        await after.close()


async def timed(connection: asyncpg.Connection, query: str) -> tuple[float, list[asyncpg.Record]]:
    began = time.perf_counter()
    rows = await connection.fetch(query)
    return time.perf_counter() - began, rows


def rewrites_tried(advised: Advised) -> list[Measured]:
    outcomes = [
        f"{one.title[:50]}: {one.outcome}{f' {one.ratio:.3f}' if one.ratio else ''} {one.reason[:80]}" for one in advised.tried.rewrites
    ]
    wrong = sum(one.outcome == "other rows" for one in advised.tried.rewrites)
    return [
        Measured("TPC-H rewrites with other rows", wrong, "", 0, note="; ".join(outcomes)[:400]),
        Measured("TPC-H what-if plans", len(advised.tried.what_ifs), "", note="; ".join(advised.tried.warnings)[:200]),
    ]


async def tpc_ds(server: PostgresServer, folder: Path) -> list[Measured]:
    source = duckdb.connect()
    source.execute("LOAD tpcds")
    source.execute("CALL dsdgen(sf=0)")
    await load(server, source, TPC_DS, {})
    queries = [text for _, text in source.execute("SELECT query_nr, query FROM tpcds_queries()").fetchall()]
    advised = await Analysis(server, TPC_DS, folder).advise(queries)
    reasons = sorted({reason[:60] for reason in advised.skipped})
    loud = sum(one.severity not in ("information", "low") for one in advised.told.ranked.findings)
    seen = len(advised.outcomes) + len(advised.table.unreadable)
    return [
        Measured(
            "TPC-DS statements analysed",
            seen,
            "",
            len(queries),
            at_least=True,
            note=f"{len(advised.skipped)} skipped: {'; '.join(reasons)}"[:300],
        ),
        Measured("TPC-DS statements without plan or reason", advised.unexplained, "", 0),
        Measured("TPC-DS findings above low on empty tables", loud, "", 0),
    ]


async def load(server: PostgresServer, source: duckdb.DuckDBPyConnection, database: str, keys: dict[str, str]) -> None:
    """All tables of `source` into a new database, vacuumed and analyzed."""
    administrator = await server.connect()
    try:
        await administrator.execute(f"CREATE DATABASE {database}")
    finally:
        await administrator.close()
    with tempfile.TemporaryDirectory(prefix="perfwright-") as folder:
        files = {
            table: f"{folder}/{table}.csv" for (table,) in source.execute("SELECT table_name FROM information_schema.tables").fetchall()
        }
        for table, path in files.items():
            source.execute(f"COPY {table} TO '{path}' (HEADER false)")
        await copy(await server.connect(database), source, files, keys)


async def copy(connection: asyncpg.Connection, source: duckdb.DuckDBPyConnection, files: dict[str, str], keys: dict[str, str]) -> None:
    try:
        for table, path in files.items():
            columns = source.execute(
                "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = ? ORDER BY ordinal_position", [table]
            ).fetchall()
            key = f", PRIMARY KEY ({keys[table]})" if table in keys else ""
            await connection.execute(f"CREATE TABLE {table} ({', '.join(f'{name} {kind}' for name, kind in columns)}{key})")
            await connection.copy_to_table(table, source=Path(path), format="csv")
        if await connection.fetchval("SELECT count(*) FROM pg_available_extensions WHERE name = 'hypopg'"):
            await connection.execute("CREATE EXTENSION hypopg")
        await connection.execute("SELECT pg_stat_force_next_flush()")
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


if __name__ == "__main__":
    for one in asyncio.run(measure()):
        print(one.name, one.value, one.unit, one.verdict, one.note)
