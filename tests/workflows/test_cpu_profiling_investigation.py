"""CpuProfilingInvestigation on real programs: planted problems are found where they are, healthy twins are left alone."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError

from perfwright.models.finding import Finding
from tests.needs import needs
from tests.workflows.investigating import CpuResult, start, started, target, workers

pytestmark = [pytest.mark.measuring, pytest.mark.quiet]

ROOT = Path(__file__).resolve().parents[2]
PLANTED = {problem["name"]: problem for problem in tomllib.loads((ROOT / "lab" / "planted.toml").read_text())["problem"]}
SHOP = [problem for problem in PLANTED.values() if problem["program"] == "shop"]
SHARE_OF_TIME = (0.4, 2.0)
"""Time is not instructions: a share of time may be this much smaller or larger than the counted share."""


def loud(result: CpuResult) -> list[Finding]:
    return [finding for finding in result.findings if finding.severity != "information"]


def planted_line(problem: dict[str, Any]) -> int:
    lines = (ROOT / problem["file"]).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if problem["marker"] in line)


def points_at(finding: Finding, problem: dict[str, Any]) -> bool:
    """Whether a finding names the planted function, in its file where the runtime tells files."""
    name = problem["function"]
    return any(
        (where.function or "").endswith(name) and (problem["program"] == "jvm" or (where.file or "").endswith(Path(problem["file"]).name))
        for where in finding.locations
    )


async def investigate(client: Client, task_queue: str, host: str, folder: Path, process: str, **request: Any) -> CpuResult:
    async with workers(client, task_queue, host, folder, target("examined", host, process)):
        handle = await start(client, task_queue, "examined", **request)
        result: CpuResult = await handle.result()
        return result


@pytest.fixture(scope="module")
def slow_shop() -> Iterator[dict[str, Any]]:
    with started("-m", "lab.up", "--load") as ready:
        yield ready


@needs("ptrace")
async def test_every_planted_hot_spot_of_the_shop_is_found(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, slow_shop: dict[str, Any]
) -> None:
    """Each of the shop's CPU problems is among the findings, at its file and line, with the share of time that it has."""
    result = await investigate(client, task_queue, host_name, tmp_path, f"port = {slow_shop['port']}", duration_s=40)
    assert result.verdict == "passed", result.summary
    found = {problem["name"]: [f for f in result.findings[:8] if points_at(f, problem)] for problem in SHOP}
    assert all(found.values()), f"missed: {[name for name, by in found.items() if not by]}; told: {[f.title for f in result.findings]}"
    for problem in SHOP:
        finding = found[problem["name"]][0]
        assert finding.cost is not None
        low, high = SHARE_OF_TIME
        assert low * problem["share"] <= finding.cost.value <= high * problem["share"], (problem["name"], finding.cost.value)
        lines = {where.line for where in finding.locations}
        assert lines & set(range(planted_line(problem) - 3, planted_line(problem) + 8)), (problem["name"], lines)
    assert loud(result), "how loud a finding is depends on the CPU that the machine leaves the shop; that some are does not"
    assert result.recommendations
    assert result.report.html


@needs("ptrace")
async def test_the_sound_shop_is_left_alone(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """The same shop without its problems, under the same load, yields no finding above information."""
    with started("-m", "lab.up", "--load", "--problems", "none") as shop:
        result = await investigate(client, task_queue, host_name, tmp_path, f"port = {shop['port']}", duration_s=20, min_samples=20)
    assert not loud(result), [f"{f.severity} {f.title}" for f in loud(result)]
    assert not result.recommendations


@pytest.mark.parametrize(
    "program",
    [
        pytest.param("jvm", marks=needs("javac", "jcmd")),
        pytest.param("node", marks=needs("node")),
        pytest.param("native", marks=needs("gcc", "perf")),
    ],
)
async def test_other_runtimes_are_served(client: Client, task_queue: str, host_name: str, tmp_path: Path, program: str) -> None:
    """The planted hot spot of the JVM, Node and C program is the first finding."""
    with started("-m", "lab.programs", program, "--seconds", "120") as ready:
        result = await investigate(client, task_queue, host_name, tmp_path, f"pid = {ready['pid']}", duration_s=12, min_samples=50)
    problem = next(p for p in PLANTED.values() if p["program"] == program)
    assert loud(result), result.summary
    assert points_at(loud(result)[0], problem), loud(result)[0].model_dump()


@pytest.mark.parametrize(
    ("pattern", "named"),
    [("one-thread", "one thread saturated"), ("gil", "GIL-bound"), ("lock", "waiting on locks"), ("kernel", "kernel-heavy")],
)
@needs("ptrace")
async def test_patterns_are_named(client: Client, task_queue: str, host_name: str, tmp_path: Path, pattern: str, named: str) -> None:
    """How a program uses its CPUs is said in the field's own terms."""
    with started("-m", "lab.programs", f"python-{pattern}", "--seconds", "120") as ready:
        result = await investigate(client, task_queue, host_name, tmp_path, f"pid = {ready['pid']}", duration_s=12, min_samples=20)
    assert result.details.utilisation is not None
    assert named in [one.name for one in result.details.utilisation.patterns], result.details.utilisation.patterns


@needs("ptrace")
async def test_a_launched_command_is_profiled_and_ended(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """A target given as a command is started for the recording and gone after it."""
    marker = f"launched-{task_queue}"
    command = f"command = ['python3', '-c', 'while True: sum(i * i for i in range(10000))  # {marker}']"
    result = await investigate(client, task_queue, host_name, tmp_path, command, duration_s=6, min_samples=50)
    assert result.details.process is not None
    assert result.verdict == "passed", result.summary
    import psutil

    assert not [p.pid for p in psutil.process_iter(["cmdline"]) if any(marker in word for word in p.info["cmdline"] or ())]


@needs("ptrace")
async def test_an_idle_target_is_inconclusive(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """A program that does nothing gives too few samples; the result says so and how much CPU it used."""
    result = await investigate(
        client, task_queue, host_name, tmp_path, "command = ['python3', '-c', 'import time; time.sleep(600)']", duration_s=4
    )
    assert result.verdict == "inconclusive"
    assert "idle" in result.summary
    assert not loud(result)


async def test_a_command_that_cannot_start_says_why(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """A program that does not exist, or ends at once, fails the run with its words."""
    with pytest.raises(WorkflowFailureError) as failed:
        await investigate(client, task_queue, host_name, tmp_path, "command = ['no-such-program-here']", duration_s=4)
    assert "no-such-program-here" in str(failed.value.cause)
