"""How much of a process tree's CPU time the samples stand for, and whose the rest is.

A profiler sees the threads that it can read: those of the interpreter or virtual machine, in the processes that it attached to. What
compiled threads, the JVM's own threads, other programs and children that end at once use is in the kernel's counters, not in its samples.
So a share of samples is a share of *their* CPU time; of all CPU time it is that times what they cover. Where hardly anything is covered, a
profile says little about the program, however many samples it has.
"""

import re
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from perfwright.analysis.tree_weights import CallTree, PassWeights, summed
from perfwright.analysis.unseen_cpu import NAMED, WORTH_TELLING
from perfwright.models.cpu_coverage import CpuCoverage, UnseenCpu, UnseenKind
from perfwright.models.cpu_profiling import ProcessUse, Runtime, ThreadUse

SMALLEST = 0.005
"""CPU time without samples that is listed, as a share."""
_NUMBER, _NUMBERED = re.compile(r"#?\d+"), re.compile(r"#\d+")
"""Of a pool's threads: whatever a program calls them, and as HotSpot does (`G1 Conc#0`)."""
_COLLECTOR = r"^(GC Thread|G1 |ParGC|PS |ParallelGC|Gang worker|Concurrent Mark|CMS |[ZX](Worker|Driver|Director)|Shenandoah)"
_OF_THE_JVM: tuple[tuple[UnseenKind, re.Pattern[str]], ...] = (
    ("garbage collection", re.compile(_COLLECTOR)),
    ("compiler", re.compile(r"^(C[12] Compiler|JVMCI|Graal)")),
    ("virtual machine", re.compile(r"^(VM (Thread|Periodic)|Service Thread|Monitor Deflat|Sweeper)")),
)
"""Names that HotSpot gives to its own threads, as Linux keeps them (15 letters)."""
_OF_THE_PROFILER: dict[Runtime, re.Pattern[str]] = {"jvm": re.compile(r"^(JFR |Attach Listener)"), "node": re.compile(r"^v8:ProfEvntProc")}
"""Threads that record, inside of the target."""
_VM_THREAD = "VM Thread"
"""Does what needs all others to stand still; with the serial collector, that is to collect garbage."""

_Told = tuple[str, UnseenKind, float, int]
"""What, its kind, cores, pid."""


def cpu_coverage(tree: CallTree, rows: PassWeights, usage: ProcessUse | None, runtime: Runtime) -> CpuCoverage:
    """`rows`: samples whose counts are ticks of CPU time. Everything counts as seen where nothing is known of the process tree."""
    used = usage.user_share + usage.system_share if usage else 0.0
    compiled = tree.profile.recording_cpu_s / usage.seconds if usage and usage.seconds > 0 else 0.0
    ours = _of_profiler(usage, runtime) + compiled if usage else 0.0
    cores = used - ours
    if usage is None or not usage.threads or cores <= 0 or rows.ticks <= 0 or rows.samples <= 0:
        return CpuCoverage()
    seen = _Seen.of(tree, rows, usage)
    unseen = [
        UnseenCpu(what=what, kind=kind, share=unseen_cores / cores, pid=pid)
        for what, kind, unseen_cores, pid in [*_threads(seen, usage, runtime, compiled), *_processes(seen, usage)]
        if unseen_cores / cores >= SMALLEST
    ]
    without = sum(one.share for one in unseen)
    # a thread with few samples counts as they are, which on a busy machine is more than it ran
    covered = min(1.0, max(1.0 - without, SMALLEST), seen.cores / cores)
    rest = 1.0 - covered - without
    if rest >= WORTH_TELLING:
        unseen.append(UnseenCpu(what="work of sampled threads that the profiler does not see", kind="code", share=rest))
    told = tuple(sorted(unseen, key=lambda one: (-one.share, one.what)))
    return CpuCoverage(seen_share=covered, unseen=told, profiler_share=ours / used)


def _of_profiler(usage: ProcessUse, runtime: Runtime) -> float:
    pattern = _OF_THE_PROFILER.get(runtime)
    return sum(one.user_share + one.system_share for one in usage.threads if pattern is not None and pattern.match(one.name))


