"""What a trial decides: better is kept, everything else is undone, and nobody is passed over."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.needs import needs
from tests.workflows.trying import CONFIGURATION, FAST, SLOW, Lab, answer, result_of, trying
from tests.workflows.watching_runs import open_gate

pytestmark = [needs("temporal"), pytest.mark.timeout(600)]

WORKERS = """
import os, time
workers = []
for _ in range(int(os.environ.get("WORKERS", "2"))):
    workers.append(os.fork())
    if not workers[-1]:
        held = b"x" * 20_000_000
        for number in range(int(os.environ.get("WORK", "300_000"))): number % 7
        time.sleep(0.2)
        os._exit(0)
for worker in workers: os.waitpid(worker, 0)
"""
"""Workers that are there for a while, each with 20 MB of its own."""


@pytest.fixture
async def lab(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> AsyncIterator[Lab]:
    async with trying(client, task_queue, host_name, f"shop-{host_name[-8:]}", tmp_path) as opened:
        yield opened


async def test_a_faster_patch_is_kept(lab: Lab) -> None:
    """Approved at both gates, a patch that halves the work stands on its branch, and the checkout is as it was."""
    before = lab.git("status", "--porcelain"), lab.git("rev-parse", "HEAD")
    handle = await lab.start(lab.patch())
    gate = await open_gate(handle, "change")
    assert FAST in gate.question.exact_change and SLOW in gate.question.exact_change
    await answer(handle, "change")
    gate = await open_gate(handle, "keep")
    assert "better" in gate.question.evidence[0] and len(gate.question.artifacts) == 2
    await answer(handle, "keep")
    result = await result_of(handle)
    assert result.kept and result.evidence and result.evidence.judgement and result.evidence.judgement.ratio
    assert result.evidence.judgement.ratio.value < 0.9 and result.evidence.judgement.rounds >= 12
    assert FAST in lab.git("show", f"{result.branch}:work.py")
    assert before == (lab.git("status", "--porcelain"), lab.git("rev-parse", "HEAD"))
    assert [one.state for one in await lab.records_of(handle)] == ["kept"]
    picture = result.evidence.picture
    assert picture and (lab.context.state_folder / "artifacts" / picture.uri).read_text().count("<circle") > result.evidence.rounds


async def test_a_faster_launch_is_kept(lab: Lab) -> None:
    """With fewer iterations asked for by a variable, both ways of running a command are told apart by the CPU time they take."""
    handle = await lab.start(lab.launch({"WORK": "100_000"}))
    await answer(handle, "change")
    await answer(handle, "keep")
    result = await result_of(handle)
    assert result.kept and [one.title for one in result.delivered] == ["How it is launched"]
    assert "better" in result.reason


async def test_a_cheaper_configuration_is_kept(lab: Lab) -> None:
    """A live target is switched to and fro, and stands changed at the end."""
    handle = await lab.start(lab.edit(10))
    await answer(handle, "change")
    await answer(handle, "keep")
    result = await result_of(handle)
    assert result.kept and lab.file.read_text() == "cost = 10\n"


@pytest.mark.parametrize(("cost", "word"), [(20, "not better"), (30, "not better"), (19, "the goal of 10.0%")])
async def test_what_is_no_better_is_undone(lab: Lab, cost: float, word: str) -> None:
    """As good, worse, or less than the goal: undone without asking anybody to keep it."""
    request = lab.edit(cost, goal_share=0.1, ask_change=False)
    if cost == 20:
        request["change"]["replacements"][0]["replace"] = "cost =  20"
    result = await result_of(await lab.start(request))
    assert result.end == "undone" and result.reason.startswith(word)
    assert lab.file.read_text() == CONFIGURATION
    assert result.outcome and result.outcome.state == "reverted" and result.outcome.standing.word == "before"


async def test_a_guard_that_is_broken_wins(lab: Lab) -> None:
    """Half the time for many times the memory is not kept: the guard on memory sees it."""
    guard = {"metric": "rss_bytes", "margin": 0.1}
    request = lab.launch({"WORK": "100_000", "HELD_MB": "80"}, guards=[guard], ask_change=False)
    before = lab.state()
    result = await result_of(await lab.start(request))
    assert result.end == "undone" and result.reason.startswith("a guard was breached: rss_bytes")
    assert lab.state() == before


async def test_a_guard_on_memory_sees_all_processes(lab: Lab) -> None:
    """Twice the workers with less work in all are not kept, though the largest of them holds no more than before."""
    (lab.folder / "program.py").write_text(WORKERS)
    guard = {"metric": "rss_bytes", "margin": 0.1}
    request = lab.launch({"WORK": "100_000", "WORKERS": "4"}, guards=[guard], ask_change=False)
    before = lab.state()
    result = await result_of(await lab.start(request))
    assert result.end == "undone" and result.reason.startswith("a guard was breached: rss_bytes"), result.reason
    assert result.evidence and result.evidence.medians["rss_bytes"][1] > 1.5 * result.evidence.medians["rss_bytes"][0]
    assert any("up to 5 processes of a side" in one for one in result.evidence.warnings), result.evidence.warnings
    assert lab.state() == before
