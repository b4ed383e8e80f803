"""Pauses as a table: by cause, how long, and which share of the time.

Percentiles are of *noticed* pauses. A collector that works in many short steps would otherwise dilute its long ones: with a thousand
collections of 0.1 ms a second beside one of 100 ms, the 99th percentile of all is 0.1 ms; and settings that spare the short ones would
look worse for it.
"""

from collections.abc import Iterable, Sequence

from perfwright.models.gc_tuning import Pause, PauseLine, PauseTable

NOTICED_MS = 1.0
"""A pause that a request can tell from noise."""
LEAST_MS = 0.01
"""What a side without any pause is taken to cost, so that a ratio exists."""


def pause_table(pauses: Sequence[Pause], seconds: float, *, processes: int = 1, dropped: int = 0) -> PauseTable:
    """The table of `seconds` observed, of so many processes. Stalls of single threads are counted as pauses of theirs.

    Raises ValueError where nothing was observed.
    """
    if seconds <= 0 or processes < 1:
        raise ValueError("a time and a process are needed")
    available_ms = 1e3 * seconds * processes
    causes: dict[str, list[Pause]] = {}
    for pause in pauses:
        causes.setdefault(pause.cause, []).append(pause)
    lines = [_line(of_cause, available_ms) for of_cause in causes.values()]
    sizes = [pause.ms for pause in pauses]
    p50, p99, longest = _quantiles(sizes)
    return PauseTable(
        seconds=seconds,
        count=len(pauses),
        noticed=sum(one >= NOTICED_MS for one in sizes),
        p50_ms=p50,
        p99_ms=p99,
        max_ms=longest,
        share=min(1.0, sum(sizes) / available_ms),
        lines=tuple(sorted(lines, key=lambda line: -line.total_ms)),
        dropped=dropped,
    )


def within(pauses: Iterable[Pause], begin_s: float, end_s: float) -> list[Pause]:
    """Those that ended in the window."""
    return [pause for pause in pauses if begin_s <= pause.at_s <= end_s]


def _line(pauses: Sequence[Pause], available_ms: float) -> PauseLine:
    sizes = sorted((pause.ms for pause in pauses), reverse=True)
    p50, p99, longest = _quantiles(sizes)
    total = sum(sizes)
    return PauseLine(
        cause=pauses[0].cause,
        count=len(pauses),
        p50_ms=p50,
        p99_ms=p99,
        max_ms=longest,
        total_ms=total,
        share=min(1.0, total / available_ms),
        third_ms=sizes[2] if len(sizes) > 2 else 0.0,
    )


def _quantiles(sizes_ms: Sequence[float]) -> tuple[float, float, float]:
    """Median, 99th percentile (nearest rank) and longest of the noticed ones; of all where none is; zeros for none."""
    if not sizes_ms:
        return 0.0, 0.0, 0.0
    noticed = [one for one in sizes_ms if one >= NOTICED_MS] or list(sizes_ms)
    ordered = sorted(noticed)
    return nearest_rank(ordered, 50), nearest_rank(ordered, 99), ordered[-1]


def nearest_rank(ordered: Sequence[float], percent: int) -> float:
    """The least value that so many per cent do not pass."""
    return ordered[max(0, -(-percent * len(ordered) // 100) - 1)]
