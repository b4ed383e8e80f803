"""Programs in languages that nothing here reads are told by name, and what is their interpreter's own work is no finding."""

import pytest

from perfwright.analysis.call_tree import ProfileBuilder
from perfwright.analysis.cpu_findings import analyse_findings
from perfwright.analysis.hot_paths import OnCpu, find_hot_paths, on_cpu
from perfwright.analysis.interpreter_costs import inside_share, without_insides
from perfwright.analysis.interpreters import INTERPRETERS, interpreter_in, recognise
from perfwright.analysis.profile_review import judge
from perfwright.analysis.tree_weights import CallTree
from perfwright.analysis.utilisation import describe_utilisation
from perfwright.models.artifact import ArtifactRef
from perfwright.models.cpu_profiling import (
    CpuProfilingRequest,
    Overhead,
    ProfilerChoice,
    RecordedPass,
    Recording,
    StackProfile,
    TargetProcess,
)
from perfwright.models.profile import Origin
from tests.drawn_profiles import use

Frame = tuple[str, str, Origin]
REVERSE: Frame = ("Perl_pp_reverse", "/usr/bin/perl", "user")
MALLOC: Frame = ("malloc", "/usr/lib/x86_64-linux-gnu/libc.so.6", "native")
DIGEST: Frame = ("sha256_block", "/usr/lib/x86_64-linux-gnu/libcrypto.so.3", "native")
GENERATED: Frame = ("[jit of perl]", "[generated]", "native")
SOURCE: Frame = ("S_regmatch", "/build/perl/regexec.c", "user")
NAMED: Frame = ("Shop::price", "/tmp/perf-7.map", "user")
KERNEL: Frame = ("vfs_read", "[kernel.kallsyms]", "kernel")
PROCESS = TargetProcess(pid=7, create_time_s=1.0, program="job.pl", runtime="native", runtime_version="Perl", state="running")
PERL = interpreter_in(PROCESS)


def seen(*stacks: tuple[list[Frame], int]) -> OnCpu:
    """Stacks with their samples a second, over twenty seconds."""
    builder = ProfileBuilder("perf 6.1")
    builder.begin("on_cpu", 99)
    thread = builder.thread(7, 7, "perl")
    for _ in range(20):
        block = builder.add_block("on_cpu", 1.0)
        for stack, count in stacks:
            builder.add("on_cpu", [builder.frame(function, file, 0, origin) for function, file, origin in stack], thread, block, count)
    return on_cpu(CallTree(builder.build()), None, runtime="native")


@pytest.mark.parametrize(
    ("executable", "mapped", "name"),
    [
        ("/usr/bin/perl", (), "Perl"),
        ("/usr/bin/ruby3.1", ("/usr/lib/x86_64-linux-gnu/libruby-3.1.so.3.1.2",), "Ruby"),
        ("/usr/sbin/php-fpm8.2", (), "PHP"),
        ("/usr/sbin/apache2", ("/usr/lib/apache2/modules/libphp8.2.so",), "PHP inside apache2"),
        ("/srv/shop/Shop.Web", ("/srv/shop/libcoreclr.so",), ".NET inside Shop.Web"),
        ("/usr/lib/erlang/erts-13.1.5/bin/beam.smp (deleted)", (), "BEAM (Erlang, Elixir)"),
        ("/usr/bin/luajit-2.1.0-beta3", (), "Lua"),
        ("/usr/lib/R/bin/exec/R", ("/usr/lib/R/lib/libR.so",), "R"),
        ("/opt/pypy3.10/bin/pypy3.10", ("/opt/pypy3.10/bin/libpypy3.10-c.so",), "PyPy"),
        ("/usr/sbin/nginx", ("/usr/lib/x86_64-linux-gnu/libpcre2-8.so.0", "/usr/lib/x86_64-linux-gnu/libc.so.6"), ""),
        ("/usr/bin/perldoc-server", (), ""),
        ("/usr/bin/rustc", (), ""),
    ],
)
def test_interpreters_are_known_by_their_files(executable: str, mapped: tuple[str, ...], name: str) -> None:
    """The executable's name says it, or a library of the interpreter in another program; nothing else is taken for one."""
    assert recognise(executable, mapped) == name
    found = interpreter_in(PROCESS.model_copy(update={"runtime_version": name}))
    assert (found.name if found else "") == name.partition(" inside ")[0]
    assert found is None or found.embedded == (" inside " in name)


