"""CPU time of children that end between two sweeps is counted, once."""

import time

import psutil
import pytest

from activities.usage_sampler import Counters, Sweep, UsageReader, use_step
from tests.activities.recordings import python

SHELLS_OUT = """
import os, time
print('ready')
while True:
    if not (child := os.fork()):
        until = time.thread_time() + 0.02
        while time.thread_time() < until: pass
        os._exit(0)
    os.waitpid(child, 0)
"""
"""All its work is done by children that live for a moment."""


def sweep(at_s: float, born: frozenset[int] = frozenset(), **processes: Counters) -> Sweep:
    found = {int(name.removeprefix("p")): counters for name, counters in processes.items()}
    return Sweep(at_s=at_s, processes=found, machine_busy_s=at_s, machine_iowait_s=0.0, machine_total_s=2 * at_s, born=born)


def used(own_s: float, waited_s: float = 0.0, parent: int = 0, *, ended: bool = False) -> Counters:
    return Counters(user_s=own_s, threads={1: (own_s, 0.0)}, waited_for=(waited_s, 0.0), parent=parent, ended=ended)


@pytest.mark.parametrize(
    ("before", "now", "born", "ended_s"),
    [
        pytest.param({"p1": used(5)}, {"p1": used(6, 2)}, (), 2.0, id="a child that nobody saw"),
        pytest.param({"p1": used(5, 7)}, {"p1": used(6, 7)}, (), 0.0, id="what was waited for before"),
        pytest.param({"p1": used(5), "p2": used(3, 0, 1)}, {"p1": used(6, 3.5)}, (), 0.5, id="the rest of one that was seen"),
        pytest.param({"p1": used(5), "p2": used(3, 0, 1)}, {"p1": used(6), "p2": used(3.5, 0, 1, ended=True)}, (), 0.0, id="a zombie"),
        pytest.param({"p1": used(5), "p2": used(3, 1, 1), "p3": used(2, 0, 2)}, {"p1": used(6, 6.5)}, (), 0.5, id="a child and its child"),
        pytest.param({"p1": used(5), "p2": used(3, 1, 1)}, {"p1": used(6), "p2": used(3, 4, 1)}, (), 3.0, id="a child's child"),
        pytest.param({"p1": used(5), "p2": used(3, 0, 1)}, {"p1": used(6)}, (), 0.0, id="one that left the tree"),
        pytest.param({"p1": used(5)}, {"p1": used(6), "p2": used(1, 2, 1)}, (2,), 2.0, id="one that was born and waited for another"),
        pytest.param({"p1": used(5)}, {"p1": used(6), "p2": used(1, 2, 1)}, (), 0.0, id="one that was there before and not seen"),
    ],
)
def test_time_of_ended_children(before: dict[str, Counters], now: dict[str, Counters], born: tuple[int, ...], ended_s: float) -> None:
    """A parent's count of the children that it waited for, less what was counted of them while they were seen to run."""
    step = use_step(sweep(10.0, **before), sweep(11.0, frozenset(born), **now), 0.0)
    assert step.ended_children_s == pytest.approx(ended_s)
    assert step.user_s == pytest.approx(sum(step.processes.values()) + ended_s)


@pytest.mark.parametrize("subprocesses", [True, False])
def test_a_program_that_works_through_its_children(subprocesses: bool) -> None:
    """What the kernel has counted for the parent's children is what is told, where the processes below are wanted."""
    with python(SHELLS_OUT) as target:
        reader = UsageReader(psutil.Process(target.pid), subprocesses)
        before, earlier = reader.sweep(), psutil.Process(target.pid).cpu_times()
        time.sleep(0.1)
        while (counted_s := psutil.Process(target.pid).cpu_times().children_user - earlier.children_user) < 0.2:
            time.sleep(0.05)
        now = reader.sweep(last=True)
    assert before is not None and now is not None
    step = use_step(before, now, 0.0)
    if subprocesses:
        assert step.user_s >= 0.95 * counted_s and step.ended_children_s > 0
    else:
        assert step.ended_children_s == 0 and step.user_s < 0.5 * counted_s
