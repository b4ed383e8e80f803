"""CPU profiles of the Node.js inspector (`.cpuprofile`): a call tree, and for each sample the node where it was.

Samples carry no line, only nodes do (`positionTicks`, ticks by line): a node's samples are given its lines in the measured proportions.
"""

import json
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from activities.perf_switches_output import Wait, Waits, add_waits, read_waits
from activities.taken_slices import SliceCount, TakenSlice
from perfwright.analysis.call_tree import ProfileBuilder
from perfwright.analysis.frames import frame_origin

MISPLACED_SHARE = 0.05
"""Of a slice's samples: above this the reader is told."""
WAITED = 0.5
"""Of the time since the sample before: a sample that waited longer is no CPU time."""
IDLE = ("(idle)", "(program)", "(root)")
"""`(program)` is native code outside of JavaScript, mostly waiting for events."""


def read_cpu_profile(builder: ProfileBuilder, taken: TakenSlice, path: Path) -> SliceCount:
    """Add one slice: samples that ran to the on-CPU pass, what the kernel saw the main thread wait to `off_cpu`."""
    document = json.loads(path.read_text())
    profile, pid = document["profile"], int(document["pid"])
    nodes = {node["id"]: node for node in profile["nodes"]}
    parents = {child: node["id"] for node in profile["nodes"] for child in node.get("children", ())}
    lines = {identity: _lines(node) for identity, node in nodes.items()}
    moments = accumulate(profile["timeDeltas"], initial=profile["startTime"])
    next(moments)
    samples = sorted(
        (_Sample(at_us, identity, next(lines[identity])) for at_us, identity in zip(moments, profile["samples"], strict=True)),
        key=lambda sample: sample.at_us,
    )
    waits = _within(read_waits(path), profile["startTime"] / 1e6, profile["endTime"] / 1e6)
    place = _places(samples, waits.waits)

    @cache
    def node_of(identity: int, line: int) -> int | None:
        stack = list[int]()
        current: int | None = identity
        while current is not None:
            if nodes[current]["callFrame"]["functionName"] != "(root)":
                stack.append(_frame(builder, nodes[current], line if current == identity else 0))
            current = parents.get(current)
        return builder.node(stack[::-1]) if stack else None

    builder.begin(taken.kind, taken.rate_hz)
    blocks = [builder.add_block(taken.kind, taken.seconds / taken.blocks) for _ in range(taken.blocks)]
    thread = builder.thread(pid, pid, "main")
    span_us = max(1, profile["endTime"] - profile["startTime"])
    waited_us = Counter[int]()
    for wait, number in place.items():
        waited_us[number] += round(1e6 * (wait.ended_s - wait.began_s))
    ran = 0
    for number, sample in enumerate(samples):
        since_us = sample.at_us - (samples[number - 1].at_us if number else profile["startTime"])
        idle = nodes[sample.identity]["callFrame"]["functionName"] in IDLE
        node = None if idle or waited_us[number] > WAITED * since_us else node_of(sample.identity, sample.line)
        if node is not None:
            block = min(taken.blocks - 1, max(0, sample.at_us - profile["startTime"]) * taken.blocks // span_us)
            builder.add_node(taken.kind, node, thread, blocks[block])
            ran += 1

    def node_of_wait(wait: Wait) -> int | None:
        sample = samples[place[wait]] if wait in place else None
        return node_of(sample.identity, sample.line) if sample else None

    add_waits(builder, taken, waits, node_of_wait, lambda _: thread)
    told = (_inlining_warning(profile["nodes"]), waits.warning(taken))
    return SliceCount(samples=ran, warning=" ".join(text for text in told if text))


@dataclass(frozen=True)
class _Sample:
    """Where V8 found the main thread."""

    at_us: int
    """On the monotonic clock, as perf's switches."""
    identity: int
    line: int


def _within(waits: Waits, began_s: float, ended_s: float) -> Waits:
    """What of the waits lies in the time of the profile."""
    began_s, ended_s = max(began_s, waits.began_s), min(ended_s, waits.ended_s)
    cut = (replace(wait, began_s=max(began_s, wait.began_s), ended_s=min(ended_s, wait.ended_s)) for wait in waits.waits)
    return replace(waits, began_s=began_s, ended_s=ended_s, waits=[wait for wait in cut if wait.ended_s > wait.began_s])


def _places(samples: Sequence[_Sample], waits: Sequence[Wait]) -> dict[Wait, int]:
    """The sample that saw each wait: the last before or the first after it, whichever is closer.

    V8's signal wakes a thread that waits, so that a long wait is many, each ending at a sample.
    """
    moments = [sample.at_us / 1e6 for sample in samples]
    place = {}
    for wait in waits if samples else ():
        before, after = max(0, bisect_right(moments, wait.began_s) - 1), min(len(moments) - 1, bisect_left(moments, wait.ended_s))
        place[wait] = min(before, after, key=lambda number: abs(moments[number] - (wait.began_s if number == before else wait.ended_s)))
    return place


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
