import gzip
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis import call_tree
from perfwright.analysis.call_tree import (
    LEFT_OUT,
    RARE_STACKS,
    ProfileBuilder,
    ProfileTooLarge,
    _PassRows,
    decode_profile,
    encode_profile,
)
from perfwright.analysis.tree_weights import CallTree
from perfwright.models.profile import Profile

STACKS = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=8), min_size=1, max_size=40)


def recorded(stacks: list[list[int]], **bounds: int) -> tuple[Profile, ProfileBuilder]:
    builder = ProfileBuilder("test 1", **bounds)
    builder.begin("on_cpu", 99)
    blocks = [builder.add_block("on_cpu", 1.0) for _ in range(4)]
    threads = [builder.thread(1, tid) for tid in (11, 12)]
    for number, stack in enumerate(stacks):
        frames = [builder.frame(f"f{one}", "app.py", one + 1, "user") for one in stack]
        builder.add("on_cpu", frames, threads[number % 2], blocks[number % 4])
    return builder.build(), builder


def stacks_of(profile: Profile) -> Counter[tuple[str, ...]]:
    """The slow obvious way back: walk to the root for every row."""
    found: Counter[tuple[str, ...]] = Counter()
    one = profile.passes[0]
    for node, count in zip(one.node, one.count, strict=True):
        names: list[str] = []
        while node >= 0:
            names.append(profile.frames.function[profile.nodes.frame[node]])
            node = profile.nodes.parent[node]
        found[tuple(reversed(names))] += count
    return found


@given(STACKS)
def test_every_stack_comes_back_with_its_count(stacks: list[list[int]]) -> None:
    """What a profiler saw is what the profile holds, stack by stack."""
    profile, builder = recorded(stacks)
    assert stacks_of(profile) == Counter(tuple(f"f{one}" for one in stack) for stack in stacks)
    assert builder.notes == ()
    assert all(parent < node for node, parent in enumerate(profile.nodes.parent))


@given(STACKS, st.integers(3, 12))
def test_a_bounded_profile_loses_detail_but_no_sample(stacks: list[list[int]], max_nodes: int) -> None:
    """Past the node bound rare stacks are folded under the frame they share, visibly, and every sample still counts."""
    profile, builder = recorded(stacks, max_nodes=max_nodes)
    whole, _ = recorded(stacks)
    assert len(profile.nodes.parent) <= max_nodes
    assert sum(profile.passes[0].count) == len(stacks)
    assert all(parent < node for node, parent in enumerate(profile.nodes.parent))
    folded = len(profile.nodes.parent) < len(whole.nodes.parent)
    assert bool(builder.notes) == (RARE_STACKS in profile.frames.function) == folded or not folded
    for stack, count in stacks_of(profile).items():
        prefix = stack[:-1] if stack[-1] == RARE_STACKS else stack
        below = sum(n for full, n in stacks_of(whole).items() if full[: len(prefix)] == prefix)
        assert count <= below


def test_the_heaviest_stacks_survive_folding() -> None:
    """
    main > hot            900 samples
    main > rare0..rare99    1 sample each

    With room for six nodes, `hot` is kept and the rare ones hang under `main`.
    """
    builder = ProfileBuilder("test 1", max_nodes=6)
    builder.begin("on_cpu", 99)
    block, thread, main = builder.add_block("on_cpu", 1.0), builder.thread(1), builder.frame("main")
    for number in range(100):
        builder.add("on_cpu", [main, builder.frame(f"rare{number}")], thread, block)
    builder.add("on_cpu", [main, builder.frame("hot")], thread, block, count=900)
    stacks = stacks_of(builder.build())
    # the first ten new paths are still told apart while recording; `hot` came too late and shares their fate unless room is left
    assert sum(stacks.values()) == 1_000
    assert set(stacks) <= {("main",), ("main", "hot"), ("main", RARE_STACKS)} | {("main", f"rare{n}") for n in range(100)}
    roomy = ProfileBuilder("test 1", max_nodes=60)
    roomy.begin("on_cpu", 99)
    block, thread, main = roomy.add_block("on_cpu", 1.0), roomy.thread(1), roomy.frame("main")
    for number in range(100):
        roomy.add("on_cpu", [main, roomy.frame(f"rare{number}")], thread, block)
    roomy.add("on_cpu", [main, roomy.frame("hot")], thread, block, count=900)
    assert stacks_of(roomy.build())[("main", "hot")] == 900
    assert "folded" in roomy.notes[0]


def test_runaway_recursion_keeps_both_ends() -> None:
    """A stack deeper than the bound keeps its root and its leaf, and says what is missing."""
    builder = ProfileBuilder("test 1", max_depth=8)
    builder.begin("on_cpu", 99)
    frames = [builder.frame(f"f{depth}") for depth in range(100)]
    builder.add("on_cpu", frames, builder.thread(1), builder.add_block("on_cpu", 1.0))
    (stack,) = stacks_of(builder.build())
    assert stack == ("f0", "f1", LEFT_OUT, "f95", "f96", "f97", "f98", "f99")
    assert builder.notes


