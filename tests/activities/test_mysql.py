"""MySQL's side of a query analysis, on a real MariaDB."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiomysql
import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.artifacts import ArtifactStore
from activities.mysql import NOT_TRIED, Mysql
from perfwright.analysis.mysql.counters import digest_of
from perfwright.analysis.mysql.shapes import fingerprint
from perfwright.analysis.statements.grouping import group_statements
from perfwright.analysis.statements.stored import decode, encode
from perfwright.models.database import Catalog
from perfwright.models.query_advice import AdviceOnTrial, TriedAdvice
from perfwright.models.query_steps import (
    ExplainedStatements,
    ExplainStatements,
    InspectDatabase,
    ObserveStatements,
    PlanSet,
    ReadCatalog,
    SampleActivity,
)
from perfwright.models.statement import ObservedWindow, Statement, StatementSample, StatementTable
from perfwright.models.target import Target
from perfwright.models.vocabulary import Model
from tests.mysql import DATABASE, POOR_USER, MysqlServer, mariadb, plain_mariadb
from tests.postgres import PASSWORD, free_port

__all__ = ["mariadb", "plain_mariadb"]
VARIABLE, PREFIX = "SHOP_DB_DSN", "run"
TARGET = Target(name="shop-db", kind="mysql", environment="lab", dsn_env=VARIABLE, allow=("analyze",))


class Examined:
    """One connection string, and the activities on it."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self.store = ArtifactStore(f"file://{folder}/artifacts")
        self.activities = Mysql(self.store, {VARIABLE: dsn}, folder / "state")

    async def run(self, name: str, request: Model, environment: ActivityEnvironment | None = None) -> Any:
        return await (environment or ActivityEnvironment()).run(getattr(self.activities, name), request)

    async def explain(self, *texts: str, **changes: Any) -> tuple[ExplainedStatements, PlanSet]:
        """Plans of statements that were seen with these values, grouped as a run does it."""
        catalog = decode(
            Catalog,
            await self.store.get((await self.run("read_mysql_catalog", ReadCatalog(target=TARGET, artifact_prefix=PREFIX))).catalog),
        )
        facts = await self.run("inspect_mysql", InspectDatabase(target=TARGET))
        table = group_statements(None, None, texts, catalog, database=facts)
        return await self.explain_table(table, **changes)

    async def explain_table(self, table: StatementTable, **changes: Any) -> tuple[ExplainedStatements, PlanSet]:
        facts = await self.run("inspect_mysql", InspectDatabase(target=TARGET))
        stored = await self.store.put(f"{PREFIX}/table-{len(encode(table))}", encode(table), "x/y", "Table")
        request = ExplainStatements(
            target=changes.pop("target", TARGET),
            database=facts,
            table=stored,
            fingerprints=tuple(one.fingerprint for one in table.statements),
            analyze=changes.pop("analyze", True),
            cost_ceiling=changes.pop("cost_ceiling", 1e9),
            statement_timeout_s=changes.pop("statement_timeout_s", 20.0),
            lock_timeout_s=1.0,
            artifact_prefix=f"{PREFIX}-{len(encode(table))}",
        )
        explained = await self.run("explain_mysql_statements", request)
        return explained, decode(PlanSet, await self.store.get(explained.plans))


@pytest.fixture
def examined(mariadb: MysqlServer, tmp_path: Path) -> Examined:
    return Examined(mariadb.dsn(), tmp_path)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not await asyncio.to_thread(true):
            await asyncio.sleep(0.02)


async def test_the_server_is_told_as_it_is(examined: Examined, mariadb: MysqlServer) -> None:
    """Version, user, settings and the slow log are told; nothing is told as missing where nothing is."""
    facts = await examined.run("inspect_mysql", InspectDatabase(target=TARGET))
    assert (facts.system, facts.database, facts.role) == ("mariadb", DATABASE, "perfwright")
    assert 100_300 <= facts.version_number < 200_000
    assert facts.version.count(".") == 2
    assert facts.setting("performance_schema") == "ON"
    assert facts.log_folder == str(mariadb.folder / "data" / "slow.log")
    assert facts.size_bytes > 1_000_000
    assert (facts.not_seen, facts.superuser, facts.reads_all_stats) == ((), False, True)


async def test_what_is_off_is_told_with_the_way_out(plain_mariadb: MysqlServer, tmp_path: Path) -> None:
    """As MariaDB comes, it counts no statements and writes no slow log: both are told, and observing is not an error."""
    examined = Examined(plain_mariadb.dsn(), tmp_path)
    facts = await examined.run("inspect_mysql", InspectDatabase(target=TARGET))
    assert [one.what for one in facts.not_seen] == ["statements over time", "slow log"]
    assert "performance_schema = ON" in facts.not_seen[0].way_out
    observed = await examined.run("observe_mysql_statements", ObserveStatements(target=TARGET, duration_s=60, artifact_prefix=PREFIX))
    assert observed.window is None
    assert "performance_schema is off" in observed.not_seen[0].reason


