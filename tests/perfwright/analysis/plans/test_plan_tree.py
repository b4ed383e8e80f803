import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfwright.analysis.plans.examined import ExaminedPlan
from perfwright.analysis.plans.judge import judge_plan
from perfwright.analysis.plans.node_kinds import kind_of
from perfwright.analysis.plans.node_times import measure
from perfwright.analysis.plans.picture import picture_of
from perfwright.analysis.plans.plan_tree import MAX_DEPTH, MAX_NODES, NotAPlan, PlanTree, parse_plan
from tests.perfwright.analysis.plans.recorded_plans import VERSIONS, recorded_catalog, recorded_names, recorded_plan

FIELDS = sorted(
    {
        *(
            "Node Type",
            "Plans",
            "Parent Relationship",
            "Subplan Name",
            "CTE Name",
            "Relation Name",
            "Alias",
            "Schema",
            "Filter",
            "Index Cond",
        ),
        *(
            "Join Filter",
            "Hash Cond",
            "Join Type",
            "Plan Rows",
            "Total Cost",
            "Startup Cost",
            "Actual Rows",
            "Actual Loops",
            "Actual Total Time",
        ),
        *(
            "Rows Removed by Filter",
            "Rows Removed by Join Filter",
            "Workers",
            "Workers Planned",
            "Workers Launched",
            "Hash Batches",
            "Strategy",
        ),
        *(
            "Sort Space Type",
            "Sort Key",
            "Sort Space Used",
            "Disk Usage",
            "Heap Fetches",
            "Shared Hit Blocks",
            "Temp Written Blocks",
            "Index Name",
        ),
        *("Group Key", "Full-sort Groups", "Cache Hits", "Cache Misses", "Parallel Aware", "Lossy Heap Blocks", "Subplans Removed", "???"),
    }
)
TYPES = [
    "Seq Scan",
    "Nested Loop",
    "Hash Join",
    "Hash",
    "Limit",
    "CTE Scan",
    "Gather",
    "Append",
    "Sort",
    "Aggregate",
    "Memoize",
    "Index Scan",
    "Warp Scan",
]
TEXTS = st.sampled_from(
    [
        *TYPES,
        "InitPlan",
        "SubPlan",
        "Outer",
        "Inner",
        "Member",
        "CTE a",
        "a",
        "InitPlan 1 (returns $0)",
        "(a > $0)",
        "Disk",
        "t_1",
        "Hashed",
        "Inner",
    ]
    + ["((x = 1) OR (y = 2))", "(lower(x) = 'a'::text)", "(((", "(x ~~ '%a'::text)", "(t.x = u.y)", "(a = (SubPlan 1))", "\ud800", "\0"]
) | st.text(max_size=8)
NUMBERS = st.one_of(st.integers(-5, 10**6), st.floats(), st.integers(10**300, 10**309), st.just(0))
VALUES = st.recursive(
    st.one_of(TEXTS, NUMBERS, st.none(), st.booleans()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=8),
    max_leaves=30,
)


def plan_of(*types: str) -> dict[str, Any]:
    """A chain: each reads the next."""
    node: dict[str, Any] = {"Node Type": types[-1]}
    for name in reversed(types[:-1]):
        node = {"Node Type": name, "Plans": [node | {"Parent Relationship": "Outer"}]}
    return {"Plan": node}


def use_all(tree: PlanTree) -> None:
    """Everything that is done with a plan, and what holds of any."""
    times = measure(tree)
    assert sum(times.own) + times.triggers + times.rest == pytest.approx(times.total, rel=1e-6, abs=1e-9)
    assert min(times.own) >= 0 and all(0 <= times.share(node) <= 1 for node in tree.nodes)
    for catalog in (None, recorded_catalog(15)):
        hits = judge_plan(ExaminedPlan(tree, times, catalog=catalog, execution_ms=1e6, mean_ms=1e6))
        assert all(0 <= hit.node < len(tree.nodes) and 0 <= hit.share <= 1 for hit in hits)
    picture_of(tree, hits).model_dump_json()


