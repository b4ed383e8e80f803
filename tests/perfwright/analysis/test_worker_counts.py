"""Another count of workers: proposed only where cores are left to a program that cannot use them, and never by a guess about its options."""

from typing import Any

import pytest

from perfwright.analysis.worker_counts import propose_workers
from perfwright.models.change import LaunchSpec
from perfwright.models.cpu_profiling import Pattern, ProcessUse, Utilisation
from perfwright.models.worker_counts import WorkerCount
from perfwright.models.worker_proposals import WorkersProposed

SERVED = ("serve", "--port", "1", "--workers", "2")


def use(**seen: Any) -> ProcessUse:
    """One saturated thread on a machine of four cores, half of which are busy."""
    saturated = ProcessUse(
        series=None,
        seconds=10.0,
        samples=20,
        cpu_count=4,
        user_share=0.9,
        system_share=0.1,
        iowait_share=0.0,
        machine_busy_share=0.5,
        voluntary_switches_hz=1.0,
        involuntary_switches_hz=1.0,
        rss_bytes=100_000_000,
        thread_count=1,
        threads=(),
    )
    return saturated.model_copy(update=seen)


def proposed(
    count: WorkerCount,
    launched: tuple[str, ...] | None = SERVED,
    measured: tuple[str, ...] = SERVED,
    pattern: Any = "one thread saturated",
    **seen: Any,
) -> WorkersProposed:
    found = Utilisation(patterns=(Pattern(name=pattern, statement="One thread does it all.", confidence="high"),))
    return propose_workers(count, launched, measured, use(**seen), found)


def test_cores_that_are_left_are_filled() -> None:
    """Two cores of four are not busy: two workers more, for at most half of the time."""
    found = proposed(WorkerCount(flag="--workers", now=2, most=8))
    assert found.launch == LaunchSpec(without=("--workers", "2"), append=("--workers", "4"))
    assert found.candidate is not None and found.candidate.gain_share == pytest.approx(0.5)
    assert "200 MB" in found.candidate.reasoning
    assert found.memory_times == pytest.approx(20.48), "2,048 MB are allowed, 100 MB were seen"


@pytest.mark.parametrize(
    ("count", "command", "spec"),
    [
        (WorkerCount(variable="JOBS", most=2), ("run",), LaunchSpec(environment={"JOBS": "2"})),
        (WorkerCount(flag="--workers", most=8), ("run",), LaunchSpec(append=("--workers", "3"))),
        (WorkerCount(flag="-w", now=2, most=3), ("run", "-w=2", "2"), LaunchSpec(without=("-w=2",), append=("-w=3",))),
    ],
)
def test_it_is_said_where_it_is_read(count: WorkerCount, command: tuple[str, ...], spec: LaunchSpec) -> None:
    """By a variable, by a flag that is not there yet, by a flag with `=`."""
    assert proposed(count, command, command).launch == spec


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"pattern": "balanced", "user_share": 1.2}, "would wait likewise"),
        ({"machine_busy_share": 0.9}, "0.4 of 4 cores were not busy"),
        ({"rss_bytes": 2_000_000_000}, "would take 4,000 MB"),
        ({"launched": None}, "names no command"),
        ({"launched": ("serve", "--workers", "3"), "measured": ("serve", "--workers", "3")}, "does not stand once"),
        ({"launched": ("serve", "--retries", "2", "--workers", "2")}, "does not stand once"),
        ({"measured": ("bench",)}, "alike"),
    ],
)
def test_it_is_left_alone(changed: dict[str, Any], why: str) -> None:
    """Where nothing is to be won, memory would not do, or the number cannot be told from others."""
    found = proposed(WorkerCount(flag="--workers", now=2, most=8), **changed)
    assert found.candidate is None and why in found.why


def test_workers_that_are_all_busy_ask_for_more() -> None:
    """No thread is alone in what it does, and all together take what they can."""
    assert proposed(WorkerCount(flag="--workers", now=2, most=8), pattern="balanced", user_share=1.8).candidate is not None


def test_an_earlier_profile_does_not_say_how_cores_were_used() -> None:
    assert "in this run" in propose_workers(WorkerCount(variable="JOBS", most=4), SERVED, SERVED, None, None).why


@pytest.mark.parametrize("given", [{"most": 4}, {"flag": "--w", "variable": "W", "most": 4}, {"flag": "--w", "now": 4, "most": 4}])
def test_counts_that_say_nothing_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"allowed|more than"):
        WorkerCount.model_validate(given)
