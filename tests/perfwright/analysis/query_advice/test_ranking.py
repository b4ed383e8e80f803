"""From hits to findings and recommendations: one finding per cause, severity by what can be won, advice that can be acted on."""

import pytest

from perfwright.analysis.query_advice.index_candidates import index_candidates
from perfwright.analysis.query_advice.ranking import rank
from perfwright.models.finding import Finding
from perfwright.models.measurement import Interval
from perfwright.models.query_advice import RankedQueryFindings
from perfwright.models.query_performance import VerifiedRewrite, WaitShare, WhatIf
from tests.perfwright.analysis.query_advice.drawn import CUSTOMERS, ORDERS, SHOP, Run, hit, index, node, ranked, whole_orders


def loud(found: RankedQueryFindings) -> dict[str, Finding]:
    return {one.id: one for one in found.findings if one.severity != "information"}


def missing(share: float = 0.6, calls: int = 12_840, **more: object) -> Run:
    """One statement that reads orders whole for customer_id."""
    run = Run()
    run.add(whole_orders(), text="SELECT * FROM orders WHERE customer_id = $1", share=share, calls=calls, **more)  # type: ignore[arg-type]
    return run


# --- healthy --------------------------------------------------------------------------------------


def healthy() -> Run:
    """Lookups by key, a small aggregate, a join by hash that needs all rows."""
    run = Run()
    run.add(node("Index Scan", on="orders", index="orders_pkey", cond="(id = 5)", ms=0.02), share=0.5, calls=90_000)
    run.add(node("Aggregate", node("Seq Scan", on="orders", rows=1_000_000, ms=90), rows=4, ms=110), share=0.3, calls=50)
    customers = node("Hash", node("Seq Scan", on="customers", rows=50_000, ms=8), rows=50_000, ms=20, hash_batches=1)
    run.add(
        node(
            "Hash Join",
            node("Seq Scan", on="orders", rows=1_000_000, ms=90),
            customers,
            rows=1_000_000,
            ms=300,
            hash_cond="(orders.customer_id = customers.id)",
        ),
        share=0.2,
        calls=10,
    )
    return run


def test_a_healthy_database_has_no_finding_and_the_sentence_says_so() -> None:
    """Nothing above information, nothing to do, gates passed."""
    found = ranked(healthy())
    assert loud(found) == {} and found.recommendations == () and found.gains == {}
    assert (
        found.summary
        == "shop-db: nothing in the plans costs enough to act on (3 of 3 examined statements have a plan, 100% of the time seen)."
    )
    assert [one.outcome for one in found.quality_gates] == ["passed"] * 4 and found.warnings == ()


def test_nothing_examined_is_said() -> None:
    """An empty run is neither healthy nor ill."""
    found = ranked(Run())
    assert found.summary == "shop-db: no statement was examined." and found.findings == ()
    assert {one.outcome for one in found.quality_gates} == {"no data"}


# --- what a finding says --------------------------------------------------------------------------


def test_a_missing_index_is_told_with_its_number_its_ddl_and_its_undo() -> None:
    """The finding reads by itself; the recommendation can be applied and undone."""
    found = ranked(missing())
    (finding,) = loud(found).values()
    assert finding.id == "missing-index:public.orders(customer_id)"
    assert finding.title == "orders is read whole for customer_id, 214 times a second: 60% of database time"
    assert (finding.severity, finding.locations[0].query) == ("critical", "SELECT * FROM orders WHERE customer_id = $1")
    assert finding.cost is not None and finding.cost.value == pytest.approx(0.6) and finding.cost.unit == "share of database time"
    assert finding.evidence[0].artifact is not None and "R01 at node 0" in finding.evidence[0].statement

    (advice,) = found.recommendations
    assert advice.change is not None and advice.change.digest
    assert advice.change.apply == "CREATE INDEX CONCURRENTLY orders_customer_id_idx ON public.orders (customer_id);"
    assert advice.change.undo == "DROP INDEX CONCURRENTLY IF EXISTS public.orders_customer_id_idx;"
    assert (advice.risk, advice.effort, advice.finding_ids) == ("reload", "hours", (finding.id,))
    assert advice.expected_gain.value == pytest.approx(0.54) and advice.expected_gain.interval is not None
    for part in ("**Query**", "**Plan**", "<-- here", advice.change.apply, advice.change.undo, "**Check**"):
        assert part in advice.brief
    assert found.summary.startswith(finding.title) and "First: Create an index on orders(customer_id)." in found.summary
    assert found.gains == {"00000000000000aa": found.gains["00000000000000aa"]} and found.gains["00000000000000aa"].value == pytest.approx(
        0.54
    )