async def test_missing_rights_are_told(mariadb: MysqlServer, tmp_path: Path) -> None:
    """A user who may only read its tables gets everything but counters and the sessions of others, and is told which grants show them."""
    examined = Examined(mariadb.dsn(user=POOR_USER), tmp_path)
    facts = await examined.run("inspect_mysql", InspectDatabase(target=TARGET))
    assert ["GRANT SELECT ON performance_schema.*" in facts.not_seen[0].way_out, "GRANT PROCESS" in facts.not_seen[1].way_out] == [
        True,
        True,
    ]
    sampled = await examined.run(
        "sample_mysql_activity", SampleActivity(target=TARGET, duration_s=0.3, interval_s=0.1, artifact_prefix=PREFIX)
    )
    assert sampled.samples >= 1
    assert "GRANT PROCESS" in sampled.warnings[0]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"password": "wrong-word"}, "DatabaseRefused", "refused the login"),
        ({"user": "nobody-known"}, "DatabaseRefused", "refused the login"),
        ({"database": "no_such"}, "DatabaseRefused", "no such database"),
    ],
)
async def test_a_refused_login_names_the_cause_and_no_secret(
    mariadb: MysqlServer, tmp_path: Path, change: dict[str, str], error: str, words: str
) -> None:
    """Wrong password, user or database: the error says which, and holds neither password nor host."""
    with pytest.raises(ApplicationError, match=words) as refused:
        await Examined(mariadb.dsn(**change), tmp_path).run("inspect_mysql", InspectDatabase(target=TARGET))
    assert refused.value.type == error
    assert not any(secret in str(refused.value) for secret in (PASSWORD, "wrong-word", "127.0.0.1"))


@pytest.mark.parametrize(
    "dsn", ["postgresql://a:very-secret-word@h/d", "mysql://a:very-secret-word@h:port/d", "mysql://a:very-secret-word@h"]
)
async def test_a_useless_connection_string_is_refused_without_repeating_it(tmp_path: Path, dsn: str) -> None:
    """The error names the variable, and nothing of its value."""
    with pytest.raises(ApplicationError, match=VARIABLE) as refused:
        await Examined(dsn, tmp_path).run("inspect_mysql", InspectDatabase(target=TARGET))
    assert (refused.value.type, PASSWORD in str(refused.value)) == ("TargetRefused", False)


async def test_no_server_there(tmp_path: Path) -> None:
    """A port that nobody listens on is told as refused, for good."""
    with pytest.raises(ApplicationError, match="refused the connection") as refused:
        await Examined(f"mysql://a:b@127.0.0.1:{free_port()}/d", tmp_path).run("inspect_mysql", InspectDatabase(target=TARGET))
    assert (refused.value.type, refused.value.non_retryable) == ("DatabaseUnreachable", True)


async def test_the_window_has_what_was_executed_in_it(examined: Examined, mariadb: MysqlServer) -> None:
    """Calls and times of the window's statements, neither those before it nor ours; named as the slow log names them."""
    text = "SELECT count(*) FROM orders WHERE total > {} AND status IN (1, 2)"
    mariadb.run(text.format(1))
    environment, ready = ActivityEnvironment(), asyncio.Event()
    environment.on_heartbeat = lambda *beats: ready.set() if beats[0]["doing"] == "observing" else None
    request = ObserveStatements(target=TARGET, duration_s=1.6, artifact_prefix=PREFIX)
    task = asyncio.create_task(examined.run("observe_mysql_statements", request, environment))
    await asyncio.wait_for(ready.wait(), 10)
    await asyncio.to_thread(mariadb.run, *(text.format(number) for number in range(3)))
    observed = await task
    window = decode(ObservedWindow, await examined.store.get(observed.window))
    [seen] = [one for one in window.statements if "`orders`" in one.text]
    assert (seen.calls, seen.rows, observed.source) == (3, 3, "performance_schema")
    assert 0 < seen.total_ms <= observed.total_ms
    assert seen.query_id.startswith(fingerprint(text.format(5)))
    assert len(digest_of(seen.query_id)) == 32
    assert not any("performance_schema" in one.text for one in window.statements)


