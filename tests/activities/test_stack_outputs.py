"""What the profilers write is read right: small golden files, one per tool, as they came from it."""

import json
import shutil
from pathlib import Path

import pytest

from activities.jfr import jfr_settings
from activities.jfr_output import MONITOR_ENTER, JfrEvent, compiled_for_us, looks_hz, read_jfr_text
from activities.node_output import read_cpu_profile
from activities.perf_frames import read_addr2line
from activities.perf_output import read_perf_script
from activities.perf_switches import Sleeper, SwitchFacts
from activities.pyspy_output import read_speedscope
from activities.taken_slices import ReadSlice, SliceCount, TakenSlice
from perfwright.analysis.call_tree import ProfileBuilder
from perfwright.analysis.frames import IN_NATIVE
from perfwright.analysis.hot_paths import find_hot_paths, on_cpu
from perfwright.analysis.tree_weights import CallTree
from perfwright.models.profile import PassKind, Profile

DATA = Path(__file__).parent / "data"


def read(reader: ReadSlice, path: Path, *, kind: PassKind = "on_cpu", rate_hz: float = 99) -> tuple[Profile, SliceCount]:
    """As one slice of two seconds in two blocks."""
    builder = ProfileBuilder(tool="golden")
    taken = TakenSlice(index=0, kind=kind, seconds=2.0, blocks=2, rate_hz=rate_hz, file=path.name, ended_at_s=0.0)
    count = reader(builder, taken, path)
    return builder.build(), count


def rows(profile: Profile, kind: PassKind = "on_cpu") -> dict[tuple[str, str, int], int]:
    """(stack, thread, block) -> samples, stacks as `outer;inner:line`."""
    found: dict[tuple[str, str, int], int] = {}
    for one in profile.passes:
        if one.kind != kind:
            continue
        for node, thread, block, count in zip(one.node, one.thread, one.block, one.count, strict=True):
            stack = []
            while node >= 0:
                frame = profile.nodes.frame[node]
                line = profile.frames.line[frame]
                stack.append(profile.frames.function[frame] + (f":{line}" if line else ""))
                node = profile.nodes.parent[node]
            found[(";".join(reversed(stack)), profile.threads[thread].name, block)] = count
    return found


def no_switches(path: Path) -> None:
    """As for a slice of two seconds in which nothing changed."""
    path.with_suffix(".switches.txt").write_text("")
    path.with_suffix(".switches.json").write_text(SwitchFacts(began_s=5802.0, ended_s=5804.0).model_dump_json())


def origins(profile: Profile) -> dict[str, str]:
    return dict(zip(profile.frames.function, profile.frames.origin, strict=True))


def test_speedscope(tmp_path: Path) -> None:
    """Stacks by thread, failed samples from the summary, and of a process only its program's name.

    MainThread   [module;price] [module;price] [module] [module;price]
    quoted       [wait] []                                                the empty one is nothing
    """
    path = Path(shutil.copy(DATA / "speedscope.json", tmp_path / "slice"))
    path.with_suffix(".summary").write_text(json.dumps({"pid": 1, "errors": 3}))
    profile, count = read(read_speedscope, path)
    process = "process 4710 (python3)"
    assert rows(profile) == {
        (f"{process};<module>:90;price_cart:42", "MainThread", 0): 3,
        (f"{process};<module>:90", "MainThread", 0): 1,
        (f"{process};Event.wait:629", 'a "quoted" name', 0): 1,
    }
    assert [(one.pid, one.tid) for one in profile.threads] == [(4710, 4710), (4710, None)]
    assert origins(profile) == {process: "process", "<module>": "user", "price_cart": "user", "Event.wait": "runtime"}
    assert (count.samples, count.failed, profile.passes[0].failed_samples) == (5, 3, 3)
    assert "hunter2" not in profile.model_dump_json()


