"""Which pauses cost enough to act on, and what they come from."""

import math
from collections.abc import Sequence
from statistics import median

from perfwright.models.gc_tuning import CollectorFacts, GcIssue, GcObservation, PauseCause, PauseLine

SHARE_OF_EXCESS = 0.25
"""A cause is an issue if it has this share of all pause time, or of the pauses' length by itself."""
GROWTH_LEAST_POINTS = 8
GROWTH_SHARE = 0.3
"""Growth of the live set over the observation, as a share of its middle, from which it is told."""

CROWDED: tuple[PauseCause, ...] = ("full collection", "evacuation failure", "allocation stall")
"""The heap is small for what lives in it, or what lives in it grows."""

MEANINGS: dict[PauseCause, str] = {
    "young": "ordinary collections of what was allocated lately",
    "full generation": "collections of the oldest generation walk through all objects that live",
    "humongous allocation": "arrays of half a G1 region and more skip the young generation; each such allocation may start a collection",
    "allocation stall": "threads wait for memory, because the collector works beside them and does not keep up",
    "full collection": "the whole heap is collected while the program stands still",
    "evacuation failure": "there was no room to copy what survives into",
    "metaspace": "classes fill the metaspace up to its threshold, and a collection is made to unload some",
    "explicit call": "the program or a tool asks for a collection",
    "concurrent phases": "the short stops of a collector that works beside the program",
    "safepoint without collection": "the JVM stops the program for something else than a collection",
}


def issues_of(seen: GcObservation, pause_target_ms: float, share_target: float) -> tuple[GcIssue, ...]:
    """Causes that make p99 of the noticed pauses, or the share of the time in pauses, pass its target; none where both are met.

    One or two long pauses are none by themselves: they may be of the start, or somebody's own call, and no percentile is known of them.
    """
    table = seen.table
    over_pause, over_share = seen.typical_p99_ms > pause_target_ms, seen.typical_share > share_target
    if not (over_pause or over_share):
        return ()
    total_ms = sum(line.total_ms for line in table.lines)
    found = []
    for line in table.lines:
        long = over_pause and line.p99_ms > pause_target_ms and line.third_ms > pause_target_ms
        much = over_share and line.total_ms >= SHARE_OF_EXCESS * total_ms
        if long or much:
            found.append(
                GcIssue(
                    cause=line.cause,
                    statement=_statement(line, seen.facts),
                    p99_ms=line.p99_ms,
                    share=line.share,
                    over="pause" if long else "share",
                )
            )
    return tuple(found)


def live_set_growth(live_bytes: Sequence[int]) -> float | None:
    """Growth of what is left after collections from the first to the last third, by medians, as a share of the first; None with too few."""
    if len(live_bytes) < GROWTH_LEAST_POINTS:
        return None
    third = len(live_bytes) // 3
    first, last = (median(part) for part in (live_bytes[:third], live_bytes[-third:]))
    return (last - first) / first if first > 0 else None


def summary_sentence(seen: GcObservation, issues: Sequence[GcIssue], pause_target_ms: float, share_target: float) -> str:
    """For a reader who stops there."""
    told = f"{seen.facts.collector} stops the program {100 * seen.typical_share:.1f} % of the time"
    told += f", p99 {seen.typical_p99_ms:.1f} ms, longest {seen.table.max_ms:.1f} ms"
    if not issues and seen.typical_p99_ms > pause_target_ms:
        return f"Too few long pauses to judge by: {told}; {aims_told(pause_target_ms, share_target)}. Observe it for longer."
    if not issues:
        return f"No pause worth tuning: {told}; {aims_told(pause_target_ms, share_target)}."
    return f"{told}; most of it: {issues[0].cause} ({100 * issues[0].share:.1f} % of the time)."


def aims_told(pause_target_ms: float, share_target: float) -> str:
    """The targets. An infinite one is none."""
    if math.isinf(pause_target_ms):
        return f"the target is {100 * share_target:g} % of the time"
    return f"targets are {pause_target_ms:g} ms and {100 * share_target:g} %"


def _statement(line: PauseLine, facts: CollectorFacts) -> str:
    told = (
        f"{line.count:,} pauses, p99 {line.p99_ms:.1f} ms, longest {line.max_ms:.1f} ms, {100 * line.share:.1f} % of the time: "
        f"{MEANINGS[line.cause]}"
    )
    if line.cause == "humongous allocation" and facts.region_bytes:
        told += f" (regions are {facts.region_bytes >> 20} MiB)"
    if line.cause in CROWDED and facts.live_bytes and facts.heap_max_bytes:
        told += f"; {median(facts.live_bytes) / 2**20:.0f} of {facts.heap_max_bytes / 2**20:.0f} MiB are in use after collections"
    growth = live_set_growth(facts.live_bytes) or 0.0
    if growth >= GROWTH_SHARE and line.cause in CROWDED:
        told += f"; the live set grew by {100 * growth:.0f} % meanwhile"
    return told
