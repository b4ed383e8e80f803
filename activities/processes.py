"""The process and thread sampler, and the preflight look at a process: psutil on /proc.

Counters are read about twice a second (rarer where hundreds of threads make a reading dear). Every step is kept in the recording's
folder as it is taken: a killed worker's next attempt goes on for the remaining time and tells the gap.
"""

import asyncio
import json
from pathlib import Path

import psutil
from temporalio import activity

from activities.artifacts import ArtifactStore
from activities.errors import refuse
from activities.finding_processes import describe, find_process, not_permitted, refuse_if_untouchable, still_there, through_wrappers
from activities.recording_folder import RecordingFolder
from activities.usage_sampler import SWEEP_BUDGET_SHARE, Sweep, UsageReader
from perfwright.analysis.process_use import ThreadSwitches, UseStep, summarise_use, use_series
from perfwright.analysis.profiler_choice import NoProfiler, choose_profiler
from perfwright.models.cpu_profiling import Preflight, ProcessUse
from perfwright.models.cpu_steps import InspectTarget, UseSampling
from perfwright.models.errors import ErrorType

STEPS_FILE = "use.jsonl"


class Processes:
    """Activities that look at processes of this host. `state_folder` holds recordings in progress."""

    def __init__(self, artifacts: ArtifactStore, state_folder: Path) -> None:
        self._artifacts = artifacts
        self._state_folder = state_folder

    @activity.defn
    async def inspect_target(self, request: InspectTarget) -> Preflight:
        """Find the process, tell what it is, and choose the profiler; refuses what cannot be profiled, with the way out."""
        return await asyncio.to_thread(self._inspect, request)

    def _inspect(self, request: InspectTarget) -> Preflight:
        facts = request.host
        selector = request.target.process
        if selector is None:
            raise refuse(
                ErrorType.INVALID_INPUT,
                f"target {request.target.name} names no process",
                way_out=f'add `process = {{ port = ... }}` (or pid, pid_file, name, command) to [targets."{request.target.name}"]',
            )
        if selector.command is not None and request.launched_pid is None:
            return Preflight(process=None, choice=None, environment=facts)
        try:
            found = psutil.Process(request.launched_pid) if request.launched_pid else find_process(selector)
            inner, note = through_wrappers(found)
        except psutil.NoSuchProcess as gone:
            raise refuse(ErrorType.TARGET_GONE, f"the process of {request.target.name} exited while it was looked at") from gone
        except psutil.AccessDenied as denied:
            raise not_permitted(denied.pid or 0) from denied
        process = describe(inner)
        refuse_if_untouchable(process)
        try:
            choice = choose_profiler(process, facts.software, request.passes, host=facts)
        except NoProfiler as none:
            raise refuse(none.error_type, str(none), way_out=none.way_out) from none
        return Preflight(
            process=process,
            choice=choice,
            environment=facts.model_copy(update={"runtime": process.runtime_version or process.runtime}),
            warnings=(note,) if note else (),
        )

    @activity.defn
    async def sample_threads(self, request: UseSampling) -> ProcessUse:
        """Read the counters of the process tree until the time is over or the target exits."""
        folder = RecordingFolder(self._state_folder, f"{request.artifact_prefix}/use")
        folder.open()
        steps = [UseStep.model_validate(line) for line in folder.lines(STEPS_FILE)]
        process = await asyncio.to_thread(still_there, request.process)
        switches: dict[str, ThreadSwitches] = {}
        if process is not None:
            reader = UsageReader(process, request.subprocesses)
            switches = await self._sample(reader, request, folder, steps)
        elif not steps:
            raise refuse(ErrorType.TARGET_GONE, f"process {request.process.pid} of {request.target} exited before its counters were read")
        use = summarise_use(steps, switches, psutil.cpu_count() or 1)
        series = await self._artifacts.put(
            f"{request.artifact_prefix}/use.json", json.dumps(use_series(steps)).encode(), "application/json", "CPU use over time"
        )
        folder.remove()
        return use.model_copy(update={"series": series})

    async def _sample(
        self, reader: UsageReader, request: UseSampling, folder: RecordingFolder, steps: list[UseStep]
    ) -> dict[str, ThreadSwitches]:
        switches_before = await asyncio.to_thread(reader.switches)
        names = await asyncio.to_thread(reader.names)
        switches_now = switches_before
        before = await asyncio.to_thread(reader.sweep)
        recorded_s = sum(step.seconds for step in steps)
        while before is not None and recorded_s < request.duration_s:
            await asyncio.sleep(max(request.interval_s, before.cost_s / SWEEP_BUDGET_SHARE))
            sweep = await asyncio.to_thread(reader.sweep)
            if sweep is None:
                break
            step = _step(before, sweep, recorded_s)
            recorded_s += step.seconds
            steps.append(step)
            folder.append(STEPS_FILE, step.model_dump())
            activity.heartbeat(
                {
                    "recorded_s": round(recorded_s, 1),
                    "of_s": request.duration_s,
                    "cpu_cores": round((step.user_s + step.system_s) / step.seconds, 2),
                    "threads": step.thread_count,
                }
            )
            before = sweep
        last = await asyncio.to_thread(reader.switches)
        switches_now = last or switches_now
        names |= await asyncio.to_thread(reader.names)
        return {
            f"{pid}/{tid}": ThreadSwitches(
                name=names.get((pid, tid), ""),
                voluntary=max(0, now[0] - switches_before.get((pid, tid), (0, 0))[0]),
                involuntary=max(0, now[1] - switches_before.get((pid, tid), (0, 0))[1]),
            )
            for (pid, tid), now in switches_now.items()
        }


