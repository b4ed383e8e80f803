"""Settings that may do better, from what was observed and what the runtime offers: measured before anything is believed of them."""

import math
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from perfwright.models.change import InterpreterSpec, LaunchSpec
from perfwright.models.gc_tuning import Collector, CollectorFacts, GcCandidate, GcIssue

MIB = 1 << 20
LARGEST_REGION = 32 * MIB
HEAP_SHARE = 0.75
"""Of the machine's memory: more does not fit beside what a JVM takes outside of its heap, and what else runs there."""
FEWEST_REGIONS = 6
"""With fewer regions G1 has no room to work."""
SETTINGS = "PERFWRIGHT_GC_SETTINGS"
JAVA_OPTIONS = "JAVA_TOOL_OPTIONS"
FLAGS: dict[Collector, str] = {
    "Serial": "-XX:+UseSerialGC",
    "Parallel": "-XX:+UseParallelGC",
    "G1": "-XX:+UseG1GC",
    "ZGC": "-XX:+UseZGC",
    "Shenandoah": "-XX:+UseShenandoahGC",
}
_COLLECTOR_WORD = re.compile(r"^-XX:[+-]Use(Serial|Parallel|G1|Z|Shenandoah)GC$")
_HEAP_WORD = re.compile(r"^(-Xmx|-XX:MaxHeapSize=)")
_FLAG = re.compile(r"^-XX:[+-]?([A-Za-z0-9]+)")
THRESHOLDS = ((10_000, 10, 10), (50_000, 20, 20))
"""Measured in tools-cpu.md, 3: most of the gain of no collector at all, at no memory."""
OLDEST_RARELY = 100
OFF = (0, 10, 10)
"""As `gc.set_threshold` takes it: nothing is collected by itself."""
_MEMORY_WORD = re.compile(
    r"^-(Xm[nsx]|Xss|XX:[+-]?[A-Za-z0-9]*(GC|G1|Heap|Metaspace|NewSize|NewRatio|Survivor|Tenuring|ZAllocation|Pause)[^/]*$)"
)
MOST_WORDS, LONGEST_WORD = 64, 200


def is_java(command: Sequence[str]) -> bool:
    """Whether the command is the launcher itself, so that its flags can stand behind it."""
    return PurePosixPath(command[0]).name in ("java", "java.exe")


def memory_words(command: Sequence[str]) -> tuple[str, ...]:
    """Those words of a JVM's command that say how it uses memory: no argument of the program, no property, no path."""
    found = [word for word in command[1:] if len(word) <= LONGEST_WORD and _MEMORY_WORD.match(word)]
    return tuple(found[:MOST_WORDS])


def python_candidates(facts: CollectorFacts, *, live: bool, python_path: str, batch: bool = False) -> tuple[GcCandidate, ...]:
    """CPython. `python_path`: what PYTHONPATH has to be for the settings to be read at launch. `batch`: it ends by itself."""
    now = facts.thresholds or (700, 10, 10)
    wanted: list[tuple[str, tuple[int, int, int] | None, bool, str]] = [
        (f"thresholds {_listed(one)}", one, False, "young collections come rarer, and fewer objects grow old that would have died")
        for one in THRESHOLDS
        if one[0] > now[0]
    ]
    wanted.append(
        (
            f"thresholds {_listed((now[0], now[1], OLDEST_RARELY))}",
            (now[0], now[1], OLDEST_RARELY),
            False,
            "the oldest generation is collected ten times as rarely; cyclic garbage stays longer and takes memory",
        )
    )
    if batch:  # there is no moment at which all is loaded
        wanted.append(("collector off", OFF, False, "what hangs together in circles is given back when the program ends, and takes memory"))
        return tuple(_python(name, thresholds, frozen, why, live, python_path) for name, thresholds, frozen, why in wanted)
    wanted.append(("freeze", None, True, "what is loaded at the start is walked through no more"))
    wanted.append(
        (
            f"freeze, thresholds {_listed(THRESHOLDS[0])}",
            THRESHOLDS[0],
            True,
            "young collections come rarer, and what is loaded at the start is walked through no more",
        )
    )
    return tuple(_python(name, thresholds, frozen, why, live, python_path) for name, thresholds, frozen, why in wanted if thresholds != now)


def _python(name: str, thresholds: tuple[int, int, int] | None, frozen: bool, why: str, live: bool, python_path: str) -> GcCandidate:
    lines = ["import gc"]
    if thresholds:
        lines.append(f"gc.set_threshold({_listed(thresholds)})")
    if frozen:
        lines += ["# once everything is loaded, before serving (and before forking workers):", "gc.collect()", "gc.freeze()"]
    settings = ";".join(([",".join(map(str, thresholds))] if thresholds else []) + (["freeze"] if frozen else []))
    return GcCandidate(
        name=name,
        why=why,
        launch=None if live else LaunchSpec(environment={"PYTHONPATH": python_path, SETTINGS: settings}),
        interpreter=InterpreterSpec(gc_thresholds=thresholds, gc_freeze=frozen) if live else None,
        for_people="\n".join(lines),
    )


