"""How the target uses its CPUs, named: the patterns a performance engineer would name first, each with the numbers that name it.

CPU seconds come from the kernel's counters (exact), threads' states from the stacks (sampled). Several patterns may hold at once; a server
that works without trouble is `balanced`, one that hardly works is `idle`.
"""

from dataclasses import dataclass, replace

import numpy as np

from perfwright.analysis.attribution import nearest
from perfwright.analysis.hot_paths import OnCpu
from perfwright.analysis.running import by_thread_name, mean_threads, nearest_managed
from perfwright.analysis.statistics import share_intervals
from perfwright.analysis.tree_weights import Floats, Ints, PassWeights, summed
from perfwright.analysis.waits import KINDS, OffCpu, WaitKind, off_cpu
from perfwright.models.cpu_profiling import HotSpot, Pattern, ProcessUse, Utilisation

IDLE_CORES = 0.05
"""A process below 5 % of a core has no CPU problem: even all of it gone would free next to nothing."""
SATURATED_THREAD = 0.9
"""A thread can use one core at most; at nine tenths, queueing in front of it already multiplies its latency (M/M/1: by 10)."""
MACHINE_BUSY = 0.9
"""The same for the whole machine (Gregg, Systems Performance, 2nd edition, section 2.6.1: utilisation near 100 % is a bottleneck)."""
MACHINE_PART = 0.25
"""A target that uses less of a busy machine is not what keeps it busy."""
KERNEL_SHARE = 0.4
"""System time above 40 % of the CPU time: most busy servers stay under 30 % even with small requests."""
KERNEL_CORES = 0.1
GIL_BUSY = 0.8
"""A GIL that is held four fifths of the time is a queue, not a lock that is now and then taken."""
GIL_DEMAND = 1.5
"""Python threads that want to run at a time: above one, some wait for the GIL; half a thread more is beyond sampling error."""
SHARING_THREAD = 0.1
"""CPU share of a thread, in cores, from which it takes part in the queue for the GIL."""
WANTS_TO_RUN = 0.15
"""A thread's line that is on the CPU in at least this share of the ticks at which it is seen there runs and is kept from running; a line
below it waits for something else."""
IO_WAIT_SHARE = 0.5
"""Of the time in which threads are at work, the part spent waiting for sockets or files."""
LOCK_WAIT_SHARE = 0.25
LOCK_WAIT_THREADS = 0.25
"""Threads that wait for locks at a time, on average: below a quarter of one thread nobody notices."""
CHILD_WAIT_THREADS = 0.25
"""Threads that wait for a child process, from which it is told: what they wait for is that process's time, whatever it is spent on."""
MACHINE_IOWAIT = 0.2
"""CPUs idle while the disk is waited for, of the whole machine."""
WAITING_LISTED = 8
BETWEEN_PROCESSES = "multiprocessing/connection.py"
"""Pipes between the processes of a pool, and below its queues."""


@dataclass(frozen=True)
class _Lock:
    """A GIL, of which each process has its own."""

    busy: float
    """Share of the time that it is held."""
    runnable: float
    """Threads of its process that run, or wait for it, on average."""
    pid: int


def describe_utilisation(seen: OnCpu, usage: ProcessUse | None, *, seed: int = 1) -> Utilisation:
    """Patterns, where threads wait, and what the GIL does. `usage` may be missing (nothing was sampled): then only stacks speak."""
    waited = off_cpu(seen.tree, usage)
    gil_rows = seen.tree.weights("gil")
    if waited is not None:
        waited = _between_its_processes(seen, waited)
        waited = _kept_from_running(seen, waited) if gil_rows is not None else waited
    gil = _hottest_lock(seen, gil_rows, waited) if gil_rows is not None else None
    running = mean_threads(seen.tree, seen.rows)
    runnable = running + waited.mean_threads("GIL") if running is not None and waited is not None else running
    cores = usage.user_share + usage.system_share if usage else running or 0.0
    crowded = usage is not None and usage.machine_busy_share >= MACHINE_BUSY
    patterns = [
        *_saturation(usage, cores),
        *_gil(usage, gil),
        *_kernel(usage, cores),
        *_waiting_patterns(seen, waited, usage, max(running or 0.0, cores)),
    ]
    if not patterns:
        patterns.append(_untroubled(cores, usage, _for_children(seen, waited) if waited else ""))
    return Utilisation(
        patterns=tuple(patterns),
        waiting=_waiting_spots(seen, waited, crowded, seed) if waited else (),
        gil_busy_share=gil.busy if gil else None,
        runnable_threads=gil.runnable if gil else runnable,
    )


