"""GarbageCollectionTuning on real services: what is planted is mended within what may be paid, healthy twins are left alone."""

from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from activities.artifacts import ArtifactStore
from perfwright.analysis.trials.course import fewest_rounds
from tests.needs import needs
from tests.workflows.short_trials import fewest_noise_rounds
from tests.workflows.tuning import JVM_LOAD, PYTHON_LOAD, GcResult, answer, jvm_command, python_command, tuning

__all__ = ["fewest_noise_rounds"]

pytestmark = [
    pytest.mark.measuring,
    needs("temporal"),
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("fewest_noise_rounds"),
]

ASKED: dict[str, Any] = {"rounds": 2, "trial_budget_s": 300.0}
"""What every candidate and collector does in a sweep is seen in test_garbage_collection_batch.py, whose runs are short."""


async def test_long_collections_of_a_python_service_are_mended(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """The p99 pause falls to a fifth or less for at most a tenth more memory, proven by a trial as long as the sweep shows it has to be, and
    the next launch has it."""
    async with tuning(client, task_queue, host_name, tmp_path, python_command()) as tuned:
        handle = await tuned.start(load=PYTHON_LOAD, candidates=["thresholds 10000, 10, 10", "freeze"], rounds=2)
        trial = await tuned.trial(handle)
        change = await answer(trial, "change")
        assert "PERFWRIGHT_GC_SETTINGS" in change
        assert not tuned.launches(), "nothing stands before it was approved"
        await answer(trial, "keep")
        result: GcResult = await handle.result()
        assert result.verdict == "passed", (result.summary, result.details.trial)
        assert {issue.cause for issue in result.details.issues} == {"full generation"}
        before, after, tried = result.details.before, result.details.after, result.details.trial
        assert before and after and tried and tried.evidence and len(tuned.launches()) == 1
        sweep, took = result.details.sweep, tried.evidence
        assert sweep and sweep.trial_s >= fewest_rounds(took.metric) * took.round_s, (sweep.trial_s, took.rounds, took.round_s)
        assert after.typical_p99_ms <= before.typical_p99_ms / 5, result.summary
        assert after.memory_bytes <= 1.1 * before.memory_bytes
        a, b = tried.evidence.medians["gc_pause_p99_ms"]
        assert b <= a / 5
        store: ArtifactStore = tuned.context.artifacts
        assert result.details.configuration and result.report.html
        document = (await store.get(result.details.configuration)).decode()
        assert "import gc" in document and "perfwright undo" in document
        page = (await store.get(result.report.html)).decode()
        assert "<svg" in page and "Pauses by cause" in page


async def test_a_sound_python_service_is_left_alone(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """Nobody is asked, nothing is tried: there is no pause worth tuning."""
    async with tuning(client, task_queue, host_name, tmp_path, python_command(), problems="none") as tuned:
        result: GcResult = await (await tuned.start(load=PYTHON_LOAD, **ASKED)).result()
        assert (result.verdict, result.findings, result.recommendations) == ("passed", (), ()), result.summary
        assert result.summary.startswith("No pause worth tuning") and result.details.sweep is None
        assert not tuned.launches()


@needs("javac")
async def test_humongous_allocations_of_a_jvm_are_mended(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """They are named as the cause, and the settings that are kept leave none of them and much less time in pauses."""
    asked = ASKED | {"share_target": 0.08, "memory_limit_share": 0.25, "throughput_limit_share": 0.25}
    asked |= {"candidates": ["G1 regions of 4 MiB", "G1 regions of 8 MiB"]}
    async with tuning(client, task_queue, host_name, tmp_path, jvm_command()) as tuned:
        handle = await tuned.start(load=JVM_LOAD, **asked)
        trial = await tuned.trial(handle)
        await answer(trial, "change")
        await answer(trial, "keep")
        result: GcResult = await handle.result()
        before, after = result.details.before, result.details.after
        assert "humongous allocation" in {issue.cause for issue in result.details.issues}
        assert result.details.trial and result.details.trial.kept, result.summary
        assert before and after and len(tuned.launches()) == 1
        assert before.facts.region_bytes == 1 << 20
        assert after.typical_share <= 0.75 * before.typical_share, result.summary
        assert "humongous allocation" not in {line.cause for line in after.table.lines}


@needs("javac")
async def test_a_sound_jvm_is_left_alone(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """The same program without its large arrays has no pause worth tuning."""
    async with tuning(client, task_queue, host_name, tmp_path, jvm_command(), problems="none") as tuned:
        result: GcResult = await (await tuned.start(load=JVM_LOAD, share_target=0.08, **ASKED)).result()
        assert (result.verdict, result.findings, result.recommendations) == ("passed", (), ()), result.summary
        assert not tuned.launches()
