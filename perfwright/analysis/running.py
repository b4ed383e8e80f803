"""Samples of threads that run, held against what the kernel says they ran.

A sampler looks at a thread a moment after it asked whether it runs; on a busy machine most "running" samples of a pool can be threads that
wait for work. Two corrections make shares of CPU time of shares of samples:

- a sample whose stack ends in a call that only waits (a poll, an empty queue, a sleep) is no CPU time and is left out;
- the process sampler knows each thread's CPU seconds exactly: a thread seen running much more often than it ran is weighed down to what it
  ran. The others are left as they are.
"""

from dataclasses import replace

import numpy as np

from perfwright.analysis.tree_weights import CallTree, Floats, Ints, PassWeights, summed
from perfwright.analysis.waits import KINDS, wait_kinds
from perfwright.models.cpu_profiling import ProcessUse

CONTRADICTED = 0.5
"""CPU seconds below this share of the samples' seconds contradict them; above it, sampling error and different moments explain it."""
FEWEST_SAMPLES = 10
"""Samples of a thread below which the two cannot be told apart."""
WORTH_TELLING = 0.02
_ONLY_WAITING = tuple(KINDS.index(kind) for kind in ("for work", "lock", "GIL", "sleep", "child process"))
"""Waits that use no CPU. Waiting for I/O is not among them: copying to and from the kernel is work."""
LONG_LIVED = 0.5
"""A thread seen in this share of the blocks and missing among the busiest used next to nothing; a shorter one may just have been missed."""


def without_waits(tree: CallTree, rows: PassWeights) -> tuple[PassWeights, str]:
    """The pass without samples of threads that wait, and a sentence that says so where they were many.

    Not for tools that sample what is on a CPU: there, time in `epoll_wait` is the kernel's work. Stacks without managed frames are kept.
    """
    waits = np.isin(wait_kinds(tree)[rows.node], _ONLY_WAITING) & (nearest_managed(tree)[rows.node] >= 0)
    share = float(rows.count[waits].sum()) / max(1.0, rows.samples)
    if not waits.any():
        return rows, ""
    kept = ~waits
    left = replace(rows, node=rows.node[kept], thread=rows.thread[kept], block=rows.block[kept], count=rows.count[kept])
    return left, f"{share:.0%} of the samples were of threads that wait for work, and are left out." if share >= WORTH_TELLING else ""


def nearest_managed(tree: CallTree) -> Ints:
    """The nearest frame at or above each node that is not compiled code (Python, Java, JavaScript), -1 where there is none."""
    compiled = tree.names.is_from("native", "kernel")[tree.frame]
    managed = np.full(len(tree.parent), -1, dtype=np.int64)
    for level in tree.levels:
        above = tree.parent[level]
        managed[level] = np.where(~compiled[level], level, np.where(above >= 0, managed[above], -1))
    return managed


def weigh_running(tree: CallTree, rows: PassWeights, usage: ProcessUse | None) -> tuple[PassWeights, str]:
    """The pass with samples of threads that hardly ran weighed down, and a sentence that says so (empty when none was)."""
    ticks = rows.ticks
    if usage is None or not usage.threads or ticks <= 0:
        return rows, ""
    ran = {(one.pid, one.tid): one.user_share + one.system_share for one in usage.threads}
    least = min(ran.values()) if len(ran) < usage.thread_count else 0.0
    pids = {one.pid for one in usage.threads}
    by_thread = summed(rows.thread, rows.count, len(tree.profile.threads))
    blocks_seen = _blocks_seen(rows, len(tree.profile.threads))
    factor = np.ones(len(tree.profile.threads))
    for number, thread in enumerate(tree.profile.threads):
        if thread.tid is None or by_thread[number] < FEWEST_SAMPLES:
            continue
        share = ran.get((thread.pid, thread.tid))
        if share is None and thread.pid in pids and blocks_seen[number] >= LONG_LIVED * rows.blocks:
            share = least
        if share is not None and share * ticks < CONTRADICTED * by_thread[number]:
            factor[number] = share * ticks / by_thread[number]
    lowered = factor < 1
    if not lowered.any():
        return rows, ""
    removed = float(((1 - factor) * by_thread).sum() / max(1.0, rows.samples))
    weighed = replace(rows, count=rows.count * factor[rows.thread])
    kept = weighed.count > 0
    weighed = replace(weighed, node=rows.node[kept], thread=rows.thread[kept], block=rows.block[kept], count=weighed.count[kept])
    return (
        weighed,
        f"{int(lowered.sum())} threads woke often but hardly ran: their samples ({removed:.0%} of all) count by the CPU time they used.",
    )


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