@pytest.mark.parametrize(("share", "severity"), [(0.6, "critical"), (0.3, "high"), (0.1, "medium"), (0.02, "low"), (0.009, "information")])
def test_severity_follows_what_can_be_won(share: float, severity: str) -> None:
    """Share of the database's time at the node times the expected gain; below 1 % there is nothing to do."""
    found = ranked(missing(share=share))
    (finding,) = found.findings
    assert finding.severity == severity and len(found.recommendations) == (severity != "information")


def test_on_an_idle_database_nothing_is_urgent() -> None:
    """60 % of next to nothing: a session that is busy for half a second a minute."""
    run = missing()
    idle = run.table.model_copy(update={"total_ms": 500.0})
    found = rank(run.question(), idle, run.plans, run.catalog)
    assert [one.severity for one in found.findings] == ["low"]


def test_one_index_for_three_statements_is_one_finding_with_three_places() -> None:
    """Shares add up; the shared composite serves all."""
    run = Run()
    for number, condition in enumerate(["(customer_id = 5)", "(customer_id = 9)", "((customer_id = 5) AND (status = 'x'::text))"]):
        run.add(whole_orders(condition), text=f"SELECT {number}", share=0.2)
    found = ranked(run)
    (finding,) = loud(found).values()
    assert finding.id == "missing-index:public.orders(customer_id,status)" and len(finding.locations) == 3
    assert finding.cost is not None and finding.cost.value == pytest.approx(0.6)
    assert [one.id for one in found.recommendations] == ["index:public.orders(customer_id,status)"]


def test_ids_are_the_same_in_the_next_run() -> None:
    """With other values, shares and order."""
    first, second = ranked(missing()), ranked(missing(share=0.2, calls=3))
    assert [one.id for one in first.findings] == [one.id for one in second.findings]
    assert [one.id for one in first.recommendations] == [one.id for one in second.recommendations]


# --- cause logic ----------------------------------------------------------------------------------


def test_stale_statistics_are_told_from_a_missing_index() -> None:
    """The index is there, a fifth of the table changed, the estimate is off: ANALYZE, first, and no index."""
    stale = ORDERS.model_copy(update={"indexes": (*ORDERS.indexes, index("by_customer", "customer_id")), "modified_rows": 250_000})
    run = Run(SHOP.model_copy(update={"tables": (stale, CUSTOMERS)}))
    name = run.add(whole_orders(planned=500_000), share=0.4)
    found = ranked(run, (hit("R01", fingerprint=name), hit("R09", fingerprint=name)))
    (finding,) = loud(found).values()
    assert finding.id == "stale-statistics:public.orders" and "250,000 rows changed" in finding.summary
    assert [one.change.apply for one in found.recommendations if one.change] == ["ANALYZE public.orders;"]
    assert "CREATE INDEX" not in found.model_dump_json()
    missing_one = Run(SHOP.model_copy(update={"tables": (stale.model_copy(update={"indexes": ORDERS.indexes}), CUSTOMERS)}))
    name = missing_one.add(whole_orders(), share=0.4)
    assert list(loud(ranked(missing_one, (hit("R01", fingerprint=name),)))) == ["missing-index:public.orders(customer_id)"]


def test_analyze_comes_before_what_was_concluded_from_stale_plans() -> None:
    """Although the index alone seems to win more."""
    stale = CUSTOMERS.model_copy(update={"modified_rows": 40_000})
    run = Run(SHOP.model_copy(update={"tables": (ORDERS, stale)}))
    slow = run.add(whole_orders(), share=0.5)
    loop = run.add(node("Seq Scan", on="customers", rows=40_000, planned=10, ms=90), share=0.3)
    found = ranked(run, (hit("R01", fingerprint=slow), hit("R09", fingerprint=loop, relation="customers")))
    assert [one.id for one in found.recommendations] == ["analyze:public.customers", "index:public.orders(customer_id)"]


def test_a_misjudged_loop_points_to_statistics_never_to_a_switch() -> None:
    """R10: extended statistics on what is misjudged; enable_nestloop is named only as what not to do."""
    outer = node(
        "Seq Scan", on="customers", rows=20_000, planned=10, filter="((city = 'a'::text) AND (country = 'b'::text))", removed=30_000
    )
    inner = node("Index Scan", on="orders", index="orders_pkey", cond="(id = customers.id)", loops=20_000, ms=0.02)
    run = Run()
    name = run.add(node("Nested Loop", outer, inner, rows=20_000, ms=500), share=0.5)
    found = ranked(
        run,
        (
            hit("R10", fingerprint=name, relation="orders"),
            hit("R09", 1, fingerprint=name, relation="customers", columns=("city", "country")),
        ),
    )
    (finding,) = loud(found).values()
    assert finding.id == "misestimate:public.customers(city,country)"
    assert found.recommendations[0].change is not None and "CREATE STATISTICS" in found.recommendations[0].change.apply
    assert "Do not switch plan methods off" in found.recommendations[0].brief


