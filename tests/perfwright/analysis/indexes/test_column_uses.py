"""How queries use columns, resolved against the catalog, and the indexes that follow."""

import pytest

from perfwright.analysis.indexes.candidates import candidates, relevant
from perfwright.analysis.indexes.column_uses import TableUse, Unresolved, column_uses
from perfwright.analysis.indexes.workload import read_workload, rows_searched
from perfwright.models.database import Catalog
from tests.perfwright.analysis.query_advice.drawn import SHOP, column, index, table

LINES = table(
    "lines",
    column("order_id", distinct=-0.25),
    column("part_id", distinct=20_000),
    column("shipped", "date", distinct=2_500),
    column("promised", "date", distinct=2_500),
    column("cancelled", "date", distinct=2_500),
    column("done", "boolean", distinct=2),
    column("price", "numeric(12,2)", distinct=-0.4),
    column("comment", "text", distinct=-0.9, width=60),
    indexes=(index("lines_pkey", "order_id", "part_id", unique=True),),
)
CATALOG = Catalog(database="shop", tables=(*SHOP.tables, LINES))


def only(text: str, name: str) -> TableUse:
    [use] = [one for one in column_uses(text, CATALOG) if one.table.name == name]
    return use


def titles(text: str) -> set[str]:
    return {one.title for one in candidates(column_uses(text, CATALOG))}


def test_columns_are_told_by_how_they_are_compared() -> None:
    """Unqualified names belong to the table that has them."""
    use = only(
        "SELECT total FROM orders JOIN customers c ON customer_id = c.id WHERE status = 'open' AND created_at > '2026-01-01'"
        " AND c.city IN ('Bonn', 'Ulm') ORDER BY created_at DESC LIMIT 5",
        "orders",
    )
    assert (use.equal, use.joined, use.ranges, use.ordered) == (["status"], ["customer_id"], ["created_at"], [("created_at", True)])
    assert set(use.needed) == {"total", "customer_id", "status", "created_at"}


def test_an_alias_that_hides_a_table_is_not_the_table() -> None:
    """What a WITH names `orders` is not the table, and what it reads is."""
    uses = column_uses("WITH orders AS (SELECT order_id AS id FROM lines WHERE part_id = 7) SELECT id FROM orders WHERE id = 3", CATALOG)
    assert [(one.table.name, one.equal) for one in uses] == [("lines", ["part_id"])]


def test_a_correlated_column_joins_both_sides() -> None:
    """An EXISTS is a semi-join: it may be entered from either side; its star needs no column."""
    text = "SELECT o.total FROM orders o WHERE EXISTS (SELECT * FROM lines WHERE order_id = o.id AND shipped < promised)"
    inner, outer = only(text, "lines"), only(text, "orders")
    assert inner.joined == ["order_id"] and outer.joined == ["id"]
    assert set(inner.needed) == {"order_id", "shipped", "promised"} and inner.ranges == []
    assert inner.conditions == ["shipped < promised"]


def test_two_occurrences_are_two_uses() -> None:
    """Of a table that is joined with itself."""
    uses = column_uses("SELECT a.price FROM lines a, lines b WHERE a.part_id = b.part_id AND a.price = 3", CATALOG)
    assert sorted((one.equal, one.joined) for one in uses) == [([], ["part_id"]), (["price"], ["part_id"])]


@pytest.mark.parametrize(
    "condition",
    ["status <> 'open'", "status NOT IN ('a', 'b')", "total = total", "note NOT LIKE '%abc%'", "status IS NOT NULL", "total > total + 1"],
)
def test_what_no_index_finds_asks_for_none(condition: str) -> None:
    """Nearly all rows, or rows by their own columns."""
    use = only(f"SELECT id FROM orders WHERE {condition}", "orders")
    assert not use.useful and not use.patterns and not use.expressions


def test_branches_of_an_or_find_rows_in_no_order() -> None:
    """They are lists, whose columns come in no order."""
    assert only("SELECT id FROM orders WHERE status = 'a' OR customer_id = 5", "orders").listed == ["status", "customer_id"]


def test_conditions_without_values_are_partial_indexes() -> None:
    """Whatever is asked for, they hold; both spellings of a comparison are the same."""
    one, other = only("SELECT 1 FROM lines WHERE shipped < promised AND part_id = 3", "lines"), only(
        "SELECT 1 FROM lines l WHERE l.promised > l.shipped AND l.part_id = 9", "lines"
    )  # fmt: skip
    assert one.conditions == other.conditions == ["shipped < promised"]
    found = titles("SELECT part_id FROM lines WHERE cancelled IS NULL AND NOT done AND part_id = 3")
    assert {"lines(part_id) WHERE cancelled IS NULL", "lines(part_id) WHERE NOT done"} <= found
    assert not [one for one in titles("SELECT part_id FROM lines WHERE price > 3 AND part_id = 3") if "WHERE" in one]


