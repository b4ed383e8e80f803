"""Times of nodes, drawn as `type time x loops`: the time is the average of a loop with what is below, as EXPLAIN prints it."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfwright.analysis.plans.init_plans import OUTSIDE
from perfwright.analysis.plans.node_times import NodeTimes, measure
from perfwright.analysis.plans.plan_tree import PlanTree, parse_plan
from tests.perfwright.analysis.plans.recorded_plans import VERSIONS, recorded_names, recorded_plan


def node(title: str, *below: dict[str, Any], relationship: str = "Outer", **fields: Any) -> dict[str, Any]:
    """`node("Seq Scan 2.5 x3", ...)`; further fields with underscores for spaces."""
    name, time, loops = title.rsplit(" ", 2)
    named = {key.replace("_", " "): value for key, value in fields.items()}
    return {
        "Node Type": name,
        "Parent Relationship": relationship,
        "Actual Total Time": float(time),
        "Actual Loops": int(loops.removeprefix("x")),
        "Actual Rows": 1,
        "Plans": list(below),
    } | named


def times_of(root: dict[str, Any], execution_ms: float | None = None, **rest: Any) -> tuple[PlanTree, NodeTimes]:
    tree = parse_plan({"Plan": root, "Execution Time": execution_ms} | rest)
    return tree, measure(tree)


def own(root: dict[str, Any], execution_ms: float | None = None, **rest: Any) -> list[float]:
    return [round(one, 3) for one in times_of(root, execution_ms, **rest)[1].own]


def test_loops_multiply() -> None:
    """
    Nested Loop 10 x1
      Seq Scan 2 x1
      Index Scan 0.05 x100    5 ms in all; the loop itself 3
    """
    plan = node("Nested Loop 10 x1", node("Seq Scan 2 x1"), node("Index Scan 0.05 x100", relationship="Inner"))
    assert own(plan) == [3, 2, 5]


def test_parallel_workers_run_beside_each_other() -> None:
    """
    Gather 100 x1             waits 10 ms for workers
      Aggregate 90 x3         in each of three processes 90 ms
        Seq Scan 60 x3        is 60 ms on the clock, not 180
    """
    plan = node("Gather 100 x1", node("Aggregate 90 x3", node("Seq Scan 60 x3")), Workers_Launched=2, Workers_Planned=2)
    assert own(plan) == [10, 30, 60]


def test_a_leader_that_took_no_part_is_not_counted() -> None:
    """With parallel_leader_participation off two workers launched are two processes: the loops of the Gather's child tell."""
    assert own(node("Gather 100 x1", node("Seq Scan 90 x2"), Workers_Launched=2)) == [10, 90]
    assert own(node("Gather 100 x1", node("Seq Scan 90 x1"), Workers_Launched=0, Workers_Planned=2)) == [10, 90]


def test_a_loop_inside_workers_is_shared_by_them() -> None:
    """pev2's case of 8 processes: 100,000 loops of 0.084 ms are 1,050 ms on the clock."""
    plan = node(
        "Gather 1094 x1", node("Nested Loop 1072 x8", node("Seq Scan 2 x8"), node("Function Scan 0.084 x100000", relationship="Inner"))
    )
    plan["Workers Launched"] = 7
    assert own(plan) == [22, 20, 2, 1050]


def test_a_partial_child_of_one_worker() -> None:
    """A part of a Parallel Append that one of two processes ran counts half on the clock, so that the parts sum up."""
    plan = node("Gather 50 x1", node("Append 40 x2", node("Seq Scan 60 x1"), node("Seq Scan 20 x1")), Workers_Launched=1)
    assert own(plan) == [10, 0, 30, 10]


def test_an_init_plan_is_taken_from_who_compares_with_it() -> None:
    """
    Sort 30 x1
      InitPlan 1: Aggregate 20 x1
      Seq Scan 25 x1, Filter (a > $0)      waited 20 ms for it, own 5
    """
    init = node("Aggregate 20 x1", relationship="InitPlan", Subplan_Name="InitPlan 1 (returns $0)")
    assert own(node("Sort 30 x1", init, node("Seq Scan 25 x1", Filter="(a > $0)"))) == [5, 20, 5]
    init["Subplan Name"] = "InitPlan 1"
    assert own(node("Sort 30 x1", init, node("Seq Scan 25 x1", Filter="(a > (InitPlan 1).col1)"))) == [5, 20, 5]


def test_an_init_plan_is_evaluated_by_the_gather_for_its_workers() -> None:
    """The Gather computes the value before it starts the workers that compare with it."""
    init = node("Aggregate 20 x1", relationship="InitPlan", Subplan_Name="InitPlan 1 (returns $0)")
    plan = node("Aggregate 51 x1", init, node("Gather 50 x1", node("Seq Scan 25 x3", Filter="(a > $0)"), Workers_Launched=2))
    assert own(plan) == [1, 20, 5, 25]


