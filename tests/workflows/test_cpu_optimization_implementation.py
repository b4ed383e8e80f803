"""CpuOptimizationImplementation on real code: what is slow is mended and proven, sound code is left alone, wrong changes come off.

Where a trial proves how much was won they measure: `make test` runs those alone, or two at a time.
"""

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle

from activities.code_candidates import repeated
from lab.count import NotCounted
from lab.planted import planted
from perfwright.analysis.codemods.proposals import unified_patch
from perfwright.analysis.optimization_brief import brief_of
from perfwright.models.cpu_optimization import CpuOptimizationRequest
from perfwright.models.gate import OpenGate
from tests.activities.code_projects import DEDUPE, PYTHON, git, project, snapshot
from tests.needs import needs
from tests.workflows.investigating import start, workers
from tests.workflows.optimising import OptimizationResult, answer, child_of, lab_repository, optimising
from tests.workflows.short_trials import fewest_noise_rounds, no_instructions, quick_trials
from tests.workflows.watching_runs import open_gate, until
from workflows.cpu.cpu_optimization_implementation import CpuOptimizationImplementation

__all__ = ["fewest_noise_rounds", "no_instructions", "quick_trials"]

pytestmark = [pytest.mark.timeout(1_200), pytest.mark.usefixtures("no_instructions")]

LAB: dict[str, Any] = {
    "benchmark": [PYTHON, "-m", "lab.benchmark"],
    "tests": [PYTHON, "check.py"],
    "profile_s": 6.0,
    "trial_s": 240.0,
}
SMALL: dict[str, Any] = {"benchmark": [PYTHON, "bench.py"], "tests": [PYTHON, "check.py"], "profile_s": 4.0, "trial_s": 120.0}
MENDED = {one.name: Path(one.file).name for one in planted("shop") if one.codemod}
"""Problems that a codemod can mend, and the file that it changes."""
QUICK = DEDUPE.replace("    found = []\n", "    return list(dict.fromkeys(values))\n    found = []\n")
"""Right for what is in the project's tests; raises where a value cannot be hashed."""
GREEDY = DEDUPE.replace("def distinct", "HELD = []\n\n\ndef distinct").replace(
    "    found = []\n",
    "    if len(HELD) < 20:\n        HELD.append(b'x' * 1_000_000)\n"
    "    if type(values) is list and all(type(value) is str for value in values):\n        return list(dict.fromkeys(values))\n    found = []\n",
)
"""Right and quicker by far, and holds 20 MB in the end, which is more than the interpreter itself."""
LAZY = QUICK.replace(
    "    return list(dict.fromkeys(values))\n",
    "    if type(values) is list and all(type(value) is str for value in values):\n"
    "        time.sleep(0.02)\n        return list(dict.fromkeys(values))\n",
).replace("def distinct", "import time\n\n\ndef distinct")
"""Right, and takes far less CPU time and several times as long, as what asks a service does."""
CAREFUL_TESTS = "from shop.dedupe import distinct\n\nassert distinct(['a', 'b', 'a']) == ['a', 'b']\n"

POOL = """import os
from concurrent.futures import ProcessPoolExecutor

from shop.dedupe import distinct


def work(number):
    return sum(value * value for value in range(400_000)) + len(distinct([number]))


if __name__ == "__main__":
    jobs = int(os.environ.get("JOBS", "1"))
    if jobs == 1:
        answers = list(map(work, range(10)))
    else:
        with ProcessPoolExecutor(max_workers=jobs) as pool:
            answers = list(pool.map(work, range(10)))
"""