def test_blocks_are_joined_when_every_sample_differs() -> None:
    """A recording with too many different samples keeps coarser blocks, whose seconds add up to the recording."""
    builder = ProfileBuilder("test 1", max_rows=500)
    builder.begin("on_cpu", 99)
    thread, node = builder.thread(1), [builder.node([builder.frame(f"f{n}")]) for n in range(10)]
    for _ in range(200):
        block = builder.add_block("on_cpu", 1.0)
        for one in node:
            builder.add_node("on_cpu", one, thread, block)
    (one,) = builder.build().passes
    assert len(one.node) <= 500
    assert sum(one.count) == 2_000
    assert sum(one.block_seconds) == one.seconds == 200
    assert max(one.block) < len(one.block_seconds) < 200


def test_slices_of_one_pass_are_merged() -> None:
    """Slices taken minutes apart, of several passes in turn, become one pass each; frames and threads are shared."""
    builder = ProfileBuilder("test 1")
    for _ in range(3):
        for kind in ("on_cpu", "wall"):
            builder.begin(kind, 50)
            builder.add(kind, [builder.frame("main")], builder.thread(7, 8, "worker"), builder.add_block(kind, 1.0), count=2)
            builder.add_failed(kind, 1)
    profile = builder.build()
    assert [(one.kind, sum(one.count), one.seconds, one.failed_samples) for one in profile.passes] == [
        ("on_cpu", 6, 3.0, 3),
        ("wall", 6, 3.0, 3),
    ]
    assert len(profile.nodes.parent) == len(profile.frames.function) == len(profile.threads) == 1
    assert not any(one.block_rate_hz for one in profile.passes)
    with pytest.raises(ValueError, match="rate_hz"):
        builder.begin("wall", 0)


def test_slices_of_different_rates_weigh_what_their_samples_stand_for() -> None:
    """Ten samples at 100 Hz and one at 10 Hz are a tenth of a second each, of the one function and of the other."""
    builder = ProfileBuilder("test 1")
    for rate, function, count in ((100, "first", 10), (10, "then", 1)):
        builder.begin("on_cpu", rate)
        block = builder.add_block("on_cpu", 1.0)
        builder.add("on_cpu", [builder.frame(function)], builder.thread(1), block, count)
    profile = decode_profile(encode_profile(builder.build()))
    (one,) = profile.passes
    assert (one.rate_hz, one.block_rate_hz) == (55, [100, 10])
    rows = CallTree(profile).weights("on_cpu")
    assert rows is not None
    assert rows.count.tolist() == pytest.approx([5.5, 5.5])
    assert rows.taken.tolist() == [10, 1]
    assert rows.count.sum() / rows.ticks == pytest.approx(0.2 / 2)


def test_joined_blocks_keep_their_time_and_ticks() -> None:
    """Blocks of different rates that are joined to save room have the mean rate of their time."""
    rows = _PassRows(100)
    for rate, seconds in ((100, 1.0), (10, 1.0), (20, 3.0)):
        rows.rate_hz = rate
        rows.block_seconds.append(seconds)
        rows.block_ticks.append(seconds * rate)
    rows.join_blocks()
    assert (rows.seconds_by_block(), rows.rates_by_block()) == ([2.0, 3.0], [55.0, 20.0])
    assert rows.mean_rate_hz() == pytest.approx(170 / 5)


@given(STACKS)
def test_encoding_is_lossless_and_repeatable(stacks: list[list[int]]) -> None:
    """A profile survives storage, and equal profiles give equal bytes, so their hash is an identity."""
    profile, _ = recorded(stacks)
    data = encode_profile(profile)
    assert decode_profile(data) == profile
    assert encode_profile(recorded(stacks)[0]) == data


def test_what_is_not_a_profile_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Damaged, foreign or oversized bytes give a clear error before they fill the memory."""
    profile, _ = recorded([[1, 2, 3]])
    data = encode_profile(profile)
    for damaged in (b"", b"not gzip", data[:-9], gzip.compress(b"{}"), gzip.compress(b"[1, 2")):
        with pytest.raises(ValueError):
            decode_profile(damaged)
    monkeypatch.setattr(call_tree, "MAX_DECODED_BYTES", 50)
    with pytest.raises(ProfileTooLarge):
        decode_profile(data)
    with pytest.raises(ProfileTooLarge):
        encode_profile(profile)


def test_samples_that_name_nothing_are_refused() -> None:
    """A parser's mistake is told where it is made, not in a picture later."""
    builder = ProfileBuilder("test 1")
    with pytest.raises(ValueError, match="not begun"):
        builder.add_block("on_cpu", 1.0)
    builder.begin("on_cpu", 99)
    block, thread, node = builder.add_block("on_cpu", 1.0), builder.thread(1), builder.node([builder.frame("main")])
    for bad in ((node + 1, thread, block, 1), (node, thread + 1, block, 1), (node, thread, block + 1, 1), (node, thread, block, -1)):
        with pytest.raises(ValueError):
            builder.add_node("on_cpu", *bad)
    with pytest.raises(ValueError, match="at least one frame"):
        builder.node([])
