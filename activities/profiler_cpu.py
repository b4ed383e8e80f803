"""The CPU time that a profiler takes: of its own processes beside the target, or of its threads inside the target.

Read from /proc/PID/task/TID/schedstat (nanoseconds on a CPU; Documentation/scheduler/sched-stats in the kernel's source), where the kernel
keeps it, else from the clock ticks of /proc/PID/task/TID/stat. Threads that end take their count with them: what was seen of them stays.
"""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from activities.processes_below import pids_below

CPU_COUNT = psutil.cpu_count() or 1
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class ProfilerCpu:
    """Seconds on a CPU since it was made; `used_s` is None where the profiler could not be found."""

    def __init__(self, tasks: Callable[[], Iterable[Path]], *, since_start: bool = False) -> None:
        self._tasks = tasks
        self._seen: dict[Path, float] = {}
        self._before = {} if since_start else {task: used for task in tasks() if (used := _on_cpu_s(task)) is not None}

    @classmethod
    def of_process(cls, pid: int, *, since_start: bool = False) -> "ProfilerCpu":
        """A tool of ours and all that it started; `since_start`: from its own beginning on."""
        return cls(lambda: _tasks_of_tree(pid), since_start=since_start)

    @classmethod
    def of_threads(cls, pid: int, names: tuple[str, ...]) -> "ProfilerCpu":
        """Threads of process `pid` whose name begins with one of `names`."""
        return cls(lambda: [task for task in _tasks_of(pid) if _name(task).startswith(names)])

    def used_s(self) -> float | None:
        for task in self._tasks():
            if (used := _on_cpu_s(task)) is not None:
                self._seen[task] = used - self._before.get(task, 0.0)
        return sum(self._seen.values()) if self._seen else None


def _tasks_of_tree(pid: int) -> list[Path]:
    return [task for one in (pid, *pids_below(pid)) for task in _tasks_of(one)]


def _tasks_of(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []


def _name(task: Path) -> str:
    with suppress(OSError):
        return (task / "comm").read_text(errors="replace").rstrip("\n")
    return ""


def _on_cpu_s(task: Path) -> float | None:
    with suppress(OSError, ValueError, IndexError):
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    with suppress(OSError, ValueError, IndexError):
        fields = (task / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    return None


class MachineBusy:
    """Share of the machine's CPU time used since it was made, 0 to 1: what a tool takes costs its target only where none is left."""

    def __init__(self) -> None:
        self._idle_s, self._all_s = _machine_s()

    def share(self) -> float:
        idle_s, all_s = _machine_s()
        passed_s = all_s - self._all_s
        return min(1.0, max(0.0, 1.0 - (idle_s - self._idle_s) / passed_s)) if passed_s > 0 else 1.0


def _machine_s() -> tuple[float, float]:
    times = psutil.cpu_times()
    idle_s = float(times.idle) + float(getattr(times, "iowait", 0.0))
    return idle_s, float(sum(times)) - float(getattr(times, "guest", 0.0)) - float(getattr(times, "guest_nice", 0.0))
