"""Real Python programs by py-spy and by our own reader: what they find, what the target pays, and what is left when something dies."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from temporalio.exceptions import ApplicationError

from activities.finding_processes import describe
from activities.pyspy import PySpy
from activities.slice_recorder import PLAN_FILE
from perfwright.analysis.sampling_rate import RatePlan
from perfwright.models.cpu_profiling import StackProfile, StackRecording
from perfwright.models.profile import PassKind
from tests import preloaded
from tests.activities.cpython.interpreters import older_interpreter
from tests.activities.recordings import (
    LEAVES,
    PREFIX,
    TAKEN_BY,
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
    until,
)
from tests.needs import needs

pytestmark = needs("ptrace")

METHOD = "record_python_stacks"
BUSY = "print('ready')\ndef work():\n    total = 0\n    for number in range(10_000): total += number % 7\n    return total\nwhile True: work()\n"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def record(bench: Bench, request: StackRecording) -> StackProfile:
    stacks: StackProfile = await bench.run(PySpy, METHOD, request)
    return stacks


def plan_blocking(bench: Bench, rate_hz: int) -> None:
    """As if a probe had found this rate to be cheap."""
    folder = bench.state / "recordings" / f"{PREFIX}/stacks".replace("/", "-")
    folder.mkdir(parents=True)
    (folder / PLAN_FILE).write_text(RatePlan(rate_hz=rate_hz).model_dump_json() + "\n")


@pytest.mark.paired
async def test_the_hot_function_is_found_in_every_pass(bench: Bench) -> None:
    """The busy thread's on-CPU and GIL samples are nearly all in the function that calculates; the wall pass sees the others wait."""
    with pattern("one-thread") as target:
        stacks = await record(bench, recording(target.pid, "py-spy", ("on_cpu", "wall", "gil"), duration_s=6, slice_s=2))
        assert runs(target.pid)
    profile = await bench.profile(stacks)
    assert "own reader for CPython" in stacks.tool
    assert stacks.end == "complete"
    assert {one.kind for one in stacks.passes} == {"on_cpu", "wall", "gil"}
    for kind in ("on_cpu", "gil"):
        assert function_shares(profile, kind, "MainThread")["checksum"] > 0.8
    leaves = shares(profile, thread="MainThread")
    hottest = max(leaves, key=lambda leaf: leaves[leaf])
    assert hottest[:2] == ("checksum", "patterns.py")
    waiting = function_shares(profile, "wall")["Condition.wait"]
    assert 0.5 < waiting < 0.9, "three of four threads wait"
    assert {"MainThread", "waiting-0", "waiting-1", "waiting-2"} <= {thread.name for thread in profile.threads}
    assert all(thread.tid for thread in profile.threads)
    origins = dict(zip(profile.frames.function, profile.frames.origin, strict=True))
    assert (origins["checksum"], origins["Condition.wait"]) == ("user", "runtime")


