"""Candidates: exact DDL, one index where one serves several statements, nothing that exists."""

import pgparse
from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis.query_advice.index_candidates import MAX_CANDIDATES, index_candidates, propose_indexes
from perfwright.models.database import Catalog
from perfwright.models.query_performance import PlanHit
from tests.perfwright.analysis.query_advice.drawn import CUSTOMERS, ORDERS, SHOP, Run, column, hit, index, node, table, whole_orders


def made(*conditions: str, catalog: Catalog = SHOP, rule: str = "R01") -> list[tuple[str, str]]:
    """One statement per condition over orders; fingerprint and DDL of each candidate."""
    run = Run(catalog)
    hits = [hit(rule, fingerprint=run.add(whole_orders(condition), share=0.1)) for condition in conditions]
    return [(one.fingerprint[-2:], one.ddl) for one in index_candidates(hits, run.table, run.plans, catalog)]


def test_the_ddl_can_be_pasted() -> None:
    """CONCURRENTLY, with a name, the schema, and quotes where they are needed."""
    (only,) = made("(customer_id = 5)")
    assert only == ("aa", "CREATE INDEX CONCURRENTLY orders_customer_id_idx ON public.orders (customer_id)")


def test_one_index_serves_statements_whose_columns_are_a_subset() -> None:
    """(customer_id) and (customer_id, status): the shared one, asked about for both; the subset goes first although it is less selective."""
    assert {ddl for _, ddl in made("(customer_id = 5)", "((customer_id = 5) AND (status = 'x'::text))")} == {
        "CREATE INDEX CONCURRENTLY orders_customer_id_status_idx ON public.orders (customer_id, status)"
    }
    shared = made("(status = 'x'::text)", "((customer_id = 5) AND (status = 'x'::text))")
    assert {ddl for _, ddl in shared} == {"CREATE INDEX CONCURRENTLY orders_status_customer_id_idx ON public.orders (status, customer_id)"}
    assert {name for name, _ in shared} == {"aa", "ab"}


def test_different_ranges_keep_their_own_index() -> None:
    """(status, created_at) does not serve (status, total)."""
    ddls = {ddl for _, ddl in made("((status = 'a'::text) AND (total > '1'::numeric))", "((status = 'a'::text) AND (created_at > now()))")}
    assert len(ddls) == 2


def test_three_statements_that_need_three_orders_get_more_than_one_index() -> None:
    """{a}, {b} and {a, b}: no order of (a, b) serves all."""
    ddls = {ddl for _, ddl in made("(customer_id = 1)", "(status = 'a'::text)", "((customer_id = 1) AND (status = 'a'::text))")}
    assert len(ddls) == 2


def test_what_exists_is_not_proposed() -> None:
    """Equal, or the beginning of an index that is valid, in any order of its equalities."""
    there = ORDERS.model_copy(update={"indexes": (*ORDERS.indexes, index("x", "status", "customer_id", "created_at"))})
    catalog = SHOP.model_copy(update={"tables": (there, CUSTOMERS)})
    assert made("((customer_id = 5) AND (status = 'a'::text))", catalog=catalog) == []
    assert len(made("(customer_id = 5)", catalog=catalog)) == 1


def test_names_are_free() -> None:
    """An index, a table or a view of the wanted name is not overwritten."""
    other = ORDERS.model_copy(update={"indexes": (index("orders_customer_id_idx", "total"),)})
    catalog = Catalog(database="d", tables=(other,), views={"public.orders_status_idx": "SELECT 1"})
    (one,) = made("(customer_id = 5)", catalog=catalog)
    assert "orders_customer_id_idx ON" not in one[1] and "_idx ON public.orders (customer_id)" in one[1]
    (view,) = made("(status = 'a'::text)", catalog=catalog)
    assert "orders_status_idx ON" not in view[1]


def test_a_partitioned_table_is_indexed_without_concurrently() -> None:
    """The server refuses CONCURRENTLY there."""
    parts = SHOP.model_copy(update={"tables": (ORDERS.model_copy(update={"kind": "partitioned table"}),)})
    (one,) = made("(customer_id = 5)", catalog=parts)
    assert one[1].startswith("CREATE INDEX orders_customer_id_idx ON")