def jvm_candidates(
    command: Sequence[str],
    inherited_options: str,
    facts: CollectorFacts,
    collectors: Sequence[Collector],
    issues: Sequence[GcIssue],
    pause_target_ms: float,
    machine_bytes: int,
) -> tuple[GcCandidate, ...]:
    """HotSpot. `command` is what is launched now; its own words for the same thing are left out where a candidate says it anew.

    `pause_target_ms`: infinite where there is none. `machine_bytes`: memory of the machine or container that a heap has to fit into.
    """
    causes = {issue.cause for issue in issues}
    wanted: list[tuple[str, tuple[str, ...], str]] = []
    if (
        facts.collector == "G1"
        and facts.region_bytes
        and facts.heap_max_bytes
        and causes & {"humongous allocation", "evacuation failure", "full collection"}
    ):
        for times in (4, 8):
            size = min(LARGEST_REGION, times * facts.region_bytes)
            if size > facts.region_bytes and facts.heap_max_bytes // size >= FEWEST_REGIONS:
                why = f"arrays up to {size // 2 // MIB} MiB are ordinary then, and die young"
                wanted.append((f"G1 regions of {size // MIB} MiB", (f"-XX:G1HeapRegionSize={size // MIB}m",), why))
    fits = facts.heap_max_bytes is not None and 2 * facts.heap_max_bytes <= HEAP_SHARE * machine_bytes
    if facts.heap_max_bytes and fits and causes - {"metaspace", "explicit call", "safepoint without collection"}:
        size = 2 * facts.heap_max_bytes // MIB
        wanted.append((f"heap of {size} MiB", (f"-Xmx{size}m",), "collections come half as often; memory is paid for it"))
    if facts.collector == "G1" and "young" in causes and math.isfinite(pause_target_ms):
        aim = max(1, int(pause_target_ms))
        wanted.append(
            (f"G1 aiming at {aim} ms", (f"-XX:MaxGCPauseMillis={aim}",), "the young generation is made as small as the aim needs")
        )
    if "metaspace" in causes:
        wanted.append(("metaspace from 256 MiB", ("-XX:MetaspaceSize=256m",), "no collection is made for classes before that"))
    if "explicit call" in causes:
        wanted.append(
            ("explicit calls beside the program", ("-XX:+ExplicitGCInvokesConcurrent",), "System.gc() stops the program no longer")
        )
    others = [one for one in collectors if one != facts.collector and one in FLAGS]
    wanted += [(collector, (FLAGS[collector],), _WHY[collector]) for collector in others]
    return tuple(_jvm(name, flags, why, command, inherited_options) for name, flags, why in wanted)


def as_advice(candidates: Sequence[GcCandidate]) -> tuple[GcCandidate, ...]:
    """For a program that is not ours to launch: told, and not tried."""
    return tuple(one.model_copy(update={"launch": None}) for one in candidates)


_WHY: dict[Collector, str] = {
    "Serial": "least work in all and least memory; every pause takes as long as one thread needs",
    "Parallel": "most throughput; longer pauses with large heaps",
    "G1": "pauses by an aim",
    "ZGC": "pauses below a millisecond; works beside the program and takes CPU and memory for it",
    "Shenandoah": "short pauses; works beside the program and takes CPU for it",
}


def _jvm(name: str, flags: tuple[str, ...], why: str, command: Sequence[str], inherited_options: str) -> GcCandidate:
    replaced = [_same_as(flag) for flag in flags]
    without = tuple(word for word in command[1:] if any(pattern.match(word) for pattern in replaced))
    if is_java(command):
        launch = LaunchSpec(after_program=flags, without=without)
    else:
        kept = [word for word in inherited_options.split() if not any(pattern.match(word) for pattern in replaced)]
        launch = LaunchSpec(environment={JAVA_OPTIONS: " ".join([*kept, *flags])}, without=without)
    told = f" (instead of {' '.join(without)})" if without else ""
    return GcCandidate(name=name, why=why, launch=launch, for_people=" ".join(flags) + told)


def _same_as(flag: str) -> re.Pattern[str]:
    """Words that say the same thing: the last of them counts, and the command's stand behind ours."""
    for pattern in (_COLLECTOR_WORD, _HEAP_WORD):
        if pattern.match(flag):
            return pattern
    named = _FLAG.match(flag)
    return re.compile(rf"^-XX:[+-]?{named[1] if named else re.escape(flag)}(=|$)")


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))