def test_a_burst_stays_in_its_slice(tmp_path: Path) -> None:
    """A thread that runs in one slice of four is in that slice's block only, so that its share has the wide interval of a burst.

    slice       1         2         3         4
    steady      40 of 80  40 of 80  40 of 80  40 of 80
    bursty      0         80        0         0
    """
    builder = ProfileBuilder(tool="golden")
    for index, bursty in enumerate((0, 80, 0, 0)):
        stacks = {'Thread 11 "steady"': [[0]] * 40, 'Thread 12 "bursty"': [[1]] * bursty}
        frames = [{"name": "even", "file": "/srv/app.py", "line": 3}, {"name": "burst", "file": "/srv/app.py", "line": 9}]
        document = {"shared": {"frames": frames}, "profiles": [{"name": name, "samples": samples} for name, samples in stacks.items()]}
        path = tmp_path / f"slice-{index}"
        path.write_text(json.dumps(document))
        path.with_suffix(".summary").write_text(json.dumps({"pid": 11, "errors": 0}))
        read_speedscope(builder, TakenSlice(index=index, kind="on_cpu", seconds=1, blocks=1, rate_hz=80, file="", ended_at_s=0.0), path)
    told = rows(builder.build())
    assert told == {("even:3", "steady", block): 40 for block in range(4)} | {("burst:9", "bursty", 1): 80}
    seen = on_cpu(CallTree(builder.build()), runtime="python")
    wide = {one.function: one.self_interval.high - one.self_interval.low for one in find_hot_paths(seen, top=2).functions}
    assert wide["burst"] > 0.5


def test_perf_script(tmp_path: Path) -> None:
    """Kernel frames lie above the user's, blocks follow the clock, threads have names, and symbols may hold brackets and blanks."""
    path = tmp_path / "slice"
    shutil.copy(DATA / "perf.txt", path.with_suffix(".txt"))
    facts = {"runtime": "native", "executable": "/srv/app/bookings", "threads": {"4711": "bookings", "4712": "loader"}}
    path.with_suffix(".summary").write_text(json.dumps(facts))
    no_switches(path)
    profile, count = read(read_perf_script, path)
    assert rows(profile) == {
        ("__libc_start_call_main;total_by_scan", "bookings", 0): 1,
        ("start_thread;load(std::string const&, int);read;ksys_read;read_zero", "loader", 0): 1,
        ("[vdso];total_by_scan", "bookings", 1): 1,
    }
    told = origins(profile)
    assert (told["total_by_scan"], told["load(std::string const&, int)"], told["read_zero"], told["read"]) == (
        "user",
        "user",
        "kernel",
        "native",
    )
    assert (count.samples, count.warning) == (3, "")


def test_perf_without_frame_pointers(tmp_path: Path) -> None:
    """Stacks that break off at once are told as such, with the flag that helps; what a stray register points to is no caller."""
    path = tmp_path / "slice"
    stray = (
        "",
        "\t 15a0 __do_global_dtors_aux (/srv/app/bookings)\n",
        "\tbe552274c0854800 [unknown] ([unknown])\n\t 1 main (/srv/app/bookings)\n",
    )
    text = "".join(f"4711/4711  1.000000: \n\t 1198 total_by_scan (/srv/app/bookings)\n{after}\n" for after in stray * 4)
    path.with_suffix(".txt").write_text(text)
    path.with_suffix(".summary").write_text(json.dumps({"runtime": "native", "executable": "", "threads": {}}))
    no_switches(path)
    profile, count = read(read_perf_script, path)
    assert {stack for stack, _, _ in rows(profile)} == {"total_by_scan"}
    assert "100% of the stacks break off" in count.warning
    assert "-fno-omit-frame-pointer" in count.warning


def test_perf_switches(tmp_path: Path) -> None:
    """Waits are timed from switch to switch, in milliseconds; a wait without a stack goes to its thread's stacks.

    s          5802         .5        5803       .5        5804
    bookings   ==================================    ====          asleep from before, stack never seen: the kernel's function
    loader      R====== R== N=      ?==                            reads 500 ms, naps 100 ms; 200 ms stand behind the nap's sample
    4713       ===========================================         not one switch: the kernel's function
    4714       -  preempt                                          wants to run
    4715                                     exits
    """
    path = tmp_path / "slice"
    path.with_suffix(".txt").write_text("")
    path.with_suffix(".summary").write_text(
        json.dumps({"runtime": "native", "executable": "/srv/app/bookings", "threads": {"4711": "bookings", "4712": "loader"}})
    )
    shutil.copy(DATA / "perf-switches.txt", path.with_suffix(".switches.txt"))
    before = {"4711": Sleeper(pid=4711, asleep=True, waits_in="do_wait"), "4712": Sleeper(pid=4711, asleep=False)}
    before |= {"4713": Sleeper(pid=4711, asleep=True, waits_in="futex_do_wait"), "4714": Sleeper(pid=4711, asleep=False)}
    facts = SwitchFacts(began_s=5802.0, ended_s=5804.0, before=before, after=before)
    path.with_suffix(".switches.json").write_text(facts.model_dump_json())
    profile, count = read(read_perf_script, path)
    reads = "start_thread;load(std::string const&, int);__GI___libc_read;anon_pipe_read;schedule"
    naps = "start_thread;nap;clock_nanosleep@GLIBC_2.2.5;do_nanosleep"
    assert rows(profile, "off_cpu") == {
        (reads, "loader", 0): 500,
        (naps, "loader", 0): 100,
        (naps, "loader", 1): 200,
        ("futex_do_wait", "", 0): 1000,
        ("futex_do_wait", "", 1): 1000,
        ("do_wait", "bookings", 0): 1000,
        ("do_wait", "bookings", 1): 700,
    }
    assert (rows(profile), count.samples, count.warning) == ({}, 0, "")
    waited = next(one for one in profile.passes if one.kind == "off_cpu")
    assert (waited.rate_hz, waited.seconds) == (1000, 2.0)


