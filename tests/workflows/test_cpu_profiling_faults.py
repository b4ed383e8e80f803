"""What CpuProfilingInvestigation survives: kills of worker, server, profiler and target, a full disk, cancel and terminate at any step.

In all of them the run completes or says what happened, nothing of ours is left on the target, the lease is free, and a second start works.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from perfwright.models.queues import CENTRAL_QUEUE
from starter.dev_server import DevServer, start_dev_server
from starter.json_lines import ready_line
from starter.temporal_cli import find_temporal_cli
from tests.needs import needs
from tests.workflows.investigating import REGISTRY, CpuResult, start, target
from tests.workflows.watching_runs import (
    PATIENCE_S,
    Handle,
    assert_free,
    assert_untouched,
    event_types,
    profilers_on,
    running_with,
    steps_of,
    until,
)
from workflows.plugin.plugin import PerfwrightPlugin

pytest_plugins = ("tests.disks",)
pytestmark = [pytest.mark.measuring, needs("ptrace", "temporal"), pytest.mark.timeout(1_200)]

WORKER = Path(__file__).resolve().parents[2] / "worker.py"
HOST = "local"
SHORT: dict[str, Any] = {
    "duration_s": 2,
    "slice_s": 1,
    "passes": ["on_cpu"],
    "rate_hz": 50,
    "min_samples": 10,
    "overhead_budget_share": 0.5,
}
PROGRAM = """
import time
def work():
    return sum(i * i for i in range(20_000))
while True:
    work()
    time.sleep(0.002)
"""
"""Busy for a part of the time: several of them leave room for everything else on two cores."""

EVERY_STEP = (
    "resolve_target",
    "number_run",
    "probe_host",
    "inspect_target",
    "acquire_leases",
    "run_command",
    "find_command",
    "record_python_stacks",
    "sample_threads",
    "release_leases",
    "judge_profile",
    "read_gate_policy",
    "find_previous_profile",
    "draw_flame_graphs",
    "find_hot_paths",
    "classify_utilisation",
    "rank_findings",
    "publish_report",
    "record_run",
)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    file = tmp_path / f"busy-{tmp_path.name}.py"
    file.write_text(PROGRAM)
    return file


@contextmanager
def running(script: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, str(script)]) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def program(script: Path) -> Iterator[int]:
    with running(script) as process:
        yield process.pid


@dataclass
class Site:
    """One machine as its users have it: a server with its file, a registry, and a worker process. Both can be killed."""

    folder: Path
    server: DevServer
    environment: dict[str, str] = field(default_factory=dict)
    worker: subprocess.Popen[str] | None = None

    async def start_worker(self, **environment: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TEMPORAL_", "PERFWRIGHT_"))}
        ours = {"TEMPORAL_ADDRESS": self.server.address, "PERFWRIGHT_METRICS": "off", "PERFWRIGHT_LOG_LEVEL": "WARNING"}
        with (self.folder / "worker.log").open("ab") as log:
            self.worker = subprocess.Popen(
                [sys.executable, str(WORKER), "--config", str(self.folder / "perfwright.toml")],
                env=kept | ours | self.environment | environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        await asyncio.wait_for(asyncio.to_thread(self._wait_ready), PATIENCE_S)

    def _wait_ready(self) -> None:
        assert self.worker and self.worker.stdout
        for line in self.worker.stdout:
            if ready_line(line) is not None:
                return
        raise AssertionError(f"the worker ended:\n{self.log[-3_000:]}")

    async def signal_worker(self, number: signal.Signals) -> int:
        """Send it and wait for the end; gives the exit code."""
        assert self.worker and self.worker.stdout
        self.worker.send_signal(number)
        code = await asyncio.wait_for(asyncio.to_thread(self.worker.wait), PATIENCE_S)
        self.worker.stdout.close()
        self.worker = None
        return code

    async def restart_server(self) -> None:
        """kill -9, and again on the same port and file."""
        os.kill(self.server.pid, signal.SIGKILL)
        await asyncio.to_thread(self.server.stop)
        port = int(self.server.address.rpartition(":")[2])
        self.server = await asyncio.to_thread(start_dev_server, find_temporal_cli().path, db=self.server.db, port=port, ui=False)

    def register(self, *targets: str) -> None:
        (self.folder / "perfwright.toml").write_text(REGISTRY.format(targets="\n".join(targets)))

    @property
    def log(self) -> str:
        return (self.folder / "worker.log").read_text()

    def close(self) -> None:
        if self.worker and self.worker.stdout:
            self.worker.kill()
            self.worker.wait()
            self.worker.stdout.close()
        self.server.stop()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    cli = find_temporal_cli().path
    server = await asyncio.to_thread(start_dev_server, cli, db=tmp_path / "temporal.db", port=None, ui=False)
    site = Site(tmp_path, server)
    try:
        yield site
    finally:
        await asyncio.to_thread(site.close)


@pytest.fixture
async def own(site: Site) -> Client:
    """A client of the site's server."""
    return await Client.connect(site.server.address, plugins=[PerfwrightPlugin()])


