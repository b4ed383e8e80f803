"""The program that samples: orders come line by line on standard input, answers go to standard output, stacks into a file per slice.

    -> {"kind": "on_cpu", "seconds": 1.0, "rate_hz": 99, "below": true, "path": ".../slice-0-on_cpu"}
    <- {"sampled": 99, "failed": 0, "ticks": 98, "seconds": 1.0, "cpu_s": 0.01, "gone": false, "unread": []}

Its first line says what it reads, or why it cannot: {"reads": "CPython 3.11"} or {"unreadable": "..."}. An empty line ends a slice early.
It ends with its input. The file is speedscope's, as py-spy writes it (`pyspy_output.py` reads both): one profile per thread, in order.
"""

import json
import os
import select
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from activities.cpython.memory import Unreadable
from activities.cpython.process import PythonProcess, PyThread
from activities.cpython.stacks import Stack
from activities.cpython.tree import LOOKS_AT_NEW, ProcessTree

LOOK_EVERY_S, LOOK_AGAIN_S = 1.0, 0.2
LOOK_SHARE = 0.003
"""Of a core, for looks: with hundreds of threads they get rarer, not dearer."""
ALL_PER_S = 5_000.0
"""Samples of waiting threads: of hundreds a few looks a second tell enough, and each of them is a row in the profile."""
MOST_FRAMES = 20_000_000
"""In one slice's file: about 100 MB."""


class Slice:
    """What was seen in one slice."""

    def __init__(self, tree: ProcessTree, order: dict[str, Any]) -> None:
        self.kind, self.seconds, self.rate_hz = str(order["kind"]), float(order["seconds"]), float(order["rate_hz"])
        self.below, self.path = bool(order["below"]), Path(order["path"])
        self._tree = tree
        self._frames: dict[tuple[str, str, int], int] = {}
        self._stacks: dict[tuple[int, int, Stack], list[int]] = {}
        self._samples: dict[tuple[int, int], tuple[PyThread, list[list[int]]]] = {}
        self._room = MOST_FRAMES
        self.sampled = self.failed = self.ticks = 0
        self.lost = False
        """A process could not be read: it exits, or becomes another program."""

    def tick(self) -> None:
        """Look at every process once."""
        self.ticks += 1
        for process in list(self._tree.processes.values()) if self.below else self._root():
            try:
                for thread, weight in self._wanted(process):
                    self._look_at(process, thread, weight)
            except Unreadable:
                self.lost = True

    def _wanted(self, process: PythonProcess) -> Iterator[tuple[PyThread, int]]:
        match self.kind:
            case "on_cpu":
                return process.running()
            case "gil":
                return process.holders()
        return process.everyone()

    @property
    def interval_s(self) -> float:
        """From one look to the next, in the mean."""
        if self.kind != "wall":
            return 1 / self.rate_hz
        processes = self._tree.processes.values() if self.below else self._root()
        return max(1 / self.rate_hz, sum(len(process.threads()) for process in processes) / ALL_PER_S)

    def _root(self) -> list[PythonProcess]:
        return [process for process in self._tree.processes.values() if process.pid == self._tree.root]

    def _look_at(self, process: PythonProcess, thread: PyThread, weight: int) -> None:
        try:
            stack = process.stack(thread)
            if not stack:
                return
            frames = self._frames_of(process, stack)
        except Unreadable:
            self.failed += weight
            return
        self._room -= weight * len(frames)
        if self._room < 0:
            self.failed += weight
            return
        self.sampled += weight
        self._samples.setdefault((process.pid, thread.os_thread.tid), (thread, []))[1].extend([frames] * weight)

    def _frames_of(self, process: PythonProcess, stack: Stack) -> list[int]:
        key = (process.pid, process.codes.generation, stack)
        frames = self._stacks.get(key)
        if frames is None:
            frames = [self._frame(self._tree.title(pid), "", 0) for pid in self._tree.line(process.pid)] if self.below else []
            for at in range(len(stack) - 2, -1, -2):
                code = process.codes.at(stack[at])
                frames.append(self._frame(code.function, code.file, code.line(stack[at + 1])))
            self._stacks[key] = frames
        return frames

    def _frame(self, function: str, file: str, line: int) -> int:
        return self._frames.setdefault((function, file, line), len(self._frames))

    def write(self) -> None:
        """In speedscope's format."""
        profiles = []
        for (pid, tid), (thread, stacks) in self._samples.items():
            title = (f"Process {pid} " if self.below else "") + f"Thread {tid}" + (f' "{thread.name}"' if thread.name else "")
            profiles.append({"type": "sampled", "name": title, "unit": "none", "samples": stacks})
        frames = [{"name": function, "file": file, "line": line} for function, file, line in self._frames]
        with self.path.open("w", encoding="utf-8", errors="replace") as file:
            # `dumps` is C, `dump` is not: a profile at a time, so that not all of it is text at once
            file.write(f'{{"shared": {{"frames": {json.dumps(frames)}}}, "profiles": [')
            for number, profile in enumerate(profiles):
                file.write((", " if number else "") + json.dumps(profile))
            file.write("]}")


def record(tree: ProcessTree, order: dict[str, Any], chance: Random) -> dict[str, Any]:
    """One slice; gives what is answered.

    The time from one look to the next is drawn anew each time, so that nothing periodic in the target runs in step with it.
    """
    one = Slice(tree, order)
    cpu_before_s = time.process_time()
    began = due = time.monotonic()
    end = began + one.seconds
    look_due, interval_s = look(tree, one.below), one.interval_s
    while tree.root in tree.processes:
        due += chance.uniform(0.5, 1.5) * interval_s
        if told_to_stop(min(due, end) - time.monotonic()) or due >= end:
            break
        one.tick()
        now = time.monotonic()
        due = max(due, now - interval_s)
        if one.lost or now >= look_due:
            one.lost = False
            look_due = look(tree, one.below)
    seconds = time.monotonic() - began
    one.write()
    return {
        "sampled": one.sampled,
        "failed": one.failed,
        "ticks": one.ticks,
        "seconds": round(seconds, 4),
        "cpu_s": round(time.process_time() - cpu_before_s, 6),
        "gone": tree.root not in tree.processes,
        "unread": [f"process {pid}: {why}" for pid, why in tree.unread.items()][:5],
    }


def look(tree: ProcessTree, below: bool) -> float:
    """Look at threads and processes; gives when to look again."""
    began_s, now = time.thread_time(), time.monotonic()
    tree.look(below=below)
    return now + max(LOOK_EVERY_S, (time.thread_time() - began_s) / LOOK_SHARE)


def told_to_stop(within_s: float) -> bool:
    """Wait so long, or until something is said."""
    return bool(select.select([0], [], [], max(0.0, within_s))[0])


def say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


def main() -> None:
    """`sampler PID`."""
    chance = Random(os.getpid())  # noqa: S311  spreads samples, protects nothing
    try:
        tree = ProcessTree(int(sys.argv[1]), chance)
        for _ in range(LOOKS_AT_NEW):
            tree.look(below=True)
            if not tree.unread or told_to_stop(LOOK_AGAIN_S):
                break
    except Unreadable as why:
        say({"unreadable": str(why)})
        return
    say({"reads": tree.processes[tree.root].layout.title, "unread": list(tree.unread.values())[:5]})
    pending = b""
    while data := os.read(0, 65_536):
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            if line.strip():
                say(record(tree, json.loads(line), chance))


if __name__ == "__main__":
    main()
