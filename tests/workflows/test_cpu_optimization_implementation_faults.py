"""CpuOptimizationImplementation when its worker dies between and within steps, and when people end it: nothing is left of it.

What is left is read from the world: files, refs and worktrees of the repository, processes, folders of trees, undo records.
"""

import asyncio
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError

from perfwright.models.queues import CENTRAL_QUEUE
from tests.activities.code_projects import PYTHON, git, project, snapshot
from tests.needs import needs
from tests.workflows.killed_steps import WITHOUT_CACHE, kill_after_every_step
from tests.workflows.optimising import ENVIRONMENTS, OptimizationResult, child_of, entry, optimising
from tests.workflows.short_trials import SHORT_WORKER, quick_trials
from tests.workflows.sites import running_site
from tests.workflows.watching_runs import PATIENCE_S, Handle, assert_cancelled, open_gate, reached, running_with, task_failures, until

__all__ = ["quick_trials"]

pytestmark = [needs("ptrace", "temporal"), pytest.mark.timeout(600)]

SHORT: dict[str, Any] = {"benchmark": [PYTHON, "bench.py"], "tests": [PYTHON, "check.py"], "profile_s": 8.0, "trial_s": 120.0}
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


def trees_in(folder: Path) -> list[str]:
    trees = folder / ".perfwright" / "trees"
    return sorted(one.name for one in trees.iterdir()) if trees.exists() else []


async def test_a_worker_that_is_killed_after_every_step(tmp_path: Path) -> None:
    """kill -9 right after each step of its own: the run ends with its change kept on a branch of one commit, the checkout is as it was, and
    nothing else is left."""
    names = [f"slow-{tmp_path.name[-12:]}"]
    repositories = {name: project(tmp_path / name) for name in names}
    before = {name: snapshot(repository) for name, repository in repositories.items()}
    async with running_site(tmp_path) as site:
        site.register(ENVIRONMENTS, *(entry(name, "local", repositories[name], "trusting") for name in names))
        site.environment, site.program = WITHOUT_CACHE, SHORT_WORKER
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

        handles = await kill_after_every_step(site, OWN_STEPS, start, len(names))
        for handle in handles:
            result = await asyncio.wait_for(handle.result(), PATIENCE_S)
            assert result.verdict == "passed", result.summary
            assert not await task_failures(handle)
            [kept] = result.details.candidates
            assert kept.end == "kept", kept.reason
            repository = repositories[result.target]
            assert git(repository, "rev-list", "--count", f"main..{result.details.branch}").strip() == "1"
        for name, repository in repositories.items():
            status, _, files = snapshot(repository)
            assert (status, files) == (before[name][0], before[name][2])
        assert trees_in(tmp_path) == []
    assert not running_with(str(tmp_path / ".perfwright"))


@pytest.mark.usefixtures("quick_trials")
@pytest.mark.parametrize("ending", ["cancelled while calls are recorded", "cancelled in its trial", "terminated in its trial"])
async def test_ended_by_people_nothing_is_left(client: Client, task_queue: str, host_name: str, tmp_path: Path, ending: str) -> None:
    """The repository with its refs and worktrees is as it was, no process runs, and nothing waits for its undo."""
    repository = project(tmp_path / "repository")
    before = snapshot(repository)

    async def untouched() -> bool:
        return snapshot(repository) == before and not running_with(str(tmp_path / ".perfwright"))

    async with optimising(
        client, task_queue, host_name, tmp_path, repository, environment="reviewing", **SHORT | {"trial_s": 600.0}
    ) as handle:
        if ending.endswith("recorded"):
            await reached(handle, "record_calls")
        else:
            trial = await child_of(handle, "trial", "/1")
            await open_gate(trial, "keep")
            assert snapshot(repository) != before, "its branch and worktree are there while a person thinks"
        if ending.startswith("cancelled"):
            await handle.cancel()
            await assert_cancelled(handle)
            assert trees_in(tmp_path) == []
        else:
            await handle.terminate("test")
        await until(untouched, "the end of everything it did")
        if not ending.endswith("recorded"):
            with suppress(WorkflowFailureError):
                await asyncio.wait_for(trial.result(), PATIENCE_S)
    assert snapshot(repository) == before
