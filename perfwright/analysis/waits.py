"""What a thread waits for, told from the leaf of its stack; and the off-CPU samples: wall-clock samples less those that ran.

A wall pass sees every thread at every tick. Where its stack ends in a known waiting call, it waited. Where it ends in ordinary code, it ran
or it waited inside a C call that has no frame (`with lock`, `time.sleep`): such samples count as waiting by as much as the thread was seen
there more often than it was seen, or is known, to run (Gregg, "Thinking Methodically about Performance", CACM 56, 2013: off-CPU analysis).
"""

import re
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from perfwright.analysis.frames import matchable
from perfwright.analysis.tree_weights import CallTree, Floats, Ints, Mask, PassWeights, summed
from perfwright.models.cpu_profiling import ProcessUse
from perfwright.models.profile import PassKind

WaitKind = Literal["for work", "I/O", "lock", "GIL", "sleep", "child process", "unknown"]
"""`for work`: idle, nobody waits for this thread. The others hold up what the thread is doing."""
KINDS: tuple[WaitKind, ...] = ("for work", "I/O", "lock", "GIL", "sleep", "child process", "unknown")
_FOR_WORK, _IO, _LOCK, _GIL, _SLEEP, _CHILD, _UNKNOWN = range(7)
_SIGNAL = 7
"""A condition variable or park: what it means is told by who calls it."""
_NONE = -1
_WAITING_PASSES: tuple[PassKind, ...] = ("off_cpu", "wall", "native")
_CALLERS_READ = 6
"""Frames above a condition variable that are asked for its meaning: a queue's `get`, a semaphore, a pool's idle worker."""

