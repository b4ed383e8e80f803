"""Where the order of rows decides what a query returns."""

import pytest

from perfwright.analysis.explaining.row_order import KeyClaim, order_claims, other_order
from perfwright.analysis.statements.parsing import Unreadable


@pytest.mark.parametrize(
    "text",
    [
        "SELECT a FROM t",
        "SELECT a FROM t ORDER BY b",
        "SELECT DISTINCT a FROM t",
        "SELECT a FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.a = t.a LIMIT 1)",
        "SELECT a, count(*) FROM t GROUP BY a ORDER BY 2 DESC, a LIMIT 10",
        "SELECT t.a, count(*) AS n FROM t JOIN u ON true GROUP BY t.a, b ORDER BY n, t.a, b LIMIT 10",
    ],
)
def test_one_answer_whatever_the_tables_hold(text: str) -> None:
    """Nothing is cut off, or the groups are told apart by the order."""
    assert order_claims(text) == ()


@pytest.mark.parametrize(
    "text, claims",
    [
        ("SELECT a FROM t ORDER BY b, a LIMIT 10", [KeyClaim("", "t", ("b", "a"))]),
        ("SELECT a AS b FROM s.t ORDER BY b OFFSET 5", [KeyClaim("s", "t", ("a",))]),
        ("SELECT x.a, lower(b) FROM t x ORDER BY 2, 1 FETCH FIRST 3 ROWS ONLY", [KeyClaim("", "t", ("a",))]),
        (
            "SELECT 1 FROM t x LEFT JOIN u ON u.i = x.i ORDER BY x.i, u.j, k LIMIT 1",
            [KeyClaim("", "u", ("j", "k")), KeyClaim("", "t", ("i", "k"))],
        ),
        ("SELECT DISTINCT ON (a) a, b FROM t ORDER BY a, c", [KeyClaim("", "t", ("a", "c"))]),
        ("SELECT * FROM u WHERE u.i IN (SELECT i FROM t ORDER BY i LIMIT 5)", [KeyClaim("", "t", ("i",))]),
        ("WITH q AS (SELECT i FROM t ORDER BY i LIMIT 5) SELECT * FROM q", [KeyClaim("", "t", ("i",))]),
    ],
)
def test_what_the_server_is_asked(text: str, claims: list[KeyClaim]) -> None:
    """Which columns would have to hold a unique key of each table: qualified ones of their own table, others of any."""
    assert sorted(order_claims(text), key=str) == sorted(claims, key=str)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT a FROM t LIMIT 10",
        "SELECT a FROM t OFFSET 10",
        "SELECT t.a FROM t JOIN u ON true ORDER BY t.a LIMIT 10",
        "SELECT a FROM t ORDER BY lower(a) LIMIT 10",
        "SELECT a FROM t ORDER BY lower(a) LIMIT 10",
        "SELECT lower(a) AS id FROM t ORDER BY id LIMIT 10",
        "SELECT a FROM (SELECT a FROM t) q ORDER BY a LIMIT 10",
        "SELECT a FROM generate_series(1, 9) a ORDER BY a LIMIT 10",
        "SELECT a FROM t UNION SELECT a FROM u ORDER BY a LIMIT 10",
        "SELECT a, b, count(*) FROM t GROUP BY a, b ORDER BY a LIMIT 10",
        "SELECT u.x, (SELECT a FROM t WHERE t.b = u.b LIMIT 1) FROM u",
        "SELECT DISTINCT ON (a) a, b FROM t",
        "not SQL",
    ],
)
def test_answers_that_the_server_may_choose(text: str) -> None:
    """Rows are cut off in an order that cannot be told to be total."""
    with pytest.raises(Unreadable):
        order_claims(text)


@pytest.mark.parametrize(
    "original, rewritten, same",
    [
        ("SELECT a FROM t", "SELECT a FROM t ORDER BY b", True),
        ("SELECT a FROM t ORDER BY a", "SELECT x.a FROM t x ORDER BY x.a, x.b", True),
        ("SELECT a AS n FROM t ORDER BY n", "SELECT x.a AS n FROM t x ORDER BY 1", True),
        ("SELECT a FROM t ORDER BY a + 1 DESC NULLS LAST", "SELECT a FROM t ORDER BY t.a + 1 DESC NULLS LAST", True),
        ("SELECT a FROM t ORDER BY a", "SELECT a FROM t", False),
        ("SELECT a FROM t ORDER BY a", "SELECT a FROM t ORDER BY a DESC", False),
        ("SELECT a FROM t ORDER BY a, b", "SELECT a FROM t ORDER BY b, a", False),
        ("SELECT a FROM t ORDER BY a + 1", "SELECT a FROM t ORDER BY a + 2", False),
        ("SELECT a FROM t ORDER BY a", "SELECT b FROM (SELECT a, b FROM t ORDER BY a) q", False),
    ],
)
def test_the_order_is_kept(original: str, rewritten: str, same: bool) -> None:
    """What the original sorts by, the rewrite sorts by first."""
    assert (other_order(original, rewritten) == "") == same
