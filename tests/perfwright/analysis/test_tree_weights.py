from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis.call_tree import ProfileBuilder
from perfwright.analysis.tree_weights import CallTree, levels_of, ranges
from perfwright.models.profile import Frames, Nodes, Profile, ProfilePass, ThreadRef
from tests.drawn_profiles import drawn

STACKS = st.lists(st.tuples(st.lists(st.integers(0, 4), min_size=1, max_size=10), st.integers(1, 5)), min_size=1, max_size=40)


def tree_of(stacks: list[tuple[list[int], int]]) -> CallTree:
    builder = ProfileBuilder("test 1")
    builder.begin("on_cpu", 100)
    block, thread = builder.add_block("on_cpu", 1.0), builder.thread(1)
    for stack, count in stacks:
        builder.add("on_cpu", [builder.frame(f"f{one}", "app.py", 0, "user") for one in stack], thread, block, count)
    return CallTree(builder.build())


@given(STACKS)
def test_self_and_total_are_those_of_walking_every_stack(stacks: list[tuple[list[int], int]]) -> None:
    """Self and total time agree with counting stack by stack, with recursion counted once per sample."""
    tree = tree_of(stacks)
    rows = tree.weights("on_cpu")
    assert rows is not None
    key = tree.names.function[tree.frame]
    own, size = tree.own(rows), len(tree.names.functions)
    selfs, totals = Counter[str](), Counter[str]()
    for stack, count in stacks:
        selfs[f"f{stack[-1]}"] += count
        for one in set(stack):
            totals[f"f{one}"] += count
    names = [function for function, _ in tree.names.functions]
    counted = np.bincount(key, weights=own, minlength=size)
    assert {name: counted[number] for number, name in enumerate(names)} == {name: selfs[name] for name in names}
    total = tree.totals(key, tree.below(own), size)
    assert {name: total[number] for number, name in enumerate(names)} == {name: totals[name] for name in names}


@given(STACKS, st.integers(0, 4))
def test_under_a_function_is_every_stack_with_it(stacks: list[tuple[list[int], int]], one: int) -> None:
    """The samples under a function are exactly those whose stack holds it."""
    tree = tree_of(stacks)
    rows = tree.weights("on_cpu")
    assert rows is not None
    number = next((n for n, (name, _) in enumerate(tree.names.functions) if name == f"f{one}"), -5)
    outermost = tree.outermost(tree.names.function[tree.frame])
    under = tree.under(outermost & (tree.names.function[tree.frame] == number))
    assert rows.count[under[rows.node]].sum() == sum(count for stack, count in stacks if one in stack)


@given(STACKS)
def test_preorder_intervals_are_ancestry(stacks: list[tuple[list[int], int]]) -> None:
    """A node lies within another's interval exactly when walking up from it meets the other."""
    tree = tree_of(stacks)
    for node in range(len(tree.parent)):
        above, walk = node, set()
        while above >= 0:
            walk.add(above)
            above = int(tree.parent[above])
        inside = {n for n in range(len(tree.parent)) if tree.first[n] <= tree.first[node] < tree.last[n]}
        assert inside == walk


def test_processes_and_folded_stacks_are_no_functions() -> None:
    """Frames that stand for a process or for rare stacks never show up as hot functions."""
    builder = ProfileBuilder("test 1")
    frames = [
        builder.frame("process 7: worker", "", 0, "process"),
        builder.frame("[rare stacks]"),
        builder.frame("main", "app.py", 1, "user"),
    ]
    builder.begin("on_cpu", 100)
    builder.add("on_cpu", frames, builder.thread(1), builder.add_block("on_cpu", 1.0))
    tree = CallTree(builder.build())
    assert [int(tree.names.function[one]) >= 0 for one in frames] == [False, False, True]


def test_a_pass_that_was_not_recorded_is_none() -> None:
    """Asking for a pass that is not there is an answer, not an error."""
    assert CallTree(drawn("main app.py:1 3")).weights("gil") is None


@pytest.mark.parametrize(
    ("parent", "frame", "node", "thread"),
    [
        ([0], [0], [0], [0]),
        ([-1, 1], [0, 0], [0], [0]),
        ([-2], [0], [0], [0]),
        ([-1], [5], [0], [0]),
        ([-1], [0], [3], [0]),
        ([-1], [0], [0], [9]),
    ],
)
def test_columns_that_are_no_tree_are_refused(parent: list[int], frame: list[int], node: list[int], thread: list[int]) -> None:
    """A profile whose columns point nowhere is refused before any number comes of it."""
    profile = Profile(
        tool="x",
        frames=Frames(function=["main"], file=[""], line=[0], origin=["user"]),
        nodes=Nodes(parent=parent, frame=frame),
        threads=[ThreadRef(pid=1, tid=None)],
        passes=[ProfilePass(kind="on_cpu", rate_hz=1, seconds=1, block_seconds=[1.0], node=node, thread=thread, block=[0], count=[1])],
    )
    with pytest.raises(ValueError):
        CallTree(profile).weights("on_cpu")


def test_ranges_and_levels_of_nothing() -> None:
    """An empty profile has no levels and no ranges, and no error."""
    empty = np.zeros(0, dtype=np.int64)
    assert levels_of(empty) == [] and list(ranges(empty, empty)) == []
    assert list(ranges(np.array([3, 7, 9]), np.array([5, 7, 10]))) == [3, 4, 9]
