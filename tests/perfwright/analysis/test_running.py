"""Shares of samples become shares of CPU time: what the kernel counted per thread weighs what the sampler saw."""

import numpy as np
import pytest

from perfwright.analysis.call_tree import ProfileBuilder
from perfwright.analysis.cpu_costs import find_costs
from perfwright.analysis.hot_paths import OnCpu, find_hot_paths, on_cpu
from perfwright.analysis.tree_weights import CallTree
from perfwright.models.cpu_profiling import ProcessUse
from tests.drawn_profiles import frame_of, seen, tid_of, use


def shares(told: OnCpu) -> dict[str, float]:
    return {one.function: round(one.self_share, 3) for one in find_hot_paths(told, top=20).functions}


def test_shares_are_of_the_time_that_threads_used() -> None:
    """A pool seen half as often as it ran is weighed up, a thread seen twice as often as it ran is weighed down, and that is said.

    kernel     main 0.20   pool 0.20          samples    main 800   pool 200
    """
    text = "main app.py:1 > page app.py:5 600\nmain app.py:1 > cart app.py:7 200\n@pool-1 crc pictures.py:29 200"
    told = seen(text, use({"MainThread": 0.2, "pool-1": 0.2}), seconds=20)
    assert shares(told) == {"crc": 0.5, "page": 0.375, "cart": 0.125}
    assert told.rows.samples / told.rows.ticks == pytest.approx(0.4), "a count is a tick of CPU time"
    assert "MainThread 0.50" in told.note and "pool-1 2.00" in told.note


def test_threads_of_a_pool_are_weighed_together() -> None:
    """Forty threads with five samples each are one stratum: their samples count as what they used together."""
    names = [f"worker_{number}" for number in range(40)]
    text = "main app.py:1 > page app.py:5 800\n" + "\n".join(f"@{name} crc pictures.py:29 5" for name in names)
    told = seen(text, use({"MainThread": 0.2} | dict.fromkeys(names, 0.005)), seconds=20)
    assert shares(told) == {"crc": 0.5, "page": 0.5}
    assert "worker_#" in told.note


def test_what_the_sampler_does_not_know_is_left_alone() -> None:
    """Threads without counters, and strata with too few samples to weigh, keep the samples that they have."""
    text = "main app.py:1 > page app.py:5 400\n@short burst app.py:9 100\n@rare tick app.py:11 8"
    usage = use({"MainThread": 0.4, "rare": 0.2}).model_copy(update={"thread_count": 200})
    told = seen(text, usage, seconds=20)
    counts = {tid_of(name): 0.0 for name in ("MainThread", "short", "rare")}
    for thread, count in zip(told.rows.thread, told.rows.count, strict=True):
        counts[told.tree.profile.threads[thread].tid or 0] += count
    assert counts == pytest.approx({tid_of("MainThread"): 800, tid_of("short"): 100, tid_of("rare"): 8})


def test_lines_that_only_call_the_kernel_use_no_more_than_system_time() -> None:
    """A thread that is often seen in `send`, just woken and without a CPU, does not hide the code that really runs.

    kernel     0.30 user, 0.02 system         samples    work 200   send 200
    """
    text = "main app.py:1 > work app.py:5 200\nmain app.py:1 > _write_to_self asyncio/selector_events.py:139 200"
    usage = use({"MainThread": 0.32}, system=0.02)
    usage = usage.model_copy(
        update={"threads": tuple(one.model_copy(update={"user_share": 0.3, "system_share": 0.02}) for one in usage.threads)}
    )
    found = shares(seen(text, usage, seconds=20))
    assert found["work"] == pytest.approx(0.3 / 0.32, abs=0.001) and found["_write_to_self"] == pytest.approx(0.02 / 0.32, abs=0.001)
    honest = seen("main app.py:1 > work app.py:5 380\nmain app.py:1 > _write_to_self asyncio/selector_events.py:139 20", usage, seconds=20)
    assert shares(honest)["_write_to_self"] == pytest.approx(0.05), "where they fit into the system time they are left as they are"


def test_time_without_samples_is_told() -> None:
    """CPU time of threads that the profiler never saw (compiled code of its own) is not given to others, and said."""
    told = seen("main app.py:1 > work app.py:5 400", use({"MainThread": 0.2, "codec": 0.3}), seconds=20)
    assert "60% of the CPU time was used by threads without samples" in told.note


def recorded(rng: np.random.Generator, blocks: int) -> tuple[OnCpu, dict[str, float]]:
    """A program of two threads under a sampler that sees the pool half as often as it runs, and what its functions really used.

    Each second the pool runs for a random part; main is split between `page` and `cart`. 50 looks a second.
    """
    builder = ProfileBuilder("drawn 1")
    builder.begin("on_cpu", 50.0)
    main, pool = builder.thread(1, tid_of("MainThread"), "MainThread"), builder.thread(1, tid_of("pool-1"), "pool-1")
    frames = {name: [frame_of(builder, f"{name} app.py:{line}")] for name, line in (("page", 5), ("cart", 7), ("crc", 9))}
    used = {"page": 0.0, "cart": 0.0, "crc": 0.0}
    for _ in range(blocks):
        block = builder.add_block("on_cpu", 1.0)
        at_work = {"page": rng.beta(6, 14), "cart": rng.beta(2, 8), "crc": rng.beta(3, 9)}
        for name, share in at_work.items():
            used[name] += share / blocks
            looks = rng.binomial(50, share * (0.5 if name == "crc" else 1.0))
            builder.add("on_cpu", frames[name], pool if name == "crc" else main, block, int(looks))
    usage = use({"MainThread": used["page"] + used["cart"], "pool-1": used["crc"]})
    return on_cpu(CallTree(builder.build()), usage, runtime="python"), used


def test_intervals_hold_the_share_of_time() -> None:
    """The interval of a weighed share holds the share of CPU time that the code has in the long run, as often as it says."""
    truth = {"page": 0.3, "cart": 0.2, "crc": 0.25}
    whole = sum(truth.values())
    hits = tries = 0
    for turn in range(80):
        told, _ = recorded(np.random.default_rng(turn), 20)
        for cost in find_costs(told, seed=turn):
            tries += 1
            hits += cost.interval.low <= truth[cost.function] / whole <= cost.interval.high
    assert 0.9 <= hits / tries <= 0.995


def test_a_few_heavy_samples_are_worth_few() -> None:
    """Samples that were weighed very differently tell as much as fewer equal ones."""
    even = seen("main app.py:1 > page app.py:5 400\n@pool-1 crc pictures.py:29 400", use({"MainThread": 0.2, "pool-1": 0.2}), seconds=20)
    uneven = seen("main app.py:1 > page app.py:5 760\n@pool-1 crc pictures.py:29 40", use({"MainThread": 0.2, "pool-1": 0.2}), seconds=20)
    assert even.rows.worth == pytest.approx(800) and uneven.rows.worth == pytest.approx(1 / (0.25 / 760 + 0.25 / 40))


def test_without_counters_samples_stay_as_they_are() -> None:
    """No process sampler, or one that saw no thread: nothing is weighed."""
    nothing: ProcessUse = use({})
    for usage in (None, nothing):
        told = seen("main app.py:1 > work app.py:5 500", usage)
        assert told.note == "" and told.rows.samples == told.rows.worth == 500
