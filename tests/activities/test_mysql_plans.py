"""Plans of a real MariaDB, judged: planted problems are found, their healthy twins are not."""

from pathlib import Path

import pytest

from perfwright.analysis.mysql.index_candidates import mysql_index_candidates
from perfwright.analysis.mysql.judge import judge_mysql_plans, mysql_picture
from perfwright.analysis.mysql.plan import parse_plan
from perfwright.analysis.mysql.rules import FAMILIES
from perfwright.analysis.statements.stored import decode
from perfwright.models.database import Catalog
from perfwright.models.query_performance import PlanHit
from perfwright.models.query_steps import PlanSet, ReadCatalog
from perfwright.models.statement import StatementTable
from tests.activities.test_mysql import TARGET, Examined
from tests.mysql import MysqlServer, mariadb

__all__ = ["mariadb"]
PLANTED = {
    "missing index on the column of a join": (
        "SELECT c.name, o.total FROM customers c JOIN orders o ON o.customer_id = c.id WHERE c.id < 10",
        {("R01", ("customer_id",))},
    ),
    "scan within a join": (
        "SELECT c.name, o.total FROM customers c STRAIGHT_JOIN orders o ON o.customer_id = c.id WHERE c.id < 10",
        {("R02", ("customer_id",))},
    ),
    "selective scan": ("SELECT * FROM customers WHERE email = 'user5@example.com'", {("R01", ("email",))}),
    "function on a column": ("SELECT * FROM customers WHERE YEAR(created) = 2023", {("R12", ("created",))}),
    "leading wildcard": ("SELECT * FROM customers WHERE name LIKE '%99'", {("R14", ("name",))}),
    "text compared with a number": ("SELECT * FROM customers WHERE name = 5", {("R13", ("name",))}),
    "sort of everything for a LIMIT": ("SELECT * FROM orders ORDER BY note LIMIT 10", {("R17", ("note",))}),
    "filesort on disk": ("SELECT * FROM orders ORDER BY note", {("R06", ())}),
    "OFFSET paging": ("SELECT * FROM orders ORDER BY id LIMIT 10 OFFSET 50000", {("R16", ())}),
    "index read then discarded": (
        "SELECT * FROM orders WHERE status = 7 AND note = 'note 5'",
        {("R03", ("status", "note"))},
    ),
    "grouping through a temporary table": ("SELECT customer_id, count(*) FROM orders GROUP BY customer_id", {("M01", ("customer_id",))}),
    "subquery for every row": (
        "SELECT c.id, (SELECT max(o.total) FROM orders o WHERE o.id = c.id + 1) FROM customers c",
        {("R11", ())},
    ),
    "no join condition": ("SELECT count(*) FROM customers a, orders b WHERE a.id < 50", {("R25", ())}),
}
HEALTHY = {
    "join by primary key": "SELECT o.total, c.name FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.id < 500",
    "range instead of a function": "SELECT * FROM customers WHERE created >= '2023-01-01' AND created < '2024-01-01'",
    "prefix": "SELECT * FROM customers WHERE name LIKE 'name99%'",
    "text compared with text": "SELECT * FROM customers WHERE name = '5'",
    "order of an index": "SELECT * FROM orders ORDER BY id LIMIT 10",
    "paging by key": "SELECT * FROM orders WHERE id > 50000 ORDER BY id LIMIT 10",
    "whole table wanted": "SELECT count(*), sum(total) FROM orders",
    "grouping by index": "SELECT status, total, count(*) FROM orders GROUP BY status, total",
    "both columns in the index": "SELECT * FROM orders WHERE status = 1 AND total = 5",
    "small table sorted": "SELECT * FROM customers WHERE id < 100 ORDER BY email LIMIT 5",
    "subquery for few rows": "SELECT c.id, (SELECT o.total FROM orders o WHERE o.id = c.id) FROM customers c WHERE c.id < 50",
}


async def judged(mariadb: MysqlServer, folder: Path, *texts: str) -> tuple[PlanSet, Catalog, list[PlanHit]]:
    examined = Examined(mariadb.dsn(), folder)
    read = await examined.run("read_mysql_catalog", ReadCatalog(target=TARGET, artifact_prefix="judged"))
    catalog = decode(Catalog, await examined.store.get(read.catalog))
    explained, plans = await examined.explain(*texts)
    assert {one.mode for one in explained.outcomes} == {"analyzed"}, explained.outcomes
    empty = StatementTable(statements=(), total_ms=0.0, seconds=1.0)
    return plans, catalog, [hit for family in FAMILIES for hit in judge_mysql_plans(plans, empty, catalog, family).hits]


async def test_planted_problems_are_found_where_they_are(mariadb: MysqlServer, tmp_path: Path) -> None:
    """Every planted problem is named by its rule and columns, and nothing else is said of it."""
    plans, _, hits = await judged(mariadb, tmp_path, *(text for text, _ in PLANTED.values()))
    texts = {one.fingerprint: one.plans[0].sample.text for one in plans.statements if one.plans[0].sample}
    found: dict[str, set[tuple[str, tuple[str, ...]]]] = {}
    for hit in hits:
        found.setdefault(texts[hit.fingerprint], set()).add((hit.rule, hit.columns))
    assert {title: found.get(text) for title, (text, _) in PLANTED.items()} == {title: rules for title, (_, rules) in PLANTED.items()}


async def test_healthy_statements_have_no_hit(mariadb: MysqlServer, tmp_path: Path) -> None:
    """The same questions asked well are left alone."""
    _, _, hits = await judged(mariadb, tmp_path, *HEALTHY.values())
    assert [(hit.rule, hit.statement) for hit in hits] == []


async def test_candidates_are_indexes_that_the_server_makes_and_uses(mariadb: MysqlServer, tmp_path: Path) -> None:
    """The DDL runs as it is written, and takes the hit away."""
    text = "SELECT * FROM customers WHERE email = 'user5@example.com'"
    plans, catalog, hits = await judged(mariadb, tmp_path / "before", text)
    [candidate] = mysql_index_candidates(hits, catalog)
    assert candidate.ddl == "ALTER TABLE `shop`.`customers` ADD INDEX `idx_customers_email` (`email`)"
    assert plans.statements[0].fingerprint == candidate.fingerprint
    mariadb.run(candidate.ddl)
    try:
        _, again, after = await judged(mariadb, tmp_path / "after", text)
        assert after == []
        assert mysql_index_candidates(hits, again) == ()
    finally:
        mariadb.run("ALTER TABLE customers DROP INDEX idx_customers_email")


async def test_a_picture_shows_times_and_marks(mariadb: MysqlServer, tmp_path: Path) -> None:
    """The hottest node, its rows and what was found there can be drawn."""
    plans, _, hits = await judged(mariadb, tmp_path, "SELECT * FROM customers WHERE email = 'user5@example.com'")
    picture = mysql_picture(parse_plan(plans.statements[0].plans[0].plan), hits)
    [scan] = [node for node in picture.nodes if node.hot]
    assert (scan.title, [mark.rule for mark in scan.marks], scan.rows_actual) == ("ALL on customers", ["R01"], 20_000)
    assert picture.execution_ms == pytest.approx(picture.nodes[0].total_ms, rel=0.01)
    assert scan.self_ms is not None and scan.self_ms > 0
