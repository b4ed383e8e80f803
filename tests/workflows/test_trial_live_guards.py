"""An index that is tried on a clone stands on the live server meanwhile: what statements cost there is watched, and a breach undoes it."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import asyncpg
import pytest
from temporalio.client import Client

from perfwright.models.trial_run import TrialResult
from tests.databases import VARIABLE, observed_postgres
from tests.needs import needs
from tests.postgres import PostgresServer
from tests.workflows.indexing import Shop, answer, shop
from tests.workflows.trying import EASY_NOISE
from tests.workflows.watching_runs import Handle, activities_of, open_gate, task_failures, until

__all__ = ["observed_postgres"]

pytestmark = [needs("temporal"), pytest.mark.timeout(300)]

INDEX = "CREATE INDEX CONCURRENTLY by_customer ON public.orders (customer)"
QUERY = "SELECT sum(total) FROM orders WHERE customer = 77"


class Traffic:
    """Calls of one statement, which touch as many rows as is said."""

    rows = 10

    async def go_on(self, connection: asyncpg.Connection) -> None:
        while True:
            await connection.fetch(f"SELECT count(status) FROM orders WHERE id < {self.rows}")
            await asyncio.sleep(0.002)


@asynccontextmanager
async def used(opened: Shop) -> AsyncIterator[Traffic]:
    connection = await opened.server.connect(await opened.connection.fetchval("SELECT current_database()::text"))
    traffic = Traffic()
    task = asyncio.create_task(traffic.go_on(connection))
    try:
        yield traffic
    finally:
        task.cancel()
        await asyncio.wait([task])
        connection.terminate()


async def start(opened: Shop, host: str, **more: Any) -> Handle:
    target = {"name": opened.name, "kind": "postgresql", "environment": "asking", "host": host, "dsn_env": VARIABLE}
    given = {
        "target": target,
        "title": "an index",
        "change": {"kind": "sql", "create": INDEX},
        "measurement": {"kind": "queries", "statements": {"q": QUERY}},
        "noise": EASY_NOISE | {"metric": "wall_s", "clock": "wall", "round_s": 0.05},
        "metric": "wall_s",
        "live_guards": [{"metric": "live_blocks", "margin": math.log(3)}],
        "budget_s": 20.0,
        "ask_change": False,
    }
    return await opened.client.start_workflow(
        "Trial", given | more, id=f"trial-{opened.name}", task_queue=opened.queue, result_type=TrialResult
    )


async def stands(opened: Shop) -> bool:
    return bool(await opened.connection.fetchval("SELECT to_regclass('public.by_customer') IS NOT NULL"))


@pytest.fixture(autouse=True)
def windows() -> Iterator[None]:
    """A tenth of a second in place of half a minute."""
    with patch("activities.live_guards.WATCH_EVERY_S", 0.1):
        yield


@pytest.mark.parametrize("moment", ["thinking", "kept"])
async def test_a_breach_on_the_live_server_undoes(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, observed_postgres: PostgresServer, moment: str
) -> None:
    """Calls that touch many more blocks than before, while a person thinks or after they said yes: the index comes off."""
    created = "CREATE EXTENSION pg_stat_statements"
    async with (
        shop(client, task_queue, host_name, tmp_path, observed_postgres, created, environment="asking") as opened,
        used(opened) as traffic,
    ):
        wait = {"deadline_s": 60.0} if moment == "thinking" else {"watch_s": 60.0}
        handle = await start(opened, host_name, **wait)
        gate = await open_gate(handle, "keep")
        assert any("live_blocks" in one for one in gate.question.evidence) and await stands(opened)
        if moment == "kept":
            await answer(handle, "keep")
            await until(lambda: _is_watched_as_kept(handle), "the watch over what is kept")
        traffic.rows = 60_000
        result: TrialResult = await handle.result()
        assert not await task_failures(handle)
        assert result.end == "undone" and "live_blocks breached" in result.reason, result.reason
        limits_s = await _limits_s(handle)
        assert limits_s["apply_change"] == limits_s["revert_change"] == 3_900 and limits_s["verify_change"] == 600
        assert not await stands(opened) and (result.watched is not None) == (moment == "kept")


async def _is_watched_as_kept(handle: Handle) -> bool:
    steps = await activities_of(handle)
    return "keep_change" in steps and "watch_live_counters" in steps[steps.index("keep_change") :]


async def _limits_s(handle: Handle) -> dict[str, float]:
    """Seconds that an attempt of each step has."""
    asked = [event.activity_task_scheduled_event_attributes async for event in handle.fetch_history_events()]
    return {one.activity_type.name: one.start_to_close_timeout.ToTimedelta().total_seconds() for one in asked if one.activity_type.name}
