"""Node.js targets in production: nothing is done to a process but what a person has approved, to this very process, and not taken back."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from temporalio.client import Client

from activities.node_ports import listening
from perfwright.models.gate import Decision
from perfwright.models.progress import Progress
from tests.needs import needs
from tests.workflows.investigating import CpuResult, start, target, workers
from tests.workflows.watching_runs import activities_of, failure_of, open_gate, reached, until

pytestmark = [needs("node"), pytest.mark.timeout(600)]

SHORT: dict[str, Any] = {
    "duration_s": 2,
    "passes": ["on_cpu"],
    "rate_hz": 50,
    "min_samples": 10,
    "overhead_budget_share": 0.5,
    "review_deadline_s": 60,
}
SHOP = """
process.on('SIGUSR2', () => require('inspector').close());
setInterval(() => { let x = 0; for (let i = 0; i < 8e5; i++) x += i % 7; }, 5);
console.log('ready');
"""


@pytest.fixture
def name(host_name: str) -> str:
    """A target of the test's own: its lease outlives the test for a while, on a queue that nobody serves any more."""
    return f"injected-on-{host_name}"


@contextmanager
def shop(option: str = "--inspect-port=0") -> Iterator[int]:
    """The pid of a Node.js program."""
    with subprocess.Popen(["node", option, "-e", SHOP], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout and process.stdout.readline() == "ready\n"
            yield process.pid
        finally:
            process.kill()


def is_open(pid: int) -> bool:
    return bool(listening(psutil.Process(pid)))


async def test_an_inspector_in_production_is_a_change(client: Client, task_queue: str, host_name: str, tmp_path: Path, name: str) -> None:
    """In production a person sees what would be done to a Node.js process: refused, nothing was; approved, it is opened and closed again."""
    with shop() as pid:
        entry = target(name, host_name, f"pid = {pid}", "production", allow="inject")
        async with workers(client, task_queue, host_name, tmp_path, entry):
            handle = await start(client, task_queue, name, **SHORT)
            gate = await open_gate(handle, "open_inspector")
            assert f"SIGUSR1 to pid {pid}" in gate.question.exact_change
            await handle.signal("approve", {"gate": "open_inspector", "by": "mallory", "digest": gate.digest})
            await handle.signal("reject", {"gate": "open_inspector", "by": "grace", "comment": "not today", "digest": gate.digest})
            refused: CpuResult = await handle.result()
            assert (refused.verdict, refused.details.stacks) == ("rejected", None)
            assert "not today" in refused.summary and refused.report.html
            assert not is_open(pid)

            handle = await start(client, task_queue, name, **SHORT)
            gate = await open_gate(handle, "open_inspector")
            await handle.signal("approve", {"gate": "open_inspector", "by": "grace", "digest": gate.digest})
            await open_gate(handle, "profile_review")
            await handle.signal("reject", {"gate": "profile_review", "by": "grace", "comment": "seen enough"})
            recorded: CpuResult = await handle.result()
        assert recorded.details.stacks is not None and recorded.details.stacks.tool.startswith("Node.js")
        assert not is_open(pid)


async def test_nothing_is_injected_that_nobody_approved(client: Client, task_queue: str, host_name: str, tmp_path: Path, name: str) -> None:
    """An inspector that was open when the run began, and is closed by the time of another recording, stays closed; so does that of a
    process which has taken the place of the approved one."""
    pid_file = tmp_path / "shop.pid"
    entry = target(name, host_name, f"pid_file = '{pid_file}'", "production", allow="inject")
    async with workers(client, task_queue, host_name, tmp_path, entry):
        with shop("--inspect=127.0.0.1:0") as pid:
            pid_file.write_text(str(pid))
            handle = await start(client, task_queue, name, **SHORT)
            await open_gate(handle, "profile_review")
            os.kill(pid, signal.SIGUSR2)

            async def closed() -> bool:
                return not is_open(pid)

            await until(closed, "the end of the inspector")
            await handle.signal("request_changes", {"gate": "profile_review", "by": "grace", "comment": "again"})
            refused = await failure_of(handle)
            assert refused.type == "TargetRefused" and "The inspector was open when the run began" in refused.message
            assert f"SIGUSR1 to pid {pid}" in refused.message
            assert not is_open(pid)

        with shop() as approved, shop() as another:
            pid_file.write_text(str(approved))
            handle = await start(client, task_queue, name, **SHORT)
            gate = await open_gate(handle, "open_inspector")
            pid_file.write_text(str(another))
            await handle.signal("approve", {"gate": "open_inspector", "by": "grace", "digest": gate.digest})
            refused = await failure_of(handle)
            assert refused.type == "TargetRefused" and f"SIGUSR1 to pid {another}" in refused.message
            assert f"Approved was pid {approved}" in refused.message
            assert "record_node_stacks" not in await activities_of(handle)
            assert not is_open(approved) and not is_open(another)


async def test_an_approval_that_is_taken_back_while_the_target_is_waited_for(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, name: str
) -> None:
    """Until the recording begins a rejection still wins, however long the approved run has waited: nothing is opened, no load is started."""
    with shop() as pid:
        entries = (
            target(f"{name}-before", host_name, "command = ['sleep', '60']"),
            target(name, host_name, f"pid = {pid}", "production", allow="inject"),
        )
        async with workers(client, task_queue, host_name, tmp_path, *entries):
            holder = await start(client, task_queue, f"{name}-before", **SHORT)
            await reached(holder, "run_command")
            handle = await start(client, task_queue, name, **SHORT, workload={"command": [sys.executable, "-c", "input()"]})
            gate = await open_gate(handle, "open_inspector")
            await handle.signal("approve", {"gate": "open_inspector", "by": "grace", "digest": gate.digest})

            async def waits() -> bool:
                progress: Progress = await handle.query("progress", result_type=Progress)
                return f"held by {holder.id}" in progress.waiting_for

            await until(waits, "a run that waits for the host")
            rejection = {"action": "reject", "gate": "open_inspector", "by": "grace", "comment": "not today", "digest": gate.digest}
            taken = await handle.execute_update("decide", rejection, result_type=Decision)
            assert taken.outcome == "rejected"
            await holder.cancel()
            result: CpuResult = await handle.result()
            done = await activities_of(handle)
        assert (result.verdict, result.details.stacks) == ("rejected", None) and "not today" in result.summary
        assert [step.outcome for step in result.steps if step.name == "Record"] == ["skipped"]
        assert done.count("inspect_target") == 1 and not {"run_command", "record_node_stacks"}.intersection(done)
        assert not is_open(pid)
