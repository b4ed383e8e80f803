"""CpuProfilingInvestigation on real programs: planted problems are found where they are, healthy twins are left alone.

Those that judge how much of the machine is used measure: `make test` runs them alone, one after the other.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from temporalio.client import Client

from activities.profiler_cpu import ProfilerCpu
from lab.planted import Planted, planted
from perfwright.analysis.cpu_findings import PROCESS_STEPS
from perfwright.models.finding import Finding
from starter.demo import beside, naming
from tests.needs import needs
from tests.workflows.investigating import CpuResult, start, started, target, workers

SHOP = [problem for problem in planted("shop") if problem.process == "CpuProfilingInvestigation"]
TWIN_RATE = "1800"
"""Requests a second of the sound shop, fifteen times those of the slow one: it uses half a core at least."""
AS_FAST_AS_IT_CAN = "1000"
"""Times the usual work of a program: without pauses, so that it uses a whole core on any machine."""
DENSE_HZ = 397
PROGRAMS = [
    pytest.param("jvm", marks=needs("javac", "jcmd")),
    pytest.param("node", marks=needs("node")),
    pytest.param("native", marks=needs("gcc", "perf")),
]


def loud(result: CpuResult) -> list[Finding]:
    return [finding for finding in result.findings if finding.severity != "information"]


def cores(result: CpuResult) -> float:
    usage = result.details.usage
    return usage.user_share + usage.system_share if usage else 0.0


def names_the_line(finding: Finding, problem: Planted) -> bool:
    """The planted line, or one of its loop."""
    return any(problem.line - 3 <= (where.line or 0) <= problem.line + 7 for where in finding.locations)


async def investigate(client: Client, task_queue: str, host: str, folder: Path, process: str, **request: Any) -> CpuResult:
    """Under a name of the test's own: a lease that an earlier test's worker did not come to close must not hold this one up."""
    name = f"examined-{task_queue[-12:]}"
    async with workers(client, task_queue, host, folder, target(name, host, process, allow="inject")):
        handle = await start(client, task_queue, name, **request)
        result: CpuResult = await handle.result()
        return result


async def compiled(pid: int) -> None:
    """Wait until a JVM has compiled what it runs: on a busy machine that is half of its first ten seconds, and the planted share is of later ones."""
    compilers, whole = ProfilerCpu.of_threads(pid, ("C1 Compiler", "C2 Compiler")), ProfilerCpu.of_process(pid)
    before = (0.0, 0.0)
    for _ in range(60):
        await asyncio.sleep(0.5)
        now = (compilers.used_s() or 0.0, whole.used_s() or 0.0)
        if now[0] - before[0] < 0.05 * (now[1] - before[1]) or not now[0]:
            return
        before = now


@pytest.fixture
def slow_shop() -> Iterator[dict[str, Any]]:
    with started("-m", "lab.up", "--load") as ready:
        yield ready


@pytest.mark.measuring
@needs("ptrace")
async def test_every_planted_hot_spot_of_the_shop_is_found(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, slow_shop: dict[str, Any]
) -> None:
    """Each of the shop's CPU problems is told above information, at its file and line, with the share of CPU time that it has."""
    result = await investigate(client, task_queue, host_name, tmp_path, f"port = {slow_shop['port']}", duration_s=32)
    missed = [f"{gate.name}: {gate.observed}" for gate in result.quality_gates if gate.outcome != "passed"]
    assert not missed, (missed, result.summary)
    told = [beside(problem, naming(problem, result.findings)) for problem in SHOP]
    wrong = [text for text, right in told if not right]
    assert not wrong, (wrong, [f"{f.severity} {f.title}" for f in result.findings])
    for problem in SHOP:
        finding = naming(problem, result.findings)
        assert finding and names_the_line(finding, problem), problem.name
    assert {one.finding_ids[0] for one in result.recommendations} == {one.id for one in loud(result)}
    assert result.report.html


