"""What a recording by JFR, by the Node.js inspector and by perf survives: kills of worker, tool and target in its middle, and cancel.

As with py-spy: the run completes or says what happened, nothing of ours is left in the target, the lease is free, a second start works.
"""

import asyncio
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from temporalio.client import Client

from activities.node_ports import listening
from lab.programs import build
from tests.activities.recordings import program, tools_of
from tests.needs import needs
from tests.workflows.investigating import CpuResult, start, target, workers
from tests.workflows.sites import WorkerProcess
from tests.workflows.watching_runs import (
    PATIENCE_S,
    Handle,
    assert_cancelled,
    assert_free,
    assert_untouched,
    failure_of,
    pending,
    recording,
    task_failures,
    until,
)

pytestmark = [needs("temporal", "java", "javac", "jcmd", "node", "perf", "gcc"), pytest.mark.timeout(300)]

SHORT: dict[str, Any] = {
    "duration_s": 4,
    "slice_s": 1,
    "passes": ["on_cpu"],
    "rate_hz": 50,
    "min_samples": 10,
    "overhead_budget_share": 0.5,
}


async def end_flight_recording(pid: int) -> None:
    """As an administrator does who clears up: our next jcmd finds nothing to stop."""
    names = [word for word in checked(pid).split() if word.startswith("name=perfwright-")]
    assert len(names) == 1, "one recording runs while one is made"
    await asyncio.to_thread(subprocess.run, ["jcmd", str(pid), "JFR.stop", *names], check=True, capture_output=True, timeout=60)


async def cut_connection(pid: int) -> None:
    """Between this process, which records, and the inspector in the target."""
    ports = {port for _, port in listening(psutil.Process(pid))}
    (ours,) = (one.fd for one in psutil.Process().net_connections("tcp") if one.raddr and one.raddr.port in ports)
    with socket.socket(fileno=os.dup(ours)) as connection:
        connection.shutdown(socket.SHUT_RDWR)


async def kill_perf(pid: int) -> None:
    for tool in await until(lambda: _running_perf(pid), "perf"):
        tool.kill()


async def _running_perf(pid: int) -> list[psutil.Process]:
    return tools_of(pid, "perf")


def checked(pid: int) -> str:
    """What the JVM says of its recordings."""
    return subprocess.run(["jcmd", str(pid), "JFR.check"], capture_output=True, text=True, check=True, timeout=60).stdout


def no_flight_recording(pid: int) -> None:
    assert "No available recordings" in checked(pid)


def no_inspector(pid: int) -> None:
    assert listening(psutil.Process(pid)) == [], "the program has no port of its own"


@dataclass(frozen=True)
class Recorder:
    """A tool, and a program of the lab that it is chosen for."""

    tool: str
    activity: str
    lab: str
    disturb: Callable[[int], Awaitable[None]]
    look: Callable[[int], None]
    """Raises AssertionError where something of the tool is left in the target."""

    @contextmanager
    def program(self) -> Iterator[subprocess.Popen[str]]:
        executable, *rest = build(self.lab).command(600)
        options = ["--inspect-port=0"] if self.lab == "node" else []  # so that tests do not meet at one port
        with program(executable, *options, *rest, env=os.environ | {"LAB_PROBLEMS": "none"}, stderr=subprocess.DEVNULL) as running:
            yield running

    def assert_untouched(self, pid: int) -> None:
        assert_untouched(pid)
        self.look(pid)


RECORDERS = (
    Recorder("jfr", "record_jvm_stacks", "jvm", end_flight_recording, no_flight_recording),
    Recorder("node-inspector", "record_node_stacks", "node", cut_connection, no_inspector),
    Recorder("perf", "record_native_stacks", "native", kill_perf, assert_untouched),
)


@pytest.fixture(params=RECORDERS, ids=lambda one: one.tool)
def recorder(request: pytest.FixtureRequest) -> Recorder:
    found: Recorder = request.param
    return found


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where workers in this process put temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


async def assert_recorded(handle: Handle, recorder: Recorder, seconds: float = SHORT["duration_s"]) -> CpuResult:
    """The run completed with everything that was asked for, and no workflow task failed."""
    result: CpuResult = await asyncio.wait_for(handle.result(), PATIENCE_S)
    assert result.verdict in ("passed", "inconclusive"), result.summary
    stacks = result.details.stacks
    assert stacks is not None and stacks.end == "complete", stacks
    assert sum(one.seconds for one in stacks.passes) == pytest.approx(seconds, rel=0.01)
    assert sum(one.samples for one in stacks.passes) > 0
    assert recorder.tool.split("-")[0].lower() in stacks.tool.lower()
    assert not await task_failures(handle)
    assert result.report.html
    return result


