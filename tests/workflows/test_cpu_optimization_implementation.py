"""CpuOptimizationImplementation on real code: what is slow is mended and proven, sound code is left alone, wrong changes come off.

These tests measure: `make test` runs them alone, one after the other.
"""

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from lab.count import NotCounted
from lab.planted import planted
from perfwright.analysis.codemods.proposals import unified_patch
from tests.activities.code_projects import DEDUPE, PYTHON, git, project, snapshot
from tests.needs import needs
from tests.workflows.optimising import OptimizationResult, answer, lab_repository, optimising

pytestmark = [pytest.mark.measuring, pytest.mark.timeout(1_200)]

LAB: dict[str, Any] = {
    "benchmark": [PYTHON, "-m", "lab.benchmark"],
    "tests": [PYTHON, "check.py"],
    "profile_s": 10.0,
    "trial_s": 240.0,
}
SMALL: dict[str, Any] = {"benchmark": [PYTHON, "bench.py"], "tests": [PYTHON, "check.py"], "profile_s": 4.0, "trial_s": 60.0}
MENDED = {"discount-rules": "pricing.py", "delivery-notes": "deliveries.py", "report-dates": "reports.py", "stock-merge": "stock.py"}
"""Problems that a codemod can mend, and the file that it changes. A loop of bytecode over every byte needs another algorithm."""
QUICK = DEDUPE.replace("    found = []\n", "    return list(dict.fromkeys(values))\n    found = []\n")
"""Right for what is in the project's tests; raises where a value cannot be hashed."""
GREEDY = DEDUPE.replace(
    "    found = []\n",
    "    HELD.append(bytearray(b'x' * 8_000_000))\n    if values and type(values[0]) is str:\n        return list(dict.fromkeys(values))\n    found = []\n",
).replace("def distinct", "HELD = []\n\n\ndef distinct")
"""Quicker by far, and holds 8 MB more after every call."""
CAREFUL_TESTS = "from shop.dedupe import distinct\n\nassert distinct(['a', 'b', 'a']) == ['a', 'b']\n"


def instructions(folder: Path, problems: str) -> int:
    """Of a benchmark of three decks, counted by cachegrind: the same every time."""
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
            "3",
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


@needs("ptrace", "valgrind")
async def test_what_is_planted_in_the_shop_is_mended(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each CPU problem of the shop that a codemod can mend is mended in a commit of its own; together they win half at least of what the
    sound versions of the same four have."""
    monkeypatch.setenv("LAB_PROBLEMS", "all")
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
    mended = tmp_path / "mended"
    git(repository, "clone", "-q", "-b", result.details.branch, str(repository), str(mended))
    subprocess.run([PYTHON, "check.py"], cwd=mended, check=True, timeout=120)
    rest = ",".join(one.name for one in planted("shop") if one.process == "CpuProfilingInvestigation" and one.name not in MENDED)
    slow, sound, ours = instructions(repository, "all"), instructions(repository, rest), instructions(mended, "all")
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


@needs("ptrace")
async def test_a_change_that_is_wrong_or_takes_memory_is_not_kept(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """Of three changes of one function, one wins and is right. One raises for values that cannot be hashed, which the project's tests do
    not see; one holds so much more memory that its guard is breached. Both are quicker, and neither is kept."""
    repository = project(tmp_path / "repository", {"check.py": CAREFUL_TESTS})
    async with optimising(client, task_queue, host_name, tmp_path, repository, **SMALL) as handle:
        for number, source in enumerate((GREEDY, QUICK)):
            patch = unified_patch("shop/dedupe.py", DEDUPE, source)
            await handle.signal("submit_change", {"patch": patch, "by": "grace", "comment": f"quicker {number}"})
        result = await handle.result()
    ends = {one.candidate.codemod: one for one in result.details.candidates}
    assert ends["list membership to set"].end == "kept", ends["list membership to set"].reason
    assert (ends["list membership to set"].gain_low or 0.0) > 0.0
    given = [one for one in result.details.candidates if one.candidate.codemod == "given"] + [*result.details.warnings]
    assert len(given) == 2 and all(one.end == "not kept" for one in given if not isinstance(one, str))


async def refused_at(handle: Any, gates: list[tuple[str, str]]) -> OptimizationResult:
    """Answer gates in turn: `approve`, and the last with `reject`."""
    run = (await handle.describe()).run_id
    for place, gate in gates:
        asked = handle if not place else await begun(handle, place.format(run=run))
        await answer(asked, gate, "reject" if (place, gate) == gates[-1] else "approve")
    result: OptimizationResult = await handle.result()
    return result


async def begun(handle: Any, suffix: str) -> Any:
    """A child, once it has been started."""
    child = handle._client.get_workflow_handle(f"{handle.id}/{suffix}")
    while True:
        try:
            await child.describe()
            return child
        except Exception:
            await asyncio.sleep(0.3)


@needs("ptrace")
@pytest.mark.parametrize(
    ("environment", "gates"),
    [
        ("asking", [("profile/{run}", "profile_review")]),
        ("asking", [("profile/{run}", "profile_review"), ("profile/{run}", "findings_review"), ("", "approach")]),
        ("reviewing", [("trial/{run}/1", "keep")]),
    ],
)
async def test_refused_at_a_gate_nothing_is_changed(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, environment: str, gates: list[tuple[str, str]]
) -> None:
    """Whichever gate is refused: the repository's files, status, branches and worktrees are what they were."""
    repository = project(tmp_path / "repository")
    before = snapshot(repository)
    async with optimising(client, task_queue, host_name, tmp_path, repository, environment=environment, **SMALL) as handle:
        result = await refused_at(handle, gates)
    assert snapshot(repository) == before
    assert result.details.branch == "" and not any(one.end == "kept" for one in result.details.candidates)
    if gates[-1][1] != "keep":
        assert result.verdict == "rejected"


async def test_tests_that_fail_before_any_change_end_the_run(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """They would judge nothing."""
    repository = project(tmp_path / "repository", {"check.py": "raise SystemExit('broken before')\n"})
    async with optimising(client, task_queue, host_name, tmp_path, repository, **SMALL) as handle:
        result = await handle.result()
    assert result.verdict == "failed" and "broken before" in result.summary
    assert not (tmp_path / ".perfwright" / "trees").exists() or not [*(tmp_path / ".perfwright" / "trees").iterdir()]
