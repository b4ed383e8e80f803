"""The inbox where more runs wait than it asks."""

from datetime import timedelta

import pytest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from starter import inbox
from starter.inbox import Inbox, read_inbox
from tests.needs import needs
from tests.starter.conftest import until

pytestmark = needs("temporal")


async def test_what_waits_longest_is_shown_and_the_rest_is_counted(
    client: Client, task_queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more runs than can be asked the inbox shows those that started first, oldest first, and says how many wait besides."""
    monkeypatch.setattr(inbox, "MAX_RUNS", 2)
    monkeypatch.setattr(inbox, "PATIENCE", timedelta(milliseconds=100))
    waiting = TypedSearchAttributes(
        [
            SearchAttributePair(SearchAttributeKey.for_keyword("PerfTarget"), task_queue),
            SearchAttributePair(SearchAttributeKey.for_keyword_list("PerfPendingGates"), ["findings_review"]),
        ]
    )
    # Nobody polls their queue: that they wait is known from their search attributes alone.
    runs = [
        await client.start_workflow("Unserved", id=f"{task_queue}-{number}", task_queue=task_queue, search_attributes=waiting)
        for number in range(5)
    ]

    async def all_are_visible() -> Inbox | None:
        found = await read_inbox(client, target=task_queue)
        return found if len(found) + found.more_runs == len(runs) else None

    found: Inbox = await until(all_are_visible)
    for run in runs:
        await run.terminate()
    assert [one.workflow_id for one in found] == [run.id for run in runs[:2]]
    assert found.more_runs == 3
