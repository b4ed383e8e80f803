"""CpuOptimizationImplementation when its worker dies between and within steps, and when people end it: nothing is left of it.

What is left is read from the world: files, refs and worktrees of the repository, processes, folders of trees, undo records.
"""

import asyncio
import json
from collections import Counter
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any

import psutil
import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowFailureError

from activities.code_candidates import repeated
from perfwright.models.queues import CENTRAL_QUEUE
from tests.activities.code_projects import BENCHMARK, PYTHON, git, project, snapshot
from tests.needs import needs
from tests.workflows.investigating import start as investigate
from tests.workflows.investigating import workers
from tests.workflows.killed_steps import WITHOUT_CACHE, kill_after_every_step
from tests.workflows.optimising import ENVIRONMENTS, OptimizationResult, answer, child_of, entry
from tests.workflows.short_trials import SHORT_WORKER, quick_trials
from tests.workflows.sites import running_site
from tests.workflows.watching_runs import PATIENCE_S, Handle, assert_cancelled, open_gate, reached, running_with, task_failures, until

__all__ = ["quick_trials"]

pytestmark = [needs("ptrace", "temporal"), pytest.mark.timeout(600)]

SHORT: dict[str, Any] = {"benchmark": [PYTHON, "bench.py"], "tests": [PYTHON, "check.py"], "profile_s": 4.0, "trial_s": 120.0}
OWN_STEPS = (
    "prepare_code",
    "check_code",
    "locate_hot_code",
    "record_calls",
    "find_candidates",
    "find_kept_commit",
    "write_pull_request",
    "release_code",
)
"""Those that other processes have as well are killed in tests/workflows/test_cpu_profiling_faults.py."""
WITHIN = {
    "the tests": "check_code",
    "analysis propose_all": "find_candidates",
    "calls made again": "check_code",
    "git update-ref": "apply_change",
    "git worktree": "apply_change",
    "--tool=cachegrind": "measure_trial",
}
"""Programs that run when their worker dies, and in which step: the project's tests, codemods, recorded calls in the old and the new code,
what makes the branch, and its worktree, the count of instructions."""
LIGHT = BENCHMARK.replace("range(20)", "range(5)")
"""Valgrind makes a run forty times longer."""


async def restarts_of(handle: Handle) -> Counter[str]:
    """How often each kind of step was begun anew."""
    scheduled: dict[int, str] = {}
    found = Counter[str]()
    async for event in handle.fetch_history_events():
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            scheduled[event.event_id] = event.activity_task_scheduled_event_attributes.activity_type.name
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
            started = event.activity_task_started_event_attributes
            found[scheduled[started.scheduled_event_id]] += started.attempt - 1
    return found


def working_in(folder: Path) -> list[int]:
    return [one.pid for one in psutil.process_iter(["cwd"]) if (one.info["cwd"] or "").startswith(str(folder))]


def trees_in(folder: Path) -> list[str]:
    trees = folder / ".perfwright" / "trees"
    return sorted(one.name for one in trees.iterdir()) if trees.exists() else []


@needs("valgrind")
async def test_a_worker_that_is_killed_after_every_step(tmp_path: Path) -> None:
    """kill -9 in the middle of steps, and right after each of its own: the run ends with its change kept on a branch of one commit, the
    checkout is as it was, and nothing else is left."""
    names = [f"slow-{tmp_path.name[-12:]}"]
    repositories = {name: project(tmp_path / name, {"bench.py": LIGHT}) for name in names}
    before = {name: snapshot(repository) for name, repository in repositories.items()}
    async with running_site(tmp_path) as site:
        # A profile of a crowded machine may have fewer samples than it should, and holds nobody up.
        environments = ENVIRONMENTS.replace('review = "auto"', 'review = "notify"')
        site.register(environments, *(entry(name, "local", repositories[name], "trusting") for name in names))
        site.environment, site.program = WITHOUT_CACHE | {"PERFWRIGHT_TEST_INSTRUCTIONS_S": "600"}, SHORT_WORKER
        await site.start_worker()
        client, next_name = await site.client(), cycle(names)

        async def start() -> Handle:
            name = next(next_name)
            return await client.start_workflow(
                "CpuOptimizationImplementation",
                {"target": name} | SHORT,
                id=f"cpu-optimization-implementation/{name}",
                task_queue=CENTRAL_QUEUE,
                result_type=OptimizationResult,
            )

        handles = await kill_after_every_step(site, OWN_STEPS, start, len(names), within=WITHIN)
        restarts, branches = Counter[str](), {name: ["main"] for name in names}
        for handle in handles:
            result = await asyncio.wait_for(handle.result(), PATIENCE_S)
            assert result.verdict == "passed", result.summary
            assert not await task_failures(handle)
            [kept] = result.details.candidates
            assert kept.end == "kept", kept.reason
            assert kept.trial and kept.trial.evidence and [one.name for one in kept.trial.evidence.companions] == ["instructions"]
            restarts += await restarts_of(handle) + await restarts_of(await child_of(handle, "trial", "/1"))
            branches[result.target].append(result.details.branch)
            repository = repositories[result.target]
            assert git(repository, "rev-list", "--count", f"main..{result.details.branch}").strip() == "1"
        for name, repository in repositories.items():
            status, _, files = snapshot(repository)
            assert (status, files) == (before[name][0], before[name][2])
            assert sorted(git(repository, "for-each-ref", "--format=%(refname:short)").split()) == sorted(branches[name])
            assert git(repository, "worktree", "prune", "--dry-run", "--verbose") == "", "git knows of no worktree that is gone"
        assert restarts >= Counter(WITHIN.values()), restarts
        assert trees_in(tmp_path) == []
    assert not running_with(str(tmp_path / ".perfwright"))
    assert not working_in(tmp_path / ".perfwright")


