"""What CpuProfilingInvestigation survives: kills of worker, server, profiler and target, a full disk, cancel and terminate at any step.

In all of them the run completes or says what happened, nothing of ours is left on the target, the lease is free, and a second start works.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from perfwright.models.queues import CENTRAL_QUEUE
from tests.disks import tiny_disk  # noqa: F401
from tests.needs import needs
from tests.workflows.investigating import CpuResult, start, target, workers
from tests.workflows.killed_steps import WITHOUT_CACHE, kill_after_every_step
from tests.workflows.sites import Site, running_site
from tests.workflows.watching_runs import (
    PATIENCE_S,
    Handle,
    activities_of,
    assert_cancelled,
    assert_free,
    assert_untouched,
    attempts_of,
    failure_of,
    open_gate,
    pending,
    profilers_on,
    reached,
    recording,
    running_with,
    task_failures,
    until,
)

pytestmark = [needs("ptrace", "temporal"), pytest.mark.timeout(1_200)]

HOST = "local"
MANY_ATTEMPTS = 6
"""More than any step that gives up after a few."""
SHORT: dict[str, Any] = {
    "duration_s": 2,
    "slice_s": 1,
    "passes": ["on_cpu"],
    "rate_hz": 99,
    "min_samples": 10,
    "overhead_budget_share": 0.5,
}
PROGRAM = """
import time
def work():
    return sum(i * i for i in range(60_000))
while True:
    work()
    time.sleep(0.02)
"""
"""Busy for a sixth of the time: what is examined for minutes is most of what these tests cost."""

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


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with running_site(tmp_path) as site:
        yield site


@pytest.fixture
async def own(site: Site) -> Client:
    """A client of the site's server."""
    return await site.client()


async def profilers_of(pid: int) -> list[int]:
    return [int(line.partition(":")[0]) for line in profilers_on(pid)]


async def nobody_profiles(pid: int) -> bool:
    return not profilers_on(pid)


async def assert_finished(handle: Handle) -> CpuResult:
    """The run completed with a verdict of its own, and no workflow task failed."""
    result: CpuResult = await asyncio.wait_for(handle.result(), PATIENCE_S)
    assert result.verdict in ("passed", "inconclusive"), result.summary
    assert not await task_failures(handle)
    assert result.report.html
    return result


async def test_a_worker_that_is_killed_after_every_step(site: Site, own: Client, script: Path, program: int) -> None:
    """kill -9 right after each kind of step has completed, while two runs are under way on one host: with the next worker both complete."""
    names = ["examined", "launched"]
    command = f"command = ['{sys.executable}', '{script}', 'launched']"
    site.register(*(target(name, HOST, f"pid = {program}") for name in names[:-1]), target("launched", HOST, command))
    site.environment = WITHOUT_CACHE
    await site.start_worker()
    next_name = cycle(names)
    handles = await kill_after_every_step(
        site,
        set(EVERY_STEP) - {"run_command"},
        lambda: start(own, CENTRAL_QUEUE, next(next_name), **SHORT),
        len(names),
        lambda: until(lambda: nobody_profiles(program), "the end of the dead worker's profilers"),
    )
    for handle in handles:
        await assert_finished(handle)
    await assert_free(own, f"host/{HOST}", *(f"target/{name}" for name in names))
    assert_untouched(program)
    assert not running_with(f"{script} launched")


