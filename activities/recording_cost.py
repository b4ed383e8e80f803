"""What the slice under way costs the target, and when that is too much.

A tool that stops its target for every sample costs the time that it holds it (pause_watch.py). One that leaves it running costs the CPU
time that it takes, as far as the machine has none left.
"""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import psutil

from activities.pause_watch import PauseWatch
from activities.profiler_cpu import CPU_COUNT, MachineBusy
from activities.taken_slices import SliceTake, TakenSlice
from perfwright.analysis.sampling_rate import HOLD_COSTS, lost_to, over_budget, rate_within_budget

FEWEST_SECONDS = 5.0
"""Attaching costs CPU once: before this much was recorded it would count too much."""
FEWEST_READINGS = 50
"""About a second of watching: before that a single reading decides."""
SHORTEST_S = 0.1
"""What is kept of a slice is at least as long."""
STOP_FACTOR = 2.0
"""A recording that is surely over this many times its budget is stopped. Before that it goes on at a lower rate (`rate_within_budget`)."""


class OverBudget(Exception):
    """The target pays more than the budget: raised by the tick. The tool stops, and sets `take` to what it could keep."""

    def __init__(self, told: str, seconds: float, cpu_s: float | None) -> None:
        """`seconds`: of the slice, recorded when it is raised; `cpu_s`: what the tool has used in them."""
        super().__init__(told)
        self.seconds, self.cpu_s = max(SHORTEST_S, seconds), cpu_s
        self.take: SliceTake | None = None


class SliceCost:
    """Watches one slice; `taken` are those before it."""

    def __init__(
        self, processes: Sequence[psutil.Process], taken: Sequence[TakenSlice], budget_share: float, *, holds_target: bool
    ) -> None:
        self.watch = PauseWatch(processes)
        self._taken = tuple(taken)
        self._budget_share = budget_share
        self._holds_target = holds_target
        self._busy = MachineBusy()
        self._began_s = time.monotonic()

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Read whether the target is held while the block runs, where the tool holds it."""
        if not self._holds_target:
            yield
            return
        async with self.watch.watching():
            yield

    @property
    def held_share(self) -> float | None:
        """Of the recording so far; None where nothing was read."""
        held, readings = self._held()
        return held / readings if readings else None

    def check(self, before_s: float, elapsed_s: float, cpu_s: float | None) -> None:
        """Raises OverBudget. Seconds recorded before this slice and in it; `cpu_s`: what the tool has used in it (None: unknown)."""
        told = ""
        if self._holds_target:
            told = self._held_too_long()
        elif cpu_s is not None and before_s + elapsed_s >= FEWEST_SECONDS:
            told = self._takes_too_much(before_s + elapsed_s, cpu_s)
        if told:
            text = f"stopped after {before_s + elapsed_s:.0f} s: {told} (budget {self._budget_share:.1%})"
            raise OverBudget(text, elapsed_s, cpu_s)

    def _held_too_long(self) -> str:
        held, readings = self._held()
        if self.watch.readings < FEWEST_READINGS or not over_budget(held, readings, STOP_FACTOR * self._budget_share):
            return ""
        return f"the target was held {held / readings:.1%} of the time"

    def _takes_too_much(self, recorded_s: float, cpu_s: float) -> str:
        share = (self.lost_s(cpu_s) + sum(one.lost_s for one in self._taken)) / recorded_s
        return f"the profiler took {share:.1%} of the CPU that the target had" if share > STOP_FACTOR * self._budget_share else ""

    def lost_s(self, cpu_s: float | None) -> float:
        """Seconds that the target lost in this slice so far, in which the tool used `cpu_s`."""
        if self._holds_target:
            return HOLD_COSTS * (self.watch.share or 0.0) * (time.monotonic() - self._began_s)
        return lost_to(cpu_s or 0.0, self._busy.share(), CPU_COUNT)

    def _held(self) -> tuple[int, int]:
        held, readings = held_of(self._taken)
        return held + self.watch.held, readings + self.watch.readings


def next_rate(planned_hz: float, taken: Sequence[TakenSlice], duration_s: float, budget_share: float) -> int:
    """The rate of the slice after those `taken`."""
    ticks, recorded_s = sum(one.rate_hz * one.seconds for one in taken), sum(one.seconds for one in taken)
    return rate_within_budget(planned_hz, sum(one.lost_s for one in taken), ticks, recorded_s, duration_s, budget_share)


def held_of(taken: Sequence[TakenSlice]) -> tuple[int, int]:
    """Readings that found the target held, and readings."""
    return sum(one.held for one in taken), sum(one.readings for one in taken)