def test_the_specific_reason_of_a_node_wins() -> None:
    """A scan that is hidden behind a function, a cast, a pattern or an OR is no plain missing index."""
    for rule, condition, kind in [
        ("R12", "(lower(note) = 'x'::text)", "function-on-column"),
        ("R13", "((customer_id)::text = '5'::text)", "cast-on-column"),
        ("R14", "(note ~~ '%lamp%'::text)", "leading-wildcard"),
        ("R15", "((customer_id = 5) OR (total = '9'::numeric))", "or-across-columns"),
    ]:
        run = Run()
        name = run.add(whole_orders(condition), share=0.4)
        found = ranked(run, (hit("R01", fingerprint=name, columns=("note",)), hit(rule, fingerprint=name, columns=("note",))))
        (finding,) = loud(found).values()
        assert finding.id.startswith(kind), rule
        assert len(finding.evidence) == 2


def test_a_subquery_whose_scan_lacks_an_index_is_one_finding() -> None:
    """R11 above, R02 below: the index is the cause; alone R11 is a finding of its own."""
    scan = whole_orders("(customer_id = c.id)", loops=500, ms=50)
    root = node("Seq Scan", node("Aggregate", scan, loops=500, ms=50.1, as_="SubPlan"), on="customers c", ms=25_060, rows=500)
    run = Run()
    name = run.add(root, share=0.8)
    both = ranked(run, (hit("R11", 1, fingerprint=name), hit("R02", 2, fingerprint=name)))
    assert list(loud(both)) == ["missing-index:public.orders(customer_id)"]
    by_key = node("Index Scan", on="orders", index="orders_pkey", cond="(id = c.id)", loops=50_000, ms=0.01)
    alone = Run()
    name = alone.add(
        node("Seq Scan", node("Aggregate", by_key, loops=50_000, ms=0.011, as_="SubPlan"), on="customers c", ms=600), share=0.8
    )
    assert list(loud(ranked(alone, (hit("R11", 1, fingerprint=name),)))) == [f"correlated-subquery:{name}"]


def test_an_index_that_the_planner_would_not_use_is_not_advised() -> None:
    """Asked about, and refused: the scan stays a finding without the DDL, and wins next to nothing."""
    run = missing()
    (candidate,) = index_candidates(run.hits, run.table, run.plans, run.catalog)
    no = WhatIf(fingerprint=candidate.fingerprint, ddl=candidate.ddl, cost_before=1_000, cost_after=1_000, used=False)
    found = ranked(run, what_ifs=(no,))
    assert [one.id for one in found.findings] == ["full-scan:public.orders(customer_id)"]
    assert not any(one.change for one in found.recommendations)


def test_a_what_if_plan_makes_sure() -> None:
    """Confidence high, gain from its costs, size from the smaller of two estimates."""
    run = missing()
    (candidate,) = index_candidates(run.hits, run.table, run.plans, run.catalog)
    yes = WhatIf(fingerprint=candidate.fingerprint, ddl=candidate.ddl, cost_before=20_000, cost_after=5_000, used=True, bytes=1 << 20)
    found = ranked(run, what_ifs=(yes,))
    (finding,), (advice,) = found.findings, found.recommendations
    assert finding.confidence == "high" and advice.expected_gain.value == pytest.approx(0.6 * 0.75)
    assert "cost 20,000 -> 5,000 (25.00%)" in advice.derivation and advice.change is not None and "(1.0 MB)" in advice.change.title


def test_an_index_that_is_there_and_too_dear_is_said_with_the_setting() -> None:
    """No second index; random_page_cost is named, not changed."""
    has_it = ORDERS.model_copy(update={"indexes": (*ORDERS.indexes, index("by_customer", "customer_id"))})
    run = Run(SHOP.model_copy(update={"tables": (has_it, CUSTOMERS)}))
    name = run.add(whole_orders(planned=20), share=0.5)
    found = ranked(run, (hit("R01", fingerprint=name),))
    (finding,), (advice,) = loud(found).values(), found.recommendations
    assert finding.id == "index-not-used:public.orders(by_customer)"
    assert "random_page_cost" in advice.brief and advice.change is None


def test_a_sort_of_a_whole_table_on_disk_is_a_spill_though_an_index_has_the_order() -> None:
    """R06: walking the whole table along that index would cost more; memory is the cure."""
    has_it = ORDERS.model_copy(update={"indexes": (*ORDERS.indexes, index("by_customer", "customer_id"))})
    run = Run(SHOP.model_copy(update={"tables": (has_it, CUSTOMERS)}))
    scan = node("Seq Scan", on="orders", rows=200_000)
    root = node("Sort", scan, rows=200_000, sort=["customer_id"], sort_space_used=4_336, sort_space_type="Disk")
    name = run.add(root, share=0.5)
    found = ranked(run, (hit("R06", relation="orders", fingerprint=name),))
    (finding,), (advice,) = loud(found).values(), found.recommendations
    assert finding.id == f"spill:{name}"
    assert advice.change is not None and advice.change.apply.endswith("SET work_mem = '16MB';")