def _saturation(usage: ProcessUse | None, cores: float) -> list[Pattern]:
    if usage is None:
        return []
    patterns = []
    for thread in usage.threads[:1] if usage.threads else ():
        share = thread.user_share + thread.system_share
        if share >= SATURATED_THREAD and cores - share < SATURATED_THREAD:
            statement = (
                f"Thread {thread.name or thread.tid} used {share:.0%} of a core; all others together {max(0.0, cores - share):.0%}. "
                f"{usage.cpu_count} CPUs are there: more work needs more threads or processes, or less work per request."
            )
            patterns.append(Pattern(name="one thread saturated", statement=statement, confidence="high"))
    mine = cores / usage.cpu_count if usage.cpu_count else 0.0
    if usage.machine_busy_share >= MACHINE_BUSY and mine >= MACHINE_PART:
        busy = f"The machine's {usage.cpu_count} CPUs were {usage.machine_busy_share:.0%} busy"
        statement = f"{busy}, {mine:.0%} by this target: it competes for CPU."
        patterns.append(Pattern(name="CPU-saturated", statement=statement, confidence="high"))
    return patterns


def _hottest_lock(seen: OnCpu, holds: PassWeights, waited: OffCpu | None) -> _Lock | None:
    """Of the GILs that are held most of the time the one that most threads want; where none is, the one that is held most."""
    threads = seen.tree.profile.threads
    pids = sorted({one.pid for one in threads})
    at = np.array([pids.index(one.pid) for one in threads], dtype=np.int64)

    def by_process(thread: Ints, count: Floats, ticks: float) -> Floats:
        return summed(at[thread], count, len(pids)) / ticks if ticks > 0 else np.zeros(len(pids))

    busy = np.minimum(1.0, by_process(holds.thread, holds.count, holds.ticks))
    runnable = by_process(seen.rows.thread, seen.rows.count, seen.rows.ticks)
    if waited is not None:
        waits = waited.kind == KINDS.index("GIL")
        runnable = runnable + by_process(waited.rows.thread[waits], waited.rows.count[waits], waited.ticks)
    if holds.ticks <= 0 or not pids:
        return None
    one = int(max(range(len(pids)), key=lambda number: (busy[number] >= GIL_BUSY and runnable[number], busy[number])))
    return _Lock(float(busy[one]), float(runnable[one]), pids[one])


def _gil(usage: ProcessUse | None, gil: _Lock | None) -> list[Pattern]:
    if gil is None or gil.busy < GIL_BUSY or gil.runnable < GIL_DEMAND:
        return []
    busy, runnable = gil.busy, gil.runnable
    mine = [one for one in usage.threads if one.pid == gil.pid] if usage else []
    sharing = [one for one in mine if one.user_share + one.system_share >= SHARING_THREAD]
    if usage is not None and len(sharing) < 2:
        return []
    crowded = usage is not None and usage.machine_busy_share >= MACHINE_BUSY
    told = f"; {len(sharing)} threads share {sum(one.user_share + one.system_share for one in sharing):.2f} cores" if sharing else ""
    statement = f"The GIL was held {busy:.0%} of the time and {runnable:.1f} Python threads wanted to run at a time{told}."
    return [Pattern(name="GIL-bound", statement=statement, confidence="high" if sharing and runnable >= 2 and not crowded else "medium")]


def _kernel(usage: ProcessUse | None, cores: float) -> list[Pattern]:
    if usage is None or cores < KERNEL_CORES or usage.system_share < KERNEL_SHARE * cores:
        return []
    statement = (
        f"{usage.system_share / cores:.0%} of the CPU time ({usage.system_share:.2f} cores) was spent in the kernel: system calls, "
        f"page faults or network work; {usage.voluntary_switches_hz:.0f} voluntary context switches a second."
    )
    return [Pattern(name="kernel-heavy", statement=statement, confidence="high")]