async def test_a_recording_that_is_disturbed_again_and_again(site: Site, own: Client, program: int) -> None:
    """kill -9 of the profiler, kill -9 of the worker, SIGTERM without a grace, in one recording: it goes on each time, and tells its gaps."""
    site.register(target("examined", HOST, f"pid = {program}"))
    site.environment = {"PERFWRIGHT_SHUTDOWN_GRACE_S": "0"}
    await site.start_worker()
    handle = await start(own, CENTRAL_QUEUE, "examined", **SHORT | {"duration_s": 15})

    progress = await recording(own, handle)
    for pid in await until(lambda: profilers_of(program), "the profiler of the next slice"):
        os.kill(pid, signal.SIGKILL)
    progress = await recording(own, handle, slices=progress["slices"] + 1)

    await site.signal_worker(signal.SIGKILL)
    await until(lambda: nobody_profiles(program), "the end of the dead worker's profiler")
    assert_untouched(program)
    await site.start_worker()
    progress = await recording(own, handle, slices=progress["slices"] + 1)

    assert await site.signal_worker(signal.SIGTERM) == 0, site.log[-3_000:]
    assert_untouched(program)
    await site.start_worker()

    result = await assert_finished(handle)
    stacks = result.details.stacks
    assert stacks is not None and stacks.end == "complete"
    assert sum(one.seconds for one in stacks.passes) > 14, "what was missed was recorded later"
    reasons = [gap.reason for gap in stacks.gaps]
    assert reasons.count("the worker was restarted") == 2 and any("signal 9" in reason or "fell silent" in reason for reason in reasons), (
        reasons
    )
    assert all(gap.missing_s > 0 and gap.title in result.details.warnings for gap in stacks.gaps)
    assert result.report.markdown
    report = (site.folder / ".perfwright" / "artifacts" / result.report.markdown.uri).read_text()
    assert report.count("the worker was restarted") >= 2
    await assert_free(own, f"host/{HOST}", "target/examined")
    assert_untouched(program)


async def test_a_server_that_is_killed_and_a_worker_that_is_asked_to_end(site: Site, own: Client, program: int) -> None:
    """SIGTERM lets a recording finish, without another attempt; kill -9 of the server at a gate or while recording loses nothing."""
    site.register(target("watched", HOST, f"pid = {program}", "asking"), target("examined", HOST, f"pid = {program}"))
    site.environment = {"PERFWRIGHT_SHUTDOWN_GRACE_S": "120"}
    await site.start_worker()
    watched = await start(own, CENTRAL_QUEUE, "watched", **SHORT | {"duration_s": 4})
    await recording(own, watched)
    assert await site.signal_worker(signal.SIGTERM) == 0, site.log[-3_000:]
    assert_untouched(program)
    assert await attempts_of(watched, "record_python_stacks") == await attempts_of(watched, "sample_threads") == 1

    await site.start_worker()
    await open_gate(watched, "profile_review")
    examined = await start(own, CENTRAL_QUEUE, "examined", **SHORT | {"duration_s": 4})
    await recording(own, examined)
    await site.restart_server()
    await open_gate(watched, "profile_review")
    await watched.signal("approve", {"gate": "profile_review", "by": "ada"})
    await open_gate(watched, "findings_review")
    await watched.signal("approve", {"gate": "findings_review", "by": "ada"})
    for handle in (watched, examined):
        result = await assert_finished(handle)
        assert result.details.stacks and result.details.stacks.end == "complete"
    assert not (await watched.result()).details.stacks.gaps
    await assert_free(own, f"host/{HOST}", "target/watched", "target/examined")
    assert_untouched(program)


async def test_a_target_that_is_killed(client: Client, task_queue: str, host_name: str, tmp_path: Path, script: Path) -> None:
    """When the target dies while it is recorded, what was recorded is analysed and the end is told; the next start says that it is gone."""
    name = f"victim-of-{host_name}"
    with running(script) as victim:
        async with workers(client, task_queue, host_name, tmp_path, target(name, host_name, f"pid = {victim.pid}")):
            handle = await start(client, task_queue, name, **SHORT | {"duration_s": 8})
            await recording(client, handle)
            victim.kill()
            victim.wait()
            result = await assert_finished(handle)
            again = await failure_of(await start(client, task_queue, name, **SHORT))
            await assert_free(client, f"target/{name}", f"host/{host_name}")
    stacks = result.details.stacks
    assert stacks is not None and stacks.end == "target exited" and sum(one.seconds for one in stacks.passes) < 8
    assert result.verdict == "inconclusive" and "target exited" in result.summary
    assert again.type == "TargetGone" and str(victim.pid) in again.message
    assert not profilers_on(victim.pid)


