"""Flame graphs (Gregg, "The Flame Graph", CACM 59, 2016) as d3-flame-graph JSON, pruned to what can be seen.

A box is `{"name", "value", "children"}` with `f` file, `l` line and `o` origin beside, and `delta` in a differential graph; what is empty
is left out. Lines of one function are one box; its `l` is the heaviest of them.
"""

import heapq
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from perfwright.analysis.frames import short_files, short_function
from perfwright.analysis.tree_weights import CallTree, Ints, PassWeights, numbered, ranges
from perfwright.models.cpu_profiling import Runtime

MIN_SHARE = 0.001
"""Narrower boxes are less than a pixel of a thousand."""
MAX_BOXES = 3_000
"""About 300 kB of JSON: four graphs fit into a report that can be mailed."""
MAX_GRAPH_DEPTH = 200
"""Deeper boxes are below any screen; and JSON readers limit nesting."""
DIFFERENCE_UNITS = 100_000
"""Values and deltas of a differential graph are in this fraction of all samples, because the two profiles differ in length."""
TOO_THIN = "[too thin to draw]"
DEEPER = "[deeper frames]"

_PID = re.compile(r"\b(process|pid) \d+:? ?")


@dataclass
class _Box:
    """Call-tree nodes that are drawn as one; one column per profile."""

    key: int
    depth: int
    nodes: tuple[Ints, ...]
    weights: tuple[float, ...]
    own: tuple[float, ...]
    children: list["_Box"] = field(default_factory=list)

    @property
    def undrawn(self) -> tuple[float, ...]:
        """Samples that end deeper and have no box."""
        drawn = [sum(child.weights[side] for child in self.children) for side in range(len(self.weights))]
        return tuple(max(0.0, whole - own - below) for whole, own, below in zip(self.weights, self.own, drawn, strict=True))


@dataclass(frozen=True)
class Drawing:
    """d3-flame-graph data, and what of it could not be drawn."""

    root: dict[str, Any]
    samples: int
    pruned_share: float
    """Share of samples that end in a box too thin, or too deep, to draw."""
    boxes: int


class _Side:
    """One profile's pass, ready to be descended into."""

    def __init__(self, tree: CallTree, rows: PassWeights, key_of_frame: Ints) -> None:
        self.tree = tree
        self.key = key_of_frame[tree.frame]
        self.own = tree.own(rows)
        self.below = tree.below(self.own)
        self.order = np.argsort(tree.parent, kind="stable")
        self.starts = np.searchsorted(tree.parent[self.order], np.arange(-1, len(tree.parent) + 1))
        self.samples = rows.samples

    def children(self, nodes: Ints) -> dict[int, Ints]:
        """Nodes with samples below these, by what they are drawn as."""
        found = self.order[ranges(self.starts[nodes + 1], self.starts[nodes + 2])]
        found = found[self.below[found] > 0]
        if not len(found):
            return {}
        found = found[np.argsort(self.key[found], kind="stable")]
        keys, first = np.unique(self.key[found], return_index=True)
        return dict(zip(keys.tolist(), np.split(found, first[1:]), strict=True))

    def heaviest_line(self, nodes: Ints) -> int:
        lines: dict[int, float] = {}
        for node in nodes.tolist():
            line = self.tree.profile.frames.line[self.tree.frame[node]]
            lines[line] = lines.get(line, 0.0) + float(self.below[node])
        return max(lines, key=lambda line: (lines[line], -line), default=0)


def draw_flame_graph(
    tree: CallTree,
    rows: PassWeights,
    *,
    runtime: Runtime = "unknown",
    min_share: float = MIN_SHARE,
    max_boxes: int = MAX_BOXES,
    title: str = "all",
) -> Drawing:
    """A flame graph of one pass, values in samples. The heaviest boxes are drawn first, until `max_boxes`."""
    keys, names = numbered(_drawn_names(tree, runtime))
    side = _Side(tree, rows, keys)

    def valued(weights: tuple[float, ...]) -> dict[str, int]:
        return {"value": round(weights[0])}

    return _drawing((side,), names, title, min_share, max_boxes, valued)


