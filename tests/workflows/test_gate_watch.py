"""How many gates wait, and for how long, asked of a real server."""

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from tests.needs import needs
from tests.workflows.plugin_samples import Waits
from workflows.plugin import gate_watch
from workflows.plugin.gate_watch import GateWatch

pytestmark = needs("temporal")


async def test_waiting_gates_are_counted_with_the_age_of_the_oldest(client: Client, running_worker: Any, task_queue: str) -> None:
    """The gauges know every open gate of every run, and how long the oldest has waited."""
    watch = GateWatch(client)
    before, _ = await watch.look()
    hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    just_now = datetime.now(UTC).isoformat()
    async with running_worker(workflows=[Waits]):
        handles = [
            await client.start_workflow(Waits.run, at, id=str(uuid.uuid4()), task_queue=task_queue)
            for at in ([just_now], [just_now, hour_ago])
        ]
        count = 0
        for _ in range(200):
            count, oldest_s = await watch.look()
            if count >= before + 3:
                break
            await asyncio.sleep(0.05)
        assert count == before + 3
        assert oldest_s >= 3_600
        for handle in handles:
            await handle.terminate()


async def test_the_oldest_run_is_asked_first_and_one_that_does_not_answer_counts_from_its_start(
    client: Client, running_worker: Any, task_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many runs wait, the age of the oldest gate is soon right; runs that do not answer keep nobody from being asked."""
    asked: list[str] = []

    class Noting(GateWatch):
        async def _ask(self, one: gate_watch.Waiting, *start: Any) -> None:
            asked.append(one[0])
            await super()._ask(one, *start)

    monkeypatch.setattr(gate_watch, "QUERY", f"{gate_watch.QUERY} AND PerfTarget = '{task_queue}'")
    monkeypatch.setattr(gate_watch, "ASKED_PER_ROUND", 1)
    of_this_test = TypedSearchAttributes([SearchAttributePair(SearchAttributeKey.for_keyword("PerfTarget"), task_queue)])
    before = datetime.now(UTC)
    opened = ["never", (before - timedelta(hours=1)).isoformat(), before.isoformat(), before.isoformat()]
    async with running_worker(workflows=[Waits]):
        handles = [
            await client.start_workflow(Waits.run, [at], id=f"{task_queue}-{number}", task_queue=task_queue, search_attributes=of_this_test)
            for number, at in enumerate(opened)
        ]
        while (await client.count_workflows(gate_watch.QUERY)).count < len(handles):
            await asyncio.sleep(0.05)
        watch = Noting(client)
        ages_s = [(await watch.look())[1] for _ in range(5)]
        silent = (await handles[0].describe()).start_time
        for handle in handles:
            await handle.terminate()
    assert asked == [handle.id for handle in (*handles, handles[0])]
    assert 0 < ages_s[0] < 3_600 and silent >= before
    assert min(ages_s[1:]) >= 3_600
