"""Changes applied, verified, kept and undone on their host, each with a record in the history that is written before anything is done."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

from temporalio import activity
from temporalio.api.workflowservice.v1 import GetClusterInfoRequest
from temporalio.service import RPCError

from activities.changes.carrying_out import CarryingOut
from activities.changes.kind import Site
from activities.heartbeats import beating
from activities.history import History
from perfwright.models.target import Target
from perfwright.models.undo import ChangeChecked, ChangeDescription, ChangeOrder, ChangeOutcome, ChangeOwner, ChangeReference

TOLD_WITHIN = timedelta(seconds=5)


class Changing:
    """Activities that change a target. `environ` holds connection strings; `state_folder` locks, worktrees and launch files; `registered`
    tells the registry's target of a name.

    All are idempotent, and may be interrupted at any instant: the next attempt, or the undo, goes on from what stands on the target.
    Errors of all: TargetRefused, TargetGone, NotPermitted, DatabaseUnreachable, DatabaseRefused, ToolMissing, ToolFailed, StoreUnavailable,
    InvalidInput (an unknown change, or an id that is another's).
    """

    def __init__(
        self,
        history: History,
        environ: Mapping[str, str],
        state_folder: Path,
        registered: Callable[[str], Target | None] = lambda _: None,
    ) -> None:
        self._history, self._environ, self._state_folder, self._registered = history, environ, state_folder, registered

    @activity.defn
    async def describe_change(self, order: ChangeOrder) -> ChangeDescription:
        """What exactly would happen, to whom, at which cost, and how it is undone. Changes nothing."""
        async with beating(lambda: {"doing": "describing"}):
            return await self._carrying_out().describe(order)

    @activity.defn
    async def check_change(self, order: ChangeOrder) -> ChangeChecked:
        """The preconditions; one that does not hold is told with its way out, and is no error."""
        async with beating(lambda: {"doing": "checking"}):
            return await self._carrying_out().check(order)

    @activity.defn
    async def apply_change(self, order: ChangeOrder) -> ChangeOutcome:
        """Record the undo, carry it out, see that it stands. What fails for good is undone before the error is raised."""
        async with beating(lambda: {"doing": "applying"}):
            return await self._carrying_out().apply(order.model_copy(update={"owner": await _owner(order.owner)}))

    @activity.defn
    async def verify_change(self, change: ChangeReference) -> ChangeOutcome:
        """What stands on the target now."""
        async with beating(lambda: {"doing": "looking"}):
            return await self._carrying_out().look(change.change_id)

    @activity.defn
    async def revert_change(self, change: ChangeReference) -> ChangeOutcome:
        """Undo it and see that it is undone; `conflict` where somebody else changed it meanwhile, which is left alone."""
        async with beating(lambda: {"doing": "undoing"}):
            return await self._carrying_out().revert(change.change_id)

    @activity.defn
    async def keep_change(self, change: ChangeReference) -> ChangeOutcome:
        """It stands for good: no janitor undoes it. `revert_change` still can."""
        async with beating(lambda: {"doing": "keeping"}):
            return await self._carrying_out().keep(change.change_id)

    def _carrying_out(self) -> CarryingOut:
        # Imported when it is first used: SQLAlchemy takes a fifth of a worker's start.
        from activities.undo_records import UndoRecords

        return CarryingOut(UndoRecords(self._history), Site(self._environ, self._state_folder, registered=self._registered))


async def _owner(given: ChangeOwner) -> ChangeOwner:
    """The run that asks, unless it names itself (with its first run's id, which an activity is not told)."""
    info = activity.info()
    if not given.workflow_id:
        given = ChangeOwner(workflow_id=info.workflow_id or "", run_id=info.workflow_run_id or "")
    return given.model_copy(update={"server": given.server or await server_id()})


async def server_id() -> str:
    """Cluster and namespace of the Temporal server that runs this activity; empty where none does. Raises ConnectionError (retried) where
    it does not tell: a living run of this server must not be taken for another's."""
    try:
        client = activity.client()
    except RuntimeError:
        return ""
    try:
        answer = await client.workflow_service.get_cluster_info(GetClusterInfoRequest(), retry=True, timeout=TOLD_WITHIN)
    except RPCError as trouble:
        raise ConnectionError(f"Temporal does not tell which server it is: {trouble}") from trouble
    return f"{answer.cluster_id}/{activity.info().workflow_namespace or 'default'}"
