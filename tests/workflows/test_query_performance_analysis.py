"""QueryPerformanceAnalysis on the lab's database: planted problems are found at the right query and node, the sound twin is left alone."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from perfwright.models.finding import Finding
from perfwright.models.query_performance import ExaminedStatement
from tests.workflows.investigating import DSN_VARIABLE, QueryResult, analyse, database, started, workers

pytestmark = [pytest.mark.paired, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
PLANTED = [
    problem
    for problem in tomllib.loads((ROOT / "lab" / "planted.toml").read_text())["problem"]
    if problem["process"] == "QueryPerformanceAnalysis"
]
WINDOW_S = 10


@pytest.fixture
def name(host_name: str) -> str:
    """A target of the test's own: its lease outlives the test for a while, on a queue that nobody serves any more."""
    return f"shop-db-on-{host_name}"


def lab(problems: str) -> Any:
    return started("-m", "lab.database", "--problems", problems, "--load", "--duration", "600")


@pytest.fixture
def slow() -> Iterator[dict[str, str]]:
    with lab("all") as ready:
        yield ready["environment"]


@pytest.fixture
def sound() -> Iterator[dict[str, str]]:
    with lab("none") as ready:
        yield ready["environment"]


def loud(result: QueryResult) -> list[Finding]:
    return [finding for finding in result.findings if finding.severity != "information"]


def plain(sql: str) -> str:
    return " ".join(sql.replace('"', "").split())


def examined(result: QueryResult, problem: dict[str, Any]) -> ExaminedStatement:
    found = [one for one in result.details.examined if problem["statement"].partition("$")[0].strip() in plain(one.statement.text)]
    assert found, (problem["name"], [plain(one.statement.text)[:100] for one in result.details.examined])
    return found[0]


async def test_planted_problems_are_found(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, slow: dict[str, str], name: str
) -> None:
    """Every planted problem is found at its statement, by the rules that it breaks, on its table; stale statistics are no missing index."""
    assert set(slow) == {DSN_VARIABLE}
    async with workers(client, task_queue, host_name, tmp_path, database(name, host_name), environ=slow):
        handle = await analyse(client, task_queue, name, window_s=WINDOW_S, min_share=0.001)
        result: QueryResult = await handle.result()
    assert result.verdict == "passed", (result.summary, result.quality_gates)
    for problem in PLANTED:
        one = examined(result, problem)
        fired = {hit.rule for hit in one.hits}
        assert fired & set(problem["rules"]), (problem["name"], one.outcome, fired)
        about = [f for f in loud(result) if any(one.statement.fingerprint in where.anchor for where in f.locations)]
        assert about, (problem["name"], [f.title for f in loud(result)])
        told = " ".join([plain(one.statement.text), *(f"{f.title} {f.summary}" for f in about)])
        assert problem["table"] in told, (problem["name"], told)
    advice = {one.id: one for one in result.recommendations}
    assert any("order_lines" in (one.change.apply if one.change else "") for one in advice.values()), list(advice)
    assert not any("shipments" in one.change.apply and "INDEX" in one.change.apply for one in advice.values() if one.change), list(advice)
    assert result.report.html


async def test_the_sound_twin_is_left_alone(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, sound: dict[str, str], name: str
) -> None:
    """The same shop with its problems solved, under the same traffic: every statement is examined, and nothing is above information."""
    async with workers(client, task_queue, host_name, tmp_path, database(name, host_name), environ=sound):
        handle = await analyse(client, task_queue, name, window_s=WINDOW_S, min_share=0.0)
        result: QueryResult = await handle.result()
    assert not loud(result), [f"{f.severity} {f.title}" for f in loud(result)]
    assert not result.recommendations
    assert result.verdict == "passed", (result.summary, result.quality_gates)
    assert len(result.details.examined) >= 5
