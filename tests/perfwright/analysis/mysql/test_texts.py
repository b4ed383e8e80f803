"""Texts of statements, logs and connection strings."""

import pytest

from perfwright.analysis.mysql.connection_string import ConnectionStringInvalid, parse_connection_string
from perfwright.analysis.mysql.counters import Counters, Snapshot, difference, gather
from perfwright.analysis.mysql.reads import why_not_read_only
from perfwright.analysis.mysql.shapes import fingerprint, masked
from perfwright.analysis.mysql.slow_log import SlowLogReader
from perfwright.models.database import Catalog, TableFacts

TABLES = Catalog(database="shop", tables=(TableFacts(schema_name="shop", name="orders"),))
MYSQL_LOG = """/usr/sbin/mysqld, Version: 8.4.0 (MySQL Community Server). started with:
Tcp port: 3306  Unix socket: /tmp/mysql.sock
Time                 Id Command    Argument
# Time: 2026-01-31T12:00:00.123456Z
# User@Host: app[app] @ localhost []  Id:     8
# Query_time: 0.250000  Lock_time: 0.000002 Rows_sent: 1  Rows_examined: 60000
use shop;
SET timestamp=1769860800;
SELECT *
  FROM orders -- all of them
 WHERE total = 5;
# User@Host: app[app] @ localhost []  Id:     8
# Query_time: 0.750000  Lock_time: 0.000002 Rows_sent: 1  Rows_examined: 60000
SET timestamp=1769860860;
select * from orders where total = 6;
# User@Host: app[app] @ localhost []  Id:     9
# Query_time: 0.100000  Lock_time: 0.000000 Rows_sent: 0  Rows_examined: 0
use other;
SET timestamp=1769860861;
SELECT 1;
# administrator command: Quit;
"""


def test_a_log_of_mysql_is_read() -> None:
    """MySQL tells the database with `use` only, where it changes; statements may have several lines."""
    reader = SlowLogReader("shop")
    reader.feed(MYSQL_LOG.splitlines(keepends=True))
    digest = reader.digest()
    [seen] = digest.statements
    assert (seen.calls, seen.total_ms, seen.durations_ms) == (2, 1_000.0, (250.0, 750.0))
    assert [one.duration_ms for one in seen.samples] == [250.0, 750.0]
    assert (digest.first_at, digest.last_at) == ("2026-01-31T12:00:00+00:00", "2026-01-31T12:01:01+00:00")


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        ("select  * from orders where id=7 and x<>'a'", "SELECT * FROM `orders` WHERE `id` = ? AND `x` != ?"),
        (
            "SELECT CONCAT(a, 'x') FROM t WHERE b IN (1, 2, 3) LIMIT 5, 10",
            "SELECT `CONCAT` ( `a` , ? ) FROM `t` WHERE `b` IN (...) LIMIT ?, ...",
        ),
        ("INSERT INTO t VALUES (1, 'a'), (2, 'b')", "INSERT INTO `t` VALUES (...) , (...)"),
        ("SELECT now() - INTERVAL 1 DAY /* note */ FROM t WHERE a > -5", "SELECT NOW ( ) - INTERVAL ? SQL_TSI_DAY FROM `t` WHERE `a` > ?"),
    ],
)
def test_text_and_digest_have_one_name(text: str, digest: str) -> None:
    """What the slow log has and what performance_schema has of one statement find each other."""
    assert fingerprint(text) == fingerprint(digest)


def test_other_statements_have_other_names() -> None:
    """Columns, tables and operators make a shape."""
    texts = (
        "SELECT a FROM t WHERE a = 1",
        "SELECT a FROM t WHERE a > 1",
        "SELECT b FROM t WHERE a = 1",
        "SELECT a FROM u WHERE a = 1",
        "SELECT a - 1 FROM t",
    )
    assert len({fingerprint(text) for text in texts}) == len(texts)


def test_no_value_is_shown() -> None:
    """Strings in both quotes, numbers, hexadecimal and cut strings become `?`; names stay."""
    shown = masked("SELECT `it's` FROM t1 WHERE a='x''y' AND b=\"q\" AND c=0xFF AND d=1.5e3 /* secret */ AND e='cut")
    assert shown == "SELECT `it's` FROM t1 WHERE a=? AND b=? AND c=? AND d=? AND e=?"


