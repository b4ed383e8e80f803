"""A live target is watched while a change stands on it: read twice before, then window after window.

What reads it is chosen by the change: counters of a PostgreSQL server, or the running process from outside (`watched_by`).
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError

from activities.live_guards import LiveGuards
from activities.live_processes import LiveProcesses
from perfwright.analysis.gate_answers import told
from perfwright.analysis.trials.verdicts import watch_problem
from perfwright.analysis.trials.watching import WatchKind, joined_watches
from perfwright.models.gate import Decision
from perfwright.models.lease import summary_of
from perfwright.models.live_guards import LiveReading, ProcessReading, ReadLive, ReadProcess, WatchLive, WatchProcess
from perfwright.models.trial_run import TrialEvidence, TrialRequest
from workflows.changes.trial_steps import stopped
from workflows.shared.options import asking, measuring
from workflows.shared.waiting import stop_if_cancelled, to_the_end

Watch = Coroutine[Any, Any, TrialEvidence]
LEAST_S = 1.0
"""Where a request leaves no time at all."""


class LiveWatch:
    """`read` when the change is described and right before it is applied; then `watch`, if `ready`."""

    def __init__(self, kind: WatchKind) -> None:
        self._kind = kind
        self._counters: list[LiveReading] = []
        self._processes: list[ProcessReading] = []
        self._blind = False

    @property
    def ready(self) -> bool:
        """Whether it is known how it was before."""
        return len(self._counters) + len(self._processes) == 2

    async def read(self, request: TrialRequest) -> str:
        """Why the live target is not watched; told once. It stops nothing."""
        if self._blind or self._kind == "nothing":
            return ""
        try:
            not_seen = await (self._read_process(request) if self._kind == "process" else self._read_counters(request))
        except ActivityError as failed:
            stop_if_cancelled()
            not_seen = told(str(failed.cause or failed), 400)
        if not not_seen:
            return ""
        self._blind = True
        self._counters.clear()
        self._processes.clear()
        return f"the live {'process' if self._kind == 'process' else 'server'} is not watched: {not_seen}"

    async def watch(self, request: TrialRequest, seconds: float) -> TrialEvidence:
        """Until a guard is breached, or so long."""
        guards, target, seconds = request.live_guards or (), request.target, max(seconds, LEAST_S)
        if self._kind == "process":
            first_held, last_held = self._processes
            seen: TrialEvidence = await workflow.execute_activity_method(
                LiveProcesses.watch_live_process,
                WatchProcess(target=target, guards=guards, before=(first_held, last_held), seconds=seconds),
                summary=summary_of(f"Watch what the processes of {target.title} hold, {seconds:.0f} s at most: {request.title}"),
                **measuring(seconds, on=target.host),
            )
            return seen
        first, last = self._counters
        evidence: TrialEvidence = await workflow.execute_activity_method(
            LiveGuards.watch_live_counters,
            WatchLive(target=target, change=request.change, guards=guards, before=(first, last), seconds=seconds),
            summary=summary_of(f"Watch what statements of {target.title} cost, {seconds:.0f} s at most: {request.title}"),
            **measuring(seconds, on=target.host),
        )
        return evidence

    async def _read_counters(self, request: TrialRequest) -> str:
        again = tuple(self._counters[0].statements) if self._counters else ()
        reading: LiveReading = await workflow.execute_activity_method(
            LiveGuards.read_live_counters,
            ReadLive(target=request.target, change=request.change, again=again),
            summary=summary_of(f"What do statements of {request.target.title} cost before?"),
            **asking(on=request.target.host),
        )
        self._counters.append(reading)
        return reading.not_seen

    async def _read_process(self, request: TrialRequest) -> str:
        reading: ProcessReading = await workflow.execute_activity_method(
            LiveProcesses.read_live_process,
            ReadProcess(target=request.target),
            summary=summary_of(f"What do the processes of {request.target.title} hold before?"),
            **asking(on=request.target.host),
        )
        self._processes.append(reading)
        return reading.not_seen


async def answered(asking: Coroutine[Any, Any, Decision], watching: Watch | None) -> Decision | str:
    """What was decided; or what was breached before that, which closes the question."""
    asked = asyncio.create_task(asking)
    watch = asyncio.create_task(watching) if watching is not None else None
    try:
        await workflow.wait_condition(lambda: asked.done() or (watch is not None and watch.done()))
        problem = watch_problem(watch.result()) if watch is not None and watch.done() else ""
        found = problem or await asked
    except (Exception, asyncio.CancelledError):
        await to_the_end(stopped(asked, watch))
        raise
    await to_the_end(stopped(asked, watch))
    return found


async def side_by_side(*watches: Watch) -> TrialEvidence:
    """What all of them saw; the first breach, or failure, ends them all."""
    if len(watches) == 1:
        return await watches[0]
    tasks = [asyncio.ensure_future(one) for one in watches]
    try:
        await workflow.wait_condition(lambda: all(one.done() for one in tasks) or any(map(_ends_all, tasks)))
    except asyncio.CancelledError:
        await to_the_end(stopped(*tasks))
        raise
    ending = next(filter(_ends_all, tasks), None)
    if ending is None:
        return joined_watches([one.result() for one in tasks])
    await to_the_end(stopped(*(one for one in tasks if one is not ending)))
    return ending.result()


def _ends_all(watch: "asyncio.Future[TrialEvidence]") -> bool:
    return watch.done() and (watch.cancelled() or watch.exception() is not None or bool(watch_problem(watch.result())))
