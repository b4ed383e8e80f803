"""What a running HotSpot JVM says of its flags (`jcmd PID VM.flags -all`), as facts of its collector.

Format: `type name = value {kind} {origin}`, as JDK 8 to 25 write it. `manageable` flags are those that the JVM takes while it runs
(HotSpotDiagnosticMXBean.setVMOption).
"""

import re

from perfwright.models.gc_tuning import Collector, CollectorFacts

_FLAG = re.compile(r"^\s*(?P<type>[a-z0-9_]+)\s+(?P<name>\w+)\s+:?=\s*(?P<value>.*?)\s*\{(?P<kind>[^}]*)\}")
_USED: dict[str, Collector] = {
    "UseSerialGC": "Serial",
    "UseParallelGC": "Parallel",
    "UseG1GC": "G1",
    "UseZGC": "ZGC",
    "UseShenandoahGC": "Shenandoah",
}
_NUMBERS = ("intx", "uintx", "size_t", "uint64_t", "int", "uint", "double")
_OF_MEMORY = re.compile(r"Heap|GC|Metaspace")
MOST_TOLD = 16


def read_jvm_flags(text: str, version: str) -> CollectorFacts:
    """Lines that are no flags are left out."""
    flags = {found["name"]: found for line in text.splitlines() if (found := _FLAG.match(line))}

    def number(name: str) -> int | None:
        value = flags[name]["value"] if name in flags else ""
        return int(value) if value.isdigit() and int(value) else None

    used = [collector for flag, collector in _USED.items() if flag in flags and flags[flag]["value"] == "true"]
    collector: Collector = used[0] if len(used) == 1 else "unknown"
    settable = [
        f"{name}={found['value']}"
        for name, found in flags.items()
        if "manageable" in found["kind"] and found["type"] in _NUMBERS and _OF_MEMORY.search(name) and "Dump" not in name
    ]
    return CollectorFacts(
        runtime="jvm",
        version=version,
        collector=collector,
        heap_max_bytes=number("MaxHeapSize"),
        region_bytes=number("G1HeapRegionSize") if collector == "G1" else None,
        settable=tuple(sorted(settable)[:MOST_TOLD]),
    )
