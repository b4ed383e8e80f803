"""Every way that CpuProfilingInvestigation can go, with a real server, a real program and real profilers."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.exceptions import WorkflowAlreadyStartedError

from activities.context import WorkerContext
from perfwright.models.gate import Decision, RefusedDecision
from perfwright.models.history import RunQuery
from perfwright.models.lease import lease_workflow_id
from perfwright.models.progress import Progress
from tests.needs import needs
from tests.workflows.investigating import CpuResult, start, target, workers
from tests.workflows.watching_runs import (
    activities_of,
    assert_cancelled,
    assert_free,
    assert_untouched,
    failure_of,
    lease_of,
    open_gate,
    reached,
    recording,
    running_with,
    until,
)
from workflows.shared.run_story import VERDICT

pytestmark = [needs("ptrace"), pytest.mark.timeout(600)]

SHORT: dict[str, Any] = {
    "duration_s": 2,
    "slice_s": 1,
    "passes": ["on_cpu"],
    "rate_hz": 99,
    "min_samples": 10,
    "overhead_budget_share": 0.5,
}
"""The shortest recording that is believed, also where the machine is busy with other things."""
PART_TIME = """
import time
def work():
    return sum(i * i for i in range(60_000))
print("ready", flush=True)
while True:
    work()
    time.sleep(0.02)
"""
PEOPLE = "asking"
"""An environment in which every gate asks."""


def short(**more: Any) -> dict[str, Any]:
    return SHORT | more


@pytest.fixture
def name(host_name: str) -> str:
    """A target of the test's own: its lease outlives the test for a while, on a queue that nobody serves any more."""
    return f"examined-on-{host_name}"


@pytest.fixture(scope="module")
def program() -> Iterator[int]:
    """The pid of a program that is busy for a part of the time: it is there for all tests of this file, and the cores are for others as well."""
    with started_program(sys.executable, "-c", PART_TIME) as pid:
        yield pid


@contextmanager
def started_program(*command: str) -> Iterator[int]:
    """The pid of a program that says `ready`; ended with the block."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout and process.stdout.readline() == "ready\n"
            yield process.pid
        finally:
            process.kill()


def file_of(context: WorkerContext, uri: str) -> Path:
    """An artifact's file in the default store."""
    return context.registry_file.folder / ".perfwright" / "artifacts" / uri


async def test_a_run_that_is_approved_at_both_gates(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, program: int, name: str
) -> None:
    """Approved twice, the run passes; nobody's lease is held meanwhile, the report stands before the second question is put, and a
    second start of the same target is refused as long as it runs."""
    async with workers(client, task_queue, host_name, tmp_path, target(name, host_name, f"pid = {program}", PEOPLE)) as context:
        handle = await start(client, task_queue, name, **short())
        first = await open_gate(handle, "profile_review")
        assert first.question.artifacts and file_of(context, first.question.artifacts[0].uri).exists()
        await assert_free(client, f"target/{name}", f"host/{host_name}")
        assert_untouched(program)
        with pytest.raises(WorkflowAlreadyStartedError):
            await start(client, task_queue, name, **short())
        await handle.signal("approve", {"gate": "profile_review", "by": "ada", "comment": "good", "digest": first.digest})

        second = await open_gate(handle, "findings_review")
        reports = [file_of(context, ref.uri) for ref in second.question.artifacts]
        assert {file.suffix for file in reports} == {".html", ".md"} and all(file.stat().st_size for file in reports)
        taken = await handle.execute_update("decide", {"action": "approve", "gate": "findings_review", "by": "grace"}, result_type=Decision)
        assert (taken.outcome, taken.source) == ("approved", "update")

        result: CpuResult = await handle.result()
        (kept,) = await context.history.list_runs(RunQuery(run_id=result.run_id))
    assert result.verdict in ("passed", "inconclusive") and result.reviewed
    assert [(one.gate, one.outcome, one.by) for one in result.decisions] == [
        ("profile_review", "approved", "ada"),
        ("findings_review", "approved", "grace"),
    ]
    assert (kept.name, kept.verdict, kept.workflow_id) == (f"{name}#1", result.verdict, handle.id)
    assert not result.refused_decisions and all(step.outcome == "done" for step in result.steps)
    assert_untouched(program)


