"""The process and thread sampler, and the preflight look at a process: psutil on /proc.

Counters are read about twice a second (rarer where hundreds of threads make a reading dear). Every step is kept in the recording's
folder as it is taken: a killed worker's next attempt goes on for the remaining time.
"""

import asyncio
import json
from pathlib import Path

import psutil
from temporalio import activity

from activities.artifacts import ArtifactStore
from activities.errors import refuse
from activities.finding_processes import describe, find_process, not_permitted, refuse_if_untouchable, still_there, through_wrappers
from activities.node_ports import open_inspector
from activities.recording_folder import RecordingFolder, nobody_comes_back
from activities.usage_sampler import UsageReader, use_step
from perfwright.analysis.process_use import ThreadSwitches, UseStep, summarise_use, use_series
from perfwright.analysis.profiler_choice import NoProfiler, choose_profiler
from perfwright.models.cpu_profiling import Preflight, ProcessUse, ProfilerChoice, TargetProcess
from perfwright.models.cpu_steps import InspectTarget, UseSampling
from perfwright.models.errors import ErrorType
from perfwright.models.host import HostFacts
from perfwright.models.measurement import EnvironmentFingerprint
from perfwright.models.target import Target

STEPS_FILE = "use.jsonl"
SERIES_MEDIA_TYPE = "application/json"
BEAT_EVERY_S = 1.0


class Processes:
    """Activities that look at processes of this host. `state_folder` holds recordings in progress."""

    def __init__(self, artifacts: ArtifactStore, state_folder: Path) -> None:
        self._artifacts = artifacts
        self._state_folder = state_folder

    @activity.defn
    async def inspect_target(self, request: InspectTarget) -> Preflight:
        """Find the process, tell what it is, and choose the profiler; refuses what cannot be profiled, with the way out."""
        facts = request.host
        return await asyncio.to_thread(_inspect, request, facts)

    @activity.defn
    async def sample_threads(self, request: UseSampling) -> ProcessUse:
        """Read the counters of the process tree until the time is over or the target exits."""
        folder = RecordingFolder(self._state_folder, f"{request.artifact_prefix}/use")
        if done := folder.result(ProcessUse):
            return done
        folder.open()
        try:
            use = await self._sample(request, folder)
        except asyncio.CancelledError:
            if nobody_comes_back():
                folder.remove()
            raise
        folder.finish(use)
        return use

    async def _sample(self, request: UseSampling, folder: RecordingFolder) -> ProcessUse:
        steps = [UseStep.model_validate(line) for line in folder.lines(STEPS_FILE)]
        process = await asyncio.to_thread(still_there, request.process)
        switches: dict[str, ThreadSwitches] = {}
        programs: dict[str, str] = {}
        if process is not None:
            reader = UsageReader(process, request.subprocesses)
            switches = await _read_on(reader, request, folder, steps)
            programs = {str(pid): name for pid, name in reader.programs.items()}
        if not steps:
            folder.remove()
            raise refuse(ErrorType.TARGET_GONE, f"process {request.process.pid} of {request.target} exited before its counters were read")
        use = summarise_use(steps, switches, psutil.cpu_count() or 1, programs)
        series = json.dumps(use_series(steps), separators=(",", ":")).encode()
        stored = await self._artifacts.put(f"{request.artifact_prefix}/use.json", series, SERIES_MEDIA_TYPE, "CPU use over time")
        return use.model_copy(update={"series": stored})


