"""What index a hit asks for: equalities first, then one range or the order; and when none, why."""

import pytest

from perfwright.analysis.plans.plan_tree import parse_plan
from perfwright.analysis.query_advice.existing_indexes import Draft, NoDraft
from perfwright.analysis.query_advice.expression_keys import trigram_pattern
from perfwright.analysis.query_advice.index_candidates import propose_indexes
from perfwright.analysis.query_advice.index_drafts import drafts_of
from perfwright.analysis.query_advice.plan_view import PlanView, Tables
from perfwright.models.database import Catalog, ForeignKeyFacts
from perfwright.models.query_performance import PlanHit
from perfwright.models.statement import Statement
from tests.perfwright.analysis.query_advice.drawn import CUSTOMERS, ORDERS, SHOP, Run, column, hit, index, node, plan, table, whole_orders


def drafts(
    found: PlanHit, root: dict[str, object], catalog: Catalog = SHOP, statement: Statement | None = None, **more: object
) -> list[Draft] | NoDraft:
    return drafts_of(found, PlanView(parse_plan(plan(root, **more))), Tables(catalog), statement)


def keys(found: list[Draft] | NoDraft) -> list[tuple[str, ...]]:
    assert isinstance(found, list), found
    return [(*one.equalities, *one.tail) for one in found]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("(customer_id = 5)", ("customer_id",)),
        ("(5 = customer_id)", ("customer_id",)),
        # the more selective first; with 20 rows left for a customer, the status is worth a column, with fewer it is not
        ("((status = 'paid'::text) AND (customer_id = 5))", ("customer_id", "status")),
        ("((status = 'paid'::text) AND (created_at > '2026-01-01'::timestamp without time zone))", ("status", "created_at")),
        ("((total = '5'::numeric) AND (customer_id = 5) AND (created_at > now()))", ("customer_id", "total")),
        # one range only, that with two ends before that with one
        ("((total > '5'::numeric) AND (created_at > '2026-01-01'::timestamp without time zone) AND (created_at < now()))", ("created_at",)),
        ("((status = ANY ('{a,b}'::text[])) AND (customer_id = 5))", ("customer_id", "status")),
        ("(note ~~ 'abc%'::text)", ("note text_pattern_ops",)),
        ("(note ~ '^abc'::text)", ("note text_pattern_ops",)),
        # masked values keep how they begin
        ("(note ~~ '?'::text)", ("note text_pattern_ops",)),
        ("(note ~ '^?'::text)", ("note text_pattern_ops",)),
        ("((note)::text = 'abc'::text)", ("note",)),
        ("(note IS NULL)", ("note",)),
        ("(note IS NOT NULL)", ("note",)),
        # every branch of the OR compares the customer: a list of values
        ("(((customer_id = 5) AND (total < '9'::numeric)) OR ((customer_id = 7) AND (status = 'x'::text)))", ("customer_id",)),
    ],
)  # fmt: skip
def test_a_full_scan_asks_for_its_columns_in_the_order_that_a_btree_needs(condition: str, expected: tuple[str, ...]) -> None:
    """R01: equalities by selectivity, then one range, and no more columns than save reading."""
    assert keys(drafts(hit("R01"), whole_orders(condition))) == [expected]


@pytest.mark.parametrize(
    "condition",
    [
        "(status <> 'paid'::text)",
        "((id)::text = '5'::text)",
        "(lower(note) = 'x'::text)",
        "(note ~~ '%x'::text)",
        "(total = (SubPlan 1))",
        "(total > customer_id)",
    ],
)
def test_what_no_btree_finds_gives_no_column(condition: str) -> None:
    """Unequal, cast, hidden in a function, without a beginning, compared with a subplan or with the row itself."""
    found = drafts(hit("R01"), whole_orders(condition))
    assert isinstance(found, NoDraft) and found.refusal == "no column"


def test_a_scan_inside_of_a_loop_asks_for_the_join_column() -> None:
    """R02: nested loop over customers; orders read whole for each, filtered by the outer row's id."""
    inner = whole_orders("((customer_id = c.id) AND (status = 'open'::text))", loops=200)
    root = node("Nested Loop", node("Seq Scan", on="customers c", rows=200), inner, ms=20_000)
    assert keys(drafts(hit("R02", 2), root)) == [("customer_id", "status")]


