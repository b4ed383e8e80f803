"""Counters become shares and rates."""

import pytest

from perfwright.analysis.process_use import ThreadSwitches, UseStep, summarise_use, use_series


def step(at_s: float, user_s: float, **more: object) -> UseStep:
    fields: dict = {
        "at_s": at_s,
        "seconds": 0.5,
        "user_s": user_s,
        "system_s": 0.05,
        "voluntary": 10,
        "involuntary": 2,
        "read_bytes": 0,
        "write_bytes": 4_096,
        "rss_bytes": 50_000_000,
        "thread_count": 3,
        "child_processes": 0,
        "machine_busy_share": 0.5,
        "machine_iowait_share": 0.01,
        "sampler_cpu_s": 0.001,
    }
    return UseStep(**(fields | more))


def test_shares_are_cores() -> None:
    """Two threads that use 0.4 and 0.1 of half a second each step:

    step     0.5 s    1.0 s    1.5 s    2.0 s
    7/8      0.4      0.4      0.4      0.4      -> 0.8 cores
    7/9      0.1      -        0.1      -        -> 0.1 cores, busy 0.2 where it ran
    """
    steps = [
        step(0.5 * (i + 1), 0.5 if i % 2 == 0 else 0.4, threads={"7/8": (0.4, 0.0)} | ({"7/9": (0.1, 0.0)} if i % 2 == 0 else {}))
        for i in range(4)
    ]
    use = summarise_use(steps, {"7/8": ThreadSwitches(name="main", voluntary=40, involuntary=8)}, cpu_count=2)
    assert use.user_share == pytest.approx(0.9)
    assert use.system_share == pytest.approx(0.1)
    assert use.voluntary_switches_hz == pytest.approx(20)
    main, other = use.threads
    assert (main.tid, main.name, main.voluntary_switches_hz) == (8, "main", 20)
    assert main.user_share == pytest.approx(0.8)
    assert other.user_share == pytest.approx(0.1)
    assert other.busy_share_p95 == pytest.approx(0.2)
    assert use.sampler_cpu_share == pytest.approx(0.002)


def test_processes_and_what_nobody_saw_of_them() -> None:
    """A process has what its threads used, those too that ended between two sweeps; children that ended stand apart.

    s        0.5              1.0
    7        0.30             0.30       its threads 0.30 and 0.10: 0.2 by threads that ended
    8        0.05
    others   0.15                        of children that ended
    """
    steps = [
        step(
            0.5, 0.5, system_s=0.0, threads={"7/7": (0.2, 0.1), "8/8": (0.05, 0.0)}, processes={"7": 0.3, "8": 0.05}, ended_children_s=0.15
        ),
        step(1.0, 0.3, system_s=0.0, threads={"7/7": (0.1, 0.0)}, processes={"7": 0.3}),
    ]
    use = summarise_use(steps, {}, 2, {"7": "make"})
    assert [(one.pid, one.program) for one in use.processes] == [(7, "make"), (8, "")]
    assert [one.cpu_share for one in use.processes] == pytest.approx([0.6, 0.05])
    assert [one.ended_threads_share for one in use.processes] == pytest.approx([0.2, 0.0])
    assert use.ended_children_share == pytest.approx(0.15) and use.user_share == pytest.approx(0.8)


def test_nothing_sampled_is_nothing() -> None:
    """A target that exited before the second reading gives zeros, not a division by zero."""
    use = summarise_use([], {}, cpu_count=2)
    assert (use.samples, use.user_share, use.threads) == (0, 0.0, ())
    assert use_series([]) == {
        "t_s": [],
        "series": [
            {"label": "user", "unit": "cores", "values": []},
            {"label": "system", "unit": "cores", "values": []},
            {"label": "whole machine busy", "unit": "share", "values": []},
        ],
    }


def test_only_the_busiest_threads_are_kept() -> None:
    """Five hundred threads fit into a small payload: the 64 busiest stay."""
    threads = {f"1/{tid}": (tid / 10_000, 0.0) for tid in range(1, 501)}
    use = summarise_use([step(0.5, 1.0, threads=threads)], {}, cpu_count=2)
    assert len(use.threads) == 64
    assert [thread.tid for thread in use.threads[:2]] == [500, 499]