Rules = tuple[tuple[int, str], ...]
"""A kind and a pattern on `file:function`, first fit wins."""
_MANAGED: Rules = (
    (_FOR_WORK, r"(^|/)selectors\.py:(\w+\.)?select$|(^|/)sched\.py:(scheduler\.)?run$|(^|/)concurrent/futures/thread\.py:_worker$"),
    (_FOR_WORK, r"(^|/)(uvloop|gevent|eventlet)/.*:(\w+\.)*(run|run_forever|run_until_complete|join|switch|wait)$"),
    (_FOR_WORK, r"(^|/)threading\.py:(Thread\.)?(join|_wait_for_tstate_lock)$|EPoll(ArrayWrapper)?\.(epollWait|wait)|KQueue|:accept$"),
    (_FOR_WORK, r":\((idle|program)\)$|sun\.nio\.ch\.Net\.accept|ServerSocket(ChannelImpl)?\.accept"),
    (_SIGNAL, r"(^|/)threading\.py:(Condition\.|Event\.)?wait(_for)?$|Unsafe\.park|LockSupport\.park|java\.lang\.Object\.wait"),
    (_LOCK, r"(^|/)threading\.py:(_RLock|Lock|RLock|Semaphore)\.(acquire|__enter__)$|:\(monitor enter\)$|MonitorEnter"),
    (_LOCK, r"(^|/)(filelock|portalocker)/.*:(\w+\.)?(_?acquire|lock|__enter__)$|^<frozen importlib\._bootstrap>:_ModuleLock\.acquire$"),
    (_CHILD, r"(^|/)subprocess\.py:(Popen\.)?(_try_wait|_?wait|_?communicate)$|(^|/)multiprocessing/popen_\w+\.py:(Popen\.)?(poll|wait)$"),
    (_CHILD, r"ProcessImpl\.waitFor|:waitpid$"),
    (_IO, r"(^|/)(socket|ssl|http/client|multiprocessing/connection|urllib3/util/wait)\.py:|(^|/)redis/.*connection"),
    (_IO, r"SocketDispatcher\.read|SocketInputStream|NioSocketImpl|FileDispatcherImpl|FileChannelImpl\.force|FileInputStream\.read"),
    (_IO, r"(^|/)(psycopg\w*|pymysql|asyncpg)/|RandomAccessFile"),
    (_CHILD, r"^:spawn$"),
    (_IO, r"^:(read|write|open|readdir|copyFile|l?stat|fsync|fdatasync|rename|unlink)(File|Utf8|Buffer|Buffers|String|FileUtf8)?$"),
    (_SLEEP, r"Thread\.sleep"),
)
"""Functions that do nothing but wait, of standard libraries and installed packages; never the target's own, whatever it calls its files.
The rest of such a file works: an event loop's `_run_once`, `register`, what starts a child process."""
_NATIVE: Rules = (
    (_GIL, r":(take_gil|PyEval_(AcquireThread|RestoreThread|AcquireLock))$"),
    (_LOCK, r":(lock_PyThread|PyThread_acquire_lock|rlock_acquire|sem_(timed|clock)?wait|.*mutex_lock|_ZNSt5mutex)"),
    (_LOCK, r":(_*(GI_+)?(lll_lock|(new_)?sem_(timed|clock)?wait|pthread_(rw|spin)lock)|.*([Mm]utex|RwLock).*::lock)|:std::.*mutex::lock"),
    (_SLEEP, r":(time_sleep|pysleep|_*(GI_+)?(clock_)?nanosleep|usleep|sleep|hrtimer_nanosleep)"),
    (_FOR_WORK, r":_*(GI_+)?(libc_)?(accept4?|epoll_p?wait|kevent|uv__io_poll|pause|sigwait(info)?|sigtimedwait|sigsuspend)(@.*)?$"),
    (_FOR_WORK, r":(do_epoll_wait|ep_poll|inet_csk_accept|_*do_sys_pause|do_sigtimedwait|sigsuspend)"),
    (
        _IO,
        r":_*(GI_+)?(libc_)?(p?poll|p?select|recv|recvfrom|recvmsg|p?read|readv|send|sendto|sendmsg|p?write|writev|connect|open(at)?)"
        r"(64)?(@.*)?$",
    ),
    (_IO, r":_*(GI_+)?(fsync|fdatasync|io_getevents)(@.*)?$"),
    (_IO, r":((anon_)?pipe_(read|write)|io_schedule|folio_wait|wait_for_partner|do_sys_poll|do_select)"),
    (_IO, r":(sk|unix_stream|tcp)_\w*(wait|recv|send)"),
    (_CHILD, r":_*(GI_+)?(waitpid|wait4|waitid)(@.*)?$|:do_wait$"),
    (_SIGNAL, r":(_*(GI_+)?(pthread_cond_(timed|clock)?wait)|_*futex)"),
)
_CALLED_FOR: Rules = (
    (_FOR_WORK, r"(^|/)multiprocessing/pool\.py:"),
    (_LOCK, r"(^|/)threading\.py:((Bounded)?Semaphore\.|Barrier)|(^|/)queue\.py:(Queue\.)?put|(^|/)sqlalchemy/.*pool|(^|/)pool\.py:"),
    (_LOCK, r"Lock\.lock|Semaphore\.acquire|AbstractQueuedSynchronizer\.acquire"),
    (_FOR_WORK, r"(^|/)queue\.py:|:_worker$|ThreadPoolExecutor\.getTask|ForkJoinPool|BlockingQueue|Executor|Timer|ReferenceQueue"),
)
_SYSTEM_CALLS = re.compile(
    r"(^|/)asyncio/(selector_events|unix_events)\.py:.*(write|writelines|sendfile|_read_ready\w*|_write_ready|_write_to_self|_accept\w*|_sock_\w+)$"
    r"|(^|/)socket\.py:(SocketIO\.)?(readinto|write|accept|create_connection)$|(^|/)socketserver\.py:.*write$"
    r"|(^|/)multiprocessing/connection\.py:(Connection\.)?_(send|recv)$|(^|/)selectors\.py:.*(select|register|modify|unregister)$"
    r"|Socket(Dispatcher|InputStream|OutputStream|ChannelImpl)\.(read|write)0?$|NioSocketImpl\.|FileDispatcherImpl\.|EPoll\.(wait|ctl)$"
)
"""Functions of standard libraries that only hand bytes to the kernel; `ssl` is not among them, it encrypts."""


