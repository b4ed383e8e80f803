"""Records stacks in alternating slices with a tool that is attached for one slice at a time (py-spy, perf, the Node inspector, JFR).

What all of them share stands here: the probe that finds the rate, the watch over what the target pays, the log of finished slices from
which a killed worker's next attempt goes on, and the profile that is made of them at the end.

    probe (2 s) -> rate plan -> slice, slice, slice ... -> profile

Every finished slice is a file and a line in the recording's folder. An attempt that finds lines of an earlier one records the slices that
are missing, and the time between as a gap; nothing is spliced silently.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil
from temporalio import activity

from activities.artifacts import ArtifactStore
from activities.compute import in_own_process
from activities.errors import refuse
from activities.finding_processes import refuse_if_untouchable, still_there
from activities.pause_watch import PauseWatch
from activities.recording_folder import RecordingFolder
from perfwright.analysis.call_tree import ProfileBuilder, encode_profile
from perfwright.analysis.sampling_rate import Probe, RatePlan, plan_rate
from perfwright.analysis.slices import Slice, plan_slices
from perfwright.models.cpu_profiling import Gap, Overhead, RecordedPass, RecordingEnd, StackProfile, StackRecording
from perfwright.models.errors import ErrorType
from perfwright.models.profile import PROFILE_MEDIA_TYPE, PassKind
from perfwright.models.vocabulary import Model

SLICES_FILE = "slices.jsonl"
PLAN_FILE = "plan.jsonl"
PROBE_S = 2.0
PROBE_SHARE = 0.25
"""The probe takes at most this share of the recording, so that short ones are not mostly probing."""
ABORT_FACTOR = 3.0
"""The recording is stopped when the target is held this many times the budget: far outside of what chance does to the readings."""
ABORT_READINGS = 150


class TakenSlice(Model):
    """A slice that was recorded: a line of the log."""

    index: int
    kind: PassKind
    seconds: float
    blocks: int
    rate_hz: float
    file: str
    ended_at_s: float
    """Wall clock, seconds since the epoch."""
    tool_cpu_s: float = 0.0
    held: int = 0
    readings: int = 0


@dataclass(frozen=True)
class SliceCount:
    """What one slice's file held."""

    samples: int
    failed: int = 0


ReadSlice = Callable[[ProfileBuilder, TakenSlice, Path], SliceCount]
"""Adds one slice's file to the builder; a top-level function, because it runs in a process of its own."""
Tick = Callable[[float], Awaitable[None] | None]


class SliceTool(Protocol):
    """A profiler that records one slice into a file."""

    title: str
    """Tool and version: `py-spy 0.4.3`."""
    holds_target: bool
    """Whether it stops the target for its samples, so that the rate follows from a probe."""
    read: ReadSlice

    async def take(self, kind: PassKind, seconds: float, rate_hz: float, nonblocking: bool, path: Path, tick: Tick) -> float:
        """Record `seconds` into `path`, calling `tick(elapsed_s)` at least every second; returns the CPU seconds that the tool used."""
        ...


class OverBudget(Exception):
    """The target pays more than the budget: raised by the tick to stop the tool."""


