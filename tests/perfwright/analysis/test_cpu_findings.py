import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfwright.analysis.call_tree import ProfileBuilder
from perfwright.analysis.cpu_costs import find_costs
from perfwright.analysis.cpu_findings import analyse_findings
from perfwright.analysis.hot_paths import find_hot_paths, on_cpu
from perfwright.analysis.recommendations import GAIN_UNIT
from perfwright.analysis.tree_weights import CallTree
from perfwright.analysis.utilisation import describe_utilisation
from perfwright.models.cpu_profiling import ProcessUse, Runtime
from perfwright.models.finding import Finding, Recommendation
from tests.drawn_profiles import drawn, seen, use

LOOP = "main app.py:90 > run LIB/uvicorn/server.py:60 > step ASYNCIO:80"
FRAMEWORK = "\n".join(f"{LOOP} > part{n} LIB/h11/reader.py:{n} 40" for n in range(10))
PLANTED = f"""
{LOOP} > cart app.py:10 > match rules.py:55                                                       300
{LOOP} > cart app.py:10 > match rules.py:56                                                        30
{LOOP} > notes app.py:12 > pieces notes.py:20 > search RE_INIT:176 > compile RE:745 > parse RE:900 260
{LOOP} > report app.py:14 > day dates.py:13 > _strptime_datetime STRPTIME:567 > _strptime STRPTIME:340 220
{LOOP} > stock app.py:16 > merge stock.py:45 > merge.<locals>.<lambda> stock.py:44                  100
{LOOP} > stock app.py:16 > merge stock.py:45                                                       200
@pool-1 run FUTURES:58 > crc pictures.py:29                                                        300
{FRAMEWORK}
"""
CORES = {"MainThread": 1510 / 1810, "pool-1": 300 / 1810}
"""What the kernel counted, as much as the samples of `PLANTED` say."""


def found(
    text: str, usage: ProcessUse | None, goal: float | None = None, **more: str
) -> tuple[tuple[Finding, ...], tuple[Recommendation, ...]]:
    told = seen({"on_cpu": text, **more}, usage)
    cores = usage.user_share + usage.system_share if usage else 0.0
    hot_paths = find_hot_paths(told, top=10, cpu_cores=cores)
    return analyse_findings(told, hot_paths, describe_utilisation(told, usage), usage, goal_share=goal, reproduce="perfwright cpu --pid 1")


def loud(findings: tuple[Finding, ...]) -> list[Finding]:
    return [one for one in findings if one.severity != "information"]


def test_five_problems_are_five_findings() -> None:
    """Five separate mistakes in one server are the five top findings, each with its own line; the framework is none of them."""
    findings, recommendations = found(PLANTED, use(CORES))
    places = {(one.id, one.locations[0].file, one.locations[0].line) for one in loud(findings)}
    assert places == {
        ("hot-line:rules.py:match", "shop/rules.py", 55),
        ("regex-compile:notes.py:pieces", "shop/notes.py", 20),
        ("date-parsing:dates.py:day", "shop/dates.py", 13),
        ("hot-line:stock.py:merge", "shop/stock.py", 45),
        ("hot-line:pictures.py:crc", "shop/pictures.py", 29),
    }
    assert {one.finding_ids[0] for one in recommendations} == {one.id for one in loud(findings)}
    shares = {one.id: one.cost.value for one in findings if one.cost}
    assert round(shares["hot-line:stock.py:merge"], 2) == round(300 / 1810, 2), "the lambda belongs to the function around it"
    assert round(shares["regex-compile:notes.py:pieces"], 2) == round(260 / 1810, 2)


def test_a_finding_says_what_a_reader_can_check() -> None:
    """Title, callers, library function, interval, cores and the way to the line are all in the finding; the brief says what to try."""
    findings, recommendations = found(PLANTED, use(CORES))
    one = next(finding for finding in findings if finding.id.startswith("regex"))
    assert one.title == "shop/notes.py:20 pieces compiles regular expressions while it works: 14% of CPU time"
    assert "search (re/__init__.py)" in one.summary and "notes (shop/app.py:12)" in one.summary and "of 1.00 cores" in one.summary
    assert one.cost and one.cost.interval and one.cost.interval.low < one.cost.value < one.cost.interval.high
    assert any("pieces (shop/notes.py:20)" in evidence.statement for evidence in one.evidence)
    advice = next(fix for fix in recommendations if fix.finding_ids == (one.id,))
    for part in ("/srv/shop/notes.py", "lru_cache", "perfwright cpu --pid 1", "**Check**"):
        assert part in advice.brief


HEALTHY = "\n".join(
    [f"{LOOP} > handler{n} app.py:{n} > helper{n} logic.py:{n} {15 + n % 7}" for n in range(30)]
    + [f"{LOOP} > handler{n} app.py:{n} > dumps JSON:200 {6}" for n in range(10)]
    + [f"{LOOP} > part{n} LIB/h11/reader.py:{n} {20}" for n in range(30)]
)


