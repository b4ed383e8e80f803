"""Context switches as perf writes them, read as waits: a thread that gave up its CPU waits until it has one again.

     4711/4712  15109.216177875:          7 context-switches:                 a sample: 7 switches stand behind it
            cf545 clock_nanosleep (/usr/lib/x86_64-linux-gnu/libc.so.6)
             139e nap (/srv/app/orders)
     4711/4712  15109.216231004: PERF_RECORD_SWITCH OUT
     4711/4712  15109.236402113: PERF_RECORD_SWITCH IN

A thread that was put off its CPU (`OUT preempt`) wants to run: that is no wait. How long each thread waited is known from every switch;
where, from those with a stack. The waits without are given to the thread's stacks in the proportions of the time behind their samples. A
thread that had no stack in the whole slice waits in the kernel function that /proc names.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from activities.perf_frames import RawFrame, read_frame
from activities.perf_switches import SwitchFacts, switch_files
from activities.taken_slices import TakenSlice
from perfwright.analysis.call_tree import ProfileBuilder

WAITED_HZ = 1_000
"""Ticks of the off-CPU pass: waits are timed, not sampled."""
PART = 0.8
"""Less of the slice than this is told."""
SOMEWHERE = "[waiting]"
_SWITCH = re.compile(r"^\s*(?P<pid>\d+)/(?P<tid>\d+)\s+(?P<time>\d+\.\d+): +(?:PERF_RECORD_SWITCH +(?P<way>IN|OUT)|(?P<period>\d+) )")


@dataclass(frozen=True)
class Wait:
    """One thread, from giving up its CPU until it had one again; seconds on the monotonic clock."""

    pid: int
    tid: int
    began_s: float
    ended_s: float
    stack: tuple[RawFrame, ...] = ()
    """Leaf first; empty where none was taken."""
    stands_for: int = 1
    """Switches of the thread behind this stack."""


@dataclass(frozen=True)
class Waits:
    """Of one slice."""

    began_s: float
    ended_s: float
    waits: Sequence[Wait]
    facts: SwitchFacts

    @property
    def seconds(self) -> float:
        return self.ended_s - self.began_s

    @property
    def problem(self) -> str:
        return self.facts.problem

    def warning(self, taken: TakenSlice) -> str:
        """What a reader of the off-CPU graph must know."""
        if self.problem:
            return f"No off-CPU graph of all of the recording, because context switches were not recorded: {self.problem}"
        if self.seconds < PART * taken.seconds:
            return "Threads switch so often that their waits were recorded for a part of the time only."
        return ""


def read_waits(path: Path) -> Waits:
    """The waits of the slice recorded to `path`; none, with the problem, where its switches were not recorded."""
    text, facts = switch_files(path)
    if facts.problem:
        return Waits(0.0, 0.0, (), facts)
    reader = _Reader(facts)
    with text.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            reader.read(line)
    return reader.finish()


class _Reader:
    """Follows every thread from switch to switch."""

    def __init__(self, facts: SwitchFacts) -> None:
        self._facts = facts
        self._began_s = self._last_s = facts.began_s
        self._waits: list[Wait] = []
        self._seen: set[int] = set()
        self._out: dict[int, Wait] = {}
        """Threads that wait, by id; their end is not known yet."""
        self._sampled: dict[int, tuple[int, list[RawFrame]]] = {}
        """Stack of the switch that comes next, by thread."""
        self._stack: list[RawFrame] | None = None

    def read(self, line: str) -> None:
        if head := _SWITCH.match(line):
            self._stack = None
            pid, tid, at_s = int(head["pid"]), int(head["tid"]), float(head["time"])
            self._last_s = max(self._last_s, at_s)
            if head["way"] == "IN":
                self._comes(pid, tid, at_s)
            elif head["way"]:
                self._goes(pid, tid, at_s, preempted="preempt" in line)
            else:
                self._stack = []
                self._sampled[tid] = (int(head["period"]), self._stack)
        elif self._stack is not None and (frame := read_frame(line)):
            self._stack.append(frame)

    def _comes(self, pid: int, tid: int, at_s: float) -> None:
        known = self._facts.before.get(str(tid))
        if tid not in self._seen and known is not None and known.asleep:
            self._out[tid] = Wait(pid, tid, self._began_s, at_s)
        self._seen.add(tid)
        if (wait := self._out.pop(tid, None)) is not None:
            self._keep(wait, at_s)

    def _goes(self, pid: int, tid: int, at_s: float, *, preempted: bool) -> None:
        self._seen.add(tid)
        stands_for, stack = self._sampled.pop(tid, (1, []))
        self._out.pop(tid, None)  # its return was lost
        if not preempted:
            self._out[tid] = Wait(pid, tid, at_s, at_s, tuple(stack), stands_for)

    def _keep(self, wait: Wait, ended_s: float) -> None:
        if ended_s > wait.began_s:
            self._waits.append(Wait(wait.pid, wait.tid, max(wait.began_s, self._began_s), ended_s, wait.stack, wait.stands_for))

    def finish(self) -> Waits:
        ended_s = max(self._last_s, self._facts.ended_s or 0.0)
        for tid, wait in self._out.items():
            if str(tid) in self._facts.after:  # others have exited, which is their last switch
                self._keep(wait, ended_s)
        for name, known in self._facts.after.items():
            if known.asleep and int(name) not in self._seen and name in self._facts.before:
                self._keep(Wait(known.pid, int(name), self._began_s, ended_s), ended_s)
        return Waits(self._began_s, ended_s, self._waits, self._facts)


def add_waits(
    builder: ProfileBuilder,
    taken: TakenSlice,
    waits: Waits,
    node_of: Callable[[Wait], int | None],
    thread_of: Callable[[Wait], int],
) -> None:
    """Add the slice's waits to the off-CPU pass. `node_of`: the call-tree node where a wait is, None where that is not known."""
    if waits.problem or waits.seconds <= 0:
        return
    builder.begin("off_cpu", WAITED_HZ)
    count = max(1, min(taken.blocks, round(waits.seconds)))
    blocks = [builder.add_block("off_cpu", waits.seconds / count) for _ in range(count)]
    placed: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0] * count))
    behind: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    unknown: dict[int, list[float]] = defaultdict(lambda: [0.0] * count)
    first: dict[int, Wait] = {}
    for wait in waits.waits:
        first.setdefault(wait.tid, wait)
        node = node_of(wait)
        if node is not None:
            behind[wait.tid][node] += (wait.stands_for - 1) * (wait.ended_s - wait.began_s)
        _spread(wait, waits, unknown[wait.tid] if node is None else placed[wait.tid][node])
    for tid, seconds in unknown.items():
        weights = behind[tid] if sum(behind[tid].values()) > 0 else {node: sum(known) for node, known in placed[tid].items()}
        if not sum(weights.values()):
            weights = {builder.node([_kernel_frame(builder, waits.facts, tid)]): 1.0}
        for node, weight in weights.items():
            known = placed[tid][node]
            for block in range(count):
                known[block] += seconds[block] * weight / sum(weights.values())
    for tid, by_node in placed.items():
        for node, known in by_node.items():
            left = 0.0
            for block, ticks in zip(blocks, known, strict=True):
                left += ticks * WAITED_HZ
                builder.add_node("off_cpu", node, thread_of(first[tid]), block, round(left))
                left -= round(left)


def _spread(wait: Wait, waits: Waits, by_block: list[float]) -> None:
    """The wait's seconds, by the blocks that it lies in."""
    length = waits.seconds / len(by_block)
    at_s = wait.began_s
    block = min(len(by_block) - 1, max(0, int((at_s - waits.began_s) / length)))
    while at_s < wait.ended_s:
        until_s = wait.ended_s if block == len(by_block) - 1 else min(wait.ended_s, waits.began_s + (block + 1) * length)
        by_block[block] += max(0.0, until_s - at_s)
        at_s, block = max(at_s, until_s), min(len(by_block) - 1, block + 1)


def _kernel_frame(builder: ProfileBuilder, facts: SwitchFacts, tid: int) -> int:
    known = next((one[str(tid)] for one in (facts.after, facts.before) if str(tid) in one and one[str(tid)].waits_in), None)
    return builder.frame(known.waits_in, "[kernel.kallsyms]", 0, "kernel") if known else builder.frame(SOMEWHERE)
