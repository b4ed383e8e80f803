"""Runs that an older worker began go on under this one: recorded histories of every branch are replayed.

They are recorded by `python -m tests.histories.record`, from a real server.
"""

import asyncio
import functools
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from tests.histories import stored
from tests.histories.record import BRANCHES
from workflows.plugin.plugin import PerfwrightPlugin
from workflows.registry import WORKFLOWS

PAYLOAD_LIMIT_BYTES = 256 * 1024
CLOSED_AS = {
    "cancelled": "CANCELED",
    "cancelled_while_recording": "CANCELED",
    "cancelled_while_observing": "CANCELED",
    "cancelled_while_trying": "CANCELED",
    "cancelled_while_deciding": "CANCELED",
    "cancelled_while_searching": "CANCELED",
    "refused": "FAILED",
    "continued": "CONTINUED_AS_NEW",
    "carried": "CONTINUED_AS_NEW",
}
"""How a branch ends; all others complete."""
OUTCOMES = {
    "approved": r'"outcome":"approved".*"outcome":"approved"',
    "rejected": r'"verdict":"rejected"',
    "rejected_findings": r'"verdict":"rejected"',
    "revised": r'"outcome":"changes_requested"',
    "timed_out": r'"outcome":"unreviewed".*"outcome":"unreviewed"',
    "noted": r'"outcome":"noted".*"outcome":"noted"',
    "costly_approved": r'"gate":"costly_statements"[^}]*"outcome":"approved"',
    "costly_refused": r'"gate":"costly_statements"[^}]*"outcome":"rejected"',
    "compared": r'"compared_with":"stock#1"',
    "objected": r'"objection":true',
    "launched": r'"verdict":"(passed|inconclusive)"',
    "inspector_refused": r'"gate":"open_inspector"[^}]*"outcome":"rejected"',
    "inspector_opened": r'"gate":"open_inspector"[^}]*"outcome":"approved"',
    "waited": r'"verdict":"(passed|inconclusive)"',
    "lease_lost": r'"metric":"leases lost"[^}]*"outcome":"failed"',
    "uncontended": r'"grants":1\b',
    "contended": r'"grants":3\b',
    "cancelled_waiter": r'"grants":2\b',
    "terminated_holder": r'"grants":2\b',
    "kept": r'"end":"kept"',
    "not_kept": r'"end":"undone"',
    "nothing_to_do": r'"verdict":"passed"',
    "revised_and_rejected": r'"verdict":"rejected"',
    "strategy_unanswered": r'"verdict":"rejected"',
    "dropped": r'"action":"remove invalid".*"end":"kept".*"action":"drop".*"end":"kept"',
    "advised": r'"unverified":\{"why":"[^"]*clones are made of up to 1 MB',
    "kept_and_watched": r'"end":"kept".*"phase":"watch"',
    "measured_only": r'"end":"undone".*measured only',
    "undone_as_worse": r'"end":"undone".*not better.*worse after',
    "undone_for_a_guard": r'"end":"undone".*a guard was breached: rss_bytes',
    "undone_while_deciding": r'"end":"undone".*breached while it was watched',
    "undone_after_keeping": r'"end":"undone".*breached while it was watched.*"state":"reverted"',
    "kept_beside_the_live_process": r'"end":"kept".*"metric":"live_rss_bytes"',
    "undone_by_the_live_process": r'"end":"undone".*live_rss_bytes breached',
    "undone_after_a_failure": r'"end":"undone".*ZeroDivisionError',
    "refused_before": r'"end":"not applied".*not before the sale',
    "refused_after": r'"end":"undone".*not worth it',
    "unanswered": r'"end":"undone".*nobody answered',
    "too_noisy": r'"end":"not applied".*A against A is (too noisy|biased|dependent)',
    "not_allowed": r'"end":"not applied"',
    "conflict_settled": r'"end":"undone".*"state":"reverted"',
    "conflict_left": r'"end":"conflict".*"state":"conflict"',
    "rejected_profile": r'"verdict":"rejected"',
    "tests_that_fail": r'"verdict":"failed"',
    "nothing_found": r'"outcomes":\[\]',
    "handed_on": r'"handed_on":\["shop"\]',
    "queued": r'"state":"reverted".*"state":"reverted"',
    "undone": r'"state":"reverted".*"state":"reverted"',
    "conflicting": r'"state":"conflict"',
    "asking": r'"asked":\["shop"\]',
    "asked_approved": r'"state":"reverted".*"state":"reverted"',
    "asked_refused": r'"refused":\["trial-1/2","trial-1/1"\]',
}
"""What the result of a branch says."""

