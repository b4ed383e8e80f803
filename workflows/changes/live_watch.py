"""A live server is watched while a change stands on it that was measured elsewhere: read twice before, then window after window."""

from temporalio import workflow
from temporalio.exceptions import ActivityError

from activities.live_guards import LiveGuards
from perfwright.analysis.gate_answers import told
from perfwright.models.lease import summary_of
from perfwright.models.live_guards import LiveReading, ReadLive, WatchLive
from perfwright.models.trial_run import TrialEvidence, TrialRequest
from workflows.shared.options import asking, measuring
from workflows.shared.waiting import stop_if_cancelled


class LiveWatch:
    """`read` when the change is described and right before it is applied; then `watch`, if `ready`."""

    def __init__(self) -> None:
        self._readings: list[LiveReading] = []
        self._blind = False

    @property
    def ready(self) -> bool:
        """Whether it is known what calls cost before."""
        return len(self._readings) == 2

    async def read(self, request: TrialRequest) -> str:
        """Why the server is not watched; told once. It stops nothing."""
        if self._blind:
            return ""
        again = tuple(self._readings[0].statements) if self._readings else ()
        try:
            reading: LiveReading = await workflow.execute_activity_method(
                LiveGuards.read_live_counters,
                ReadLive(target=request.target, change=request.change, again=again),
                summary=summary_of(f"What do statements of {request.target.title} cost before?"),
                **asking(on=request.target.host),
            )
        except ActivityError as failed:
            stop_if_cancelled()
            reading = LiveReading(not_seen=told(str(failed.cause or failed), 400))
        if reading.not_seen:
            self._blind = True
            self._readings.clear()
            return f"the live server is not watched: {reading.not_seen}"
        self._readings.append(reading)
        return ""

    async def watch(self, request: TrialRequest, seconds: float) -> TrialEvidence:
        """Until a guard is breached, or so long."""
        first, last = self._readings
        evidence: TrialEvidence = await workflow.execute_activity_method(
            LiveGuards.watch_live_counters,
            WatchLive(target=request.target, change=request.change, guards=request.live_guards, before=(first, last), seconds=seconds),
            summary=summary_of(f"Watch what statements of {request.target.title} cost, {seconds:.0f} s at most: {request.title}"),
            **measuring(seconds, on=request.target.host),
        )
        return evidence