def test_switches_that_were_not_recorded_are_told(tmp_path: Path) -> None:
    """Without them there is no off-CPU pass, and the reason is said; with a part of the slice, that is."""
    path = tmp_path / "slice"
    path.with_suffix(".txt").write_text("")
    path.with_suffix(".summary").write_text(json.dumps({"runtime": "native", "executable": "", "threads": {}}))
    path.with_suffix(".switches.json").write_text(SwitchFacts(problem="perf is restricted").model_dump_json())
    profile, count = read(read_perf_script, path)
    assert [one.kind for one in profile.passes] == ["on_cpu"]
    assert count.warning.endswith("perf is restricted")
    shutil.copy(DATA / "perf-switches.txt", path.with_suffix(".switches.txt"))
    path.with_suffix(".switches.json").write_text(SwitchFacts(began_s=5802.8, ended_s=None).model_dump_json())
    profile, count = read(read_perf_script, path)
    assert [round(one.seconds, 3) for one in profile.passes] == [2.0, 1.0]
    assert "a part of the time only" in count.warning


def test_addr2line() -> None:
    """Inlined functions come outermost first; what has no debug information has no file."""
    told = list(read_addr2line((DATA / "addr2line.txt").read_text().splitlines()))
    assert told == [
        [("work", "/srv/app/main.c", 11), ("mix", "/srv/app/mix.h", 4)],
        [("__libc_start_call_main", "", 0)],
    ]


def test_jfr_print(tmp_path: Path) -> None:
    """Running samples on-CPU, those in native code with a leaf that says so; waits as periods off-CPU (220 ms are 22 of 10 ms), with a leaf
    for `synchronized`; an empty stack is nothing. Threads have the kernel's ids where they are known."""
    path = tmp_path / "slice"
    shutil.copy(DATA / "jfr.txt", path.with_suffix(".txt"))
    path.with_suffix(".summary").write_text(json.dumps({"pid": 4711, "lines_reliable": False, "threads": {"1": 4712}}))
    profile, count = read(read_jfr_text, path, rate_hz=100)
    assert rows(profile) == {
        ("Feed$$Lambda$14/0x0000000800c03000.run;Feed.distinct:66;ArrayList.indexOfRange:298", "main", 0): 1,
        (f"Feed.pack:80;Deflater.deflateBytesBytes;{IN_NATIVE}", "main", 1): 1,
    }
    assert {(one.name, one.tid) for one in profile.threads} == {("main", 4712), ("worker-2", None), ("worker-3", None)}
    assert rows(profile, "off_cpu") == {
        (f"Feed.store:4;{MONITOR_ENTER}", "worker-2", 1): 22,
        ("Feed.take:9;Unsafe.park", "worker-3", 0): 1,
    }
    assert count.samples == 1
    assert not any(one.lines_reliable for one in profile.passes)
    assert "com.example.Feed" in profile.frames.file


@pytest.mark.parametrize(
    ("gaps_ms", "found_hz"),
    [
        ([14] * 60, 1_000 / 14),
        ([14, 15, 13] * 20 + [400] * 5, 1_000 / 14),
        ([10] * 60, 99),
        ([14] * 5, 99),
    ],
    ids=["late on a busy machine", "nobody found for a while", "as ordered", "too few to tell"],
)
def test_how_often_the_flight_recorder_looked(gaps_ms: list[int], found_hz: float) -> None:
    """The time between looks that found somebody tells the rate; two threads seen by one look are one look."""
    moments = [sum(gaps_ms[:number]) / 1_000 for number in range(len(gaps_ms) + 1)]
    events = [JfrEvent("jdk.ExecutionSample", at_s + beside) for at_s in moments for beside in (0.0, 0.001)]
    assert looks_hz(events, 99) == pytest.approx(found_hz, rel=0.08)