each_history = pytest.mark.parametrize("file", stored.files(), ids=lambda file: f"{file.parent.name}/{stored.branch_of(file)}")
told = functools.cache(stored.read)


Replay = Callable[[WorkflowHistory], Awaitable[None]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replay() -> AsyncIterator[Replay]:
    """Raises what a replay of the history fails with; one replayer for all of them."""
    handed_in = asyncio.Queue[WorkflowHistory]()

    async def histories() -> AsyncIterator[WorkflowHistory]:
        while True:
            yield await handed_in.get()

    replayer = Replayer(workflows=WORKFLOWS, plugins=[PerfwrightPlugin()])
    async with replayer.workflow_replay_iterator(histories()) as results:

        async def replay(history: WorkflowHistory) -> None:
            handed_in.put_nowait(history)
            if failure := (await anext(results)).replay_failure:
                raise failure

        yield replay


@each_history
@pytest.mark.asyncio(loop_scope="module")
async def test_recorded_runs_replay(replay: Replay, file: Path) -> None:
    """The workflows' code takes the same way through a history as when it was recorded."""
    await replay(stored.load(file))


@pytest.mark.asyncio(loop_scope="module")
async def test_a_replay_notices_another_way(replay: Replay) -> None:
    """A history that has another step than the code takes is refused: the replays above would notice a change."""
    history = stored.load(stored.FOLDER / "CpuProfilingInvestigation" / "approved.json.gz")
    renamed = next(
        event for event in history.events if event.activity_task_scheduled_event_attributes.activity_type.name == "judge_profile"
    )
    renamed.activity_task_scheduled_event_attributes.activity_type.name = "judge_profiles"
    with pytest.raises(NondeterminismError):
        await replay(history)


def test_every_workflow_type_has_its_branches() -> None:
    """A new workflow type, or a branch that nobody recorded, fails here."""
    assert set(BRANCHES) == {workflow.__name__ for workflow in WORKFLOWS}
    recorded = {(file.parent.name, stored.branch_of(file)) for file in stored.files()}
    assert recorded == {(type_name, branch) for type_name, branches in BRANCHES.items() for branch in branches}


@each_history
def test_recorded_runs_are_what_they_are_called(file: Path) -> None:
    """Each history ends as its name says, none of its workflow tasks was failed, and nothing in it is too large for Temporal."""
    branch, history = stored.branch_of(file), told(file)
    types = [event["eventType"] for event in history["events"]]
    assert types[-1] == f"EVENT_TYPE_WORKFLOW_EXECUTION_{CLOSED_AS.get(branch, 'COMPLETED')}"
    assert "EVENT_TYPE_WORKFLOW_TASK_FAILED" not in types
    if branch not in CLOSED_AS:
        (result,) = stored.payloads(history["events"][-1])
        assert re.search(OUTCOMES[branch], result.decode())
    assert all(len(content) < PAYLOAD_LIMIT_BYTES for content in stored.payloads(history))


@each_history
def test_recorded_runs_tell_of_no_machine(file: Path) -> None:
    """No home folder, no path of a checkout and no user's name is in what is kept."""
    history = told(file)
    words = "\n".join([str(history), *(content.decode() for content in stored.payloads(history))])
    assert not re.findall(r"/(?:home|root|Users|tmp)/\S*", words)
    assert set(re.findall(r'"user": ?"([^"]*)"', words)) <= {"shop"}
    assert {event.get("identity", "worker") for event in _attributes(history)} <= {"worker", "history-service"}


def _attributes(history: dict) -> list[dict]:
    return [value for event in history["events"] for name, value in event.items() if name.endswith("EventAttributes")]
