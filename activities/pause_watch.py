"""How much of the time a tracer holds the target: measured, not believed.

A profiler that attaches with ptrace stops every thread of its target for every sample; the kernel then shows the thread in state `t`.
Reading that state some fifty times a second, at random moments, gives the share of time the target was held (a Bernoulli sample: with
1,500 readings a share of 2 % is known to 0.4 %). Of a tree of processes each reading takes one, as likely as it has threads.
"""

import asyncio
import math
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil

MEAN_INTERVAL_S = 0.02
PROBING_INTERVAL_S = 0.003
"""For the two seconds of a probe, whose few readings decide the rate of the whole recording."""
FEWEST_HELD = 3
TRACED = "t"


class PauseWatch:
    """Counts readings of `/proc/<pid>/stat`, and how many found the process held by a tracer."""

    def __init__(self, processes: Sequence[psutil.Process], mean_interval_s: float = MEAN_INTERVAL_S) -> None:
        self._mean_interval_s = mean_interval_s
        self._threads = {process.pid: thread_count(process) for process in processes}
        self._chance = random.Random(processes[0].pid)  # noqa: S311 spreads readings, protects nothing
        self._wanted = math.inf
        self._reached = asyncio.Event()
        self.readings = 0
        self.held = 0

    @property
    def share(self) -> float | None:
        """Share of readings that found it held; None before the first reading."""
        return self.held / self.readings if self.readings else None

    @asynccontextmanager
    async def watching(self) -> AsyncIterator["PauseWatch"]:
        """Read while the block runs."""
        task = asyncio.create_task(self._read())
        try:
            yield self
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def held_for(self, seconds: float) -> None:
        """Wait until the readings say that it was held for so long in all; at least three of them, because one may be chance."""
        self._wanted = max(FEWEST_HELD, seconds / self._mean_interval_s)
        await self._reached.wait()

    async def _read(self) -> None:
        while self._threads:
            await asyncio.sleep(self._chance.uniform(0.5, 1.5) * self._mean_interval_s)
            [pid] = self._chance.choices(list(self._threads), list(self._threads.values()))
            state = state_of(pid)
            if state in ("", "Z", "X"):
                del self._threads[pid]
            else:
                self.readings += 1
                self.held += state == TRACED
                if self.held >= self._wanted:
                    self._reached.set()


def state_of(pid: int) -> str:
    """The letter of proc_pid_stat(5); empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def thread_count(process: psutil.Process) -> int:
    """At least 1, also of a process that is gone."""
    try:
        return max(1, process.num_threads())
    except psutil.Error:
        return 1