def test_an_init_plan_in_the_output_is_taken_from_who_had_the_time() -> None:
    """Without VERBOSE nothing names the reader: it is the topmost node whose own time holds it."""
    init = node("Aggregate 20 x1", relationship="InitPlan", Subplan_Name="InitPlan 1 (returns $0)")
    assert own(node("Limit 30 x1", init, node("Sort 29 x1", node("Seq Scan 26 x1")))) == [1, 20, 3, 6]


def test_a_cte_is_taken_from_its_first_reader() -> None:
    """
    Nested Loop 200 x1
      CTE c: Seq Scan 100 x1
      CTE Scan 105 x1         reads it first: own 5
      CTE Scan 0.3 x300       re-reads what is kept: 90 ms of its own
    """
    cte = node("Seq Scan 100 x1", relationship="InitPlan", Subplan_Name="CTE c")
    plan = node(
        "Nested Loop 200 x1", cte, node("CTE Scan 105 x1", CTE_Name="c"), node("CTE Scan 0.3 x300", relationship="Inner", CTE_Name="c")
    )
    assert own(plan) == [5, 100, 5, 90]


def test_a_writing_cte_that_nothing_reads_runs_after_the_root() -> None:
    """Its time is outside of the root and within the execution: 1 + 40, and 2 for start and end."""
    cte = node("ModifyTable 40 x1", relationship="InitPlan", Subplan_Name="CTE d")
    _, times = times_of(node("Result 1 x1", cte), 43.0)
    assert [*times.own, times.rest, times.total] == pytest.approx([1, 40, 2, 43])


def test_workers_of_a_cte_are_ended_at_the_end() -> None:
    """A CTE prints 6 ms more than its reader: they were spent when the statement ended its workers, and the root had printed them as its own."""
    cte = node("Gather Merge 66 x1", relationship="InitPlan", Subplan_Name="CTE r")
    assert own(node("Sort 67 x1", cte, node("Nested Loop 60 x1", node("CTE Scan 60 x1", CTE_Name="r")))) == [1, 66, 0, 0]


def test_never_executed_nodes_take_nothing() -> None:
    """No loops, no time, whatever is printed."""
    assert own(node("Append 5 x1", node("Seq Scan 4 x1"), node("Seq Scan 0 x0", node("Seq Scan 0 x0")))) == [1, 4, 0, 0]


def test_foreign_keys_are_outside_of_the_plan() -> None:
    """Triggers after the statement, and what is left for start and end, complete the execution time."""
    triggers = [{"Trigger Name": "RI_ConstraintTrigger_a_1", "Relation": "t", "Time": 30.0, "Calls": 5}]
    _, times = times_of(node("ModifyTable 10 x1"), 42.0, Triggers=triggers)
    assert [*times.own, times.triggers, times.rest] == pytest.approx([10, 30, 2])


def test_rounding_never_makes_time() -> None:
    """A million loops printed as 0.001 ms claim a second of a node that took 700 ms: they are shrunk to fit."""
    plan = node("Nested Loop 700 x1", node("Seq Scan 100 x1"), node("Index Scan 0.001 x1000000", relationship="Inner"))
    assert own(plan) == pytest.approx([0, 63.636, 636.364])


def test_without_times_shares_are_of_planned_cost() -> None:
    """A planned plan: the inner side of a nested loop costs once per outer row, InitPlans are part of the node they hang below."""
    plan = {
        "Node Type": "Nested Loop",
        "Total Cost": 1_000.0,
        "Plans": [
            {"Node Type": "Seq Scan", "Parent Relationship": "Outer", "Total Cost": 100.0, "Plan Rows": 80},
            {"Node Type": "Index Scan", "Parent Relationship": "Inner", "Total Cost": 10.0, "Plan Rows": 1},
        ],
    }
    times = measure(parse_plan({"Plan": plan}))
    assert times.unit == "cost" and list(times.own) == pytest.approx([100, 100, 800])


@dataclass
class Part:
    """A node of a drawn execution: what it takes itself on the clock, and what it runs."""

    own_us: int
    kind: str = "Seq Scan"
    parts: list["Part"] = field(default_factory=list)
    runs: int = 1
    """Loops of each part for one of its own."""


PARTS = st.recursive(
    st.builds(Part, st.integers(1, 5_000)),
    lambda inner: st.builds(
        Part,
        st.integers(1, 5_000),
        st.sampled_from(["Append", "Nested Loop", "Gather", "Sort"]),
        st.lists(inner, min_size=1, max_size=3),
        st.integers(1, 4),
    ),
    max_leaves=12,
)


