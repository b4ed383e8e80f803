"""What holds for every tool that records in slices: a simple tool stands in for the profiler, the target is a real process."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from temporalio.activity import ActivityCancellationDetails
from temporalio.exceptions import ApplicationError

from activities.artifacts import ArtifactStore
from activities.errors import refuse
from activities.pause_watch import PauseWatch
from activities.profiler_cpu import MachineBusy
from activities.slice_recorder import SliceOrder, SliceRecorder, Tick
from activities.taken_slices import SliceCount, SliceTake, TakenSlice
from perfwright.analysis.call_tree import ProfileBuilder
from perfwright.models.cpu_profiling import StackProfile, StackRecording
from perfwright.models.errors import ErrorType
from perfwright.models.profile import PassKind
from tests.activities.recordings import Bench, program, recording, runs, until
from tests.disks import tiny_disk  # noqa: F401

PASSES: tuple[PassKind, ...] = ("on_cpu", "wall")
SAMPLES = 10


def read_tally(builder: ProfileBuilder, taken: TakenSlice, path: Path) -> SliceCount:
    """Ten samples of one function per slice."""
    builder.begin(taken.kind, taken.rate_hz)
    block = builder.add_block(taken.kind, taken.seconds)
    frame = builder.frame(json.loads(path.read_text())["function"], "/srv/shop.py", 7, "user")
    builder.add(taken.kind, [frame], builder.thread(1, 1, "main"), block, SAMPLES)
    return SliceCount(samples=SAMPLES)


class Tally:
    """Writes a file per slice at once; `before` may fail, wait, or do something to the target."""

    title = "tally 1.0"
    held_passes: frozenset[PassKind] = frozenset()
    read = staticmethod(read_tally)

    def __init__(self, before: Callable[[SliceOrder], object] = lambda order: None) -> None:
        self.orders: list[SliceOrder] = []
        self.before = before

    def attached(self) -> nullcontext[None]:
        return nullcontext()

    async def take(self, order: SliceOrder, tick: Tick) -> SliceTake:
        self.orders.append(order)
        tick(0.5, None)
        done = self.before(order)
        if asyncio.iscoroutine(done):
            await done
        order.path.write_text(json.dumps({"function": f"work_{len(self.orders)}"}))
        return SliceTake(order.seconds, cpu_s=0.1)

    async def record(self, request: StackRecording, store: ArtifactStore, state: Path) -> StackProfile:
        return await SliceRecorder(self, request, store, state).record()


@pytest.fixture
def target() -> Iterator[int]:
    with program(sys.executable, "-uc", "print('ready'); import time; time.sleep(300)") as process:
        yield process.pid


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def record(bench: Bench, tool: Tally, request: StackRecording) -> StackProfile:
    return await bench.environment.run(tool.record, request, bench.store, bench.state)


async def test_passes_alternate_and_only_the_result_is_left(bench: Bench, target: int) -> None:
    """Every pass is recorded in turn; afterwards nothing of the recording is on the host but its result."""
    tool = Tally()
    stacks = await record(bench, tool, recording(target, "py-spy", PASSES))
    assert [order.kind for order in tool.orders] == ["on_cpu", "wall"]
    assert {one.kind: (one.samples, one.seconds) for one in stacks.passes} == {"on_cpu": (SAMPLES, 2.0), "wall": (SAMPLES, 2.0)}
    assert (stacks.end, stacks.gaps, stacks.tool) == ("complete", (), "tally 1.0")
    assert stacks.overhead.profiler_cpu_share == pytest.approx(0.05)
    assert [Path(file).name for file in bench.left] == ["result.jsonl"]
    profile = await bench.profile(stacks)
    assert sorted(profile.frames.function) == ["work_1", "work_2"]


async def test_an_answer_that_got_lost_is_not_recorded_again(bench: Bench, target: int) -> None:
    """A worker killed between the end of the recording and its answer gives the same answer in the next attempt."""
    request = recording(target, "py-spy", PASSES)
    first = await record(bench, Tally(), request)
    again = Tally()
    bench.new_environment()
    assert await record(bench, again, request) == first
    assert again.orders == []


@pytest.mark.parametrize("reason", ["worker_shutdown", "paused", "timed_out"])
async def test_the_next_attempt_goes_on(bench: Bench, target: int, reason: str) -> None:
    """What was recorded before the worker went away is kept, the rest is recorded, and the time between is told as a gap."""
    started = asyncio.Event()

    async def hang_in_second(order: SliceOrder) -> None:
        if order.kind == "wall":
            started.set()
            await asyncio.sleep(60)

    request = recording(target, "py-spy", PASSES)
    attempt = asyncio.create_task(record(bench, Tally(hang_in_second), request))
    await started.wait()
    bench.environment.cancel(ActivityCancellationDetails(**{reason: True}))
    with pytest.raises(asyncio.CancelledError):
        await attempt
    second = Tally()
    bench.new_environment()
    stacks = await record(bench, second, request)
    assert [order.kind for order in second.orders] == ["wall"]
    assert {one.kind: one.samples for one in stacks.passes} == {"on_cpu": SAMPLES, "wall": SAMPLES}
    [gap] = stacks.gaps
    assert (gap.at_s, gap.reason) == (2.0, "the worker was restarted")
    assert gap.missing_s > 0


async def test_a_cancelled_recording_leaves_nothing(bench: Bench, target: int) -> None:
    """Cancelled for good: no file of it stays on the host."""
    started = asyncio.Event()

    async def hang(order: SliceOrder) -> None:
        started.set()
        await asyncio.sleep(60)

    attempt = asyncio.create_task(record(bench, Tally(hang), recording(target, "py-spy")))
    await started.wait()
    bench.environment.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    assert bench.left == []


async def test_a_slice_that_failed_is_taken_again(bench: Bench, target: int) -> None:
    """A tool that was killed is started again for its slice; the lost time is a gap with the reason."""
    failures = iter([refuse(ErrorType.TOOL_FAILED, "the tool was ended by signal 9", retryable=True)])

    def fail_once(order: SliceOrder) -> None:
        if order.kind == "wall" and (failure := next(failures, None)):
            raise failure

    stacks = await record(bench, Tally(fail_once), recording(target, "py-spy", PASSES))
    assert stacks.end == "complete"
    assert [(gap.at_s, gap.reason) for gap in stacks.gaps] == [(2.0, "the tool was ended by signal 9")]


async def test_a_tool_that_keeps_failing_is_told(bench: Bench, target: int) -> None:
    """Three times in a row is a failure for good: nothing is tried for ever, and nothing is left."""

    def fail(order: SliceOrder) -> None:
        raise refuse(ErrorType.TOOL_FAILED, "the tool was ended by signal 9", retryable=True)

    tool = Tally(fail)
    with pytest.raises(ApplicationError, match="signal 9") as trouble:
        await record(bench, tool, recording(target, "py-spy"))
    assert (trouble.value.type, trouble.value.non_retryable, len(tool.orders)) == ("ToolFailed", True, 3)
    assert bench.left == []


async def test_what_was_recorded_is_kept_when_the_tool_fails_later(bench: Bench, target: int) -> None:
    """The first slice is not lost with the second."""

    def fail(order: SliceOrder) -> None:
        if order.kind == "wall":
            raise refuse(ErrorType.TOOL_FAILED, "no more of this")

    stacks = await record(bench, Tally(fail), recording(target, "py-spy", PASSES))
    assert (stacks.end, stacks.warnings) == ("interrupted", ("no more of this",))
    assert [one.kind for one in stacks.passes] == ["on_cpu"]


async def test_a_target_that_exits_ends_the_recording(bench: Bench, target: int) -> None:
    """What was recorded until then is a profile, and says why it ended."""

    def kill_in_second(order: SliceOrder) -> None:
        if order.kind == "wall":
            os.kill(target, signal.SIGKILL)
            raise refuse(ErrorType.TARGET_GONE, "exited while attaching")

    stacks = await record(bench, Tally(kill_in_second), recording(target, "py-spy", PASSES))
    assert stacks.end == "target exited"
    assert [one.kind for one in stacks.passes] == ["on_cpu"]


async def test_a_target_that_is_gone_is_told(bench: Bench, target: int) -> None:
    """Nothing recorded at all is TargetGone, naming pid and target, and is not tried again."""
    request = recording(target, "py-spy")
    os.kill(target, signal.SIGKILL)
    await until(lambda: not runs(target))
    with pytest.raises(ApplicationError, match=f"process {target} of shop exited") as trouble:
        await record(bench, Tally(), request)
    assert (trouble.value.type, trouble.value.non_retryable) == ("TargetGone", True)


async def test_a_stopped_target_is_left_alone(bench: Bench, target: int) -> None:
    """Nothing attaches to a process that somebody has stopped meanwhile; what was recorded before is kept."""
    request = recording(target, "py-spy", PASSES)

    async def stop(order: SliceOrder) -> None:
        os.kill(target, signal.SIGSTOP)
        await until(lambda: not runs(target))

    tool = Tally(stop)
    stacks = await record(bench, tool, request)
    assert (stacks.end, len(tool.orders)) == ("interrupted", 1)
    assert "SIGSTOP" in stacks.warnings[0]
    fresh = Tally()
    with pytest.raises(ApplicationError, match=f"kill -CONT {target}") as trouble:
        await record(bench, fresh, request.model_copy(update={"artifact_prefix": "another"}))
    assert (trouble.value.type, fresh.orders) == ("TargetStopped", [])


async def test_another_program_in_the_same_process_is_not_the_target(bench: Bench) -> None:
    """After an exec the pid and its start time are the same, the program is not."""
    code = "print('ready'); import os, sys; sys.stdin.readline(); os.execvp('sleep', ['sleep', '300'])"
    with program(sys.executable, "-uc", code, stdin=subprocess.PIPE) as process:

        async def exec_now(order: SliceOrder) -> None:
            assert process.stdin
            process.stdin.write("go\n")
            process.stdin.flush()
            await until(lambda: Path(f"/proc/{process.pid}/comm").read_text().strip() == "sleep")

        tool = Tally(exec_now)
        stacks = await record(bench, tool, recording(process.pid, "py-spy", PASSES))
    assert (stacks.end, len(tool.orders)) == ("target exited", 1)
    assert "now runs sleep" in stacks.warnings[0]


async def test_a_tool_that_takes_too_much_cpu_is_stopped(bench: Bench, target: int) -> None:
    """A tool that leaves its target running is judged by the CPU time it takes, and stopped over the budget; what was recorded is kept,
    and where nothing was it is no matter of permission."""

    class Greedy(Tally):
        async def take(self, order: SliceOrder, tick: Tick) -> SliceTake:
            if order.kind == "wall":
                while True:  # at an idle moment of the machine nothing is taken from anybody
                    tick(600.0, 600_000.0)
                    sum(range(100_000))
            return await super().take(order, tick)

    stacks = await record(bench, Greedy(), recording(target, "perf", PASSES))
    assert (stacks.end, [one.kind for one in stacks.passes]) == ("over budget", ["on_cpu"])
    assert "of the CPU that the target had" in stacks.warnings[0]
    alone = recording(target, "perf", ("wall",)).model_copy(update={"artifact_prefix": "alone"})
    with pytest.raises(ApplicationError, match=r"nothing was recorded: stopped after .* Record longer") as trouble:
        await record(bench, Greedy(), alone)
    assert (trouble.value.type, trouble.value.non_retryable) == ("ToolFailed", True)


async def test_a_recording_that_gets_dearer_slows_down(bench: Bench, target: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample that costs more than it may is taken less often from the next slice on, and the recording goes on to its end."""
    monkeypatch.setattr(MachineBusy, "share", lambda self: 1.0)  # no CPU is free: all that the tool takes comes from somebody

    class Dear(Tally):
        async def take(self, order: SliceOrder, tick: Tick) -> SliceTake:
            return replace(await super().take(order, tick), cpu_s=600.0 if len(self.orders) == 1 else 0.0)

    dear = Dear()
    stacks = await record(bench, dear, recording(target, "perf", ("on_cpu",)).model_copy(update={"slice_s": 1.0}))
    assert [order.rate_hz for order in dear.orders] == [99, 1, 1, 1]
    assert stacks.passes[0].rate_hz == pytest.approx((99 + 3) / 4, abs=0.1)
    assert stacks.end == "complete"