@dataclass(frozen=True)
class OffCpu:
    """Samples that waited (counts are not whole numbers) and what each row waited for, by index into `KINDS`."""

    rows: PassWeights
    kind: Ints
    ticks: float
    """Moments at which threads were looked at: samples / ticks is the mean number of threads."""

    def mean_threads(self, *kinds: WaitKind) -> float:
        """Threads that wait for this, on average."""
        wanted = np.isin(self.kind, [KINDS.index(kind) for kind in kinds])
        return float(self.rows.count[wanted].sum()) / self.ticks if self.ticks > 0 else 0.0


def off_cpu(tree: CallTree, usage: ProcessUse | None = None) -> OffCpu | None:
    """What waited, from the wall pass (or a native pass that saw idle threads too). None where neither was recorded."""
    kinds = wait_kinds(tree)
    for source in _WAITING_PASSES:
        rows = tree.weights(source)
        if rows is None or rows.samples <= 0:
            continue
        waits = kinds[rows.node]
        if source == "native" and not (waits >= 0).any():
            continue
        count = _waiting(tree, rows, waits, usage) if source == "wall" else rows.count
        if source == "native":
            count = np.where(waits >= 0, count, 0.0)
        kept = count > 0
        kind = np.where(waits[kept] >= 0, waits[kept], _UNKNOWN)
        waited = replace(rows, kind="off_cpu", count=count).where(kept)
        return OffCpu(waited, _told_by_native(tree, kinds, waited, kind), rows.ticks)
    return None


def _told_by_native(tree: CallTree, kinds: Ints, rows: PassWeights, kind: Ints) -> Ints:
    """What a line waits for, where only the native pass could see the C call: the commonest wait seen there below the same line."""
    native = tree.weights("native")
    if native is None:
        return kind
    compiled = tree.names.is_from("native", "kernel")[tree.frame]
    line = np.where(compiled, _NONE, tree.names.line[tree.frame])
    for level in tree.levels:
        above = tree.parent[level]
        line[level] = np.where(compiled[level] & (above >= 0), line[above], line[level])
    told = (kinds[native.node] >= 0) & (line[native.node] >= 0)
    seen = np.zeros((len(tree.names.lines) + 1, len(KINDS)))
    np.add.at(seen, (line[native.node][told], kinds[native.node][told]), native.count[told])
    at = line[rows.node]
    known = (kind == _UNKNOWN) & (at >= 0) & (seen.sum(axis=1)[at] > 0)
    return np.where(known, seen.argmax(axis=1)[at], kind)


def _waiting(tree: CallTree, rows: PassWeights, waits: Ints, usage: ProcessUse | None) -> Floats:
    """Share of each row that waited: all of a known wait, the excess over running elsewhere."""
    threads = len(tree.profile.threads)
    known = waits >= 0
    seen = summed(rows.thread, rows.count, threads)
    certain = summed(rows.thread[known], rows.count[known], threads)
    running_rows = tree.weights("on_cpu")
    ticks = rows.ticks
    span = len(tree.parent)
    pair = rows.thread * span + rows.node
    pairs, where = np.unique(pair, return_inverse=True)
    ran_at = np.zeros(len(pairs))
    ran = np.zeros(threads)
    if running_rows is not None and running_rows.samples > 0:
        scale = ticks / max(1.0, running_rows.ticks)
        running_pair = running_rows.thread * span + running_rows.node
        spot = np.searchsorted(pairs, running_pair)
        hit = (spot < len(pairs)) & (pairs[np.minimum(spot, len(pairs) - 1)] == running_pair)
        np.add.at(ran_at, spot[hit], running_rows.count[hit] * scale)
        ran = summed(running_rows.thread, running_rows.count, threads) * scale
    for number, thread in enumerate(tree.profile.threads):
        for one in usage.threads if usage else ():
            if (one.pid, one.tid) == (thread.pid, thread.tid):
                ran[number] = (one.user_share + one.system_share) * ticks
    seen_at = summed(where, rows.count, len(pairs))
    excess = np.maximum(0.0, seen_at - ran_at)
    share_at = np.divide(excess, seen_at, out=np.zeros(len(pairs)), where=seen_at > 0)
    possible = np.where(known, 0.0, rows.count * share_at[where])
    wanted = np.maximum(0.0, seen - certain - ran)
    offered = summed(rows.thread, possible, threads)
    allowed = np.minimum(1.0, np.divide(wanted, offered, out=np.zeros(threads), where=offered > 0))
    return np.where(known, rows.count, possible * allowed[rows.thread])


