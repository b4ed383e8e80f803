"""`perf script` text: samples with their stacks, and the source lines of their addresses.

Inlined functions are put back by addr2line, asked once per shared object for all addresses: perf alone charges them to the function that
they were inlined into.
"""

import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from activities.slice_recorder import SliceCount, TakenSlice
from perfwright.analysis.call_tree import ProfileBuilder
from perfwright.analysis.frames import CodeFacts, frame_origin

MOST_ADDRESSES = 20_000
"""Addresses looked up per shared object; further ones keep their symbol without a line."""
LOOKUP_LIMIT_S = 60.0
_HEAD = re.compile(r"^\s*(?P<pid>\d+)/(?P<tid>\d+)\s+(?P<time>\d+\.\d+):")
_FRAME = re.compile(r"^\s+(?P<ip>[0-9a-f]+)\s+(?P<symbol>.*?)\s+\((?P<object>[^()]*|\[[^\]]*\][^()]*)\)\s*$")

Line = tuple[str, str, int]
"""Function, file, line."""


@dataclass(frozen=True)
class RawFrame:
    address: int
    symbol: str
    object: str


@dataclass
class RawSample:
    pid: int
    tid: int
    time_s: float
    stack: list[RawFrame]
    """Leaf first, as perf writes it."""


def read_perf_script(builder: ProfileBuilder, taken: TakenSlice, path: Path) -> SliceCount:
    """Add one slice: `<path>.txt` is perf's text, `<path>.summary` what is known of the program."""
    facts = json.loads(path.with_suffix(".summary").read_text())
    samples = list(_samples(path.with_suffix(".txt")))
    lines = _source_lines(samples)
    code = CodeFacts(executable=facts["executable"])
    builder.begin(taken.kind, taken.rate_hz)
    blocks = [builder.add_block(taken.kind, taken.seconds / taken.blocks) for _ in range(taken.blocks)]
    began = samples[0].time_s if samples else 0.0
    for sample in samples:
        position = min(len(blocks) - 1, int((sample.time_s - began) / taken.seconds * len(blocks)))
        thread = builder.thread(sample.pid, sample.tid, facts["threads"].get(str(sample.tid), ""))
        stack = [
            builder.frame(
                function,
                file,
                line,
                frame_origin("native", function, raw.object, code),
            )
            for raw in reversed(sample.stack)
            for function, file, line in lines.get((raw.object, raw.address), [(raw.symbol, raw.object, 0)])
        ]
        if stack:
            builder.add(taken.kind, stack, thread, blocks[position])
    return SliceCount(samples=len(samples))


def _samples(text: Path) -> Iterator[RawSample]:
    sample: RawSample | None = None
    with text.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if head := _HEAD.match(line):
                if sample:
                    yield sample
                sample = RawSample(int(head["pid"]), int(head["tid"]), float(head["time"]), [])
            elif sample and (frame := _FRAME.match(line)):
                symbol = frame["symbol"]
                sample.stack.append(RawFrame(int(frame["ip"], 16), symbol if symbol != "[unknown]" else "[unknown]", frame["object"]))
    if sample:
        yield sample


def _source_lines(samples: list[RawSample]) -> dict[tuple[str, int], list[Line]]:
    """(object, address) -> the functions there, outermost first. A caller's address is where it goes on: the call is one byte before."""
    wanted: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for sample in samples:
        for depth, raw in enumerate(sample.stack):
            if raw.object.startswith("/") and len(wanted[raw.object]) < MOST_ADDRESSES:
                wanted[raw.object].add((raw.address, raw.address - (depth > 0)))
    found: dict[tuple[str, int], list[Line]] = {}
    for name, addresses in wanted.items():
        for (address, _), lines in zip(sorted(addresses), _addr2line(name, [at for _, at in sorted(addresses)]), strict=False):
            if lines and lines[0][1]:
                found[(name, address)] = lines
    return found


def _addr2line(name: str, addresses: list[int]) -> Iterator[list[Line]]:
    """Runs inside the analysis process, which the kit bounds and reaps: a missing addr2line only costs lines."""
    asked = "\n".join(f"{address:#x}" for address in addresses)
    try:
        told = subprocess.run(
            ["addr2line", "-e", name, "-a", "-f", "-C", "-i"],
            input=asked,
            capture_output=True,
            text=True,
            timeout=LOOKUP_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return
    current: list[Line] | None = None
    function = ""
    for line in told.stdout.splitlines():
        if line.startswith("0x"):
            if current is not None:
                yield current[::-1]
            current, function = [], ""
        elif current is not None and not function:
            function = line
        elif current is not None:
            file, _, number = line.partition(" ")[0].rpartition(":")
            digits = number if number.isdigit() else "0"
            current.append((function, "" if file.startswith("??") else file, int(digits)))
            function = ""
    if current is not None:
        yield current[::-1]