async def _read_on(reader: UsageReader, request: UseSampling, folder: RecordingFolder, steps: list[UseStep]) -> dict[str, ThreadSwitches]:
    """Add steps until the recording is as long as asked; gives names and switches of the threads, scaled to the whole recording."""
    earlier_s = recorded_s = sum(step.seconds for step in steps)
    before = await asyncio.to_thread(reader.sweep)
    while before is not None and (left_s := request.duration_s - recorded_s) > 0:
        rest_s = min(left_s, max(request.interval_s, before.rest_s))
        await _rest(rest_s, recorded_s, request, steps)
        sweep = await asyncio.to_thread(reader.sweep, last=rest_s >= left_s)
        if sweep is None:
            break
        step = use_step(before, sweep, recorded_s)
        recorded_s += step.seconds
        steps.append(step)
        folder.append(STEPS_FILE, step.model_dump())
        before = sweep
    scale = recorded_s / (recorded_s - earlier_s) if recorded_s > earlier_s else 1.0
    found = {}
    for (pid, tid), name in reader.names.items():
        voluntary, involuntary = reader.switches_of((pid, tid))
        found[f"{pid}/{tid}"] = ThreadSwitches(name=name, voluntary=round(voluntary * scale), involuntary=round(involuntary * scale))
    return found


async def _rest(seconds: float, recorded_s: float, request: UseSampling, steps: list[UseStep]) -> None:
    """Wait, and tell meanwhile how things stand."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while (left_s := until - loop.time()) > 0:
        beat = {"recorded_s": round(recorded_s, 1), "of_s": request.duration_s}
        if steps:
            last = steps[-1]
            beat |= {"cpu_cores": round((last.user_s + last.system_s) / last.seconds, 2), "threads": last.thread_count}
        activity.heartbeat(beat)
        await asyncio.sleep(min(BEAT_EVERY_S, left_s))


def _inspect(request: InspectTarget, facts: HostFacts) -> Preflight:
    environment = EnvironmentFingerprint.model_validate(facts.model_dump())
    selector = request.target.process
    if selector is None:
        raise refuse(
            ErrorType.INVALID_INPUT,
            f"target {request.target.name} names no process",
            way_out=f'add `process = {{ port = ... }}` (or pid, pid_file, name, command) to [targets."{request.target.name}"]',
        )
    if selector.command is not None and request.launched_pid is None:
        return Preflight(process=None, choice=None, environment=environment)
    try:
        found = psutil.Process(request.launched_pid) if request.launched_pid else find_process(selector)
        inner, note = through_wrappers(found)
        foreign = inner.uids().effective != facts.uid
    except psutil.NoSuchProcess as gone:
        raise refuse(ErrorType.TARGET_GONE, f"the process of {request.target.name} exited while it was looked at") from gone
    except psutil.AccessDenied as denied:
        raise not_permitted(denied.pid or 0) from denied
    if foreign and not facts.traces_any:
        raise not_permitted(inner.pid)
    process = describe(inner)
    refuse_if_untouchable(process)
    choice = _choose(process, facts, request)
    # What we launched is ours: nobody else depends on it.
    opened = choice.tool == "node-inspector" and request.launched_pid is None
    return Preflight(
        process=process,
        choice=choice,
        environment=environment.model_copy(update={"runtime": process.runtime_version or process.runtime}),
        injects=opening_of_inspector(request.target, inner) if opened else "",
        warnings=(note,) if note else (),
    )


def _choose(process: TargetProcess, facts: HostFacts, request: InspectTarget) -> ProfilerChoice:
    try:
        return choose_profiler(process, facts.software, request.passes, host=facts)
    except NoProfiler as none:
        raise refuse(none.error_type, none.reason, way_out=none.way_out) from none


def opening_of_inspector(target: Target, process: psutil.Process) -> str:
    """What profiling does to a Node.js process whose inspector is closed; empty where it is open. Refused where nobody allowed it.

    Whoever reaches an open inspector's port can run code in the target, and so do we, to have it closed again: that is an injection. A
    target given in the input is the asker's own.
    """
    if open_inspector(process) is not None:
        return ""
    if target.inline or "inject" in target.allow:
        return f"SIGUSR1 to pid {process.pid} opens the Node.js inspector on loopback; code in it closes the port again afterwards"
    raise refuse(
        ErrorType.TARGET_REFUSED,
        f"profiling {target.name} (pid {process.pid}) would open the Node.js inspector, and its registry entry does not allow that",
        way_out=f'add "inject" to `allow` of [targets."{target.name}"], or start the program with --inspect=127.0.0.1:0 yourself',
    )