def test_conditions_that_hold_together_are_one_partial_index() -> None:
    """Few rows may be left by them: behind the column that is looked up comes the range, and only queries with all of them profit."""
    asked = "SELECT price FROM lines WHERE shipped < promised AND promised < cancelled AND part_id IN (3, 4) AND cancelled > '2026-01-01'"
    both = "WHERE shipped < promised AND promised < cancelled"
    assert {f"lines(part_id, cancelled) {both}", f"lines(part_id, cancelled) INCLUDE (price) {both}"} <= titles(asked)
    [index] = [one for one in candidates(column_uses(asked, CATALOG)) if one.title == f"lines(part_id, cancelled) {both}"]
    assert relevant(index, column_uses(asked, CATALOG))
    assert not relevant(index, column_uses("SELECT price FROM lines WHERE shipped < promised AND part_id = 3", CATALOG))


def test_what_a_condition_decides_is_no_key() -> None:
    """All entries of the index would have the same value; what is looked up beside it comes first."""
    found = titles("SELECT price FROM lines WHERE cancelled IS NULL AND NOT done AND part_id = 3 AND promised > '2026-01-01'")
    assert "lines(part_id, promised) INCLUDE (price) WHERE cancelled IS NULL AND NOT done" in found
    assert not [one for one in found if "cancelled" in one.partition(" ")[0] and "WHERE cancelled IS NULL" in one]
    assert not [one for one in found if "done" in one.partition(" ")[0] and "NOT done" in one]
    assert "lines(promised) WHERE promised IS NOT NULL" in titles(
        "SELECT 1 FROM lines WHERE promised IS NOT NULL AND promised > '2026-01-01'"
    )


def test_expressions_and_patterns_have_their_own_kinds() -> None:
    """Immutable expressions as they stand in the DDL; patterns with three letters in a row by trigrams."""
    found = titles("SELECT id FROM customers WHERE lower(email) = 'x' AND city LIKE '%onn%'")
    assert "customers((LOWER(email)))" in found or "customers((lower(email)))" in found
    [trigram] = [one for one in candidates(column_uses("SELECT 1 FROM customers WHERE city ILIKE '%onn%'", CATALOG)) if one.trigrams]
    assert trigram.ddl("x") == "CREATE INDEX x ON public.customers USING gin (city gin_trgm_ops)"
    assert not [one for one in titles("SELECT id FROM customers WHERE to_char(joined, 'YYYY') = '2026'") if "to_char" in one.lower()]


def test_candidates_cover_and_order() -> None:
    """Equalities before the range, the order behind equalities, and a variant that carries what else is read."""
    found = titles("SELECT total FROM orders WHERE status = 'a' AND created_at > '2026-01-01' ORDER BY customer_id")
    assert {"orders(status)", "orders(status, created_at)", "orders(status, customer_id)"} <= found
    assert "orders(status, created_at) INCLUDE (customer_id, total)" in found


def test_a_mixed_order_needs_directions_and_a_uniform_one_does_not() -> None:
    """A B-tree is read from either end."""
    assert "orders(status, total DESC)" in titles("SELECT id FROM orders ORDER BY status, total DESC LIMIT 3")
    assert "orders(status, total)" in titles("SELECT id FROM orders ORDER BY status DESC, total DESC LIMIT 3")


def test_small_tables_existing_prefixes_and_wide_covers_are_left_out() -> None:
    """`settings` has forty rows; order_id begins the primary key; a cover of nearly the whole row is the table once more."""
    assert not titles("SELECT name FROM settings WHERE name = 'a'")
    assert "lines(order_id)" not in titles("SELECT 1 FROM lines WHERE order_id = 3")
    assert not [one for one in titles("SELECT * FROM lines WHERE part_id = 3") if "INCLUDE" in one]


@pytest.mark.parametrize("text", ["SELECT FROM WHERE", "SELECT $$a$$", "SELECT '" + "x" * 100_000 + "'"])
def test_a_text_that_cannot_be_read_is_refused_with_a_reason(text: str) -> None:
    """And the others of its workload are looked at."""
    with pytest.raises(Unresolved):
        column_uses(text, CATALOG)
    workload = read_workload((text, "SELECT 1 FROM lines WHERE part_id = 3"), (1.0, 1.0), CATALOG, 10**9)
    assert [number for number, _ in workload.unresolved] == [0] and workload.statements == (1,)


def test_a_write_is_a_search_for_its_rows_as_well() -> None:
    """Its WHERE finds rows like that of a SELECT; an INSERT finds none; values that are not known are told."""
    assert "WHERE" in rows_searched("UPDATE orders SET total = 3 WHERE customer_id = 7")
    workload = read_workload(
        ("DELETE FROM orders WHERE customer_id = 7", "INSERT INTO orders (id) VALUES (1)", "SELECT 1 FROM orders WHERE id = $1"),
        (1.0, 2.0, 3.0),
        CATALOG,
        10**9,
    )
    assert [one.kind for one in workload.problem.writes] == ["delete", "insert"] and workload.problem.weights == (0.5,)
    assert workload.unresolved == ((2, "its values are not known"),)
