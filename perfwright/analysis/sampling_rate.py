"""How fast a profiler may sample, from what a sample costs the target.

A profiler that attaches with ptrace stops every thread for every sample, so a sample costs about the same time per thread. Before a
recording nothing is known but the number of threads, and the rate of the two-second probe follows from a cautious guess; the probe then
tells the cost per sample, and the rate is what the budget pays for. Where that is too slow to be useful, the target is left running while
it is read (`nonblocking`): some stacks are then torn, and what it costs is the profiler's CPU time, which a second probe measures.
"""

import math
from collections.abc import Sequence

from perfwright.analysis.wilson import wilson_bounds
from perfwright.models.profile import PassKind
from perfwright.models.vocabulary import Model

HEADROOM = 0.7
"""Share of the budget that is planned for: the process sampler takes some, and the probe's reading is itself uncertain."""
HOLD_COSTS = 2.0
"""What a target loses, of the time for which it is held: its threads must be woken, find a CPU and warm their caches. Programs that
calculate in one thread beside 0, 4, 9 and 149 idle ones lost 2.1, 1.9, 2.1 and 1.1 times that; `python -m benchmarks collectors` watches
what comes of it."""
ASSUMED_PAUSE_S, ASSUMED_PAUSE_PER_THREAD_S = 100e-6, 50e-6
"""Pause of one blocking sample before anything was measured: attaching, and stopping and reading one thread. A program with 150 idle
threads took 5.8 times as long at 100 samples a second, which is 8 ms a sample."""
NONBLOCKING_COST = 0.2
"""What a non-blocking sample costs, of a blocking one, before its own probe: the same program took 2.0 times as long."""
GUESS_READINGS = 50
"""Weight of the assumption beside the probe: one on a busy machine has a few hundred readings, and few of them hit."""
PROBE_FACTOR = 4.0
"""The probe may cost this many times the budget: two such seconds are half a per cent of half a minute, and a slower one sees nothing."""
LEAST_USEFUL_HZ = 20
"""Below this a recording of half a minute has a few hundred samples, and a non-blocking one says more. What that costs: stacks that change
while they are read are lost, so that deep and quickly changing ones are seen too rarely (one with 19 % of the CPU time was given 11 %)."""
LEAST_COST = 1e-9
"""Of the machine, per sample: less is not measured but rounding."""
SLOWEST_HZ = 1
SURE, FEWEST_READINGS = 3.0, 50
"""Standard errors, and readings, before a recording is stopped: the question is asked every second, so chance gets many tries."""
SHOWN = 1.645
"""Standard errors of a question that is asked once, at the end: one-sided, 95 %."""


class Probe(Model):
    """What the probe before the recording saw."""

    rate_hz: float
    seconds: float
    held: int = 0
    """Readings that found the target held by the tracer."""
    readings: int = 0
    nonblocking: bool = False
    taken_share: float | None = None
    """CPU of the profiler as a share of the machine's, as far as no CPU was free for it: what the target lost to it while it sampled."""
    attach_s: float = 0.0
    """What the target lost in the same way while it attached, in seconds."""

    @property
    def paused_share(self) -> float:
        return self.held / self.readings if self.readings else 0.0


class RatePlan(Model):
    """At what rate to record, and what that is expected to cost."""

    rate_hz: int
    nonblocking: bool = False
    expected_paused_share: float = 0.0
    """Share of the target's time that it is expected to lose."""
    note: str = ""
    """One sentence for the report."""
    attach_s: float = 0.0
    """What attaching costs the target each time."""
    free_passes: tuple[PassKind, ...] = ()
    """Passes of a tool that holds its target in others only: recorded at `free_rate_hz`."""
    free_rate_hz: int = 0

    def rate_of(self, kind: PassKind) -> int:
        return self.free_rate_hz if kind in self.free_passes else self.rate_hz


def plan_rate(threads: int, wanted_hz: float, budget_share: float, probe: Probe | None, *, holds_target: bool = True) -> RatePlan:
    """The rate for a target with this many threads.

    Without a probe: the rate to probe at, from the assumed cost. With one: the rate to record at, from the measured cost, never more than
    wanted. `budget_share` is the share of the target's time that the collectors may take. `holds_target`: whether the tool stops its target
    for a sample; one that does not samples as wanted.
    """
    if not holds_target:
        return RatePlan(rate_hz=_whole(wanted_hz), note=f"The tool never stops the target: {_whole(wanted_hz)} Hz as asked.")
    if probe is None:
        assumed = _assumed_pause_s(threads)
        rate = _whole(min(wanted_hz, PROBE_FACTOR * budget_share / (HOLD_COSTS * assumed)))
        note = f"{threads} threads, {assumed * 1000:.2f} ms per sample assumed: probed at {rate} Hz."
        return RatePlan(rate_hz=rate, expected_paused_share=rate * assumed * HOLD_COSTS, note=note)
    blocking_s = HOLD_COSTS * _pause_per_sample(threads, probe)
    told = f"Probe of {probe.seconds:.1f} s at {probe.rate_hz:g} Hz, {threads} threads: held {probe.paused_share:.1%} of the time"
    payable = HEADROOM * budget_share / blocking_s
    rate = _whole(min(wanted_hz, payable))
    if payable >= min(wanted_hz, LEAST_USEFUL_HZ):
        cost = rate * blocking_s
        slower = f" instead of {wanted_hz:g} Hz to stay within {budget_share:.1%}" if rate < math.floor(wanted_hz) else ""
        return RatePlan(rate_hz=rate, expected_paused_share=cost, note=f"{told}. Recorded at {rate} Hz{slower}; {cost:.1%} expected.")
    rate = _whole(min(wanted_hz, HEADROOM * budget_share / (blocking_s * NONBLOCKING_COST)))
    return RatePlan(rate_hz=rate, nonblocking=True, note=f"{told}. That is too much: read without stopping it (some stacks may be torn).")


