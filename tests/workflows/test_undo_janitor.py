"""Changes of runs that are gone are undone by themselves; in production a person is asked; what has an owner is left alone."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from perfwright.models.change import IndexSpec
from perfwright.models.progress import Progress
from perfwright.models.undo import ChangeReference, JanitorReport, UndoQuery
from perfwright.models.undo_data import IndexUndo
from starter.janitor_schedule import SCHEDULE_ID, ensure_undo_janitor
from tests.grafana import Grafana, grafana
from tests.workflows.abandoning import BEFORE, Abandoned, abandoning
from tests.workflows.lease_processes import Hold, Measuring
from tests.workflows.lease_runs import has_status
from tests.workflows.watching_runs import Handle, open_gate, task_failures, until

__all__ = ["grafana"]


@pytest.fixture
async def lab(client: Client, task_queue: str, host_name: str, tmp_path: Path, grafana: Grafana) -> AsyncIterator[Abandoned]:
    more = f'[grafana]\nurl = "{grafana.url}"\n'
    async with abandoning(client, task_queue, host_name, f"shop-{host_name[-8:]}", "lab", tmp_path, more) as opened:
        yield opened


@pytest.fixture
async def production(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> AsyncIterator[Abandoned]:
    async with abandoning(client, task_queue, host_name, f"shop-{host_name[-8:]}", "production", tmp_path) as opened:
        yield opened


async def report_of(handle: Handle) -> JanitorReport:
    assert not await task_failures(handle)
    return JanitorReport.model_validate(await handle.result())


async def test_changes_of_a_terminated_run_are_undone(lab: Abandoned, grafana: Grafana) -> None:
    """Stacked changes of a terminated run come off, the last first, and dashboards get their marks; those of a run that goes on, and kept
    ones whose undo has not begun, stay."""
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
    assert [body["tags"] for _, _, body in grafana.received] == [["perfwright", "undone", lab.name]] * 2
    assert f"{gone.id}, gone/2" in grafana.received[0][2]["text"]
    await lab.changed_by(going, "going/1", "2", "16")
    assert (await report_of(await lab.janitor(target=lab.name))).outcomes == ()
    assert lab.file.read_text() == "Workers = 16\n"
    await going.terminate()
    await lab.finder.begin_undo(ChangeReference(change_id="kept/1"))  # its run was lost before it came further
    report = await report_of(await lab.janitor(target=lab.name))
    assert [one.change_id for one in report.outcomes] == ["going/1", "kept/1"] and lab.file.read_text() == BEFORE


async def test_a_target_that_is_measured_keeps_no_other_waiting(lab: Abandoned) -> None:
    """The scheduled look waits for no lease: a run of its own stands in line for each target, and the next look leaves it there."""
    gone = await lab.owner(1)
    busy = lab.target.model_copy(update={"name": f"busy-{lab.name}", "host": f"busy-{lab.name}", "files_root": str(lab.root / "busy")})
    (lab.root / "busy").mkdir()
    (lab.root / "busy" / "app.conf").write_text(BEFORE)
    measuring = await lab.client.start_workflow(
        Measuring.run, Hold(resources=busy.resources), id=f"measuring-{busy.name}", task_queue=lab.queue
    )
    await until(lambda: has_status(measuring, "holding"), "the lease")
    await lab.changed_by(gone, "gone/1", "2", "4")
    await lab.changed_by(gone, "gone/2", "2", "4", target=busy)
    await gone.terminate()
    for look in range(2):
        report = await report_of(await lab.janitor())
        assert set(report.handed_on) == ({busy.name, lab.name} if not look else {busy.name}) and not report.failed
        if not look:
            await lab.client.get_workflow_handle(f"undo-janitor/{lab.name}/queued").result()
            assert lab.file.read_text() == BEFORE
    queued = lab.client.get_workflow_handle(f"undo-janitor/{busy.name}/queued")

    async def waits() -> bool:
        return bool((await queued.query("progress", result_type=Progress)).waiting_for)

    await until(waits, "the place in line")
    assert (lab.root / "busy" / "app.conf").read_text() != BEFORE
    await queued.terminate()
    await measuring.terminate()


async def test_an_index_has_its_time_to_come_back(lab: Abandoned) -> None:
    """An undo may take as long as the change's own limit allows; what fails all the same is told."""
    gone = await lab.owner(1)
    await lab.changed_by(gone, "gone/1", "2", "4")
    [record] = await lab.records.find_all(UndoQuery())
    undo = IndexUndo(action="drop", database="shop", schema_name="s", name="i", table_oid=1, statement="CREATE INDEX", definition="x")
    index = {"change_id": "gone/2", "subject": "index i", "spec": IndexSpec(drop="s.i", limit_s=7_200), "undo": undo}
    await lab.records.add(record.model_copy(update=index))
    await gone.terminate()
    handle = await lab.janitor(target=lab.name)
    report = await report_of(handle)
    assert [one.change_id for one in report.outcomes] == ["gone/1"] and len(report.failed) == 1
    asked = [
        event.activity_task_scheduled_event_attributes
        async for event in handle.fetch_history_events()
        if event.activity_task_scheduled_event_attributes.activity_type.name == "revert_change"
    ]
    assert [one.start_to_close_timeout.ToTimedelta().total_seconds() for one in asked] == [7_500.0, 600.0]


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