def test_each_caveat_names_what_shows_the_lines() -> None:
    """Every one of them says what perf sees of it, and with what the program's own lines are seen; a Python program is none of them."""
    for one in INTERPRETERS:
        assert one.name in one.caveat and one.shown_by in one.caveat
    assert interpreter_in(PROCESS.model_copy(update={"runtime": "python", "runtime_version": "PyPy"})) is None


def test_what_counts_as_the_interpreters_work() -> None:
    """Its own code, the C library's work for it and code without names; not what other libraries and the kernel do for the program.

    share  40    20             5               5          10                5                          10                5
           perl  perl > malloc  generated code  regexec.c  perl > libcrypto  perl > libcrypto > malloc  in the perf map   perl > kernel
    """
    assert PERL is not None
    profile = seen(
        ([REVERSE], 40),
        ([REVERSE, MALLOC], 20),
        ([GENERATED], 5),
        ([SOURCE], 5),
        ([REVERSE, DIGEST], 10),
        ([REVERSE, DIGEST, MALLOC], 5),
        ([NAMED], 10),
        ([REVERSE, KERNEL], 5),
    )
    assert inside_share(profile, PERL) == pytest.approx(0.7)


def test_only_the_interpreters_own_costs_are_quiet() -> None:
    """A hot function of Perl is information without advice; the same share in a library stays a finding with its advice."""
    assert PERL is not None
    usage = use({"perl": 0.98})
    told = {}
    for frame in (REVERSE, DIGEST):
        profile = seen(([frame], 90), ([MALLOC], 10))
        hot_paths = find_hot_paths(profile, top=5, cpu_cores=0.98)
        plain = analyse_findings(profile, hot_paths, describe_utilisation(profile, usage), usage)
        assert plain[0][0].severity != "information" and plain[1]
        told[frame] = (plain, without_insides(profile, *plain, PERL))
    _, (findings, advice) = told[REVERSE]
    costs = [one for one in findings if not one.id.startswith("pattern:")]
    assert {one.severity for one in costs} == {"information"} and "Devel::NYTProf" in costs[0].summary
    assert not [one for one in advice if costs[0].id in one.finding_ids]
    (plain_findings, plain_advice), (findings, advice) = told[DIGEST]
    assert (findings[0], advice) == (plain_findings[0], plain_advice)


def recording(process: TargetProcess) -> Recording:
    return Recording(
        stacks=StackProfile(
            profile=ArtifactRef(uri="x", sha256="0" * 64, size_bytes=1, media_type="x"),
            tool="perf 6.1",
            passes=(RecordedPass(kind="on_cpu", rate_hz=99, seconds=30, samples=2_900),),
            overhead=Overhead(profiler_cpu_share=0.01, readings=1_500),
        ),
        usage=use({"perl": 0.98}),
        process=process,
        choice=ProfilerChoice(tool="perf", reason="r", passes=("on_cpu",)),
    )


@pytest.mark.parametrize(
    ("process", "inside", "believable"),
    [
        (PROCESS, 0.97, False),
        (PROCESS, 0.2, True),
        (PROCESS, None, False),
        (PROCESS.model_copy(update={"runtime_version": ""}), None, True),
    ],
)
def test_a_profile_of_an_interpreter_is_not_one_of_its_program(process: TargetProcess, inside: float | None, believable: bool) -> None:
    """Where most of the time is the interpreter's own the run is inconclusive, with the reason and the way to see more."""
    judged = judge(recording(process), CpuProfilingRequest(target="shop"), 2_900, inside)
    assert judged.believable == believable
    assert ("97% of the CPU time is Perl's own work" in judged.problem) == (inside == 0.97)
    assert ("Devel::NYTProf" in judged.problem) == (inside == 0.97)
