"""A kept change as files in the artifact store."""

from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.artifacts import ArtifactStore
from activities.changes.carrying_out import CarryingOut
from activities.changes.kind import Site
from activities.delivery import Delivery
from activities.history import History
from activities.undo_records import UndoRecords
from perfwright.models.change import FileSpec, Replacement
from perfwright.models.delivery import DeliveryOrder
from perfwright.models.target import Target
from perfwright.models.undo import ChangeOrder


async def test_what_was_kept_is_written_down(tmp_path: Path) -> None:
    """From the record alone; an unknown change is refused."""
    (tmp_path / "app.conf").write_text("workers = 2\n")
    history = await History.open("sqlite+aiosqlite:///history.db", folder_of_relative=tmp_path)
    target = Target(name="shop", kind="http", environment="lab", files_root=str(tmp_path))
    spec = FileSpec(path="app.conf", replacements=(Replacement(find="2", replace="4"),), reload=False)
    work = CarryingOut(UndoRecords(history), Site({}, tmp_path / "state"))
    await work.apply(ChangeOrder(change_id="run/1", target=target, spec=spec))
    await work.keep("run/1")
    store = ArtifactStore(f"file://{tmp_path}/artifacts")
    deliver = Delivery(store, history).deliver_change
    delivered = await ActivityEnvironment().run(deliver, DeliveryOrder(change_id="run/1", artifact_prefix="trial/x", reason="faster"))
    [artifact] = delivered.artifacts
    assert artifact.uri.startswith("trial/x/delivered-") and artifact.uri.endswith("/edit.txt") and b"-2\n+4\n" in await store.get(artifact)
    with pytest.raises(ApplicationError, match="no change run/2"):
        await ActivityEnvironment().run(deliver, DeliveryOrder(change_id="run/2", artifact_prefix="trial/x"))
    await history.close()
