"""Reads the counters of a process tree: CPU, switches, memory, I/O, per thread. Plain /proc reading through psutil; stops nothing.

A child that began and ended between two sweeps was never seen. Its CPU time is not lost: the kernel adds it, with that of the child's own
children, to the parent that waits for it (`cutime` and `cstime` of /proc/PID/stat, proc_pid_stat(5)).
"""

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from activities.processes_below import pids_below
from perfwright.analysis.process_use import UseStep

BUDGET_SHARE, RARE_BUDGET_SHARE = 0.005, 0.002
"""Shares of one core that reading may take, of the counters and of what is read rarely: with many threads it gets rarer, not dearer."""
TREE_EVERY_S = 2.0
"""How often new child processes are looked for, at most."""
SWITCHES_EVERY_S = 5.0
"""How often names and switches of threads are read, at most: two files each."""
THREADS_LIMIT = 1_024
"""Threads of one process whose names and switches are read."""

TICKS_PER_S = os.sysconf("SC_CLK_TCK")

Key = tuple[int, int]
"""(pid, tid)."""


@dataclass
class Counters:
    """Cumulative counters of one process, in seconds, counts and bytes."""

    user_s: float = 0.0
    system_s: float = 0.0
    read_bytes: int = 0
    write_bytes: int = 0
    rss_bytes: int = 0
    threads: dict[int, tuple[float, float]] = field(default_factory=dict)
    """tid -> (user_s, system_s)."""
    waited_for: tuple[float, float] = (0.0, 0.0)
    """(user_s, system_s) of children that ended and were waited for, and of theirs."""
    parent: int = 0
    ended: bool = False
    """A zombie: its counters stand until its parent waits for it."""


@dataclass
class Sweep:
    """One reading of the whole tree; `processes` is keyed by pid."""

    at_s: float
    processes: dict[int, Counters]
    machine_busy_s: float
    machine_iowait_s: float
    machine_total_s: float
    voluntary: int = 0
    """Switches of all threads since each was first seen; unchanged until they are read again."""
    involuntary: int = 0
    born: frozenset[int] = frozenset()
    """Processes that began after the sampler did."""
    cost_s: float = 0.0
    """CPU time that this reading took."""
    rest_s: float = 0.0
    """How long to wait before the next one, to stay within the budget."""


class UsageReader:
    """Reads a process and, if wanted, the processes it started."""

    def __init__(self, process: psutil.Process, subprocesses: bool) -> None:
        self.root = process
        self.subprocesses = subprocesses
        self.names: dict[Key, str] = {}
        """Of threads, as the kernel knows them."""
        self.programs: dict[int, str] = {process.pid: _comm(process.pid, process.pid)}
        """Of processes, likewise."""
        self._before: dict[Key, tuple[int, int]] = {}
        self._now: dict[Key, tuple[int, int]] = {}
        self._began_at = time.time()
        self._tree: list[psutil.Process] = [process]
        self._tree_due = self._switches_due = -1.0

    def sweep(self, *, last: bool = False) -> Sweep | None:
        """Read everything once, and what is read rarely when it is due or this is the last time; None when the target is gone."""
        began, now = time.thread_time(), time.monotonic()
        if self.subprocesses and (last or now >= self._tree_due):
            self._read_tree()
            self._tree_due = now + max(TREE_EVERY_S, (time.thread_time() - began) / RARE_BUDGET_SHARE)
        tree_read = time.thread_time()
        found = {process.pid: counters for process in self._tree if (counters := _counters(process)) is not None}
        if self.root.pid not in found or found[self.root.pid].ended:
            return None
        if not self.subprocesses:
            found[self.root.pid].waited_for = (0.0, 0.0)
        machine = psutil.cpu_times()
        total = sum(machine[:8])  # what guests use is part of user time
        swept = time.thread_time()
        if last or now >= self._switches_due:
            self._read_switches(found)
            self._switches_due = now + max(SWITCHES_EVERY_S, (time.thread_time() - swept) / RARE_BUDGET_SHARE)
        switches = [self.switches_of(key) for key in self._now]
        return Sweep(
            at_s=now,
            processes=found,
            machine_busy_s=total - machine.idle - machine.iowait,
            machine_iowait_s=machine.iowait,
            machine_total_s=total,
            voluntary=sum(one for one, _ in switches),
            involuntary=sum(one for _, one in switches),
            born=frozenset(process.pid for process in self._tree if process.create_time() > self._began_at),
            cost_s=time.thread_time() - began,
            rest_s=(swept - tree_read) / BUDGET_SHARE,
        )

    def switches_of(self, key: Key) -> tuple[int, int]:
        """(voluntary, involuntary) of a thread since it was first seen. The process's own figures are those of its main thread only."""
        (voluntary, involuntary), (voluntary_before, involuntary_before) = self._now[key], self._before[key]
        return voluntary - voluntary_before, involuntary - involuntary_before

    def _read_tree(self) -> None:
        known = {p.pid: p for p in self._tree}
        self._tree = [self.root]
        for pid in pids_below(self.root.pid):
            with suppress(psutil.NoSuchProcess):
                # whoever got the pid of one that ended is another process
                same = known[pid] if pid in known and known[pid].is_running() else psutil.Process(pid)
                self._tree.append(same)
                self.programs[pid] = _comm(pid, pid) or self.programs.get(pid, "")

    def _read_switches(self, found: dict[int, Counters]) -> None:
        for pid, counters in found.items():
            for tid in list(counters.threads)[:THREADS_LIMIT]:
                switches = _thread_switches(pid, tid)
                if switches is not None:
                    self._before.setdefault((pid, tid), switches)
                    self._now[(pid, tid)] = switches
                    self.names[(pid, tid)] = _comm(pid, tid)


