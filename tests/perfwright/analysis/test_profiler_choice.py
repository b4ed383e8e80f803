import pytest

from perfwright.analysis.profiler_choice import NoProfiler, choose_profiler
from perfwright.models.cpu_profiling import TargetProcess
from perfwright.models.errors import ErrorType
from perfwright.models.host import HostFacts

ALL = {"py-spy": "0.4.3", "perf": "6.1", "jcmd": "17", "node": "20"}
VERSIONS = {"python": "CPython 3.11.7", "jvm": "OpenJDK 17", "node": "Node 20", "native": "", "unknown": ""}


def process(runtime: str = "python", **more: object) -> TargetProcess:
    return TargetProcess.model_validate(
        {"pid": 7, "create_time_s": 1.0, "program": "shop", "runtime": runtime, "runtime_version": VERSIONS[runtime], "state": "sleeping"}
        | more
    )


def host(**more: object) -> HostFacts:
    facts = {"host": "local", "kernel": "Linux 6", "cpu_model": "x", "cpu_count": 2, "memory_bytes": 1}
    return HostFacts.model_validate(facts | more)


@pytest.mark.parametrize(
    ("runtime", "tool", "passes"),
    [
        ("python", "py-spy", ("on_cpu", "wall", "gil")),
        ("jvm", "jfr", ("on_cpu",)),
        ("node", "node-inspector", ("on_cpu",)),
        ("native", "perf", ("on_cpu",)),
        ("unknown", "perf", ("on_cpu",)),
    ],
)
def test_each_runtime_has_its_tool(runtime: str, tool: str, passes: tuple[str, ...]) -> None:
    """Every runtime is read by the tool that knows its language, and the reason is told."""
    choice = choose_profiler(process(runtime), ALL, None)
    assert (choice.tool, choice.passes, choice.rejected) == (tool, passes, {})
    assert choice.reason


def test_perf_serves_where_the_better_tool_is_missing() -> None:
    """Without jcmd a JVM is still profiled, as native code, and both the reason and what is lost are said."""
    choice = choose_profiler(process("jvm"), {"perf": "6.1"}, None)
    assert choice.tool == "perf" and "jcmd is not installed" in choice.rejected["jfr"]
    assert any("addresses" in caveat for caveat in choice.caveats)


def test_requested_passes_are_recorded_in_a_sensible_order() -> None:
    """The on-CPU pass comes first whatever the order asked; a pass the tool cannot record is told."""
    assert choose_profiler(process(), ALL, ("native", "on_cpu")).passes == ("on_cpu", "native")
    choice = choose_profiler(process("jvm"), ALL, ("on_cpu", "gil"))
    assert choice.passes == ("on_cpu",) and "gil" in " ".join(choice.caveats)


@pytest.mark.parametrize(
    ("subject", "tools", "passes", "kind", "way_out"),
    [
        (process(state="stopped"), ALL, None, ErrorType.TARGET_STOPPED, "kill -CONT 7"),
        (process(state="zombie"), ALL, None, ErrorType.TARGET_GONE, "new pid"),
        (process(), {}, None, ErrorType.TOOL_MISSING, "pip install py-spy"),
        (process("native"), {}, None, ErrorType.TOOL_MISSING, "linux-perf"),
        (process("native"), ALL, ("gil",), ErrorType.RUNTIME_UNSUPPORTED, "on_cpu"),
    ],
)
def test_what_cannot_be_profiled_is_refused_with_the_way_out(
    subject: TargetProcess, tools: dict[str, str], passes: tuple[str, ...] | None, kind: ErrorType, way_out: str
) -> None:
    """Stopped, gone, nothing installed, a pass that no tool has: each its own kind of refusal, with what to do."""
    with pytest.raises(NoProfiler) as refused:
        choose_profiler(subject, tools, passes)  # type: ignore[arg-type]
    assert refused.value.error_type == kind and way_out in refused.value.way_out


def test_permissions_are_checked_where_they_are_known() -> None:
    """A restricted host falls back to what is allowed, and says what to grant when nothing is."""
    bound = host(uid=1000, yama_scope=1, perf_event_paranoid=1)
    assert choose_profiler(process(), ALL, None, host=bound).tool == "perf"
    with pytest.raises(NoProfiler) as refused:
        choose_profiler(process(), ALL, None, host=host(uid=1000, yama_scope=1, perf_event_paranoid=3))
    assert refused.value.error_type == ErrorType.NOT_PERMITTED and "CAP_SYS_PTRACE" in refused.value.way_out
    assert (
        choose_profiler(process(), ALL, None, host=host(uid=0, yama_scope=1, perf_event_paranoid=3, capabilities=("SYS_PTRACE",))).tool
        == "py-spy"
    )


def test_nothing_is_sent_into_another_container() -> None:
    """Tools that only read may look into a container; tools that send commands may not."""
    assert choose_profiler(process("jvm", own_namespace=False), ALL, None).tool == "perf"
    choice = choose_profiler(process(own_namespace=False), ALL, None)
    assert choice.tool == "py-spy" and "container" in choice.caveats[0]


def test_interpreters_that_py_spy_does_not_know() -> None:
    """Releases older or newer than the tool fall back to perf instead of failing later."""
    for version in ("CPython 3.15.0", "CPython 3.5.2"):
        assert choose_profiler(process(runtime_version=version), ALL, None).tool == "perf"


@pytest.mark.parametrize("name", ["PyPy", "Ruby", ".NET", "Perl"])
def test_languages_that_nothing_here_reads(name: str) -> None:
    """perf records what runs them; reason and caveat say so by name, and what shows the program's lines."""
    choice = choose_profiler(process("native", runtime_version=name), ALL, None)
    assert choice.tool == "perf" and name in choice.reason
    assert any(f"what {name} itself is busy with" in caveat and "Those are shown by" in caveat for caveat in choice.caveats)
    assert not choose_profiler(process("native"), ALL, None).caveats


def test_without_perf_nobody_tells_when_javascript_waits() -> None:
    """The off-CPU graph of Node.js needs perf: where it is missing or forbidden the reason is said, and nothing where it is there."""
    assert not any("off-CPU" in caveat for caveat in choose_profiler(process("node"), ALL, None).caveats)
    assert any("perf is not installed" in caveat for caveat in choose_profiler(process("node"), {}, None).caveats)
    restricted = choose_profiler(process("node"), ALL, None, host=host(uid=1000, perf_event_paranoid=3))
    assert any("perf_event_paranoid = 3" in caveat for caveat in restricted.caveats)
    assert not any("off-CPU" in caveat for caveat in choose_profiler(process("native"), ALL, None).caveats)
