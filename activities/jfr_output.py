"""`jfr print` text: execution samples, and where threads were blocked.

    jdk.ExecutionSample {
      startTime = 20:49:17.355
      sampledThread = "main" (javaThreadId = 1)
      stackTrace = [
        java.util.ArrayList.indexOf(Object) line: 286
        ...
      ]
    }

Blocking events carry a duration instead of being samples: they become the `off_cpu` pass, one count per sampling period waited.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from activities.taken_slices import SliceCount, TakenSlice
from perfwright.analysis.call_tree import ProfileBuilder
from perfwright.analysis.frames import frame_origin

SAMPLES = ("jdk.ExecutionSample",)
"""NativeMethodSample is left out: it samples threads that sit in native code, mostly waiting for a socket."""
BLOCKING = ("jdk.JavaMonitorEnter", "jdk.JavaMonitorWait", "jdk.ThreadPark", "jdk.SocketRead", "jdk.FileRead", "jdk.FileWrite")
EVENTS = (*SAMPLES, *BLOCKING)
MONITOR_ENTER = "(monitor enter)"
"""Leaf of a thread that waits for `synchronized`: the JVM has no method for it."""
DAY_S = 86_400.0
_BEGIN = re.compile(r"^(jdk\.\w+) \{")
_THREAD = re.compile(r'^\s+(?:sampledThread|eventThread) = "(.*)" \(javaThreadId = (\d+)\)')
_START = re.compile(r"^\s+startTime = (\d+):(\d+):(\d+\.\d+)")
_DURATION = re.compile(r"^\s+duration = ([\d.,]+) (ns|us|ms|s|m)\b")
_FRAME = re.compile(r"^\s+(?P<method>[\w$.<>/-]+)\((?P<types>[^)]*)\)(?: line: (?P<line>\d+))?\s*$")
_UNIT_S = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclass
class JfrEvent:
    kind: str
    at_s: float = 0.0
    """Seconds of the day."""
    duration_s: float = 0.0
    thread: str = ""
    stack: list[tuple[str, int]] = field(default_factory=list)
    """(method, line), leaf first."""


def read_jfr_text(builder: ProfileBuilder, taken: TakenSlice, path: Path) -> SliceCount:
    """Add one slice: running samples to its pass, blocked time to `off_cpu`."""
    summary = json.loads(path.with_suffix(".summary").read_text())
    pid, lines_reliable = int(summary["pid"]), bool(summary["lines_reliable"])
    events = list(_events(path.with_suffix(".txt")))
    builder.begin(taken.kind, taken.rate_hz, lines_reliable=lines_reliable)
    builder.begin("off_cpu", taken.rate_hz, lines_reliable=lines_reliable)
    block_s = taken.seconds / taken.blocks
    running = [builder.add_block(taken.kind, block_s) for _ in range(taken.blocks)]
    blocked = [builder.add_block("off_cpu", block_s) for _ in range(taken.blocks)]
    began = min((event.at_s for event in events), default=0.0)
    if any(event.at_s - began > DAY_S / 2 for event in events):  # recorded over midnight
        began = min(event.at_s for event in events if event.at_s > DAY_S / 2)
    samples = 0
    for event in events:
        position = min(taken.blocks - 1, int(((event.at_s - began) % DAY_S) / block_s))
        stack = [builder.frame(*_named(method), line, frame_origin("jvm", method, "")) for method, line in reversed(event.stack)]
        if not stack:
            continue
        if event.kind == "jdk.JavaMonitorEnter":
            stack.append(builder.frame(MONITOR_ENTER, "", 0, "runtime"))
        thread = builder.thread(pid, None, event.thread)
        if event.kind in SAMPLES:
            builder.add(taken.kind, stack, thread, running[position])
            samples += 1
        else:
            builder.add("off_cpu", stack, thread, blocked[position], max(1, round(event.duration_s * taken.rate_hz)))
    return SliceCount(samples=samples)


def _named(method: str) -> tuple[str, str]:
    """`com.example.Shop.price` -> (`Shop.price`, `com.example.Shop`): JFR tells classes, not files."""
    owner, _, name = method.rpartition(".")
    return f"{owner.rpartition('.')[2]}.{name}", owner


def _events(text: Path) -> Iterator[JfrEvent]:
    event: JfrEvent | None = None
    with text.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if begin := _BEGIN.match(line):
                event = JfrEvent(begin.group(1))
            elif event is None:
                continue
            elif line.startswith("}"):
                yield event
                event = None
            elif start := _START.match(line):
                event.at_s = int(start.group(1)) * 3_600 + int(start.group(2)) * 60 + float(start.group(3))
            elif duration := _DURATION.match(line):
                event.duration_s = float(duration.group(1).replace(",", "")) * _UNIT_S[duration.group(2)]
            elif thread := _THREAD.match(line):
                event.thread = thread.group(1)
            elif frame := _FRAME.match(line):
                event.stack.append((frame["method"], int(frame["line"] or 0)))
