"""A change that is switched off and on while it is measured: its record stays, and what is over is not brought back."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError

from activities.changes.carrying_out import CarryingOut
from activities.changes.kind import Site
from activities.history import History
from activities.undo_records import UndoRecords
from perfwright.models.change import FileSpec, Replacement
from perfwright.models.target import Target
from perfwright.models.undo import ChangeOrder

BEFORE, AFTER = "workers = 2\n", "workers = 4\n"


@pytest.fixture
async def work(tmp_path: Path) -> AsyncIterator[CarryingOut]:
    """With one change applied."""
    (tmp_path / "app.conf").write_text(BEFORE)
    history = await History.open("sqlite+aiosqlite:///history.db", folder_of_relative=tmp_path)
    target = Target(name=f"switched-{tmp_path.name}", kind="http", environment="lab", files_root=str(tmp_path))
    spec = FileSpec(path="app.conf", replacements=(Replacement(find="2", replace="4"),), reload=False)
    work = CarryingOut(UndoRecords(history), Site({}, tmp_path / "state"))
    await work.apply(ChangeOrder(change_id="run/1", target=target, spec=spec))
    yield work
    await history.close()


async def test_it_goes_to_and_fro(work: CarryingOut, tmp_path: Path) -> None:
    """Asked twice it stays; the record is `applied`, or `kept`, all the time, and its undo works from either state."""
    file = tmp_path / "app.conf"
    for on, text in ((False, BEFORE), (False, BEFORE), (True, AFTER), (True, AFTER)):
        await work.switch("run/1", on=on)
        assert file.read_text() == text and (await work.look("run/1")).state == "applied"
    assert (await work.keep("run/1")).state == "kept"
    await work.switch("run/1", on=False)
    assert (await work.look("run/1")).state == "kept" and file.read_text() == BEFORE
    assert (await work.revert("run/1")).state == "reverted" and file.read_text() == BEFORE


async def test_what_is_over_is_not_brought_back(work: CarryingOut, tmp_path: Path) -> None:
    """A measurement that hears late of its end cannot apply again what was undone."""
    await work.revert("run/1")
    with pytest.raises(ApplicationError, match="reverted and cannot be switched"):
        await work.switch("run/1", on=True)
    assert (tmp_path / "app.conf").read_text() == BEFORE


async def test_what_somebody_else_wrote_is_left(work: CarryingOut, tmp_path: Path) -> None:
    """A foreign value is told and not touched."""
    (tmp_path / "app.conf").write_text("mine\n")
    for on in (True, False):
        with pytest.raises(ApplicationError, match="cannot be switched: foreign"):
            await work.switch("run/1", on=on)
    assert (tmp_path / "app.conf").read_text() == "mine\n"


async def test_what_a_kill_left_before_the_reload_is_reloaded(tmp_path: Path) -> None:
    """A measurement that was killed between the edit and its reload begins its next attempt with both: the program has what the file says."""
    file, in_force = tmp_path / "app.conf", tmp_path / "in-force.conf"
    for one in (file, in_force):
        one.write_text(BEFORE)
    history = await History.open("sqlite+aiosqlite:///history.db", folder_of_relative=tmp_path)
    target = Target(
        name=f"reloaded-{tmp_path.name}",
        kind="http",
        environment="lab",
        files_root=str(tmp_path),
        reload_command=("cp", str(file), str(in_force)),
    )
    work = CarryingOut(UndoRecords(history), Site({}, tmp_path / "state"))
    spec = FileSpec(path="app.conf", replacements=(Replacement(find="2", replace="4"),))
    await work.apply(ChangeOrder(change_id="run/1", target=target, spec=spec))
    await work.switch("run/1", on=False)
    assert (file.read_text(), in_force.read_text()) == (BEFORE, BEFORE)
    file.write_text(AFTER)  # as the killed attempt left it: edited, not reloaded
    await work.switch("run/1", on=True, again=True)
    assert (file.read_text(), in_force.read_text()) == (AFTER, AFTER)
    await history.close()
