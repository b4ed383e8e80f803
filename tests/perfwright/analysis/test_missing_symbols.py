"""Code without names is told by its module, with what is missing and how to get it; nobody is told to make it faster."""

import pytest

from perfwright.analysis.call_tree import ProfileBuilder, decode_profile, encode_profile
from perfwright.analysis.cpu_findings import analyse_findings
from perfwright.analysis.hot_paths import find_hot_paths, on_cpu
from perfwright.analysis.missing_symbols import title_of, way_to_names
from perfwright.analysis.tree_weights import CallTree
from perfwright.analysis.utilisation import describe_utilisation
from perfwright.models.cpu_profiling import HotPaths
from perfwright.models.finding import Finding, Recommendation
from perfwright.models.profile import NamelessCode, Origin
from tests.drawn_profiles import use

LZMA = "/usr/lib/x86_64-linux-gnu/liblzma.so.5.4.1"
BUILD_ID = "46507a8d1a2b3c4d5e6f708192a3b4c5d6e7f809"
CODE = NamelessCode(file=LZMA, module="[liblzma.so.5.4.1]", kind="stripped", build_id=BUILD_ID, package="liblzma5", systems=("debian",))
Frame = tuple[str, str, Origin]
MAIN: Frame = ("main", "/srv/app/packer", "user")


def inside(start: int) -> Frame:
    return (f"[liblzma.so.5.4.1+{start:#x}]", LZMA, "native")


def analysed(
    *stacks: tuple[list[Frame], int], cores: float = 0.98, nameless: NamelessCode = CODE
) -> tuple[HotPaths, tuple[Finding, ...], tuple[Recommendation, ...]]:
    """Stacks with their samples a second, over twenty seconds."""
    builder = ProfileBuilder("perf 6.1")
    builder.begin("on_cpu", 99)
    thread = builder.thread(1, 1, "packer")
    builder.add_nameless(nameless)
    for _ in range(20):
        block = builder.add_block("on_cpu", 1.0)
        for stack, count in stacks:
            builder.add("on_cpu", [builder.frame(function, file, 0, origin) for function, file, origin in stack], thread, block, count)
    seen = on_cpu(CallTree(decode_profile(encode_profile(builder.build()))), None, runtime="native")
    usage = use({"packer": cores})
    hot_paths = find_hot_paths(seen, top=10, cpu_cores=cores)
    return hot_paths, *analyse_findings(seen, hot_paths, describe_utilisation(seen, usage), usage, goal_share=0.2)


def test_a_stripped_library_is_told_as_one() -> None:
    """98 % in a library without symbols: the table has its share, its lines where the functions begin, and the finding the way to names.

    share   70 %                  28 %                  2 %
            liblzma.so + 0x6a40   liblzma.so + 0x9b10   read_input
    """
    hot_paths, findings, advice = analysed(
        ([inside(0x6A40)], 70), ([inside(0x9B10)], 28), ([MAIN, ("read_input", "/srv/app/packer", "user")], 2)
    )
    assert [(spot.function, spot.self_share) for spot in hot_paths.functions[:1]] == [("[liblzma.so.5.4.1]", pytest.approx(0.98))]
    assert [(spot.function, spot.self_share) for spot in hot_paths.lines[:2]] == [
        ("[liblzma.so.5.4.1+0x6a40]", pytest.approx(0.70)),
        ("[liblzma.so.5.4.1+0x9b10]", pytest.approx(0.28)),
    ]
    [one] = [finding for finding in findings if finding.id == "no-symbols:liblzma.so.5.4.1"]
    assert (one.title, one.severity) == ("liblzma.so.5.4.1 has no symbols: 98% of CPU time", "information")
    assert [location.title for location in one.locations] == [LZMA]
    for told in ("[liblzma.so.5.4.1+0x6a40] (70%) and [liblzma.so.5.4.1+0x9b10] (28%)", "liblzma5-dbgsym", BUILD_ID):
        assert told in one.summary
    [fix] = advice
    assert fix.title == "Get the function names of liblzma.so.5.4.1"
    assert (fix.score, fix.risk) == (0.0, "observe")
    assert "no gain can be told" in fix.derivation and "goal" not in fix.derivation
    assert "Do less" not in fix.brief and "liblzma5-dbgsym" in fix.brief


def test_what_calls_code_without_names_is_told_with_it() -> None:
    """The target's own function is the place to act; that the names are missing below it is said there."""
    _, findings, advice = analysed(([MAIN, ("pack", "/srv/app/packer", "user"), inside(0x6A40)], 90), ([MAIN], 10))
    own = findings[0]
    assert own.severity != "information" and own.locations[0].function == "pack"
    assert "Spent in [liblzma.so.5.4.1] 90%" in own.summary and "liblzma5-dbgsym" in own.summary
    assert [fix.title for fix in advice] == ["Do less in app/packer pack"]