class SliceRecorder:
    """One recording. Made for one activity attempt; picks up what an earlier attempt left."""

    def __init__(self, tool: SliceTool, request: StackRecording, artifacts: ArtifactStore, state_folder: Path) -> None:
        self._tool, self._request, self._artifacts = tool, request, artifacts
        self._folder = RecordingFolder(state_folder, f"{request.artifact_prefix}/stacks")
        self._path = self._folder.open()
        self._taken = [TakenSlice.model_validate(line) for line in self._folder.lines(SLICES_FILE)]
        self._gaps: list[Gap] = []
        self._warnings: list[str] = []
        self._held = sum(one.held for one in self._taken)
        self._readings = sum(one.readings for one in self._taken)

    async def record(self) -> StackProfile:
        """Record what is missing, and make the profile. Raises TargetGone when nothing could be recorded at all."""
        if self._taken:
            self._note_gap("the worker was restarted")
        plan = await self._rate_plan()
        self._folder.append(PLAN_FILE, plan.model_dump())
        end: RecordingEnd = "complete"
        for piece in plan_slices(self._request.choice.passes, self._request.duration_s, self._request.slice_s):
            if any(one.index == piece.index for one in self._taken):
                continue
            process = still_there(self._request.process)
            if process is None:
                end = "target exited"
                break
            try:
                await self._take(piece, plan)
            except OverBudget as over:
                end = "over budget"
                self._warnings.append(str(over))
                break
        if not self._taken:
            raise self._nothing_recorded(end)
        return await self._assemble(plan, end)

    async def _rate_plan(self) -> RatePlan:
        for line in self._folder.lines(PLAN_FILE):
            return RatePlan.model_validate(line)
        request = self._request
        process = still_there(request.process)
        if process is None:
            raise self._nothing_recorded("target exited")
        refuse_if_untouchable(request.process.model_copy(update={"state": process.status()}))
        threads = process.num_threads()
        if not self._tool.holds_target:
            return plan_rate(threads, request.rate_hz, request.overhead_budget_share, None, holds_target=False)
        seconds = min(PROBE_S, PROBE_SHARE * request.duration_s)
        first = plan_rate(threads, request.rate_hz, request.overhead_budget_share, None)
        watch = PauseWatch(request.process.pid)
        async with watch.watching():
            await self._tool.take("on_cpu", seconds, first.rate_hz, first.nonblocking, self._path / "probe", self._tick("probe", 0.0))
        probe = Probe(rate_hz=first.rate_hz, seconds=seconds, held=watch.held, readings=watch.readings, nonblocking=first.nonblocking)
        return plan_rate(threads, request.rate_hz, request.overhead_budget_share, probe)

    async def _take(self, piece: Slice, plan: RatePlan) -> None:
        file = f"slice-{piece.index}-{piece.kind}"
        watch = PauseWatch(self._request.process.pid)
        began = time.monotonic()
        recorded_s = sum(one.seconds for one in self._taken)

        def tick(elapsed_s: float) -> None:
            if watch.readings >= ABORT_READINGS and (watch.share or 0.0) > ABORT_FACTOR * self._request.overhead_budget_share:
                budget = self._request.overhead_budget_share
                raise OverBudget(
                    f"stopped after {recorded_s + elapsed_s:.0f} s: the target was held {watch.share:.1%} of the time (budget {budget:.1%})"
                )
            self._tick(piece.kind, recorded_s)(elapsed_s)

        async with watch.watching():
            cpu_s = await self._tool.take(piece.kind, piece.seconds, plan.rate_hz, plan.nonblocking, self._path / file, tick)
        seconds = min(piece.seconds, time.monotonic() - began)
        taken = TakenSlice(
            index=piece.index,
            kind=piece.kind,
            seconds=seconds,
            blocks=piece.blocks,
            rate_hz=plan.rate_hz,
            file=file,
            ended_at_s=time.time(),
            tool_cpu_s=cpu_s,
            held=watch.held,
            readings=watch.readings,
        )
        self._held, self._readings = self._held + watch.held, self._readings + watch.readings
        self._taken.append(taken)
        self._folder.append(SLICES_FILE, taken.model_dump())

    def _tick(self, what: str, recorded_s: float) -> Callable[[float], None]:
        def beat(elapsed_s: float) -> None:
            activity.heartbeat(
                {
                    "pass": what,
                    "recorded_s": round(recorded_s + elapsed_s, 1),
                    "of_s": self._request.duration_s,
                    "slices": len(self._taken),
                    "held_share": round(self._held / self._readings, 4) if self._readings else None,
                }
            )

        return beat

    async def _assemble(self, plan: RatePlan, end: RecordingEnd) -> StackProfile:
        slices = [(one, str(self._path / one.file)) for one in self._taken]
        data, counts, notes = await in_own_process(
            assemble_profile,
            self._tool.title,
            self._tool.read,
            slices,
            heartbeat=lambda elapsed_s, _: activity.heartbeat({"pass": "reading stacks", "elapsed_s": round(elapsed_s, 1)}),
        )
        profile = await self._artifacts.put(
            f"{self._request.artifact_prefix}/stacks.json.gz", data, PROFILE_MEDIA_TYPE, f"Stacks of {self._request.target}"
        )
        recorded_s = sum(one.seconds for one in self._taken)
        self._folder.remove()
        return StackProfile(
            profile=profile,
            tool=self._tool.title,
            passes=tuple(self._passes(counts)),
            overhead=Overhead(
                paused_share=self._held / self._readings if self._tool.holds_target and self._readings else None,
                profiler_cpu_share=sum(one.tool_cpu_s for one in self._taken) / recorded_s if recorded_s else None,
                probe_note=plan.note,
                nonblocking=plan.nonblocking,
            ),
            end=end,
            gaps=tuple(self._gaps),
            warnings=(*self._warnings, *notes),
        )

    def _passes(self, counts: dict[int, SliceCount]) -> Sequence[RecordedPass]:
        kinds = dict.fromkeys(one.kind for one in self._taken)
        of = {kind: [one for one in self._taken if one.kind == kind] for kind in kinds}
        return [
            RecordedPass(
                kind=kind,
                rate_hz=taken[0].rate_hz,
                seconds=sum(one.seconds for one in taken),
                samples=sum(counts[one.index].samples for one in taken),
                failed_samples=sum(counts[one.index].failed for one in taken),
                slices=len(taken),
                blocks=sum(one.blocks for one in taken),
            )
            for kind, taken in of.items()
        ]

    def _note_gap(self, reason: str) -> None:
        last = max(one.ended_at_s for one in self._taken)
        self._gaps.append(Gap(at_s=sum(one.seconds for one in self._taken), missing_s=max(0.0, time.time() - last), reason=reason))

    def _nothing_recorded(self, end: RecordingEnd) -> Exception:
        request = self._request
        if end == "over budget":
            return refuse(
                ErrorType.NOT_PERMITTED,
                f"nothing was recorded: {self._warnings[-1] if self._warnings else 'over budget'}",
                way_out="allow a larger overhead_budget_share or a lower rate_hz",
            )
        return refuse(ErrorType.TARGET_GONE, f"process {request.process.pid} of {request.target} exited before a slice was recorded")


def assemble_profile(
    title: str, read: ReadSlice, slices: list[tuple[TakenSlice, str]]
) -> tuple[bytes, dict[int, SliceCount], tuple[str, ...]]:
    """Read all slices into one encoded profile; also what each held, and notes on what was folded."""
    builder = ProfileBuilder(tool=title)
    counts = {one.index: read(builder, one, Path(path)) for one, path in slices}
    profile = builder.build()
    return encode_profile(profile), counts, builder.notes


def tool_version(output: str) -> str:
    """The first word of a `--version` line that begins with a digit."""
    return next((word for word in output.split() if word[:1].isdigit()), "")


def pids_of(process: psutil.Process) -> set[int]:
    """The process and everything below it."""
    return {process.pid, *(child.pid for child in process.children(recursive=True))}
