"""Samples of threads that run, weighed so that shares of samples are shares of CPU time.

A sampler looks at a thread a moment after it asked whether it runs, and "runs" includes "waits for a free CPU": on a busy machine threads
that have just been woken are seen too often, and threads that hold a CPU too rarely. The kernel's counters know better how much each thread
ran, so the samples are only asked what they alone know: where. Three steps:

1. A sample whose stack ends in a call that only waits (a poll, an empty queue, a sleep) is no CPU time and is left out.
2. *Post-stratification* (Holt & Smith, "Post stratification", Journal of the Royal Statistical Society A 142, 1979): a thread's samples
   count, together, as the CPU seconds that the kernel says it used, up as well as down. Threads of a pool that have few samples each are
   one stratum. Threads the process sampler knows nothing of are left as they are.
3. Within a stratum the kernel also tells user from system time. Lines that do nothing but a system call (`sock.send`) use system time only:
   where their samples would be more than that, they are lowered to it.

A count then is a tick of CPU time (1 / rate seconds). The weights are taken as given when intervals are drawn from the blocks: how the
threads' parts vary over time stays in the intervals, so that they also hold for the next recording of the same program. For this recording
alone they are a little wide.
"""

import re
from dataclasses import dataclass, replace

import numpy as np

from perfwright.analysis.tree_weights import CallTree, Floats, Ints, Mask, PassWeights, summed
from perfwright.analysis.waits import KINDS, system_calls, wait_kinds
from perfwright.models.cpu_profiling import ProcessUse

FEWEST_SAMPLES = 20
"""Of a stratum: below it, what a weight removes in bias it adds in variance (Cochran, "Sampling Techniques", 3rd edition, 5A.9)."""
WORTH_TELLING = 0.02
LISTED = 3
_ONLY_WAITING = tuple(KINDS.index(kind) for kind in ("for work", "lock", "GIL", "sleep", "child process"))
"""Waits that use no CPU. Waiting for I/O is not among them: copying to and from the kernel is work."""
LONG_LIVED = 0.5
"""A thread seen in this share of the blocks and missing among the busiest used next to nothing; a shorter one may just have been missed."""
_DIGITS = re.compile(r"\d+")


def without_waits(tree: CallTree, rows: PassWeights) -> tuple[PassWeights, str]:
    """The pass without samples of threads that wait, and a sentence that says so where they were many.

    Not for tools that sample what is on a CPU: there, time in `epoll_wait` is the kernel's work. Stacks without managed frames are kept.
    """
    waits = np.isin(wait_kinds(tree)[rows.node], _ONLY_WAITING) & (nearest_managed(tree)[rows.node] >= 0)
    share = float(rows.count[waits].sum()) / max(1.0, rows.samples)
    if not waits.any():
        return rows, ""
    left = rows.where(~waits)
    return left, f"{share:.0%} of the samples were of threads that wait for work, and are left out." if share >= WORTH_TELLING else ""


def nearest_managed(tree: CallTree) -> Ints:
    """The nearest frame at or above each node that is not compiled code (Python, Java, JavaScript), -1 where there is none."""
    compiled = tree.names.is_from("native", "kernel")[tree.frame]
    managed = np.full(len(tree.parent), -1, dtype=np.int64)
    for level in tree.levels:
        above = tree.parent[level]
        managed[level] = np.where(~compiled[level], level, np.where(above >= 0, managed[above], -1))
    return managed


@dataclass(frozen=True)
class _Stratum:
    """Threads whose samples are weighed together."""

    name: str
    threads: tuple[int, ...]
    """By their number in the profile."""
    user: float
    """Cores, by the kernel."""
    system: float
    at_most: bool = False
    """The kernel's figures are bounds: samples are lowered to them and never raised."""

    @property
    def cores(self) -> float:
        return self.user + self.system


def weigh_running(
    tree: CallTree, rows: PassWeights, usage: ProcessUse | None, *, raised_at_most: Floats | None = None
) -> tuple[PassWeights, str]:
    """The pass with each thread's samples counting as the CPU time that it used, and a sentence that says so (empty when nothing is known).

    `usage` is of the same process tree over the same time. CPU time of threads without samples (compiled code of its own) belongs to no
    stratum: cpu_coverage.py says how much that is. `raised_at_most`: of a tool that does not see all that a thread does, the largest
    weight of each row; what is missing then is not given to what it sees.
    """
    if usage is None or not usage.threads or rows.ticks <= 0 or rows.samples <= 0:
        return rows, ""
    strata = _strata(tree, rows, usage)
    weight = np.ones(len(rows.node))
    told = []
    only_calls = system_calls(tree)[rows.node]
    for stratum in strata:
        mine = np.isin(rows.thread, stratum.threads)
        weight[mine] = _weights(rows, mine, only_calls, stratum)
        if raised_at_most is not None:
            weight[mine] = np.minimum(weight[mine], raised_at_most[mine])
        told.append((stratum, float((rows.count * weight)[mine].sum() / rows.count[mine].sum())))
    return replace(rows, count=rows.count * weight).where(weight > 0), _sentence(told)


