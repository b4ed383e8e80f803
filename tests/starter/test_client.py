import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client

from perfwright.models.cpu_profiling import CpuProfilingDetails, CpuProfilingRequest
from perfwright.models.history import RunStart
from perfwright.models.workload import Workload
from starter.client import Perfwright
from starter.refusals import (
    AlreadyRunning,
    DecisionRefused,
    InvalidRequest,
    NoWorkerAnswers,
    ProcessFailed,
    UnknownProcess,
    UnknownRun,
)
from starter.run import Run
from tests.starter.cli_samples import HasChild
from tests.starter.conftest import Bench, until
from workflows.cpu.cpu_profiling_investigation import CpuProfilingInvestigation

NAME = "CpuProfilingInvestigation"


async def open_gate(run: Run, revision: int = 1) -> Any:
    async def found() -> Any:
        return next((gate for gate in await run.open_gates() if gate.revision >= revision), None)

    return await until(found)


async def test_a_service_answers_gates_as_they_open(perf: Perfwright, bench: Bench) -> None:
    """The example of the documentation works: start by class, answer each gate, get a typed result."""
    run = await perf.start(CpuProfilingInvestigation, target=bench.target, duration_s=3)
    seen = []
    async for gate in run.gates():
        seen.append(gate.name)
        answered = await run.approve(gate.name, by="release-bot", comment="within budget")
        assert answered.decision is not None and answered.decision.outcome == "approved"
    result = await run.result()
    assert seen == ["profile_review", "findings_review"]
    assert result.verdict == "passed" and isinstance(result.details, CpuProfilingDetails)
    assert [decision.by for decision in result.decisions] == ["release-bot", "release-bot"]


async def test_the_ui_and_searches_know_what_runs_on_what(perf: Perfwright, bench: Bench) -> None:
    """A run has a stable id, a summary, details with its input, and can be searched by target and environment from its start on."""
    run = await perf.start(NAME, target=bench.target, duration_s=3)
    described = await run.describe()
    assert described.id == f"cpu-profiling-investigation/{bench.target}"
    assert await described.static_summary() == f"CpuProfilingInvestigation on {bench.target}"
    assert '"duration_s":3' in (await described.static_details() or "")
    settings = described.raw_description.execution_config
    assert settings.workflow_execution_timeout.ToSeconds() == settings.workflow_run_timeout.ToSeconds() == 0
    assert described.search_attributes["PerfTarget"] == [bench.target]
    assert described.search_attributes["PerfEnvironment"] == ["lab"]
    await run.cancel()


async def test_every_mistake_is_told_before_anything_starts(perf: Perfwright, bench: Bench) -> None:
    """An input with several mistakes starts nothing; each line names its field and what is allowed."""
    with pytest.raises(InvalidRequest) as refused:
        await perf.start(NAME, target=f"{bench.target}x", duration_s=-1, rate_hz=1_000_000, colour="red")
    told = "\n".join(refused.value.mistakes)
    assert len(refused.value.mistakes) == 4
    assert f"nearest: {bench.target}" in told and "greater than or equal to 2 (got -1)" in told
    assert "rate_hz" in told and "colour: no such field" in told
    assert await perf.runs(target=f"{bench.target}x") == []


async def test_models_may_be_given_as_fields(perf: Perfwright, bench: Bench) -> None:
    """A field that is a model may be given as one, and an unserialisable one is a mistake of that start."""
    run = await perf.start(NAME, target=bench.target, workload=Workload(command=("true",)), passes=("on_cpu",))
    described = await run.describe()
    assert '"command":["true"]' in (await described.static_details() or "")
    await run.cancel()
    with pytest.raises(InvalidRequest, match="JSON"):
        await perf.start(NAME, target=bench.target, workload=object())


async def test_unknown_processes_are_told_with_the_nearest(perf: Perfwright) -> None:
    """A process that does not exist is refused with the names that come nearest."""
    with pytest.raises(UnknownProcess, match="nearest: CpuProfilingInvestigation"):
        await perf.start("CpuProfileInvestigation", target="shop")


async def test_one_run_per_target(perf: Perfwright, bench: Bench) -> None:
    """A second start while one runs is refused by id; after the end of the first it goes."""
    first = await perf.start(NAME, target=bench.target)
    with pytest.raises(AlreadyRunning, match="is running already"):
        await perf.start(NAME, target=bench.target)
    await first.cancel()
    with pytest.raises(ProcessFailed, match="Cancelled"):
        await first.result()
    second = await perf.start(NAME, target=bench.target)
    assert second.run_id != first.run_id
    await second.cancel()