def test_a_little_code_without_names_is_no_finding() -> None:
    """A tenth of a program, or all of one that hardly runs: nobody need install anything."""
    names: list[Frame] = [(f"part{number}", "/srv/app/packer", "user") for number in range(9)]
    for stacks, cores in (([*(([MAIN, name], 10) for name in names), ([inside(0x6A40)], 10)], 0.9), ([([inside(0x6A40)], 100)], 0.02)):
        _, findings, advice = analysed(*stacks, cores=cores)
        assert all(finding.severity == "information" for finding in findings if finding.id.startswith("no-symbols"))
        assert advice == ()


@pytest.mark.parametrize(
    ("changed", "title", "told"),
    [
        ({}, "liblzma.so.5.4.1 has no symbols", "apt install liblzma5-dbgsym"),
        ({}, "liblzma.so.5.4.1 has no symbols", f"/usr/lib/debug/.build-id/46/{BUILD_ID[2:]}.debug"),
        ({}, "liblzma.so.5.4.1 has no symbols", f"debuginfod-find debuginfo {BUILD_ID}"),
        ({"package": "libc6"}, "liblzma.so.5.4.1 has no symbols", "libc6-dbg"),
        ({"systems": ("fedora",)}, "liblzma.so.5.4.1 has no symbols", "dnf debuginfo-install liblzma5"),
        ({"systems": ("opensuse-leap", "suse", "opensuse")}, "liblzma.so.5.4.1 has no symbols", "zypper install liblzma5-debuginfo"),
        ({"systems": ()}, "liblzma.so.5.4.1 has no symbols", "debug symbols of the package liblzma5"),
        ({"package": ""}, "liblzma.so.5.4.1 has no symbols", "Build it with -g, and do not strip it"),
        ({"package": "", "build_id": ""}, "liblzma.so.5.4.1 has no symbols", "It has no build id"),
        ({"is_go": True, "package": ""}, "liblzma.so.5.4.1 has no symbols", "-ldflags"),
        ({"kind": "replaced"}, "liblzma.so.5.4.1 was replaced while it ran, and has no names", "Restart the program"),
        ({"kind": "generated", "module": "[jit of node]"}, "Code that node generated has no names", "--perf-basic-prof"),
        ({"kind": "generated", "module": "[jit of luajit]"}, "Code that luajit generated has no names", "/tmp/perf-PID.map"),
        ({"kind": "kernel", "module": "[kernel]"}, "The kernel hides its functions' names", "kernel.kptr_restrict"),
        ({"kind": "unmapped", "module": "[unknown]"}, "Code at addresses of no file has no names", "Record again"),
    ],
)
def test_each_kind_has_its_way_to_names(changed: dict[str, object], title: str, told: str) -> None:
    """Why there are none, and what gives them: by who built the file, and for which system."""
    code = CODE.model_copy(update=changed)
    assert title_of(code) == title
    assert told in way_to_names(code)


def test_frames_that_stand_for_something_else_are_no_code() -> None:
    """Rare stacks and frames left out are in no table, as before; a profile of an earlier release tells its nameless code as well."""
    other: Frame = ("[rare stacks]", "", "unknown")
    hot_paths, findings, _ = analysed(([MAIN, other], 60), ([("[unknown]", LZMA, "native")], 40))
    assert {spot.function for spot in hot_paths.functions} == {"[unknown]", "main"}
    assert "has no symbols: 40% of CPU time" in next(finding for finding in findings if "no-symbols" in finding.id).title


def test_a_program_without_names_waits_where_it_calls_the_kernel() -> None:
    """Not in the scheduler, in which every wait ends; and the functions of a module are told apart by who calls them."""
    builder = ProfileBuilder("perf 6.1")
    thread = builder.thread(1, 1, "packer")
    outer, inner = (builder.frame(function, file, 0, origin) for function, file, origin in (inside(0x6A40), inside(0x9B10)))
    read, kernel = builder.frame("read", "/usr/lib/libc.so.6", 0, "native"), builder.frame("schedule", "[kernel.kallsyms]", 0, "kernel")
    for kind, stack in (("on_cpu", [outer, inner]), ("off_cpu", [outer, read, kernel])):
        builder.begin(kind, 99)  # type: ignore[arg-type]
        builder.add(kind, stack, thread, builder.add_block(kind, 1.0), 90)  # type: ignore[arg-type]
    seen = on_cpu(CallTree(builder.build()), None, runtime="native")
    assert [spot.function for spot in describe_utilisation(seen, None).waiting] == ["read: waits for I/O"]
    [line] = find_hot_paths(seen, top=1).lines
    assert (line.function, line.callers) == ("[liblzma.so.5.4.1+0x9b10]", ("[liblzma.so.5.4.1+0x6a40]",))
