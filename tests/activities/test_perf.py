"""perf on compiled programs: inlined functions, kernel frames, missing frame pointers, and where threads wait."""

import asyncio
import subprocess
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError

from activities.perf import Perf
from lab.programs import build
from perfwright.analysis.cpu_findings import analyse_findings
from perfwright.analysis.hot_paths import find_hot_paths, on_cpu
from perfwright.analysis.tree_weights import CallTree
from perfwright.analysis.utilisation import describe_utilisation
from perfwright.analysis.waits import KINDS, off_cpu
from perfwright.models.cpu_profiling import StackProfile, StackRecording
from tests.activities.recordings import (
    LEAVES,
    Bench,
    assert_kept,
    function_shares,
    no_budget,
    pattern,
    program,
    python,
    recording,
    runs,
    shares,
    tools_of,
    total_share,
)
from tests.needs import needs

INLINED = """
#include <stdio.h>
static inline __attribute__((always_inline)) unsigned mix(unsigned x) {
    for (int i = 0; i < 400; i++)
        x = x * 1664525u + 1013904223u;
    return x;
}
__attribute__((noinline)) unsigned work(unsigned x) {
    unsigned s = 0;
    for (int i = 0; i < 1000; i++)
        s ^= mix(x + i);
    return s;
}
int main(void) { volatile unsigned s = 1; puts("ready"); fflush(stdout); for (;;) s = work(s); }
"""

WAITS = """
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
static pthread_mutex_t till = PTHREAD_MUTEX_INITIALIZER;
static int orders[2], nothing[2];
static void ms(long n) { struct timespec t = {0, n * 1000000}; nanosleep(&t, 0); }
__attribute__((noinline)) void naps(void) { ms(20); }
__attribute__((noinline)) void holds_till(void) { pthread_mutex_lock(&till); ms(30); pthread_mutex_unlock(&till); ms(1); }
__attribute__((noinline)) void wants_till(void) { pthread_mutex_lock(&till); pthread_mutex_unlock(&till); ms(1); }
__attribute__((noinline)) void reads_orders(void) { char c; if (read(orders[0], &c, 1) != 1) exit(1); }
__attribute__((noinline)) void writes_orders(void) { ms(40); if (write(orders[1], "x", 1) != 1) exit(1); }
__attribute__((noinline)) void reads_nothing(void) { char c; if (read(nothing[0], &c, 1) != 1) exit(1); }
static void *forever(void *step) { for (;;) ((void (*)(void))step)(); }
int main(void) {
    void (*steps[])(void) = {naps, holds_till, wants_till, reads_orders, writes_orders, reads_nothing};
    if (pipe(orders) || pipe(nothing)) return 1;
    for (int i = 0; i < 6; i++) { pthread_t t; pthread_create(&t, 0, forever, steps[i]); }
    puts("ready"); fflush(stdout); pause();
}
"""
HAND_OVER = """
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static int there[2], back[2];
__attribute__((noinline)) void answers(void) { char c; if (read(there[0], &c, 1) != 1 || write(back[1], &c, 1) != 1) exit(1); }
__attribute__((noinline)) void asks(void) { char c = 'x'; if (write(there[1], &c, 1) != 1 || read(back[0], &c, 1) != 1) exit(1); }
static void *other(void *nothing) { for (;;) answers(); }
int main(void) {
    if (pipe(there) || pipe(back)) return 1;
    pthread_t t; pthread_create(&t, 0, other, 0);
    puts("ready"); fflush(stdout);
    for (;;) asks();
}
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def compiled(folder: Path, *flags: str, source: str = INLINED) -> str:
    (folder / "inlined.c").write_text(source)
    program = folder / "inlined"
    subprocess.run(["gcc", "-O2", "-g", "-pthread", *flags, "-o", str(program), str(folder / "inlined.c")], check=True, timeout=60)
    return str(program)


async def record(bench: Bench, request: StackRecording) -> StackProfile:
    stacks: StackProfile = await bench.run(Perf, "record_native_stacks", request)
    return stacks


async def test_perf_missing(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without perf the error names the package."""
    with program("sleep", "60", ready=None) as target:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(ApplicationError, match="Install linux-perf") as trouble:
            await record(bench, recording(target.pid, "perf"))
    assert trouble.value.type == "ToolMissing"


