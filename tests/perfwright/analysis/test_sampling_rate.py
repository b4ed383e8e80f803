import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis.sampling_rate import (
    PROBE_FACTOR,
    Probe,
    contention,
    over_budget,
    plan_free_passes,
    plan_nonblocking_rate,
    plan_rate,
    rate_within_budget,
)


def probe(held: int, readings: int = 700, rate_hz: float = 99) -> Probe:
    return Probe(rate_hz=rate_hz, seconds=2, held=held, readings=readings)


def test_a_small_program_is_sampled_as_wanted() -> None:
    """Few threads and a cheap probe: the rate that was asked for."""
    plan = plan_rate(2, 99, 0.02, probe(3))
    assert (plan.rate_hz, plan.nonblocking) == (99, False)


def test_threads_lower_the_rate_until_the_target_is_not_stopped_any_more() -> None:
    """More threads, slower; and where a blocking rate would be useless, the target runs on while it is read."""
    plans = [plan_rate(threads, 99, 0.02, probe(held)) for threads, held in ((2, 3), (5, 15), (50, 175), (150, 420))]
    assert [plan.nonblocking for plan in plans] == [False, False, True, True]
    assert plans[0].rate_hz > plans[1].rate_hz and plans[2].rate_hz > plans[3].rate_hz
    assert "instead of 99 Hz" in plans[1].note and "torn" in plans[3].note


@given(st.integers(1, 2_000), st.integers(1, 999), st.floats(0.001, 0.5), st.none() | st.tuples(st.integers(0, 700), st.integers(0, 700)))
def test_any_plan_is_sane(threads: int, wanted: int, budget: float, seen: tuple[int, int] | None) -> None:
    """Never faster than wanted, never below one a second, and within the budget unless that is impossible."""
    plan = plan_rate(threads, wanted, budget, probe(min(seen), max(seen), wanted) if seen else None)
    assert 1 <= plan.rate_hz <= wanted
    if seen is None:
        assert plan.expected_paused_share <= PROBE_FACTOR * budget or plan.rate_hz == 1
    elif not plan.nonblocking:
        assert plan.expected_paused_share <= budget + 1e-9 or plan.rate_hz == 1


@given(st.integers(1, 999), st.floats(0.001, 0.5), st.none() | st.floats(0, 1), st.integers(1, 999))
def test_a_recording_that_stops_nothing_is_planned_by_the_cpu_it_takes(wanted: int, budget: float, taken: float | None, at: int) -> None:
    """What the second probe saw of the profiler's CPU time sets the rate; what was not measured is said."""
    plan = plan_rate(500, 99, 0.02, probe(560)).model_copy(update={"rate_hz": at})
    planned = plan_nonblocking_rate(plan, wanted, budget, Probe(rate_hz=at, seconds=2, nonblocking=True, taken_share=taken))
    assert planned.nonblocking
    if taken is not None:
        assert 1 <= planned.rate_hz <= wanted
        assert planned.expected_paused_share <= budget or planned.rate_hz == 1
    else:
        assert planned.rate_hz == at and "could not be measured" in planned.note


@given(st.integers(1, 999), st.floats(0, 100), st.floats(0, 100_000), st.floats(0, 600), st.floats(0.1, 600), st.floats(0.001, 0.5))
def test_the_rate_of_the_next_slice_keeps_to_the_budget(
    planned: int, spent: float, ticks: float, recorded: float, left: float, budget: float
) -> None:
    """Never above the plan, never below one a second, and at that price the whole recording stays within its budget if it still can."""
    rate = rate_within_budget(planned, spent, ticks, recorded, recorded + left, budget)
    assert 1 <= rate <= planned
    if spent > 0 and ticks > 0 and rate > 1:
        assert spent + rate * left * spent / ticks <= budget * (recorded + left) * (1 + 1e-9)


def test_the_rate_stays_as_planned_while_the_plan_holds() -> None:
    """Half of the budget spent after half of the time: nothing to correct."""
    assert rate_within_budget(40, 0.1, 600, 15, 30, 0.02) == 40
    assert rate_within_budget(40, 0.3, 600, 15, 30, 0.02) == 15
    assert rate_within_budget(40, 0.9, 600, 15, 30, 0.02) == 1


def test_a_lucky_probe_is_not_believed_alone() -> None:
    """A probe on a busy machine, with a hundred readings that never hit, does not prove that samples cost nothing."""
    assert plan_rate(150, 99, 0.02, probe(0, readings=100, rate_hz=10)).rate_hz < 99


def test_tools_that_never_stop_the_target_sample_as_wanted() -> None:
    """perf, the flight recorder and the inspector need no lower rate."""
    assert plan_rate(500, 99, 0.001, None, holds_target=False).rate_hz == 99


def test_passes_that_hold_nothing_are_not_slowed_by_those_that_do() -> None:
    """Of a tool that stops its target in some passes only, the others are sampled as wanted; the note says both."""
    held = plan_rate(150, 99, 0.02, probe(420))
    plan = plan_free_passes(held, ["wall"], ["on_cpu", "gil"], 99)
    assert [plan.rate_of(kind) for kind in ("on_cpu", "gil", "wall")] == [99, 99, held.rate_hz]
    assert held.rate_hz < 99 and plan.nonblocking
    assert plan.note == f"on-cpu, gil: read without stopping the target, at 99 Hz as asked. wall: {held.note}"


@pytest.mark.parametrize(
    ("held", "readings", "over"),
    [(0, 0, False), (2, 10, False), (3, 100, False), (30, 100, True), (60, 1500, True), (33, 1500, True), (20, 1500, False)],
)
def test_a_recording_is_stopped_only_when_it_is_surely_too_dear(held: int, readings: int, over: bool) -> None:
    """A few unlucky readings do not stop a recording; a cost that is surely over the budget does."""
    assert over_budget(held, readings, 0.02) is over


@pytest.mark.parametrize(
    ("busy", "cpus", "factor"), [(0.0, 2, 0.0), (0.5, 2, 0.0), (0.75, 2, 0.5), (1.0, 2, 1.0), (0.98, 64, 0.0), (0.5, 1, 0.5)]
)
def test_a_collector_costs_where_no_cpu_is_free(busy: float, cpus: int, factor: float) -> None:
    """While a CPU is free on average nothing is taken from the target; on a machine that is all busy everything is."""
    assert contention(busy, cpus) == pytest.approx(factor)