def draw_difference(
    earlier: tuple[CallTree, PassWeights],
    later: tuple[CallTree, PassWeights],
    *,
    runtime: Runtime = "unknown",
    min_share: float = MIN_SHARE,
    max_boxes: int = MAX_BOXES,
    title: str = "all",
) -> Drawing:
    """A differential flame graph: shapes and widths of `later`, `delta` = later less earlier (Gregg, "Differential Flame Graphs", 2014).

    Both are normalised to their own samples, in `DIFFERENCE_UNITS`. What is gone keeps its place with value 0 and a negative delta, where
    it was wide enough to be seen.
    """
    keys, names = numbered([*_drawn_names(earlier[0], runtime), *_drawn_names(later[0], runtime)])
    split = len(earlier[0].profile.frames.function)
    before, now = _Side(*earlier, keys[:split]), _Side(*later, keys[split:])

    def valued(weights: tuple[float, ...]) -> dict[str, int]:
        was, is_now = weights[1] / max(1.0, before.samples), weights[0] / max(1.0, now.samples)
        return {"value": round(is_now * DIFFERENCE_UNITS), "delta": round((is_now - was) * DIFFERENCE_UNITS)}

    return _drawing((now, before), names, title, min_share, max_boxes, valued)


def _drawn_names(tree: CallTree, runtime: Runtime) -> list[tuple[str, str, str]]:
    """Name, file and origin of each frame as drawn; processes with the same command are one."""
    frames = tree.profile.frames
    shorts = short_files(dict.fromkeys(frames.file))
    return [
        (_PID.sub("process ", function) if origin == "process" else short_function(function, runtime), shorts[file], origin)
        for function, file, origin in zip(frames.function, frames.file, frames.origin, strict=True)
    ]


def _drawing(
    sides: tuple[_Side, ...],
    names: list[tuple[str, str, str]],
    title: str,
    min_share: float,
    max_boxes: int,
    valued: Callable[[tuple[float, ...]], dict[str, int]],
) -> Drawing:
    """JSON from the leaves up, without recursion. What is missing under a box becomes one thin box; its own samples stay its own."""
    boxes = _descend(sides, min_share, max_boxes)
    done: dict[int, dict[str, Any]] = {}
    thin_share = 0.0
    for box in reversed(boxes):
        children = sorted((done.pop(id(child)) for child in box.children), key=lambda one: (-one["value"], one["name"]))
        thin = box.undrawn
        thin_share += thin[0] / max(1.0, sides[0].samples)
        if _widest(thin, sides) >= min_share:
            children.append({"name": DEEPER if box.depth >= MAX_GRAPH_DEPTH else TOO_THIN, **valued(thin)})
        name, file, origin = names[box.key] if box.key >= 0 else (title, "", "")
        side = next((number for number, nodes in enumerate(box.nodes) if len(nodes)), 0)
        line = sides[side].heaviest_line(box.nodes[side]) if box.key >= 0 else 0
        told = {"f": file, "l": line, "o": origin, "children": children}
        done[id(box)] = {"name": name, **valued(box.weights), **{key: value for key, value in told.items() if value}}
    return Drawing(done[id(boxes[0])], round(sides[0].samples), min(1.0, thin_share), len(boxes))


def _descend(sides: tuple[_Side, ...], min_share: float, max_boxes: int) -> list[_Box]:
    """Boxes, parents before children: the heaviest is opened again and again. A box is as wide as in the profile where it is wider."""
    nothing = np.zeros(0, dtype=np.int64)
    whole = tuple(side.samples for side in sides)
    root = _Box(-1, 0, tuple(np.array([-1], dtype=np.int64) for _ in sides), whole, tuple(0.0 for _ in sides))
    boxes, waiting = [root], [(-1.0, 0, root)]
    while waiting:
        _, _, box = heapq.heappop(waiting)
        if box.depth >= MAX_GRAPH_DEPTH:
            continue
        found = [side.children(nodes) for side, nodes in zip(sides, box.nodes, strict=True)]
        for key in sorted(set().union(*found)):
            nodes = tuple(one.get(key, nothing) for one in found)
            weights = tuple(float(side.below[mine].sum()) for side, mine in zip(sides, nodes, strict=True))
            width = _widest(weights, sides)
            if width < min_share or len(boxes) >= max_boxes:
                continue
            own = tuple(float(side.own[mine].sum()) for side, mine in zip(sides, nodes, strict=True))
            child = _Box(key, box.depth + 1, nodes, weights, own)
            box.children.append(child)
            heapq.heappush(waiting, (-width, len(boxes), child))
            boxes.append(child)
    return boxes


def _widest(weights: tuple[float, ...], sides: tuple[_Side, ...]) -> float:
    return max(weight / max(1.0, side.samples) for weight, side in zip(weights, sides, strict=True))
