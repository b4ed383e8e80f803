"""`jfr print` text: execution samples, and where threads were blocked.

    jdk.ExecutionSample {
      startTime = 20:49:17.355
      sampledThread = "main" (javaThreadId = 1)
      stackTrace = [
        java.util.ArrayList.indexOf(Object) line: 286
        ...
      ]
    }

Blocking events carry a duration instead of being samples: they become the `off_cpu` pass, one count per sampling period waited. Samples in
native code stand in the same pass as those in Java, with a leaf that says so.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

from activities.taken_slices import SliceCount, TakenSlice
from perfwright.analysis.call_tree import ProfileBuilder
from perfwright.analysis.frames import IN_NATIVE, frame_origin

SAMPLES = ("jdk.ExecutionSample",)
NATIVE_SAMPLE = "jdk.NativeMethodSample"
"""A thread that sits in native code, most often waiting for a socket: perfwright/analysis/jvm_states.py tells who works there."""
BLOCKING = ("jdk.JavaMonitorEnter", "jdk.JavaMonitorWait", "jdk.ThreadPark", "jdk.SocketRead", "jdk.FileRead", "jdk.FileWrite")
EVENTS = (*SAMPLES, NATIVE_SAMPLE, *BLOCKING)
THREAD_LOAD = "jdk.ThreadCPULoad"
"""Of each Java thread that ever used a millisecond. Printed as JSON, events tell the kernel's id of a thread; as text, they do not."""
MONITOR_ENTER = "(monitor enter)"
"""Leaf of a thread that waits for `synchronized`: the JVM has no method for it."""
DAY_S = 86_400.0
SETTLES_S, RESTING_CORES = 2.0, 0.05
"""Seconds in which the JVM compiles what of its own code switching on takes, half a second of work; longer until its compilers rest."""
FEWEST_GAPS, LONGEST_GAP = 20, 3.0
"""Between samples: how many tell the rate, and up to how many times the median is late and not a look that found nobody."""
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
    java_thread: str = ""
    """The JVM's own id of it."""
    stack: list[tuple[str, int]] = field(default_factory=list)
    """(method, line), leaf first."""


def read_jfr_text(builder: ProfileBuilder, taken: TakenSlice, path: Path) -> SliceCount:
    """Add one slice: running samples to its pass, blocked time to `off_cpu`."""
    summary = json.loads(path.with_suffix(".summary").read_text())
    pid, lines_reliable = int(summary["pid"]), bool(summary["lines_reliable"])
    tids: dict[str, int] = summary.get("threads", {})
    builder.recording_cpu_s += float(summary.get("compiled_s", 0.0))
    events = list(_events(path.with_suffix(".txt")))
    builder.begin(taken.kind, looks_hz(events, taken.rate_hz), lines_reliable=lines_reliable)
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
        thread = builder.thread(pid, tids.get(event.java_thread), event.thread)
        if event.kind in SAMPLES:
            builder.add(taken.kind, stack, thread, running[position])
            samples += 1
        elif event.kind == NATIVE_SAMPLE:
            builder.add(taken.kind, [*stack, builder.frame(IN_NATIVE, "", 0, "native")], thread, running[position])
        else:
            builder.add("off_cpu", stack, thread, blocked[position], max(1, round(event.duration_s * taken.rate_hz)))
    return SliceCount(samples=samples)


def looks_hz(events: Sequence[JfrEvent], ordered_hz: float) -> float:
    """How often the JVM's sampler really looked: it sleeps for a period *after* each look, and on a busy machine wakes late.

    Looks that found nobody leave no trace, so the usual time between two that did is what tells; in Java and in native code, whichever
    found somebody more often. Where there are few, as was ordered.
    """
    told = []
    for kinds in (SAMPLES, (NATIVE_SAMPLE,)):
        moments = sorted(event.at_s for event in events if event.kind in kinds)
        gaps = [later - earlier for earlier, later in pairwise(moments) if later - earlier > 0.5 / ordered_hz]
        if len(gaps) >= FEWEST_GAPS:
            usual = [gap for gap in gaps if gap <= LONGEST_GAP * median(gaps)]
            told.append(len(usual) / sum(usual))
    return min(ordered_hz, max(told, default=ordered_hz))


def compiled_for_us(looks: Sequence[tuple[float, float]], settles_s: float) -> float:
    """CPU seconds that the JVM's compilers used because the recorder was switched on: until they rest, less what they use anyway.

    `looks`: seconds and CPU seconds since before that; the first is of the moment when it was on. `settles_s`: after it, at the latest.
    """
    if not looks:
        return 0.0
    on_s, last = looks[0][0], looks[-1]
    settled = last
    for earlier, later in pairwise(looks):
        rests = later[1] - earlier[1] < RESTING_CORES * (later[0] - earlier[0])
        if earlier[0] - on_s >= settles_s or (earlier[0] - on_s >= SETTLES_S and rests):
            settled = earlier
            break
    usual = (last[1] - settled[1]) / (last[0] - settled[0]) if last[0] > settled[0] else 0.0
    return max(0.0, settled[1] - usual * settled[0])


def read_thread_ids(document: Path) -> dict[str, int]:
    """The kernel's id of each Java thread by the JVM's own, from `jfr print --json`; empty where it says none."""
    try:
        events = json.loads(document.read_text(encoding="utf-8", errors="replace"))["recording"]["events"]
        threads = [event["values"]["eventThread"] for event in events]
        return {str(one["javaThreadId"]): int(one["osThreadId"]) for one in threads if one and one["osThreadId"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


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
                event.thread, event.java_thread = thread.groups()
            elif frame := _FRAME.match(line):
                event.stack.append((frame["method"], int(frame["line"] or 0)))
