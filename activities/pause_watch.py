"""How much of the time a tracer holds the target: measured, not believed.

A profiler that attaches with ptrace stops every thread of its target for every sample; the kernel then shows the main thread in state `t`.
Reading that state some fifty times a second, at random moments, gives the share of time the target was held (a Bernoulli sample: with
1,500 readings a share of 2 % is known to 0.4 %).
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

MEAN_INTERVAL_S = 0.02
TRACED = "t"


class PauseWatch:
    """Counts readings of `/proc/<pid>/stat`, and how many found the process held by a tracer."""

    def __init__(self, pid: int) -> None:
        self._stat = Path(f"/proc/{pid}/stat")
        self._chance = random.Random(pid)  # noqa: S311 spreads readings, protects nothing
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

    async def _read(self) -> None:
        while True:
            await asyncio.sleep(self._chance.uniform(0.5, 1.5) * MEAN_INTERVAL_S)
            try:
                state = self._stat.read_text().rpartition(")")[2].split()[0]
            except (OSError, IndexError):
                return
            self.readings += 1
            self.held += state == TRACED