async def test_a_profile_that_is_rejected(client: Client, task_queue: str, host_name: str, tmp_path: Path, program: int, name: str) -> None:
    """A profile that a person refuses is not analysed: the verdict is rejected, and the report says who and why."""
    async with workers(client, task_queue, host_name, tmp_path, target(name, host_name, f"pid = {program}", PEOPLE)) as context:
        handle = await start(client, task_queue, name, **short())
        await open_gate(handle, "profile_review")
        await handle.signal("reject", {"gate": "profile_review", "by": "ada", "comment": "the backup was running"})
        result: CpuResult = await handle.result()
        assert result.report.html and result.report.markdown
        report = file_of(context, result.report.markdown.uri).read_text()
        (kept,) = await context.history.list_runs(RunQuery(run_id=result.run_id))
    assert result.verdict == kept.verdict == "rejected"
    assert "the backup was running" in result.summary and "the backup was running" in report
    assert not result.findings and result.details.hot_paths is None
    assert "find_hot_paths" not in await activities_of(handle)
    assert_untouched(program)


async def test_findings_that_are_rejected(client: Client, task_queue: str, host_name: str, tmp_path: Path, program: int, name: str) -> None:
    """Findings that a person refuses stay in the report, under the verdict rejected, with the reason."""
    async with workers(client, task_queue, host_name, tmp_path, target(name, host_name, f"pid = {program}", PEOPLE)) as context:
        handle = await start(client, task_queue, name, **short())
        await open_gate(handle, "profile_review")
        await handle.signal("approve", {"gate": "profile_review", "by": "ada"})
        await open_gate(handle, "findings_review")
        await handle.signal("reject", {"gate": "findings_review", "by": "grace", "comment": "that loop is the product"})
        result: CpuResult = await handle.result()
        assert result.report.markdown
        report = file_of(context, result.report.markdown.uri).read_text()
    assert result.verdict == "rejected" and result.details.hot_paths is not None
    assert "that loop is the product" in result.summary and "that loop is the product" in report


async def test_changes_that_are_requested(client: Client, task_queue: str, host_name: str, tmp_path: Path, program: int, name: str) -> None:
    """`request_changes` records again with other settings, as often as allowed; senseless ones are refused and listed."""
    async with workers(client, task_queue, host_name, tmp_path, target(name, host_name, f"pid = {program}", PEOPLE)) as context:
        handle = await start(client, task_queue, name, **short(max_revisions=1))
        first = await open_gate(handle, "profile_review")
        for overrides in ({"rate_hz": 1_000_000}, {"target": "another"}, {"passes": []}, {"duration_s": "long"}):
            decision = {"gate": "profile_review", "by": "ada", "comment": "more", "overrides": overrides}
            await handle.signal("request_changes", decision)
        refused = await handle.query("rejected_decisions", result_type=list[RefusedDecision])
        named = [word for one, word in zip(refused, ("rate_hz", "target", "passes", "duration_s"), strict=True) if word in one.reason]
        assert named == ["rate_hz", "target", "passes", "duration_s"], refused

        overrides = {"duration_s": 3, "rate_hz": 20, "passes": ["on_cpu", "wall"]}
        await handle.signal("request_changes", {"gate": "profile_review", "by": "ada", "comment": "waits as well", "overrides": overrides})
        second = await open_gate(handle, "profile_review", revision=2)
        assert second.digest != first.digest and second.revisions_left == 0
        assert second.question.artifacts[0].uri != first.question.artifacts[0].uri
        assert all(file_of(context, gate.question.artifacts[0].uri).exists() for gate in (first, second))
        await handle.signal("request_changes", {"gate": "profile_review", "by": "ada", "comment": "and again"})
        result: CpuResult = await handle.result()
    assert (await activities_of(handle)).count("record_python_stacks") == 2
    assert result.verdict == "rejected" and len(result.refused_decisions) == 4
    assert result.request["duration_s"] == 3 and result.request["rate_hz"] == 20
    stacks = result.details.stacks
    assert stacks is not None and {one.kind for one in stacks.passes} == {"on_cpu", "wall"}
    assert sum(one.seconds for one in stacks.passes) > 2
    assert_untouched(program)


