"""Normalized texts become ones that a server takes with `$n` in them."""

import pytest

from perfwright.analysis.statements.generic_text import generic_text
from perfwright.analysis.statements.parameter_types import category_of
from perfwright.analysis.statements.parsing import Unreadable, fingerprint_of
from perfwright.models.database import Catalog, ColumnFacts, TableFacts

CATALOG = Catalog(
    database="shop",
    tables=(
        TableFacts(
            schema_name="public",
            name="orders",
            columns=(
                ColumnFacts(name="id", type="bigint"),
                ColumnFacts(name="placed", type="date"),
                ColumnFacts(name="seen", type="timestamp with time zone"),
                ColumnFacts(name="state", type="character varying(20)"),
                ColumnFacts(name="total", type="numeric(10,2)"),
            ),
        ),
    ),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT interval $1, date $2, timestamp with time zone $3", "SELECT $1::interval, $2::date, $3::timestamp with time zone"),
        (
            "SELECT interval $1 day, interval $2 hour to minute, interval(3) $3",
            "SELECT $1::interval day, $2::interval hour to minute, $3::interval(3)",
        ),
        ("SELECT now() - INTERVAL  $1 AS day FROM orders", "SELECT now() - $1::INTERVAL AS day FROM orders"),
        ("SELECT 'é', date $1", "SELECT 'é', $1::date"),
        (
            "SELECT extract($1 FROM seen), EXTRACT ( $2 from date $3)",
            "SELECT pg_catalog.extract($1::text, seen), pg_catalog.extract($2::text, $3::date)",
        ),
        ("SELECT $1 + $2, -$3, $4 * ($5 - $6)", "SELECT $1::integer + $2::integer, -$3::integer, $4 * ($5::integer - $6::integer)"),
        (
            "SELECT placed + $1, placed - $2, date $3 + $4, current_date - $5 FROM orders",
            "SELECT placed + $1::integer, placed - $2::integer, $3::date + $4::integer, current_date - $5::integer FROM orders",
        ),
        (
            "SELECT sum($1), round($2), avg(total * $3), count($4), concat($5, id) FROM orders",
            "SELECT sum($1::integer), round($2::integer), avg(total * $3), count($4::text), concat($5::text, id) FROM orders",
        ),
        ("SELECT sum(CASE WHEN state = $1 THEN $2 ELSE $3 END)", "SELECT sum(CASE WHEN state = $1 THEN $2::integer ELSE $3::integer END)"),
        ("SELECT sum(CASE WHEN state = $1 THEN total ELSE $2 END) FROM orders", None),
        (
            "SELECT sum(q.n) FROM (SELECT CASE WHEN id = $1 THEN $2 ELSE $3 END AS n FROM orders) q",
            "SELECT sum(q.n) FROM (SELECT CASE WHEN id = $1 THEN $2::integer ELSE $3::integer END AS n FROM orders) q",
        ),
        (
            "SELECT 1 FROM orders WHERE id = ANY (ARRAY[$1, $2]) AND state = ANY (ARRAY[$3, $4])",
            "SELECT 1 FROM orders WHERE id = ANY (ARRAY[$1::integer, $2::integer]) AND state = ANY (ARRAY[$3, $4])",
        ),
        (
            "SELECT 1 FROM orders WHERE id = CASE WHEN state = $1 THEN $2 ELSE $3 END",
            "SELECT 1 FROM orders WHERE id = CASE WHEN state = $1 THEN $2::integer ELSE $3::integer END",
        ),
        ("SELECT 1 FROM orders WHERE $1 IS NULL OR state = $2", "SELECT 1 FROM orders WHERE $1::text IS NULL OR state = $2"),
        (
            "SELECT 1 FROM orders WHERE id = $1 AND state IN ($2, $3) AND total BETWEEN $4 AND $5 + $6 LIMIT $7",
            "SELECT 1 FROM orders WHERE id = $1 AND state IN ($2, $3) AND total BETWEEN $4 AND $5::integer + $6::integer LIMIT $7",
        ),
        (
            "SELECT seen - $1, seen + interval $2, state || $3, $4 || $5, lower($6), coalesce(total, $7) FROM orders",
            "SELECT seen - $1, seen + $2::interval, state || $3, $4 || $5, lower($6), coalesce(total, $7) FROM orders",
        ),
        ("SELECT $1 AS a UNION ALL SELECT id FROM orders", None),
        ("SELECT a.id FROM orders a WHERE a.id = $1::int AND CAST($2 AS date) < placed", None),
        ("SELECT n FROM (SELECT n + $1 AS n FROM (SELECT n FROM x) n) n", None),
    ],
)
def test_what_is_rewritten(text: str, expected: str | None) -> None:
    """Words that only take a constant, and types that only the constant told; everything else stays as it is."""
    assert generic_text(text, CATALOG) == (expected or text)


def test_fingerprint_stays() -> None:
    """The rewritten words are the same statement to the parser."""
    text = "SELECT extract($1 FROM seen) FROM orders WHERE placed < date $2 - interval $3 day"
    assert fingerprint_of(generic_text(text).replace("pg_catalog.extract($1::text, seen)", "extract($1 FROM seen)")) == fingerprint_of(text)


def test_extract_of_old_servers() -> None:
    """Before PostgreSQL 14 there is no function of that name."""
    assert generic_text("SELECT extract($1 FROM seen)", version_number=130012) == "SELECT pg_catalog.date_part($1::text, seen)"


def test_texts_without_placeholders_and_broken_ones() -> None:
    """Nothing to do is nothing done; what cannot be read raises."""
    assert generic_text("broken (") == "broken ("
    with pytest.raises(Unreadable):
        generic_text("SELECT $1 FROM")


@pytest.mark.parametrize(
    ("type_name", "category"),
    [
        ("bigint", "number"),
        ("numeric(10,2)", "number"),
        ("double precision", "number"),
        ("character varying(20)", "text"),
        ("timestamp without time zone", "timestamp"),
        ("timestamp(3) with time zone", "timestamp"),
        ("date", "date"),
        ("interval", "interval"),
        ("integer[]", "other"),
        ("mood", "other"),
    ],
)
def test_categories(type_name: str, category: str) -> None:
    """Types as `format_type` writes them."""
    assert category_of(type_name) == category
