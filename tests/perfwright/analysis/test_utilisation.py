import pytest

from perfwright.analysis.utilisation import describe_utilisation
from perfwright.models.cpu_profiling import ProcessUse
from tests.drawn_profiles import seen, use

ALWAYS = 2_000
"""Samples of a thread that is seen at every tick."""
BUSY = f"main app.py:1 > work app.py:5 {ALWAYS}"
GIL_THREADS = ("w1", "w2", "w3", "w4")


def patterns(drawings: dict[str, str], usage: ProcessUse | None) -> list[str]:
    return [one.name for one in describe_utilisation(seen(drawings, usage), usage).patterns]


@pytest.mark.parametrize(
    ("drawings", "usage", "expected"),
    [
        ({"on_cpu": "main app.py:1 900"}, use({"MainThread": 0.45}), ["balanced"]),
        ({"on_cpu": "main app.py:1 20"}, use({"MainThread": 0.01}), ["idle"]),
        ({"on_cpu": BUSY}, use({"MainThread": 0.97, "other": 0.05}), ["one thread saturated"]),
        ({"on_cpu": BUSY}, use({"MainThread": 0.97, "other": 0.98}), ["balanced"]),
        ({"on_cpu": BUSY}, use({"MainThread": 0.8, "other": 0.7}, machine=0.97), ["CPU-saturated"]),
        ({"on_cpu": BUSY}, use({"MainThread": 0.4}, machine=0.97), ["balanced"]),
        ({"on_cpu": BUSY}, use({"MainThread": 0.6}, system=0.35), ["kernel-heavy"]),
        ({"on_cpu": "main app.py:1 20"}, use({"MainThread": 0.01}, system=0.008), ["idle"]),
        ({"on_cpu": "main app.py:1 200"}, use({"MainThread": 0.1}, iowait=0.4), ["waiting on I/O"]),
    ],
)
def test_patterns_of_the_counters(drawings: dict[str, str], usage: ProcessUse, expected: list[str]) -> None:
    """Saturation, kernel work and idleness are named from the kernel's counters; a program that works without trouble is balanced."""
    assert patterns(drawings, usage) == expected


def test_threads_that_share_the_gil() -> None:
    """Four busy threads that get a quarter of a core each are GIL-bound, and how many wanted to run is told."""
    drawings = {
        "on_cpu": "\n".join(f"@{name} burn app.py:5 {ALWAYS // 4}" for name in GIL_THREADS),
        "wall": "\n".join(f"@{name} burn app.py:5 {ALWAYS}" for name in GIL_THREADS),
        "gil": "\n".join(f"@{name} burn app.py:5 {ALWAYS // 4 - 10}" for name in GIL_THREADS),
    }
    usage = use(dict.fromkeys(GIL_THREADS, 0.25))
    told = describe_utilisation(seen(drawings, usage), usage)
    assert [one.name for one in told.patterns] == ["GIL-bound"]
    assert told.runnable_threads == pytest.approx(4.0, abs=0.1) and told.gil_busy_share == pytest.approx(0.98)
    assert told.waiting[0].function == "burn: waits for the GIL"


def test_one_busy_thread_holds_the_gil_and_is_not_gil_bound() -> None:
    """A single busy thread holds the GIL all the time without anybody waiting for it."""
    drawings = {"on_cpu": BUSY, "wall": f"{BUSY}\n@pool _worker FUTURES:81 {ALWAYS}", "gil": BUSY}
    assert patterns(drawings, use({"MainThread": 0.99, "pool": 0.0})) == ["one thread saturated"]


