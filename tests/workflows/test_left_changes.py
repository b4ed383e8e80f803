"""A target on which a change stands whose run is gone is not given to be measured before it is as it was."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.workflows.abandoning import BEFORE, Abandoned, abandoning
from tests.workflows.lease_processes import Hold, Measuring
from tests.workflows.lease_runs import has_status
from tests.workflows.watching_runs import Handle, assert_free, failure_of, open_gate, until


@pytest.fixture
async def lab(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> AsyncIterator[Abandoned]:
    async with abandoning(client, task_queue, host_name, f"left-{host_name[-8:]}", "lab", tmp_path) as opened:
        yield opened


@pytest.fixture
async def production(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> AsyncIterator[Abandoned]:
    async with abandoning(client, task_queue, host_name, f"left-{host_name[-8:]}", "production", tmp_path) as opened:
        yield opened


async def measuring(lab: Abandoned, name: str) -> Handle:
    """A run that measures the target, once it may."""
    order = Hold(resources=lab.target.resources, ask_again_s=0.5)
    return await lab.client.start_workflow(Measuring.run, order, id=f"{name}-{lab.name}", task_queue=lab.queue)


async def test_it_is_undone_before_the_next_one_measures(lab: Abandoned) -> None:
    """Whoever asks next for the target of a terminated run finds it as it was; changes of runs that go on stay."""
    gone, going = await lab.owner(1), await lab.owner(2)
    await lab.changed_by(gone, "gone/1", "workers", "threads")
    await gone.terminate()
    first = await measuring(lab, "first")
    await until(lambda: has_status(first, "holding"), "the lease")
    assert lab.file.read_text() == BEFORE and (await lab.work.look("gone/1")).state == "reverted"
    await first.signal("finish")
    await first.result()
    await lab.changed_by(going, "going/1", "2", "4")
    second = await measuring(lab, "second")
    await until(lambda: has_status(second, "holding"), "the lease")
    assert lab.file.read_text() == "workers = 4\n"
    await second.signal("finish")
    await second.result()
    await going.terminate()


async def test_who_waited_behind_the_lost_run_finds_it_as_it_was(lab: Abandoned) -> None:
    """A lease that frees itself because its holder was terminated is not given on with that holder's change still there."""
    holder = await measuring(lab, "holder")
    await until(lambda: has_status(holder, "holding"), "the lease")
    await lab.changed_by(holder, "gone/1", "2", "4")
    waiter = await measuring(lab, "waiter")
    await until(lambda: has_status(waiter, "waiting"), "a place in line")
    assert lab.file.read_text() != BEFORE
    await holder.terminate()
    await until(lambda: has_status(waiter, "holding"), "the lease")
    assert lab.file.read_text() == BEFORE and (await lab.work.look("gone/1")).state == "reverted"
    await waiter.signal("finish")
    await waiter.result()


async def test_in_production_the_target_is_refused_meanwhile(production: Abandoned) -> None:
    """Where a person decides about the undo nobody holds a lease meanwhile: the run ends, and says who asks."""
    gone = await production.owner(1)
    await production.changed_by(gone, "gone/1", "2", "4")
    await gone.terminate()
    error = await failure_of(await measuring(production, "early"))
    assert error.type == "TargetRefused" and f"undo-janitor/{production.name}" in error.message and "Edit app.conf" in error.message
    assert production.file.read_text() != BEFORE
    await assert_free(production.client, *production.target.resources)
    asking = production.client.get_workflow_handle(f"undo-janitor/{production.name}")
    gate = await open_gate(asking, "undo_abandoned")
    decision = {"action": "approve", "gate": "undo_abandoned", "by": "ada", "digest": gate.digest, "comment": "looked at it"}
    await asking.execute_update("decide", decision)
    await asking.result()
    later = await measuring(production, "later")
    await until(lambda: has_status(later, "holding"), "the lease")
    assert production.file.read_text() == BEFORE
    await later.signal("finish")
    await later.result()


async def test_what_cannot_be_undone_is_told(lab: Abandoned) -> None:
    """A change that lies under one of a run that goes on stays, and the target is refused with the reason and the way out."""
    gone, going = await lab.owner(1), await lab.owner(2)
    await lab.changed_by(gone, "gone/1", "2", "4")
    await lab.changed_by(going, "going/1", "4", "8")
    await gone.terminate()
    error = await failure_of(await measuring(lab, "early"))
    assert error.type == "TargetRefused" and "lies under later changes" in error.message and "perfwright undo run gone/1" in error.message
    assert lab.file.read_text() == "workers = 8\n"
    await going.terminate()