# --- spills, rewrites, waits ----------------------------------------------------------------------


def test_spills_of_one_role_get_one_change() -> None:
    """Two statements, two findings, one ALTER ROLE that is large enough for both."""
    run = Run()
    for kb in (4_000, 30_000):
        run.add(
            node(
                "Sort",
                node("Seq Scan", on="orders", rows=90_000, ms=40),
                sort=["orders.note"],
                sort_space_used=kb,
                sort_space_type="Disk",
                ms=400,
            ),
            share=0.4,
        )
    found = ranked(run)
    assert [one.split(":")[0] for one in loud(found)] == ["spill", "spill"]
    (advice,) = found.recommendations
    assert advice.change is not None and "work_mem = '128MB'" in advice.change.apply and len(advice.finding_ids) == 2


def rewrite(outcome: str = "faster", **more: object) -> VerifiedRewrite:
    facts = {
        "fingerprint": "00000000000000aa",
        "title": "Compute the aggregate once",
        "original": "SELECT 1",
        "rewritten": "SELECT 2 -- ``` '",
        "outcome": outcome,
    }
    measured = {"ratio": 0.2, "interval": Interval(low=0.15, high=0.3), "pairs": 9, "rows_compared": 1_234}
    return VerifiedRewrite.model_validate(facts | measured | more)


def test_a_rewrite_that_was_measured_to_be_faster_is_recommended() -> None:
    """With its ratio, its text and what to check; its gain is measured, so it is sure."""
    found = ranked(missing(), rewrites=(rewrite(),))
    advice = next(one for one in found.recommendations if one.id.startswith("rewrite:"))
    assert advice.expected_gain.value == pytest.approx(0.6 * 0.8) and advice.expected_gain.interval is not None
    assert advice.expected_gain.interval.low == pytest.approx(0.6 * 0.7) and "9 interleaved pairs" in advice.derivation
    assert "````sql\nSELECT 2 -- ``` '\n````" in advice.brief and advice.finding_ids == ("missing-index:public.orders(customer_id)",)


@pytest.mark.parametrize("outcome", ["not faster", "other rows", "not tried"])
def test_any_other_rewrite_is_not(outcome: str) -> None:
    """Believed equal is not enough."""
    assert not any(one.id.startswith("rewrite:") for one in ranked(missing(), rewrites=(rewrite(outcome),)).recommendations)


def test_waiting_is_a_finding_of_its_own() -> None:
    """Locks and idle transactions that no plan shows; little waiting is none."""
    locks = WaitShare(state="Lock: transactionid", share=0.5, sessions=4.0, statement="UPDATE stock SET n = n - 1")
    idle = WaitShare(state="Client: ClientRead in transaction", share=0.3, sessions=2.0)
    found = ranked(healthy(), waits=(locks, idle, WaitShare(state="running", share=0.2, sessions=1)))
    assert {one: finding.severity for one, finding in loud(found).items()} == {
        "lock-waits:sessions": "medium",
        "idle-in-transaction:sessions": "low",
    }
    assert "pg_blocking_pids" in found.recommendations[0].brief
    assert loud(ranked(healthy(), waits=(locks.model_copy(update={"share": 0.1}),))) == {}


# --- given statements, bounds, oddities -----------------------------------------------------------


def test_given_statements_are_compared_by_one_execution_each() -> None:
    """No window: shares of the time that they took here, and said so."""
    run = Run(seconds=0)
    run.add(whole_orders(ms=900), calls=0)
    run.add(node("Index Scan", on="orders", index="orders_pkey", cond="(id = 5)", ms=100), calls=0)
    nothing_seen = run.table.model_copy(update={"total_ms": 0.0})
    found = rank(run.question(), nothing_seen, run.plans, run.catalog)
    assert found.findings[0].title == "orders is read whole for customer_id: 90% of the time"
    assert {one.name: one.outcome for one in found.quality_gates}["window long enough"] == "no data"


def test_without_a_catalog_there_are_findings_but_no_ddl() -> None:
    """Columns cannot be resolved, existing indexes are not known."""
    run = missing()
    found = rank(run.question(), run.table, run.plans, None)
    assert found.findings and not any(one.change for one in found.recommendations)


def test_statements_without_a_plan_are_told() -> None:
    """Their reasons as warnings, their share in a gate."""
    run = missing(share=0.3)
    run.add(None, share=0.6)
    found = ranked(run)
    assert found.warnings == ("00000000000000ab has no plan: it was cut",)
    assert next((one.name, one.outcome) for one in found.quality_gates) == ("plans for most of the load", "failed")
