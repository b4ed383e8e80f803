"""How long a trial of what the sweep chose has to be, from the sweep's own rounds: what one takes, and how much they differ."""

import math
import statistics
from collections.abc import Sequence

from perfwright.analysis.gc.front import AS_IS
from perfwright.analysis.gc.pauses import LEAST_MS
from perfwright.analysis.gc.trying import guards_of, wanted_effect, wanted_saving
from perfwright.analysis.trials.boundaries import LOOKS
from perfwright.analysis.trials.course import fewest_rounds, is_tail
from perfwright.analysis.trials.estimates import rounds_needed
from perfwright.analysis.trials.sequential import MARGIN
from perfwright.analysis.trials.services import P99_MARGIN
from perfwright.models.gc_tuning import GarbageCollectionRequest, GcSample, GcSweep

SLACK = 1.25
"""What the first rounds of a trial take longer, and the rounds among them that do not count."""
FEWEST_COMPARED = 3
"""Samples from which a spread is told; of fewer, twice the fewest rounds are allowed."""
FIELDS = {
    "gc_pause_p99_ms": "pause_p99_ms",
    "gc_share": "pause_share",
    "rss_bytes": "memory_bytes",
    "throughput_hz": "throughput_hz",
    "p99_ms": "p99_ms",
    "cpu_s": "cpu_s",
    "wall_s": "p50_ms",
    "": "cpu_s",
}
"""Metric of the trial -> the same in a sample; of a run its time stands for its latencies."""


def trial_seconds(
    samples: Sequence[GcSample], took_s: dict[str, float], sweep: GcSweep, request: GarbageCollectionRequest, metric: str
) -> float:
    """Seconds of rounds with which metric and guards are decided with power 0.9; 0 where nothing was chosen.

    `took_s`: what a sample of each side took from its start to its end, the median; a round of the trial has one of each. `metric`: of the
    trial; empty for runs to the end, which are judged by CPU or wall time.
    """
    if not sweep.chosen:
        return 0.0
    as_is = [one for one in samples if one.candidate == AS_IS and not one.trouble]
    effect = wanted_effect(sweep, sweep.chosen, metric) if request.load is not None else wanted_saving(sweep, sweep.chosen)
    rounds = [_rounds(as_is, metric, effect, P99_MARGIN if is_tail(metric) else MARGIN, fewest_rounds(metric))]
    rounds += [
        _rounds(as_is, guard.metric, math.expm1(guard.margin), 0.0, fewest_rounds(metric))
        for guard in guards_of(request, "batch" if request.load is None else "service")
        if guard.scale == "ratio"  # what is not there cannot differ
    ]
    return math.ceil(SLACK * max(rounds) * (took_s.get(AS_IS, 0.0) + took_s.get(sweep.chosen, 0.0)))


def _rounds(as_is: Sequence[GcSample], metric: str, effect: float, margin: float, fewest: int) -> int:
    """The longest trial there is where none would do: what it lacks it then says itself."""
    values = [math.log(max(LEAST_MS / 1e3, float(getattr(one, FIELDS[metric])))) for one in as_is]
    if len(values) < FEWEST_COMPARED:
        return min(LOOKS[-1], 2 * fewest)
    # of a datum, which is a difference of two such values
    sigma = math.sqrt(2) * statistics.stdev(values)
    return rounds_needed(effect, sigma, margin=margin, fewest=fewest) or LOOKS[-1]
