"""Native code of a JVM has its CPU time, and what only waits there has none."""

import random
from collections.abc import Callable, Mapping

import pytest

from perfwright.analysis.call_tree import ProfileBuilder
from perfwright.analysis.frames import IN_NATIVE
from perfwright.analysis.hot_paths import find_hot_paths, on_cpu
from perfwright.analysis.tree_weights import CallTree
from perfwright.models.cpu_profiling import ProcessUse
from perfwright.models.profile import Profile
from tests.drawn_profiles import tid_of, use

TICKS, BLOCKS = 2_000, 20
JAVA, NATIVE, WAITS, INSIDE = "java", "native", "waits", "inside"
"""A state of a thread: in `Feed.hot`, in the native code of `Deflater`, waiting in a socket's, inside the virtual machine."""
DEFLATER, SOCKET = ("Deflater.deflateBytesBytes", "java.util.zip.Deflater"), ("SocketDispatcher.read0", "sun.nio.ch.SocketDispatcher")


def flight(threads: Mapping[str, Callable[[random.Random], str]], *, missed: float = 0.0) -> Profile:
    """What the flight recorder's sampler makes of threads in these states: all in Java, and one in native code, in turn.

    `missed`: looks that came to nothing because the stack could not be walked.
    """
    chance = random.Random(7)
    builder = ProfileBuilder("JFR")
    builder.begin("on_cpu", 100.0)
    blocks = [builder.add_block("on_cpu", TICKS / 100 / BLOCKS) for _ in range(BLOCKS)]
    hot = [builder.frame("Feed.hot", "shop.Feed", 5, "user")]
    marker = builder.frame(IN_NATIVE, "", 0, "native")
    below = {state: [*hot, builder.frame(*called, 0, "runtime"), marker] for state, called in ((NATIVE, DEFLATER), (WAITS, SOCKET))}
    names, last = list(threads), -1
    for tick in range(TICKS):
        states = {name: threads[name](chance) for name in names}
        number = {name: builder.thread(1, tid_of(name), name) for name in names}
        for name in names:
            if states[name] == JAVA and chance.random() >= missed:
                builder.add("on_cpu", hot, number[name], blocks[tick * BLOCKS // TICKS])
        turn = [at % len(names) for at in range(last + 1, last + 1 + len(names))]
        found = next((at for at in turn if states[names[at]] in below), None)
        if found is not None:
            last = found
            builder.add("on_cpu", below[states[names[found]]], number[names[found]], blocks[tick * BLOCKS // TICKS])
    return builder.build()


def mostly(**states: float) -> Callable[[random.Random], str]:
    return lambda chance: chance.choices(list(states), list(states.values()))[0]


def shares(profile: Profile, usage: ProcessUse | None) -> dict[str, float]:
    told = on_cpu(CallTree(profile), usage, runtime="jvm")
    return {one.function: one.self_share for one in find_hot_paths(told, top=9).functions if one.self_share > 0}


WAITERS = {f"acceptor-{number}": mostly(waits=1.0) for number in range(4)}


@pytest.mark.parametrize("waiters", [{}, WAITERS])
def test_a_thread_that_deflates_is_not_all_java(waiters: dict[str, Callable[[random.Random], str]]) -> None:
    """Three fifths in native code are three fifths, however many others wait in native code meanwhile."""
    profile = flight({"main": mostly(java=0.4, native=0.6), **waiters})
    told = shares(profile, use({"main": 1.0}))
    assert told == {"Deflater.deflateBytesBytes": pytest.approx(0.6, abs=0.04), "Feed.hot": pytest.approx(0.4, abs=0.04)}


def test_two_threads_that_deflate() -> None:
    """Only one of them is looked at a time: the kernel's count makes up for the other."""
    profile = flight({"a": mostly(java=0.4, native=0.6), "b": mostly(java=0.4, native=0.6)})
    assert shares(profile, use({"a": 1.0, "b": 1.0}))["Deflater.deflateBytesBytes"] == pytest.approx(0.6, abs=0.05)


def test_a_thread_kept_from_running_is_told_the_same() -> None:
    """With half a core for a thread that wants one, states are seen twice as often as they ran, and keep their proportions."""
    profile = flight({"main": mostly(java=0.4, native=0.6)})
    assert shares(profile, use({"main": 0.5}))["Deflater.deflateBytesBytes"] == pytest.approx(0.6, abs=0.04)


def test_waiting_in_native_code_is_no_cpu_time() -> None:
    """A server's thread that reads from sockets most of the time: its Java code has all that it used."""
    profile = flight({"main": mostly(java=0.2, waits=0.8)})
    assert shares(profile, use({"main": 0.2})) == {"Feed.hot": pytest.approx(1.0, abs=0.02)}


def test_rare_native_code_does_not_inherit_what_is_missing() -> None:
    """Where a fifth of the looks at Java code fail, a method in native code for a hundredth is not told with that fifth."""
    profile = flight({"main": mostly(java=0.99, native=0.01)}, missed=0.2)
    assert shares(profile, use({"main": 1.0}))["Deflater.deflateBytesBytes"] < 0.03


def test_work_inside_the_virtual_machine_is_given_to_nobody() -> None:
    """A thread that spends most of its time in the virtual machine's own code does not make its one method the whole program."""
    profile = flight({"main": mostly(java=0.3, inside=0.7)})
    told = on_cpu(CallTree(profile), use({"main": 1.0}), runtime="jvm")
    assert shares(profile, use({"main": 1.0}))["Feed.hot"] == pytest.approx(0.39, abs=0.05)
    assert told.coverage.share_of("code") == pytest.approx(0.61, abs=0.05)


def test_native_code_of_unknown_threads_is_left_out() -> None:
    """Without counters nobody knows who waits: then samples are of Java code only."""
    assert shares(flight({"main": mostly(java=0.4, native=0.6)}), None) == {"Feed.hot": pytest.approx(1.0)}
