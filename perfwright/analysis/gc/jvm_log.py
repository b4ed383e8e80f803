"""The log of a HotSpot JVM (`-Xlog:gc*,safepoint` with the decorations `tn` or `u`, and `tags`), as pauses with their causes.

Formats: JEP 158 (unified logging), and what JDK 17 and 25 write for Serial, Parallel, G1, ZGC (both kinds) and Shenandoah.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from perfwright.models.gc_tuning import Collector, CollectorFacts, Pause, PauseCause

_LINE = re.compile(r"^\[(?P<at>[0-9.]+)(?P<unit>ns|s)\](?:\[[a-z ]+\])?\[(?P<tags>[a-z0-9, ]+)\] ?(?P<text>.*)$")
_PAUSE = re.compile(r"^(?:GC\(\d+\) )?(?:[YyOo]: )?Pause (?P<kind>.+?) ?(?:(?P<before>\d+)M->(?P<after>\d+)M\(\d+M\) )?(?P<ms>[0-9.]+)ms$")
_STALL = re.compile(r"^(?:Allocation|Relocation) Stall \(.*\) (?P<ms>[0-9.]+)ms$")
_SAFEPOINT = re.compile(r'^Safepoint "(?P<name>\w+)", .*Total: +(?P<ns>\d+) ns')
_CYCLE = re.compile(r"^GC\(\d+\) (?:Garbage|Minor|Major) Collection \(.*\) \d+M\(\d+%\)->(?P<after>\d+)M\(")
_COLLECTORS: dict[str, Collector] = {
    "Using Serial": "Serial",
    "Using Parallel": "Parallel",
    "Using G1": "G1",
    "Initializing The Z Garbage Collector": "ZGC",
    "Using The Z Garbage Collector": "ZGC",
    "Using Shenandoah": "Shenandoah",
}
_OF_COLLECTIONS = re.compile(r"^(G1|Gen|ParallelGC|CollectFor|Z[A-Z]|XMark|XRelocate|Shenandoah|SerialCollect)")
_UNITS = {"B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
LIVE_KEPT = 64


@dataclass
class _Reading:
    pauses: list[Pause] = field(default_factory=list)
    collector: Collector = "unknown"
    version: str = ""
    heap_max_bytes: int | None = None
    region_bytes: int | None = None
    live_bytes: list[int] = field(default_factory=list)
    exhausted: bool = False


def read_jvm_log(lines: Iterable[str]) -> tuple[tuple[Pause, ...], CollectorFacts]:
    """All pauses in order, and what the JVM said of itself. Lines of other kinds, and broken ones, are left out."""
    reading = _Reading()
    for line in lines:
        if match := _LINE.match(line.rstrip()):
            at_s = float(match["at"]) / (1e9 if match["unit"] == "ns" else 1.0)
            _take(reading, at_s, {tag.strip() for tag in match["tags"].split(",")}, match["text"].strip())
    total_ms = sum(pause.ms for pause in reading.pauses)
    full_ms = sum(pause.ms for pause in reading.pauses if pause.cause == "full collection")
    step = max(1, len(reading.live_bytes) // LIVE_KEPT + (len(reading.live_bytes) % LIVE_KEPT > 0))
    return tuple(reading.pauses), CollectorFacts(
        runtime="jvm",
        version=reading.version,
        collector=reading.collector,
        heap_max_bytes=reading.heap_max_bytes,
        region_bytes=reading.region_bytes,
        live_bytes=tuple(reading.live_bytes[::step]),
        full_share=full_ms / total_ms if total_ms else None,
    )


def _take(reading: _Reading, at_s: float, tags: set[str], text: str) -> None:
    if "stats" in tags or "start" in tags:
        return
    if "safepoint" in tags:
        if (found := _SAFEPOINT.match(text)) and not _OF_COLLECTIONS.match(found["name"]):
            reading.pauses.append(Pause(at_s=at_s, ms=int(found["ns"]) / 1e6, cause="safepoint without collection"))
    elif "init" in tags:
        _take_fact(reading, text)
    elif found := _PAUSE.match(text):
        cause = pause_cause(found["kind"], reading.exhausted)
        reading.exhausted = False
        reading.pauses.append(Pause(at_s=at_s, ms=float(found["ms"]), cause=cause))
        if found["after"]:
            reading.live_bytes.append(int(found["after"]) << 20)
    elif found := _STALL.match(text):
        reading.pauses.append(Pause(at_s=at_s, ms=float(found["ms"]), cause="allocation stall"))
    elif found := _CYCLE.match(text):
        reading.live_bytes.append(int(found["after"]) << 20)
    elif "To-space exhausted" in text:
        reading.exhausted = True
    else:
        reading.collector = _COLLECTORS.get(text, reading.collector)


def _take_fact(reading: _Reading, text: str) -> None:
    name, _, value = text.partition(": ")
    if text in _COLLECTORS:
        reading.collector = _COLLECTORS[text]
    elif name == "Version":
        reading.version = value.split(" ")[0]
    elif name in ("Heap Max Capacity", "Max Capacity"):
        reading.heap_max_bytes = _size(value)
    elif name == "Heap Region Size" and reading.collector == "G1":
        reading.region_bytes = _size(value)


def pause_cause(kind: str, exhausted: bool = False) -> PauseCause:
    """Of a pause as the log names it: `Young (Concurrent Start) (G1 Humongous Allocation)`, `Full (System.gc())`, `Remark`."""
    if "Metadata GC" in kind or "Metaspace" in kind:
        return "metaspace"
    if "System.gc()" in kind or "Diagnostic Command" in kind or "Heap Inspection" in kind:
        return "explicit call"
    if kind.startswith("Degenerated"):  # Shenandoah ran out of memory and finishes with the program stopped
        return "allocation stall"
    if kind.startswith("Full"):
        return "full collection"
    if exhausted or "Evacuation Failure" in kind:
        return "evacuation failure"
    if "Humongous Allocation" in kind:
        return "humongous allocation"
    return "young" if kind.startswith("Young") else "concurrent phases"


def _size(text: str) -> int | None:
    found = re.match(r"^(\d+)([BKMG])", text)
    return int(found[1]) * _UNITS[found[2]] if found else None
