"""Garbage collectors at work: observed under load, with other settings, before and after. Starts services, changes nothing that stands."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.artifacts import ArtifactStore
from activities.changes.kind import Site
from activities.changes.launches import launched_as
from activities.changes.settings import memory_bytes
from activities.collector_logs import PYTHON_PATH, with_agent
from activities.collector_samples import samples_of
from activities.errors import refuse
from activities.finding_processes import describe, find_process, refuse_if_untouchable, through_wrappers
from activities.live_collector import observe_live
from activities.live_jvm import observe_jvm
from activities.recording_folder import RecordingFolder, resumable
from activities.subprocesses import Tool, run
from activities.trial_measuring.sides import CommandSide
from perfwright.analysis.changes.launches import changed_command, changed_environment
from perfwright.analysis.gc.candidates import (
    FLAGS,
    JAVA_OPTIONS,
    as_advice,
    is_java,
    jvm_candidates,
    memory_words,
    python_candidates,
)
from perfwright.analysis.gc.front import AS_IS, choose, score
from perfwright.analysis.gc.issues import issues_of, summary_sentence
from perfwright.analysis.gc.pauses import pause_table
from perfwright.analysis.gc.trying import metric_of
from perfwright.analysis.gc.tuning_results import judged
from perfwright.models.cpu_profiling import TargetProcess
from perfwright.models.errors import ErrorType
from perfwright.models.gc_steps import (
    CollectorToObserve,
    InspectCollector,
    JudgedTuning,
    ProposedSettings,
    SettingsToPropose,
    SweepOrder,
    TuningToJudge,
)
from perfwright.models.gc_tuning import (
    PORT_WORD,
    Collector,
    CollectorFacts,
    CollectorPreflight,
    GarbageCollectionRequest,
    GcCandidate,
    GcIssue,
    GcObservation,
    GcSample,
    GcSweep,
    Pause,
)
from perfwright.models.secrets import secret_argument
from perfwright.models.target import Target
from perfwright.report.gc_picture import draw_front

PAUSES_KEPT = 100_000
PROBE_S = 30.0
MEDIA_TYPE = "application/x-ndjson"


class Collectors:
    """Activities on the target's host."""

    def __init__(self, artifacts: ArtifactStore, environ: Mapping[str, str], state_folder: Path) -> None:
        self._artifacts, self._environ, self._state_folder = artifacts, environ, state_folder

    @activity.defn
    async def inspect_collector(self, request: InspectCollector) -> CollectorPreflight:
        """Is there something to observe, and to send requests to? Raises InvalidInput, TargetRefused, RuntimeUnsupported, TargetGone."""
        target, wanted = request.target, request.request
        selector = target.process
        if selector is None:
            raise refuse(ErrorType.INVALID_INPUT, f"{target.name} is no process", way_out="Give process = { command = [...] } or a pid")
        if selector.command is None:
            return await asyncio.to_thread(_inspect_live, target, wanted)
        takes_port = any(PORT_WORD in word for word in selector.command)
        if wanted.load is None and takes_port:
            told = f"load: a command with {PORT_WORD} in it is observed while it serves requests; give at least load.paths"
            raise refuse(ErrorType.INVALID_INPUT, told, way_out='`"load": {"paths": ["/"]}`')
        if wanted.load is not None and not takes_port:
            raise refuse(
                ErrorType.INVALID_INPUT,
                f"the command of {target.name} holds no {PORT_WORD}: it is started several times, each on a port of its own",
                way_out=f"Write {PORT_WORD} where the command takes its port, or leave load out where it ends by itself",
            )
        self._side(target, None)
        return CollectorPreflight(runtime="unknown", version="", live=False)

    @activity.defn
    async def observe_collector(self, request: CollectorToObserve) -> GcObservation:
        """What the collector does as things stand: of fresh servers under the load, or of the running process."""
        folder = RecordingFolder(self._state_folder, f"{request.artifact_prefix}/observe")
        return await resumable(folder, GcObservation, lambda: self._observe(request, folder))

    @activity.defn
    async def propose_settings(self, request: SettingsToPropose) -> ProposedSettings:
        """Which pauses are worth tuning, and what could be tried."""
        wanted, seen = request.request, request.observation
        pause_ms = wanted.pause_limit_ms(batch=seen.batch)
        issues = issues_of(seen, pause_ms, wanted.share_target)
        collectors = await _collectors_of(seen.executable) if issues else ()
        fitting = self._candidates(request, issues, collectors) if issues else ()
        known = tuple(candidate.name for candidate in fitting)
        names = known if wanted.candidates is None else wanted.candidates
        return ProposedSettings(
            issues=issues,
            candidates=tuple(candidate for candidate in fitting if candidate.name in names),
            metric=metric_of(issues),
            sentence=summary_sentence(seen, issues, pause_ms, wanted.share_target),
            refused=tuple(name for name in names if name not in known),
            known=known,
            collectors=collectors,
            absent=tuple(one for one in FLAGS if one not in collectors) if collectors else (),
        )

    @activity.defn
    async def sweep_settings(self, request: SweepOrder) -> GcSweep:
        """Every candidate and what is, started fresh in turns drawn anew for each round, under the same load."""
        folder = RecordingFolder(self._state_folder, f"{request.artifact_prefix}/sweep")
        return await resumable(folder, GcSweep, lambda: self._sweep(request, folder))

    @activity.defn
    async def judge_tuning(self, request: TuningToJudge) -> JudgedTuning:
        """What the result says, and the configuration document where something is kept."""
        found = judged(request)
        if not found.configuration:
            return found
        place = f"{request.artifact_prefix}/configuration.md"
        title = f"Garbage collector of {request.target}"
        return found.model_copy(update={"document": await self._artifacts.put(place, found.configuration.encode(), "text/markdown", title)})

    async def _observe(self, request: CollectorToObserve, folder: RecordingFolder) -> GcObservation:
        selector = request.target.process
        assert selector is not None, "preflight has seen it"
        if selector.command is None:
            process, _ = await asyncio.to_thread(lambda: through_wrappers(find_process(selector)))
            site = Site(self._environ, self._state_folder, heartbeat=activity.heartbeat)
            running = await asyncio.to_thread(describe, process)
            observe = observe_jvm if running.runtime == "jvm" else observe_live
            facts, pauses, seconds, memory_bytes, warnings = await observe(running, request.request.observe_s, site)
            samples: list[GcSample] = []
            executable, flags = await asyncio.to_thread(_java_of, process) if running.runtime == "jvm" else ("", ())
            table = pause_table(pauses, seconds)
        else:
            flags = ()
            taken = await self._samples(request.target, request.request, (), folder)
            good = [one for one in taken if "facts" in one]
            if not good:
                raise _no_log(request.target, taken)
            samples = [GcSample.model_validate(one["sample"]) for one in taken]
            facts = CollectorFacts.model_validate(good[-1]["facts"])
            pauses = [Pause.model_validate(pause) for one in good for pause in one["pauses"]]
            memory_bytes = float(median(one["sample"]["memory_bytes"] for one in good))
            table = pause_table(
                pauses,
                sum(one["seconds"] for one in good),
                processes=max(one["processes"] for one in good),
                dropped=sum(one["dropped"] for one in good),
            )
            executable = next((one["executable"] for one in good if one["executable"]), "")
            warnings = tuple(one["sample"]["trouble"] for one in taken if one["sample"]["trouble"])
        lines = "".join(pause.model_dump_json() + "\n" for pause in pauses[:PAUSES_KEPT])
        stored = await self._artifacts.put(f"{request.artifact_prefix}/pauses.jsonl", lines.encode(), MEDIA_TYPE, "Pauses")
        return GcObservation(
            facts=facts,
            table=table,
            samples=tuple(samples),
            pauses=stored,
            memory_bytes=memory_bytes,
            live=selector.command is None,
            batch=selector.command is not None and request.request.load is None,
            executable=executable,
            flags=flags,
            warnings=warnings,
        )

    async def _sweep(self, request: SweepOrder, folder: RecordingFolder) -> GcSweep:
        from perfwright.analysis.gc.trial_time import trial_seconds  # NumPy takes a fifth of a worker's start

        wanted = request.request
        taken = await self._samples(request.target, wanted, request.candidates, folder)
        samples = [GcSample.model_validate(one["sample"]) for one in taken]
        if not any(one.candidate == AS_IS and not one.trouble for one in samples):
            raise _no_log(request.target, taken)
        scores = score(samples, wanted.memory_limit_share, wanted.throughput_limit_share)
        names = [candidate.name for candidate in request.candidates]
        pause_ms = wanted.pause_limit_ms(batch=wanted.load is None)
        sweep = choose(scores, pause_ms, wanted.share_target, names)
        trial_s = trial_seconds(samples, _took_s(taken), sweep, wanted, request.metric)
        lines = "".join(one.model_dump_json() + "\n" for one in samples)
        stored = await self._artifacts.put(f"{request.artifact_prefix}/samples.jsonl", lines.encode(), MEDIA_TYPE, "Samples of the sweep")
        drawn = draw_front(scores, sweep.chosen, pause_ms, 1 + wanted.memory_limit_share)
        picture = await self._artifacts.put(f"{request.artifact_prefix}/front.svg", drawn.encode(), "image/svg+xml", "Pareto front")
        return sweep.model_copy(update={"samples": stored, "picture": picture, "trial_s": trial_s})

    async def _samples(
        self, target: Target, request: GarbageCollectionRequest, candidates: tuple[GcCandidate, ...], folder: RecordingFolder
    ) -> list[dict[str, Any]]:
        """One of each candidate and of what is, in every round; those of an earlier attempt are kept."""
        sides = {AS_IS: self._side(target, None)} | {one.name: self._side(target, one) for one in candidates}
        return await samples_of(sides, request, folder)

    def _side(self, target: Target, candidate: GcCandidate | None) -> CommandSide:
        """How the target's command is launched with the candidate. Raises InvalidInput."""
        selector = target.process
        assert selector is not None and selector.command is not None, "preflight has seen it"
        missing = [name for name in selector.environment_names if name not in self._environ]
        if missing:
            raise refuse(
                ErrorType.INVALID_INPUT,
                f"environment_names: not set in the worker's environment: {', '.join(missing)}",
                way_out="Set them where the host worker is started",
            )
        inherited = {name: self._environ[name] for name in selector.environment_names}
        command, environment = launched_as(self._state_folder, target.name, selector.command, inherited)
        if candidate is not None and candidate.launch is not None:
            command = changed_command(command, candidate.launch)
            environment = changed_environment(environment, candidate.launch)
        return CommandSide(command, Path(selector.working_directory or "."), environment)

    def _candidates(
        self, request: SettingsToPropose, issues: Sequence[GcIssue], collectors: tuple[Collector, ...]
    ) -> tuple[GcCandidate, ...]:
        target, seen = request.target, request.observation
        pause_ms = request.request.pause_limit_ms(batch=seen.batch)
        if seen.live and seen.facts.runtime == "jvm":
            words = (seen.executable or "java", *seen.flags)
            return as_advice(jvm_candidates(words, "", seen.facts, collectors, issues, pause_ms, memory_bytes()))
        if seen.live:
            return python_candidates(seen.facts, live=True, python_path="")
        side = self._side(target, None)
        if seen.facts.runtime == "python":
            python_path = with_agent(side.environment.get(PYTHON_PATH, ""))
            return python_candidates(seen.facts, live=False, python_path=python_path, batch=seen.batch)
        options = side.environment.get(JAVA_OPTIONS, "")
        if not is_java(side.argv) and (place := secret_argument(options.split())):  # a change is recorded, and holds no secret
            told = f"{JAVA_OPTIONS} of {target.name}: {place} looks like a secret, and would be recorded with a change of it"
            raise refuse(ErrorType.INVALID_INPUT, told, way_out="Hand it over by a variable of its own")
        return jvm_candidates(side.argv, options, seen.facts, collectors, issues, pause_ms, memory_bytes())