def test_a_healthy_server_is_silent() -> None:
    """A server that spreads its time over many handlers and its framework has no finding above information, even at full load."""
    for cores in (0.01, 0.3, 0.99):
        findings, recommendations = found(HEALTHY, use({"MainThread": cores}))
        assert loud(findings) == [] and recommendations == ()


@pytest.mark.parametrize(
    ("runtime", "share", "spread", "told"),
    [
        ("python", 0.15, False, True),
        ("python", 0.15, True, False),
        ("python", 0.70, True, True),
        ("native", 0.15, False, False),
        ("node", 0.40, False, False),
        ("jvm", 0.70, False, True),
    ],
)
def test_what_is_unusual_depends_on_the_code(runtime: Runtime, share: float, spread: bool, told: bool) -> None:
    """A tenth of the time in a line of bytecode is a finding. Spread over many lines, or in compiled code, it takes more than half.

    The process uses a whole core, so that nothing is silent for want of CPU.
    """
    lines = range(20, 28) if spread else (20,)
    hot = [f"main app.py:1 > hot app.py:{line} {round(4_000 * share / len(lines))}" for line in lines]
    rest = [f"main app.py:1 > part{n} logic.py:{n} {round(4_000 * (1 - share) / 40)}" for n in range(40)]
    usage = use({"MainThread": 1.0})
    seen_here = on_cpu(CallTree(drawn("\n".join(hot + rest), seconds=40)), usage, runtime=runtime)
    hot_paths = find_hot_paths(seen_here, top=10, cpu_cores=1.0)
    findings, _ = analyse_findings(seen_here, hot_paths, describe_utilisation(seen_here, usage), usage)
    assert [one.locations[0].function for one in loud(findings)] == (["hot"] if told else [])


def test_a_parser_calls_its_libraries() -> None:
    """A function whose time is in several library calls is no hot spot, however busy: each calling line is a cost of its own."""
    text = "\n".join(f"main app.py:1 > read feed.py:{line} > part{line} LIB/csv/reader.py:{line} 300" for line in (3, 4, 5, 6))
    findings, _ = found(f"{text}\nmain app.py:1 > read feed.py:3 100", use({"MainThread": 0.9}))
    assert loud(findings) == []
    assert len({one.id for one in findings}) == len(findings)


def test_a_wrapper_does_not_swallow_what_it_wraps() -> None:
    """Functions under one tracing decorator are told by themselves."""
    wrapped = "\n".join(f"main app.py:1 > traced trace.py:9 > step{n} logic.py:{n} 300" for n in range(1, 5))
    findings, _ = found(f"{wrapped}\nmain app.py:1 > traced trace.py:9 320", use({"MainThread": 0.9}))
    assert {f"step{n}" for n in range(1, 5)} <= {one.locations[0].function for one in loud(findings)}


def test_nameless_callbacks_belong_to_the_function_around_them() -> None:
    """V8 calls every arrow function `(anonymous)`: two of them in two functions of one file are two costs."""
    told = seen("tick a.js:1 > one a.js:5 > (anonymous) a.js:6 300\ntick a.js:1 > two a.js:9 > (anonymous) a.js:10 300")
    assert {cost.function: cost.line for cost in find_costs(told)} == {"one": 6, "two": 10}


def test_a_list_that_is_searched_is_named() -> None:
    """`contains` on a list of the JVM's own library is work that a set would save: a few per cent of it are told, with that advice."""
    builder = ProfileBuilder("jfr 17")
    builder.begin("on_cpu", 50.0)
    thread = builder.thread(1, None, "main")
    read, distinct = builder.frame("Feed.read", "shop.Feed", 60, "user"), builder.frame("Feed.distinct", "shop.Feed", 67, "user")
    search = [builder.frame(f"ArrayList.{name}", "java.util.ArrayList", 1, "runtime") for name in ("contains", "indexOf", "indexOfRange")]
    for _ in range(20):
        block = builder.add_block("on_cpu", 1.0)
        builder.add("on_cpu", [read], thread, block, 40)
        builder.add("on_cpu", [read, distinct, *search], thread, block, 10)
    usage = use({"java": 0.9})
    told = on_cpu(CallTree(builder.build()), usage, runtime="jvm")
    findings, recommendations = analyse_findings(told, find_hot_paths(told, top=5, cpu_cores=0.9), describe_utilisation(told, usage), usage)
    assert next(one for one in loud(findings) if one.id.startswith("linear-search")).locations[0].line == 67
    assert any(one.title.startswith("Look up by key instead of searching in") for one in recommendations)


def test_a_busy_framework_is_not_the_program_s_fault() -> None:
    """An echo server whose time is its framework's has nothing of its own to fix."""
    findings, _ = found(
        "\n".join([*[f"{LOOP} > part{n} LIB/h11/reader.py:{n} 100" for n in range(5)], f"{LOOP} > echo app.py:3 40"]),
        use({"MainThread": 0.9}),
    )
    assert loud(findings) == []


def test_compiled_code_without_frames_is_not_called_framework() -> None:
    """A formatter compiled by mypyc runs under a thread pool: what its one busy line calls has no frames, and that is what is told."""
    pool = "boot LIB/concurrent/futures/thread.py:10 > run LIB/concurrent/futures/thread.py:58"
    findings, _ = found(f"{pool} 1600\n{pool} > parse LIB/ast.py:50 200\nmain app.py:1 200", use({"MainThread": 0.9}))
    assert findings[0].title.startswith("concurrent/futures/thread.py:58 run is busy in one line, or in compiled code called there: 80%")