async def no_profilers_on(pid: int) -> bool:
    return not profilers_on(pid)


def attempts(handle_events: list[Any], activity: str) -> int:
    """How many attempts the activity took until it completed."""
    scheduled = {
        event.event_id: event.activity_task_scheduled_event_attributes.activity_type.name
        for event in handle_events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    }
    return next(
        event.activity_task_started_event_attributes.attempt
        for event in handle_events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED
        and scheduled[event.activity_task_started_event_attributes.scheduled_event_id] == activity
    )


async def assert_finished(handle: Handle) -> CpuResult:
    """The run completed with a verdict of its own, and no workflow task failed."""
    result: CpuResult = await asyncio.wait_for(handle.result(), PATIENCE_S)
    assert result.verdict in ("passed", "inconclusive"), result.summary
    assert EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED not in await event_types(handle)
    assert result.report.html
    return result


async def test_a_worker_that_is_killed_after_every_step(site: Site, own: Client, script: Path, program: int) -> None:
    """kill -9 right after each kind of step has completed, while several runs are under way: with the next worker all of them complete."""
    names = ["first", "second", "third", "launched"]
    command = f"command = ['{sys.executable}', '{script}', 'launched']"
    site.register(*(target(name, HOST, f"pid = {program}") for name in names[:-1]), target("launched", HOST, command))
    site.environment = {"PERFWRIGHT_MAX_CACHED_WORKFLOWS": "0"}  # else every kill costs the five seconds of the sticky queue
    await site.start_worker()
    handles = [await start(own, CENTRAL_QUEUE, name, **SHORT) for name in names]

    wanted, killed = set(EVERY_STEP) - {"run_command"}, set[str]()
    completed: asyncio.Queue[tuple[float, str]] = asyncio.Queue()
    clock = asyncio.get_running_loop().time

    async def follow(handle: Handle) -> None:
        async for event, name in steps_of(handle):
            if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
                completed.put_nowait((clock(), name))

    following = [asyncio.create_task(follow(handle)) for handle in handles]
    restarted_at = 0.0
    while wanted - killed:
        step = asyncio.create_task(completed.get())
        await asyncio.wait([step, *following], return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE_S)
        if not step.done():
            step.cancel()
            if all(one.done() for one in following):
                handles.append(await start(own, CENTRAL_QUEUE, names[len(handles) % len(names)], **SHORT))
                following = [asyncio.create_task(follow(handles[-1]))]
            continue
        at, name = step.result()
        if name in wanted - killed and at > restarted_at:
            killed.add(name)
            print(f"{clock():.1f} killed after {name}; {len(wanted - killed)} left")
            await site.signal_worker(signal.SIGKILL)
            await until(lambda: no_profilers_on(program), "the end of the dead worker's profilers")
            await site.start_worker()
            restarted_at = clock()
    for handle in handles:
        await assert_finished(handle)
    await asyncio.gather(*following)
    await assert_free(own, f"host/{HOST}", *(f"target/{name}" for name in names))
    assert_untouched(program)
    assert not running_with(f"{script} launched")