def test_an_escaped_quote_hides_what_may_be_a_value() -> None:
    """Whether a backslash escapes is the session's sql_mode: shown is only what is outside of quotes either way."""
    assert masked("SELECT a FROM t1 WHERE a='x\\'secret' AND b='other'") == "SELECT a FROM t1 WHERE a=?"


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM orders FOR UPDATE",
        "SELECT * FROM orders LOCK IN SHARE MODE",
        "SELECT * FROM orders FOR SHARE SKIP LOCKED",
        "SELECT * FROM orders INTO OUTFILE '/tmp/x'",
        "SELECT id INTO @a FROM orders",
        "SELECT @a := id FROM orders",
        "SELECT sleep(5) FROM orders",
        "SELECT `sleep`(5) FROM orders",
        "SELECT 1; DELETE FROM orders",
        "SELECT /*! sleep(5), */ 1 FROM orders",
        "SELECT load_file('/etc/passwd') FROM orders",
        "SELECT * FROM a_view",
        "SELECT * FROM orders WHERE id IN (SELECT x FROM a_view)",
        "SELECT NEXT VALUE FOR s",
        "WITH x AS (SELECT get_lock('a', 1)) SELECT * FROM orders",
        "DELETE FROM orders",
        "CALL p()",
        "SELECT * FROM orders WHERE id = ?",
        "SELECT (((",
        "",
    ],
)
def test_what_may_do_more_than_reading_is_named(text: str) -> None:
    """None of these is ever executed."""
    assert why_not_read_only(text, TABLES)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT count(*), max(total) FROM orders WHERE created > now() - INTERVAL 1 DAY",
        "SELECT * FROM shop.orders o JOIN orders p ON p.id = o.id WHERE o.a IN (SELECT b FROM orders) ORDER BY 1 LIMIT 5",
        "SELECT a FROM orders UNION ALL SELECT b FROM orders",
    ],
)
def test_what_only_reads_may_be_executed(text: str) -> None:
    """Plain SELECTs of known functions over tables."""
    assert why_not_read_only(text, TABLES) == ""


def test_connection_strings() -> None:
    """Parts are decoded; the password is not in the repr; what is none is refused without repeating it."""
    found = parse_connection_string("mysql+pymysql://us%40er:p%2Fw@db.example:3307/shop?ssl_mode=verify-identity&charset=utf8mb4")
    assert (found.user, found.password, found.host, found.port, found.database, found.tls_mode) == (
        ("us@er", "p/w", "db.example", 3307, "shop", "VERIFY_IDENTITY")
    )
    assert "p/w" not in repr(found)
    for text in ("", "postgresql://a:secret@h/d", "mysql://a:secret@h", "mysql://a:secret@h:x/d", "mysql://a:secret@h/d?ssl-mode=no"):
        with pytest.raises(ConnectionStringInvalid) as refused:
            parse_connection_string(text)
        assert "secret" not in str(refused.value)


def test_counters_of_a_window() -> None:
    """Differences; after a reset or a restart what was counted since, and both are told."""
    then = Snapshot(100.0, 0.0, 1, {"a": Counters(10, 100.0, 1.0, 50.0, 10, 0), "b": Counters(5, 5.0, 1.0, 1.0, 5, 0)})
    now = Snapshot(160.0, 0.4, 4, {"a": Counters(12, 130.0, 1.0, 50.0, 12, 0), "b": then.entries["b"]})
    found = difference(then, now)
    window = gather(found, {"a": "SELECT `a` FROM `t` WHERE `b` = ?"}, "shop", 100.0)
    [seen] = window.statements
    assert (seen.calls, seen.total_ms, seen.max_ms, window.seconds, window.reset) == (2, 30.0, None, 60.0, False)
    assert window.note == "3 calls found no room for a digest: raise performance_schema_digests_size"
    restarted = difference(then, Snapshot(160.0, 130.0, 0, {"a": Counters(3, 3.0, 1.0, 1.0, 3, 0)}))
    assert (restarted.restarted, restarted.seconds, restarted.entries["a"].calls) == (True, 30.0, 3)
    assert difference(then, Snapshot(160.0, 0.0, 0, {"a": then.entries["a"]})).reset
