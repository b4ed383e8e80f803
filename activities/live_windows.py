"""The loop of every watch over something live: window after window, until a guard is breached or the time is over."""

import asyncio
import math
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from temporalio import activity

from perfwright.models.trial import GuardJudgement
from perfwright.models.trial_run import TrialEvidence

Reading = TypeVar("Reading")
Costs = Mapping[str, tuple[float, float]]

WATCH_EVERY_S = 30.0
WATCH_WINDOWS = 24
"""A watch that is shorter than so many windows is paced to hold as many: twice the fewest that show a breach."""


class LiveWindows:
    """Of one attempt: a killed worker's next attempt begins with new windows, within the same time, which counts from when it was asked
    for. `seconds`: of the whole watch."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.began = activity.info().scheduled_time.timestamp()
        self.every_s = min(WATCH_EVERY_S, seconds / WATCH_WINDOWS)
        self.taken: list[Costs] = []

    @property
    def most(self) -> int:
        """Windows of the whole watch."""
        return math.ceil(self.seconds / self.every_s)

    @property
    def past_s(self) -> float:
        return time.time() - self.began

    def progress(self) -> dict[str, Any]:
        return {"phase": "watch", "windows": len(self.taken), "of_s": self.seconds}

    async def run(
        self,
        read: Callable[[], Awaitable[Reading]],
        compare: Callable[[Reading, Reading], Costs],
        judge: Callable[[], Sequence[GuardJudgement]],
    ) -> None:
        last = await read()
        while self.past_s < self.seconds:
            await asyncio.sleep(self.every_s)
            now = await read()
            self.taken.append(compare(last, now))
            last = now
            if any(one.verdict == "breached" for one in judge()):
                return

    def evidence(self, guards: tuple[GuardJudgement, ...], warnings: tuple[str, ...] = ()) -> TrialEvidence:
        told = sorted({metric for one in self.taken for metric in one})
        return TrialEvidence(
            phase="watch",
            rounds=len(self.taken),
            seconds=round(self.past_s, 3),
            round_s=self.every_s,
            guards=guards,
            medians={metric: self._medians(metric) for metric in told},
            warnings=warnings,
        )

    def _medians(self, metric: str) -> tuple[float, float]:
        pairs = [one[metric] for one in self.taken if metric in one]
        return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)