class WithoutWaiting(Interceptor):
    """What a store refuses is tried again at once: a minute of outage takes a second."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _WithoutWaiting(next)


class _WithoutWaiting(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        try:
            return await super().execute_activity(input)
        except ApplicationError as refused:
            if refused.type != "StoreUnavailable":
                raise
            raise ApplicationError(refused.message, type=refused.type, next_retry_delay=timedelta(milliseconds=50)) from None


async def test_a_full_artifact_disk(client: Client, task_queue: str, host_name: str, tmp_path: Path, program: int, tiny_disk: Path) -> None:  # noqa: F811
    """A disk that fills up is told with the way out; the run goes on where it was when there is room again, and can be cancelled meanwhile.

    So while it records, and when all is measured and approved and only the report is to be written: however often that is tried.
    """
    name, ballast = f"examined-on-{host_name}", tiny_disk / "ballast"
    store = f'[store]\nartifacts = "file://{tiny_disk}"\n'

    def fill() -> None:
        with suppress(OSError), ballast.open("wb") as file:
            file.write(b"x" * 64 * 1024 * 1024)

    async def told() -> bool:
        step = await pending(handle, "record_python_stacks")
        if step is None or not step.HasField("last_failure"):
            return False
        assert step.last_failure.application_failure_info.type == "StoreUnavailable"
        return "The disk is full: make room there" in step.last_failure.message and str(tiny_disk) in step.last_failure.message

    async def tried_often() -> bool:
        step = await pending(handle, "publish_report")
        return step is not None and step.attempt > MANY_ATTEMPTS

    targets = target(name, host_name, f"pid = {program}"), target(f"{name}-asking", host_name, f"pid = {program}", "asking")
    async with workers(client, task_queue, host_name, tmp_path, store, *targets, interceptors=[WithoutWaiting()]):
        handle = await start(client, task_queue, name, **SHORT)
        await recording(client, handle)
        fill()
        await until(told, "the full disk, in the pending step")
        await handle.cancel()
        await assert_cancelled(handle)
        assert_untouched(program)
        await assert_free(client, f"target/{name}", f"host/{host_name}")

        handle = await start(client, task_queue, f"{name}-asking", **SHORT)
        await until(told, "the full disk, in the pending step")
        ballast.unlink()
        subprocess.run(["mount", "-o", "remount,size=32m", str(tiny_disk)], check=True)
        await open_gate(handle, "profile_review")
        await handle.signal("approve", {"gate": "profile_review", "by": "ada"})
        await open_gate(handle, "findings_review")
        fill()
        await handle.signal("approve", {"gate": "findings_review", "by": "ada"})
        await until(tried_often, "many attempts to write the report")
        ballast.unlink()
        result = await assert_finished(handle)
    assert result.details.stacks is not None and not result.details.stacks.gaps, "nothing was recorded twice, and nothing is missing"
    assert result.report.html is not None and result.reviewed
    assert_untouched(program)


@pytest.mark.parametrize("lane", range(3))
async def test_cancel_at_every_step(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, script: Path, program: int, lane: int
) -> None:
    """Cancelled as soon as any one of its steps is scheduled, the run ends cancelled and lets go; the same start works again at once."""
    name = f"examined-on-{host_name}"
    launched = f"command = ['{sys.executable}', '{script}', 'launched']"
    targets = target(name, host_name, f"pid = {program}"), target(f"{name}-launched", host_name, launched)
    async with workers(client, task_queue, host_name, tmp_path, *targets):
        for step in EVERY_STEP[lane::3]:
            examined = f"{name}-launched" if step in ("run_command", "find_command") else name
            handle = await start(
                client, task_queue, examined, **SHORT | {"compare_with": f"{name}#1" if step == "find_previous_profile" else "latest"}
            )
            await reached(handle, step)
            await handle.cancel()
            await assert_cancelled(handle)
            assert not await task_failures(handle)
            assert_untouched(program)
            await assert_free(client, f"target/{examined}", f"host/{host_name}")
            assert not running_with(f"{script} launched")
        await assert_finished(await start(client, task_queue, name, **SHORT))


async def test_terminate_while_it_holds_the_lease(client: Client, task_queue: str, host_name: str, tmp_path: Path, program: int) -> None:
    """A terminated run's profiler ends, and the next start gets the target, although nobody gave the lease back."""
    name = f"examined-on-{host_name}"
    async with workers(client, task_queue, host_name, tmp_path, target(name, host_name, f"pid = {program}")):
        handle = await start(client, task_queue, name, **SHORT | {"duration_s": 60})
        await recording(client, handle)
        await handle.terminate("test")
        again = await start(client, task_queue, name, **SHORT)
        await until(lambda: nobody_profiles(program), "the end of the terminated run's profiler")
        assert "record_python_stacks" not in await activities_of(again), "it did not measure while the profiler was still there"
        await assert_finished(again)
        await assert_free(client, f"target/{name}", f"host/{host_name}")
    assert_untouched(program)
