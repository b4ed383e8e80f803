"""Changes as activities: one after the other, as a workflow calls them."""

from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import ActivityEnvironment

from activities.abandoned_changes import AbandonedChangeFinder
from activities.changing import Changing
from activities.history import History
from activities.undo_records import UndoRecords
from perfwright.models.change import FileSpec, PatchSpec, Replacement
from perfwright.models.target import Target
from perfwright.models.undo import UNDO_BEGUN, AbandonedQuery, ChangeOrder, ChangeOwner, ChangeReference, UndoQuery, UndoRecord
from perfwright.models.undo_data import PatchUndo
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


async def test_a_kept_change_whose_undo_fails_is_open_again(history: History, tmp_path: Path) -> None:
    """The record of what was kept is moved before the undo touches the target: should that fail, the janitor tries again, with the
    commands that the registry has by then."""
    changing, order, reloads = Changing(history, {}, tmp_path / "state"), an_order(tmp_path), tmp_path / "reloads"
    reloads.touch()
    target = order.target.model_copy(update={"reload_command": ("test", "-e", str(reloads))})
    order, reference = order.model_copy(update={"target": target}), ChangeReference(change_id=order.change_id)
    await run(changing.apply_change, order)
    await run(changing.keep_change, reference)
    reloads.unlink()
    with pytest.raises(ApplicationError, match="reload_command"):
        await run(changing.revert_change, reference)
    record = await UndoRecords(history).find(order.change_id)
    assert record is not None and (record.state, record.note) == ("applied", UNDO_BEGUN)
    corrected = target.model_copy(update={"reload_command": ("true",)})
    changing = Changing(history, {}, tmp_path / "state", lambda name: corrected if name == target.name else None)
    assert (await run(changing.revert_change, reference)).state == "reverted"


async def test_a_server_that_does_not_tell_who_it_is(history: History, tmp_path: Path) -> None:
    """Nobody's change is taken for that of another server, and none is recorded without its server: it is asked again."""
    changing, order = Changing(history, {}, tmp_path / "state"), an_order(tmp_path)
    owned = order.model_copy(update={"owner": OWNER.model_copy(update={"server": "here/default"})})
    await run(changing.apply_change, owned)
    silent = ActivityEnvironment(client=SilentClient())  # type: ignore[arg-type]
    with pytest.raises(ConnectionError, match="which server"):
        await silent.run(AbandonedChangeFinder(history).find_abandoned_changes, AbandonedQuery(settle_s=0.0))
    another = order.model_copy(update={"change_id": "run-1/2"})
    with pytest.raises(ConnectionError, match="which server"):
        await silent.run(changing.apply_change, another)
    assert await UndoRecords(history).find("run-1/2") is None


class SilentClient:
    """Of a server that is too busy to say who it is, which cannot be provoked."""

    @property
    def workflow_service(self) -> "SilentClient":
        return self

    async def get_cluster_info(self, *_: Any, **__: Any) -> None:
        raise RPCError("Timeout expired", RPCStatusCode.DEADLINE_EXCEEDED, b"")


async def test_what_follows_a_commit_lies_on_top(history: History) -> None:
    """A patch whose base is another's commit is to be undone first, whatever its branch and target are called."""
    records = UndoRecords(history)

    async def added(name: str, base: str, commit: str) -> UndoRecord:
        undo = PatchUndo(repository="/r", base=base, commit=commit, tree="", branch=name, worktree="/w")
        target = Target(name=f"code of {name}", kind="repository", environment="lab")
        made = UndoRecord(change_id=name, title="", target=target, subject=f"branch {name}", spec=PatchSpec(ref="main"), undo=undo)
        return await records.add(made)

    lower, upper = await added("lower", "a", "b"), await added("upper", "b", "c")
    await added("beside", "a", "d")
    assert [one.change_id for one in await records.on_top_of(lower)] == ["upper"]
    assert await records.on_top_of(upper) == []
    await records.move("upper", "reverted", since=("recorded",))
    assert await records.on_top_of(lower) == []