async def test_reviews_that_nobody_answers(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, program: int, name: str
) -> None:
    """When the deadlines of both reviews pass, the investigation is finished and says that nobody has looked at it."""
    async with workers(client, task_queue, host_name, tmp_path, target(name, host_name, f"pid = {program}", PEOPLE)):
        handle = await start(client, task_queue, name, **short(review_deadline_s=1))
        result: CpuResult = await handle.result()
    assert result.verdict in ("passed", "inconclusive") and not result.reviewed
    assert [(one.gate, one.outcome, one.source) for one in result.decisions] == [
        ("profile_review", "unreviewed", "deadline"),
        ("findings_review", "unreviewed", "deadline"),
    ]
    assert result.report.html and result.details.hot_paths is not None


async def test_an_objection_after_a_noted_review(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, program: int, name: str
) -> None:
    """Where policy lets reviews pass, a rejection that comes while the run goes on still turns its verdict."""
    async with workers(client, task_queue, host_name, tmp_path, target(name, host_name, f"pid = {program}")) as context:
        handle = await start(client, task_queue, name, **short())

        async def noted() -> bool:
            progress: Progress = await handle.query("progress", result_type=Progress)
            return any(gate.name == "profile_review" for gate in progress.noted_gates)

        await until(noted, "profile_review, noted")
        await handle.signal("reject", {"gate": "profile_review", "by": "ada", "comment": "wrong machine"})
        result: CpuResult = await handle.result()
        assert result.report.markdown
        report = file_of(context, result.report.markdown.uri).read_text()
    assert result.verdict == "rejected" and "ada objected: wrong machine" in result.summary
    assert "wrong machine" in report
    assert [(one.outcome, one.objection) for one in result.decisions if one.gate == "profile_review"][-1] == ("rejected", True)


async def test_a_comparison_with_an_earlier_run(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, program: int, name: str
) -> None:
    """The second run of a target draws what changed since the first; a run that does not exist is refused before anything is measured."""
    async with workers(client, task_queue, host_name, tmp_path, target(name, host_name, f"pid = {program}")):
        unknown = await start(client, task_queue, name, **short(compare_with=f"{name}#7"))
        refused = await failure_of(unknown)
        assert refused.type == "InvalidInput" and f"{name}#7" in refused.message
        assert not {"acquire_leases", "record_python_stacks"} & set(await activities_of(unknown))

        first: CpuResult = await (await start(client, task_queue, name, **short())).result()
        assert first.details.compared_with == "" and "diff" not in [graph.kind for graph in first.details.flame_graphs]
        again = f"{name}#2"  # the refused run was numbered as well
        second: CpuResult = await (await start(client, task_queue, name, **short(compare_with=again))).result()
    diff = next(graph for graph in second.details.flame_graphs if graph.kind == "diff")
    assert second.details.compared_with == diff.compared_with == again


async def test_cancelled_at_a_gate_while_recording_and_in_the_analysis(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, program: int, name: str
) -> None:
    """One start after the other under one id, cancelled at different steps and kept as such; the last is left alone, and completes."""
    async with workers(client, task_queue, host_name, tmp_path, target(name, host_name, f"pid = {program}", PEOPLE)) as context:
        at_gate = await start(client, task_queue, name, **short())
        await open_gate(at_gate, "profile_review")
        await at_gate.cancel()
        await assert_cancelled(at_gate)

        while_recording = await start(client, task_queue, name, **short(duration_s=60))
        await recording(client, while_recording)
        await while_recording.cancel()
        await assert_cancelled(while_recording)
        assert_untouched(program)
        await assert_free(client, f"target/{name}", f"host/{host_name}")

        in_analysis = await start(client, task_queue, name, **short())
        await open_gate(in_analysis, "profile_review")
        await in_analysis.signal("approve", {"gate": "profile_review", "by": "ada"})
        await reached(in_analysis, "find_hot_paths")
        await in_analysis.cancel()
        await assert_cancelled(in_analysis)
        described = await in_analysis.describe()

        last = await start(client, task_queue, name, **short(review_deadline_s=1))
        result: CpuResult = await last.result()
        kept = await context.history.list_runs(RunQuery(target=name, verdict="cancelled"))
    assert result.verdict in ("passed", "inconclusive")
    assert [run.name for run in kept] == [f"{name}#3", f"{name}#2", f"{name}#1"]
    assert described.typed_search_attributes[VERDICT] == "cancelled"
    assert_untouched(program)