def instructions(folder: Path, problems: str) -> int:
    """Of a benchmark of one deck, counted by cachegrind: the same every time, whatever runs beside it."""
    counted = subprocess.run(
        [
            "valgrind",
            "--tool=cachegrind",
            "--cache-sim=no",
            "--cachegrind-out-file=/dev/null",
            PYTHON,
            "-m",
            "lab.benchmark",
            "--decks",
            "1",
        ],
        cwd=folder,
        env={**os.environ, "LAB_PROBLEMS": problems, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    line = next((one for one in counted.stderr.splitlines() if "I refs" in " ".join(one.split())), "")
    if not line:
        raise NotCounted(counted.stderr[-500:])
    return int(line.rpartition(":")[2].strip().replace(",", ""))


@pytest.mark.paired
@pytest.mark.usefixtures("fewest_noise_rounds")
@needs("ptrace", "valgrind")
async def test_what_is_planted_in_the_shop_is_mended(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each CPU problem of the shop that a codemod can mend is mended in a commit of its own; together they win half at least of what the
    sound versions of the same four have."""
    monkeypatch.setenv("LAB_PROBLEMS", "all")
    monkeypatch.setattr("activities.calls_again.AGAIN_S", 5.0)
    repository = lab_repository(tmp_path / "repository")
    before = snapshot(repository)
    async with optimising(client, task_queue, host_name, tmp_path, repository, environ={"LAB_PROBLEMS": "all"}, **LAB) as handle:
        result = await handle.result()
    kept = [one for one in result.details.candidates if one.end == "kept"]
    assert {Path(one.candidate.path).name for one in kept} == {*MENDED.values()}, [
        (one.candidate.id, one.reason) for one in result.details.candidates
    ]
    assert snapshot(repository)[2] == before[2] and git(repository, "status", "--porcelain") == ""
    assert git(repository, "rev-list", "--count", f"main..{result.details.branch}").strip() == str(len(kept))
    assert result.verdict == "passed" and result.details.pull_request is not None
    [by_hand] = [one for one in planted("shop") if one.process == "CpuProfilingInvestigation" and not one.codemod]
    brief = brief_of(CpuOptimizationRequest.model_validate_json(json.dumps(result.request)), result.details)
    [open_one] = [one for one in brief.locations if one.function == by_hand.function]
    assert "Open: no codemod mends it" in open_one.told and (open_one.share or 0.0) > 0, "who knows another algorithm is told where"
    mended = tmp_path / "mended"
    git(repository, "clone", "-q", "-b", result.details.branch, str(repository), str(mended))
    subprocess.run([PYTHON, "check.py"], cwd=mended, check=True, timeout=120)
    rest = ",".join(one.name for one in planted("shop") if one.process == "CpuProfilingInvestigation" and one.name not in MENDED)
    counted = [(repository, "all"), (repository, rest), (mended, "all")]
    slow, sound, ours = await asyncio.gather(*(asyncio.to_thread(instructions, *one) for one in counted))
    assert slow - ours >= 0.5 * (slow - sound), (slow, sound, ours)


@needs("ptrace")
async def test_nothing_is_changed_in_the_sound_shop(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same shop without its problems: no change is proposed, and it says so."""
    monkeypatch.setenv("LAB_PROBLEMS", "none")
    repository = lab_repository(tmp_path / "repository")
    before = snapshot(repository)
    wanted = LAB | {"benchmark": [*LAB["benchmark"], "--decks", "40"]}
    async with optimising(client, task_queue, host_name, tmp_path, repository, environ={"LAB_PROBLEMS": "none"}, **wanted) as handle:
        result = await handle.result()
    assert result.details.hot_functions, "with none there would be silence for want of CPU time"
    assert [one.candidate.id for one in result.details.candidates] == []
    assert result.verdict == "passed" and result.details.branch == ""
    assert snapshot(repository) == before


@pytest.mark.usefixtures("quick_trials")
@needs("ptrace")
async def test_a_change_that_is_wrong_or_takes_memory_is_not_kept(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """Of three submitted changes, all cheaper by far, one raises for values that cannot be hashed, which neither the project's tests nor its
    benchmark have; one holds so much more memory that its guard is breached; one waits instead. None is kept."""
    repository = project(tmp_path / "repository", {"check.py": CAREFUL_TESTS})
    before = snapshot(repository)
    generated = ["list membership to set:shop/dedupe.py:distinct"]
    async with optimising(
        client, task_queue, host_name, tmp_path, repository, leave_out=generated, given_gain_share=0.2, **SMALL
    ) as handle:
        for name, source in (("quick", QUICK), ("greedy", GREEDY), ("lazy", LAZY)):
            await handle.signal("submit_change", {"patch": unified_patch("shop/dedupe.py", DEDUPE, source), "by": "grace", "comment": name})
        result = await handle.result()
    quick, greedy, lazy = result.details.candidates
    assert quick.end == greedy.end == lazy.end == "not kept" and snapshot(repository) == before
    assert quick.trial is None and "answered differently" in quick.reason and "unhashable" in quick.reason
    assert greedy.checked is not None and greedy.checked.problem == ""
    assert "rss_bytes breached" in greedy.reason and (greedy.gain_share or 0.0) > 0.05
    assert "wall_s breached" in lazy.reason and lazy.trial is not None, lazy.reason


async def refused_at(handle: WorkflowHandle[Any, OptimizationResult], gates: list[str]) -> OptimizationResult:
    """Approve the profile's gates and others in turn, and refuse the last: `profile/profile_review`, `approach`."""
    for gate in gates:
        kind, _, name = gate.rpartition("/")
        asked = await child_of(handle, kind) if kind else handle
        await answer(asked, name, "reject" if gate == gates[-1] else "approve")
    return await handle.result()


@pytest.mark.usefixtures("quick_trials")
@needs("ptrace")
@pytest.mark.parametrize("gates", [["profile/profile_review"], ["profile/profile_review", "profile/findings_review", "approach"]])
async def test_refused_at_a_gate_nothing_is_changed(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, gates: list[str]
) -> None:
    """Whichever gate before the trial is refused: the repository's files, status, branches and worktrees are what they were."""
    repository = project(tmp_path / "repository")
    before = snapshot(repository)
    async with optimising(client, task_queue, host_name, tmp_path, repository, environment="asking", **SMALL) as handle:
        result = await refused_at(handle, gates)
    assert snapshot(repository) == before
    assert result.details.branch == "" and not any(one.end == "kept" for one in result.details.candidates)
    assert result.verdict == "rejected"


async def test_tests_that_fail_before_any_change_end_the_run(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """They would judge nothing."""
    repository = project(tmp_path / "repository", {"check.py": "raise SystemExit('broken before')\n"})
    async with optimising(client, task_queue, host_name, tmp_path, repository, **SMALL) as handle:
        await answer(handle, "findings_review")
        result = await handle.result()
    assert result.verdict == "failed" and "broken before" in result.summary
    assert not (tmp_path / ".perfwright" / "trees").exists() or not [*(tmp_path / ".perfwright" / "trees").iterdir()]


@needs("ptrace")
async def test_the_profile_of_an_earlier_investigation_is_used(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """Named by its number; nothing is profiled again, and its hot function is found in the repository."""
    repository = project(tmp_path / "repository")
    name = f"optimised-{task_queue[-12:]}"
    command = list(repeated((PYTHON, "bench.py"), 60.0))
    entry = (
        f'[targets.{name}]\nkind = "process"\nenvironment = "lab"\nhost = "{host_name}"\nrepository = "{repository}"\n'
        f'process = {{ command = {command}, working_directory = "{repository}" }}\n'.replace("'", '"')
    )
    async with workers(client, task_queue, host_name, tmp_path, entry):
        investigated = await start(client, task_queue, name, duration_s=4, overhead_budget_share=0.5, min_samples=20, passes=["on_cpu"])
        await investigated.result()
        generated = ["list membership to set:shop/dedupe.py:distinct"]
        handle = await client.start_workflow(
            CpuOptimizationImplementation.__name__,
            {"target": name, "investigation": f"{name}#1", "leave_out": generated} | SMALL,
            id=f"cpu-optimization-implementation/{name}",
            task_queue=task_queue,
            result_type=OptimizationResult,
        )
        result = await handle.result()
    assert result.details.profile_of == f"{name}#1"
    assert [one.function for one in result.details.hot_functions if one.path == "shop/dedupe.py"] == ["distinct"]
    assert "Profile the benchmark" not in {step.name for step in result.steps}


@needs("ptrace")
async def test_the_teams_command_makes_a_change_from_a_brief(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """It is told what is hot and how it is judged, and what it commits is checked like any other change: here it is wrong on an edge.
    Neither its code nor what was submitted is run before a person has seen the diff."""
    repository = project(tmp_path / "repository", {"check.py": CAREFUL_TESTS})
    before = snapshot(repository)
    script = tmp_path / "agent.py"
    script.write_text(
        "import json, pathlib, subprocess, sys\n\nbrief = json.load(sys.stdin)\n"
        "assert 'distinct' in [one['function'] for one in brief['locations']] and 'CPU time' in brief['goal'], brief\n"
        f"pathlib.Path('shop/dedupe.py').write_text({QUICK!r})\n"
        "identity = ['-c', 'user.name=agent', '-c', 'user.email=agent@example.com']\n"
        "subprocess.run(['git', *identity, 'commit', '-q', '-a', '-m', 'quicker'], check=True)\n"
    )
    command = f'change_command = ["{PYTHON}", "{script}"]\n'
    generated = ["list membership to set:shop/dedupe.py:distinct"]
    wanted = SMALL | {"leave_out": generated, "use_change_command": True}
    async with optimising(client, task_queue, host_name, tmp_path, repository, environment="reviewing", more=command, **wanted) as handle:
        patch = unified_patch("shop/dedupe.py", DEDUPE, GREEDY)
        await handle.signal("submit_change", {"patch": patch, "by": "grace", "comment": "greedy"})
        asked = await open_gate(handle, "given_change")
        assert "the change command" in asked.question.question and "+    return list(dict.fromkeys(values))" in asked.question.exact_change
        await answer(handle, "given_change")
        await until(lambda: _asks_about(handle, "grace"), "the gate of the submitted change")
        await answer(handle, "given_change", "reject", revision=2)
        result = await handle.result()
    [refused] = result.details.warnings
    assert refused.startswith("greedy of grace: refused by")
    [made] = result.details.candidates
    assert made.candidate.id == "given:1" and made.end == "not kept" and "answered differently" in made.reason
    assert snapshot(repository) == before


async def _asks_about(handle: WorkflowHandle[Any, OptimizationResult], by: str) -> bool:
    gates: list[OpenGate] = await handle.query("pending_gates", result_type=list[OpenGate])
    return any(f"of {by} " in gate.question.question for gate in gates)


@pytest.mark.measuring
@pytest.mark.usefixtures("fewest_noise_rounds")
@needs("ptrace")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core has no room for two workers")
async def test_more_workers_are_tried_where_cores_are_left(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """A program of one saturated process, whose launch takes its count of processes from a variable: two are tried on two cores, take less
    time by the clock, and are kept for every later launch; the code and the repository stay as they are."""
    # The program is launched where it stands, and Python writes byte code there.
    repository = project(tmp_path / "repository", {"bench.py": POOL, "check.py": "", ".gitignore": "__pycache__/\n"})
    before = snapshot(repository)
    process = f'process = {{ command = ["{PYTHON}", "bench.py"], working_directory = "{repository}" }}\n'
    wanted = SMALL | {"workers": {"variable": "JOBS", "most": 2}}
    async with optimising(client, task_queue, host_name, tmp_path, repository, more=process, **wanted) as handle:
        result = await handle.result()
    tried = result.details.workers
    assert tried is not None, result.details.workers_left
    assert tried.end == "kept" and (tried.gain_share or 0.0) > 0.1 and (tried.gain_low or 0.0) > 0.0, tried.reason
    assert "Launch it with 2 workers (JOBS=2) instead of 1: kept" in result.summary
    [launch] = (tmp_path / ".perfwright" / "launches").iterdir()
    assert '"JOBS": "2"' in launch.read_text()
    assert git(repository, "status", "--porcelain") == "" and snapshot(repository)[1] == before[1]