def _waiting_patterns(seen: OnCpu, waited: OffCpu | None, usage: ProcessUse | None, running: float) -> list[Pattern]:
    """`running`: threads of the whole process tree that run at a time. Who waits for a process below is not at work: that process is."""
    patterns = []
    if waited is not None:
        on_locks, on_io = waited.mean_threads("lock"), waited.mean_threads("I/O")
        at_work = running + on_locks + on_io + waited.mean_threads("GIL")
        if on_locks >= LOCK_WAIT_THREADS and on_locks >= LOCK_WAIT_SHARE * at_work:
            statement = f"{on_locks:.1f} threads wait for locks at a time, on average{_where(seen, waited, 'lock')}; {running:.1f} run."
            patterns.append(Pattern(name="waiting on locks", statement=statement, confidence="high"))
        if on_io >= LOCK_WAIT_THREADS and on_io >= IO_WAIT_SHARE * at_work:
            statement = f"{on_io:.1f} threads wait for I/O at a time, on average{_where(seen, waited, 'I/O')}; {running:.1f} run."
            patterns.append(Pattern(name="waiting on I/O", statement=statement, confidence="medium"))
        patterns += _together_at_one_line(seen, waited) if not patterns else []
    if usage is not None and usage.iowait_share >= MACHINE_IOWAIT and not any(one.name == "waiting on I/O" for one in patterns):
        moved = usage.read_bytes_hz + usage.write_bytes_hz
        statement = f"The machine's CPUs were idle for the disk {usage.iowait_share:.0%} of the time; the target moved {moved:.0f} B/s."
        patterns.append(Pattern(name="waiting on I/O", statement=statement, confidence="low"))
    return patterns


def _together_at_one_line(seen: OnCpu, waited: OffCpu) -> list[Pattern]:
    """Two or more threads that wait at the same line of own code, in a call without a frame: most often a lock; a sleep looks the same."""
    unknown = waited.kind == KINDS.index("unknown")
    node = waited.rows.node[unknown]
    user = seen.attribution.own[node]
    lines = seen.tree.names.line[seen.tree.frame[node]]
    weights = summed(lines[user & (lines >= 0)], waited.rows.count[unknown][user & (lines >= 0)], len(seen.tree.names.lines))
    if not len(weights) or waited.ticks <= 0 or weights.max() / waited.ticks < 1.5:
        return []
    heaviest = int(weights.argmax())
    threads = len(np.unique(waited.rows.thread[unknown][user & (lines == heaviest)]))
    if threads < 2:
        return []
    function, file, line = seen.tree.names.lines[heaviest]
    statement = (
        f"{weights[heaviest] / waited.ticks:.1f} of {threads} threads wait at {seen.title(function, file, line)} at a time: for a lock, "
        "if that line takes one (a sleep looks the same; a native pass tells them apart)."
    )
    return [Pattern(name="waiting on locks", statement=statement, confidence="low")]


def _for_children(seen: OnCpu, waited: OffCpu) -> str:
    threads = waited.mean_threads("child process")
    if threads < CHILD_WAIT_THREADS:
        return ""
    return f"{threads:.1f} threads wait for child processes at a time, on average{_where(seen, waited, 'child process')}"


def _untroubled(cores: float, usage: ProcessUse | None, for_children: str) -> Pattern:
    of = f" of {usage.cpu_count} CPUs" if usage else ""
    if cores < IDLE_CORES:
        more = f" {for_children}." if for_children else ""
        statement = f"It used {cores:.1%} of one core{of}: there is no CPU time to win.{more}"
        return Pattern(name="idle", statement=statement, confidence="high")
    busiest = max((one.user_share + one.system_share for one in usage.threads), default=0.0) if usage else 0.0
    told = f", the busiest thread {busiest:.2f}" if busiest else ""
    waits = for_children or "nothing it waits for stands out"
    return Pattern(name="balanced", statement=f"It used {cores:.2f} cores{of}{told}; {waits}.", confidence="medium")


def _between_its_processes(seen: OnCpu, waited: OffCpu) -> OffCpu:
    """Reads of a pipe from another process of the same tree: it waits for that process's work, not for a service or a disk."""
    if len({one.pid for one in seen.tree.profile.threads}) < 2:
        return waited
    pipes = np.array([file.endswith(BETWEEN_PROCESSES) for file in seen.tree.profile.frames.file], dtype=bool)
    caller = nearest_managed(seen.tree)[waited.rows.node]
    inside = (caller >= 0) & pipes[seen.tree.frame[caller]] & (waited.kind == KINDS.index("I/O"))
    return replace(waited, kind=np.where(inside, KINDS.index("for work"), waited.kind))