async def test_a_later_attempt_ends_the_same_window(examined: Examined) -> None:
    """What a stopped worker began is ended by the next attempt, not begun again."""
    request = ObserveStatements(target=TARGET, duration_s=0.5, artifact_prefix=PREFIX)
    environment, ready = ActivityEnvironment(), asyncio.Event()
    environment.on_heartbeat = lambda *beats: ready.set() if beats[0]["doing"] == "observing" else None
    task = asyncio.create_task(examined.run("observe_mysql_statements", request.model_copy(update={"duration_s": 60.0}), environment))
    await asyncio.wait_for(ready.wait(), 10)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert (await examined.run("observe_mysql_statements", request)).seconds > 0


async def test_sessions_are_seen_by_what_they_wait_for(examined: Examined, mariadb: MysqlServer) -> None:
    """A session that waits for a row lock is told as one, the holder as idle in its transaction; values are not told."""
    holder = await aiomysql.connect(unix_socket=str(mariadb.folder / "socket"), user="root", db=DATABASE)
    waiter = await aiomysql.connect(unix_socket=str(mariadb.folder / "socket"), user="root", db=DATABASE)
    try:
        await holder.query("UPDATE customers SET email = 'x' WHERE id = 1")
        waiting = asyncio.create_task(waiter.query("UPDATE customers SET email = 'my-secret' WHERE id = 1"))
        await until(lambda: bool(mariadb.run("SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'")))
        request = SampleActivity(target=TARGET, duration_s=1.2, interval_s=0.2, artifact_prefix=PREFIX)
        sampled = await examined.run("sample_mysql_activity", request)
        await holder.rollback()
        await waiting
    finally:
        holder.close()
        waiter.close()
    assert {one.state for one in sampled.waits} == {"Lock: row lock", "Client: ClientRead in transaction"}
    assert "my-secret" not in sampled.model_dump_json()
    assert sampled.warnings == ()


async def test_the_catalog_has_tables_indexes_and_keys(examined: Examined) -> None:
    """Columns with types and distinct values, indexes with what restores them, ignored ones as not valid, foreign keys, views."""
    read = await examined.run("read_mysql_catalog", ReadCatalog(target=TARGET, artifact_prefix=PREFIX))
    catalog = decode(Catalog, await examined.store.get(read.catalog))
    customers, payments = catalog.table("customers"), catalog.table("payments")
    assert customers is not None and payments is not None
    assert customers.rows == pytest.approx(20_000, rel=0.2)
    indexes = {one.name: one for one in customers.indexes}
    assert indexes["by_name"].definition == "ALTER TABLE `shop`.`customers` ADD INDEX `by_name` (`name`)"
    assert (indexes["PRIMARY"].primary, indexes["by_country"].valid, indexes["by_name"].valid) == (True, False, True)
    name = customers.column("name")
    assert name is not None and name.type == "varchar(40)" and name.not_null and name.distinct == pytest.approx(20_000, rel=0.2)
    assert [(key.columns, key.references_table) for key in payments.foreign_keys] == [(("order_id",), "orders")]
    assert next(one for one in payments.indexes if one.keys == ("order_id",)).constraint
    assert list(catalog.views) == ["shop.big_orders"]


async def test_statements_that_read_are_executed_and_others_are_not(examined: Examined, mariadb: MysqlServer) -> None:
    """A SELECT is analyzed; what writes, locks or may do more is planned only, with the reason, and changes nothing."""
    before = mariadb.run("CHECKSUM TABLE customers, orders")
    explained, plans = await examined.explain(
        "SELECT name FROM customers WHERE id = 7",
        "UPDATE customers SET name = 'x' WHERE id = 7",
        "SELECT name FROM customers WHERE id = 7 FOR UPDATE",
        "SELECT get_lock('a', 1) FROM customers WHERE id = 7",
        "SELECT * FROM big_orders WHERE id = 9",
        "SELECT no_such FROM customers",
    )
    outcomes = {
        next(one for one in plans.statements if one.fingerprint == each.fingerprint).outcome.mode: each for each in explained.outcomes
    }
    assert [one.mode for one in explained.outcomes].count("analyzed") == 1
    assert [one.mode for one in explained.outcomes].count("planned") == 4
    assert "not explained" in outcomes
    assert all(one.reason for one in explained.outcomes if one.mode != "analyzed")
    assert mariadb.run("CHECKSUM TABLE customers, orders") == before
    await until(lambda: not mariadb.sessions_of())