def test_a_join_filter_above_gives_the_column_too() -> None:
    """R02: the planner left the equality to the join."""
    inner = node("Seq Scan", on="orders o", rows=1_000_000, loops=50)
    root = node("Nested Loop", node("Seq Scan", on="customers c", rows=50), inner, ms=9_000, join_filter="(c.id = o.customer_id)")
    assert keys(drafts(hit("R02", 2), root)) == [("customer_id",)]


def test_a_hash_join_that_reads_all_for_few_uses_the_rules_columns() -> None:
    """R02 without the loop: no condition at the scan; the rule says which column links."""
    root = node(
        "Hash Join",
        node("Seq Scan", on="orders", rows=1_000_000),
        node("Hash", node("Seq Scan", on="customers", rows=3), rows=3),
        hash_cond="(orders.customer_id = customers.id)",
    )
    assert keys(drafts(hit("R02", 1, columns=("customer_id",)), root)) == [("customer_id",)]


def test_an_index_that_finds_too_much_gets_the_filtered_column() -> None:
    """R03: found by customer, discarded by status: both, then the range."""
    scan = node(
        "Index Scan",
        on="orders",
        index="orders_customer",
        cond="(customer_id = 5)",
        filter="((status = 'open'::text) AND (total > '9'::numeric))",
        removed=90_000,
    )
    assert keys(drafts(hit("R03"), scan)) == [("customer_id", "status", "total")]


def test_a_bitmap_scan_is_read_through_its_bitmaps() -> None:
    """R03 on a Bitmap Heap Scan: the index condition stands below it."""
    scan = node(
        "Bitmap Heap Scan",
        node("Bitmap Index Scan", index="orders_customer", cond="(customer_id = 5)"),
        on="orders",
        filter="(status = 'x'::text)",
        removed=5_000,
    )
    assert keys(drafts(hit("R03"), scan)) == [("customer_id", "status")]


def test_a_limit_that_walks_an_index_gets_equality_then_order() -> None:
    """R17: along created_at until ten of one status are found -> (status, created_at DESC)."""
    by_time = ORDERS.model_copy(update={"indexes": (*ORDERS.indexes, index("orders_time", "created_at DESC"))})
    catalog = SHOP.model_copy(update={"tables": (by_time, CUSTOMERS)})
    scan = node("Index Scan", on="orders", index="orders_time", filter="(status = 'rare'::text)", removed=400_000)
    assert keys(drafts(hit("R17", 1), node("Limit", scan, rows=10), catalog)) == [("status", "created_at DESC")]


def test_a_limit_that_sorts_all_gets_the_order() -> None:
    """R17 on the sort: the order of one table's plain columns, behind its equalities."""
    scan = node("Seq Scan", on="orders o", rows=300_000, filter="(status = 'paid'::text)", removed=700_000)
    sort = node("Sort", scan, rows=10, sort=["o.created_at DESC NULLS LAST", "o.id"])
    assert keys(drafts(hit("R17", 1), node("Limit", sort, rows=10))) == [("status", "created_at DESC NULLS LAST", "id")]
    odd = node("Sort", scan, rows=10, sort=["(lower(o.note))"])
    assert isinstance(drafts(hit("R17", 1), node("Limit", odd, rows=10)), NoDraft)


def test_a_function_gets_an_index_on_exactly_its_expression() -> None:
    """R12, letter by letter; not where the result may change (time zone)."""
    found = drafts(
        hit("R12", relation="customers"), node("Seq Scan", on="customers", filter="(lower((email)::text) = 'x'::text)", removed=49_999)
    )
    assert isinstance(found, list) and found[0].expression == "(lower((email)::text))"
    zoned = node("Seq Scan", on="customers", filter="(date_trunc('day'::text, joined) = now())", removed=49_999)
    assert isinstance(drafts(hit("R12", relation="customers"), zoned), NoDraft)


@pytest.mark.parametrize(
    ("condition", "ddl"),
    [
        ("(upper(note) ~~ 'ABC%'::text)", "((upper(note)) text_pattern_ops)"),
        ("(lower(note) ~~ '%lamp%'::text)", "USING gin ((lower(note)) gin_trgm_ops)"),
        ("(to_tsvector('english'::regconfig, note) @@ '''lamp'''::tsquery)", "USING gin ((to_tsvector('english'::regconfig, note)))"),
    ],
)
def test_an_expression_gets_the_index_that_has_its_operator(condition: str, ddl: str) -> None:
    """R12: a plain btree finds no pattern and no word."""
    run = Run()
    name = run.add(whole_orders(condition), share=0.9)
    (proposal,) = propose_indexes((hit("R12", fingerprint=name),), run.table, run.plans, run.catalog).proposals
    assert proposal.ddl.endswith(ddl)


