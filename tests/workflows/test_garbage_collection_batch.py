"""GarbageCollectionTuning of commands that end by themselves, and what it survives: kill -9 of its worker in the sweep, trial and watch."""

import signal
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from perfwright.analysis.gc.candidates import FLAGS
from tests.needs import needs
from tests.workflows.investigating import REGISTRY
from tests.workflows.killed_steps import WITHOUT_CACHE, attempts_ended
from tests.workflows.short_trials import SHORT_WORKER
from tests.workflows.sites import Site, running_site, stores_in
from tests.workflows.tuning import GcResult, Handle, Tuned, answer, batch_command, jvm_command, registered, tuning
from tests.workflows.watching_runs import task_failures, until

pytestmark = [needs("temporal"), pytest.mark.timeout(600)]

OFF = "collector off"
SHORT: dict[str, Any] = {"rounds": 2, "candidates": [OFF], "trial_budget_s": 120.0}


async def killed_while(site: Site, tuned: Tuned, handle: Handle, kept: str, lines: int) -> None:
    """kill -9 of the worker as soon as a step has kept so many lines in its file; then the next worker.

    Read from the disk: a heartbeat arrives seconds later, when a short step may be over.
    """

    async def under_way() -> bool:
        if (await handle.describe()).status != WorkflowExecutionStatus.RUNNING:
            raise AssertionError(f"{handle.id} ended before {kept} had {lines} lines: {await handle.result()}")
        with suppress(FileNotFoundError):  # a step that is over removes its file
            return any(len(file.read_text().splitlines()) >= lines for file in (site.folder / ".perfwright").glob(kept))
        return False

    await until(under_way, f"{lines} lines in {kept}")
    await site.signal_worker(signal.SIGKILL)
    assert any((site.folder / ".perfwright").glob(kept)), "it was killed in the middle"
    await attempts_ended(tuned.client, handle.id, handle.first_execution_run_id)
    await site.start_worker()


async def test_a_worker_that_is_killed_in_mid_run(tmp_path: Path) -> None:
    """In the sweep, in the trial and in the watch: nothing is measured twice, the change is kept and proven, and stands once."""
    name = "stocktaking"
    async with AsyncExitStack() as stack:
        site = await stack.enter_async_context(running_site(tmp_path))
        site.environment, site.program = WITHOUT_CACHE | {"LAB_PROBLEMS": "all"}, SHORT_WORKER
        (tmp_path / "perfwright.toml").write_text(REGISTRY.format(targets=registered(name, "local", batch_command())))
        context = await stack.enter_async_context(stores_in(tmp_path))
        await site.start_worker()
        tuned = Tuned(await site.client(), "perfwright", name, context)
        handle = await tuned.start(**SHORT, watch_s=12.0)
        await killed_while(site, tuned, handle, "recordings/*sweep*/samples.jsonl", 1)
        trial = await tuned.trial(handle)
        await answer(trial, "change")
        await killed_while(site, tuned, trial, "trials/*-trial-*/rounds.jsonl", 2)
        await answer(trial, "keep")
        await killed_while(site, tuned, trial, "trials/*-watch-*/rounds.jsonl", 1)
        result: GcResult = await handle.result()
        assert not await task_failures(handle)
        details = result.details
        assert result.verdict == "passed" and details.trial and details.trial.kept, (result.summary, details.trial)
        assert details.before and details.before.batch and details.after and details.sweep and details.configuration
        assert details.trial.evidence and {guard.verdict for guard in details.trial.evidence.guards} == {"held"}
        assert details.trial.watched and len(tuned.launches()) == 1
        assert {one.rounds for one in details.sweep.scores} == {2} and details.after.typical_share <= details.before.typical_share / 5
        assert b"time of a run" in await context.artifacts.get(details.configuration)


@pytest.mark.paired
async def test_a_sound_command_is_left_alone(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """The same sums without an object for each movement: nobody is asked, nothing is tried."""
    async with tuning(client, task_queue, host_name, tmp_path, batch_command(), problems="none") as tuned:
        result: GcResult = await (await tuned.start(rounds=2)).result()
        assert (result.verdict, result.findings, result.recommendations) == ("passed", (), ()), result.summary
        assert result.summary.startswith("No pause worth tuning") and not tuned.launches()


@pytest.mark.paired
@needs("javac")
async def test_every_collector_of_this_java_is_swept(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """Each that it starts with has its line; those that it lacks are named, and together they are all that are known."""
    command = (*jvm_command()[:-1], "print", "8")
    async with tuning(client, task_queue, host_name, tmp_path, command) as tuned:
        handle = await tuned.start(rounds=2, share_target=0.01, candidates=[*FLAGS], trial_budget_s=5.0, review_deadline_s=2.0)
        result: GcResult = await handle.result()
        details = result.details
        assert details.sweep and details.before and details.before.facts.collector == "G1", result.summary
        assert set(details.collectors) | set(details.absent) == set(FLAGS) and not set(details.collectors) & set(details.absent)
        assert {one.candidate for one in details.sweep.scores} == {""} | set(details.collectors) - {"G1"}
        assert all(one.rounds == 2 for one in details.sweep.scores), details.sweep.scores
        assert "humongous allocation" in {issue.cause for issue in details.issues} and not tuned.launches()