def system_calls(tree: CallTree) -> Mask:
    """Nodes at which a stack ends in a function that does nothing but a system call: what it uses is system time."""
    names = [matchable(function, file) for function, file in tree.names.functions]
    found = np.array([*(bool(_SYSTEM_CALLS.search(name)) for name in names), False], dtype=bool)
    return np.asarray(found[tree.names.function[tree.frame]], dtype=bool)


def wait_kinds(tree: CallTree) -> Ints:
    """For every node, what a thread whose stack ends there waits for: an index into `KINDS`, -1 where it is not known to wait."""
    names = [matchable(function, file) for function, file in tree.names.functions]
    managed, native, called_for = (_matched(names, rules) for rules in (_MANAGED, _NATIVE, _CALLED_FOR))
    managed[tree.names.function[tree.names.is_from("user")]] = _NONE
    function = tree.names.function[tree.frame]
    coded = function >= 0
    compiled = tree.names.is_from("native", "kernel")[tree.frame]
    kind = np.where(coded & ~compiled, managed[function], np.where(coded & compiled, native[function], _NONE))
    # what the managed caller is known to wait for says more than the C call that does it: `join` ends in a lock, an event loop in a poll
    caller = np.where(compiled, _NONE, kind)
    for level in tree.levels:
        above = tree.parent[level]
        under = compiled[level] & (above >= 0)
        caller[level] = np.where(under, caller[above], caller[level])
        # the first telling C frame under the managed code decides: below `lock_PyThread_acquire_lock` comes a nameless futex
        inherits = under & compiled[above] & (kind[above] >= 0)
        # but a sleeping thread that ends in a bare condition variable waits to take the GIL again
        retakes = inherits & (kind[above] == _SLEEP) & (native[function[level]] == _SIGNAL) & coded[level]
        kind[level] = np.where(retakes, _SIGNAL, np.where(inherits, kind[above], kind[level]))
    named = compiled & (caller >= 0) & np.isin(kind, (_LOCK, _IO, _SIGNAL))
    kind = np.where(named, caller, kind)
    signals = np.flatnonzero(kind == _SIGNAL)
    meaning = np.full(len(signals), _NONE, dtype=np.int64)
    above = signals.copy()
    for _ in range(_CALLERS_READ):
        told = np.where((above >= 0) & coded[above], called_for[function[above]], _NONE)
        meaning = np.where(meaning >= 0, meaning, told)
        above = np.where(above >= 0, tree.parent[above], -1)
    # under Python code, a bare condition variable with no lock call between is how CPython waits for the GIL
    has_python = any(file.endswith(".py") for _, file in tree.names.functions)
    bare = np.where(compiled[signals] & ~named[signals] & has_python, _GIL, _FOR_WORK)
    kind[signals] = np.where(meaning >= 0, meaning, bare)
    return kind


def _matched(names: list[str], rules: tuple[tuple[int, str], ...]) -> Ints:
    """The first rule that fits each name, -1 where none does; one more entry, -1, for frames that are no code."""
    compiled = [(kind, re.compile(pattern)) for kind, pattern in rules]
    found = [next((kind for kind, pattern in compiled if pattern.search(name)), _NONE) for name in names]
    return np.array([*found, _NONE], dtype=np.int64)
