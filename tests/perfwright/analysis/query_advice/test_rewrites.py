"""Rewrites: believed equal for the reasons their rules give, and only where something was wrong."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfwright.analysis.query_advice.plan_view import Tables
from perfwright.analysis.query_advice.rewrite_conditions import column_alone, half_open_ranges, inlined_ctes
from perfwright.analysis.query_advice.rewrite_or import union_instead_of_or
from perfwright.analysis.query_advice.rewrite_subqueries import aggregate_once, exists_instead_of_count, not_exists_instead_of_not_in
from perfwright.analysis.query_advice.rewrites import MAX_PER_STATEMENT, rewrite_candidates
from perfwright.analysis.query_advice.sql_reading import NotRewritable, Scopes, read_sql, write_sql
from perfwright.models.database import Catalog, FunctionFacts
from tests.perfwright.analysis.query_advice.drawn import SHOP, Run, column, hit, table, whole_orders

TABLES = Catalog(
    database="d",
    tables=(
        table(
            "t",
            column("id", not_null=True),
            column("a"),
            column("b", "text"),
            column("at", "timestamp with time zone"),
            column("day", "date"),
        ),
        table("u", column("id", not_null=True), column("tid", not_null=True), column("x"), column("maybe")),
    ),
)
RULES = {
    one.__name__: one
    for one in (aggregate_once, exists_instead_of_count, not_exists_instead_of_not_in, half_open_ranges, column_alone, union_instead_of_or)
}


def rewritten(rule: str, text: str) -> str:
    """On one line; empty where the rule does nothing."""
    tree = read_sql(text)
    done = RULES[rule](tree, Scopes(Tables(TABLES)))
    return " ".join(write_sql(tree).split()).replace("( ", "(").replace(" )", ")") if done else ""


GOLDEN = [
    ("aggregate_once", "SELECT t.id FROM t, u WHERE t.id = u.tid AND u.x < (SELECT avg(v.x) FROM u AS v WHERE v.tid = t.id)",
     "FROM t, u, (SELECT v.tid AS grouped_key_1, AVG(v.x) AS grouped_value FROM u AS v GROUP BY v.tid) AS grouped_1 "
     "WHERE t.id = u.tid AND u.x < grouped_1.grouped_value AND grouped_1.grouped_key_1 = t.id"),
    ("aggregate_once", "SELECT *, (SELECT count(*) FROM u WHERE tid = t.id) AS n FROM t",
     "SELECT t.*, COALESCE(grouped_1.grouped_value, 0) AS n FROM t LEFT JOIN (SELECT tid AS grouped_key_1, COUNT(*) AS grouped_value "
     "FROM u GROUP BY tid) AS grouped_1 ON grouped_1.grouped_key_1 = t.id"),
    ("exists_instead_of_count", "SELECT id FROM t WHERE 0 < (SELECT count(*) FROM u WHERE tid = t.id)",
     "SELECT id FROM t WHERE EXISTS(SELECT 1 FROM u WHERE tid = t.id)"),
    ("exists_instead_of_count", "SELECT id FROM t WHERE (SELECT count(u.tid) FROM u WHERE u.x = t.a) = 0",
     "SELECT id FROM t WHERE NOT EXISTS(SELECT 1 FROM u WHERE u.x = t.a)"),
    ("not_exists_instead_of_not_in", "SELECT a FROM t WHERE id NOT IN (SELECT tid FROM u WHERE x > 1)",
     "SELECT a FROM t WHERE NOT EXISTS(SELECT 1 FROM u WHERE x > 1 AND u.tid = t.id)"),
    ("half_open_ranges", "SELECT id FROM t WHERE date(at) = $1",
     "SELECT id FROM t WHERE at >= CAST($1 AS DATE) AND at < (CAST($1 AS DATE) + 1)"),
    ("half_open_ranges", "SELECT id FROM t WHERE '2024-02-29' <= at::date",
     "SELECT id FROM t WHERE at >= CAST('2024-02-29' AS DATE)"),
    ("half_open_ranges", "SELECT id FROM t WHERE date_trunc('month', at) = '2024-02-01' AND extract(year FROM day) = 2024",
     "SELECT id FROM t WHERE at >= CAST('2024-02-01' AS DATE) AND at < (CAST('2024-02-01' AS DATE) + INTERVAL '1 month') "
     "AND day >= CAST('2024-01-01' AS DATE) AND day < CAST('2025-01-01' AS DATE)"),
    ("column_alone", "SELECT b FROM t WHERE id::text = '42' AND a = 7.0", "SELECT b FROM t WHERE id = 42 AND a = 7"),
    ("union_instead_of_or", "SELECT count(*) FROM t WHERE (a = $1 OR b = 'x') AND id > 3",
     "SELECT COUNT(*) FROM (SELECT * FROM t WHERE a = $1 UNION ALL SELECT * FROM t WHERE b = 'x' AND NOT (a = $1) IS TRUE) AS t WHERE id > 3"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "text", "expected"), GOLDEN)
def test_a_rewrite_reads_like_this(rule: str, text: str, expected: str) -> None:
    """Only what the rule is about changes; the rest stays as it was written."""
    assert rewritten(rule, text).endswith(expected)


UNSURE = [
    ("aggregate_once", "SELECT id FROM t WHERE a < (SELECT coalesce(avg(x), 0) FROM u WHERE tid = t.id)"),  # 0 over no rows, a join finds none
    ("aggregate_once", "SELECT id FROM t WHERE a = (SELECT count(*) FROM u WHERE tid = t.id)"),  # 0 over no rows
    ("aggregate_once", "SELECT id FROM t WHERE a < (SELECT avg(x) FROM u WHERE tid > t.id)"),  # no equality
    ("aggregate_once", "SELECT id FROM t WHERE a < (SELECT avg(x + t.a) FROM u WHERE tid = t.id)"),  # the outer row inside of the aggregate
    ("aggregate_once", "SELECT id FROM t WHERE a < (SELECT avg(x) FROM u)"),  # not correlated: runs once already
    ("aggregate_once", "SELECT id FROM t WHERE a < (SELECT avg(x) FROM u WHERE tid = t.id) OR a IS NULL"),  # NULL is not false there
    ("aggregate_once", "SELECT id FROM t WHERE a < (SELECT max(x) FROM u WHERE tid = t.id LIMIT 1 OFFSET 1)"),
    ("aggregate_once", "SELECT (SELECT count(*) FROM u WHERE tid = t.id) AS n FROM t GROUP BY id"),
    ("aggregate_once", "SELECT id FROM t WHERE a < (SELECT avg(x) FROM u WHERE nowhere = t.id)"),  # a column that nobody has
    ("exists_instead_of_count", "SELECT id FROM t WHERE (SELECT count(*) FROM u WHERE tid = t.id) > 1"),
    ("exists_instead_of_count", "SELECT id FROM t WHERE (SELECT count(maybe) FROM u WHERE tid = t.id) > 0"),  # counts no NULLs
    ("exists_instead_of_count", "SELECT id FROM t WHERE (SELECT count(*) FROM u WHERE tid = t.id GROUP BY x) > 0"),
    ("not_exists_instead_of_not_in", "SELECT id FROM t WHERE id NOT IN (SELECT maybe FROM u)"),  # with one NULL nothing is returned
    ("not_exists_instead_of_not_in", "SELECT id FROM t WHERE a NOT IN (SELECT tid FROM u)"),  # NULL NOT IN is NULL
    ("not_exists_instead_of_not_in", "SELECT t.id FROM u LEFT JOIN t ON t.id = u.x WHERE t.id NOT IN (SELECT tid FROM u AS w)"),
    ("half_open_ranges", "SELECT id FROM t WHERE date_trunc('month', at) = '2024-02-03'"),  # never equal; a range would be
    ("half_open_ranges", "SELECT id FROM t WHERE date_trunc('day', at) = $1"),  # may not be a midnight
    ("half_open_ranges", "SELECT id FROM t WHERE at::date = now()"),  # compares a date with an instant
    ("half_open_ranges", "SELECT id FROM t WHERE at::date = day"),
    ("half_open_ranges", "SELECT id FROM t WHERE day::date = '2024-01-01'"),
    ("column_alone", "SELECT id FROM t WHERE id::text = '042'"),  # no integer is written so
    ("column_alone", "SELECT id FROM t WHERE id::text = 'x' AND a = 7.5 AND b::text = '7'"),
    ("union_instead_of_or", "SELECT id FROM t WHERE a = 1 OR a = 2"),  # one column: a list of values
    ("union_instead_of_or", "SELECT t.id FROM u LEFT JOIN t ON t.id = u.x WHERE t.a = 1 OR t.b = 'x'"),
    ("union_instead_of_or", "SELECT id FROM t WHERE a = 1 OR b = 'x' FOR UPDATE"),
    ("union_instead_of_or", "SELECT count(*) FROM t, u WHERE t.a = 1 OR u.x = 2"),  # would have to be added up again
]  # fmt: skip


@pytest.mark.parametrize(("rule", "text"), UNSURE)
def test_where_it_would_not_be_equal_nothing_is_offered(rule: str, text: str) -> None:
    """NULLs, empty groups, other types, outer joins: in doubt the statement stays as it is."""
    assert rewritten(rule, text) == ""


def test_a_with_query_is_inlined_unless_it_must_run_once() -> None:
    """NOT MATERIALIZED; not for recursive ones, nor where a volatile function is called."""

    def inlined(text: str) -> str:
        tree = read_sql(text)
        catalog = TABLES.model_copy(update={"functions": (FunctionFacts(name="roll", volatile=True),)})
        return " ".join(write_sql(tree).split()) if inlined_ctes(tree, catalog) else ""

    assert "c AS NOT MATERIALIZED (" in inlined("WITH c AS MATERIALIZED (SELECT * FROM t) SELECT * FROM c WHERE id = 1")
    assert "c AS NOT MATERIALIZED (" in inlined("WITH c AS (SELECT * FROM t) SELECT * FROM c JOIN c AS d USING (id)")
    assert inlined("WITH c AS (SELECT * FROM t) SELECT * FROM c WHERE id = 1") == ""  # the server inlines it by itself
    assert inlined("WITH c AS MATERIALIZED (SELECT random() AS r) SELECT * FROM c") == ""
    assert inlined("WITH c AS MATERIALIZED (SELECT roll(id) FROM t) SELECT * FROM c") == ""
    assert inlined("WITH RECURSIVE c AS MATERIALIZED (SELECT 1 AS n UNION ALL SELECT n + 1 FROM c WHERE n < 9) SELECT * FROM c") == ""


FAITHFUL = [
    "SELECT now() AS n, date_trunc('day', at) AS d FROM t WHERE at > now() - interval '1 day'",
    "SELECT a FROM t WHERE b = $1 AND a IN ($2, $3) AND id = $10 ORDER BY a DESC NULLS LAST",
    "SELECT substr(b, 1, 2) AS s, a % 2, b || 'x' FROM t WHERE b LIKE 'a\\_b' AND NOT (a = 1 OR a = 2)",
    "SELECT count(*) FILTER (WHERE a > 1) AS n FROM t GROUP BY GROUPING SETS ((a), ())",
]


@pytest.mark.parametrize("text", FAITHFUL)
def test_what_is_written_again_is_the_same_statement(text: str) -> None:
    """Same parse tree by libpg_query, values at their places."""
    tree = read_sql(text)
    assert read_sql(write_sql(tree)) == tree
    assert all(f"${number}" in write_sql(tree) for number in (1, 2, 3, 10) if f"${number}" in text)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT a FROM t ORDER BY a NULLS FIRST, b DESC NULLS LAST, id ASC NULLS FIRST; SELECT 1",
        "INSERT INTO t VALUES (1)",
        "SELECT $$ text $$",
        "SELECT date_part('year', at) FROM t",  # would become extract, which has another type
        "SELECT substr(b, 1, 2), now() FROM t",  # would change the name of the column
        "SELECT a FROM t WHERE " + " AND ".join(f"a <> {number}" for number in range(3_000)),
        "SELECT FROM WHERE",
    ],
)  # fmt: skip
def test_what_would_change_on_the_way_is_refused(text: str) -> None:
    """Another statement, another type, another column name, or beyond reading."""
    with pytest.raises(NotRewritable):
        read_sql(text)


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="SELECT a,b FROM t WHERE$1'\"()=;-*/", max_size=60))
def test_any_text_is_either_read_faithfully_or_refused(text: str) -> None:
    """Never another exception."""
    try:
        tree = read_sql(text)
    except NotRewritable:
        return
    assert write_sql(tree)


# --- candidates -----------------------------------------------------------------------------------

CORRELATED = "SELECT id FROM orders o WHERE total > (SELECT avg(total) FROM orders i WHERE i.customer_id = o.customer_id)"


def test_a_candidate_has_the_statement_its_values_and_a_title() -> None:
    """What another activity needs to try it."""
    run = Run()
    name = run.add(whole_orders(), text=CORRELATED)
    (one,) = rewrite_candidates([hit("R11", fingerprint=name)], run.table, run.plans, SHOP)
    assert one.original == CORRELATED and one.sample.text == CORRELATED and one.rule == "aggregate-once"
    assert one.title == "Compute the aggregate once per i.customer_id instead of once per row"


def test_a_statement_without_a_problem_is_left_alone() -> None:
    """A rewrite without a hit is a risk without a gain; so is one for a rule that is about something else."""
    run = Run()
    name = run.add(whole_orders(), text=CORRELATED)
    assert rewrite_candidates([], run.table, run.plans, SHOP) == ()
    assert rewrite_candidates([hit("R06", fingerprint=name)], run.table, run.plans, SHOP) == ()


@pytest.mark.parametrize("safety", ["locks", "writes", "volatile", "never"])
def test_only_what_only_reads_is_rewritten(safety: str) -> None:
    """It will be executed."""
    run = Run()
    name = run.add(whole_orders(), text=CORRELATED, safety=safety)
    assert rewrite_candidates([hit("R11", fingerprint=name)], run.table, run.plans, SHOP) == ()


def test_a_statement_gets_at_most_three() -> None:
    """However much could be changed."""
    run = Run()
    text = (
        "WITH c AS MATERIALIZED (SELECT * FROM orders) SELECT id FROM c WHERE (SELECT count(*) FROM orders x WHERE x.id = 5) > 0 AND id NOT IN "
        "(SELECT id FROM customers) AND EXISTS (SELECT 1 FROM orders y WHERE y.created_at::date = '2024-01-01' AND y.id::text = '5')"
    )
    name = run.add(whole_orders(), text=text)
    hits = [hit(rule, fingerprint=name) for rule in ("R11", "R12", "R13", "R15", "R23", "R01")]
    assert 2 <= len(rewrite_candidates(hits, run.table, run.plans, SHOP)) <= MAX_PER_STATEMENT
