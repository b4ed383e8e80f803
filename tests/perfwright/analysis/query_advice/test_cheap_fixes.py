"""Cheap fixes: which, for which hit, sized how, and bounded by what the server has."""

import pytest

from perfwright.analysis.plans.plan_tree import parse_plan
from perfwright.analysis.query_advice.cheap_fixes import CheapFix, cheap_fixes
from perfwright.analysis.query_advice.index_candidates import propose_indexes
from perfwright.analysis.query_advice.memory_needs import ceiling_bytes, needed_bytes, rounded, setting_bytes, told
from perfwright.models.database import Setting
from perfwright.models.query_performance import PlanHit
from tests.perfwright.analysis.query_advice.drawn import CUSTOMERS, ORDERS, SHOP, Run, database, hit, index, node, whole_orders

MB = 1 << 20


def fixes(run: Run, *hits: PlanHit) -> dict[str, CheapFix]:
    """By kind and subject."""
    refused = propose_indexes(hits, run.table, run.plans, run.catalog).refused
    return {f"{one.kind} {one.subject}": one for one in cheap_fixes(hits, run.table, run.plans, run.catalog, refused)}


def with_orders(**changed: object) -> Run:
    return Run(SHOP.model_copy(update={"tables": (ORDERS.model_copy(update=changed), CUSTOMERS)}))


MISJUDGED = "(customer_id = 5)"


@pytest.mark.parametrize(
    "stale",
    [
        {"modified_rows": 200_000},
        {"analyzed_at": "", "rows": -1.0, "columns": tuple(one.model_copy(update={"distinct": None}) for one in ORDERS.columns)},
    ],
)
def test_stale_statistics_ask_for_analyze_and_nothing_else(stale: dict[str, object]) -> None:
    """A fifth of the rows changed, or never analyzed: extended statistics or a higher target would be guesses."""
    run = with_orders(**stale)
    name = run.add(whole_orders("((customer_id = 5) AND (status = 'x'::text))", rows=50_000, planned=10, removed=950_000))
    found = fixes(run, hit("R09", fingerprint=name))
    assert list(found) == ["analyze public.orders"]
    change = found["analyze public.orders"].change
    assert (change.apply, change.risk) == ("ANALYZE public.orders;", "reload")


def test_a_join_above_stale_tables_asks_for_those_that_were_misjudged() -> None:
    """R10: the outer side of the loop, not the inner one."""
    stale = CUSTOMERS.model_copy(update={"modified_rows": 40_000})
    run = Run(SHOP.model_copy(update={"tables": (ORDERS.model_copy(update={"modified_rows": 900_000}), stale)}))
    outer = node("Seq Scan", on="customers", rows=20_000, planned=10)
    inner = node("Index Scan", on="orders", index="orders_pkey", cond="(id = customers.id)", loops=20_000, ms=0.01)
    name = run.add(node("Nested Loop", outer, inner, rows=20_000, ms=400))
    assert list(fixes(run, hit("R10", fingerprint=name, relation="orders"))) == ["analyze public.customers"]


def test_an_index_that_statistics_keep_from_being_used_asks_for_analyze() -> None:
    """R01 on a table that has the index and stale statistics."""
    run = with_orders(indexes=(index("by_customer", "customer_id"),), modified_rows=500_000)
    name = run.add(whole_orders(MISJUDGED, planned=600_000))
    assert list(fixes(run, hit("R01", fingerprint=name))) == ["analyze public.orders"]


def test_two_columns_get_statistics_on_both() -> None:
    """R09 with two equalities on fresh statistics; a list of common combinations only where they fit into it; undone by name."""
    run = Run()
    name = run.add(whole_orders("((customer_id = 5) AND (status = 'x'::text))", rows=50_000, planned=10, removed=950_000))
    (fix,) = fixes(run, hit("R09", fingerprint=name)).values()
    assert fix.change.apply == (
        "CREATE STATISTICS public.orders_customer_id_status_stx (dependencies) ON customer_id, status FROM public.orders;\n"
        "ANALYZE public.orders;"
    )
    assert fix.change.undo == "DROP STATISTICS IF EXISTS public.orders_customer_id_status_stx;"
    few = run.add(
        node("Seq Scan", on="customers", rows=9_000, planned=10, filter="((country = 'a'::text) AND (active = true))", removed=41_000)
    )
    assert (
        "(dependencies, mcv) ON active, country" in fixes(run, hit("R09", fingerprint=few, relation="customers")).popitem()[1].change.apply
    )