@pytest.mark.measuring
@needs("ptrace")
async def test_the_sound_shop_is_left_alone(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """The same shop without its problems, at fifteen times the load and with CPU enough to matter, yields no finding above information."""
    with started("-m", "lab.up", "--load", "--problems", "none", "--rate", TWIN_RATE) as shop:
        result = await investigate(client, task_queue, host_name, tmp_path, f"port = {shop['port']}", duration_s=8)
    assert cores(result) >= PROCESS_STEPS[0], "with less there would be silence for want of CPU"
    assert not loud(result), [f"{f.severity} {f.title}" for f in loud(result)]
    assert not result.recommendations


@pytest.mark.parametrize("program", PROGRAMS)
async def test_other_runtimes_are_served(client: Client, task_queue: str, host_name: str, tmp_path: Path, program: str) -> None:
    """The planted hot spot of the JVM, Node and C program is found, first, with the share of CPU time that it has.

    They work without pauses and are sampled densely, so that even a quarter of a core, which is what a busy machine may leave them, gives
    a thousand samples: with a hundred the interval of a share of 60 % reaches below the half from which such code is told.
    """
    with started("-m", "lab.programs", program, "--seconds", "120", "--", AS_FAST_AS_IT_CAN) as ready:
        await compiled(int(ready["pid"]))
        result = await investigate(client, task_queue, host_name, tmp_path, f"pid = {ready['pid']}", duration_s=10, rate_hz=DENSE_HZ)
    (problem,) = planted(program)
    assert loud(result), result.summary
    told, right = beside(problem, naming(problem, loud(result)[:1]))
    assert right, (told, [f"{f.severity} {f.title}" for f in result.findings])


@pytest.mark.measuring
@pytest.mark.parametrize("program", PROGRAMS)
async def test_sound_programs_are_left_alone(client: Client, task_queue: str, host_name: str, tmp_path: Path, program: str) -> None:
    """The JVM, Node and C program without their problem, using a whole core for what they are there to do, yield nothing above information."""
    with started("-m", "lab.programs", program, "--problems", "none", "--seconds", "120", "--", AS_FAST_AS_IT_CAN) as ready:
        result = await investigate(client, task_queue, host_name, tmp_path, f"pid = {ready['pid']}", duration_s=4, min_samples=20)
    assert cores(result) >= PROCESS_STEPS[-1], "with less there would be silence for want of CPU"
    assert not loud(result), [f"{f.severity} {f.title}" for f in loud(result)]
    assert not result.recommendations


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        pytest.param("one-thread", "one thread saturated", marks=pytest.mark.measuring),
        pytest.param("gil", "GIL-bound", marks=pytest.mark.paired),
        pytest.param("lock", "waiting on locks", marks=pytest.mark.paired),
        pytest.param("kernel", "kernel-heavy", marks=pytest.mark.paired),
    ],
)
@needs("ptrace")
async def test_patterns_are_named(client: Client, task_queue: str, host_name: str, tmp_path: Path, pattern: str, named: str) -> None:
    """How a program uses its CPUs is said in the field's own terms."""
    with started("-m", "lab.programs", f"python-{pattern}", "--seconds", "120") as ready:
        result = await investigate(client, task_queue, host_name, tmp_path, f"pid = {ready['pid']}", duration_s=5, min_samples=20)
    assert result.details.utilisation is not None
    assert named in [one.name for one in result.details.utilisation.patterns], result.details.utilisation.patterns


@needs("ptrace")
async def test_a_launched_command_is_profiled_and_ended(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """A target given as a command is started for the recording and gone after it."""
    marker = f"launched-{task_queue}"
    command = f"command = ['python3', '-c', 'while True: sum(i * i for i in range(10000))  # {marker}']"
    result = await investigate(client, task_queue, host_name, tmp_path, command, duration_s=4, overhead_budget_share=0.3, min_samples=20)
    assert result.details.process is not None
    assert result.verdict == "passed", result.summary
    assert not [p.pid for p in psutil.process_iter(["cmdline"]) if any(marker in word for word in p.info["cmdline"] or ())]