@needs("perf", "gcc")
async def test_the_planted_line_of_a_compiled_program(bench: Bench) -> None:
    """The lab's C program spends most of its time in one loop: its function, file and line are told; a recording that
    costs too much keeps what it has."""
    with program(*build("native").command(120)) as target:
        stacks = await record(bench, recording(target.pid, "perf", duration_s=4))
        assert runs(target.pid)
        with no_budget() as settings:
            request = recording(target.pid, "perf", **settings)
            assert_kept(await record(bench, request.model_copy(update={"artifact_prefix": "dear"})))
    profile = await bench.profile(stacks)
    source = Path("lab/native/bookings.c").read_text().splitlines()
    planted = next(number for number, line in enumerate(source, 1) if "planted:" in line)
    (_, file, line), share = max(shares(profile).items(), key=lambda leaf: leaf[1])
    assert (file, line) == ("bookings.c", planted)
    assert share > 0.4
    assert stacks.tool.startswith("perf ")
    assert (stacks.end, stacks.warnings) == ("complete", ())


@needs("perf", "gcc")
@pytest.mark.parametrize("flags", [("-fno-omit-frame-pointer",), ("-fno-omit-frame-pointer", "-no-pie")], ids=["pie", "no-pie"])
async def test_inlined_functions_are_put_back(bench: Bench, tmp_path: Path, flags: tuple[str, ...]) -> None:
    """A function that was inlined has its own frame and line, below the one that it was inlined into; also in a program at a fixed address."""
    with program(compiled(tmp_path, *flags)) as target:
        stacks = await record(bench, recording(target.pid, "perf", duration_s=2))
    profile = await bench.profile(stacks)
    lines = [line for (function, file, line), share in shares(profile).items() if function == "mix" and file == "inlined.c"]
    assert function_shares(profile)["mix"] > 0.8
    assert set(lines) <= {4, 5}
    [work] = {profile.frames.function[profile.nodes.frame[parent]] for parent in _parents(profile, "mix")}
    assert work == "work"


@needs("perf", "gcc")
async def test_callers_without_frame_pointers(bench: Bench, tmp_path: Path) -> None:
    """A program that was compiled without them is unwound by its own tables: the stacks reach its start."""
    with program(compiled(tmp_path, "-fomit-frame-pointer")) as target:
        stacks = await record(bench, recording(target.pid, "perf", duration_s=2))
    profile = await bench.profile(stacks)
    assert total_share(profile, "main") > 0.9
    assert stacks.warnings == ()