def _step(before: Sweep, now: Sweep, recorded_s: float) -> UseStep:
    """The difference of two sweeps; processes that are new count from zero, those that are gone are left out."""
    seconds = max(now.at_s - before.at_s, 1e-6)
    user_s = system_s = 0.0
    voluntary = involuntary = read_bytes = write_bytes = 0
    threads: dict[str, tuple[float, float]] = {}
    for pid, counters in now.processes.items():
        earlier = before.processes.get(pid)
        if earlier is None:
            continue
        user_s += max(0.0, counters.user_s - earlier.user_s)
        system_s += max(0.0, counters.system_s - earlier.system_s)
        voluntary += max(0, counters.voluntary - earlier.voluntary)
        involuntary += max(0, counters.involuntary - earlier.involuntary)
        read_bytes += max(0, counters.read_bytes - earlier.read_bytes)
        write_bytes += max(0, counters.write_bytes - earlier.write_bytes)
        for tid, (user, system) in counters.threads.items():
            user_before, system_before = earlier.threads.get(tid, (0.0, 0.0))
            used = (max(0.0, user - user_before), max(0.0, system - system_before))
            if used != (0.0, 0.0):
                threads[f"{pid}/{tid}"] = used
    machine_s = max(now.machine_total_s - before.machine_total_s, 1e-6)
    return UseStep(
        at_s=recorded_s + seconds,
        seconds=seconds,
        user_s=user_s,
        system_s=system_s,
        voluntary=voluntary,
        involuntary=involuntary,
        read_bytes=read_bytes,
        write_bytes=write_bytes,
        rss_bytes=sum(c.rss_bytes for c in now.processes.values()),
        thread_count=sum(len(c.threads) for c in now.processes.values()),
        child_processes=len(now.processes) - 1,
        machine_busy_share=min(1.0, max(0.0, (now.machine_busy_s - before.machine_busy_s) / machine_s)),
        machine_iowait_share=min(1.0, max(0.0, (now.machine_iowait_s - before.machine_iowait_s) / machine_s)),
        sampler_cpu_s=now.cost_s,
        threads=threads,
    )