@dataclass(frozen=True)
class _Seen:
    """Cores by samples: of all, by process, and of processes that the sampler lists no more."""

    cores: float
    by_process: dict[int, float]
    unlisted: float
    threads: frozenset[tuple[int, int | None]]

    @classmethod
    def of(cls, tree: CallTree, rows: PassWeights, usage: ProcessUse) -> "_Seen":
        by_thread = summed(rows.thread, rows.count, len(tree.profile.threads)) / rows.ticks
        known = {(one.pid, one.tid) for one in usage.threads}
        by_process: dict[int, float] = defaultdict(float)
        short_lived: dict[int, float] = defaultdict(float)
        sampled = [(tree.profile.threads[number], float(by_thread[number])) for number in np.flatnonzero(by_thread)]
        for thread, cores in sampled:
            by_process[thread.pid] += cores
            if (thread.pid, thread.tid) not in known:
                short_lived[thread.pid] += cores
        threads = frozenset((thread.pid, thread.tid) for thread, _ in sampled)
        if not usage.processes:
            return cls(sum(by_process.values()), dict(by_process), 0.0, threads)
        covered, left = 0.0, dict(by_process)
        for one in usage.processes:
            told = by_process.get(one.pid, 0.0)
            # what short-lived threads used after they were last read is theirs, if such threads were sampled at all
            late = max(0.0, one.ended_threads_share - short_lived[one.pid]) if short_lived.get(one.pid) else 0.0
            left[one.pid] = max(0.0, told - one.cpu_share)
            covered += min(one.cpu_share, told + late)
        unlisted = min(usage.ended_children_share + _of_unlisted(usage), sum(left.values()))
        return cls(covered + unlisted, dict(by_process), unlisted, threads)


def _of_unlisted(usage: ProcessUse) -> float:
    """Cores of processes beyond the busiest."""
    listed = sum(one.cpu_share for one in usage.processes)
    return max(0.0, usage.user_share + usage.system_share - listed - usage.ended_children_share)


def _threads(seen: _Seen, usage: ProcessUse, runtime: Runtime, compiled: float) -> list[_Told]:
    """Threads without samples in processes that have some, by the name of their pool; the JVM's own by what they do.

    `compiled`: cores that compilers used for the recording.
    """
    nameless = {pid for pid, tid in seen.threads if tid is None}
    records = _OF_THE_PROFILER.get(runtime)
    has_collector = any(_kind_of(one, runtime) == "garbage collection" for one in usage.threads)
    pools: dict[UnseenKind, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for one in usage.threads:
        if one.pid not in seen.by_process or (one.pid, one.tid) in seen.threads or (records and records.match(one.name)):
            continue
        kind = _kind_of(one, runtime)
        if runtime == "jvm" and one.name == _VM_THREAD and not has_collector:
            kind = "garbage collection"
        if kind != "threads" or one.pid not in nameless:
            pool = (_NUMBER if kind == "threads" else _NUMBERED).sub("#", one.name)
            pools[kind][pool or f"thread {one.tid}"] += one.user_share + one.system_share
    told: list[_Told] = [(f"threads {name}", "threads", cores, 0) for name, cores in pools.pop("threads", {}).items()]
    for kind, names in pools.items():
        first = sorted(names, key=lambda name: (-names[name], name))[:NAMED]
        told.append((f"{kind} ({', '.join(first)})", kind, sum(names.values()) - (compiled if kind == "compiler" else 0.0), 0))
    return told


def _kind_of(thread: ThreadUse, runtime: Runtime) -> UnseenKind:
    if runtime != "jvm":
        return "threads"
    return next((kind for kind, pattern in _OF_THE_JVM if pattern.match(thread.name)), "threads")


def _processes(seen: _Seen, usage: ProcessUse) -> list[_Told]:
    if not usage.processes:
        return []
    told: list[_Told] = [
        (f"process {one.pid}" + (f" ({one.program})" if one.program else ""), "process", one.cpu_share, one.pid)
        for one in usage.processes
        if one.pid not in seen.by_process
    ]
    of_ended = min(usage.ended_children_share, seen.unlisted)
    others = _of_unlisted(usage) - (seen.unlisted - of_ended)
    told.append(("child processes that ended", "ended processes", usage.ended_children_share - of_ended, 0))
    return [*told, ("other processes", "process", others, 0)]
