"""The target's running process while a change stands on it, and all processes below it: memory, restarts, CPU time. Reads /proc alone."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.errors import refuse
from activities.finding_processes import find_process, not_permitted, through_wrappers
from activities.heartbeats import beating
from activities.live_windows import LiveWindows
from activities.processes_below import itself_and_below
from perfwright.analysis.trials.watching import RESTARTS
from perfwright.models.errors import ErrorType
from perfwright.models.live_guards import ProcessReading, ReadProcess, WatchProcess
from perfwright.models.target import Target
from perfwright.models.trial import GuardJudgement
from perfwright.models.trial_run import TrialEvidence

PATIENCE_S = 120.0
"""How long the target may be away, as one that is started again may, until that ends its watch."""


class LiveProcesses:
    """Errors: TargetGone (of a watch: when it has not run for two minutes), NotPermitted, InvalidInput."""

    @activity.defn
    async def read_live_process(self, order: ReadProcess) -> ProcessReading:
        """What the target's process and all below it hold, and since when it runs."""
        async with beating(lambda: {"doing": "reading /proc"}):
            return await asyncio.to_thread(read_process, order.target)

    @activity.defn
    async def watch_live_process(self, order: WatchProcess) -> TrialEvidence:
        """Guards over windows of half a minute; ends with a breach, or when the time since it was asked for is over."""
        watch = _Watch(order)
        async with beating(watch.windows.progress):
            return await watch.run()


class _Watch:
    """What runs when it begins is what may not end: the change itself, when it was applied, may well have started it anew."""

    def __init__(self, order: WatchProcess) -> None:
        self.windows = LiveWindows(order.seconds)
        self._order = order
        self._began = time.monotonic()
        self._known: ProcessReading | None = None
        """As it was last seen to run; none while it is away."""
        self._away_since: float | None = None
        self._restarts_s: list[float] = []

    async def run(self) -> TrialEvidence:
        # Imported when it is first used: NumPy takes a fifth of a worker's start.
        from perfwright.analysis.trials.live_processes import facts_between

        await self.windows.run(self._read, lambda first, last: facts_between(first, last, self._order.before), self._judged)
        found = self.windows.evidence(tuple(self._judged()))
        return found.model_copy(update={"medians": {**found.medians, RESTARTS: (0.0, float(len(self._restarts_s)))}})

    def _judged(self) -> Sequence[GuardJudgement]:
        from perfwright.analysis.trials.live_processes import judge_process

        order, watched_s = self._order, time.monotonic() - self._began
        return judge_process(order.guards, self.windows.taken, self._restarts_s, order.before, watched_s, self.windows.most)

    async def _read(self) -> ProcessReading:
        """Not seen while it is away, for a while."""
        from perfwright.analysis.trials.live_processes import is_same

        now_s = time.monotonic()
        try:
            found = await asyncio.to_thread(read_process, self._order.target)
        except ApplicationError as away:
            if away.type == ErrorType.TARGET_GONE and self._known is not None:
                self._restarts_s.append(now_s - self._began)
                self._known = None
            self._away_since = now_s if self._away_since is None else self._away_since
            if now_s - self._away_since > PATIENCE_S:
                raise
            return ProcessReading(not_seen=away.message)
        if self._known is not None and not is_same(self._known, found):
            self._restarts_s.append(now_s - self._began)
        self._known, self._away_since = found, None
        return found


def read_process(target: Target) -> ProcessReading:
    """From outside, in milliseconds. Raises TargetGone, NotPermitted, InvalidInput."""
    selector = target.process
    if selector is None or selector.command is not None:
        raise refuse(ErrorType.INVALID_INPUT, f"{target.title} names no running process (pid, port, name or pid_file)")
    try:
        process, _ = through_wrappers(find_process(selector))
        create_time_s, taken_s = process.create_time(), time.time()
        held = [found for one in itself_and_below(process.pid) if (found := _held(one)) is not None]
    except psutil.NoSuchProcess as gone:
        raise refuse(ErrorType.TARGET_GONE, f"the process of {target.title} exited while it was looked at") from gone
    except psutil.AccessDenied as denied:
        raise not_permitted(denied.pid or 0) from denied
    if not held:
        raise refuse(ErrorType.TARGET_GONE, f"the process of {target.title} exited while it was looked at")
    counted = [one.open_files for one in held if one.open_files is not None]
    return ProcessReading(
        taken_s=taken_s,
        pid=process.pid,
        create_time_s=create_time_s,
        processes=len(held),
        pss_bytes=sum(one.pss_bytes for one in held),
        most_bytes=sum(one.most_bytes for one in held),
        cpu_s=sum(one.cpu_s for one in held),
        threads=sum(one.threads for one in held),
        open_files=sum(counted) if len(counted) == len(held) else None,
    )


def _held(process: psutil.Process) -> ProcessReading | None:
    """Of it alone; None when it has ended. Raises AccessDenied."""
    try:
        memory, times = process.memory_full_info(), process.cpu_times()
        given_back = max(0.0, _peak_bytes(process.pid) - memory.rss)
        return ProcessReading(
            pss_bytes=memory.pss,
            most_bytes=memory.pss + given_back,
            cpu_s=times.user + times.system + times.children_user + times.children_system,
            threads=process.num_threads(),
            open_files=_open_files(process),
        )
    except psutil.NoSuchProcess:
        return None


def _peak_bytes(pid: int) -> float:
    """The most resident memory that it had; 0 where the kernel does not tell."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((float(line.split()[1]) * 1_024 for line in text.splitlines() if line.startswith("VmHWM:")), 0.0)


def _open_files(process: psutil.Process) -> int | None:
    try:
        return process.num_fds()
    except psutil.AccessDenied:
        return None
