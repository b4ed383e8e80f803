"""Threads as the kernel sees them: which of them run.

Whether a thread runs is asked of the kernel (state `R` in /proc/PID/task/TID/stat; a thread that waits for the GIL sleeps). That takes
3 microseconds a thread, too much for hundreds of them a hundred times a second. So those that have run within the last second, or
waited for a CPU at its end, are asked each time, and of the others a few, drawn by lot: one of those that is found running counts for as
many as it was drawn from (process.py).
"""

import os
from contextlib import suppress
from pathlib import Path

MOST_OPEN = 800
"""Files of threads that are kept open; the others are opened each time."""


class OsThread:
    """A thread of the kernel's. `tid` as this host sees it."""

    _open = 0

    def __init__(self, pid: int, tid: int) -> None:
        self.pid, self.tid = pid, tid
        self._folder = f"/proc/{pid}/task/{tid}"
        self._file = -1
        self._switched_in: bytes = b""
        self.has_run()

    def runs(self) -> bool:
        """On a CPU, or ready for one. False as well when it has ended."""
        try:
            line = os.pread(self._file, 64, 0) if self._file >= 0 else self._first_line()
        except OSError:
            return False
        return line[line.rfind(b")") + 2 :][:1] == b"R"

    def _first_line(self) -> bytes:
        file = os.open(f"{self._folder}/stat", os.O_RDONLY | os.O_CLOEXEC)
        if OsThread._open < MOST_OPEN:
            self._file = file
            OsThread._open += 1
            return os.pread(file, 64, 0)
        try:
            return os.pread(file, 64, 0)
        finally:
            os.close(file)

    def has_run(self) -> bool:
        """Whether it was put on a CPU since this was last asked; True where the kernel does not count that."""
        try:
            file = os.open(f"{self._folder}/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return True
        try:
            counted = os.read(file, 128)
        except OSError:
            return True
        finally:
            os.close(file)
        before, self._switched_in = self._switched_in, counted
        return counted != before

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            OsThread._open -= 1


def host_ids(pid: int) -> dict[int, int]:
    """The id of each thread in its own namespace -> its id on this host."""
    tasks = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    with suppress(OSError):
        if Path(f"/proc/{pid}/ns/pid").readlink() == Path("/proc/self/ns/pid").readlink():
            return {task: task for task in tasks}
    found = {}
    for task in tasks:
        with suppress(OSError, ValueError, IndexError):
            [told] = [line for line in Path(f"/proc/{pid}/task/{task}/status").read_bytes().splitlines() if line.startswith(b"NSpid:")]
            found[int(told.split()[-1])] = task
    return found