async def test_requested_changes_come_back_as_the_next_revision(perf: Perfwright, bench: Bench) -> None:
    """request_changes records again with the overrides, and the gate opens once more; a wrong override is refused with its reason."""
    run = await perf.start(NAME, target=bench.target, duration_s=3)
    await open_gate(run)
    with pytest.raises(DecisionRefused, match="rate_hz"):
        await run.request_changes("profile_review", by="ada", comment="faster", overrides={"rate_hz": 10})
    await run.request_changes("profile_review", by="ada", comment="longer", overrides={"duration_s": 6})
    gate = await open_gate(run, revision=2)
    assert gate.question.evidence == ("recorded for **6 s**",)
    progress = await run.progress()
    assert [step.note for step in progress.steps if step.name == "Record"] == ["recorded for 3 s", "recorded for 6 s"]
    await run.reject("profile_review", by="ada", comment="no load on it")
    assert (await run.result()).verdict == "rejected"


async def test_refused_decisions_say_why(perf: Perfwright, bench: Bench) -> None:
    """A decision for no gate, a gate not open yet, with a stale digest or after the end is refused with its reason, and starts nothing."""
    run = await perf.start(NAME, target=bench.target)
    await open_gate(run)
    for gate, digest, reason in (
        ("profile_revew", None, "nearest: profile_review"),
        ("findings_review", None, "not open yet"),
        ("profile_review", "00000000", "digest"),
    ):
        with pytest.raises(DecisionRefused, match=reason):
            await run.approve(gate, by="ada", digest=digest)
    with pytest.raises(InvalidRequest, match="gate"):
        await run.approve("Not A Gate", by="ada")
    with pytest.raises(DecisionRefused, match="comment"):
        await run.reject("profile_review", by="ada", comment="")
    assert (await run.decisions()) == []
    await run.cancel()
    with pytest.raises(ProcessFailed):
        await run.result()
    with pytest.raises(DecisionRefused, match="is over"):
        await run.approve("profile_review", by="ada")


async def test_a_process_that_fails_says_so_in_its_own_words(perf: Perfwright, bench: Bench) -> None:
    """A run that could not be carried out raises with the error type that users match on."""
    run = await perf.start(NAME, target=bench.other, top=99)
    with pytest.raises(ProcessFailed, match="process 4711 exited") as failed:
        await run.result()
    assert failed.value.error_type == "TargetGone"


async def test_the_inbox_is_everything_that_waits(perf: Perfwright, bench: Bench) -> None:
    """Open gates of all runs, oldest first, with their evidence; answered ones are gone."""
    run = await perf.start(NAME, target=bench.target)

    async def waiting() -> Any:
        return await perf.gates(target=bench.target)

    (one,) = await until(waiting)
    assert (one.name, one.environment, one.workflow_id) == ("profile_review", "lab", run.workflow_id)
    assert one.gate is not None and one.gate.question.overrides == {"duration_s": "seconds to record"}
    await run.approve("profile_review", by="ada")
    await open_gate(run)

    async def next_one() -> bool:
        return [gate.name for gate in await perf.gates(target=bench.target)] == ["findings_review"]

    assert await until(next_one)
    await run.cancel()


async def test_runs_are_found_by_all_their_names(perf: Perfwright, bench: Bench) -> None:
    """Workflow id, target, number and run id mean the same run; an unknown one is told with the nearest."""
    done = await perf.start(NAME, target=bench.other)
    await done.result()
    numbered = f"{bench.other}#1"
    for name in (done.workflow_id, bench.other, numbered, f"cpu-profiling-investigation/{numbered}"):
        found = await perf.run(name)
        assert (found.workflow_id, found.run_id) == (done.workflow_id, done.run_id), name

    async def by_run_id() -> bool:
        try:
            return (await perf.run(done.run_id)).workflow_id == done.workflow_id
        except UnknownRun:  # visibility comes a moment later
            return False

    assert await until(by_run_id)
    assert (await (await perf.run(numbered)).result()).verdict == "passed"
    async with perf.here.history() as history:
        another = RunStart(
            process="CpuOptimizationImplementation",
            target=bench.other,
            environment="lab",
            workflow_id=f"cpu-optimization-implementation/{bench.other}",
            run_id="another",
            started_at="2026-03-01T10:00:00Z",
        )
        await history.number_run(another)
    with pytest.raises(UnknownRun, match=f"several runs .*cpu-profiling-investigation/{numbered}") as told:
        await perf.run(numbered)
    assert f"cpu-optimization-implementation/{numbered}" in str(told.value)
    assert (await perf.run(f"cpu-profiling-investigation/{numbered}")).run_id == done.run_id
    with pytest.raises(UnknownRun, match=f"of this target: {numbered}"):
        await perf.run(f"{bench.other}#7")
    with pytest.raises(UnknownRun, match=f"nearest: .*{bench.other}"):
        await perf.run(bench.other[:-1])
    with pytest.raises(UnknownRun):
        await perf.run("' OR 1=1")


