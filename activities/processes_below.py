"""The processes below another, by the kernel's own lists of children: /proc/PID/task/TID/children (proc_pid_task_tid_children(5)).

One file per thread of the processes concerned, instead of a file of every process of the machine, asked several times a second.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

MOST_PROCESSES = 4_096
MOST_THREADS = 256
"""More files of one process than that take as long as one of every process of the machine (4 ms)."""


def pids_below(pid: int) -> list[int]:
    """Children, their children, and so on, those that are nearer first; empty when the process is gone."""
    if not _kept_by_kernel() or _thread_count(pid) > MOST_THREADS:
        with suppress(psutil.Error):
            return [child.pid for child in psutil.Process(pid).children(recursive=True)]
        return []
    found, seen = [pid], {pid}
    for one in found:
        new = [child for child in _children(one) if child not in seen]
        seen.update(new)
        found += new
        if len(found) > MOST_PROCESSES:
            break
    return found[1:]


def processes_below(pid: int) -> list[psutil.Process]:
    """Those of them that still are there."""
    return living(pids_below(pid))


def living(pids: Iterable[int]) -> list[psutil.Process]:
    """In their order; those that have ended are left out."""
    processes = []
    for one in pids:
        with suppress(psutil.NoSuchProcess):
            processes.append(psutil.Process(one))
    return processes


def itself_and_below(pid: int) -> list[psutil.Process]:
    """The process before those below it; empty when it is gone."""
    with suppress(psutil.NoSuchProcess):
        return [psutil.Process(pid), *processes_below(pid)]
    return []


def program_named(name: str, processes: Iterable[psutil.Process]) -> str:
    """Executable of the first of them that has this file name; empty where none has, or none may be looked at."""
    for process in processes:
        with suppress(psutil.Error):
            if Path(program := process.exe()).name == name:
                return program
    return ""


@cache
def _kept_by_kernel() -> bool:
    """Whether it was built with CONFIG_PROC_CHILDREN."""
    return Path(f"/proc/self/task/{os.getpid()}/children").exists()


def _thread_count(pid: int) -> int:
    with suppress(OSError):
        return Path(f"/proc/{pid}/task").stat().st_nlink - 2
    return 0


def _children(pid: int) -> list[int]:
    told = b""
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  names only
            with suppress(OSError), open(f"/proc/{pid}/task/{task}/children", "rb", buffering=0) as file:  # noqa: PTH123  of every thread
                told += file.readall()
    return [int(word) for word in told.split()]