def test_a_contended_lock() -> None:
    """Threads that wait for a lock are named with the line, whether C frames tell it or only their number does."""
    workers = [f"w{number}" for number in range(5)]
    native = {
        "on_cpu": "@w0 put store.py:11 200",
        "wall": "\n".join(f"@{name} put store.py:9 {ALWAYS}" for name in workers[1:]),
        "native": "\n".join(f"@{name} put store.py:9 > lock_PyThread_acquire_lock C > futex C 40" for name in workers[1:]),
    }
    usage = use(dict.fromkeys(workers, 0.02))
    told = describe_utilisation(seen(native, usage), usage)
    assert [(one.name, one.confidence) for one in told.patterns] == [("waiting on locks", "high")]
    assert "store.py:9" in told.patterns[0].statement and told.waiting[0].line == 9
    blind = describe_utilisation(seen({kind: native[kind] for kind in ("on_cpu", "wall")}, usage), usage)
    assert [(one.name, one.confidence) for one in blind.patterns] == [("waiting on locks", "low")]


def test_idle_pool_threads_and_event_loops_wait_for_nobody() -> None:
    """A healthy server, its event loop polling and its pool threads idle, has no waiting pattern."""
    drawings = {
        "on_cpu": "main app.py:1 > handle app.py:5 600",
        "wall": f"main app.py:1 > handle app.py:5 600\nmain app.py:1 > select SELECTORS:468 1400\n@p1 _worker FUTURES:81 {ALWAYS}\n@p2 _worker FUTURES:81 {ALWAYS}",
        "gil": "main app.py:1 > handle app.py:5 550",
    }
    usage = use({"MainThread": 0.3, "p1": 0.0, "p2": 0.0})
    told = describe_utilisation(seen(drawings, usage), usage)
    assert [one.name for one in told.patterns] == ["balanced"]
    assert told.waiting == ()


def test_waiting_on_a_service() -> None:
    """Threads that spend their time receiving from sockets wait on I/O, at the line that asks."""
    threads = ("a", "b", "c")
    drawings = {
        "on_cpu": "@a fetch prices.py:20 100",
        "wall": "\n".join(f"@{name} fetch prices.py:20 > readinto SOCKET:706 {ALWAYS}" for name in threads),
    }
    usage = use(dict.fromkeys(threads, 0.02))
    told = describe_utilisation(seen(drawings, usage), usage)
    assert [one.name for one in told.patterns] == ["waiting on I/O"]
    assert "prices.py:20" in told.patterns[0].statement


WORKERS = ("7/w", "8/w", "9/w")


def of_processes(cores: float, more: str = "") -> tuple[dict[str, str], ProcessUse]:
    """A parent that waits for its three workers; each always wants to run, gets so many cores, and holds its own GIL meanwhile."""
    busy = "\n".join(f"@{name} work app.py:5 {ALWAYS}" for name in WORKERS)
    return {"on_cpu": busy, "wall": f"main app.py:9 > poll FORK:27 {ALWAYS}\n{busy}\n{more}", "gil": busy}, use(
        {"MainThread": 0.0} | dict.fromkeys(WORKERS, cores)
    )


def test_a_parent_waits_for_no_io() -> None:
    """Who waits for its worker processes waits neither for I/O nor for a GIL that they do not share; and it is told whom it waits for."""
    for cores in (0.05, 0.95):
        drawings, usage = of_processes(cores)
        told = describe_utilisation(seen(drawings, usage), usage)
        assert [one.name for one in told.patterns] == ["balanced"]
        assert "1.0 threads wait for child processes at a time, on average, most at main (shop/app.py:9)." in told.patterns[0].statement
        assert told.runnable_threads == pytest.approx(cores, abs=0.1)


def test_pipes_between_its_processes_are_no_io() -> None:
    """A pool's thread that reads results from a pipe waits for the workers; of one process alone, nobody knows who is at the other end."""
    reading = f"@results _handle_results app.py:3 > _recv PIPE:379 {ALWAYS}"
    assert patterns(*of_processes(0.2, reading)) == ["balanced"]
    assert patterns({"on_cpu": "@results f app.py:3 40", "wall": reading}, use({"results": 0.02})) == ["waiting on I/O"]


def test_without_counters_the_stacks_alone_speak() -> None:
    """A recording without the process sampler still says whether the target worked."""
    assert patterns({"on_cpu": BUSY}, None) == ["balanced"]
    assert patterns({"on_cpu": "main app.py:1 10"}, None) == ["idle"]
