"""Numbers as people read them: shares, durations, sizes, estimates with their intervals."""

import re
from datetime import datetime

from perfwright.models.measurement import Estimate
from perfwright.models.quality import QualityGate


def share(value: float) -> str:
    """`12.3 %`, `0.45 %`."""
    percent = 100 * value
    return f"{percent:.2f} %" if abs(percent) < 1 else f"{percent:.1f} %"


def seconds(value: float) -> str:
    """`0.42 s`, `12.3 s`, `4 min 10 s`, `2 h 5 min`."""
    if value < 10:
        return f"{value:.2f} s"
    if value < 120:
        return f"{value:.1f} s"
    if value < 7_200:
        return f"{int(value // 60)} min {int(value % 60)} s"
    return f"{int(value // 3_600)} h {int(value % 3_600 // 60)} min"


def size(value: float) -> str:
    """Bytes in binary units: `1.5 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1_024 or unit == "GiB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1_024
    raise AssertionError("unreachable")


def number(value: float, unit: str) -> str:
    """A value in its unit."""
    if unit == "share":
        return share(value)
    if unit == "bytes":
        return size(value)
    if unit == "s":
        return seconds(value)
    text = f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    return f"{text} {unit}".strip()


def estimate(value: Estimate) -> str:
    """`31.2 % (28.0 to 34.5 %)`; units in words: `share of CPU seconds` reads as a percentage."""
    unit = "share" if value.unit.startswith("share") else value.unit
    rest = value.unit.removeprefix("share").strip() if unit == "share" else ""
    text = number(value.value, unit)
    if value.interval:
        low, high = number(value.interval.low, unit), number(value.interval.high, unit)
        text += f" ({low.removesuffix(' %')} to {high})"
    return f"{text} {rest}".strip()


def observed(gate: QualityGate) -> str:
    return "no data" if gate.observed is None else number(gate.observed, gate.unit)


def allowed(gate: QualityGate) -> str:
    return f"{gate.comparison} {number(gate.threshold, gate.unit)}"


def moment(iso: str) -> str:
    """`2025-03-01 14:05 UTC` from ISO 8601; anything else as it is."""
    try:
        return datetime.fromisoformat(iso).strftime("%Y-%m-%d %H:%M UTC")
    except ValueError:
        return iso


def process_title(process: str) -> str:
    """`CpuProfilingInvestigation` -> `CPU profiling investigation`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", process).split()
    kept = {"cpu": "CPU", "gc": "GC", "io": "I/O", "slo": "SLO", "n": "N", "plus": "+", "p99": "P99", "cdn": "CDN"}
    text = " ".join(kept.get(word.lower(), word.lower()) for word in words)
    return text[:1].upper() + text[1:]
