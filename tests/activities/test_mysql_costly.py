"""Costly statements of MySQL after approval: their plans come in place of those that were taken before, the others stay."""

from pathlib import Path

from perfwright.analysis.statements.grouping import group_statements
from perfwright.analysis.statements.stored import decode, encode
from perfwright.models.database import Catalog
from perfwright.models.query_steps import ExplainedStatements, ExplainStatements, InspectDatabase, PlanSet, ReadCatalog
from tests.activities.test_mysql import PREFIX, TARGET, Examined
from tests.mysql import MysqlServer, mariadb  # noqa: F401

CHEAP, COSTLY = "SELECT * FROM customers WHERE id = 7", "SELECT COUNT(*) FROM orders WHERE note = 'note 5'"


async def test_only_what_was_approved_is_executed(mariadb: MysqlServer, tmp_path: Path) -> None:  # noqa: F811
    """Both statements have their outcome in both answers; the costly one is planned first, and executed when a person let it through."""
    examined = Examined(mariadb.dsn(), tmp_path)
    read = await examined.run("read_mysql_catalog", ReadCatalog(target=TARGET, artifact_prefix=PREFIX))
    facts = await examined.run("inspect_mysql", InspectDatabase(target=TARGET))
    table = group_statements(None, None, (CHEAP, COSTLY), decode(Catalog, await examined.store.get(read.catalog)), database=facts)
    stored = await examined.store.put(f"{PREFIX}/costly-table", encode(table), "x/y", "Table")
    names = {one.samples[0].text: one.fingerprint for one in table.statements}
    request = ExplainStatements(
        target=TARGET,
        database=facts,
        table=stored,
        fingerprints=(names[CHEAP], names[COSTLY]),
        analyze=True,
        cost_ceiling=5.0,
        statement_timeout_s=20.0,
        lock_timeout_s=1.0,
        artifact_prefix=f"{PREFIX}-costly",
    )
    first: ExplainedStatements = await examined.run("explain_mysql_statements", request)
    assert [one.mode for one in first.outcomes] == ["analyzed", "planned"] and [one.fingerprint for one in first.costly] == [names[COSTLY]]
    again = request.model_copy(update={"fingerprints": (names[COSTLY],), "costly_approved": (names[COSTLY],), "earlier": first})
    second: ExplainedStatements = await examined.run("explain_mysql_statements", again)
    assert [(one.fingerprint, one.mode) for one in second.outcomes] == [(names[CHEAP], "analyzed"), (names[COSTLY], "analyzed")]
    plans = decode(PlanSet, await examined.store.get(second.plans))
    assert [one.fingerprint for one in plans.statements] == [names[CHEAP], names[COSTLY]]
