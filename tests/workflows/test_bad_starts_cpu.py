"""Starts of CpuProfilingInvestigation that cannot be carried out: refused in preflight, typed, with the way out; nothing is measured."""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from perfwright.models.trial_run import TrialResult
from tests.needs import needs
from tests.workflows.investigating import start, target, workers
from tests.workflows.watching_runs import activities_of, assert_free, failure_of

pytestmark = pytest.mark.timeout(600)

PTRACE_SEIZE = 0x4206
"""Attaches without stopping (ptrace(2))."""


@contextmanager
def napping() -> Iterator[int]:
    """The pid of a Python program that waits."""
    script = "import sys; print('up', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdin
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


def seize(pid: int, attached: Any, over: Any) -> None:
    assert ctypes.CDLL(None).ptrace(ctypes.c_long(PTRACE_SEIZE), ctypes.c_long(pid), None, None) == 0
    attached.set()
    over.wait()


@contextmanager
def tracing(pid: int) -> Iterator[None]:
    """Another tool traces the process, as a debugger does."""
    spawning = multiprocessing.get_context("spawn")
    attached, over = spawning.Event(), spawning.Event()
    tracer = spawning.Process(target=seize, args=(pid, attached, over))
    tracer.start()
    try:
        assert attached.wait(60)
        yield
    finally:
        over.set()
        tracer.join(60)


@needs("ptrace")
async def test_targets_that_cannot_be_examined(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """Unknown and inline targets, programs that do not exist, and processes that are gone, in the background, stopped or traced
    each get their own error."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended, napping() as stopped, napping() as traced, tracing(traced):
        ended.wait(60)
        os.kill(stopped, signal.SIGSTOP)
        targets = {
            "gone": target("gone", host_name, f"pid = {ended.pid}"),
            "stopped": target("stopped", host_name, f"pid = {stopped}"),
            "traced": target("traced", host_name, f"pid = {traced}"),
            "silent": target("silent", host_name, "port = 1"),
            "unstartable": target("unstartable", host_name, "command = ['no-such-program-anywhere']"),
            "background": target("background", host_name, "command = ['sh', '-c', 'sleep 300 & exit 0']"),
        }
        expected = {
            "gone": ("TargetGone", f"process {ended.pid}"),
            "stopped": ("TargetStopped", f"kill -CONT {stopped}"),
            "traced": ("NotPermitted", "one tracer at a time"),
            "silent": ("TargetGone", "port 1"),
            "unstartable": ("ToolMissing", "no-such-program-anywhere"),
            "background": ("TargetGone", "left a process in the background, ended with it"),
            "stoped": ("UnknownTarget", "stopped"),
        }
        async with workers(client, task_queue, host_name, tmp_path, *targets.values()):
            runs = {name: await start(client, task_queue, name, duration_s=2) for name in expected}
            runs["inline"] = await client.start_workflow(
                "CpuProfilingInvestigation", {"target": {"process": {"pid": 1}}}, id=f"inline/{task_queue}", task_queue=task_queue
            )
            expected["inline"] = ("TargetRefused", "perfwright up")
            told = {name: await failure_of(handle) for name, handle in runs.items()}
            await assert_free(client, f"host/{host_name}", *(f"target/{name}" for name in runs))
    assert {name: error.type for name, error in told.items()} == {name: kind for name, (kind, _) in expected.items()}
    for name, (_, words) in expected.items():
        assert words in told[name].message, told[name].message
        assert told[name].non_retryable
        assert not {"record_python_stacks", "sample_threads"} & set(await activities_of(runs[name]))


async def test_a_host_without_a_worker(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """A target whose host nobody serves is told within a minute, with the host's name and the command that starts a worker there; so is that of a
    trial that is started by hand."""
    async with workers(client, task_queue, f"not-{host_name}", tmp_path, target("elsewhere", host_name, "pid = 1")):
        handle = await start(client, task_queue, "elsewhere", duration_s=2)
        change = {"kind": "file", "path": "app.conf", "content": "x"}
        asked = {
            "target": {"name": "elsewhere", "kind": "process", "environment": "lab", "host": host_name},
            "title": "a try",
            "change": change,
        }
        measured = {"measurement": {"kind": "switched", "probe": ["probe"]}}
        trial = await client.start_workflow(
            "Trial", asked | measured, id=f"trial/{task_queue}", task_queue=task_queue, result_type=TrialResult
        )
        told = await failure_of(handle)
        tried: TrialResult = await trial.result()
    assert told.type == "HostUnreachable"
    assert f"no worker has been seen for host {host_name}" in told.message and f"worker.py --host {host_name}" in told.message
    assert "acquire_leases" not in await activities_of(handle)
    assert tried.end == "not applied" and f"no worker has been seen for host {host_name}" in tried.reason, tried.reason
    assert "describe_change" not in await activities_of(trial)
