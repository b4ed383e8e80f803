"""What a live process holds beside what it held before, and how often it starts again: from outside, and by chance alone."""

import math

import numpy as np
import pytest

from perfwright.analysis.trials.boundaries import LEVEL
from perfwright.analysis.trials.live_processes import facts_between, judge_process, judge_restarts
from perfwright.analysis.trials.watching import CPU, FILES, MEMORY, PROCESS_GUARDS, RESTARTS, THREADS
from perfwright.models.live_guards import ProcessReading
from perfwright.models.trial import Guard

DAY_S = 86_400.0
OFTEN = Guard(metric=RESTARTS, margin=math.log(2))


def reading(taken_s: float, **more: float) -> ProcessReading:
    given = {"pid": 7, "create_time_s": 1.0, "processes": 2, "pss_bytes": 1e8, "most_bytes": 1.5e8, "threads": 9, "open_files": 40}
    return ProcessReading.model_validate(given | {"taken_s": taken_s} | more)


BEFORE = (reading(100.0, cpu_s=5.0), reading(200.0, cpu_s=55.0, most_bytes=2e8, threads=12))


def test_the_most_that_it_held_is_what_counts() -> None:
    """Memory, threads and files beside the most of before; cores beside those between the two readings."""
    facts = facts_between(reading(300.0, cpu_s=80.0), reading(310.0, cpu_s=90.0, pss_bytes=3e8, open_files=80), BEFORE)
    assert facts == {MEMORY: (2e8, 3e8), THREADS: (12, 9), FILES: (40, 80), CPU: (pytest.approx(0.5), pytest.approx(1.0))}


def test_what_is_not_seen_is_not_told() -> None:
    """Nothing while it is away; no cores of a window in which it was started again, no files where they may not be counted."""
    again = reading(310.0, pid=8, create_time_s=305.0)
    assert facts_between(reading(300.0), ProcessReading(not_seen="it is gone"), BEFORE) == {}
    assert CPU not in facts_between(reading(300.0), again, BEFORE)
    assert FILES not in facts_between(reading(300.0), again.model_copy(update={"open_files": None}), BEFORE)


def test_twice_as_much_memory_is_a_breach_and_what_it_once_held_is_none() -> None:
    """A load that brings it back to its own peak is no harm; restarts are judged by themselves."""
    once, twice = ([facts_between(reading(1.0), reading(2.0, pss_bytes=n), BEFORE)] * 24 for n in (1.9e8, 4.5e8))
    assert [one.verdict for one in judge_process(PROCESS_GUARDS, once, (), BEFORE, 720.0, 24)] == ["held", "unclear"]
    assert [one.verdict for one in judge_process(PROCESS_GUARDS, twice[:12], (), BEFORE, 720.0, 24)] == ["breached", "unclear"]
    assert {one.verdict for one in judge_process(PROCESS_GUARDS, [], (), BEFORE, 720.0, 24)} == {"unseen"}


@pytest.mark.parametrize(
    ("ran_s", "restarts_s", "verdict"),
    [
        (7 * DAY_S, [60.0], "breached"),
        (3_600.0, [60.0], "unclear"),
        (3_600.0, [20.0, 40.0], "breached"),
        (30.0, [20.0, 40.0], "unclear"),
        (3_600.0, [3_000.0, 6_600.0, 10_200.0], "unclear"),
        (7 * DAY_S, [], "unclear"),
        (5.0, [], "held"),
    ],
    ids=["after a week", "after an hour", "twice", "just begun", "every hour", "none in ten minutes", "long enough without"],
)
def test_restarts_beside_how_long_it_ran_before(ran_s: float, restarts_s: list[float], verdict: str) -> None:
    """One is a breach where it had run for long, several where for a while; that there was none for moments shows nothing."""
    watched_s = max([600.0, *restarts_s])
    assert judge_restarts(OFTEN, ran_s, restarts_s, watched_s, 20).verdict == verdict


def test_restarts_that_come_by_chance_are_seldom_a_breach() -> None:
    """At exactly the rate that the guard puts up with, over a watch of any length, at most 0.5 % of 20,000 drawn watches breach."""
    chance = np.random.default_rng(3)
    breaches = 0
    for ran_s in chance.exponential(1_000.0, 20_000):
        after_s = np.cumsum(chance.exponential(500.0, 6))
        breaches += judge_restarts(OFTEN, float(ran_s), [float(one) for one in after_s], float(after_s[-1]), 20).verdict == "breached"
    assert 0.5 * LEVEL < breaches / 20_000 < LEVEL + 3 * math.sqrt(LEVEL / 20_000)


def test_restarts_may_simply_be_counted() -> None:
    """A guard by difference puts up with so many of them."""
    two = Guard(metric=RESTARTS, margin=2.0, scale="difference")
    assert [judge_restarts(two, 5.0, [1.0] * count, 600.0, 20).verdict for count in (2, 3)] == ["held", "breached"]
