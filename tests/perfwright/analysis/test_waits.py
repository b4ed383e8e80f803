import pytest

from perfwright.analysis.running import without_waits
from perfwright.analysis.tree_weights import CallTree
from perfwright.analysis.waits import KINDS, off_cpu
from tests.drawn_profiles import drawn, use

PER_THREAD = 2_000
"""Samples of a thread that is seen at every tick: 20 blocks of a second at 100 Hz."""


def waits(drawings: dict[str, str], **cores: float) -> dict[str, float]:
    found = off_cpu(CallTree(drawn(drawings)), use(cores) if cores else None)  # type: ignore[arg-type]
    assert found is not None
    return {kind: round(found.mean_threads(kind), 2) for kind in KINDS if found.mean_threads(kind) > 0.005}


@pytest.mark.parametrize(
    ("stack", "kind"),
    [
        ("run app.py:1 > select SELECTORS:468", "for work"),
        ("_worker FUTURES:81", "for work"),
        ("serve app.py:3 > get QUEUE:171 > Condition.wait THREADING:320", "for work"),
        ("serve app.py:3 > Semaphore.acquire THREADING:470 > Condition.wait THREADING:320", "lock"),
        ("serve app.py:3 > put QUEUE:140 > Condition.wait THREADING:320", "lock"),
        ("main app.py:3 > Thread.join THREADING:1119 > Thread._wait_for_tstate_lock THREADING:1139", "for work"),
        ("serve app.py:3 > fetch LIB/redis/connection.py:9 > readinto SOCKET:706", "I/O"),
        ("serve app.py:3 > lock_PyThread_acquire_lock C > PyThread_acquire_lock_timed C > futex C", "lock"),
        ("serve app.py:3 > pthread_cond_timedwait C", "GIL"),
        ("serve app.py:3 > take_gil C > pthread_cond_timedwait C", "GIL"),
        ("serve app.py:3 > time_sleep C > clock_nanosleep C", "sleep"),
        ("serve app.py:3 > time_sleep C > pthread_cond_timedwait C", "GIL"),
        ("run app.py:1 > select SELECTORS:468 > select_epoll_poll C > epoll_wait C", "for work"),
        ("main app.py:3 > Thread._wait_for_tstate_lock THREADING:1139 > lock_PyThread_acquire_lock C > futex C", "for work"),
        ("serve app.py:3 > sock_recv C > recv C", "I/O"),
        ("serve app.c:3 > pthread_cond_wait C > futex_do_wait K", "for work"),
        ("serve app.c:3 > pthread_mutex_lock@@GLIBC_2.2.5 C > __GI___lll_lock_wait C > futex_do_wait K > schedule K", "lock"),
        ("serve app.cc:3 > std::mutex::lock C > futex_do_wait K", "lock"),
        ("serve app.c:3 > __nanosleep C > clock_nanosleep@GLIBC_2.2.5 C > hrtimer_nanosleep K > schedule K", "sleep"),
        ("serve app.c:3 > __GI___libc_read C > anon_pipe_read K > schedule K", "I/O"),
        ("serve app.c:3 > epoll_wait@@GLIBC_2.3.2 C > do_epoll_wait K", "for work"),
        ("anon_pipe_read K", "I/O"),
        ("serve app.js:3 > spawn V8", "child process"),
        ("readAll app.js:3 > read V8", "I/O"),
        ("(idle) V8", "for work"),
    ],
)
def test_what_a_stack_waits_for(stack: str, kind: str) -> None:
    """Idle threads, locks, the GIL, I/O and sleeps are told apart by the frames at the end of the stack."""
    assert waits({"wall": f"{stack} {PER_THREAD}"}) == {kind: 1.0}


@pytest.mark.parametrize(
    "leaf",
    [
        "join POSIXPATH:71",
        "ABCMeta.__instancecheck__ ABC:119",
        "BufferedIncrementalDecoder.decode CODECS:322",
        "_find_and_load IMPORTLIB:1176",
        "BaseEventLoop._run_once BASE_EVENTS:1922",
        "EpollSelector.register SELECTORS:354",
        "Popen._execute_child SUBPROCESS:1782",
        "select feature_select.py:9",
        "run task_sched.py:9",
        "Popen.wait my_subprocess.py:9",
        "select selectors.py:9",
        "handle uvloop-shop/app.py:9",
        "acquire filelock/own.py:9",
    ],
)
def test_what_works_is_not_called_waiting(leaf: str) -> None:
    """Frozen modules of the standard library, the working parts of modules that wait elsewhere, and the target's own code of any name run."""
    tree = CallTree(drawn({"on_cpu": f"main app.py:3 > {leaf} 100", "wall": f"main app.py:3 > {leaf} {PER_THREAD}"}))
    rows = tree.weights("on_cpu")
    assert rows is not None and without_waits(tree, rows) == (rows, "")


@pytest.mark.parametrize(
    "leaf",
    ["EpollSelector.select SELECTORS:468", "_worker FUTURES:81", "Popen._try_wait SUBPROCESS:1917", "_ModuleLock.acquire IMPORTLIB:115"],
)
def test_what_waits_is_no_cpu_time(leaf: str) -> None:
    """Calls that only wait are left out of the samples that ran."""
    tree = CallTree(drawn(f"main app.py:3 > {leaf} 100\nmain app.py:5 300"))
    rows = tree.weights("on_cpu")
    assert rows is not None
    left, told = without_waits(tree, rows)
    assert left.samples == 300 and told.startswith("25% of the samples")


def test_waits_without_a_frame_are_wall_clock_less_running() -> None:
    """A thread that is seen at a line all the time and runs a tenth of it waits there for nine tenths, whichever source tells that it ran."""
    drawings = {"wall": f"@w serve app.py:7 {PER_THREAD}", "on_cpu": "@w serve app.py:7 200"}
    assert waits(drawings) == {"unknown": 0.9}
    assert waits({"wall": drawings["wall"]}, w=0.1) == {"unknown": 0.9}


def test_a_thread_that_runs_does_not_wait() -> None:
    """A busy thread is not off the CPU because its lines were seen a little more often in one pass than in the other."""
    lines = "\n".join(f"main app.py:1 > f app.py:{line} 100" for line in range(20))
    fewer = "\n".join(f"main app.py:1 > f app.py:{line} {95 if line % 2 else 105}" for line in range(20))
    assert waits({"wall": lines, "on_cpu": fewer}) == {}


def test_a_native_pass_names_the_waits_of_the_wall_pass() -> None:
    """Where the native pass saw the C call under a line, the wall pass's waits at that line are named."""
    drawings = {
        "wall": f"@w serve app.py:7 {PER_THREAD}",
        "native": "@w serve app.py:7 > lock_PyThread_acquire_lock C > futex C 50",
    }
    assert waits(drawings) == {"lock": 1.0}


def test_without_a_pass_that_sees_idle_threads_nothing_is_said() -> None:
    """No wall pass, no off-CPU answer."""
    assert off_cpu(CallTree(drawn("main app.py:1 100"))) is None
