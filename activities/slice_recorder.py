"""Records stacks in alternating slices with a tool that records one slice at a time (py-spy and our reader, perf, the Node inspector, JFR).

What all of them share stands here: the probe that finds the rate, the watch over what the target pays, the log of finished slices from
which a killed worker's next attempt goes on, and the profile that is made of them at the end.

    probe (2 s) -> rate plan -> slice, slice, slice ... -> profile

Every finished slice is a file and a line in the recording's folder. An attempt that finds lines of an earlier one records the slices that
are missing, and the time between as a gap; nothing is spliced silently. What was recorded is kept, whatever ends the recording.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import psutil
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.artifacts import ArtifactStore
from activities.compute import in_own_process
from activities.errors import refuse
from activities.finding_processes import not_permitted, refuse_if_untouchable, runtime_of, still_there
from activities.pause_watch import PROBING_INTERVAL_S, PauseWatch, thread_count
from activities.processes_below import processes_below
from activities.profiler_cpu import CPU_COUNT, MachineBusy
from activities.recording_cost import OverBudget, SliceCost, held_of, next_rate
from activities.recording_folder import RecordingFolder, nobody_comes_back
from activities.taken_slices import ReadSlice, SliceTake, TakenSlice, assemble_profile, recorded_passes
from perfwright.analysis.sampling_rate import HOLD_COSTS, Probe, RatePlan, lost_to, plan_free_passes, plan_nonblocking_rate, plan_rate
from perfwright.analysis.slices import Slice, affordable_passes, plan_slices, slice_for_attaching
from perfwright.models.cpu_profiling import Gap, Overhead, RecordingEnd, StackProfile, StackRecording
from perfwright.models.errors import ErrorType
from perfwright.models.profile import PROFILE_MEDIA_TYPE, PassKind
from perfwright.models.vocabulary import Model

SLICES_FILE, PLAN_FILE, GAPS_FILE, END_FILE = "slices.jsonl", "plan.jsonl", "gaps.jsonl", "end.jsonl"
PROBE_S = 2.0
PROBE_SHARE = 0.25
"""The probe takes at most this share of the recording, so that short ones are not mostly probing."""
PROBE_COST_SHARE = 0.25
"""The probe may cost at most this share of the recording's whole budget; what it saw until then still tells the rate."""
MOST_SLICES = 90
"""Attaching takes up to a second each time: longer recordings have longer slices."""
EXITS_WITHIN_S = 5.0
"""A program that begins to exit closes its files and writes what it buffered."""
TRIES, TRY_AGAIN_AFTER_S = 3, 0.5
"""Of one slice, when the tool was killed or failed in a way that may pass."""


ResultT = TypeVar("ResultT")


@dataclass(frozen=True)
class SliceOrder:
    """What a tool is asked to record."""

    kind: PassKind
    seconds: float
    rate_hz: float
    nonblocking: bool
    path: Path
    """Where to; suffixes may be added to it."""


Tick = Callable[[float, float | None], None]


class SliceTool(Protocol):
    """A profiler that records one slice into a file."""

    title: str
    """Tool and version: `py-spy 0.4.3`."""
    held_passes: frozenset[PassKind]
    """Those for whose samples it stops the target, so that their rate follows from a probe. Settled once it is attached."""
    read: ReadSlice

    def attached(self) -> AbstractAsyncContextManager[None]:
        """What is done once around all slices."""
        ...

    async def take(self, order: SliceOrder, tick: Tick) -> SliceTake:
        """Record one slice, calling `tick(elapsed_s, cpu_s)` about every second with what the tool has used so far (None: unknown).

        Raises TargetGone when there is nothing to keep of it.
        """
        ...


class _End(Model):
    end: RecordingEnd
    warning: str = ""