async def test_cancelled_while_it_waits_for_the_target(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, program: int, name: str
) -> None:
    """Who is cancelled in the queue leaves it; who measures does not notice. A launched command ends with its
    cancelled run; it may be started by a wrapper."""
    script = tmp_path / "busy.py"
    script.write_text("while True:\n    sum(i * i for i in range(10_000))\n")
    command = f"command = ['sh', '-c', 'sleep 0.5; exec {sys.executable} {script}']"
    async with workers(
        client,
        task_queue,
        host_name,
        tmp_path,
        target(f"{name}-launched", host_name, command),
        target(name, host_name, f"pid = {program}"),
    ):
        holder = await start(client, task_queue, f"{name}-launched", **short(duration_s=60))
        await recording(client, holder)
        waiter = await start(client, task_queue, name, **short())

        async def waits() -> bool:
            progress: Progress = await waiter.query("progress", result_type=Progress)
            return f"held by {holder.id}" in progress.waiting_for

        await until(waits, "a sentence that tells who holds the host")
        await waiter.cancel()
        await assert_cancelled(waiter)
        view = await lease_of(client, f"host/{host_name}")
        assert view.holder is not None and view.holder.workflow_id == holder.id and not view.waiters
        assert running_with(str(script)), "the measurement was disturbed"
        assert "record_native_stacks" not in await activities_of(holder), "it was examined before it was what it is"

        again = await start(client, task_queue, name, **short())
        await holder.cancel()
        await assert_cancelled(holder)
        assert not running_with(str(script))
        result: CpuResult = await again.result()
        await assert_free(client, f"target/{name}", f"target/{name}-launched", f"host/{host_name}")
    assert result.verdict in ("passed", "inconclusive")
    assert_untouched(program)


async def test_a_lost_lease(client: Client, task_queue: str, host_name: str, tmp_path: Path, program: int, name: str) -> None:
    """When the lease is terminated while the target is measured, the verdict is inconclusive and the reason is told."""
    async with workers(client, task_queue, host_name, tmp_path, target(name, host_name, f"pid = {program}")):
        handle = await start(client, task_queue, name, **short(duration_s=4))
        await recording(client, handle)
        await client.get_workflow_handle(lease_workflow_id(f"target/{name}")).terminate()
        result: CpuResult = await handle.result()
    assert result.verdict == "inconclusive"
    assert f"target/{name}" in result.summary and "lost" in result.summary
    assert [gate.name for gate in result.quality_gates if gate.metric == "leases lost" and gate.outcome == "failed"]
    assert_untouched(program)


async def test_an_idle_target_is_inconclusive(client: Client, task_queue: str, host_name: str, tmp_path: Path, name: str) -> None:
    """A program that does nothing gives too few samples; the result says so and how much CPU it used."""
    idle = "command = ['python3', '-c', 'import time; time.sleep(600)']"
    async with workers(client, task_queue, host_name, tmp_path, target(name, host_name, idle)):
        handle = await start(client, task_queue, name, duration_s=4)
        result: CpuResult = await handle.result()
    assert result.verdict == "inconclusive"
    assert "idle" in result.summary
    assert not [finding for finding in result.findings if finding.severity != "information"]


async def test_a_command_that_cannot_start_says_why(client: Client, task_queue: str, host_name: str, tmp_path: Path, name: str) -> None:
    """A program that does not exist fails the run with its name."""
    async with workers(client, task_queue, host_name, tmp_path, target(name, host_name, "command = ['no-such-program-here']")):
        told = await failure_of(await start(client, task_queue, name, duration_s=4))
    assert "no-such-program-here" in told.message
