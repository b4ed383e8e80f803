"""Statements of MySQL and MariaDB by their tokens: tables, kind, and what executing them may do."""

import pytest

from perfwright.analysis.statements.grouping import group_statements
from perfwright.analysis.statements.mysql_digests import judge, kind_of, tables_of
from perfwright.models.database import Catalog, DatabaseFacts, TableFacts
from perfwright.models.statement import LogDigest, LoggedStatement, ObservedWindow, ServerCounters, StatementSample

CATALOG = Catalog(database="shop", tables=(TableFacts(schema_name="shop", name="orders"), TableFacts(schema_name="shop", name="customers")))
FACTS = DatabaseFacts(system="mariadb", version="10.11.9", version_number=101109, database="shop")


@pytest.mark.parametrize(
    ("text", "kind", "tables"),
    [
        ("SELECT `id` FROM `orders` WHERE `state` = ?", "select", ("orders",)),
        (
            "SELECT * FROM `shop` . `orders` `o` JOIN `customers` AS `c` ON `c` . `id` = `o` . `customer_id`",
            "select",
            ("shop.orders", "customers"),
        ),
        ("SELECT ? FROM `a` , `b` `x` , c WHERE ?", "select", ("a", "b", "c")),
        ("SELECT * FROM ( SELECT * FROM `inner` ) `x`", "select", ("inner",)),
        ("UPDATE `orders` SET `state` = ?", "update", ("orders",)),
        ("INSERT INTO `orders` VALUES (...)", "insert", ("orders",)),
        ("DELETE FROM `orders` WHERE `id` = ?", "delete", ("orders",)),
        ("SELECT 'FROM x' -- FROM y\n", "select", ()),
        ("SET NAMES ?", "utility", ()),
    ],
)
def test_kind_and_tables(text: str, kind: str, tables: tuple[str, ...]) -> None:
    """Digests with spaces and backticks, and texts as written."""
    assert (kind_of(text), tables_of(text)) == (kind, tables)


@pytest.mark.parametrize(
    ("text", "safety"),
    [
        (
            "SELECT COUNT ( * ) , `state` FROM `orders` WHERE `id` IN (?, ?) AND `d` > DATE_SUB ( NOW ( ) , INTERVAL ? DAY ) GROUP BY `state`",
            "reads only",
        ),
        ("WITH x AS ( SELECT 1 ) SELECT id FROM orders", "reads only"),
        ("SELECT id FROM orders FOR UPDATE", "locks"),
        ("SELECT id FROM orders LOCK IN SHARE MODE", "locks"),
        ("SELECT SLEEP(5) FROM orders", "volatile"),
        ("SELECT `evil`(1) FROM orders", "volatile"),
        ('SELECT "evil"(1) FROM orders', "volatile"),
        ("SELECT GET_LOCK('a', 1)", "volatile"),
        ("SELECT LOAD_FILE('/etc/passwd')", "volatile"),
        ("SELECT NEXTVAL(s)", "volatile"),
        ("SELECT NEXT VALUE FOR s", "volatile"),
        ("SELECT id INTO OUTFILE '/tmp/x' FROM orders", "volatile"),
        ("SELECT @a := 1", "volatile"),
        ("SELECT id FROM some_view", "volatile"),
        ("WITH x AS (SELECT 1) DELETE FROM orders", "volatile"),
        ("UPDATE orders SET state = 1", "writes"),
        ("INSERT INTO orders VALUES (1)", "writes"),
        ("SELECT 1 /*! INTO OUTFILE '/tmp/x' */", "never"),
        ("SELECT 1 /*M!100100 , evil() */", "never"),
        ("SELECT 1; DELETE FROM orders", "never"),
        (r"SELECT '\' , evil(1) , '' FROM orders", "never"),
        ("SELECT `id` FROM `orders` WHERE ...", "never"),
        ("CALL p()", "never"),
        ("SET GLOBAL x = 1", "never"),
        ("LOAD DATA INFILE 'x' INTO TABLE orders", "never"),
    ],
)
def test_what_it_may_do(text: str, safety: str) -> None:
    """Only known words, functions and tables make a query that only reads."""
    found = judge(text, CATALOG)
    assert found.safety == safety
    assert bool(found.reason) is (safety != "reads only")
    assert judge("SELECT id FROM orders", None).safety == "volatile"


def test_digests_become_statements() -> None:
    """A statement is named by its digest; a digest alone cannot be explained, one with a logged call can."""
    digest = "0123456789ABCDEF" + "0" * 48
    text = "SELECT `id` FROM `orders` WHERE `state` = ?"
    counters = (
        ServerCounters(query_id=digest, database="shop", text=text, calls=3, total_ms=30.0, rows=9),
        ServerCounters(query_id="f" * 64, database="shop", text="SELECT `a` FROM `orders` WHERE `b` = ?", calls=1, total_ms=10.0),
        ServerCounters(query_id="e" * 64, database="other", text="SELECT ?", calls=1, total_ms=500.0),
    )
    call = StatementSample(text="SELECT id FROM orders WHERE state = 'open'", duration_ms=12.0, source="slow log")
    log = LogDigest(
        statements=(
            LoggedStatement(fingerprint="0123456789abcdef", text=call.text, calls=1, total_ms=12.0, durations_ms=(12.0,), samples=(call,)),
        )
    )
    window = ObservedWindow(seconds=10.0, started_at="", source="performance_schema", statements=counters)
    table = group_statements(window, log, (), CATALOG, database=FACTS)
    first, second = table.statements
    assert (first.fingerprint, first.kind, first.tables, first.calls, first.total_ms, first.share) == (
        "0123456789abcdef",
        "select",
        ("orders",),
        3,
        30.0,
        0.75,
    )
    assert (first.text, first.samples, first.safety, first.not_explainable) == (text, (call,), "reads only", "")
    assert set(first.sources) == {"performance_schema", "slow log"}
    assert (second.fingerprint, second.not_explainable) == ("f" * 16, "no call with its values was seen")