def _kept_from_running(seen: OnCpu, waited: OffCpu) -> OffCpu:
    """Waits without a frame below lines where the same thread is often on the CPU: it is kept from running, by the GIL where there is one.

    Only needed where no native pass tells such waits by their C frames.
    """
    if waited.mean_threads("GIL") > 0:
        return waited
    unknown = waited.kind == KINDS.index("unknown")
    lines, threads = seen.tree.names.line[seen.tree.frame] + 1, len(seen.tree.profile.threads)
    size = (len(seen.tree.names.lines) + 1) * threads
    lines = lines[seen.attribution.owner]
    place = lines[waited.rows.node] * threads + waited.rows.thread
    waiting = summed(place[unknown], waited.rows.count[unknown], size)
    ran = summed(lines[seen.rows.node] * threads + seen.rows.thread, seen.rows.count, size) * waited.ticks / max(1.0, seen.rows.ticks)
    kept = unknown & (ran >= WANTS_TO_RUN * (waiting + ran))[place]
    return replace(waited, kind=np.where(kept, KINDS.index("GIL"), waited.kind))


def _waiting_places(seen: OnCpu) -> Ints:
    """For every node, where a thread whose stack ends there waits: in own code, or, where none asked, in what called the kernel."""
    kernel = seen.tree.names.is_from("kernel")[seen.tree.frame]
    caller, owner = nearest(seen.tree, ~kernel), seen.attribution.owner
    return np.where(kernel[owner] & (caller >= 0), caller, owner)


def _where(seen: OnCpu, waited: OffCpu, kind: WaitKind) -> str:
    """`, most at shop.py:5`; empty where no frame tells."""
    mine = waited.kind == KINDS.index(kind)
    owner = _waiting_places(seen)[waited.rows.node[mine]]
    frames = seen.tree.profile.frames
    weights = summed(seen.tree.frame[owner], waited.rows.count[mine], len(frames.function))
    if not len(weights) or weights.max() <= 0:
        return ""
    one = int(weights.argmax())
    return f", most at {seen.title(frames.function[one], frames.file[one], frames.line[one])}"


def _waiting_spots(seen: OnCpu, waited: OffCpu, crowded: bool, seed: int) -> tuple[HotSpot, ...]:
    """Lines at which threads wait for something else than work, commonest first; shares are of all wall-clock samples that wait so."""
    held_up = waited.kind != KINDS.index("for work")
    node, count = waited.rows.node[held_up], waited.rows.count[held_up]
    if not len(node) or count.sum() <= 0:
        return ()
    tree, frames = seen.tree, seen.tree.profile.frames
    place = _waiting_places(seen)[node]
    line = tree.names.line[tree.frame[place]]
    weights = summed(line[line >= 0], count[line >= 0], len(tree.names.lines))
    chosen = [int(one) for one in np.argsort(-weights, kind="stable")[:WAITING_LISTED] if weights[one] > 0]
    blocks = waited.rows.block[held_up]
    totals = summed(blocks, count, waited.rows.blocks)
    by_block = np.array([summed(blocks[line == one], count[line == one], waited.rows.blocks) for one in chosen])
    if not chosen:
        return ()
    spots = []
    for one, interval in zip(chosen, share_intervals(by_block, totals, seed=seed), strict=True):
        function, file, number = tree.names.lines[one]
        mine = line == one
        kinds = summed(waited.kind[held_up][mine], count[mine], len(KINDS))
        share = float(weights[one] / count.sum())
        origin = frames.origin[int(tree.frame[place[mine][0]])]
        spots.append(
            HotSpot(
                function=f"{seen.title(function, file).split(' (')[0]}: {_told(KINDS[int(kinds.argmax())], crowded)}",
                file=seen.files.get(file, file),
                line=number,
                origin=origin,
                self_share=share,
                self_interval=interval,
                total_share=share,
                total_interval=interval,
                samples=round(float(weights[one])),
                threads=tuple(name for name, _ in by_thread_name(tree, waited.rows.thread[held_up][mine], count[mine])[:3]),
            )
        )
    return tuple(spots)


def _told(kind: str, crowded: bool) -> str:
    if kind == "GIL" and crowded:
        return "is kept from running (GIL, or no free CPU)"
    special = {"unknown": "waits in a call without a frame", "GIL": "waits for the GIL", "lock": "waits for a lock", "sleep": "sleeps"}
    return special.get(kind) or ("waits for a child process" if kind == "child process" else f"waits for {kind}")
