"""Reads the counters of a process tree: CPU, switches, memory, I/O, per thread. Plain /proc reading through psutil; stops nothing."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

SWEEP_BUDGET_SHARE = 0.005
"""Share of one core that reading may take: with hundreds of threads the sweeps get rarer instead of dearer."""
TREE_EVERY_S = 2.0
"""How often new child processes are looked for."""
THREAD_SWITCHES_LIMIT = 1_024
"""Threads whose switches are read at the beginning and the end; one file each."""


@dataclass
class Counters:
    """Cumulative counters of one process, in seconds, counts and bytes."""

    user_s: float = 0.0
    system_s: float = 0.0
    voluntary: int = 0
    involuntary: int = 0
    read_bytes: int = 0
    write_bytes: int = 0
    rss_bytes: int = 0
    threads: dict[int, tuple[float, float]] = field(default_factory=dict)
    """tid -> (user_s, system_s)."""


@dataclass
class Sweep:
    """One reading of the whole tree; `processes` is keyed by pid."""

    at_s: float
    processes: dict[int, Counters]
    machine_busy_s: float
    machine_iowait_s: float
    machine_total_s: float
    cost_s: float
    """CPU time that this reading took."""


class UsageReader:
    """Reads a process and, if wanted, the processes it started."""

    def __init__(self, process: psutil.Process, subprocesses: bool) -> None:
        self.root = process
        self.subprocesses = subprocesses
        self._tree: list[psutil.Process] = [process]
        self._tree_read_at = -TREE_EVERY_S

    def sweep(self) -> Sweep | None:
        """Read everything once; None when the target is gone."""
        began, now = time.thread_time(), time.monotonic()
        if self.subprocesses and now - self._tree_read_at >= TREE_EVERY_S:
            self._read_tree()
            self._tree_read_at = now
        found: dict[int, Counters] = {}
        for process in self._tree:
            counters = _counters(process)
            if counters is None and process is self.root:
                return None
            if counters is not None:
                found[process.pid] = counters
        machine = psutil.cpu_times()
        total = sum(machine)
        idle = machine.idle + machine.iowait
        return Sweep(now, found, total - idle, machine.iowait, total, time.thread_time() - began)

    def names(self) -> dict[tuple[int, int], str]:
        """(pid, tid) -> thread name as the kernel knows it."""
        return {
            (process.pid, tid): _comm(process.pid, tid)
            for process in self._tree
            for tid in list(_thread_ids(process))[:THREAD_SWITCHES_LIMIT]
        }

    def switches(self) -> dict[tuple[int, int], tuple[int, int]]:
        """(pid, tid) -> (voluntary, involuntary) switches so far."""
        return {
            (process.pid, tid): _thread_switches(process.pid, tid)
            for process in self._tree
            for tid in list(_thread_ids(process))[:THREAD_SWITCHES_LIMIT]
        }

    def _read_tree(self) -> None:
        known = {p.pid: p for p in self._tree}
        try:
            self._tree = [self.root] + [known.get(p.pid, p) for p in self.root.children(recursive=True)]
        except psutil.NoSuchProcess:
            self._tree = [self.root]


def _counters(process: psutil.Process) -> Counters | None:
    try:
        with process.oneshot():
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            times, switches, memory = process.cpu_times(), process.num_ctx_switches(), process.memory_info()
            threads = {t.id: (t.user_time, t.system_time) for t in process.threads()}
            read_bytes, write_bytes = _io(process)
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        return Counters()
    return Counters(
        user_s=times.user,
        system_s=times.system,
        voluntary=switches.voluntary,
        involuntary=switches.involuntary,
        read_bytes=read_bytes,
        write_bytes=write_bytes,
        rss_bytes=memory.rss,
        threads=threads,
    )


def _io(process: psutil.Process) -> tuple[int, int]:
    try:
        io = process.io_counters()
    except psutil.AccessDenied:
        return 0, 0
    return io.read_bytes, io.write_bytes


def _thread_ids(process: psutil.Process) -> list[int]:
    try:
        return [t.id for t in process.threads()]
    except psutil.Error:
        return []


def _comm(pid: int, tid: int) -> str:
    try:
        with Path(f"/proc/{pid}/task/{tid}/comm").open(encoding="utf-8", errors="replace") as file:
            return file.read(64).strip()
    except OSError:
        return ""


def _thread_switches(pid: int, tid: int) -> tuple[int, int]:
    try:
        with Path(f"/proc/{pid}/task/{tid}/status").open(encoding="utf-8", errors="replace") as file:
            lines = dict(line.split(":", 1) for line in file if "ctxt_switches" in line)
    except OSError:
        return 0, 0
    return int(lines.get("voluntary_ctxt_switches", 0)), int(lines.get("nonvoluntary_ctxt_switches", 0))
