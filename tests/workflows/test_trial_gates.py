"""A trial in which somebody says no, nobody answers, or the messages are bad: the target is as it was, byte by byte."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from temporalio.client import Client

from activities.artifacts import ArtifactStore
from tests.needs import needs
from tests.workflows.trying import CONFIGURATION, Lab, answer, held, result_of, trying
from tests.workflows.watching_runs import activities_of, assert_cancelled, assert_free, open_gate, until

pytestmark = [needs("temporal"), pytest.mark.timeout(600)]


@pytest.fixture
async def lab(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> AsyncIterator[Lab]:
    async with trying(client, task_queue, host_name, f"shop-{host_name[-8:]}", tmp_path) as opened:
        yield opened


def requests(lab: Lab) -> list[dict[str, Any]]:
    return [lab.edit(10), lab.launch({"WORK": "100_000"}), lab.patch()]


@pytest.mark.parametrize("number", range(3), ids=["file", "command", "patch"])
async def test_refused_at_the_change_gate(lab: Lab, number: int) -> None:
    """Nothing was recorded or done, and the target is byte-identical."""
    before = lab.state()
    handle = await lab.start(requests(lab)[number])
    await answer(handle, "change", "reject", "not before the sale")
    result = await result_of(handle)
    assert (result.end, result.reason) == ("not applied", "refused by ada: not before the sale")
    assert "apply_change" not in await activities_of(handle) and not await lab.records_of(handle)
    assert lab.state() == before


@pytest.mark.parametrize("number", range(3), ids=["file", "command", "patch"])
async def test_refused_at_the_keep_gate(lab: Lab, number: int) -> None:
    """It was better, and is undone all the same; the target is byte-identical."""
    before = lab.state()
    handle = await lab.start(requests(lab)[number])
    await answer(handle, "change")
    await answer(handle, "keep", "reject", "I do not like it")
    result = await result_of(handle)
    assert result.end == "undone" and result.reason == "not kept, decided by ada: I do not like it"
    assert [one.state for one in await lab.records_of(handle)] == ["reverted"]
    assert lab.state() == before
    await assert_free(lab.client, *lab.target.resources)


async def test_nobody_answers(lab: Lab) -> None:
    """Silence is a no: at the change gate nothing is done, at the keep gate it is undone."""
    unasked = await result_of(await lab.start(lab.edit(10, deadline_s=1)))
    assert unasked.end == "not applied" and "nobody answered" in unasked.reason
    unkept = await result_of(await lab.start(lab.edit(10, ask_change=False, deadline_s=1)))
    assert unkept.end == "undone" and "nobody answered" in unkept.reason
    assert lab.file.read_text() == CONFIGURATION


@pytest.mark.parametrize("gate", ["change", "keep"])
async def test_cancelled_at_a_gate(lab: Lab, gate: str) -> None:
    """The run ends as cancelled, nothing of the change is left, and the lease is free."""
    before = lab.state()
    handle = await lab.start(lab.edit(10, ask_change=gate == "change"))
    await open_gate(handle, gate)
    await handle.cancel()
    await assert_cancelled(handle)
    assert lab.state() == before
    assert [one.state for one in await lab.records_of(handle)] == ([] if gate == "change" else ["reverted"])
    await assert_free(lab.client, *lab.target.resources)


async def test_only_what_a_parent_approved_is_not_asked_again(lab: Lab) -> None:
    """With the digest of exactly this change no second gate opens; of another one, and of a trial that was started by hand, it does."""
    handle = await lab.start(lab.patch())
    gate = await open_gate(handle, "change")
    await answer(handle, "change", "reject", "seen")
    description = (await result_of(handle)).description
    assert description and gate.question.exact_change
    approved = await result_of(await lab.proposed(lab.patch(approved_digest=description.digest, ask_keep=False)))
    assert approved.end == "undone" and approved.evidence and not approved.decisions
    asking = lab.patch(after="WORK = 10", approved_digest=description.digest, ask_change=False)
    by_hand = await lab.client.start_workflow(
        "Trial",
        {"target": lab.target.model_dump(mode="json"), "title": "by hand"}
        | lab.patch(approved_digest=description.digest, ask_change=False),
        id=f"trial-{lab.name}-by-hand",
        task_queue=lab.queue,
    )
    for other in (await lab.proposed(asking), by_hand):
        await open_gate(other, "change")
        await other.terminate()


async def test_messages_that_make_no_sense_change_nothing(lab: Lab) -> None:
    """They are listed; the gate stays open, and a right answer still counts."""
    handle = await lab.start(lab.edit(10))
    await open_gate(handle, "change")
    for payload in (None, "yes", 7, {"gate": "change", "by": "ada"}, {"gate": "change", "by": "ada", "digest": "00000000"}):
        await handle.signal("approve", payload)
    await handle.signal("approve", {"gate": "keep", "by": "ada", "digest": "00000000"})
    await handle.signal("lease_granted", "now")
    await handle.signal("faster", {})

    async def listed() -> bool:
        return len(await handle.query("rejected_decisions")) == 8

    await until(listed, "eight refused messages")
    await answer(handle, "change", "reject", "enough")
    assert (await result_of(handle)).end == "not applied"


async def test_a_conflict_is_asked_about(lab: Lab) -> None:
    """What somebody wrote meanwhile is not overwritten: a person puts it right, and the undo is tried again."""
    handle = await lab.start(lab.edit(10, ask_change=False))
    await open_gate(handle, "keep")
    lab.file.write_text("mine\n")
    await answer(handle, "keep", "reject", "no")
    gate = await open_gate(handle, "conflict")
    assert "foreign" in gate.question.evidence[0] and lab.file.read_text() == "mine\n"
    await answer(handle, "conflict")
    gate = await open_gate(handle, "conflict", 2)
    lab.file.write_text(CONFIGURATION)
    decision = {"action": "approve", "gate": "conflict", "by": "ada", "digest": gate.digest}
    await handle.execute_update("decide", decision)
    result = await result_of(handle)
    assert result.end == "undone" and lab.file.read_text() == CONFIGURATION


async def test_a_conflict_that_stays(lab: Lab) -> None:
    """Refused at its gate, it is told as a conflict and what is there is left."""
    handle = await lab.start(lab.edit(10, ask_change=False))
    await open_gate(handle, "keep")
    lab.file.write_text("mine\n")
    await answer(handle, "keep", "reject", "no")
    await answer(handle, "conflict", "reject", "mine stays")
    result = await result_of(handle)
    assert result.end == "conflict" and lab.file.read_text() == "mine\n"


async def test_a_guard_is_watched_while_people_think(lab: Lab) -> None:
    """What turns bad before anybody has answered is undone at once, and the gate closes."""
    guard = {"metric": "value", "margin": 0.1}
    handle = await lab.start(lab.edit(10, ask_change=False, guards=[guard], deadline_s=24))
    await open_gate(handle, "keep")
    lab.folder.joinpath("probe.py").write_text("print(40)")
    result = await result_of(handle)
    assert result.end == "undone" and "while it was watched" in result.reason and lab.file.read_text() == CONFIGURATION


async def test_a_breach_after_keeping_undoes(lab: Lab) -> None:
    """Guards are watched for a while after the decision as well."""
    guard = {"metric": "value", "margin": 0.1}
    handle = await lab.start(lab.edit(10, ask_change=False, guards=[guard], watch_s=24))
    await answer(handle, "keep")
    await until(lambda: kept(lab, handle), "the change is kept")
    lab.folder.joinpath("probe.py").write_text("print(40)")
    result = await result_of(handle)
    assert result.end == "undone" and result.watched and lab.file.read_text() == CONFIGURATION
    steps = await activities_of(handle)
    assert steps.index("keep_change") < steps.index("begin_undo") < steps.index("revert_change"), "the janitor would know of it"
    assert [one.state for one in await lab.records_of(handle)] == ["reverted"]


async def kept(lab: Lab, handle: Any) -> bool:
    return [one.state for one in await lab.records_of(handle)] == ["kept"]


async def test_a_watch_that_breaches_nothing(lab: Lab) -> None:
    """It stays kept, and what the guards showed is in the result."""
    guard = {"metric": "value", "margin": 0.1}
    handle = await lab.start(lab.edit(10, ask_change=False, guards=[guard], watch_s=12))
    await answer(handle, "keep")
    result = await result_of(handle)
    assert result.kept and result.watched and result.watched.guards[0].verdict == held(guard)["verdict"], result.watched
    assert lab.file.read_text() == "cost = 10\n"


async def test_a_cancel_after_keeping_comes_too_late(lab: Lab) -> None:
    """Once it is kept, and no longer watched, a cancel takes neither the change nor the result away."""
    delivering, go_on, put = asyncio.Event(), asyncio.Event(), ArtifactStore.put

    async def held_up(store: ArtifactStore, place: str, *rest: Any) -> Any:
        if "delivered-" in place:
            delivering.set()
            await go_on.wait()
        return await put(store, place, *rest)

    with patch.object(ArtifactStore, "put", held_up):
        handle = await lab.start(lab.edit(10, ask_change=False))
        await answer(handle, "keep")
        await delivering.wait()
        await handle.cancel()
        go_on.set()
        result = await result_of(handle)
    assert result.kept and result.delivered and await kept(lab, handle)