@pytest.mark.usefixtures("quick_trials")
async def test_ended_by_people_nothing_is_left(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """Cancelled while calls are recorded, refused, cancelled or terminated in its trial, one start after the other on one profile: each time the
    repository with its refs and worktrees is as it was, no process runs, and nothing waits for its undo."""
    repository = project(tmp_path / "repository")
    before, name = snapshot(repository), f"ended-{task_queue[-12:]}"
    command = [*repeated((PYTHON, "-B", "bench.py"), 60.0)]
    registered = (
        f'[targets.{name}]\nkind = "process"\nenvironment = "reviewing"\nhost = "{host_name}"\nrepository = "{repository}"\n'
        f'process = {{ command = {json.dumps(command)}, working_directory = "{repository}" }}\n'
    )
    wanted = SHORT | {"target": name, "investigation": f"{name}#1", "trial_s": 600.0}

    async def started() -> Handle:
        return await client.start_workflow(
            "CpuOptimizationImplementation",
            wanted,
            id=f"cpu-optimization-implementation/{name}",
            task_queue=task_queue,
            result_type=OptimizationResult,
        )

    async def thinking(handle: Handle) -> Handle:
        """Its trial, while a person thinks."""
        trial = await child_of(handle, "trial", "/1")
        await open_gate(trial, "keep")
        assert snapshot(repository) != before, "its branch and worktree are there"
        return trial

    async def untouched() -> bool:
        return snapshot(repository) == before and not running_with(str(tmp_path / ".perfwright"))

    async with workers(client, task_queue, host_name, tmp_path, ENVIRONMENTS, registered):
        profile = await investigate(client, task_queue, name, duration_s=4, overhead_budget_share=0.5, min_samples=20, passes=["on_cpu"])
        await profile.result()

        recording = await started()
        await reached(recording, "record_calls")
        await recording.cancel()
        await assert_cancelled(recording)
        assert trees_in(tmp_path) == []
        await until(untouched, "the end of everything that it did until it was cancelled while calls were recorded")

        refused = await started()
        await answer(await thinking(refused), "keep", "reject")
        result = await asyncio.wait_for(refused.result(), PATIENCE_S)
        assert result.details.branch == "" and [one.end for one in result.details.candidates] == ["not kept"], result.summary
        assert trees_in(tmp_path) == []
        await until(untouched, "the end of everything that it did until it was refused")

        cancelled = await started()
        trial = await thinking(cancelled)
        await cancelled.cancel()
        await assert_cancelled(cancelled)
        assert trees_in(tmp_path) == []
        await until(untouched, "the end of everything that it did until it was cancelled in its trial")
        with suppress(WorkflowFailureError):
            await asyncio.wait_for(trial.result(), PATIENCE_S)

        terminated = await started()
        trial = await thinking(terminated)
        await terminated.terminate("test")
        await until(untouched, "the end of everything that it did until it was terminated")
        with suppress(WorkflowFailureError):
            await asyncio.wait_for(trial.result(), PATIENCE_S)
    assert snapshot(repository) == before