async def test_a_tool_that_holds_its_target_in_one_pass_only(bench: Bench, target: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe records the pass that holds the target; what it and that pass cost slows that pass down and no other."""
    monkeypatch.setattr(MachineBusy, "share", lambda self: 0.0)  # all CPUs are free: what is not held costs nothing
    monkeypatch.setattr(PauseWatch, "share", property(lambda self: 0.5))

    class Half(Tally):
        held_passes: frozenset[PassKind] = frozenset({"wall"})

    half = Half()
    request = recording(target, "py-spy", PASSES, budget=0.02).model_copy(update={"slice_s": 1.0})
    stacks = await record(bench, half, request)
    probe, *orders = half.orders
    assert (probe.kind, probe.path.name) == ("wall", "probe")
    assert {order.rate_hz for order in orders if order.kind == "on_cpu"} == {99}
    assert [order.rate_hz < 99 for order in orders if order.kind == "wall"] == [True, True]
    assert not any(order.nonblocking for order in orders if order.kind == "on_cpu")
    assert stacks.overhead.probe_note.startswith("on-cpu: read without stopping the target, at 99 Hz as asked. wall: ")


async def test_passes_there_is_no_time_for_are_left_out(bench: Bench, target: int) -> None:
    """Where the rate is too low for enough samples, the on-CPU pass takes the whole recording, and the profile says what was left out."""
    request = recording(target, "perf", PASSES).model_copy(update={"min_samples": 10_000})
    stacks = await record(bench, Tally(), request)
    assert {one.kind: one.seconds for one in stacks.passes} == {"on_cpu": 4.0}
    assert "not recorded: wall" in stacks.warnings[0]


async def test_heartbeats_can_be_read(bench: Bench, target: int) -> None:
    """Heartbeat details are small and say which pass, how far, and of how much."""
    await record(bench, Tally(), recording(target, "py-spy", PASSES))
    beats = [beat for beat in bench.beats if beat.get("pass") in PASSES]
    assert beats[0] == {"pass": "on_cpu", "recorded_s": 0.5, "of_s": 4.0, "slices": 0}
    assert beats[1] == {"pass": "wall", "recorded_s": 2.5, "of_s": 4.0, "slices": 1}
    assert all(len(json.dumps(beat)) < 300 for beat in bench.beats)


async def test_a_full_disk_is_told(bench: Bench, target: int, tiny_disk: Path) -> None:  # noqa: F811
    """No room for the recording in progress: StoreUnavailable with the folder, and tried again when there may be room."""

    def fill(order: SliceOrder) -> None:
        with (tiny_disk / "other").open("wb") as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(b"x" * 4_096)
                file.flush()

    bench.state = tiny_disk
    with pytest.raises(ApplicationError, match="Make room there") as trouble:
        await record(bench, Tally(fill), recording(target, "py-spy"))
    assert (trouble.value.type, trouble.value.non_retryable) == ("StoreUnavailable", False)