def printed(part: Part, loops: int, processes: int, relationship: str, truth: list[float]) -> tuple[dict[str, Any], float]:
    """The node as EXPLAIN would print it, and its elapsed time on the clock. `truth` collects own times in preorder."""
    number = len(truth)
    truth.append(0.0)
    gathers = part.kind == "Gather" and processes == 1
    kind = part.kind if part.kind != "Gather" or gathers else "Append"
    below, elapsed = [], part.own_us / 1_000 * loops
    truth[number] = elapsed
    for index, one in enumerate(part.parts[:1] if gathers else part.parts):
        beside = 3 if gathers else processes
        runs = part.runs if kind == "Nested Loop" and index else 1
        document, took = printed(one, loops * runs, beside, "Inner" if runs > 1 else "Outer", truth)
        below.append(document)
        elapsed += took
    return (
        node(
            f"{kind} {elapsed / loops} x{loops * processes}",
            *below,
            relationship=relationship,
            **({"Workers_Launched": 2} if gathers else {}),
        ),
        elapsed,
    )


@given(PARTS)
@settings(max_examples=200, deadline=None)
def test_own_times_of_a_drawn_execution_come_back(part: Part) -> None:
    """Whatever the nesting of loops and workers: each node's own time is found again, and they sum to the whole."""
    truth: list[float] = []
    root, elapsed = printed(part, 1, 1, "", truth)
    _, times = times_of(root, elapsed)
    assert list(times.own) == pytest.approx(truth, rel=1e-6, abs=1e-6)
    assert sum(times.own) == pytest.approx(elapsed)


@pytest.mark.parametrize("version", VERSIONS)
def test_parts_of_real_plans_sum_to_the_execution_time(version: int) -> None:
    """Serial and parallel, CTEs, InitPlans, SubPlans, triggers: own times, triggers and the rest are the execution time, to the microsecond."""
    for name in recorded_names(version):
        tree = parse_plan(recorded_plan(version, name))
        times = measure(tree)
        assert sum(times.own) + times.triggers + times.rest == pytest.approx(times.total, abs=1e-6), name
        assert tree.execution_ms is not None and tree.execution_ms <= times.total <= tree.execution_ms * 1.001, name


@pytest.mark.parametrize("version", VERSIONS)
def test_real_plans_need_no_shrinking_beyond_rounding(version: int) -> None:
    """Every InitPlan and CTE was given to a node that really waited for it: no node of a recorded plan is cut by more than its rounding."""
    for name in recorded_names(version):
        tree = parse_plan(recorded_plan(version, name))
        times = measure(tree)
        loops = sum(one.loops for one in tree.nodes)
        for one in tree.nodes:
            raw = (one.time_ms or 0.0) * one.loops / times.processes[one.id]
            assert times.elapsed[one.id] >= raw * 0.97 - 0.0005 * loops - 0.05, f"{name}: {one.title} {raw} -> {times.elapsed[one.id]}"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("name", "plan", "waited"),
    [
        ("init_plan", "InitPlan 1", "Seq Scan on orders"),
        ("parallel_with_init_plan", "InitPlan 1", "Gather"),
        ("two_init_plans", "InitPlan 2", "Result"),
        ("nested_ctes", "CTE a", "CTE Scan on a a"),
        ("nested_ctes", "CTE b", "CTE Scan on b"),
        ("cte_read_by_init_plan", "CTE r", "CTE Scan on r"),
        ("cte_read_twice", "CTE o", "CTE Scan on o"),
        ("writing_cte_read", "CTE d", "CTE Scan on d"),
    ],
)
def test_who_waited_in_real_plans(version: int, name: str, plan: str, waited: str) -> None:
    """The time of an InitPlan or CTE is taken from the node that asked for it, in the plans of both versions."""
    tree = parse_plan(recorded_plan(version, f"timed.{name}"))
    times = measure(tree)
    (init,) = [one for one in tree.nodes if one.text("Subplan Name").split(" (")[0] == plan]
    assert tree.nodes[times.holders[init.id]].title.startswith(waited)
    assert times.elapsed[init.id] == pytest.approx((init.time_ms or 0.0) * init.loops, rel=0.02, abs=0.01)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_unread_writing_cte_in_a_real_plan(version: int) -> None:
    """It runs after the root: the root's own time is not touched, and it is within the execution time."""
    tree = parse_plan(recorded_plan(version, "timed.writing_cte_not_read"))
    times = measure(tree)
    (written,) = [one for one in tree.nodes if one.kind == "modify table"]
    assert times.holders[written.id] == OUTSIDE
    assert times.elapsed[0] + times.elapsed[written.id] <= times.total


@pytest.mark.parametrize("version", VERSIONS)
def test_a_leader_that_stays_out_is_seen_in_a_real_plan(version: int) -> None:
    """parallel_leader_participation = off: two workers, two processes."""
    tree = parse_plan(recorded_plan(version, "timed.parallel_without_leader"))
    scan = next(one for one in tree.nodes if one.kind == "seq scan")
    gather = next(one for one in tree.nodes if one.kind == "gather")
    assert measure(tree).processes[scan.id] == gather.number("Workers Launched") == scan.loops
