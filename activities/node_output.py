"""CPU profiles of the Node.js inspector (`.cpuprofile`): a call tree, and for each sample the node where it was.

Samples carry no line, only nodes do (`positionTicks`, ticks by line): a node's samples are given its lines in the measured proportions.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from activities.taken_slices import SliceCount, TakenSlice
from perfwright.analysis.call_tree import ProfileBuilder
from perfwright.analysis.frames import frame_origin

MISPLACED_SHARE = 0.05
"""Of a slice's samples: above this the reader is told."""
IDLE = ("(idle)", "(program)", "(root)")
"""`(program)` is native code outside of JavaScript, mostly waiting for events."""


def read_cpu_profile(builder: ProfileBuilder, taken: TakenSlice, path: Path) -> SliceCount:
    """Add one slice. Idle samples are left out of the on-CPU pass."""
    document = json.loads(path.read_text())
    profile, pid = document["profile"], int(document["pid"])
    nodes = {node["id"]: node for node in profile["nodes"]}
    parents = {child: node["id"] for node in profile["nodes"] for child in node.get("children", ())}
    builder.begin(taken.kind, taken.rate_hz)
    blocks = [builder.add_block(taken.kind, taken.seconds / taken.blocks) for _ in range(taken.blocks)]
    thread = builder.thread(pid, pid, "main")
    lines = {identity: _lines(node) for identity, node in nodes.items()}
    span_us = max(1, profile["endTime"] - profile["startTime"])
    at_us = 0
    samples = 0
    counted: Counter[tuple[int, int, int]] = Counter()
    for identity, delta_us in zip(profile["samples"], profile["timeDeltas"], strict=True):
        at_us += delta_us
        if nodes[identity]["callFrame"]["functionName"] in IDLE:
            continue
        block = min(taken.blocks - 1, max(0, at_us) * taken.blocks // span_us)
        counted[(identity, next(lines[identity]), block)] += 1
        samples += 1
    for (identity, line, block), count in counted.items():
        path_up = []
        current: int | None = identity
        while current is not None:
            path_up.append(current)
            current = parents.get(current)
        stack = [
            _frame(builder, nodes[one], line if one == identity else 0)
            for one in reversed(path_up)
            if nodes[one]["callFrame"]["functionName"] != "(root)"
        ]
        builder.add(taken.kind, stack, thread, blocks[block], count)
    return SliceCount(samples=samples, warning=_inlining_warning(profile["nodes"]))


def _inlining_warning(nodes: list[dict[str, Any]]) -> str:
    """Ticks on lines before their function begins are those of other functions, which V8 inlined without noting which."""
    ticks = [(node, tick) for node in nodes for tick in node.get("positionTicks", ())]
    all_ticks = sum(tick["ticks"] for _, tick in ticks)
    misplaced = sum(tick["ticks"] for node, tick in ticks if tick["line"] <= node["callFrame"]["lineNumber"])
    if misplaced <= MISPLACED_SHARE * all_ticks:
        return ""
    share = misplaced / all_ticks
    return f"{share:.0%} of the samples are in functions that V8 inlined without noting which: they are charged to their callers."


def _frame(builder: ProfileBuilder, node: dict[str, Any], line: int) -> int:
    call = node["callFrame"]
    file = unquote(str(call["url"]).removeprefix("file://"))
    function = str(call["functionName"]) or "(anonymous)"
    return builder.frame(function, file, line or int(call["lineNumber"]) + 1, frame_origin("node", function, file))


def _lines(node: dict[str, Any]) -> Iterator[int]:
    """The node's lines, each as often as it ticked, then the line of the function."""
    for tick in node.get("positionTicks", ()):
        yield from [int(tick["line"])] * int(tick["ticks"])
    while True:
        yield int(node["callFrame"]["lineNumber"]) + 1
