"""IndexStrategyOptimization on the lab's database under its own traffic: planted missing indexes are made, and its sound twin is left alone.

The lab's role is no superuser: clones are made on a server of the test's own.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from temporalio.client import Client

from tests.databases import postgres
from tests.needs import needs
from tests.postgres import PostgresServer
from tests.workflows.indexing import INDEXES, IndexResult
from tests.workflows.investigating import DSN_VARIABLE, database, started, workers
from tests.workflows.short_trials import fewest_noise_rounds
from tests.workflows.watching_runs import Handle, task_failures

__all__ = ["fewest_noise_rounds", "postgres"]

pytestmark = [
    pytest.mark.measuring,
    needs("temporal"),
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("fewest_noise_rounds"),
]

CLONES = "CLONE_SERVER_DSN"
ROOT = Path(__file__).resolve().parents[2]
AUTO = '\n[environments.auto]\nreview = "auto"\nchange = "auto"\nkeep = "auto"\n'
SHORT: dict[str, Any] = {
    "window_s": 10,
    "top": 30,
    "measure_s": 20,
    "trial_s": 30,
    "watch_s": 4,
    "clone_dsn_env": CLONES,
    "statement_timeout_s": 10,
}


def lab(problems: str) -> Any:
    return started("-m", "lab.database", "--problems", problems, "--load", "--duration", "900")


@pytest.fixture
def planted() -> Iterator[dict[str, str]]:
    with lab("all") as ready:
        yield ready["environment"]


@pytest.fixture
def sound() -> Iterator[dict[str, str]]:
    with lab("none") as ready:
        yield ready["environment"]


async def indexes(dsn: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(dsn)
    try:
        return sorted(tuple(row) for row in await connection.fetch(INDEXES))
    finally:
        await connection.close()


async def optimise(client: Client, queue: str, name: str) -> IndexResult:
    handle: Handle = await client.start_workflow(
        "IndexStrategyOptimization",
        {"target": name} | SHORT,
        id=f"index-strategy-optimization/{name}",
        task_queue=queue,
        result_type=IndexResult,
    )
    result: IndexResult = await handle.result()
    assert not await task_failures(handle)
    return result


async def test_planted_missing_indexes_are_made(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, planted: dict[str, str], postgres: PostgresServer
) -> None:
    """Lines by their order, which every order page asks for, are found by an index of their own in the end, kept with its evidence."""
    problems = tomllib.loads((ROOT / "lab" / "planted.toml").read_text())["problem"]
    missing = [one for one in problems if one["name"] == "order-lines"]
    assert missing
    name, environ = f"lab-{host_name[-8:]}", planted | {CLONES: postgres.dsn()}
    before = await indexes(planted[DSN_VARIABLE])
    async with workers(client, task_queue, host_name, tmp_path, AUTO, _target(name, host_name), environ=environ):
        result = await optimise(client, task_queue, name)
    kept = {one.proposal.title: one for one in result.details.tried if one.end == "kept"}
    strategy = result.details.strategy
    assert strategy is not None
    told = (result.summary, [(one.proposal.title, one.end, one.reason) for one in result.details.tried], strategy.measured_dropped)
    assert any(title.startswith("order_lines(order_id") for title in kept), told
    made = set(await indexes(planted[DSN_VARIABLE])) - set(before)
    assert len(made) == sum(one.proposal.action == "create" for one in kept.values()) and all(valid for _, valid, *_ in made), told
    assert all(one.ratio is not None and one.ratio < 1 for one in kept.values() if one.proposal.action == "create"), told


async def test_the_sound_twin_is_left_alone(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, sound: dict[str, str], postgres: PostgresServer
) -> None:
    """The same shop with its problems solved, under the same traffic: pg_index is the same, field by field."""
    name, environ = f"lab-{host_name[-8:]}", sound | {CLONES: postgres.dsn()}
    before = await indexes(sound[DSN_VARIABLE])
    async with workers(client, task_queue, host_name, tmp_path, AUTO, _target(name, host_name), environ=environ):
        result = await optimise(client, task_queue, name)
    told = (result.summary, [(one.proposal.title, one.end, one.reason) for one in result.details.tried])
    assert await indexes(sound[DSN_VARIABLE]) == before and not result.details.tried, told


def _target(name: str, host: str) -> str:
    return database(name, host, "auto").replace('allow = ["analyze"]', 'allow = ["analyze", "ddl"]')