class SliceRecorder:
    """One recording. Made for one activity attempt; picks up what an earlier attempt left."""

    def __init__(self, tool: SliceTool, request: StackRecording, artifacts: ArtifactStore, state_folder: Path) -> None:
        self._tool, self._request, self._artifacts = tool, request, artifacts
        self._folder = RecordingFolder(state_folder, f"{request.artifact_prefix}/stacks")
        self._path = self._folder.open()
        self._taken = [TakenSlice.model_validate(line) for line in self._folder.lines(SLICES_FILE)]
        self._gaps = {gap.at_s: gap for line in self._folder.lines(GAPS_FILE) for gap in [Gap.model_validate(line)]}
        self._recording_since_s = time.time()

    async def record(self) -> StackProfile:
        """Record what is missing, and make the profile. Raises what kept it from recording anything at all."""
        if done := self._folder.result(StackProfile):
            return done
        try:
            end = await self._record_slices()
            profile = await self._assemble(end)
        except asyncio.CancelledError:
            if nobody_comes_back():
                self._folder.remove()
            raise
        except ApplicationError as failure:
            if failure.non_retryable:
                self._folder.remove()
            raise
        self._folder.finish(profile)
        return profile

    async def _record_slices(self) -> _End:
        for line in self._folder.lines(END_FILE):
            return _End.model_validate(line)
        plan = next(map(RatePlan.model_validate, self._folder.lines(PLAN_FILE)), None)
        missing = self._missing(plan) if plan else ()
        if self._taken and missing:
            self._note_gap("the worker was restarted")
        end = _End(end="complete")
        try:
            async with AsyncExitStack() as stack:
                if plan is None or missing:
                    self._look_at_target()
                    await stack.enter_async_context(self._tool.attached())
                    plan = plan or await self._patiently(self._rate_plan)
                    self._recording_since_s = time.time()
                assert plan is not None, "made above where there was none"
                for piece in self._missing(plan):
                    await self._patiently(partial(self._take, piece, plan))
                    if self._taken[-1].seconds < 0.9 * piece.seconds:
                        await self._wait_for_its_end()
                        self._look_at_target()
        except OverBudget as over:
            if not self._taken:
                way_out = "Record longer (its start costs most), with a larger overhead_budget_share or at a lower rate_hz"
                raise refuse(ErrorType.TOOL_FAILED, f"nothing was recorded: {over}", way_out=way_out) from over
            end = _End(end="over budget", warning=str(over))
        except ApplicationError as failure:
            if not self._taken or failure.type == ErrorType.STORE_UNAVAILABLE:
                raise
            end = _End(end="target exited" if failure.type == ErrorType.TARGET_GONE else "interrupted", warning=failure.message)
        self._folder.append(END_FILE, end.model_dump())
        return end

    def _passes_of(self, plan: RatePlan) -> tuple[tuple[PassKind, ...], str]:
        request = self._request
        return affordable_passes(
            request.choice.passes, plan.rate_of(request.choice.passes[0]), request.duration_s, self._slice_s(plan), request.min_samples
        )

    def _slice_s(self, plan: RatePlan) -> float:
        request = self._request
        shortest = max(request.slice_s, request.duration_s / MOST_SLICES)
        return slice_for_attaching(shortest, plan.attach_s, request.overhead_budget_share, request.duration_s, len(request.choice.passes))

    def _missing(self, plan: RatePlan) -> tuple[Slice, ...]:
        """Slices that are planned and not taken."""
        planned = plan_slices(self._passes_of(plan)[0], self._request.duration_s, self._slice_s(plan))
        return tuple(piece for piece in planned if all(one.index != piece.index for one in self._taken))

    async def _wait_for_its_end(self) -> None:
        """A slice that ended early ended with its target, which may still be on its way out."""
        loop = asyncio.get_running_loop()
        until = loop.time() + EXITS_WITHIN_S
        while loop.time() < until:
            if still_there(self._request.process) is None:
                return
            await asyncio.sleep(0.05)

    def _look_at_target(self) -> list[psutil.Process]:
        """The target and, if wanted, everything below it. Raises TargetGone, TargetStopped or NotPermitted when nothing may attach."""
        known = self._request.process
        process = still_there(known)
        try:
            if process is None:
                raise refuse(ErrorType.TARGET_GONE, f"process {known.pid} of {self._request.target} exited")
            runtime = runtime_of(process)[0]
            if runtime == "unknown" and known.runtime != "unknown":
                raise not_permitted(known.pid)
            if runtime != known.runtime:
                raise refuse(ErrorType.TARGET_GONE, f"process {known.pid} of {self._request.target} now runs {process.name()}")
            refuse_if_untouchable(known.model_copy(update={"state": process.status()}))
            return [process, *(processes_below(process.pid) if self._request.subprocesses else ())]
        except psutil.NoSuchProcess as gone:
            raise refuse(ErrorType.TARGET_GONE, f"process {known.pid} of {self._request.target} exited") from gone

    async def _rate_plan(self) -> RatePlan:
        request = self._request
        processes = self._look_at_target()
        threads = max(thread_count(one) for one in processes)
        held = [kind for kind in request.choice.passes if kind in self._tool.held_passes]
        free = [kind for kind in request.choice.passes if kind not in held]
        plan = plan_rate(threads, request.rate_hz, request.overhead_budget_share, None, holds_target=bool(held))
        if held:
            probe = await self._probe(held[0], plan, PauseWatch(processes, PROBING_INTERVAL_S))
            plan = plan_rate(threads, request.rate_hz, request.overhead_budget_share, probe)
            if plan.nonblocking:
                probe = await self._probe(held[0], plan, PauseWatch(processes, PROBING_INTERVAL_S))
                plan = plan_nonblocking_rate(plan, request.rate_hz, request.overhead_budget_share, probe)
            plan = plan.model_copy(update={"attach_s": probe.attach_s})
        if held and free:
            plan = plan_free_passes(plan, held, free, request.rate_hz)
        self._folder.append(PLAN_FILE, plan.model_dump())
        return plan

    async def _probe(self, kind: PassKind, plan: RatePlan, watch: PauseWatch) -> Probe:
        """Record a moment to see what a sample costs; stopped as soon as it has cost its part of the budget."""
        request = self._request
        seconds = max(1.0, min(PROBE_S, PROBE_SHARE * request.duration_s))
        held_s = PROBE_COST_SHARE * request.overhead_budget_share * request.duration_s / HOLD_COSTS
        order = SliceOrder(kind, seconds, plan.rate_hz, plan.nonblocking, self._path / "probe")
        began, busy, used_s, attach_s = time.monotonic(), MachineBusy(), None, 0.0

        def tick(elapsed_s: float, cpu_s: float | None) -> None:
            nonlocal used_s
            used_s = cpu_s
            self._beat("probe", elapsed_s)

        async with watch.watching():
            taking = asyncio.create_task(self._tool.take(order, tick))
            enough = asyncio.create_task(watch.held_for(held_s))
            try:
                await asyncio.wait({taking, enough}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                enough.cancel()
                if stopped := not taking.done():
                    taking.cancel()
                    await asyncio.wait({taking})
            if not stopped:
                used_s, attach_s = taking.result().cpu_s, taking.result().attach_cpu_s
        seconds = min(seconds, time.monotonic() - began)
        busy_share = busy.share()
        return Probe(
            rate_hz=plan.rate_hz,
            seconds=seconds,
            held=watch.held,
            readings=watch.readings,
            nonblocking=plan.nonblocking,
            taken_share=None if used_s is None else lost_to(used_s - attach_s, busy_share, CPU_COUNT) / seconds,
            attach_s=lost_to(attach_s, busy_share, CPU_COUNT),
        )

    async def _patiently(self, step: Callable[[], Coroutine[Any, Any, ResultT]]) -> ResultT:
        """Try again what may pass; in the end it is a failure for good."""
        tries = 0
        while True:
            try:
                return await step()
            except ApplicationError as failure:
                if failure.non_retryable or failure.type == ErrorType.STORE_UNAVAILABLE:
                    raise
                tries += 1
                self._note_gap(failure.message[:200])
                if tries == TRIES:
                    raise ApplicationError(failure.message, type=failure.type, non_retryable=True) from failure
            await asyncio.sleep(TRY_AGAIN_AFTER_S)

    async def _take(self, piece: Slice, plan: RatePlan) -> None:
        processes = self._look_at_target()
        holds = piece.kind in self._tool.held_passes and not plan.nonblocking
        cost = SliceCost(processes, self._taken, self._request.overhead_budget_share, holds_target=holds)
        file = f"slice-{piece.index}-{piece.kind}"
        recorded_s = sum(one.seconds for one in self._taken)

        def tick(elapsed_s: float, cpu_s: float | None) -> None:
            cost.check(recorded_s, elapsed_s, cpu_s)
            self._beat(piece.kind, min(piece.seconds, elapsed_s), cost.held_share)

        rate_hz = self._next_rate(piece.kind, plan)
        nonblocking = plan.nonblocking and piece.kind in self._tool.held_passes
        order = SliceOrder(piece.kind, piece.seconds, rate_hz, nonblocking, self._path / file)
        async with cost.watching():
            try:
                with self._folder.told():
                    take = await self._tool.take(order, tick)
            except OverBudget as over:
                if over.take is not None:
                    self._keep(piece, rate_hz, file, over.take, cost)
                raise
        self._keep(piece, rate_hz, file, take, cost)

    def _next_rate(self, kind: PassKind, plan: RatePlan) -> int:
        """Passes that hold the target and those that do not each keep to the budget in their own time: their samples cost differently."""
        alike = [one for one in self._request.choice.passes if (one in plan.free_passes) == (kind in plan.free_passes)]
        planned = plan_slices(self._passes_of(plan)[0], self._request.duration_s, self._slice_s(plan))
        seconds = sum(piece.seconds for piece in planned if piece.kind in alike)
        taken = [one for one in self._taken if one.kind in alike]
        return next_rate(plan.rate_of(kind), taken, seconds, self._request.overhead_budget_share)

    def _keep(self, piece: Slice, rate_hz: float, file: str, take: SliceTake, cost: SliceCost) -> None:
        taken = TakenSlice(
            index=piece.index,
            kind=piece.kind,
            seconds=take.seconds,
            blocks=max(1, round(piece.blocks * take.seconds / piece.seconds)),
            rate_hz=take.rate_hz or rate_hz,
            file=file,
            ended_at_s=time.time(),
            tool_cpu_s=take.cpu_s,
            held=cost.watch.held,
            readings=cost.watch.readings,
            lost_s=cost.lost_s(take.cpu_s),
        )
        self._folder.append(SLICES_FILE, taken.model_dump())
        self._taken.append(taken)

    def _beat(self, what: str, elapsed_s: float, held_share: float | None = None) -> None:
        recorded_s = sum(one.seconds for one in self._taken) + (elapsed_s if what != "probe" else 0.0)
        beat = {"pass": what, "recorded_s": round(recorded_s, 1), "of_s": self._request.duration_s, "slices": len(self._taken)}
        activity.heartbeat(beat | ({"held_share": round(held_share, 4)} if held_share is not None else {}))

    def _note_gap(self, reason: str) -> None:
        """Between the last slice and now; one that grows replaces what was noted of it."""
        since_s = max((one.ended_at_s for one in self._taken), default=self._recording_since_s)
        recorded_s = sum(one.seconds for one in self._taken)
        gap = Gap(at_s=round(recorded_s, 3), missing_s=round(max(0.0, time.time() - since_s), 3), reason=reason)
        self._gaps[gap.at_s] = gap
        self._folder.append(GAPS_FILE, gap.model_dump())

    async def _assemble(self, end: _End) -> StackProfile:
        slices = [(one, str(self._path / one.file)) for one in self._taken]
        data, counts, notes = await in_own_process(
            assemble_profile,
            self._tool.title,
            self._tool.read,
            slices,
            heartbeat=lambda elapsed_s, _: activity.heartbeat({"pass": "reading stacks", "elapsed_s": round(elapsed_s, 1)}),
        )
        plan = RatePlan.model_validate(next(self._folder.lines(PLAN_FILE)))
        profile = await self._artifacts.put(
            f"{self._request.artifact_prefix}/stacks.json.gz", data, PROFILE_MEDIA_TYPE, f"Stacks of {self._request.target}"
        )
        recorded_s = sum(one.seconds for one in self._taken)
        held, readings = held_of(self._taken)
        watched_s = sum(one.seconds for one in self._taken if one.readings)
        said = dict.fromkeys(
            text for text in (end.warning, self._passes_of(plan)[1], *(count.warning for count in counts.values()), *notes) if text
        )
        return StackProfile(
            profile=profile,
            tool=self._tool.title,
            passes=recorded_passes(self._taken, counts),
            overhead=Overhead(
                paused_share=held / readings * watched_s / recorded_s if readings else None,
                readings=readings,
                profiler_cpu_share=self._cpu_share(recorded_s),
                probe_note=plan.note,
                nonblocking=plan.nonblocking,
            ),
            end=end.end,
            gaps=tuple(self._gaps.values()),
            warnings=tuple(said),
        )

    def _cpu_share(self, recorded_s: float) -> float | None:
        """In cores; None when it is unknown of any slice."""
        used = [one.tool_cpu_s for one in self._taken if one.tool_cpu_s is not None]
        return sum(used) / recorded_s if recorded_s and len(used) == len(self._taken) else None


async def carried_out(step: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Await a step that must end, such as switching off what was switched on; a cancellation that comes meanwhile is raised afterwards."""
    task = asyncio.create_task(step)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as cancellation:
            if task.cancelled():
                raise
            cancelled = cancellation
        except Exception:
            break
    result = task.result()
    if cancelled is not None:
        raise cancelled
    return result


def tool_version(output: str) -> str:
    """The first word of a `--version` line that begins with a digit."""
    return next((word for word in output.split() if word[:1].isdigit()), "")
