import pytest

from perfwright.analysis.plans.picture import MAX_NODES, picture_of
from perfwright.analysis.plans.plan_tree import parse_plan
from perfwright.models.query_performance import PlanHit
from tests.perfwright.analysis.plans.recorded_plans import VERSIONS, recorded_catalog, recorded_names, recorded_plan
from tests.perfwright.analysis.plans.running_plans import judged


@pytest.mark.parametrize("version", VERSIONS)
def test_a_plan_is_drawn_with_what_was_found(version: int) -> None:
    """The node that takes most time itself is hot, and the scan carries the rule's sentence and its condition."""
    document = recorded_plan(version, "planted.scan_for_few_keys")
    hits = judged(document, recorded_catalog(version))
    picture = picture_of(parse_plan(document), hits, "analyzed", execution_ms=7.5)
    join, scan, *_ = picture.nodes
    assert (picture.mode, picture.execution_ms, picture.left_out) == ("analyzed", 7.5, 0)
    assert scan.title == "Seq Scan on orders o" and [mark.rule for mark in scan.marks] == ["R02"]
    assert join.details == ("Hash Cond: (o.customer_id = c.id)",)
    assert [node.id for node in picture.nodes if node.hot] == [max(picture.nodes, key=lambda node: node.self_ms or 0).id]
    assert scan.blocks and scan.blocks > 100 and join.blocks == 0


@pytest.mark.parametrize("version", VERSIONS)
def test_estimates_are_told_with_their_direction(version: int) -> None:
    """Too low is negative, too high positive, right is 1."""
    picture = picture_of(parse_plan(recorded_plan(version, "planted.stale_statistics")))
    low = next(node for node in picture.nodes if node.title.startswith("Bitmap Heap Scan on shipments"))
    assert low.misestimate is not None and low.misestimate < -100 and low.rows_actual == 10_000
    right = picture_of(parse_plan(recorded_plan(version, "planted.sort_on_disk"))).nodes[0]
    assert right.misestimate is not None and abs(right.misestimate) < 1.5 and any("disk" in one for one in right.details)


@pytest.mark.parametrize("version", VERSIONS)
def test_nodes_that_did_not_run_are_told(version: int) -> None:
    """A branch that was never executed has no times and says so."""
    picture = picture_of(parse_plan(recorded_plan(version, "timed.never_executed")))
    idle = [node for node in picture.nodes if node.never_executed]
    assert idle and all(node.self_ms is None and node.rows_actual is None and node.misestimate is None for node in idle)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_recorded_plan_is_drawn(version: int) -> None:
    """One hot node at most, parents before children, shares of one whole, and a picture that fits a page."""
    for name in recorded_names(version):
        picture = picture_of(parse_plan(recorded_plan(version, name)))
        assert [node.id for node in picture.nodes] == list(range(len(picture.nodes))), name
        assert all(node.parent < node.id for node in picture.nodes) and picture.nodes[0].parent == -1, name
        assert sum(node.hot for node in picture.nodes) <= 1, name
        assert sum(node.self_share or 0 for node in picture.nodes) <= 1.001, name
        assert len(picture.model_dump_json()) < 64 * 1024, name


def test_a_planned_plan_is_drawn_by_cost() -> None:
    """Without an execution the costliest node is hot and no time is invented."""
    plan = {"Node Type": "Sort", "Total Cost": 100.0, "Plans": [{"Node Type": "Seq Scan", "Total Cost": 90.0, "Plan Rows": 5}]}
    sort, scan = picture_of(parse_plan({"Plan": plan}), (), "planned").nodes
    assert scan.hot and scan.self_share == 0.9 and scan.self_ms is None and sort.loops is None and not scan.never_executed


def test_a_huge_plan_keeps_what_matters() -> None:
    """Of 3,000 partitions 400 nodes are drawn: the slow ones and those with a finding, with all above them."""
    parts = [
        {
            "Node Type": "Seq Scan",
            "Relation Name": f"p{one}",
            "Actual Loops": 1,
            "Actual Rows": 1,
            "Actual Total Time": 90.0 if one == 2_500 else 0.1,
        }
        for one in range(3_000)
    ]
    plan = parse_plan({"Plan": {"Node Type": "Append", "Actual Loops": 1, "Actual Rows": 1, "Actual Total Time": 400.0, "Plans": parts}})
    hit = PlanHit(rule="R01", fingerprint="a" * 16, node=2_900, node_title="Seq Scan on p2899", statement="found")
    picture = picture_of(plan, (hit,))
    assert len(picture.nodes) == MAX_NODES and picture.left_out == 3_001 - MAX_NODES
    titles = {node.title: node for node in picture.nodes}
    assert titles["Seq Scan on p2500"].hot and titles["Seq Scan on p2899"].marks and titles["Append"].parent == -1
