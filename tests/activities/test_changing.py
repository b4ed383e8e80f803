"""Changes as activities: one after the other, as a workflow calls them."""

from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.changing import Changing
from activities.history import History
from activities.undo_records import UndoRecords
from perfwright.models.change import FileSpec, Replacement
from perfwright.models.target import Target
from perfwright.models.undo import ChangeOrder, ChangeOwner, ChangeReference, UndoQuery
from tests.postgres import PostgresServer, postgres

__all__ = ["postgres"]

OWNER = ChangeOwner(workflow_id="trial/files", first_run_id="a", run_id="b")


@pytest.fixture(params=["sqlite", "postgresql"])
async def history(request: pytest.FixtureRequest, tmp_path: Path):
    url = f"sqlite+aiosqlite:///{tmp_path}/history.db"
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        url = await server.new_database()
    opened = await History.open(url)
    yield opened
    await opened.close()


async def run(activity: Any, request: Any) -> Any:
    return await ActivityEnvironment().run(activity, request)


def an_order(folder: Path, change_id: str = "run-1/1", replace: str = "4") -> ChangeOrder:
    (folder / "etc").mkdir(exist_ok=True)
    (folder / "etc" / "app.conf").write_text("workers = 2\n")
    target = Target(name="changed files", kind="http", environment="lab", files_root=str(folder / "etc"))
    spec = FileSpec(path="app.conf", replacements=(Replacement(find="2", replace=replace),))
    return ChangeOrder(change_id=change_id, target=target, spec=spec, owner=OWNER)


async def test_a_change_from_description_to_undo(history: History, tmp_path: Path) -> None:
    """Described, checked, applied, verified, kept, undone; the record has its owner and every state, and each step can be repeated."""
    changing, order = Changing(history, {}, tmp_path / "state"), an_order(tmp_path)
    reference = ChangeReference(change_id=order.change_id)
    shown = await run(changing.describe_change, order)
    assert shown.digest == (await run(changing.describe_change, order)).digest
    assert (await run(changing.check_change, order)).passed
    states = [(await run(step, order)).state for step in (changing.apply_change, changing.apply_change)]
    steps = (changing.verify_change, changing.keep_change, changing.keep_change, changing.revert_change, changing.revert_change)
    states += [(await run(step, reference)).state for step in steps]
    assert states == ["applied", "applied", "applied", "kept", "kept", "reverted", "reverted"]
    [record] = await UndoRecords(history).find_all(UndoQuery(run_id="b"))
    assert record.owner == OWNER and record.spec == order.spec and record.updated_at >= record.recorded_at
    assert (tmp_path / "etc" / "app.conf").read_text() == "workers = 2\n"


async def test_mistakes_are_told(history: History, tmp_path: Path) -> None:
    """An unknown change, an id that is another's, and keeping what does not stand are refused with the way out."""
    changing, order = Changing(history, {}, tmp_path / "state"), an_order(tmp_path)
    with pytest.raises(ApplicationError, match=r"no change none/1 .*perfwright undo list"):
        await run(changing.revert_change, ChangeReference(change_id="none/1"))
    await run(changing.apply_change, order)
    with pytest.raises(ApplicationError, match="the id of another change"):
        await run(changing.apply_change, an_order(tmp_path, replace="8"))
    (tmp_path / "etc" / "app.conf").write_text("mine\n")
    with pytest.raises(ApplicationError, match="does not stand there"):
        await run(changing.keep_change, ChangeReference(change_id=order.change_id))


async def test_only_one_record_of_a_change(history: History, tmp_path: Path) -> None:
    """Moving a record is compare-and-swap: from another state than expected nothing moves."""
    changing, order, records = Changing(history, {}, tmp_path / "state"), an_order(tmp_path), UndoRecords(history)
    await run(changing.apply_change, order)
    assert await records.move(order.change_id, "kept", since=("recorded",)) is None
    moved = await records.move(order.change_id, "kept", since=("applied",), note="well\0 measured")
    assert moved is not None and (moved.state, moved.note) == ("kept", "well measured")
    again = await records.add(moved.model_copy(update={"title": "another"}))
    assert again.title == moved.title and again.sequence == moved.sequence