@pytest.mark.parametrize(
    ("condition", "why"),
    [
        ("('lamp'::text = ANY (note))", "@>"),
        ("(NOT (customer_id IS DISTINCT FROM 7))", "IS NULL"),
        ("(to_tsvector(note) @@ 'x'::tsquery)", "may change"),
    ],
)
def test_what_no_index_has_is_said_with_the_way_to_write_it(condition: str, why: str) -> None:
    """R12 without an index: the reason tells what to compare by instead."""
    found = drafts(hit("R12"), whole_orders(condition))
    assert isinstance(found, NoDraft) and why in found.reason


def test_a_pattern_without_beginning_gets_trigrams() -> None:
    """R14: GIN with gin_trgm_ops; not for patterns that have no three letters in a row."""
    found = drafts(hit("R14"), whole_orders("(note ~~* '%lamp%'::text)"))
    assert isinstance(found, list) and (found[0].method, found[0].trigrams, found[0].equalities) == ("gin", True, ("note",))
    assert isinstance(drafts(hit("R14"), whole_orders("(note ~~ '%ab%'::text)")), NoDraft)
    assert isinstance(drafts(hit("R14"), whole_orders("(note ~~ '%?'::text)")), list)  # masked


def test_each_branch_of_an_or_gets_its_index() -> None:
    """R15: two branches without, one of them alone is of no use; a branch that has one needs none."""
    both = drafts(hit("R15"), whole_orders("((customer_id = 5) OR (total = '9'::numeric))"))
    assert keys(both) == [("customer_id",), ("total",)] and isinstance(both, list) and all(one.together for one in both)
    one = drafts(hit("R15"), whole_orders("((id = 5) OR (customer_id = 9))"))
    assert keys(one) == [("customer_id",)] and isinstance(one, list) and not one[0].together
    assert isinstance(drafts(hit("R15"), whole_orders("((customer_id = 5) OR (note ~~ '%x%'::text))")), NoDraft)


def test_a_foreign_key_without_index_gets_one_on_the_referencing_side() -> None:
    """R27: deleting a customer looks through orders."""
    key = ForeignKeyFacts(
        name="orders_customer_fk",
        columns=("customer_id",),
        references_schema="public",
        references_table="customers",
        references_columns=("id",),
    )
    catalog = SHOP.model_copy(update={"tables": (ORDERS.model_copy(update={"foreign_keys": (key,)}), CUSTOMERS)})
    root = node(
        "ModifyTable", node("Index Scan", on="customers", index="customers_pkey", cond="(id = 5)"), on="customers", operation="Delete"
    )
    triggers = [
        {
            "Trigger Name": "RI_ConstraintTrigger_a_1",
            "Constraint Name": "orders_customer_fk",
            "Relation": "customers",
            "Time": 90.0,
            "Calls": 10,
        }
    ]
    assert keys(drafts(hit("R27", relation="orders", columns=("customer_id",)), root, catalog)) == [("customer_id",)]
    assert keys(drafts(hit("R27", relation="customers"), root, catalog, Triggers=triggers)) == [("customer_id",)]
    # Another key between the same tables that has its index: both triggers ran, and the hit says which one was slow.
    other = key.model_copy(update={"name": "orders_payer_fk", "columns": ("id",)})
    both = SHOP.model_copy(update={"tables": (ORDERS.model_copy(update={"foreign_keys": (other, key)}), CUSTOMERS)})
    triggers.append(triggers[0] | {"Constraint Name": "orders_payer_fk", "Time": 0.1})
    assert keys(drafts(hit("R27", relation="orders", columns=("customer_id",)), root, both, Triggers=triggers)) == [("customer_id",)]


def test_searched_elements_get_gin() -> None:
    """R01 with @> on an array or jsonb column."""
    tagged = table("posts", column("tags", "text[]", distinct=-0.5))
    catalog = Catalog(database="d", tables=(tagged,))
    found = drafts(hit("R01", relation="posts"), node("Seq Scan", on="posts", filter="(tags @> '{a}'::text[])", removed=999_999), catalog)
    assert isinstance(found, list) and (found[0].method, found[0].trigrams) == ("gin", False)


