"""Logs that real JVMs wrote (JDK 17.0.15 and 25.0.3): a service with arrays of 750 KiB in 48 MiB, and programs that only grow, call
`System.gc()` or load classes. Shortened: the beginning whole, then the lines that tell of stops."""

from pathlib import Path

import pytest

from perfwright.analysis.gc.jvm_log import pause_cause, read_jvm_log

DATA = Path(__file__).parent / "data"
MIB = 1 << 20


def read(name: str) -> tuple[dict[str, int], str, int | None, int | None]:
    with (DATA / name).open() as lines:
        pauses, facts = read_jvm_log(lines)
    counts: dict[str, int] = {}
    for pause in pauses:
        counts[pause.cause] = counts.get(pause.cause, 0) + 1
    return counts, facts.collector, facts.heap_max_bytes, facts.region_bytes


@pytest.mark.parametrize(
    ("name", "collector", "heap_mib", "region_mib", "causes"),
    [
        ("serial.log", "Serial", 48, None, {"young": 21}),
        ("parallel.log", "Parallel", 48, None, {"young": 21}),
        ("g1-humongous.log", "G1", 48, 1, {"humongous allocation": 79, "young": 7, "concurrent phases": 4}),
        ("zgc.log", "ZGC", 48, None, {"allocation stall": 33, "concurrent phases": 28, "safepoint without collection": 2}),
        ("zgc-25.log", "ZGC", 48, None, {"allocation stall": 17, "concurrent phases": 48, "safepoint without collection": 2}),
        ("shenandoah.log", "Shenandoah", 48, None, {"allocation stall": 3, "concurrent phases": 62, "safepoint without collection": 2}),
        ("shenandoah-25.log", "Shenandoah", 48, None, {"allocation stall": 5, "concurrent phases": 38, "safepoint without collection": 2}),
        ("g1-growth.log", "G1", 24, 1, {"young": 19, "full collection": 10, "evacuation failure": 10, "concurrent phases": 1}),
        ("g1-growth-25.log", "G1", 24, 1, {"young": 16, "full collection": 9, "evacuation failure": 13, "concurrent phases": 3}),
        ("parallel-growth.log", "Parallel", 16, None, {"full collection": 38, "young": 13}),
        ("serial-explicit.log", "Serial", None, None, {"explicit call": 3}),
    ],
)
def test_every_stop_has_its_cause(name: str, collector: str, heap_mib: int | None, region_mib: int | None, causes: dict[str, int]) -> None:
    """All stops of each collector are found once, with the cause that its log gives."""
    counts, found, heap_bytes, region_bytes = read(name)
    assert (counts, found) == (causes, collector)
    assert heap_mib is None or heap_bytes == heap_mib * MIB
    assert region_bytes == (region_mib * MIB if region_mib else None)


def test_classes_are_told_from_objects() -> None:
    """A collection at the metaspace's threshold is no young one."""
    counts, *_ = read("g1-metaspace.log")
    assert counts["metaspace"] == 2


def test_lengths_and_times() -> None:
    """Of three lines: the end in seconds, the length in milliseconds, what lives; a start line counts for nothing."""
    pauses, facts = read_jvm_log(
        [
            "[1.000s][gc,start    ] GC(0) Pause Young (Normal) (G1 Evacuation Pause)",
            "[1.004s][gc          ] GC(0) Pause Young (Normal) (G1 Evacuation Pause) 23M->18M(48M) 3.978ms",
            "[2000000000ns][gc          ] Allocation Stall (pool-1-thread-3) 7.475ms",
            '[3.0s][safepoint   ] Safepoint "ICBufferFull", Time since last: 1 ns, Reaching safepoint: 2 ns, At safepoint: 3 ns, Total: 250000 ns',
        ]
    )
    assert [(pause.at_s, pause.ms, pause.cause) for pause in pauses] == [
        (1.004, 3.978, "young"),
        (2.0, 7.475, "allocation stall"),
        (3.0, 0.25, "safepoint without collection"),
    ]
    assert facts.live_bytes == (18 * MIB,)


@pytest.mark.parametrize(
    "line",
    ["", "no log", "[1.0s][gc] GC(0) Pause Young (x) 1M->1M(2M) ms", "[x][gc] Pause 1.0ms", "[1.0s][gc,stats] Pause Init Mark 1.0ms"],
)
def test_other_lines_are_left_out(line: str) -> None:
    """What is cut short or of another kind is no pause."""
    assert read_jvm_log([line])[0] == ()


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("Full (System.gc())", "explicit call"),
        ("Full (Metadata GC Clear Soft References)", "metaspace"),
        ("Full (Ergonomics)", "full collection"),
        ("Degenerated GC (Mark)", "allocation stall"),
        ("Young (Mixed) (G1 Evacuation Pause) (Evacuation Failure: Allocation)", "evacuation failure"),
        ("Young (Concurrent Start) (G1 Humongous Allocation)", "humongous allocation"),
        ("Young (Allocation Failure)", "young"),
        ("Remark", "concurrent phases"),
    ],
)
def test_causes(kind: str, cause: str) -> None:
    """The dearest word of a pause's name decides."""
    assert pause_cause(kind) == cause