def test_nodes_are_numbered_in_preorder() -> None:
    """The number of a node in a hit is its place when reading the plan from top to bottom."""
    tree = parse_plan(
        {
            "Plan": {
                "Node Type": "Hash Join",
                "Plans": [
                    {"Node Type": "Seq Scan", "Parent Relationship": "Outer", "Relation Name": "a", "Alias": "x"},
                    {
                        "Node Type": "Hash",
                        "Parent Relationship": "Inner",
                        "Plans": [{"Node Type": "Seq Scan", "Relation Name": "b", "Schema": "s"}],
                    },
                ],
            }
        }
    )
    assert [(node.id, node.parent, node.title) for node in tree.nodes] == [
        (0, -1, "Hash Join"),
        (1, 0, "Seq Scan on a x"),
        (2, 0, "Hash"),
        (3, 2, "Seq Scan on s.b"),
    ]
    assert [node.id for node in tree.subtree(tree.nodes[2])] == [2, 3]


@pytest.mark.parametrize(
    "document", [None, 3, "x", [], {}, {"Plan": None}, {"Plan": []}, {"Plan": {}}, {"Plan": {"Node Type": 3}}, {"Query Text": "x"}]
)
def test_what_is_no_plan_is_said_so(document: object) -> None:
    """A document without a plan gives one kind of error that says what is missing."""
    with pytest.raises(NotAPlan, match="plan"):
        parse_plan(document)


def test_unknown_nodes_and_fields_are_read() -> None:
    """A later version's node types and fields do not stop a plan from being read."""
    tree = parse_plan({"Plan": {"Node Type": "Columnar Warp Scan", "Warp Factor": 9.5, "Plans": [7, {"Cost": {"a": 1}}]}, "Nova": []})
    assert [node.kind for node in tree.nodes] == ["other scan", "other"]
    assert tree.root.number("Warp Factor") == 9.5 and tree.nodes[1].type == "Unknown"
    assert kind_of("Telepathy") == "other"


def test_names_of_versions_are_one_property() -> None:
    """I/O times are read under the name of PostgreSQL 16 and under that of 17."""
    assert parse_plan({"Plan": {"Node Type": "Result", "I/O Read Time": 3.5}}).root.io_read_ms == 3.5
    assert parse_plan({"Plan": {"Node Type": "Result", "Shared I/O Read Time": 3.5}}).root.io_read_ms == 3.5


def test_depth_and_size_are_bounded() -> None:
    """A plan of any depth and size is read in bounded memory, and what is left out is counted."""
    deep = parse_plan(plan_of(*["Materialize"] * 5_000))
    assert len(deep.nodes) == MAX_DEPTH + 1 and deep.left_out == 1
    wide = parse_plan({"Plan": {"Node Type": "Append", "Plans": [{"Node Type": "Seq Scan"}] * (MAX_NODES + 10)}})
    assert len(wide.nodes) == MAX_NODES and wide.left_out == 11
    use_all(deep)


@given(VALUES)
@settings(max_examples=150, deadline=None)
def test_nothing_but_the_error_comes_of_any_document(value: Any) -> None:
    """Whatever a server (or an attacker's log) holds: a plan, or NotAPlan."""
    for document in (value, {"Plan": value}):
        try:
            tree = parse_plan(document)
        except NotAPlan:
            continue
        use_all(tree)


@given(st.sampled_from(VERSIONS), st.integers(0, 10**6), st.data())
@settings(max_examples=120, deadline=None)
def test_damaged_plans_are_read_to_the_end(version: int, seed: int, data: st.DataObject) -> None:
    """A real plan in which fields are missing or hold nonsense is still timed, judged and drawn."""
    names = recorded_names(version)
    document = recorded_plan(version, names[seed % len(names)])
    nodes = [document["Plan"]]
    for node in nodes:
        nodes.extend(node.get("Plans", []))
    for _ in range(data.draw(st.integers(1, 4))):
        node = data.draw(st.sampled_from(nodes))
        field = data.draw(st.sampled_from(sorted(node)))
        if field != "Node Type":
            node[field] = data.draw(VALUES)
    use_all(parse_plan(document))


@pytest.mark.parametrize("version", VERSIONS)
def test_real_plans_are_read_whole(version: int) -> None:
    """Of every recorded plan all nodes are there, of known kinds, and titles name their tables."""
    for name in recorded_names(version):
        document = recorded_plan(version, name)
        tree = parse_plan(document)
        assert len(tree.nodes) == json.dumps(document).count('"Node Type"'), name
        assert not [node.type for node in tree.nodes if node.kind == "other"], name
        assert tree.analyzed and tree.timed and tree.execution_ms, name
