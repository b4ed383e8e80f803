"""What an optimisation of code needs besides the code: an earlier profile, where a kept change is, the text of a pull request."""

import tempfile
from pathlib import Path
from typing import Any

from temporalio import activity

from activities.artifacts import ArtifactStore
from activities.compute import in_own_process
from activities.cpu_analysis import hot_paths_of
from activities.errors import refuse
from activities.history import History
from perfwright.models.artifact import ArtifactRef
from perfwright.models.cpu_optimization import EarlierProfileQuery, KeptCommit, PullRequestOrder
from perfwright.models.cpu_profiling import PROCESS as CPU_PROFILING
from perfwright.models.cpu_profiling import HotPaths
from perfwright.models.errors import ErrorType
from perfwright.models.history import PreviousProfileQuery
from perfwright.models.undo_data import PatchUndo
from perfwright.models.worker_proposals import WorkersProposed, WorkersQuery
from perfwright.report.pull_request import pull_request_text

TOP = 40


class CpuOptimizing:
    """Reads stores and writes one text."""

    def __init__(self, artifacts: ArtifactStore, history: History) -> None:
        self._artifacts, self._history = artifacts, history

    @activity.defn
    async def read_earlier_hot_paths(self, query: EarlierProfileQuery) -> HotPaths:
        """The hot paths of the profile that a run of CpuProfilingInvestigation kept. Errors: InvalidInput where there is none."""
        previous = await self._history.find_previous_profile(
            PreviousProfileQuery(process=CPU_PROFILING, target=query.target, compare_with=query.run, run_id=query.run_id)
        )
        if previous is None or previous.usage is None:
            raise refuse(ErrorType.INVALID_INPUT, f"investigation: {query.run} has no profile of {query.target} with its threads' use")
        usage = previous.usage
        with tempfile.TemporaryDirectory(prefix="perfwright-") as folder:
            file = Path(folder) / "profile"
            file.write_bytes(await self._artifacts.get(previous.profile))
            cores = usage.user_share + usage.system_share
            return await in_own_process(hot_paths_of, str(file), usage, "python", TOP, cores, heartbeat=_beat)

    @activity.defn
    async def propose_worker_count(self, query: WorkersQuery) -> WorkersProposed:
        """Another count of workers, where the profile shows cores that were not busy and a program that cannot use them."""
        # Imported when it is first used: NumPy, which judges utilisation, takes a while.
        from perfwright.analysis.worker_counts import propose_workers

        process = query.code.target.process
        launched = process.command if process else None
        return propose_workers(query.workers, launched, query.code.benchmark, query.usage, query.utilisation)

    @activity.defn
    async def find_kept_commit(self, change_id: str) -> KeptCommit:
        """Commit and branch of a change, from its record."""
        # Imported when it is first used: SQLAlchemy takes a fifth of a worker's start.
        from activities.undo_records import UndoRecords

        record = await UndoRecords(self._history).find(change_id)
        if record is None or not isinstance(record.undo, PatchUndo):
            return KeptCommit()
        return KeptCommit(commit=record.undo.commit, branch=record.undo.branch)

    @activity.defn
    async def write_pull_request(self, order: PullRequestOrder) -> ArtifactRef:
        """The text of a pull request for the branch, as Markdown."""
        text = pull_request_text(order.target, order.details)
        return await self._artifacts.put(f"{order.prefix}/pull-request.md", text.encode(), "text/markdown", "Text of the pull request")


def _beat(elapsed_s: float, _: Any) -> None:
    activity.heartbeat({"doing": "reading the profile", "elapsed_s": round(elapsed_s, 1)})
