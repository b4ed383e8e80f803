import pytest

from perfwright.analysis.attribution import attribute
from perfwright.analysis.hot_paths import find_hot_paths, on_cpu
from perfwright.analysis.tree_weights import CallTree
from perfwright.models.cpu_profiling import HotSpot
from tests.drawn_profiles import drawn, seen, use

SERVER = """
main app.py:90 > run LIB/uvicorn/server.py:60 > step ASYNCIO:80 > handle app.py:10 > match rules.py:41 > compile RE_INIT:250 > _parse RE:300   300
main app.py:90 > run LIB/uvicorn/server.py:60 > step ASYNCIO:80 > handle app.py:10 > match rules.py:42                                    100
main app.py:90 > run LIB/uvicorn/server.py:60 > step ASYNCIO:80 > handle app.py:11 > dedupe util.py:7                                     400
main app.py:90 > run LIB/uvicorn/server.py:60 > read LIB/h11/reader.py:20                                                                 200
"""


def by_name(spots: tuple[HotSpot, ...]) -> dict[str, HotSpot]:
    return {spot.function: spot for spot in spots}


def test_self_and_total_of_functions_and_lines() -> None:
    """Shares of functions and lines are those of the drawing, the caller is named with its line, and intervals hold the shares."""
    found = find_hot_paths(seen(SERVER), top=10, cpu_cores=0.9)
    functions, lines = by_name(found.functions), {(spot.function, spot.line): spot for spot in found.lines}
    assert found.samples == 1_000 and found.cpu_cores == 0.9
    assert (functions["dedupe"].self_share, functions["dedupe"].total_share) == (pytest.approx(0.4), pytest.approx(0.4))
    assert functions["dedupe"].callers == ("handle (shop/app.py:11)",)
    assert (functions["match"].self_share, functions["match"].total_share) == (pytest.approx(0.1), pytest.approx(0.4))
    assert functions["match"].line == 42, "the hottest line by self time"
    assert lines["match", 41].self_share == 0.0 and lines["match", 41].total_share == pytest.approx(0.3)
    assert functions["match"].file == "shop/rules.py" and functions["match"].threads == ("MainThread",)
    for spot in (*found.functions, *found.lines):
        assert spot.self_interval.low <= spot.self_share <= spot.self_interval.high
        assert spot.total_interval.low <= spot.total_share <= spot.total_interval.high


def test_recursion_counts_once() -> None:
    """A function that calls itself is on the stack once per sample, however deep, and is not its own caller."""
    found = by_name(
        find_hot_paths(
            seen("main app.py:1 > walk t.py:5 > walk t.py:6 > walk t.py:5 100\nmain app.py:2 > other t.py:9 100"), top=5
        ).functions
    )
    assert found["walk"].total_share == pytest.approx(0.5)
    assert found["walk"].callers == ("main (shop/app.py:1)",)


def test_the_line_that_asks_for_library_work_is_listed() -> None:
    """The target's own line that causes library work stands in the table although it spends nothing itself; frameworks around it do not crowd it out."""
    found = find_hot_paths(seen(SERVER), top=4)
    assert ("match", 41) in {(spot.function, spot.line) for spot in found.lines}
    assert "main" not in by_name(found.functions), "it only hands over to the framework"


def test_library_work_is_attributed_to_the_nearest_own_line() -> None:
    """Every sample has one owner: the nearest own frame, the library where a framework works for itself."""
    tree = CallTree(drawn(SERVER))
    rows = tree.weights("on_cpu")
    assert rows is not None
    told = attribute(tree, rows)
    owners = {}
    for node, count in zip(rows.node, rows.count, strict=True):
        frame = tree.frame[told.owner[node]]
        name = f"{tree.profile.frames.function[frame]}:{tree.profile.frames.line[frame]}"
        owners[name] = owners.get(name, 0) + count
    assert owners == {"match:41": 300, "match:42": 100, "dedupe:7": 400, "read:20": 200}
    assert told.own_origins == ("user",)


def test_an_installed_tool_is_its_own_code() -> None:
    """A program that is all library (a formatter, a compiler) is read in its library's functions, not in the line that starts it."""
    told = seen(
        "main start.py:3 > format LIB/fmt/core.py:10 > parse LIB/fmt/parse.py:50 700\nmain start.py:3 > format LIB/fmt/core.py:12 > write LIB/fmt/out.py:9 300"
    )
    assert told.attribution.own_origins == ("user", "library"), "the starting line only starts it"
    asks = seen("main app.py:3 > load LIB/yaml/load.py:10 800\nmain app.py:4 > price app.py:9 200")
    assert asks.attribution.own_origins == ("user",), "the line that asks for most of it is the one to change"
    alone = seen("run LIB/fmt/__main__.py:1 > parse LIB/fmt/parse.py:50 700\nrun LIB/fmt/__main__.py:1 > split RE_INIT:9 300")
    assert alone.attribution.own_origins == ("user", "library")


def test_threads_that_wait_are_not_on_the_cpu() -> None:
    """Pool threads seen at their empty queue, and sleepers that the kernel says hardly ran, do not count as CPU time; the correction is told."""
    text = """
    main app.py:1 > work app.py:5                     500
    @pool-1 _worker FUTURES:81                        400
    @ticker tick app.py:30                            300
    """
    told = seen(text, use({"MainThread": 0.25, "pool-1": 0.0, "ticker": 0.01}), seconds=20)
    found = by_name(find_hot_paths(told, top=5).functions)
    assert "_worker" not in found
    assert found["work"].self_share > 0.9
    assert "wait for work" in told.note and "ticker 0.07" in told.note


def test_without_thread_ids_samples_count_as_they_are() -> None:
    """Where nothing is known about the threads, samples are taken at their word."""
    told = seen("main app.py:1 > work app.py:5 500\n@ticker tick app.py:30 300", None)
    assert told.note == "" and told.rows.samples == 800


def test_c_frames_of_a_native_pass_count_for_the_managed_line() -> None:
    """Where only a native pass was recorded, the interpreter's C functions are told as the Python line that runs them."""
    told = on_cpu(
        CallTree(drawn({"native": "main app.py:1 > work app.py:5 > list_contains C > compare C 90\nmain app.py:1 > rest app.py:7 10"})),
        runtime="python",
    )
    assert by_name(find_hot_paths(told, top=5).functions)["work"].self_share == pytest.approx(0.9)


def test_no_pass_and_no_samples() -> None:
    """A profile without the pass is refused, one without samples has no hot paths."""
    with pytest.raises(ValueError, match="none of the passes"):
        on_cpu(CallTree(drawn({"wall": "main app.py:1 10"})))
    assert find_hot_paths(on_cpu(CallTree(drawn(""))), top=5).functions == ()
