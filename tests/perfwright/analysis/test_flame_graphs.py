import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfwright.analysis.call_tree import ProfileBuilder
from perfwright.analysis.flame_graphs import DEEPER, DIFFERENCE_UNITS, MAX_GRAPH_DEPTH, TOO_THIN, draw_difference, draw_flame_graph
from perfwright.analysis.tree_weights import CallTree, PassWeights
from tests.drawn_profiles import drawn


def pictured(text: str) -> tuple[CallTree, PassWeights]:
    tree = CallTree(drawn(text))
    rows = tree.weights("on_cpu")
    assert rows is not None
    return tree, rows


def boxes(box: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield box
    for child in box.get("children", ()):
        yield from boxes(child)


def drawing(name: str, value: int, *children: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "value": value, **more, **({"children": list(children)} if children else {})}


def test_a_small_profile_is_drawn_whole() -> None:
    """
    main app.py:1 > f util.py:5     30
    main app.py:1 > f util.py:6     50
    main app.py:2                   20

    Lines of one function are one box, with its heaviest line; values are totals.
    """
    tree, rows = pictured("main app.py:1 > f util.py:5 30\nmain app.py:1 > f util.py:6 50\nmain app.py:2 20")
    graph = draw_flame_graph(tree, rows)
    f = drawing("f", 80, f="shop/util.py", l=6, o="user")
    assert graph.root == drawing("all", 100, drawing("main", 100, f, f="shop/app.py", l=1, o="user"))
    assert (graph.samples, graph.pruned_share) == (100, 0.0)


STACKS = st.lists(st.tuples(st.lists(st.sampled_from("abcd"), min_size=1, max_size=7), st.integers(1, 60)), min_size=1, max_size=25)


@settings(deadline=None)
@given(STACKS, st.sampled_from([0.0, 0.05, 0.2]), st.sampled_from([3, 10, 1000]))
def test_no_weight_is_lost(stacks: list[tuple[list[str], int]], min_share: float, max_boxes: int) -> None:
    """However much is pruned, the root holds every sample, no box is smaller than its children, and what is missing is told."""
    tree, rows = pictured("\n".join(" > ".join(f"{one} app.py:1" for one in stack) + f" {count}" for stack, count in stacks))
    graph = draw_flame_graph(tree, rows, min_share=min_share, max_boxes=max_boxes)
    total = sum(count for _, count in stacks)
    assert graph.root["value"] == total and graph.boxes <= max_boxes
    for box in boxes(graph.root):
        assert box["value"] >= sum(child["value"] for child in box.get("children", ()))
    whole = draw_flame_graph(tree, rows, min_share=0.0, max_boxes=10**6)
    assert whole.pruned_share == 0.0
    assert graph.pruned_share > 0 or min_share > 0 or graph.boxes == whole.boxes
    paths = {tuple(stack[:depth]) for stack, _ in stacks for depth in range(1, len(stack) + 1)}
    assert whole.boxes == len(paths) + 1


def test_thin_boxes_are_gathered() -> None:
    """What is too thin to see is one box of its own under the same parent, so that widths stay true."""
    tree, rows = pictured("main app.py:1 > hot app.py:2 900\n" + "\n".join(f"main app.py:1 > f{n} app.py:{n} 1" for n in range(100)))
    graph = draw_flame_graph(tree, rows, min_share=0.01)
    (main,) = graph.root["children"]
    assert {(child["name"], child["value"]) for child in main["children"]} == {("hot", 900), (TOO_THIN, 100)}
    assert graph.pruned_share == pytest.approx(0.1)


def test_deep_stacks_are_cut_where_no_screen_reaches() -> None:
    """A graph stays shallow enough for any JSON reader; the cut is a box that says so."""
    builder = ProfileBuilder("test 1")
    builder.begin("on_cpu", 100)
    builder.add(
        "on_cpu", [builder.frame(f"f{n}", "a.py", n, "user") for n in range(400)], builder.thread(1), builder.add_block("on_cpu", 1.0), 10
    )
    tree = CallTree(builder.build())
    rows = tree.weights("on_cpu")
    assert rows is not None
    graph = draw_flame_graph(tree, rows)
    names = [box["name"] for box in boxes(graph.root)]
    assert names[-1] == DEEPER and len(names) == MAX_GRAPH_DEPTH + 2
    assert json.loads(json.dumps(graph.root)) == graph.root


def test_processes_with_one_command_are_one() -> None:
    """Workers of one server are drawn as one process."""
    builder = ProfileBuilder("test 1")
    builder.begin("on_cpu", 100)
    block = builder.add_block("on_cpu", 1.0)
    for pid in (7, 8):
        process, main = builder.frame(f"process {pid}: gunicorn", "", 0, "process"), builder.frame("main", "a.py", 1, "user")
        builder.add("on_cpu", [process, main], builder.thread(pid), block, 5)
    tree = CallTree(builder.build())
    rows = tree.weights("on_cpu")
    assert rows is not None
    assert [(box["name"], box["value"]) for box in boxes(draw_flame_graph(tree, rows).root)] == [
        ("all", 10),
        ("process gunicorn", 10),
        ("main", 10),
    ]


def test_a_difference_is_of_shares() -> None:
    """
    before: main > f 50, main > g 50        after, recorded four times as long: main > f 300, main > h 100

    f grew by 25 points, g is gone and keeps its place, h is new; a longer recording is no difference.
    """
    before = pictured("main app.py:1 > f app.py:2 50\nmain app.py:1 > g app.py:3 50")
    after = pictured("main app.py:1 > f app.py:2 300\nmain app.py:1 > h app.py:4 100")
    found = {
        box["name"]: (box["value"] / DIFFERENCE_UNITS, box["delta"] / DIFFERENCE_UNITS)
        for box in boxes(draw_difference(before, after).root)
    }
    assert found == {"all": (1.0, 0.0), "main": (1.0, 0.0), "f": (0.75, 0.25), "g": (0.0, -0.5), "h": (0.25, 0.25)}


@settings(deadline=None)
@given(STACKS)
def test_a_profile_does_not_differ_from_itself(stacks: list[tuple[list[str], int]]) -> None:
    """Comparing a run with itself shows no change anywhere."""
    side = pictured("\n".join(" > ".join(f"{one} app.py:1" for one in stack) + f" {count}" for stack, count in stacks))
    assert all(box["delta"] == 0 for box in boxes(draw_difference(side, side).root))


def test_an_empty_profile_is_an_empty_picture() -> None:
    """Nothing recorded, nothing drawn, no error."""
    tree, rows = pictured("")
    assert draw_flame_graph(tree, rows).root == {"name": "all", "value": 0}
    assert draw_difference((tree, rows), (tree, rows)).samples == 0