def test_expressions_and_trigrams_are_marked_as_beyond_hypothetical_indexes() -> None:
    """And their DDL has the operator class."""
    run = Run()
    lower = run.add(node("Seq Scan", on="customers", filter="(lower((email)::text) = 'x'::text)", removed=49_999))
    words = run.add(whole_orders("(note ~~ '%lamp%'::text)"))
    found = index_candidates(
        [hit("R12", fingerprint=lower, relation="customers"), hit("R14", fingerprint=words)], run.table, run.plans, SHOP
    )
    assert [(one.ddl, one.expression) for one in found] == [
        ("CREATE INDEX CONCURRENTLY customers_lower_email_idx ON public.customers ((lower((email)::text)))", True),
        ("CREATE INDEX CONCURRENTLY orders_note_trgm_idx ON public.orders USING gin (note gin_trgm_ops)", True),
    ]


def test_the_weightiest_come_first_and_no_more_than_fit() -> None:
    """By share of the database's time; bounded."""
    columns = tuple(column(f"c{number}", distinct=1_000.0) for number in range(90))
    wide = Catalog(database="d", tables=(table("wide", *columns),))
    run = Run(wide)
    hits = []
    for number in range(90):
        root = node("Seq Scan", on="wide", filter=f"(c{number} = 5)", removed=999_000)
        hits.append(hit("R01", fingerprint=run.add(root, share=0.001 * (number + 1)), relation="wide"))
    found = index_candidates(hits, run.table, run.plans, wide)
    assert len(found) == MAX_CANDIDATES and found[0].columns == ("c89",)


def test_equal_input_gives_equal_advice() -> None:
    """Whatever the order of the hits."""
    run = Run()
    hits = [hit("R01", fingerprint=run.add(whole_orders(f"({name} = 5)"), share=0.1)) for name in ("customer_id", "total", "status")]
    assert index_candidates(hits, run.table, run.plans, SHOP) == index_candidates(hits[::-1], run.table, run.plans, SHOP)


NAMES = st.text(alphabet=st.sampled_from("aZ\"' ;-é漢.()$1_\\"), min_size=1, max_size=20)


@given(st.lists(NAMES, min_size=1, max_size=3, unique=True), NAMES, NAMES)
def test_hostile_names_stay_names(columns: list[str], name: str, schema: str) -> None:
    """Quotes, semicolons and comments in identifiers end no statement: the grammar reads one CREATE INDEX on that table and those columns."""
    facts = table(name, *(column(one, distinct=5.0) for one in columns), schema=schema)
    catalog = Catalog(database="d", search_path=(schema,), tables=(facts,))
    run = Run(catalog)
    written = " AND ".join('("' + one.replace('"', '""') + '" = 5)' for one in columns)
    root = node("Seq Scan", filter=f"({written})", removed=999_000) | {"Relation Name": name, "Alias": name}
    found = propose_indexes(
        [PlanHit(rule="R01", fingerprint=run.add(root), node=0, node_title="", relation=name, statement="", share=1)],
        run.table,
        run.plans,
        catalog,
    )
    (proposal,) = found.proposals
    (statement,) = pgparse.parse(proposal.ddl)
    made_index = statement["stmt"]["IndexStmt"]
    assert made_index["relation"]["relname"] == name and made_index["relation"]["schemaname"] == schema
    assert {one["IndexElem"]["name"] for one in made_index["indexParams"]} == set(columns)
    (undo,) = pgparse.parse(proposal.undo)
    assert undo["stmt"]["DropStmt"]["removeType"] == "OBJECT_INDEX"


def test_a_plan_that_cannot_be_read_gives_nothing() -> None:
    """Hits of another plan, plans that are none: passed over."""
    run = Run()
    name = run.add(whole_orders())
    broken = run.plans.model_copy(
        update={
            "statements": tuple(
                one.model_copy(update={"plans": tuple(p.model_copy(update={"plan": {"x": 1}}) for p in one.plans)})
                for one in run.plans.statements
            )
        }
    )
    assert index_candidates([hit("R01", fingerprint=name), hit("R01", fingerprint="00000000000000ff")], run.table, broken, SHOP) == ()
