"""Flight recordings of real JVMs: methods, waits, and nothing left running or lying about."""

import asyncio
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError

from activities.jfr import Jfr
from lab.programs import build
from perfwright.models.cpu_profiling import StackProfile, StackRecording
from tests import preloaded
from tests.activities.recordings import Bench, assert_kept, function_shares, no_budget, program, recording, runs, total_share, until
from tests.needs import needs

LOCKS = """
import java.util.concurrent.locks.ReentrantLock;

public class Locks {
    static final Object monitor = new Object();
    static final ReentrantLock lock = new ReentrantLock(true);

    static void viaMonitor() throws InterruptedException {
        synchronized (monitor) { Thread.sleep(30); }
    }
    static void viaLock() throws InterruptedException {
        lock.lock();
        try { Thread.sleep(30); } finally { lock.unlock(); }
    }
    static long hot() {
        long sum = 0;
        for (int i = 0; i < 2_000_000; i++) sum += i * 31L % 7;
        return sum;
    }
    interface Step { void take() throws InterruptedException; }
    static void forever(String name, Step step) {
        Thread thread = new Thread(() -> {
            try { while (true) { step.take(); Thread.sleep(5); } } catch (InterruptedException over) { }
        }, name);
        thread.setDaemon(true);
        thread.start();
    }
    public static void main(String[] arguments) {
        for (int i = 0; i < 3; i++) {
            forever("monitor-" + i, Locks::viaMonitor);
            forever("lock-" + i, Locks::viaLock);
        }
        System.out.println("ready");
        long sum = 0;
        while (sum != 42) sum += hot();
    }
}
"""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture(scope="module")
def locks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    folder = tmp_path_factory.mktemp("locks")
    (folder / "Locks.java").write_text(LOCKS)
    subprocess.run(["javac", "-g", "-d", str(folder), str(folder / "Locks.java")], check=True, timeout=120)
    yield ["java", "-Xmx64m", "-cp", str(folder), "Locks"]


async def record(bench: Bench, request: StackRecording) -> StackProfile:
    stacks: StackProfile = await bench.run(Jfr, "record_jvm_stacks", request)
    return stacks


def running_recordings(pid: int) -> str:
    return subprocess.run(["jcmd", str(pid), "JFR.check"], capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders of this test, and of the worker that it starts, are made; other tests record at the same time."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def folders(scratch: Path) -> list[Path]:
    return list(scratch.glob("perfwright-jfr-*"))


async def test_jcmd_missing(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a JDK the error names the package."""
    with program("sleep", "60", ready=None) as target:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(ApplicationError, match="Install a JDK") as trouble:
            await record(bench, recording(target.pid, "jfr"))
    assert trouble.value.type == "ToolMissing"


@needs("java", "javac", "jcmd")
async def test_the_planted_method_of_an_attached_jvm(bench: Bench, scratch: Path) -> None:
    """The method that takes the time of a JVM that was started without any flag is found, and lines are not promised; a recording that costs
    too much keeps what it has.

    Which of the inlined methods below it has the leaf is the JVM's guess without -XX:+DebugNonSafepoints.
    """
    command = [word for word in build("jvm").command(120) if not word.startswith("-XX:")]
    with program(*command) as target:
        stacks = await record(bench, recording(target.pid, "jfr", duration_s=4))
        assert "No available recordings" in running_recordings(target.pid)
        with no_budget() as settings:
            request = recording(target.pid, "jfr", **settings)
            assert_kept(await record(bench, request.model_copy(update={"artifact_prefix": "dear"})))
        assert "No available recordings" in running_recordings(target.pid)
        tasks = {int(task.name) for task in Path(f"/proc/{target.pid}/task").iterdir()}
    assert folders(scratch) == []
    profile = await bench.profile(stacks)
    assert total_share(profile, "ArticleFeed.distinctInList") > 0.5
    assert {one.tid for one in profile.threads if one.name == "main"} <= tasks, "the kernel's ids"
    assert profile.recording_cpu_s > 0, "what the JVM compiled to be recorded"
    assert not profile.passes[0].lines_reliable
    assert (stacks.end, stacks.warnings) == ("complete", ())


@needs("java", "javac", "jcmd")
async def test_waits_are_off_cpu(bench: Bench, locks: list[str]) -> None:
    """Waits for monitors and locks are in the off-CPU pass of a JVM launched with exact positions; the hot loop is on-CPU with its line."""
    flags = ["-XX:+UnlockDiagnosticVMOptions", "-XX:+DebugNonSafepoints"]
    with program(locks[0], *flags, *locks[1:]) as target:
        stacks = await record(bench, recording(target.pid, "jfr", duration_s=4))
    profile = await bench.profile(stacks)
    assert function_shares(profile)["Locks.hot"] > 0.8
    waits = function_shares(profile, "off_cpu")
    assert waits["(monitor enter)"] > 0.2
    assert waits["Unsafe.park"] > 0.2
    waiting = {profile.threads[thread].name for one in profile.passes if one.kind == "off_cpu" for thread in one.thread}
    assert {"monitor-0", "monitor-1", "monitor-2", "lock-0", "lock-1", "lock-2"} <= waiting
    assert profile.passes[0].lines_reliable


@needs("java", "javac", "jcmd")
async def test_a_jvm_that_ends_in_the_middle(bench: Bench, locks: list[str]) -> None:
    """A JVM that is terminated writes what it has: that is the profile."""
    with program(*locks) as target:
        attempt = asyncio.create_task(record(bench, recording(target.pid, "jfr", duration_s=60)))
        await bench.beat_of(lambda beat: beat.get("recorded_s", 0) >= 2, 60)
        target.terminate()
        stacks = await attempt
    assert stacks.end == "target exited"
    assert stacks.passes[0].samples > 0
    assert stacks.passes[0].seconds < 30


@needs("java", "javac", "jcmd")
async def test_a_cancelled_recording_is_switched_off(bench: Bench, locks: list[str], scratch: Path) -> None:
    """Cancelled in the middle: the JVM runs on, records no more, and nothing is left."""
    with program(*locks) as target:
        attempt = asyncio.create_task(record(bench, recording(target.pid, "jfr", duration_s=60)))
        await bench.beat_of(lambda beat: beat.get("recorded_s", 0) >= 1, 60)
        assert "perfwright-" in running_recordings(target.pid)
        bench.environment.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(attempt, 30)
        assert "No available recordings" in running_recordings(target.pid)
        assert runs(target.pid)
    assert bench.left == []
    assert folders(scratch) == []


@needs("java", "javac", "jcmd")
async def test_what_a_killed_worker_left_is_removed(bench: Bench, locks: list[str], tmp_path: Path, scratch: Path) -> None:
    """kill -9 of the worker: the next attempt ends its recording in the JVM, removes its folder, and records."""
    with program(*locks) as target:
        request = recording(target.pid, "jfr", duration_s=3)
        (tmp_path / "request.json").write_text(request.model_copy(update={"duration_s": 60}).model_dump_json())
        words = [str(tmp_path), "activities.jfr:Jfr.record_jvm_stacks", str(tmp_path / "request.json")]
        with preloaded.killed("tests.activities.recording_worker", words):
            await until(lambda: len(folders(scratch)) == 1 and "perfwright-" in running_recordings(target.pid), 60)
        stacks = await record(bench, request)
        assert "No available recordings" in running_recordings(target.pid)
    assert stacks.passes[0].samples > 0
    assert folders(scratch) == []
