"""Samples of a JVM by the state of its threads: in Java, or in native code below it (`Deflater`, a driver, a socket).

The flight recorder's sampler looks, once a period, at up to five threads that are in Java, and at *one* that is in native code: the next
from where it stopped (HotSpot, `jfrThreadSampler.cpp`: MAX_NR_OF_JAVA_SAMPLES, MAX_NR_OF_NATIVE_SAMPLES). Left out, native code costs
nothing, and its thread's Java methods have all of the CPU time; taken as they are, its samples are too few where several threads are in
native code, and most of those only wait there. So:

1. Each thread is asked once a round. With R rounds, a thread that is in native code for a part q of the time has q R samples, and a look
   finds nobody with the probability that none is in native code: R is what makes the two agree, and q is the thread's samples over R.
2. A sample in native code whose Java method is known to wait (a socket, a file, a selector) is no CPU time, but for what the kernel counts
   as the thread's system time where the method is a system call.
3. Of threads whose CPU time is not known, waiting and working in native code cannot be told apart: their native samples are left out.

Looks at Java code fail where a stack cannot be walked, or where the thread has left Java before it is stopped, which it often has where it
calls into the virtual machine all the time. Then a thread's samples are fewer than the kernel's count of its CPU time. That may raise them
a little (`RAISED_AT_MOST`); the rest is given to nobody, and never to native code.
"""

import math
from dataclasses import replace

import numpy as np

from perfwright.analysis.frames import IN_NATIVE
from perfwright.analysis.tree_weights import CallTree, Floats, Mask, PassWeights, summed
from perfwright.analysis.waits import system_calls, wait_kinds
from perfwright.models.cpu_profiling import ProcessUse

JAVA_AT_A_TIME = 5
"""Threads in Java that one look samples; with more of them, samples are too few by nobody knows how much."""
OFTEN = 0.9
"""Of all looks."""
RAISED_AT_MOST = 1.3
"""Looks that come late and stacks that cannot be walked make samples of Java code a tenth to a quarter too few."""
STEPS = 40
"""Of halving: R is known to a millionth of itself after twenty."""


def periods_by_state(tree: CallTree, rows: PassWeights, usage: ProcessUse | None) -> PassWeights:
    """The pass with native samples as periods of the Java methods that called native code."""
    native = _ends_in_native(tree)[rows.node]
    if not native.any():
        return rows
    method = np.where(native, tree.parent[rows.node], rows.node)
    calls = native & system_calls(tree)[method]
    works = native & ~calls & (wait_kinds(tree)[method] < 0)
    looked_at, called, worked = (_by_thread(tree, rows, mask) for mask in (native, calls, works))
    each = rows.ticks / _rounds(looked_at, rows.ticks)
    used = {(one.pid, one.tid): (one.user_share, one.system_share) for one in usage.threads} if usage else {}
    user, system = np.array([used.get((one.pid, one.tid or 0), (0.0, 0.0)) for one in tree.profile.threads]).T * rows.ticks
    of_calls = np.divide(np.minimum(called * each, system), called, out=np.zeros(len(called)), where=called > 0)
    of_work = np.where((user + system > 0) & (worked > 0), each, 0.0)
    weight = np.where(calls, of_calls[rows.thread], np.where(works, of_work[rows.thread], np.where(native, 0.0, 1.0)))
    return replace(rows, node=method, count=rows.count * weight).where(weight > 0)


def largest_weights(tree: CallTree, rows: PassWeights) -> Floats:
    """How much each row of `periods_by_state` may be raised where its thread used more CPU time than its samples stand for."""
    called_native = np.zeros(len(tree.parent), dtype=bool)
    called_native[tree.parent[_ends_in_native(tree)]] = True
    native = called_native[rows.node]
    in_java = float(rows.count[~native].sum())
    return np.where(native, 1.0, RAISED_AT_MOST if in_java < OFTEN * JAVA_AT_A_TIME * rows.ticks else math.inf)


def _ends_in_native(tree: CallTree) -> Mask:
    marker = np.array([function == IN_NATIVE for function in tree.profile.frames.function], dtype=bool)
    return np.asarray(marker[tree.frame] & (tree.parent >= 0), dtype=bool)


def _rounds(looked_at: Floats, ticks: float) -> float:
    """How often each thread was asked whether it is in native code. `looked_at`: native samples by thread."""
    least, most = float(looked_at.max()), max(ticks, float(looked_at.max()))
    nobody = max(0.0, 1.0 - float(looked_at.sum()) / ticks)
    for _ in range(STEPS):
        rounds = (least + most) / 2
        if float(np.prod(1.0 - looked_at / rounds)) > nobody:
            most = rounds
        else:
            least = rounds
    return most


def _by_thread(tree: CallTree, rows: PassWeights, kept: Mask) -> Floats:
    return summed(rows.thread[kept], rows.count[kept], len(tree.profile.threads))