@needs("perf", "gcc", "strip")
async def test_a_stripped_program(bench: Bench, tmp_path: Path) -> None:
    """Its time is told by the file, and by where each function begins; the finding says which build lacks its names, and what gives them."""
    path = compiled(tmp_path, "-fomit-frame-pointer", "-Wl,--build-id=sha1")
    listed = subprocess.run(["nm", path], check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
    work = next(int(line.split()[0], 16) for line in listed if line.endswith(" work"))
    subprocess.run(["strip", path], check=True, timeout=60)
    with program(path) as target:
        stacks = await record(bench, recording(target.pid, "perf", duration_s=2))
    profile = await bench.profile(stacks)
    assert function_shares(profile)[f"[inlined+{work:#x}]"] > 0.8
    seen = on_cpu(CallTree(profile), None, runtime="native")
    hot_paths = find_hot_paths(seen, top=5)
    assert (hot_paths.functions[0].function, hot_paths.functions[0].self_share > 0.9) == ("[inlined]", True)
    findings, advice = analyse_findings(seen, hot_paths, describe_utilisation(seen, None), None)
    [code] = [one for one in profile.nameless if one.kind == "stripped"]
    assert findings[0].title.startswith("inlined has no symbols: ") and code.build_id in findings[0].summary
    assert [fix.title for fix in advice] == ["Get the function names of inlined"]


@needs("perf", "gcc")
async def test_a_program_that_was_replaced_while_it_runs(bench: Bench, tmp_path: Path) -> None:
    """A deployment puts another build at its path: names and lines are those of what runs."""
    path = Path(compiled(tmp_path, "-fno-omit-frame-pointer"))
    with program(str(path)) as target:
        path.unlink()
        path.with_suffix(".c").write_text(INLINED.replace("work", "other_work"))
        subprocess.run(["gcc", "-O1", "-o", str(path), str(path.with_suffix(".c"))], check=True, timeout=60)
        stacks = await record(bench, recording(target.pid, "perf", duration_s=2))
    profile = await bench.profile(stacks)
    assert total_share(profile, "work") > 0.9
    assert "other_work" not in profile.frames.function
    assert {line for (function, file, line) in shares(profile) if function == "mix"} <= {4, 5}


@needs("perf", "gcc")
@pytest.mark.parametrize("flag", ["-fno-omit-frame-pointer", "-fomit-frame-pointer"])
async def test_where_a_compiled_program_waits(bench: Bench, tmp_path: Path, flag: str) -> None:
    """Each function that sleeps, reads or wants a lock is named with its wait, with frame pointers or without, next to a thread that hangs."""
    with program(compiled(tmp_path, flag, source=WAITS)) as target:
        stacks = await record(bench, recording(target.pid, "perf", duration_s=3))
        assert runs(target.pid)
    tree = CallTree(await bench.profile(stacks))
    waited = off_cpu(tree)
    assert waited is not None
    shares = {
        function: total_share(tree.profile, function, "off_cpu") for function in ("naps", "wants_till", "reads_orders", "writes_orders")
    }
    assert all(0.08 < share < 0.2 for share in shares.values()), shares  # one of seven threads each
    told = {spot.function for spot in describe_utilisation(on_cpu(tree, None, runtime="native"), None).waiting}
    assert {"wants_till: waits for a lock", "reads_orders: waits for I/O"} <= told
    assert {"lock", "I/O", "sleep"} <= {KINDS[number] for number in waited.kind}


@needs("perf", "gcc")
async def test_a_program_that_only_runs_does_not_wait(bench: Bench, tmp_path: Path) -> None:
    """On a machine busy with others it is put off its CPU again and again, and none of that is a wait."""
    with program(compiled(tmp_path)) as target:
        stacks = await record(bench, recording(target.pid, "perf", duration_s=2))
    profile = await bench.profile(stacks)
    [waited] = [one for one in profile.passes if one.kind == "off_cpu"]
    assert sum(waited.count) < 0.02 * waited.rate_hz * waited.seconds


@needs("perf", "gcc")
async def test_a_program_that_switches_all_the_time(bench: Bench, tmp_path: Path) -> None:
    """Two threads that hand one byte over and over: both places are named, from a bounded part of what there is to record."""
    with program(compiled(tmp_path, source=HAND_OVER)) as target:
        stacks = await record(bench, recording(target.pid, "perf", duration_s=3))
    profile = await bench.profile(stacks)
    asks, answers = (total_share(profile, function, "off_cpu") for function in ("asks", "answers"))
    assert min(asks, answers) > 0.2
    assert asks + answers > 0.98


@needs("perf")
async def test_kernel_time_has_kernel_frames(bench: Bench) -> None:
    """A program that mostly makes system calls shows what the kernel does for it."""
    with pattern("kernel") as target:
        stacks = await record(bench, recording(target.pid, "perf", duration_s=2))
    profile = await bench.profile(stacks)
    kernel = sum(
        count
        for one in profile.passes
        for node, count in zip(one.node, one.count, strict=True)
        if profile.frames.origin[profile.nodes.frame[node]] == "kernel"
    )
    if not kernel and Path("/proc/sys/kernel/kptr_restrict").read_text().strip() != "0":
        pytest.skip("this kernel hides its symbols")
    assert kernel / sum(sum(one.count) for one in profile.passes) > 0.5


@needs("perf")
async def test_a_target_that_ends_in_the_middle(bench: Bench) -> None:
    """What was recorded until then is a profile."""
    with python(LEAVES) as target:
        attempt = asyncio.create_task(record(bench, recording(target.pid, "perf", duration_s=40, slice_s=40)))
        await bench.beat_of(lambda beat: beat.get("recorded_s", 0) > 1)
        target.terminate()
        stacks = await attempt
    assert stacks.end == "target exited"
    assert stacks.passes[0].samples > 0
    assert stacks.passes[0].seconds < 20


@needs("perf")
async def test_a_cancelled_recording_lets_go_at_once(bench: Bench) -> None:
    """Cancelled in the middle: perf has ended when the step ends, and nothing is left."""
    with pattern("one-thread") as target:
        attempt = asyncio.create_task(record(bench, recording(target.pid, "perf", duration_s=60, slice_s=60)))
        await bench.beat_of(lambda beat: beat.get("recorded_s", 0) > 0.5)
        bench.environment.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(attempt, 15)
        assert tools_of(target.pid, "perf") == []
        assert runs(target.pid)
    assert bench.left == []


def _parents(profile: object, function: str) -> list[int]:
    nodes, frames = profile.nodes, profile.frames  # type: ignore[attr-defined]
    return [parent for parent, frame in zip(nodes.parent, nodes.frame, strict=True) if frames.function[frame] == function and parent >= 0]
