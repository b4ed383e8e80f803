"""What processes hold of the machine's memory: PSS, in which a page that several share counts once (proc_pid_smaps(5)).

Of a program that has ended the kernel tells the most that it held (getrusage(2), `ru_maxrss`); of one with children only what the largest
of them held. So these are looked at while they run: rarely, from outside, and never for a large part of the time.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import psutil

from activities.processes_below import living, pids_below

EVERY_S = 0.05
COST_SHARE = 0.02
"""Of the time, at most, that looking may take of a core: what is large is looked at less often."""
SETTLED_S = 0.02
"""A process that was first seen a shorter time ago is not counted yet: between vfork(2) and execve(2) a child has the very memory of its
parent, which would count twice."""


def pss_bytes(processes: Iterable[psutil.Process]) -> float:
    """Of all of them together; one that has ended holds nothing. 0 where one may not be looked at: then nothing is known."""
    return _seen_pss_bytes(processes) or 0.0


def _seen_pss_bytes(processes: Iterable[psutil.Process]) -> float | None:
    """None where one may not be looked at."""
    total = 0.0
    try:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
    except psutil.AccessDenied:
        return None
    return total


@dataclass
class Looks:
    """What looking took, told with what was measured."""

    processes: int = 1
    """At most, of one program with all that it started."""
    count: int = 0
    cost_s: float = 0.0
    """CPU seconds, none of them the program's."""

    def add(self, other: "Looks") -> None:
        self.processes = max(self.processes, other.processes)
        self.count += other.count
        self.cost_s += other.cost_s


class TreeMemory:
    """The most that a program and all that it started were seen to hold together. `pid`: of a tool's program, just started."""

    def __init__(self, pid: int) -> None:
        self.looks = Looks()
        self._supervisor = 0
        with suppress(psutil.NoSuchProcess):
            self._supervisor = psutil.Process(pid).ppid()  # what loses its parent comes to it
        self._first_seen: dict[int, float] = {}
        self._held_bytes, self._allowed = 0.0, True

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Looked at now and then until the block ends."""
        watch = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watch.cancel()
            # Not awaited itself: a cancel of ours that arrives here would be taken for the task's.
            await asyncio.wait([watch])
            if not watch.cancelled() and (mistake := watch.exception()):
                raise mistake

    async def look(self) -> None:
        """Once. A program by itself is not measured: its peak is kept anyway."""
        await asyncio.to_thread(self._look)

    def peak_bytes(self, largest_bytes: float) -> float | None:
        """`largest_bytes`: the most that one process held, as the kernel kept it, shared pages included. None where one of them may not be
        looked at: a part of the memory is no measure of it."""
        return max(largest_bytes, self._held_bytes) if self._allowed else None

    async def _watch(self) -> None:
        while True:
            before_s = self.looks.cost_s
            await self.look()
            await asyncio.sleep(max(EVERY_S, (self.looks.cost_s - before_s) / COST_SHARE))

    def _look(self) -> None:
        began_s, now = time.thread_time(), time.monotonic()
        self._first_seen = {pid: self._first_seen.get(pid, now) for pid in pids_below(self._supervisor)}
        settled = [pid for pid, seen in self._first_seen.items() if now - seen >= SETTLED_S]
        if len(settled) > 1:
            self._measure(settled)
        self.looks.add(Looks(len(settled), 1, time.thread_time() - began_s))

    def _measure(self, pids: Sequence[int]) -> None:
        held = _seen_pss_bytes(living(pids))
        if held is None:
            self._allowed = False
        else:
            self._held_bytes = max(self._held_bytes, held)