# --- what is no missing index ---------------------------------------------------------------------


def test_a_small_table_gets_no_index() -> None:
    """Below 1,000 rows reading it whole is right."""
    found = drafts(
        hit("R02", relation="settings"), node("Seq Scan", on="settings", rows=1, filter="(name = 'x'::text)", removed=39, loops=1_000)
    )
    assert isinstance(found, NoDraft) and found.refusal == "small table"


def test_an_index_that_is_there_is_not_advised_again() -> None:
    """Stale statistics, or a price that is off, keep it from being used: said, with the index's name."""
    has_it = ORDERS.model_copy(update={"indexes": (*ORDERS.indexes, index("by_customer", "customer_id"))})
    catalog = SHOP.model_copy(update={"tables": (has_it, CUSTOMERS)})
    found = drafts(hit("R01"), whole_orders(), catalog)
    assert isinstance(found, NoDraft) and found.refusal == "index not used" and found.index and found.index.name == "by_customer"

    stale = has_it.model_copy(update={"modified_rows": 600_000})
    found = drafts(hit("R01"), whole_orders(), SHOP.model_copy(update={"tables": (stale, CUSTOMERS)}))
    assert isinstance(found, NoDraft) and found.refusal == "stale statistics" and "600,000 rows changed" in found.reason

    wrong = drafts(hit("R01"), whole_orders(rows=20, planned=400_000), catalog)
    assert isinstance(wrong, NoDraft) and wrong.refusal == "stale statistics" and "20,000 times fewer" in wrong.reason


def test_a_pattern_is_not_found_by_an_index_for_comparisons() -> None:
    """LIKE wants its operator class, and an index that has it has no `<`."""
    plain = ORDERS.model_copy(update={"indexes": (index("by_note", "note"),)})
    pattern = "CREATE INDEX by_note ON orders USING btree (note text_pattern_ops)"
    prefixes = ORDERS.model_copy(update={"indexes": (index("by_note", "note").model_copy(update={"definition": pattern}),)})
    for has, condition, expected in (
        (plain, "(note ~~ 'abc%'::text)", "note text_pattern_ops"),
        (prefixes, "(note > 'abc'::text)", "note"),
    ):
        found = drafts(hit("R01"), whole_orders(condition), SHOP.model_copy(update={"tables": (has, CUSTOMERS)}))
        assert keys(found) == [(expected,)]


@pytest.mark.parametrize("useless", [{"valid": False}, {"predicate": "(status = 'x'::text)"}, {"method": "brin"}])
def test_an_index_that_cannot_serve_does_not_count(useless: dict[str, object]) -> None:
    """Invalid, partial, of another kind."""
    other = ORDERS.model_copy(update={"indexes": (index("by_customer", "customer_id").model_copy(update=useless),)})
    assert keys(drafts(hit("R01"), whole_orders(), SHOP.model_copy(update={"tables": (other,)}))) == [("customer_id",)]


def test_a_loop_chosen_on_stale_statistics_asks_for_analyze_not_for_an_index() -> None:
    """Planned for 2 customers, 4,000 came, and customers was never analyzed: with the right number the planner would hash."""
    never = CUSTOMERS.model_copy(
        update={"rows": -1.0, "analyzed_at": "", "columns": tuple(one.model_copy(update={"distinct": None}) for one in CUSTOMERS.columns)}
    )
    outer = node("Seq Scan", on="customers c", rows=4_000, planned=2)
    root = node("Nested Loop", outer, whole_orders("(customer_id = c.id)", loops=4_000), ms=400_000)
    found = drafts(hit("R02", 2), root, SHOP.model_copy(update={"tables": (ORDERS, never)}))
    assert isinstance(found, NoDraft) and found.refusal == "stale statistics" and found.table == never
    healthy = drafts(hit("R02", 2), root)
    assert keys(healthy) == [("customer_id",)]


