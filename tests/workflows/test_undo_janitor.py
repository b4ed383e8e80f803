"""Changes of runs that are gone are undone by themselves; in production a person is asked; what has an owner is left alone."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from perfwright.models.undo import JanitorReport
from starter.janitor_schedule import SCHEDULE_ID, ensure_undo_janitor
from tests.workflows.abandoning import BEFORE, Abandoned, abandoning
from tests.workflows.watching_runs import Handle, open_gate, task_failures


@pytest.fixture
async def lab(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> AsyncIterator[Abandoned]:
    async with abandoning(client, task_queue, host_name, f"shop-{host_name[-8:]}", "lab", tmp_path) as opened:
        yield opened


@pytest.fixture
async def production(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> AsyncIterator[Abandoned]:
    async with abandoning(client, task_queue, host_name, f"shop-{host_name[-8:]}", "production", tmp_path) as opened:
        yield opened


async def report_of(handle: Handle) -> JanitorReport:
    assert not await task_failures(handle)
    return JanitorReport.model_validate(await handle.result())


async def test_changes_of_a_terminated_run_are_undone(lab: Abandoned) -> None:
    """Stacked changes of a terminated run come off, the last first; those of a run that goes on, and kept ones, stay."""
    gone, going = await lab.owner(1), await lab.owner(2)
    await lab.changed_by(gone, "kept/1", "workers", "Workers")
    await lab.work.keep("kept/1")
    await lab.changed_by(gone, "gone/1", "2", "4")
    await lab.changed_by(gone, "gone/2", "4", "8")
    (lab.root / "other").write_text("")
    assert (await report_of(await lab.janitor(target=lab.name))).outcomes == ()
    await gone.terminate()
    report = await report_of(await lab.janitor(target=lab.name))
    assert [(one.change_id, one.state) for one in report.outcomes] == [("gone/2", "reverted"), ("gone/1", "reverted")]
    assert lab.file.read_text() == "Workers = 2\n" and report.summary == "2 undone"
    await lab.changed_by(going, "going/1", "2", "16")
    assert (await report_of(await lab.janitor(target=lab.name))).outcomes == ()
    assert lab.file.read_text() == "Workers = 16\n"
    await going.terminate()


async def test_a_conflict_is_reported_and_left(lab: Abandoned) -> None:
    """What somebody changed meanwhile is told as a conflict and not touched."""
    gone = await lab.owner(1)
    await lab.changed_by(gone, "gone/1", "2", "4")
    await gone.terminate()
    lab.file.write_text("mine\n")
    report = await report_of(await lab.janitor(target=lab.name))
    assert [one.state for one in report.outcomes] == ["conflict"] and report.summary == "0 undone, 1 in conflict"
    assert lab.file.read_text() == "mine\n"


@pytest.mark.parametrize("answer", ["approve", "reject"])
async def test_in_production_a_person_is_asked(production: Abandoned, answer: str) -> None:
    """A run of its own asks, with what exactly would be undone; only a yes undoes it, and other targets do not wait."""
    gone = await production.owner(1)
    await production.changed_by(gone, "gone/1", "2", "4")
    await gone.terminate()
    report = await report_of(await production.janitor(target=production.name))
    assert report.asked == (production.name,) and production.file.read_text() != BEFORE
    asking = production.client.get_workflow_handle(f"undo-janitor/{production.name}")
    gate = await open_gate(asking, "undo_abandoned")
    assert "gone/1" in gate.question.exact_change and "terminated" in gate.question.evidence[0]
    decision = {"action": answer, "gate": "undo_abandoned", "by": "ada", "digest": gate.digest, "comment": "looked at it"}
    await asking.execute_update("decide", decision)
    report = await report_of(asking)
    if answer == "approve":
        assert [one.state for one in report.outcomes] == ["reverted"] and production.file.read_text() == BEFORE
    else:
        assert report.refused == ("gone/1",) and production.file.read_text() != BEFORE


async def test_a_lost_server_is_asked_about(lab: Abandoned) -> None:
    """An owner on another Temporal server may live: its change is not undone without a person, in the lab either."""
    gone = await lab.owner(1)
    await lab.changed_by(gone, "gone/1", "2", "4", server="another/default")
    await gone.terminate()
    report = await report_of(await lab.janitor(target=lab.name))
    assert report.asked == (lab.name,) and lab.file.read_text() != BEFORE
    await lab.client.get_workflow_handle(f"undo-janitor/{lab.name}").terminate()


async def test_the_schedule_is_made_once(client: Client) -> None:
    """Workers that start ensure it; what somebody paused stays paused."""
    await ensure_undo_janitor(client)
    handle = client.get_schedule_handle(SCHEDULE_ID)
    await handle.pause(note="maintenance")
    await ensure_undo_janitor(client)
    about = await handle.describe()
    assert about.schedule.state.paused and about.schedule.policy.overlap.name == "SKIP"
    await handle.delete()
