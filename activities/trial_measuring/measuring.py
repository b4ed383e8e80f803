"""The measuring steps of a trial.

noise    A against A: which clock, how long a round takes, how noisy it is, whether equal sides come out equal
trial    A against B: sequential looks at the metric and all guards, until they are decided or the budget is used up
watch    guards alone, again and again, until one is breached or the time is over
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from temporalio import activity

from activities.artifacts import ArtifactStore
from activities.errors import refuse
from activities.heartbeats import beating
from activities.history import History
from activities.recording_folder import RecordingFolder, resumable
from perfwright.models.errors import ErrorType
from perfwright.models.target import Target
from perfwright.models.trial_run import MeasuringOrder, TrialEvidence

if TYPE_CHECKING:
    from activities.trial_measuring.phases import Phase

ROOT = "trials"


class TrialMeasuring:
    """Measures both sides on their host."""

    def __init__(
        self,
        artifacts: ArtifactStore,
        history: History,
        environ: Mapping[str, str],
        state_folder: Path,
        registered: Callable[[str], Target | None] = lambda _: None,
    ) -> None:
        self._artifacts, self._history, self._environ, self._state_folder = artifacts, history, environ, state_folder
        self._registered = registered

    @activity.defn
    async def measure_trial(self, order: MeasuringOrder) -> TrialEvidence:
        """One phase. Ends early when enough is known; what a round could not measure is void and told.

        Raises ToolFailed where a side does not work, TargetRefused or InvalidInput where there are no two sides; and the kind's own.
        """
        # Imported when it is first used: NumPy takes a fifth of a worker's start.
        from activities.trial_measuring.phases import Phase

        info = activity.info()
        folder = RecordingFolder(self._state_folder, f"{info.workflow_run_id}-{order.phase}-{info.activity_id}", root=ROOT)
        return await resumable(
            folder, TrialEvidence, lambda: self._measured(Phase(order, folder, f"{info.workflow_run_id} {info.activity_id}"))
        )

    async def _measured(self, phase: "Phase") -> TrialEvidence:
        # As above; so does SQLAlchemy.
        from activities.changes.carrying_out import CarryingOut
        from activities.changes.kind import Site
        from activities.trial_measuring.kind import TrialSite
        from activities.trial_measuring.kinds import kind_of
        from activities.undo_records import UndoRecords

        order, records = phase.order, UndoRecords(self._history)
        async with beating(phase.progress):
            record = await records.find(order.change_id) if order.change_id else None
            if order.change_id and record is None:
                raise refuse(ErrorType.INVALID_INPUT, f"no change {order.change_id} is recorded here")
            carrying_out = CarryingOut(records, Site(self._environ, self._state_folder))
            site = TrialSite(self._environ, self._state_folder, registered=self._registered, carrying_out=carrying_out)
            async with kind_of(order.request.measurement).opened(order, record, site) as rounds:
                companions = await phase.take(rounds)
                notes = tuple(getattr(rounds, "notes", ()))
            return await phase.stored(phase.evidence(companions, notes), self._artifacts)
