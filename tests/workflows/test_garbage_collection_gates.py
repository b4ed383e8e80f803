"""GarbageCollectionTuning where people say no, where input is wrong, and where a gain is too dear: the target stays as it was."""

import sys
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from activities.collector_logs import AGENT_FOLDER
from perfwright.models.trial_run import TrialResult
from tests.needs import needs
from tests.workflows.short_trials import quick_trials
from tests.workflows.tuning import HOARDER, PYTHON_LOAD, GcResult, answer, batch_command, python_command, tuning
from tests.workflows.watching_runs import Handle, failure_of
from workflows.changes.trial import Trial

__all__ = ["quick_trials"]

pytestmark = [needs("temporal"), pytest.mark.timeout(600)]

SHORT: dict[str, Any] = {"load": PYTHON_LOAD | {"requests_per_round": 300}, "rounds": 2, "pause_target_ms": 60_000.0}
"""Judged by the share of time in pauses, which neither as many rounds as the length of the longest nor a quiet machine are needed for."""
BATCH: dict[str, Any] = {"rounds": 2, "candidates": ["collector off"], "trial_budget_s": 120.0}


async def test_an_objective_that_is_refused_ends_it(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """After other candidates were asked for, one of them that does not exist; nothing was swept, nothing is changed."""
    async with tuning(client, task_queue, host_name, tmp_path, python_command(), environment="asking") as tuned:
        handle = await tuned.start(**SHORT)
        await answer(handle, "objective", "request_changes", overrides={"candidates": ["freeze", "no such"]})
        await answer(handle, "objective", "request_changes", overrides={"candidates": ["freeze"], "pause_target_ms": 5.0})
        await answer(handle, "objective", "reject", revision=2)
        result: GcResult = await handle.result()
        assert result.verdict == "rejected" and "grace" in result.summary
        assert [refused.reason for refused in result.refused_decisions if "there is no 'no such'" in refused.reason]
        assert [one.name for one in result.details.candidates] == ["freeze"] and result.details.sweep is None
        assert [step.name for step in result.steps].count("Find pause issues and candidates") == 2
        assert not tuned.launches()


@pytest.mark.usefixtures("quick_trials")
@pytest.mark.parametrize("gate", ["change", "keep"])
async def test_a_trial_that_is_refused_is_undone(client: Client, task_queue: str, host_name: str, tmp_path: Path, gate: str) -> None:
    """At either of its gates: launched as before, and the refusal is the verdict."""
    async with tuning(client, task_queue, host_name, tmp_path, batch_command()) as tuned:
        handle = await tuned.start(**BATCH)
        trial = await tuned.trial(handle)
        if gate == "keep":
            await answer(trial, "change")
        await answer(trial, gate, "reject")
        result: GcResult = await handle.result()
        assert result.verdict == "rejected" and result.details.trial and not result.details.trial.kept, result.summary
        assert result.details.after is None and result.details.configuration is None and not result.recommendations
        assert not tuned.launches()


async def test_rare_collections_that_cost_memory_are_not_tried(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """Circles of heavy garbage pile up without the oldest generation's collections: the candidate is too dear, and nobody is asked."""
    command = (sys.executable, "-c", HOARDER, "{port}")
    dear = "thresholds 50000, 20, 20"
    load = {"paths": ["/"], "ready_path": "/ready", "requests_per_round": 400, "warm_up_requests": 20}
    async with tuning(client, task_queue, host_name, tmp_path, command) as tuned:
        result: GcResult = await (await tuned.start(load=load, rounds=2, candidates=[dear], pause_target_ms=2.0)).result()
        assert result.details.sweep, result.summary
        score = next(one for one in result.details.sweep.scores if one.candidate == dear)
        assert score.memory_ratio > 1.1 and not score.allowed and score.note.startswith("memory x")
        assert result.verdict == "failed" and result.details.trial is None and not tuned.launches()


@pytest.mark.usefixtures("quick_trials")
async def test_a_calm_service_in_twice_the_memory_is_not_kept(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """It wins its metric by far and breaks the guard on memory: undone, and launched as before."""
    command = (sys.executable, "-c", HOARDER, "{port}")
    spec = {"kind": "command", "environment": {"HELD_MB": "100", "PYTHONPATH": AGENT_FOLDER, "PERFWRIGHT_GC_SETTINGS": "1000000,100,100"}}
    measurement = {"kind": "service", "command": command, "ready_path": "/ready", "paths": ["/calm"], "requests_per_round": 100}
    async with tuning(client, task_queue, host_name, tmp_path, command) as tuned:
        target = tuned.context.registry_file.read().target(tuned.name)
        assert target
        handle: Handle = await client.start_workflow(
            Trial.__name__,
            {
                "target": target.model_dump(mode="json"),
                "title": "calm and large",
                "change": spec,
                "measurement": measurement,
                "metric": "gc_share",
                "wanted_effect": 0.9,
                "guards": [{"metric": "rss_bytes", "margin": 0.1}],
                "budget_s": 300.0,
                "ask_keep": False,
            },
            id=f"trial-{tuned.name}",
            task_queue=task_queue,
            result_type=TrialResult,
        )
        await answer(handle, "change")
        result: TrialResult = await handle.result()
        assert result.end == "undone" and result.reason.startswith("a guard was breached: rss_bytes"), result.reason
        assert result.evidence and result.evidence.judgement and result.evidence.judgement.verdict == "better"
        assert not tuned.launches()


@pytest.mark.parametrize(
    ("process", "request_", "word"),
    [
        (["python3", "server.py", "{port}"], {}, "load: a command with {port}"),
        (["python3", "server.py"], {"load": {"paths": ["/"]}}, "holds no {port}"),
        (["python3", "-c", "raise SystemExit('no such stock')"], {"rounds": 2}, "no such stock"),
        ("pid = 1", {}, "process 1"),
        (["no-such-program", "{port}"], {"load": {"paths": ["/"]}}, "no-such-program"),
        (["python3", "-I", "-c", HOARDER, "{port}"], {"load": {"paths": ["/"]}, "rounds": 2}, "not with -I"),
        (["python3", "-c", "raise SystemExit('nothing to serve')", "{port}"], {"load": {"paths": ["/"]}, "rounds": 2}, "nothing to serve"),
    ],
)
async def test_what_cannot_be_observed_is_told(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, process: Any, request_: dict[str, Any], word: str
) -> None:
    """Before anything is measured where that can be known; with the way out."""
    async with tuning(client, task_queue, host_name, tmp_path, process) as tuned:
        failure = await failure_of(await tuned.start(**request_))
        assert word in str(failure), failure
