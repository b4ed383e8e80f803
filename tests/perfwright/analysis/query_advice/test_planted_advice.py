"""Over the recorded plans of planted problems and healthy queries: what is advised first, on both versions; and silence where all is well."""

import pytest

from perfwright.analysis.query_advice.ranking import rank
from perfwright.models.query_advice import RankedQueryFindings
from tests.perfwright.analysis.plans.recorded_plans import VERSIONS, recorded_catalog, recorded_names, recorded_plan
from tests.perfwright.analysis.query_advice.drawn import Run, database

FIRST = {
    # planted problem                        what the first recommendation would do
    "arithmetic_on_column":                  "CREATE INDEX CONCURRENTLY orders_tracking_1_idx ON public.orders ((tracking + 1));",
    "bloated_table":                         "look:bloat:public.sessions",
    "case_ignored":                          "CREATE INDEX CONCURRENTLY customers_email_trgm_idx ON public.customers USING gin (email gin_trgm_ops);",
    "cast_to_date":                          "look:cast-on-column:public.orders(placed_at)",
    "coalesce_on_column":                    "CREATE INDEX CONCURRENTLY orders_coalesce_coupon_idx ON public.orders ((COALESCE(coupon, ''::text)));",
    "correlated_columns":                    "CREATE INDEX CONCURRENTLY customers_city_postcode_idx ON public.customers (city, postcode);",
    "date_trunc_on_column":                  "look:function-on-column:public.orders(placed_at)",
    "element_of_array":                      "look:function-on-column:public.products(tags)",
    "foreign_key_without_index":             "CREATE INDEX CONCURRENTLY transfers_account_id_idx ON public.transfers (account_id);",
    "function_on_column":                    "CREATE INDEX CONCURRENTLY customers_lower_email_idx ON public.customers ((lower(email)));",
    "heap_fetches":                          "VACUUM (ANALYZE) public.readings;",
    "index_discards":                        "CREATE INDEX CONCURRENTLY orders_channel_placed_at_idx ON public.orders (channel, placed_at);",
    "json_member":                           "CREATE INDEX CONCURRENTLY products_attributes_color_idx ON public.products ((attributes ->> 'color'::text));",
    "leading_wildcard":                      "CREATE INDEX CONCURRENTLY products_name_trgm_idx ON public.products USING gin (name gin_trgm_ops);",
    "limit_sorts_all":                       "CREATE INDEX CONCURRENTLY orders_total_idx ON public.orders (total DESC);",
    "limit_sorts_all_of_one":                "CREATE INDEX CONCURRENTLY orders_status_total_id_idx ON public.orders (status, total DESC, id);",
    "limit_walks_for_partner":               "look:limit-reads-along:public.orders",
    "limit_walks_wrong_index":               "CREATE INDEX CONCURRENTLY orders_channel_placed_at_idx ON public.orders (channel, placed_at);",
    "missing_gin_index":                     "CREATE INDEX CONCURRENTLY products_attributes_idx ON public.products USING gin (attributes);",
    "missing_index":                         "CREATE INDEX CONCURRENTLY orders_customer_id_idx ON public.orders (customer_id);",
    "missing_index_beside_common_value":     "CREATE INDEX CONCURRENTLY orders_customer_id_idx ON public.orders (customer_id);",
    "missing_index_in_list":                 "CREATE INDEX CONCURRENTLY items_product_id_idx ON public.items (product_id);",
    "missing_index_not_null":                "CREATE INDEX CONCURRENTLY orders_coupon_idx ON public.orders (coupon);",
    "missing_index_on_partitions":           "CREATE INDEX events_payload_idx ON public.events (payload);",
    "missing_index_shared_or":               "CREATE INDEX CONCURRENTLY orders_channel_idx ON public.orders (channel);",
    "missing_index_two_columns":             "CREATE INDEX CONCURRENTLY orders_channel_tracking_idx ON public.orders (channel, tracking);",
    "number_as_text":                        "look:cast-on-column:public.orders(id)",
    "numbered_paging":                       "look:offset-paging:00000000000000aa",
    "numbered_paging_sorted":                "look:offset-paging:00000000000000aa",
    "offset_paging":                         "look:offset-paging:00000000000000aa",
    "or_over_columns":                       "CREATE INDEX CONCURRENTLY orders_customer_id_idx ON public.orders (customer_id);",
    "pattern_join":                          "look:join-filter:00000000000000aa",
    "prefix_of_expression":                  "CREATE INDEX CONCURRENTLY customers_upper_email_idx ON public.customers ((upper(email)) text_pattern_ops);",
    "range_join":                            "CREATE INDEX CONCURRENTLY prices_valid_from_idx ON public.prices (valid_from);",
    "same_or_both_null":                     "look:function-on-column:public.orders(coupon)",
    "scan_for_few_keys":                     "CREATE INDEX CONCURRENTLY orders_customer_id_idx ON public.orders (customer_id);",
    "scan_per_row":                          "CREATE INDEX CONCURRENTLY orders_customer_id_idx ON public.orders (customer_id);",
    "slow_trigger":                          "look:slow-trigger:public.audited",
    "sort_on_disk":                          "ALTER ROLE app IN DATABASE shop SET work_mem = '16MB';",
    "stale_statistics":                      "ANALYZE public.shipments;",
    "substring_on_column":                   "CREATE INDEX CONCURRENTLY customers_substr_reference_2_idx ON public.customers ((substr((reference)::text, 2)));",
    "text_search":                           "CREATE INDEX CONCURRENTLY products_to_tsvector_english_name_idx ON public.products USING gin ((to_tsvector('english'::regconfig, name)));",
    "update_of_referenced_key":              "CREATE INDEX CONCURRENTLY transfers_account_id_idx ON public.transfers (account_id);",
}  # fmt: skip