def test_hardly_any_cpu_is_no_problem() -> None:
    """The hottest line of a process that uses a hundredth of a core is not worth anybody's time."""
    findings, _ = found("main app.py:1 > hot app.py:7 900\nmain app.py:1 > cold app.py:9 100", use({"MainThread": 0.01}))
    assert loud(findings) == []


def test_a_program_that_is_one_function_is_a_finding() -> None:
    """A core that spends nearly all its time in one function is critical, with the gain that Amdahl gives."""
    findings, recommendations = found(
        "main app.py:1 > hot app.py:7 1900\nmain app.py:1 > cold app.py:9 100", use({"MainThread": 1.0}), goal=0.2
    )
    (one,) = loud(findings)
    assert (one.id, one.severity) == ("hot-line:app.py:hot", "critical")
    (fix,) = recommendations
    assert fix.expected_gain.unit == GAIN_UNIT and 0.4 < fix.expected_gain.value < 0.6
    assert "Alone it reaches the goal of 20%" in fix.derivation and "not latency" in fix.derivation


def test_framework_dispatch_is_never_a_finding() -> None:
    """Frames that everything passes through (main, the event loop, a middleware) do not show up as costs."""
    text = f"""
    {LOOP} > middleware app.py:5 > call LIB/starlette/base.py:9 > handle app.py:20 > hot app.py:30 800
    {LOOP} > middleware app.py:5 > call LIB/starlette/base.py:9 > handle app.py:21                  100
    {LOOP} > middleware app.py:5 > call LIB/starlette/base.py:11                                     100
    """
    ids = {one.id for one in found(text, use({"MainThread": 0.9}))[0]}
    assert "hot-line:app.py:hot" in ids and not any("main" in one or "middleware" in one for one in ids)


def test_a_helper_is_told_with_its_loop() -> None:
    """A small function called only from one hot loop is one finding with the loop, not a second one."""
    text = "main app.py:1 > rank app.py:20 600\nmain app.py:1 > rank app.py:21 > less app.py:30 300\nmain app.py:1 > other app.py:40 50"
    (one,) = loud(found(text, use({"MainThread": 0.9}))[0])
    assert one.id == "hot-line:app.py:rank" and "less (shop/app.py)" in one.summary
    assert one.cost and round(one.cost.value, 2) == 0.95


def test_two_mistakes_in_one_function_are_two_findings() -> None:
    """Copying deeply and compiling patterns in the same handler are told apart."""
    text = "main app.py:1 > handle app.py:5 > deepcopy COPY:150 300\nmain app.py:1 > handle app.py:9 > search RE_INIT:1 > compile RE:9 300\nmain app.py:2 > rest app.py:50 400"
    ids = [one.id for one in loud(found(text, use({"MainThread": 0.9}))[0])]
    assert {"deep-copy:app.py:handle", "regex-compile:app.py:handle"} <= set(ids)


def test_patterns_become_findings_where_they_cost() -> None:
    """Kernel-heavy and GIL-bound programs get a finding with a recommendation; one saturated thread alone is information."""
    heavy, fixes = found("\n".join(f"main app.py:{n} 50" for n in range(40)), use({"MainThread": 0.8}, system=0.6))
    assert [one.id for one in loud(heavy)] == ["hot-line:app.py:main", "pattern:kernel-heavy"] or "pattern:kernel-heavy" in [
        one.id for one in loud(heavy)
    ]
    assert any(one.title == "Make fewer system calls" for one in fixes)
    saturated, _ = found(HEALTHY, use({"MainThread": 0.99}))
    assert "pattern:one-thread-saturated" in [one.id for one in saturated]


def test_gains_never_exceed_the_program() -> None:
    """All recommendations together win less than everything, because no sample belongs to two findings."""
    _, recommendations = found(PLANTED, use(CORES), goal=0.5)
    gains = [one.expected_gain.value for one in recommendations]
    assert sum(gains) < 1 and gains == sorted(gains, reverse=True)
    assert [one.score for one in recommendations] == sorted((one.score for one in recommendations), reverse=True)


FRAMES = st.sampled_from(
    ["main app.py:1", "f app.py:5", "g util.py:7", "lib LIB/x/y.py:3", "compile RE:9", "dumps JSON:4", "step ASYNCIO:80", "c C"]
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.lists(FRAMES, min_size=1, max_size=7), st.integers(1, 200)), min_size=1, max_size=15))
def test_every_sample_belongs_to_one_cost(stacks: list[tuple[list[str], int]]) -> None:
    """Costs never overlap and lose nothing but what is too small to tell: their shares add up to the whole."""
    told = seen("\n".join(f"{' > '.join(stack)} {count}" for stack, count in stacks))
    total = sum(cost.share for cost in find_costs(told))
    assert total <= 1 + 1e-9
    assert total >= 1 - 0.005 * len(stacks) * 4
