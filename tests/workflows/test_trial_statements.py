"""Statements of a trial on a real PostgreSQL: a change that is better as a whole is not kept where it makes one of them worse."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from temporalio.client import Client

from perfwright.models.trial_run import TrialResult
from tests.databases import VARIABLE, database_of, observed_postgres
from tests.needs import needs
from tests.postgres import PostgresServer
from tests.workflows.indexing import Shop, shop
from tests.workflows.short_trials import quick_trials
from tests.workflows.watching_runs import Handle, task_failures

__all__ = ["observed_postgres", "quick_trials"]

pytestmark = [needs("temporal"), pytest.mark.timeout(300), pytest.mark.usefixtures("quick_trials")]

EVENTS = (
    "CREATE TABLE events (id int NOT NULL, at int NOT NULL, kind int NOT NULL, note text NOT NULL)",
    "INSERT INTO events SELECT n, n * 7919 % 20011, CASE WHEN n * 7919 % 20011 > 19800 THEN 1 ELSE 0 END, repeat('n', 300)"
    " FROM generate_series(1, 20000) n",
    "CREATE INDEX narrow ON events (id)",
    "CREATE INDEX wide ON events (id) INCLUDE (note)",
    "VACUUM ANALYZE events",
)
CREATE: dict[str, Any] = {
    "change": {"kind": "sql", "create": "CREATE INDEX CONCURRENTLY by_time ON public.events (at)"},
    "measurement": {
        "kind": "queries",
        "statements": {
            "latest": "SELECT note FROM events ORDER BY at LIMIT 3",
            # The planner expects one in a hundred rows, wherever it looks; they are all at the end.
            "rare": "SELECT note FROM events WHERE kind = 1 ORDER BY at LIMIT 1",
        },
        "weights": {"latest": 10.0, "rare": 1.0},
    },
    "metric": "wall_s",
}
DROP: dict[str, Any] = {
    "change": {"kind": "sql", "drop": "public.narrow"},
    "measurement": {
        "kind": "queries",
        "statements": {
            "heavy": "SELECT sum(n) FROM generate_series(1, 30000) n",
            "quick": "SELECT count(*) FROM events WHERE id BETWEEN 100 AND 1500",
        },
    },
    "metric": "bytes",
    "margin": 1e-4,
    "guards": [{"metric": "wall_s", "margin": 0.1}],
}


@pytest.fixture(autouse=True)
def short_rounds() -> Iterator[None]:
    """A busy machine has enough of them within the budget."""
    with patch("activities.trial_measuring.queries.LEAST_MS", 2.0):
        yield


async def tried(opened: Shop, host: str, name: str, request: dict[str, Any]) -> TrialResult:
    target = {"name": opened.name, "kind": "postgresql", "environment": "lab", "host": host, "dsn_env": VARIABLE}
    given = {"target": target, "title": name, "budget_s": 6.0, "live_guards": []} | request
    handle: Handle = await opened.client.start_workflow(
        "Trial", given, id=f"trial-{opened.name}-{name}", task_queue=opened.queue, result_type=TrialResult
    )
    result: TrialResult = await handle.result()
    assert not await task_failures(handle)
    return result


async def test_better_as_a_whole_but_one_became_worse(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, observed_postgres: PostgresServer
) -> None:
    """An index by which one query takes a hundredth and another one reads a hundred times as many blocks; and the drop of one that another
    replaces, at many times the blocks for a query that is a hundredth of all time. Neither stands in the end, and who lost is told."""
    async with shop(client, task_queue, host_name, tmp_path, observed_postgres, *EVENTS) as opened:
        before, database = await opened.indexes(), await database_of(opened.connection)
        await opened.connection.close()  # else each copy of its database waits five seconds for it
        made, gone = await tried(opened, host_name, "made", CREATE), await tried(opened, host_name, "gone", DROP)
        opened.connection = await opened.server.connect(database)
        assert await opened.indexes() == before and not await opened.clones()
        await opened.connection.close()
    for result, loser in ((made, "rare"), (gone, "quick")):
        assert result.end == "undone" and result.evidence and result.evidence.judgement, result.reason
        assert result.reason.startswith(f"better as a whole, but 1 of 2 became worse: {loser} ("), result.reason
        assert result.evidence.judgement.verdict == "better"
    medians = {name: pair for result in (made, gone) if result.evidence for name, pair in result.evidence.medians.items()}
    blocks = {name: b / a for name, (a, b) in medians.items() if name.startswith("blocks/")}
    assert blocks["blocks/latest"] < 0.1 and blocks["blocks/rare"] > 10 and blocks["blocks/quick"] > 5
