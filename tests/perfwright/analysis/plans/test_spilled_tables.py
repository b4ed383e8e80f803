"""What spills names the tables that its rows come from, and the columns of its keys."""

import pytest

from perfwright.models.query_performance import PlanHit
from tests.perfwright.analysis.plans.recorded_plans import VERSIONS, recorded_catalog, recorded_plan
from tests.perfwright.analysis.plans.running_plans import judged


def hit(version: int, name: str, rule: str) -> PlanHit:
    [found] = [one for one in judged(recorded_plan(version, f"planted.{name}"), recorded_catalog(version)) if one.rule == rule]
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("name", "rule", "relations", "said"),
    [
        ("sort_on_disk", "R06", ("orders",), "rows of orders by comment took "),
        ("window_sort_on_disk", "R06", ("orders",), "rows of orders by channel, comment took "),
        ("hash_in_batches", "R07", ("orders",), "rows of orders by id did not fit"),
        ("hash_aggregate_spills", "R08", ("orders",), "rows of orders by customer_id into "),
        ("cte_on_disk", "R29", ("orders",), "kB of orders to temporary files"),
    ],
)
def test_tables_and_keys(version: int, name: str, rule: str, relations: tuple[str, ...], said: str) -> None:
    """Sorts, hashes, groups, and a query in WITH, whose plan stands elsewhere."""
    found = hit(version, name, rule)
    assert found.relations == relations
    assert said in found.statement


def test_several_tables() -> None:
    """A sort above a join names all tables beneath it, and says whose each column is."""

    def scan(name: str, alias: str, relationship: str) -> dict[str, object]:
        return _node("Seq Scan", 10.0, **{"Relation Name": name, "Schema": "public", "Alias": alias, "Parent Relationship": relationship})

    join = _node(
        "Nested Loop",
        30.0,
        **{"Join Type": "Inner", "Parent Relationship": "Outer"},
        Plans=[scan("orders", "o", "Outer"), scan("customers", "c", "Inner")],
    )
    sort = _node(
        "Sort",
        90.0,
        **{"Sort Key": ["o.total DESC", "c.name"], "Sort Method": "external merge", "Sort Space Type": "Disk", "Sort Space Used": 9_000},
        Plans=[join],
    )
    [found] = [one for one in judged({"Plan": sort, "Planning Time": 1.0, "Execution Time": 90.0}, None) if one.rule == "R06"]
    assert [name.removeprefix("public.") for name in found.relations] == ["orders", "customers"]
    assert found.relation == "" and " by " in found.statement and "total" in found.statement and "customers" in found.statement


def _node(kind: str, total_ms: float, **more: object) -> dict[str, object]:
    measured = {"Startup Cost": 0.0, "Total Cost": 9e5, "Plan Rows": 50_000, "Plan Width": 8, "Actual Startup Time": 0.0, "Actual Loops": 1}
    return {"Node Type": kind, "Actual Total Time": total_ms, "Actual Rows": 50_000, **measured, **more}