def ranked(version: int, name: str) -> RankedQueryFindings:
    """As if the statement took nine tenths of the database's time."""
    run = Run(recorded_catalog(version), database(version * 10_000))
    document = recorded_plan(version, name)
    run.add(document["Plan"], share=0.9, document=document)
    return rank(run.question(), run.table, run.plans, run.catalog)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", sorted(FIRST))
def test_a_planted_problem_gets_its_advice(version: int, name: str) -> None:
    """The right table, the right columns, first."""
    if f"planted.{name}" not in recorded_names(version):
        pytest.skip(f"there is no such problem on PostgreSQL {version}")
    found = ranked(version, f"planted.{name}")
    first = found.recommendations[0]
    assert (first.change.apply if first.change else first.id) == FIRST[name]


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("function_on_column", "A function on email keeps customers"),
        ("coalesce_on_column", "A function on coupon keeps orders"),
        ("arithmetic_on_column", "An expression over tracking keeps orders"),
        ("element_of_array", "A search for one element of tags keeps products"),
        ("same_or_both_null", "A comparison of coupon that no index has keeps orders"),
    ],
)
def test_a_hidden_column_is_told_by_what_hides_it(name: str, title: str) -> None:
    """No operator is called a function."""
    assert ranked(18, f"planted.{name}").findings[0].title.startswith(title)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_healthy_query_gets_none(version: int) -> None:
    """However large its share: nothing above information, nothing to do."""
    for name in recorded_names(version):
        if name.startswith("healthy."):
            found = ranked(version, name)
            assert [one.id for one in found.findings if one.severity != "information"] == [], name
            assert found.recommendations == (), name


@pytest.mark.parametrize("version", VERSIONS)
def test_every_finding_of_a_planted_problem_is_told_in_full(version: int) -> None:
    """Titles without leftovers of their patterns, a way to act and to check in every brief."""
    for name in recorded_names(version):
        if name.startswith("planted."):
            found = ranked(version, name)
            assert all("{" not in one.title and one.evidence and one.locations for one in found.findings), name
            assert all("**Try**" in one.brief and "**Check**" in one.brief for one in found.recommendations), name