async def test_runs_are_listed_newest_first_and_filtered(perf: Perfwright, bench: Bench) -> None:
    """Lists can be narrowed to a target, to open runs, and to a verdict."""
    first = await perf.start(NAME, target=bench.other)
    await first.result()
    second = await perf.start(NAME, target=bench.other, top=1)
    await second.result()
    await perf.start(NAME, target=bench.target)

    async def listed() -> bool:
        runs = await perf.runs(target=bench.other)
        return [run.run_id for run in runs] == [second.run_id, first.run_id] and runs[0].verdict == "failed"

    assert await until(listed)
    assert [run.run_id for run in await perf.runs(target=bench.other, verdict="failed")] == [second.run_id]
    assert await perf.runs(target=bench.other, open_only=True) == []
    (still,) = await perf.runs(target=bench.target, open_only=True, process=CpuProfilingInvestigation)
    assert still.status == "running" and still.closed_at == ""
    await (await perf.run(bench.target)).cancel()


async def test_a_run_outlives_the_servers_retention(client: Client, perf: Perfwright, bench: Bench) -> None:
    """A run that the server has forgotten is found by its number; its result comes from the artifact store."""
    run = await perf.start(NAME, target=bench.other)
    await run.result()
    execution = WorkflowExecution(workflow_id=run.workflow_id, run_id=run.run_id)
    await client.workflow_service.delete_workflow_execution(
        DeleteWorkflowExecutionRequest(namespace=client.namespace, workflow_execution=execution)
    )

    async def forgotten() -> bool:
        try:
            await run.describe()
        except UnknownRun:
            return True
        return False

    await until(forgotten)
    kept = await perf.run(f"{bench.other}#1")
    assert not await kept.is_open()
    result = await kept.result()
    assert result.verdict == "passed" and isinstance(result.details, CpuProfilingDetails)
    with pytest.raises(UnknownRun):
        await run.result()


async def test_a_decision_waits_for_a_worker(
    client: Client, bench_on: Callable[..., AbstractAsyncContextManager[Bench]], task_queue: str
) -> None:
    """While no worker polls, a decision is sent as a signal and counts when one is there; queries say that nobody answers."""
    async with bench_on(task_queue) as bench:
        target, config = bench.target, bench.folder / "perfwright.toml"
    # The server remembers the worker for a while, so the run waits on a queue that never had one.
    async with Perfwright.connect(client, config=config, task_queue=f"{task_queue}-later") as perf:
        run = await perf.start(NAME, target=target)
        answered = await run.approve("profile_review", by="ada")
        assert answered.decision is None
        async with bench_on(f"{task_queue}-later"):
            gate = await open_gate(run)
            assert gate.name == "profile_review"  # it came before the gate was open: refused, and listed
            (refused,) = await run.refused_decisions()
            assert refused.by == "ada" and "not open" in refused.reason
            await run.approve("profile_review", by="ada")
            await run.cancel()
            with pytest.raises(ProcessFailed):
                await run.result()


async def test_a_silent_run_is_told(client: Client, bench: Bench, task_queue: str) -> None:
    """A query that nobody answers says so with the command that starts a worker."""
    async with Perfwright.connect(client, config=bench.folder / "perfwright.toml", task_queue=task_queue) as perf:
        run = await perf.start(NAME, target=bench.target)
        with pytest.raises(NoWorkerAnswers, match="perfwright worker"):
            await run.progress()
        await run.handle.terminate()
        with pytest.raises(ProcessFailed, match="Terminated"):
            await run.result()


async def test_a_childs_gate_is_answered_through_its_parent(client: Client, perf: Perfwright, bench: Bench) -> None:
    """Gates of runs that a run has started are shown and answered under the parent's name, with the digest of what was on show."""
    handle = await client.start_workflow(HasChild.run, None, id=f"parent/{bench.target}", task_queue=perf.task_queue)
    run = await perf.run(handle.id)
    gate = await open_gate(run)
    assert gate.name == "apply_change" and gate.kind == "change"
    with pytest.raises(DecisionRefused, match="digest"):
        await run.approve("apply_change", by="ada")
    answered = await run.approve("apply_change", by="ada", digest=gate.digest)
    assert answered.workflow_id == f"{handle.id}/trial-1"
    assert await handle.result() == "approved"


async def test_gates_end_with_the_run(perf: Perfwright, bench: Bench) -> None:
    """Waiting for gates ends when the run does, without a gate."""
    run = await perf.start(NAME, target=bench.other)
    async with asyncio.timeout(60):
        assert [gate.name async for gate in run.gates()] == []


def test_the_request_model_is_the_one_that_the_process_takes() -> None:
    """What the client checks is what the process takes."""
    from typing import get_type_hints

    assert get_type_hints(CpuProfilingInvestigation.run)["request"] is CpuProfilingRequest
