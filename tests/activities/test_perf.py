"""perf on compiled programs: inlined functions, kernel frames, missing frame pointers."""

import asyncio
import subprocess
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError

from activities.perf import Perf
from lab.programs import build
from perfwright.models.cpu_profiling import StackProfile, StackRecording
from tests.activities.recordings import Bench, function_shares, pattern, program, recording, runs, shares, tools_of
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


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def compiled(folder: Path, *flags: str) -> str:
    (folder / "inlined.c").write_text(INLINED)
    program = folder / "inlined"
    subprocess.run(["gcc", "-O2", "-g", *flags, "-o", str(program), str(folder / "inlined.c")], check=True, timeout=60)
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


@pytest.mark.measuring
@needs("perf", "gcc")
async def test_the_planted_line_of_a_compiled_program(bench: Bench) -> None:
    """The lab's C program spends most of its time in one loop: its function, file and line are told."""
    with program(*build("native").command(120)) as target:
        stacks = await record(bench, recording(target.pid, "perf", duration_s=4))
        assert runs(target.pid)
    profile = await bench.profile(stacks)
    source = Path("lab/native/bookings.c").read_text().splitlines()
    planted = next(number for number, line in enumerate(source, 1) if "planted:" in line)
    (_, file, line), share = max(shares(profile).items(), key=lambda leaf: leaf[1])
    assert (file, line) == ("bookings.c", planted)
    assert share > 0.4
    assert stacks.tool.startswith("perf ")
    assert (stacks.end, stacks.warnings) == ("complete", ())


@pytest.mark.measuring
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


@pytest.mark.measuring
@needs("perf", "gcc")
async def test_missing_frame_pointers_are_told(bench: Bench, tmp_path: Path) -> None:
    """Stacks that break off are not passed off as whole."""
    with program(compiled(tmp_path, "-fomit-frame-pointer")) as target:
        stacks = await record(bench, recording(target.pid, "perf", duration_s=2))
    assert "without frame pointers" in stacks.warnings[0]


@pytest.mark.measuring
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


@pytest.mark.measuring
@needs("perf")
async def test_a_target_that_ends_in_the_middle(bench: Bench) -> None:
    """What was recorded until then is a profile."""
    with pattern("one-thread", seconds=3) as target:
        stacks = await record(bench, recording(target.pid, "perf", duration_s=40, slice_s=40))
    assert stacks.end == "target exited"
    assert stacks.passes[0].samples > 0
    assert stacks.passes[0].seconds < 20


@pytest.mark.measuring
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