def test_a_grouping_by_two_columns_gets_ndistinct() -> None:
    """R09 at the aggregate."""
    run = Run()
    scan = node("Seq Scan", on="orders o", rows=1_000_000, planned=1_000_000)
    name = run.add(node("Aggregate", scan, rows=90, planned=50_000, group_key=["o.status", "o.customer_id"]))
    (fix,) = fixes(run, hit("R09", fingerprint=name)).values()
    assert "(ndistinct) ON customer_id, status" in fix.change.apply


def test_statistics_that_exist_are_not_made_again() -> None:
    """Whatever their name."""
    run = with_orders(extended_statistics=("CREATE STATISTICS public.s ON customer_id, status FROM orders",))
    name = run.add(whole_orders("((customer_id = 5) AND (status = 'x'::text))", rows=50_000, planned=10, removed=950_000))
    assert fixes(run, hit("R09", fingerprint=name)) == {}


@pytest.mark.parametrize(("current", "target", "back"), [(None, "1000", "-1"), (200, "2000", "200"), (1_000, None, ""), (-1, "1000", "-1")])
def test_one_column_gets_a_higher_target_once(current: int | None, target: str | None, back: str) -> None:
    """Ten times as many common values; the undo restores the earlier target; a column that has a thousand is left alone."""
    columns = tuple(one.model_copy(update={"statistics_target": current}) if one.name == "customer_id" else one for one in ORDERS.columns)
    run = with_orders(columns=columns)
    name = run.add(whole_orders(MISJUDGED, rows=50_000, planned=10, removed=950_000))
    found = list(fixes(run, hit("R09", fingerprint=name)).values())
    if target is None:
        assert found == []
        return
    assert f"ALTER COLUMN customer_id SET STATISTICS {target};" in found[0].change.apply
    assert f"ALTER COLUMN customer_id SET STATISTICS {back};" in found[0].change.undo


def test_an_expression_gets_statistics_of_its_own() -> None:
    """From version 14 on."""
    scan = node("Seq Scan", on="customers", rows=40_000, planned=250, filter="(lower((email)::text) = 'x'::text)", removed=10_000)
    run, old = Run(), Run(facts=database(130_000))
    assert (
        "ON (lower((email)::text)) FROM public.customers"
        in fixes(run, hit("R09", fingerprint=run.add(scan), relation="customers")).popitem()[1].change.apply
    )
    assert fixes(old, hit("R09", fingerprint=old.add(scan), relation="customers")) == {}


def spilling(kb: int) -> dict[str, object]:
    return node(
        "Sort",
        node("Seq Scan", on="orders", rows=90_000),
        sort=["note"],
        sort_space_used=kb,
        sort_space_type="Disk",
        sort_method="external merge",
    )


def test_a_spill_asks_for_memory_for_the_role_that_ran_it() -> None:
    """10 MB on disk are about 35 in memory: 64MB, in this database only, undone by RESET."""
    run = Run()
    name = run.add(spilling(10_000), role='app "1"')
    (fix,) = fixes(run, hit("R06", fingerprint=name)).values()
    assert fix.change.apply == 'ALTER ROLE "app ""1""" IN DATABASE shop SET work_mem = \'64MB\';'
    assert fix.change.undo == 'ALTER ROLE "app ""1""" IN DATABASE shop RESET work_mem;'
    assert (fix.change.kind, fix.change.risk) == ("settings", "reload")


def test_one_role_gets_one_amount_the_largest() -> None:
    """Two statements that spill: one change, for both."""
    run = Run()
    names = [run.add(spilling(kb)) for kb in (3_000, 30_000)]
    (fix,) = fixes(run, *(hit("R06", fingerprint=name) for name in names)).values()
    assert "'128MB'" in fix.change.apply and {one.fingerprint for one in fix.hits} == set(names)


@pytest.mark.parametrize(("kb", "role", "cache"), [(2_000_000, "app", "8GB"), (60_000, "app", "1GB"), (10_000, "", "8GB")])
def test_what_the_server_cannot_spare_is_not_advised(kb: int, role: str, cache: str) -> None:
    """Gigabytes for one sort, a sixteenth of the memory there is, a role that is not known."""
    run = Run(facts=database(effective_cache_size=cache))
    name = run.add(spilling(kb), role=role)
    assert fixes(run, hit("R06", fingerprint=name)) == {}