@pytest.mark.paired
async def test_many_threads_are_not_held_beyond_the_budget(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 150 threads a sample of py-spy is dear: the rate follows from the probe, and what the target paid is measured and reported."""
    monkeypatch.setattr("activities.frame_reader.PROGRAM", "activities.cpython.missing")
    with pattern("threads", "--threads", "150") as target:
        stacks = await record(bench, recording(target.pid, "py-spy", ("wall",), budget=0.02, duration_s=4))
    [taken] = stacks.passes
    assert taken.rate_hz < 99
    assert stacks.overhead.probe_note.startswith("Probe of")
    assert "151 threads" in stacks.overhead.probe_note
    cost = stacks.overhead
    if cost.nonblocking:
        assert cost.profiler_cpu_share is not None and "The profiler then took" in cost.probe_note
    else:
        assert cost.paused_share is not None
        assert cost.paused_share <= 0.02 or stacks.end == "over budget"


async def test_all_of_many_threads_are_told(bench: Bench) -> None:
    """Of 150 threads a few are looked at by lot, and each counts for as many as it stands for: nearly all wait, one does not, all are named;
    nothing is probed, because nothing is held."""
    with pattern("threads", "--threads", "150") as target:
        stacks = await record(bench, recording(target.pid, "py-spy", ("wall",), duration_s=4))
    [taken] = stacks.passes
    profile = await bench.profile(stacks)
    per_look = taken.samples / (taken.rate_hz * taken.seconds)
    assert 140 < per_look < 160 and taken.rate_hz * 151 < 6_000
    assert function_shares(profile, "wall")["Condition.wait"] > 0.97
    assert len({thread.tid for thread in profile.threads}) > 140
    assert "Probe" not in stacks.overhead.probe_note


async def test_a_recording_that_costs_too_much_is_stopped(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Far over the budget the recording stops by itself, says so, keeps what it has, and the target runs on."""
    monkeypatch.setattr("activities.frame_reader.PROGRAM", "activities.cpython.missing")
    plan_blocking(bench, 200)
    with pattern("threads", "--threads", "100") as target:
        stacks = await record(bench, recording(target.pid, "py-spy", ("wall",), budget=0.001, duration_s=60, slice_s=30))
        assert runs(target.pid)
    assert stacks.end == "over budget"
    assert "budget 0.1%" in stacks.warnings[0]
    assert sum(one.seconds for one in stacks.passes) < 30
    monkeypatch.undo()
    with pattern("one-thread") as target, no_budget() as settings:
        assert_kept(await record(bench, recording(target.pid, "py-spy", **settings).model_copy(update={"artifact_prefix": "reader"})))


async def test_an_interpreter_that_the_reader_does_not_know(bench: Bench) -> None:
    """py-spy takes all passes, and the profile says so and why."""
    older = older_interpreter()
    if older is None:
        pytest.skip("needs CPython 3.8 or 3.9")
    with program(older, "-uc", BUSY) as target:
        stacks = await record(bench, recording(target.pid, "py-spy"))
    assert "own reader" not in stacks.tool
    assert [one.samples > 0 for one in stacks.passes] == [True]
    assert "taken by py-spy, not by the reader that stops nothing" in stacks.warnings[0] and "older" in stacks.warnings[0]


async def test_a_passing_failure_to_start_the_reader_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that cannot even start leaves the recording to py-spy."""
    monkeypatch.setattr("activities.frame_reader.PROGRAM", "activities.cpython.missing")
    with pattern("one-thread") as target:
        stacks = await record(bench, recording(target.pid, "py-spy"))
    assert [one.samples > 0 for one in stacks.passes] == [True]
    assert "No module named" in stacks.warnings[0]


@pytest.mark.parametrize("kind", TAKEN_BY)
async def test_a_tree_is_profiled_without_its_command_lines(bench: Bench, kind: PassKind) -> None:
    """Samples of children are theirs; frames stand for the processes, without arguments, because those may hold passwords."""
    with pattern("forks") as target:
        children = {child.pid for child in psutil.Process(target.pid).children()}
        stacks = await record(bench, recording(target.pid, "py-spy", (kind,)))
    profile = await bench.profile(stacks)
    seen = {profile.threads[thread].pid for one in profile.passes for thread in one.thread}
    assert children <= seen
    frames = [f for f, origin in zip(profile.frames.function, profile.frames.origin, strict=True) if origin == "process"]
    assert any(f"process {pid} (" in frame for pid in children for frame in frames)
    assert not [function for function in profile.frames.function if "--seconds" in function]


@pytest.mark.parametrize("kind", TAKEN_BY)
@pytest.mark.parametrize("how", ["exit", "kill"])
async def test_a_target_that_ends_in_the_middle(bench: Bench, how: str, kind: PassKind) -> None:
    """What was recorded until the target exited, or was killed, is a profile; its length is what was really recorded."""
    with python(LEAVES) as target:
        request = recording(target.pid, "py-spy", (kind,), duration_s=40, slice_s=40)
        plan_blocking(bench, 50)
        attempt = asyncio.create_task(record(bench, request))
        await bench.beat_of(lambda beat: beat.get("pass") == kind and beat["recorded_s"] > 1)
        target.send_signal(signal.SIGTERM if how == "exit" else signal.SIGKILL)
        stacks = await attempt
    assert stacks.end == "target exited"
    [taken] = stacks.passes
    assert taken.samples > 0
    assert taken.seconds < 20


@pytest.mark.parametrize(("kind", "tool"), TAKEN_BY.items())
async def test_a_killed_profiler_is_started_again(bench: Bench, kind: PassKind, tool: str) -> None:
    """kill -9 of py-spy or the reader: the target is not left stopped, the slice is taken again, and the lost time is told."""
    with pattern("one-thread") as target:
        plan_blocking(bench, 99)
        attempt = asyncio.create_task(record(bench, recording(target.pid, "py-spy", (kind,), duration_s=3, slice_s=3)))
        await bench.beat_of(lambda beat: beat.get("recorded_s", 0) > 0.5)
        [killed] = tools_of(target.pid, tool)
        killed.kill()
        await until(lambda: not killed.is_running() or killed.status() == psutil.STATUS_ZOMBIE)
        await until(lambda: runs(target.pid), 5)
        stacks = await attempt
        assert runs(target.pid)
    assert stacks.end == "complete"
    assert [one.samples > 0 for one in stacks.passes] == [True]
    [gap] = stacks.gaps
    assert ("signal 9" if tool == "py-spy" else "ended or fell silent") in gap.reason


@pytest.mark.parametrize(("kind", "tool"), TAKEN_BY.items())
async def test_a_killed_worker_leaves_no_profiler_and_its_slices_count(bench: Bench, tmp_path: Path, kind: PassKind, tool: str) -> None:
    """kill -9 of the worker in the second slice: its profiler is gone, the target runs, and the next attempt records only what is missing."""
    with pattern("one-thread") as target:
        plan_blocking(bench, 50)
        request = recording(target.pid, "py-spy", (kind,), duration_s=6, slice_s=2)
        (tmp_path / "request.json").write_text(request.model_dump_json())
        words = [str(tmp_path), f"activities.pyspy:PySpy.{METHOD}", str(tmp_path / "request.json")]
        with preloaded.killed("tests.activities.recording_worker", words):
            log = bench.state / "recordings" / f"{PREFIX}/stacks".replace("/", "-") / "slices.jsonl"
            await until(lambda: log.exists() and log.read_text().count("\n") >= 1)
            await until(lambda: len(tools_of(target.pid, tool)) == 1)
        await until(lambda: not tools_of(target.pid, tool))
        await until(lambda: runs(target.pid), 5)
        before = log.read_text()
        stacks = await record(bench, request)
    assert stacks.end == "complete"
    assert [gap.reason for gap in stacks.gaps] == ["the worker was restarted"]
    assert sum(one.slices for one in stacks.passes) == 3
    kept = json.loads(before.splitlines()[0])
    assert (await bench.profile(stacks)).passes[0].block_seconds[0] == kept["seconds"]
    assert sum(one.blocks for one in stacks.passes) == 3, "a slice is one block"


@pytest.mark.parametrize(("kind", "tool"), TAKEN_BY.items())
async def test_a_cancelled_recording_lets_go_at_once(bench: Bench, kind: PassKind, tool: str) -> None:
    """Cancelled in the middle: the profiler has ended when the step ends, the target runs, and nothing is left."""
    with pattern("one-thread") as target:
        plan_blocking(bench, 99)
        attempt = asyncio.create_task(record(bench, recording(target.pid, "py-spy", (kind,), duration_s=60, slice_s=60)))
        await bench.beat_of(lambda beat: beat.get("recorded_s", 0) > 0.5)
        assert len(tools_of(target.pid, tool)) == 1
        bench.environment.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(attempt, 15)
        assert tools_of(target.pid, tool) == []
        assert runs(target.pid)
    assert bench.left == []


@pytest.mark.parametrize("kind", TAKEN_BY)
async def test_a_target_that_execs_is_another_program(bench: Bench, kind: PassKind) -> None:
    """Python that becomes another program ends the recording, with what was recorded until then."""
    with python(LEAVES.replace("sys.exit()", "__import__('os').execvp('sleep', ['sleep', '300'])")) as target:
        plan_blocking(bench, 50)
        attempt = asyncio.create_task(record(bench, recording(target.pid, "py-spy", (kind,), duration_s=20, slice_s=2)))
        await bench.beat_of(lambda beat: beat.get("slices", 0) >= 1 and beat["recorded_s"] > 2.2)
        target.terminate()
        stacks = await attempt
    assert stacks.end == "target exited"
    assert "now runs sleep" in stacks.warnings[0]
    assert sum(one.samples for one in stacks.passes) > 0


async def test_an_interpreter_that_is_not_known(bench: Bench, tmp_path: Path) -> None:
    """A program that calls itself Python and is none that py-spy knows is told, with the way out."""
    fake = shutil.copy(shutil.which("sleep") or "/bin/sleep", tmp_path / "python3.99")
    with program(str(fake), "60", ready=None) as target:
        plan_blocking(bench, 50)
        await until(lambda: describe(psutil.Process(target.pid)).runtime == "python")
        with pytest.raises(ApplicationError, match=r"py-spy [\d.]+ does not know the interpreter") as trouble:
            await record(bench, recording(target.pid, "py-spy"))
    assert trouble.value.type == "RuntimeUnsupported"


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="drops privileges: needs root and setpriv")
async def test_a_target_of_another_user(bench: Bench, tmp_path: Path) -> None:
    """Without the permission to trace, the error names it; nothing of the target is touched."""
    system = shutil.which("python3", path="/usr/bin:/bin")
    if system is None:
        pytest.skip("needs a Python that every user may run")
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with program(*nobody, system, "-uc", BUSY, ready="ready") as target:
        request = recording(target.pid, "py-spy")
        (tmp_path / "request.json").write_text(request.model_dump_json())
        worker = subprocess.run(
            ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace", sys.executable, "-m", "tests.activities.recording_worker"]
            + [str(tmp_path), f"activities.pyspy:PySpy.{METHOD}", str(tmp_path / "request.json")],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert runs(target.pid)
    assert "CAP_SYS_PTRACE" in worker.stderr
    assert worker.returncode != 0
