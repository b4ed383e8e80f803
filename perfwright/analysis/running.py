"""Samples of threads that run, held against what the kernel says they ran.

A sampler looks at a thread a moment after it asked whether it runs, and a thread that wakes on a timer tends to be awake when the sampler
is: many short sleepers look busy. The process sampler knows each thread's CPU seconds exactly. A thread seen running much more often than
it ran is weighed down to what it ran; the others are left as they are.
"""

from dataclasses import replace

import numpy as np

from perfwright.analysis.tree_weights import CallTree, Floats, Ints, PassWeights, summed
from perfwright.models.cpu_profiling import ProcessUse

CONTRADICTED = 0.5
"""CPU seconds below this share of the samples' seconds contradict them; above it, sampling error and different moments explain it."""
FEWEST_SAMPLES = 10
"""Samples of a thread below which the two cannot be told apart."""
LONG_LIVED = 0.5
"""A thread seen in this share of the blocks and missing among the busiest used next to nothing; a shorter one may just have been missed."""


def weigh_running(tree: CallTree, rows: PassWeights, usage: ProcessUse | None) -> tuple[PassWeights, str]:
    """The pass with samples of threads that hardly ran weighed down, and a sentence that says so (empty when none was)."""
    ticks = recorded_ticks(tree, rows)
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


def recorded_ticks(tree: CallTree, rows: PassWeights) -> float:
    """Moments at which every thread was looked at: seconds times rate."""
    found = next(one for one in tree.profile.passes if one.kind == rows.kind)
    return found.seconds * found.rate_hz


def _blocks_seen(rows: PassWeights, threads: int) -> Ints:
    pairs = np.unique(rows.thread * rows.blocks + rows.block)
    return np.bincount(pairs // rows.blocks, minlength=threads).astype(np.int64)


def mean_threads(tree: CallTree, rows: PassWeights) -> float | None:
    """Threads in this state at a time, on average: samples over moments. None where nothing was recorded."""
    ticks = recorded_ticks(tree, rows)
    return rows.samples / ticks if ticks > 0 else None


def by_thread_name(tree: CallTree, thread: Ints, count: Floats) -> list[tuple[str, float]]:
    """Weight per thread name, heaviest first; threads without a name by their id."""
    weights: dict[str, float] = {}
    for number, weight in enumerate(summed(thread, count, len(tree.profile.threads))):
        if weight > 0:
            ref = tree.profile.threads[number]
            name = ref.name or f"thread {ref.tid if ref.tid is not None else number}"
            weights[name] = weights.get(name, 0.0) + float(weight)
    return sorted(weights.items(), key=lambda item: (-item[1], item[0]))