def use_step(before: Sweep, now: Sweep, recorded_s: float) -> UseStep:
    """The difference of two sweeps. Processes born meanwhile count from zero; what others used before they were first seen is left out."""
    seconds = max(now.at_s - before.at_s, 1e-6)
    step = Counters()
    threads: dict[str, tuple[float, float]] = {}
    processes: dict[str, float] = {}
    for pid, counters in now.processes.items():
        earlier = _earlier(pid, before, now)
        if earlier is None:
            continue
        user_s, system_s = max(0.0, counters.user_s - earlier.user_s), max(0.0, counters.system_s - earlier.system_s)
        step.user_s += user_s
        step.system_s += system_s
        if user_s + system_s > 0:
            processes[str(pid)] = user_s + system_s
        step.read_bytes += max(0, counters.read_bytes - earlier.read_bytes)
        step.write_bytes += max(0, counters.write_bytes - earlier.write_bytes)
        for tid, (user, system) in counters.threads.items():
            user_before, system_before = earlier.threads.get(tid, (0.0, 0.0))
            used = (max(0.0, user - user_before), max(0.0, system - system_before))
            if used != (0.0, 0.0):
                threads[f"{pid}/{tid}"] = used
    ended_user_s, ended_system_s = _of_ended_children(before, now)
    machine_s = max(now.machine_total_s - before.machine_total_s, 1e-6)
    return UseStep(
        at_s=recorded_s + seconds,
        seconds=seconds,
        user_s=step.user_s + ended_user_s,
        system_s=step.system_s + ended_system_s,
        voluntary=max(0, now.voluntary - before.voluntary),
        involuntary=max(0, now.involuntary - before.involuntary),
        read_bytes=step.read_bytes,
        write_bytes=step.write_bytes,
        rss_bytes=sum(c.rss_bytes for c in now.processes.values()),
        thread_count=sum(len(c.threads) for c in now.processes.values()),
        child_processes=sum(not c.ended for c in now.processes.values()) - 1,
        machine_busy_share=min(1.0, max(0.0, (now.machine_busy_s - before.machine_busy_s) / machine_s)),
        machine_iowait_share=min(1.0, max(0.0, (now.machine_iowait_s - before.machine_iowait_s) / machine_s)),
        sampler_cpu_s=now.cost_s,
        threads=threads,
        processes=processes,
        ended_children_s=ended_user_s + ended_system_s,
    )


def _earlier(pid: int, before: Sweep, now: Sweep) -> Counters | None:
    """What a process had used at the sweep before; None where it was there and not seen."""
    return before.processes.get(pid) or (Counters() if pid in now.born else None)


def _of_ended_children(before: Sweep, now: Sweep) -> tuple[float, float]:
    """(user_s, system_s) of children that were waited for between the sweeps, less what was counted of them while they were seen to run."""
    waited: dict[int, tuple[float, float]] = {}
    for pid, counters in now.processes.items():
        if (earlier := _earlier(pid, before, now)) is not None:
            waited[pid] = _less(counters.waited_for, earlier.waited_for)
    for pid, counters in before.processes.items():
        heir = pid
        while heir not in now.processes and heir in before.processes:
            heir = before.processes[heir].parent
        if heir != pid and heir in waited:
            counted = counters.user_s + counters.waited_for[0], counters.system_s + counters.waited_for[1]
            waited[heir] = _less(waited[heir], counted)
    return sum(max(0.0, user_s) for user_s, _ in waited.values()), sum(max(0.0, system_s) for _, system_s in waited.values())


def _less(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return one[0] - other[0], one[1] - other[1]


def _counters(process: psutil.Process) -> Counters | None:
    try:
        with process.oneshot():
            times, parent = process.cpu_times(), process.ppid()
            used = Counters(
                user_s=times.user, system_s=times.system, waited_for=(times.children_user, times.children_system), parent=parent
            )
            if process.status() == psutil.STATUS_ZOMBIE:
                used.ended = True
                return used
            used.rss_bytes = process.memory_info().rss
            used.threads = _threads(process.pid)
            used.read_bytes, used.write_bytes = _io(process)
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        return Counters()
    return used


def _threads(pid: int) -> dict[int, tuple[float, float]]:
    """tid -> (user_s, system_s): a third of what psutil needs for it, which opens and sorts more for each. Raises NoSuchProcess."""
    found = {}
    try:
        tasks = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208  names only
    except OSError as gone:
        raise psutil.NoSuchProcess(pid) from gone
    for task in tasks:
        with suppress(OSError), open(f"/proc/{pid}/task/{task}/stat", "rb", buffering=0) as file:  # noqa: PTH123  of every thread
            fields = file.read(1_024).rpartition(b")")[2].split(None, 13)
            found[int(task)] = int(fields[11]) / TICKS_PER_S, int(fields[12]) / TICKS_PER_S
    return found


def _io(process: psutil.Process) -> tuple[int, int]:
    try:
        io = process.io_counters()
    except psutil.AccessDenied:
        return 0, 0
    return io.read_bytes, io.write_bytes


def _comm(pid: int, tid: int) -> str:
    try:
        with open(f"/proc/{pid}/task/{tid}/comm", "rb", buffering=0) as file:  # noqa: PTH123  of every thread
            return file.read(64).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _thread_switches(pid: int, tid: int) -> tuple[int, int] | None:
    try:
        with open(f"/proc/{pid}/task/{tid}/status", "rb", buffering=0) as file:  # noqa: PTH123  of every thread
            told = file.read(8_192).partition(b"\nvoluntary_ctxt_switches:")[2].split(None, 3)
    except OSError:
        return None
    return (int(told[0]), int(told[2])) if len(told) > 2 else (0, 0)