def plan_nonblocking_rate(plan: RatePlan, wanted_hz: float, budget_share: float, probe: Probe) -> RatePlan:
    """The rate of a recording that leaves its target running, from the profiler's CPU time in a probe at `plan.rate_hz`."""
    if probe.taken_share is None:
        note = f"{plan.note} What that costs could not be measured; recorded at {plan.rate_hz} Hz."
        return plan.model_copy(update={"note": note})
    per_sample = max(probe.taken_share / probe.rate_hz, LEAST_COST)
    rate = _whole(min(wanted_hz, HEADROOM * budget_share / per_sample))
    cost = rate * per_sample
    note = (
        f"{plan.note} The profiler then took {probe.taken_share:.1%} at {probe.rate_hz:g} Hz: recorded at {rate} Hz, {cost:.1%} expected."
    )
    return RatePlan(rate_hz=rate, nonblocking=True, expected_paused_share=cost, note=note)


def plan_free_passes(plan: RatePlan, held: Sequence[PassKind], free: Sequence[PassKind], wanted_hz: float) -> RatePlan:
    """The plan of a recording that never stops its target in `free` passes: these are sampled as wanted."""
    apart = {"held": ", ".join(held), "free": ", ".join(free)}
    told = {name: kinds.replace("_", "-") for name, kinds in apart.items()}
    note = f"{told['free']}: read without stopping the target, at {_whole(wanted_hz)} Hz as asked. {told['held']}: {plan.note}"
    return plan.model_copy(update={"free_passes": tuple(free), "free_rate_hz": _whole(wanted_hz), "note": note})


def rate_within_budget(planned_hz: float, spent_s: float, ticks: float, recorded_s: float, duration_s: float, budget_share: float) -> int:
    """The rate of the next slice, so that the whole recording stays within its budget: the planned one, or what can still be paid.

    `spent_s`: seconds that the target has lost in `recorded_s`, for `ticks` samples. What a sample costs changes while one records:
    threads come and go, and other programs leave more or less of the machine.
    """
    one_hz_s = spent_s / ticks * (duration_s - recorded_s) if ticks > 0 else 0.0
    if one_hz_s <= 0:
        return _whole(planned_hz)
    return _whole(min(planned_hz, (HEADROOM * budget_share * duration_s - spent_s) / one_hz_s))


def _assumed_pause_s(threads: int) -> float:
    return ASSUMED_PAUSE_S + ASSUMED_PAUSE_PER_THREAD_S * max(1, threads)


def _pause_per_sample(threads: int, probe: Probe) -> float:
    """Seconds that one blocking sample holds the target: what the probe saw, drawn towards the assumption by `GUESS_READINGS`."""
    assumed = _assumed_pause_s(threads)
    if probe.rate_hz <= 0:
        return assumed
    expected = min(1.0, assumed * probe.rate_hz)
    return (probe.held + GUESS_READINGS * expected) / (probe.readings + GUESS_READINGS) / probe.rate_hz


def _whole(rate: float) -> int:
    return max(SLOWEST_HZ, math.floor(rate))


def contention(busy_share: float, cpu_count: int) -> float:
    """How often what a collector takes comes out of somebody else's CPU: never while a CPU is free on average, always when all are busy."""
    return min(1.0, max(0.0, 1.0 - cpu_count * (1.0 - busy_share)))


def lost_to(collectors: float, busy_share: float, cpu_count: int) -> float:
    """What the target loses to collectors that use so much CPU: seconds of its time for CPU seconds, or a share of it for cores."""
    return contention(busy_share, cpu_count) * collectors / cpu_count


def surely_held(held: int, readings: int, standard_errors: float) -> float:
    """The share of time for which a target was held at least: the lower end of Wilson's interval; 0 without readings."""
    return max(0.0, wilson_bounds(held / readings, readings, standard_errors)[0]) if readings > 0 else 0.0


def over_budget(held: int, readings: int, budget_share: float) -> bool:
    """Whether the target surely loses more than the budget. To be asked again and again; a few unlucky readings do not stop a recording."""
    return readings >= FEWEST_READINGS and HOLD_COSTS * surely_held(held, readings, SURE) > budget_share
