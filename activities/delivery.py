"""A kept change handed to its owner, as files in the artifact store. Its own record is all that is read; the target is not touched."""

import zlib

from temporalio import activity

from activities.artifacts import ArtifactStore
from activities.errors import refuse
from activities.history import History
from perfwright.analysis.changes.deliveries import branch_of, files_of
from perfwright.models.delivery import Delivered, DeliveryOrder
from perfwright.models.errors import ErrorType


class Delivery:
    """Writes migrations and fragments."""

    def __init__(self, artifacts: ArtifactStore, history: History) -> None:
        self._artifacts, self._history = artifacts, history

    @activity.defn
    async def deliver_change(self, order: DeliveryOrder) -> Delivered:
        """The files of the change, under `artifact_prefix`. Raises InvalidInput for an unknown change, StoreUnavailable."""
        from activities.undo_records import UndoRecords  # SQLAlchemy takes a fifth of a worker's start

        record = await UndoRecords(self._history).find(order.change_id)
        if record is None:
            raise refuse(ErrorType.INVALID_INPUT, f"no change {order.change_id} is recorded here")
        artifacts = []
        for file in files_of(record, order.reason):
            place = f"{order.artifact_prefix}/delivered-{zlib.crc32(order.change_id.encode()):08x}/{file.name}"
            artifacts.append(await self._artifacts.put(place, file.content.encode(), file.media_type, file.title))
        branch = branch_of(record)
        told = f"branch {branch}" if branch else ", ".join(one.title for one in artifacts)
        return Delivered(artifacts=tuple(artifacts), branch=branch, told=told)