def test_vacuum_is_advised_where_it_frees_something() -> None:
    """R05 always; R20 where a tenth of the rows is dead: otherwise the room was freed and only a rewrite gives it back."""
    run = with_orders(dead_rows=400_000)
    name = run.add(whole_orders())
    assert fixes(run, hit("R05", fingerprint=name)).popitem()[1].change.apply == "VACUUM (ANALYZE) public.orders;"
    assert list(fixes(run, hit("R20", fingerprint=name))) == ["vacuum public.orders"]
    clean = with_orders(dead_rows=10)
    assert fixes(clean, hit("R20", fingerprint=clean.add(whole_orders()))) == {}


def test_jit_is_switched_off_for_the_role_that_pays_for_it() -> None:
    """R26: not for the server; undone by RESET."""
    run = Run()
    (fix,) = fixes(run, hit("R26", fingerprint=run.add(whole_orders()))).values()
    assert (fix.change.apply, fix.change.undo) == (
        "ALTER ROLE app IN DATABASE shop SET jit = off;",
        "ALTER ROLE app IN DATABASE shop RESET jit;",
    )


def test_a_cache_whose_values_hardly_repeat_needs_no_memory() -> None:
    """R19 without entries that were thrown out."""
    run = Run()
    rare = node("Memoize", peak_memory_usage=4_000, cache_hits=1, cache_misses=5_000, cache_evictions=0)
    full = node("Memoize", peak_memory_usage=4_000, cache_hits=1, cache_misses=5_000, cache_evictions=900)
    assert fixes(run, hit("R19", fingerprint=run.add(rare))) == {}
    assert list(fixes(run, hit("R19", fingerprint=run.add(full)))) == ["work_mem app"]


def test_a_healthy_run_gets_nothing() -> None:
    """No hit, no fix; nor for hits that are about something else."""
    run = Run()
    name = run.add(whole_orders())
    assert fixes(run) == {} and fixes(run, hit("R16", fingerprint=name), hit("R01", fingerprint=name)) == {}


# --- how much memory ------------------------------------------------------------------------------


def test_settings_are_read_with_their_units() -> None:
    """`4096` kB, `4MB`, and 8 kB blocks."""
    facts = database().model_copy(
        update={
            "settings": (
                Setting(name="a", value="4096", unit="kB"),
                Setting(name="b", value="524288", unit="8kB"),
                Setting(name="c", value="64MB"),
                Setting(name="d", value="-1"),
                Setting(name="e", value="on"),
            )
        }
    )
    assert [setting_bytes(facts, name) for name in "abcdef"] == [4 * MB, 4_096 * MB, 64 * MB, -1, None, None]


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        (node("Hash", hash_batches=8, peak_memory_usage=4_000), 8 * 4_000 / 2),
        (node("Aggregate", peak_memory_usage=8_000, disk_usage=10_000), (8_000 + 40_000) / 2),
        (node("Sort", sort_space_used=1_000, sort_space_type="Memory"), 0),
        (node("Sort", sort_space_used=0, sort_space_type="Memory", Workers=[{"Worker Number": 0, "Sort Space Used": 2_000, "Sort Space Type": "Disk"}]), 7_000),
        (node("Materialize", temp_written_blocks=100), 800),
        (node("Aggregate", node("Seq Scan", on="orders", temp_written_blocks=0), temp_written_blocks=100), 2_800),
    ],
)  # fmt: skip
def test_what_would_have_been_needed(root: dict[str, object], expected: float) -> None:
    """In kB, divided by hash_mem_multiplier for hashes; workers count."""
    if "Workers" in root:
        root["Workers"] = root["Workers"]
    tree = parse_plan({"Plan": root})
    assert needed_bytes(tree.root, tree, database()) == pytest.approx(expected * 1_024)


def test_amounts_are_powers_of_two() -> None:
    """As people write settings."""
    assert [told(rounded(need * MB)) for need in (0.2, 5, 64, 65, 900)] == ["1MB", "8MB", "64MB", "128MB", "1GB"]
    assert ceiling_bytes(database(effective_cache_size="8GB")) == 512 * MB