def test_the_schema_comes_from_the_statement_where_the_plan_has_none() -> None:
    """Two tables of one name: the one that the statement names, else the first on the search path."""
    archived = table("orders", column("customer_id", "bigint", distinct=9_000), schema="archive")
    catalog = Catalog(database="d", search_path=("public",), tables=(archived, ORDERS))
    statement = Statement(fingerprint="00000000000000aa", text="SELECT", tables=("archive.orders",))
    found = drafts(hit("R01"), whole_orders(), catalog, statement)
    assert isinstance(found, list) and found[0].table is archived
    found = drafts(hit("R01"), whole_orders(), catalog)
    assert isinstance(found, list) and found[0].table is ORDERS


def test_a_foreign_table_and_an_unknown_one_get_none() -> None:
    """Its index belongs to another server; what the catalog does not list cannot be judged."""
    away = ORDERS.model_copy(update={"kind": "foreign table"})
    assert isinstance(drafts(hit("R01"), whole_orders(), SHOP.model_copy(update={"tables": (away,)})), NoDraft)
    assert isinstance(drafts(hit("R01"), whole_orders(), Catalog(database="d")), NoDraft)
    assert isinstance(drafts(hit("R01", 77), whole_orders()), NoDraft)


def test_two_ranges_without_equality_share_an_index() -> None:
    """R03 on a BitmapAnd: the second range is checked in the index, before the table is read."""
    both = node("BitmapAnd", node("Bitmap Index Scan", cond="(total < '9'::numeric)"), node("Bitmap Index Scan", cond="(customer_id < 80)"))
    assert keys(drafts(hit("R03"), node("Bitmap Heap Scan", both, on="orders"))) == [("customer_id", "total")]


def test_a_join_by_pattern_gets_no_index() -> None:
    """R24 without an equality or the two ends of a range."""

    def joined(condition: str) -> list[Draft] | NoDraft:
        inner = node("Materialize", node("Seq Scan", on="orders o", rows=5_000), loops=900)
        return drafts(hit("R24"), node("Nested Loop", node("Seq Scan", on="customers c", rows=900), inner, join_filter=condition))

    assert isinstance(joined("(c.email ~~ o.note)"), NoDraft) and isinstance(joined("(c.id < o.total)"), NoDraft)
    assert keys(joined("(c.id = o.customer_id)")) == [("customer_id",)]
    assert keys(
        joined(
            "((c.joined >= o.created_at) AND (c.joined < (o.created_at + '1 day'::interval)) AND (c.id > o.total) AND (c.id < o.customer_id))"
        )
    ) == [("created_at",)]


def test_a_subquery_without_correlation_gets_no_index() -> None:
    """R11: what is filtered by a constant is read once and kept."""
    scan = whole_orders("(customer_id < 60)")
    root = node("Seq Scan", node("Materialize", scan, loops=400, as_="SubPlan"), on="customers", filter="(NOT (SubPlan 1))")
    assert isinstance(drafts(hit("R11", 1), root), NoDraft)


def test_a_partition_is_indexed_through_its_table() -> None:
    """Named by the statement, or by the beginning of its name, with the same columns."""
    whole = table("metrics", column("at", "date"), column("value", distinct=9_000), kind="partitioned table")
    part = table("metrics_2026", *whole.columns)
    other = table("metrics_summary", column("at", "date"), kind="table")
    catalog = Catalog(database="d", tables=(part, other, whole))
    found = drafts(
        hit("R01", relation="metrics_2026"), node("Seq Scan", on="metrics_2026 metrics_1", filter="(value = 5)", removed=999_999), catalog
    )
    assert isinstance(found, list) and found[0].table is whole
    assert Tables(catalog).whole(other) is other


@pytest.mark.parametrize(("pattern", "found"), [("'%lamp%'", True), ("'%la%mp%'", False), ("'la_mp'", False), ("'%größe%'", True)])
def test_a_pattern_needs_three_letters_in_a_row(pattern: str, found: bool) -> None:
    """As pg_trgm does."""
    assert trigram_pattern(f"{pattern}::text") is found


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("'lamp.*red'", True),
        ("'[abc]+def?g'", False),
        ("'(lamp)?x'", False),
        ("'lamps?'", True),
        ("'lamp|x'", False),
        ("'a\\d\\dlamp{2}'", True),
    ],
)
def test_of_a_regular_expression_only_what_must_be_there_counts(pattern: str, found: bool) -> None:
    """Classes, groups, alternatives and what may be missing do not."""
    assert trigram_pattern(f"{pattern}::text", regular=True) is found