@pytest.mark.parametrize(
    ("looks", "ours"),
    [
        ([(1.0, 0.4), (2.0, 0.7), (3.0, 0.7), (4.0, 0.7), (9.0, 0.7)], 0.7),
        ([(1.0, 0.4), (2.0, 0.7), (3.0, 1.0), (4.0, 1.3), (5.0, 1.32), (9.0, 1.32)], 1.3),
        ([(1.0, 0.5), (2.0, 1.0), (3.0, 1.5), (4.0, 2.0), (7.0, 3.5), (13.0, 6.5)], 0.0),
        ([(1.0, 0.4)], 0.4),
        ([], 0.0),
    ],
    ids=["at rest after two seconds", "busy for longer", "a program that compiles all the time", "it exited", "nothing seen"],
)
def test_what_a_jvm_compiles_to_be_recorded(looks: list[tuple[float, float]], ours: float) -> None:
    """What the compilers use until they rest, less what they use all the time."""
    assert compiled_for_us(looks, 5.0) == pytest.approx(ours, abs=0.03)


def test_jfr_settings_switch_on_nothing_that_holds_secrets() -> None:
    """The settings file names samples and waits only: no environment, no properties, no arguments."""
    text = jfr_settings(11)
    assert '<event name="jdk.ExecutionSample"><setting name="enabled">true</setting><setting name="period">11 ms</setting></event>' in text
    assert all(word not in text for word in ("Environment", "Property", "JVMInformation", "SystemProcess"))


def test_cpu_profile(tmp_path: Path) -> None:
    """Samples by node with the lines that ticked; idle ones are left out; ticks outside of their function are told.

    us  0.1      0.3      0.5   0.9      | 1.2      1.5      1.7   1.9
        cheapest cheapest idle  cheapest | (anon)   cheapest idle  listOnTimeout
        26       26             26       | 59       25             2?
    """
    profile, count = read(read_cpu_profile, Path(shutil.copy(DATA / "node.json", tmp_path / "slice")))
    assert rows(profile) == {
        ("(anonymous):58;cheapest:26", "main", 0): 3,
        ("(anonymous):59", "main", 1): 1,
        ("(anonymous):58;cheapest:25", "main", 1): 1,
        ("listOnTimeout:2", "main", 1): 1,
    }
    assert set(profile.frames.file) == {"/srv/my shop/prices.js", "node:internal/timers"}
    assert origins(profile)["listOnTimeout"] == "runtime"
    assert count.samples == 6
    assert count.warning.startswith("17% of the samples are in functions that V8 inlined")


def test_cpu_profile_with_switches(tmp_path: Path) -> None:
    """A sample whose thread waited until V8 woke it is a wait, not CPU time; each wait is where the nearest sample was.

    ms       0     100      300      500  600   900  1000 ... (V8's samples at 100, 300, 500, 900)
    waits       -       ====              ==                   200 ms until the sample at 300, 100 ms after the one at 500
    """
    path = Path(shutil.copy(DATA / "node.json", tmp_path / "slice"))
    began_s = json.loads(path.read_text())["profile"]["startTime"] / 1e6
    pid = json.loads(path.read_text())["pid"]
    lines = [
        f"{pid}/{pid}  {began_s + at_s:.9f}: PERF_RECORD_SWITCH {way}"
        for at_s, way in ((0.02, "OUT preempt"), (0.05, "IN"), (0.11, "OUT"), (0.2999, "IN"), (0.501, "OUT"), (0.601, "IN"))
    ]
    path.with_suffix(".switches.txt").write_text("\n".join(lines))
    path.with_suffix(".switches.json").write_text(SwitchFacts(began_s=began_s - 1, ended_s=began_s + 3).model_dump_json())
    profile, count = read(read_cpu_profile, path)
    assert rows(profile)[("(anonymous):58;cheapest:26", "main", 0)] == 2
    assert rows(profile, "off_cpu") == {("(anonymous):58;cheapest:26", "main", 0): 190, ("(idle)", "main", 0): 100}
    assert count.samples == 5


@pytest.mark.parametrize("reader", [read_perf_script, read_jfr_text])
def test_nothing_sampled(reader: ReadSlice, tmp_path: Path) -> None:
    """An idle target gives an empty pass, not an error."""
    path = tmp_path / "slice"
    path.with_suffix(".txt").write_text("")
    path.with_suffix(".summary").write_text(
        json.dumps({"runtime": "native", "executable": "", "threads": {}, "pid": 1, "lines_reliable": True})
    )
    profile, count = read(reader, path)
    assert (count.samples, rows(profile)) == (0, {})
    assert profile.passes[0].block_seconds == [1.0, 1.0]