async def test_only_what_is_allowed_is_executed(examined: Examined) -> None:
    """Without `analyze` on the target, or above the cost ceiling, a statement is planned only."""
    text = "SELECT count(*) FROM orders"
    kept, _ = await examined.explain(text, target=TARGET.model_copy(update={"allow": ()}))
    assert kept.outcomes[0].mode == "planned" and 'does not allow "analyze"' in kept.outcomes[0].reason
    costly, _ = await examined.explain(text, cost_ceiling=10.0)
    assert costly.outcomes[0].mode == "planned" and costly.costly[0].cost > 1_000


async def test_a_statement_that_takes_too_long_is_ended_by_the_server(examined: Examined) -> None:
    """Its limit is the server's: the statement is planned only, the next one is explained."""
    explained, _ = await examined.explain(
        "SELECT count(*) FROM orders a, orders b WHERE a.note < b.note", "SELECT 1 FROM customers WHERE id = 3", statement_timeout_s=0.5
    )
    slow, quick = sorted(explained.outcomes, key=lambda one: one.mode, reverse=True)
    assert (slow.mode, quick.mode) == ("planned", "analyzed")
    assert "did not finish within 0.5 s" in slow.reason


async def test_a_cancel_ends_the_statement_on_the_server(examined: Examined, mariadb: MysqlServer) -> None:
    """Nothing of ours runs on after a cancel."""
    environment, executing = ActivityEnvironment(), asyncio.Event()
    statement = Statement(
        fingerprint="0" * 16,
        text="SELECT count(*) FROM orders a, orders b WHERE a.note < b.note",
        kind="select",
        safety="reads only",
        samples=(StatementSample(text="SELECT count(*) FROM orders a, orders b WHERE a.note < b.note", source="given"),),
    )
    table = StatementTable(statements=(statement,), total_ms=1.0, seconds=1.0)
    stored = await examined.store.put(f"{PREFIX}/table", encode(table), "x/y", "Table")
    facts = await examined.run("inspect_mysql", InspectDatabase(target=TARGET))
    request = ExplainStatements(
        target=TARGET,
        database=facts,
        table=stored,
        fingerprints=(statement.fingerprint,),
        analyze=True,
        cost_ceiling=1e12,
        statement_timeout_s=60,
        lock_timeout_s=1,
        artifact_prefix=PREFIX,
    )
    environment.on_heartbeat = lambda *beats: executing.set() if beats[0]["doing"].startswith("executing") else None
    task = asyncio.create_task(examined.run("explain_mysql_statements", request, environment))
    await asyncio.wait_for(executing.wait(), 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: not mariadb.sessions_of())


async def test_a_digest_is_explained_with_a_call_that_the_server_remembers(examined: Examined, mariadb: MysqlServer) -> None:
    """Without a slow log, values come from performance_schema's history of a session that is still there."""
    session = await aiomysql.connect(unix_socket=str(mariadb.folder / "socket"), user="root", db=DATABASE)
    try:
        await session.query("SELECT email FROM customers WHERE name = 'name77'")
        [(digest,)] = mariadb.run(
            "SELECT digest FROM performance_schema.events_statements_summary_by_digest WHERE digest_text LIKE 'SELECT `email` FROM%'"
        )
        statement = Statement(
            fingerprint="1" * 16,
            text="SELECT `email` FROM `customers` WHERE `name` = ?",
            kind="select",
            query_ids=(f"{'1' * 16}:{digest}",),
            not_explainable="no call with its values was seen",
        )
        explained, plans = await examined.explain_table(StatementTable(statements=(statement,), total_ms=1.0, seconds=1.0))
    finally:
        session.close()
    assert explained.outcomes[0].mode == "analyzed"
    sample = plans.statements[0].plans[0].sample
    assert sample is not None and "name77" in sample.text


async def test_advice_is_not_tried_and_says_so(examined: Examined) -> None:
    """Nothing is promised that the server cannot be asked about."""
    facts = await examined.run("inspect_mysql", InspectDatabase(target=TARGET))
    stored = await examined.store.put(f"{PREFIX}/table", b"x", "x/y", "Table")
    request = AdviceOnTrial(
        target=TARGET, database=facts, table=stored, advice=stored, statement_timeout_s=1, lock_timeout_s=1, artifact_prefix=PREFIX
    )
    answer = await examined.run("try_mysql_advice", request)
    assert (answer.what_ifs, answer.rewrites) == (0, 0)
    assert decode(TriedAdvice, await examined.store.get(answer.tried)).warnings == (NOT_TRIED,)


async def test_another_kind_of_target_is_refused(examined: Examined) -> None:
    """A PostgreSQL target is not spoken to in MySQL's protocol."""
    with pytest.raises(ApplicationError, match="not mysql"):
        await examined.run("inspect_mysql", InspectDatabase(target=TARGET.model_copy(update={"kind": "postgresql"})))
