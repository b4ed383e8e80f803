"""PostgreSQL 13, 14, 16 and 17, as far as they can be had: what the other tests do on 15 and 18, once through."""

import asyncio
from pathlib import Path

import asyncpg
from temporalio.testing import ActivityEnvironment

from activities.artifacts import ArtifactStore
from activities.postgres import Postgres
from activities.postgres_explain import PostgresExplain
from activities.postgres_log import PostgresLog
from perfwright.analysis.statements.grouping import group_statements
from perfwright.analysis.statements.stored import MEDIA_TYPE, decode, encode
from perfwright.models.database import Catalog, DatabaseFacts
from perfwright.models.query_steps import (
    CatalogRead,
    ExplainedStatements,
    ExplainStatements,
    InspectDatabase,
    LogReadDone,
    ObservedStatements,
    ObserveStatements,
    PlanSet,
    ReadCatalog,
    ReadLog,
    SampleActivity,
)
from perfwright.models.statement import LogDigest, ObservedWindow
from perfwright.models.target import Target
from tests.activities.explain_runs import SCHEMA
from tests.perfwright.analysis.plans.running_plans import judged
from tests.postgres import PostgresServer
from tests.postgres_versions import older_postgres

__all__ = ["older_postgres"]

VARIABLE = "SHOP_DB_DSN"
WINDOW_S = 2.0
CALLS = 7
PARCELS = """
CREATE TABLE parcels (id int PRIMARY KEY, customer_id int NOT NULL, state text NOT NULL, label text NOT NULL);
INSERT INTO parcels SELECT n, n % 20000, CASE WHEN n % 3 = 0 THEN 'open' ELSE 'sent' END, 'parcel ' || md5(n::text) FROM generate_series(1, 60000) n;
ANALYZE parcels;
"""
"""Large enough for a scan of it to be worth a word on any machine."""
WITH_VALUES = "SELECT count(*) FROM parcels WHERE customer_id = $1 AND state = $2"
WITHOUT_VALUES = "SELECT id, total FROM orders WHERE total > $1 ORDER BY id LIMIT $2"
BY_KEY = "SELECT name FROM customers WHERE id = $1"


async def test_a_server_is_observed_and_its_statements_explained(older_postgres: PostgresServer, tmp_path: Path) -> None:
    """Counters, sessions, log and catalog of one window, plans of what was in it, and what rules say of them; the server hides nothing."""
    server, prefix = older_postgres, "older/run/1"
    database = (await server.new_database()).rpartition("/")[2]
    connection = await server.connect(database)
    store, run = ArtifactStore(f"file://{tmp_path}/store"), ActivityEnvironment().run
    environ, state = {VARIABLE: server.dsn(database)}, tmp_path / "state"
    target = Target(name="older-db", kind="postgresql", environment="lab", dsn_env=VARIABLE, allow=("analyze",))
    activities = Postgres(store, environ, state)
    try:
        await connection.execute(f"CREATE EXTENSION pg_stat_statements; {SCHEMA}{PARCELS}")
        facts: DatabaseFacts = await run(activities.inspect_database, InspectDatabase(target=target))
        assert (facts.version_number // 10_000, facts.not_seen) == (connection.get_server_version().major, ())
        assert facts.log_format == ("jsonlog" if facts.version_number >= 150_000 else "csvlog")

        counted, sampled, logged, catalogued, _ = await asyncio.gather(
            run(activities.observe_statements, ObserveStatements(target=target, duration_s=WINDOW_S, artifact_prefix=prefix)),
            run(activities.sample_activity, SampleActivity(target=target, duration_s=WINDOW_S, artifact_prefix=prefix)),
            run(
                PostgresLog(store, state, environ).read_log,
                ReadLog(target=target, folder=facts.log_folder, log_format=facts.log_format, follow_s=WINDOW_S, artifact_prefix=prefix),
            ),
            run(activities.read_catalog, ReadCatalog(target=target, artifact_prefix=prefix)),
            _work(connection, state),
        )
        window, digest, catalog = await _stored(store, counted, logged, catalogued)
        assert (counted.not_seen, counted.warnings, logged.not_seen, logged.gaps, digest.broken_lines) == ((), (), (), (), 0)
        assert sampled.samples >= 1 and sampled.warnings == ()
        [one] = [one for one in window.statements if one.text == WITH_VALUES]
        assert (one.calls, one.rows, one.shared_hit_blocks + one.shared_read_blocks > 0) == (CALLS, CALLS, True)
        [spoken] = [one for one in digest.statements if one.text == WITH_VALUES]
        assert (spoken.calls, {sample.parameters[1] for sample in spoken.samples}, len(spoken.plans) > 0) == (CALLS, {"open"}, True)
        parcels = next(table for table in catalog.tables if table.name == "parcels")
        assert (parcels.rows, [index.primary for index in parcels.indexes]) == (60_000, [True])

        table = group_statements(window, digest, (WITHOUT_VALUES,), catalog, database=facts)
        fingerprints = {one.text: one.fingerprint for one in table.statements}
        chosen = tuple(fingerprints[text] for text in (WITH_VALUES, BY_KEY, WITHOUT_VALUES))
        explained: ExplainedStatements = await run(
            PostgresExplain(store, environ, state).explain_statements,
            ExplainStatements(
                target=target,
                database=facts,
                table=await store.put(f"{prefix}/table.json.gz", encode(table), MEDIA_TYPE),
                fingerprints=chosen,
                analyze=True,
                cost_ceiling=5e7,
                statement_timeout_s=20.0,
                lock_timeout_s=1.0,
                artifact_prefix=prefix,
            ),
        )
        assert [one.mode for one in explained.outcomes] == ["analyzed", "analyzed", "generic plan"], explained.outcomes
        plans = [one.plans[0].plan for one in decode(PlanSet, await store.get(explained.plans)).statements]
        assert [{hit.rule for hit in judged(plan, catalog)} for plan in plans] == [{"R01"}, set(), set()]
    finally:
        await connection.close()


async def _work(connection: asyncpg.Connection, state: Path) -> None:
    """The same statement a few times, once the window has begun."""
    async with asyncio.timeout(30):
        while not (list(state.glob("recordings/*-statements/start.jsonl")) and list(state.glob("recordings/*-log/plan.jsonl"))):
            await asyncio.sleep(0.01)
    for number in range(CALLS):
        await connection.fetch(WITH_VALUES, number, "open")
        await connection.fetch(BY_KEY, number)


async def _stored(
    store: ArtifactStore, counted: ObservedStatements, logged: LogReadDone, catalogued: CatalogRead
) -> tuple[ObservedWindow, LogDigest, Catalog]:
    assert counted.window and logged.digest
    return (
        decode(ObservedWindow, await store.get(counted.window)),
        decode(LogDigest, await store.get(logged.digest)),
        decode(Catalog, await store.get(catalogued.catalog)),
    )