async def test_a_worker_that_is_killed_in_the_middle(
    client: Client, temporal_server: str, task_queue: str, host_name: str, tmp_path: Path, recorder: Recorder
) -> None:
    """kill -9 of the host's worker, then SIGTERM without a grace, in one recording: it is made all the same, and nothing is left."""
    name = f"examined-on-{host_name}"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    host = WorkerProcess(folder=tmp_path, address=temporal_server)
    host.environment = {"PERFWRIGHT_SHUTDOWN_GRACE_S": "0", "TMPDIR": str(temporary)}
    with recorder.program() as running:
        process = target(name, host_name, f"pid = {running.pid}", allow="inject")
        async with workers(client, task_queue, host_name, tmp_path, process, serves_host=False):
            try:
                await host.start_worker("--host", host_name)
                handle = await start(client, task_queue, name, **SHORT | {"duration_s": 8})
                await recording(client, handle, slices=0, activity=recorder.activity)
                await host.signal_worker(signal.SIGKILL)
                await until(lambda: _without_perf(running.pid), "the end of the dead worker's perf")
                assert_untouched(running.pid)
                await host.start_worker("--host", host_name)
                await attempt(handle, recorder.activity, 2)
                await recording(client, handle, slices=0, activity=recorder.activity)
                assert await host.signal_worker(signal.SIGTERM) == 0, host.log[-3_000:]
                recorder.assert_untouched(running.pid)
                assert list(temporary.iterdir()) == []
                await host.start_worker("--host", host_name)
                await assert_recorded(handle, recorder, 8)
                await assert_free(client, f"target/{name}", f"host/{host_name}")
            finally:
                await asyncio.to_thread(host.kill_worker)
        recorder.assert_untouched(running.pid)
    assert list(temporary.iterdir()) == []


async def _without_perf(pid: int) -> bool:
    return not tools_of(pid, "perf")


async def attempt(handle: Handle, activity: str, number: int) -> None:
    """Return when the activity is tried for the n-th time: its heartbeat is not of an earlier attempt."""

    async def tried() -> bool:
        step = await pending(handle, activity)
        if step is None or step.attempt < number:
            return False
        return step.last_heartbeat_time.ToNanoseconds() > step.last_started_time.ToNanoseconds() > 0

    await until(tried, f"a heartbeat of attempt {number} of {activity}")


async def test_cancelled_and_disturbed(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, recorder: Recorder, temporary: Path
) -> None:
    """Cancelled in the middle it lets go at once; the next recording, whose tool fails in the middle, is made all the same and tells the gap."""
    name = f"examined-on-{host_name}"
    with recorder.program() as running:
        async with workers(client, task_queue, host_name, tmp_path, target(name, host_name, f"pid = {running.pid}", allow="inject")):
            handle = await start(client, task_queue, name, **SHORT | {"duration_s": 60})
            await recording(client, handle, slices=0, activity=recorder.activity)
            await handle.cancel()
            await assert_cancelled(handle)
            recorder.assert_untouched(running.pid)
            assert list(temporary.iterdir()) == []
            await assert_free(client, f"target/{name}", f"host/{host_name}")

            handle = await start(client, task_queue, name, **SHORT)
            await recording(client, handle, slices=0, activity=recorder.activity)
            await recorder.disturb(running.pid)
            result = await assert_recorded(handle, recorder)
            await assert_free(client, f"target/{name}", f"host/{host_name}")
        recorder.assert_untouched(running.pid)
    assert result.details.stacks and result.details.stacks.gaps, "what broke off is told"
    assert all(gap.title in result.details.warnings for gap in result.details.stacks.gaps)
    assert list(temporary.iterdir()) == []


async def test_a_target_that_is_killed(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, recorder: Recorder, temporary: Path
) -> None:
    """When the target is killed while it is recorded, that is told, with what was recorded where the tool has it; then the name finds the next."""
    name = f"victim-on-{host_name}"
    with recorder.program() as victim:
        async with workers(client, task_queue, host_name, tmp_path, target(name, host_name, f"pid = {victim.pid}", allow="inject")):
            handle = await start(client, task_queue, name, **SHORT | {"duration_s": 60})
            kept = recorder.tool == "perf"  # the only one whose samples are not in the target itself until the end of a slice
            await recording(client, handle, slices=1 if kept else 0, activity=recorder.activity)
            victim.kill()
            victim.wait()
            if kept:
                result: CpuResult = await asyncio.wait_for(handle.result(), PATIENCE_S)
                assert result.verdict == "inconclusive" and "target exited" in result.summary
            else:
                gone = await failure_of(handle)
                assert gone.type == "TargetGone" and str(victim.pid) in gone.message
            await assert_free(client, f"target/{name}", f"host/{host_name}")
            again = await failure_of(await start(client, task_queue, name, **SHORT))
            assert again.type == "TargetGone" and str(victim.pid) in again.message
    assert not tools_of(victim.pid, "perf")
    assert list(temporary.iterdir()) == []
    assert list(Path("/tmp").glob(f"*_{victim.pid}")) == []