def _weights(rows: PassWeights, mine: Mask, only_calls: Mask, stratum: _Stratum) -> Floats:
    """What each sample of the stratum counts: cores by the kernel over cores by the samples, system calls apart where they are too many."""
    calls = only_calls[mine]
    samples, of_calls = float(rows.count[mine].sum()), float(rows.count[mine][calls].sum())
    whole, system = stratum.cores * rows.ticks, stratum.system * rows.ticks
    if stratum.at_most and whole >= samples:
        return np.ones(len(calls))
    if of_calls / samples * whole > system and samples - of_calls >= FEWEST_SAMPLES:
        return np.where(calls, system / max(1.0, of_calls), (whole - system) / (samples - of_calls))
    return np.full(len(calls), whole / samples)


def _strata(tree: CallTree, rows: PassWeights, usage: ProcessUse) -> list[_Stratum]:
    """Single threads with samples enough, the others by the name of their pool, what is still too small together."""
    used = {(one.pid, one.tid): one for one in usage.threads}
    threads = tree.profile.threads
    seen = summed(rows.thread, rows.count, len(threads))
    single, by_pool = [], dict[str, list[int]]()
    for number, thread in enumerate(threads):
        one = used.get((thread.pid, thread.tid)) if thread.tid is not None else None
        if one is None:
            continue
        if seen[number] >= FEWEST_SAMPLES:
            single.append(_Stratum(thread.name or f"thread {thread.tid}", (number,), one.user_share, one.system_share))
        else:
            by_pool.setdefault(_DIGITS.sub("#", thread.name), []).append(number)
    pools, rest = list[_Stratum](), list[int]()
    for name, numbers in by_pool.items():
        if seen[numbers].sum() >= FEWEST_SAMPLES:
            pools.append(_pooled(name, numbers, tree, usage))
        else:
            rest += numbers
    if rest and seen[rest].sum() >= FEWEST_SAMPLES:
        pools.append(_pooled("other threads", rest, tree, usage))
    return single + pools + _missing_among_the_busiest(tree, rows, usage, seen)


def _pooled(name: str, numbers: list[int], tree: CallTree, usage: ProcessUse) -> _Stratum:
    wanted = {(tree.profile.threads[number].pid, tree.profile.threads[number].tid) for number in numbers}
    used = [one for one in usage.threads if (one.pid, one.tid) in wanted]
    return _Stratum(name, tuple(numbers), sum(one.user_share for one in used), sum(one.system_share for one in used))


def _missing_among_the_busiest(tree: CallTree, rows: PassWeights, usage: ProcessUse, seen: Floats) -> list[_Stratum]:
    """Threads that were there most of the time and are not listed by the sampler used at most what the last one listed did."""
    used = {(one.pid, one.tid) for one in usage.threads}
    pids = {one.pid for one in usage.threads}
    least = min(one.user_share + one.system_share for one in usage.threads) if len(used) < usage.thread_count else 0.0
    blocks_seen = _blocks_seen(rows, len(tree.profile.threads))
    return [
        _Stratum(thread.name, (number,), least, 0.0, at_most=True)
        for number, thread in enumerate(tree.profile.threads)
        if thread.tid is not None
        and (thread.pid, thread.tid) not in used
        and thread.pid in pids
        and seen[number] >= FEWEST_SAMPLES
        and blocks_seen[number] >= LONG_LIVED * rows.blocks
    ]


def _sentence(told: list[tuple[_Stratum, float]]) -> str:
    if not told:
        return ""
    changed = sorted(told, key=lambda one: -abs(one[1] - 1) * one[0].cores)
    listed = ", ".join(f"{stratum.name} {weight:.2f}" for stratum, weight in changed[:LISTED])
    more = f" and {len(changed) - LISTED} more" if len(changed) > LISTED else ""
    return f"Samples count by the CPU time that the kernel counted for their threads (weights: {listed}{more})."


def _blocks_seen(rows: PassWeights, threads: int) -> Ints:
    pairs = np.unique(rows.thread * rows.blocks + rows.block)
    return np.bincount(pairs // rows.blocks, minlength=threads).astype(np.int64)


def mean_threads(tree: CallTree, rows: PassWeights) -> float | None:
    """Threads in this state at a time, on average: samples over moments. None where nothing was recorded."""
    return rows.samples / rows.ticks if rows.ticks > 0 else None


def by_thread_name(tree: CallTree, thread: Ints, count: Floats) -> list[tuple[str, float]]:
    """Weight per thread name, heaviest first; threads without a name by their id."""
    weights: dict[str, float] = {}
    for number, weight in enumerate(summed(thread, count, len(tree.profile.threads))):
        if weight > 0:
            ref = tree.profile.threads[number]
            name = ref.name or f"thread {ref.tid if ref.tid is not None else number}"
            weights[name] = weights.get(name, 0.0) + float(weight)
    return sorted(weights.items(), key=lambda item: (-item[1], item[0]))