def _took_s(taken: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Of a sample of each side that counts, the median."""
    good = [(one["sample"]["candidate"], one["took_s"]) for one in taken if not one["sample"]["trouble"] and "took_s" in one]
    return {name: float(median(took_s for other, took_s in good if other == name)) for name in {name for name, _ in good}}


def _no_log(target: Target, taken: list[dict[str, Any]]) -> Exception:
    trouble = next((one["sample"]["trouble"] for one in taken if one["sample"]["trouble"]), "nothing was measured")
    return refuse(
        ErrorType.TOOL_FAILED,
        f"the collector of {target.name} could not be observed: {trouble}",
        way_out="CPython reads the agent through PYTHONPATH (not with -I, -E or -S), a JVM of 9 or newer JAVA_TOOL_OPTIONS",
    )


def _inspect_live(target: Target, wanted: GarbageCollectionRequest) -> CollectorPreflight:
    selector = target.process
    assert selector is not None, "seen before"
    process, _ = through_wrappers(find_process(selector))
    found = describe(process)
    refuse_if_untouchable(found)
    if found.runtime == "jvm":
        return _inspect_jvm(found)
    if found.runtime != "python":
        raise refuse(
            ErrorType.RUNTIME_UNSUPPORTED,
            f"process {found.pid} ({found.program}) is no CPython and no JVM: there is no collector to observe",
            way_out="Name the program itself, not what starts it",
        )
    if "inject" not in target.allow:
        raise refuse(
            ErrorType.TARGET_REFUSED,
            f'code may not run in process {found.pid}: target "{target.name}" does not allow "inject"',
            way_out=f'Add "inject" to targets.{target.name}.allow, or give the target its command',
        )
    warnings = () if wanted.probe else ("There is no probe: settings are recommended, and none is tried on the running process.",)
    return CollectorPreflight(runtime="python", version=found.runtime_version, live=True, warnings=warnings)


def _inspect_jvm(found: TargetProcess) -> CollectorPreflight:
    if not found.own_namespace:
        raise refuse(
            ErrorType.NOT_PERMITTED,
            f"process {found.pid} is in another container: the log of its collector is out of sight",
            way_out="Run a host worker inside of it, or give the target its command",
        )
    told = (
        "A running JVM is observed alone: jcmd switches a log of its collector on, and off again; what may help is told as flags for "
        f"its next launch. Give the target its command (with {PORT_WORD} in it, and a load) to have them tried."
    )
    return CollectorPreflight(runtime="jvm", version=found.runtime_version, live=True, warnings=(told,))


def _java_of(process: psutil.Process) -> tuple[str, tuple[str, ...]]:
    """Its launcher, and the words about memory that it was launched with."""
    try:
        return process.exe(), memory_words(process.cmdline())
    except psutil.Error:
        return "", ()


async def _collectors_of(executable: str) -> tuple[Collector, ...]:
    """Those that this JVM starts with."""
    if not executable:
        return ()
    found: list[Collector] = []
    for collector, flag in FLAGS.items():
        tool = Tool([executable, flag, "-version"], limit_s=PROBE_S, way_out="Install a JDK", title=f"java {flag}")
        with suppress(ApplicationError):
            if (await run(tool, heartbeat=lambda *_: activity.heartbeat())).returncode == 0:
                found.append(collector)
    return tuple(found)
