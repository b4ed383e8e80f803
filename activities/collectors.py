"""Garbage collectors at work: observed under load, with other settings, before and after. Starts services, changes nothing that stands."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.artifacts import ArtifactStore
from activities.changes.kind import Site
from activities.changes.launches import launched_as
from activities.collector_logs import PYTHON_PATH, with_agent
from activities.errors import refuse
from activities.finding_processes import describe, find_process, refuse_if_untouchable, through_wrappers
from activities.heartbeats import beating
from activities.live_collector import observe_live
from activities.recording_folder import RecordingFolder, resumable
from activities.service_runs import ServiceSample, measured, p_ms, requests_of, send, started
from activities.subprocesses import Tool, run
from activities.trial_measuring.sides import CommandSide
from perfwright.analysis.changes.launches import changed_command, changed_environment
from perfwright.analysis.gc.candidates import FLAGS, JAVA_OPTIONS, is_java, jvm_candidates, python_candidates
from perfwright.analysis.gc.front import AS_IS, choose, score
from perfwright.analysis.gc.issues import issues_of, summary_sentence
from perfwright.analysis.gc.pauses import pause_table
from perfwright.analysis.gc.trying import metric_of
from perfwright.analysis.gc.tuning_results import judged
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
    GcObservation,
    GcSample,
    GcSweep,
    Pause,
)
from perfwright.models.secrets import secret_argument
from perfwright.models.target import Target
from perfwright.report.gc_picture import draw_front

SAMPLES_FILE = "samples.jsonl"
PAUSES_KEPT = 100_000
PAUSES_PER_SAMPLE = 5_000
"""Written down singly for a sample; the table is of all."""
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
            raise refuse(ErrorType.INVALID_INPUT, f"{target.name} is no process", way_out="give process = { command = [...] } or a pid")
        if selector.command is None:
            return await asyncio.to_thread(_inspect_live, target, wanted)
        if wanted.load is None:
            told = "load: a command is observed while it serves requests; give at least load.paths"
            raise refuse(ErrorType.INVALID_INPUT, told, way_out='`"load": {"paths": ["/"]}`')
        if not any(PORT_WORD in word for word in selector.command):
            raise refuse(
                ErrorType.INVALID_INPUT,
                f"the command of {target.name} holds no {PORT_WORD}: it is started several times, each on a port of its own",
                way_out=f"write {PORT_WORD} where the command takes its port",
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
        issues = issues_of(seen, wanted.pause_target_ms, wanted.share_target)
        fitting = await self._candidates(request) if issues else ()
        known = tuple(candidate.name for candidate in fitting)
        names = known if wanted.candidates is None else wanted.candidates
        return ProposedSettings(
            issues=issues,
            candidates=tuple(candidate for candidate in fitting if candidate.name in names),
            metric=metric_of(issues),
            sentence=summary_sentence(seen, issues, wanted.pause_target_ms, wanted.share_target),
            refused=tuple(name for name in names if name not in known),
            known=known,
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
            facts, pauses, seconds, memory_bytes, warnings = await observe_live(describe(process), request.request.observe_s, site)
            samples: list[GcSample] = []
            executable = ""
            table = pause_table(pauses, seconds)
        else:
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
            executable=executable,
            warnings=warnings,
        )

    async def _sweep(self, request: SweepOrder, folder: RecordingFolder) -> GcSweep:
        wanted = request.request
        taken = await self._samples(request.target, wanted, request.candidates, folder)
        samples = [GcSample.model_validate(one["sample"]) for one in taken]
        if not any(one.candidate == AS_IS and not one.trouble for one in samples):
            raise _no_log(request.target, taken)
        scores = score(samples, wanted.memory_limit_share, wanted.throughput_limit_share)
        names = [candidate.name for candidate in request.candidates]
        sweep = choose(scores, wanted.pause_target_ms, wanted.share_target, names)
        lines = "".join(one.model_dump_json() + "\n" for one in samples)
        stored = await self._artifacts.put(f"{request.artifact_prefix}/samples.jsonl", lines.encode(), MEDIA_TYPE, "Samples of the sweep")
        drawn = draw_front(scores, sweep.chosen, wanted.pause_target_ms, 1 + wanted.memory_limit_share)
        picture = await self._artifacts.put(f"{request.artifact_prefix}/front.svg", drawn.encode(), "image/svg+xml", "Pareto front")
        return sweep.model_copy(update={"samples": stored, "picture": picture})

    async def _samples(
        self, target: Target, request: GarbageCollectionRequest, candidates: tuple[GcCandidate, ...], folder: RecordingFolder
    ) -> list[dict[str, Any]]:
        """One of each candidate and of what is, in every round; those of an earlier attempt are kept."""
        taken = list(folder.lines(SAMPLES_FILE))
        done = {(one["sample"]["candidate"], one["sample"]["round"]) for one in taken}
        sides = {AS_IS: self._side(target, None)} | {one.name: self._side(target, one) for one in candidates}
        doing = ""

        def progress() -> dict[str, Any]:
            return {"measuring": doing, "samples": len(taken), "of": request.rounds * len(sides)}

        async with beating(progress):
            for number in range(request.rounds):
                chance = Random(number)  # noqa: S311 an order, no secret
                drawn = {"PYTHONHASHSEED": str(chance.getrandbits(32))}
                for name in chance.sample(list(sides), len(sides)):
                    if (name, number) in done:
                        continue
                    doing = name or "as it is"
                    line = await _taken(name, number, sides[name], drawn, request)
                    folder.append(SAMPLES_FILE, line)
                    taken.append(line)
        return taken

    def _side(self, target: Target, candidate: GcCandidate | None) -> CommandSide:
        """How the target's command is launched with the candidate. Raises InvalidInput."""
        selector = target.process
        assert selector is not None and selector.command is not None, "preflight has seen it"
        missing = [name for name in selector.environment_names if name not in self._environ]
        if missing:
            raise refuse(
                ErrorType.INVALID_INPUT,
                f"environment_names: not set in the worker's environment: {', '.join(missing)}",
                way_out="set them where the host worker is started",
            )
        inherited = {name: self._environ[name] for name in selector.environment_names}
        command, environment = launched_as(self._state_folder, target.name, selector.command, inherited)
        if candidate is not None and candidate.launch is not None:
            command = changed_command(command, candidate.launch)
            environment = changed_environment(environment, candidate.launch)
        return CommandSide(command, Path(selector.working_directory or "."), environment)

    async def _candidates(self, request: SettingsToPropose) -> tuple[GcCandidate, ...]:
        target, seen = request.target, request.observation
        if seen.live:
            return python_candidates(seen.facts, live=True, python_path="")
        side = self._side(target, None)
        if seen.facts.runtime == "python":
            return python_candidates(seen.facts, live=False, python_path=with_agent(side.environment.get(PYTHON_PATH, "")))
        collectors = await _collectors_of(seen.executable)
        issues = issues_of(seen, request.request.pause_target_ms, request.request.share_target)
        options = side.environment.get(JAVA_OPTIONS, "")
        if not is_java(side.argv) and (place := secret_argument(options.split())):  # a change is recorded, and holds no secret
            told = f"{JAVA_OPTIONS} of {target.name}: {place} looks like a secret, and would be recorded with a change of it"
            raise refuse(ErrorType.INVALID_INPUT, told, way_out="hand it over by a variable of its own")
        return jvm_candidates(side.argv, options, seen.facts, collectors, issues, request.request.pause_target_ms)


async def _taken(name: str, number: int, side: CommandSide, drawn: Mapping[str, str], request: GarbageCollectionRequest) -> dict[str, Any]:
    """One freshly started server under the load, as a line; where it does not come up or ends, with the reason."""
    load = request.load
    assert load is not None, "preflight has seen it"
    try:
        async with started(side, f"{name or 'the command'} (round {number + 1})", drawn) as service:
            await service.ready(load.ready_path)
            warm_up = requests_of(load.paths, load.warm_up_requests)
            await send([service], [(0,)] * len(warm_up), warm_up, load.concurrency)
            paths = requests_of(load.paths, load.requests_per_round)
            (sample,) = await measured([service], [(0,)] * len(paths), paths, load.concurrency)
    except ApplicationError as trouble:
        if trouble.type not in (ErrorType.TOOL_FAILED, ErrorType.TOOL_TIMEOUT):
            raise
        return {"sample": _empty(name, number, trouble.message).model_dump()}
    if sample.table is None or sample.facts is None:
        return {"sample": _empty(name, number, "no collector wrote a log").model_dump()}
    return {
        "sample": _sample(name, number, sample).model_dump(),
        "facts": sample.facts.model_dump(mode="json"),
        "pauses": [pause.model_dump(mode="json") for pause in sample.pauses[:PAUSES_PER_SAMPLE]] if name == AS_IS else [],
        "seconds": sample.seconds,
        "processes": sample.processes,
        "dropped": sample.table.dropped + max(0, len(sample.pauses) - PAUSES_PER_SAMPLE),
        "executable": sample.executable,
    }


def _sample(name: str, number: int, sample: ServiceSample) -> GcSample:
    assert sample.table is not None, "it has a log"
    return GcSample(
        candidate=name,
        round=number,
        pause_p99_ms=sample.table.p99_ms,
        pause_max_ms=sample.table.max_ms,
        pause_share=sample.table.share,
        throughput_hz=sample.answers.throughput_hz,
        p50_ms=p_ms(sample.answers, 50),
        p99_ms=p_ms(sample.answers, 99),
        cpu_s=sample.cpu_s,
        memory_bytes=sample.memory_bytes,
        errors_share=sample.answers.errors_share,
    )


def _empty(name: str, number: int, trouble: str) -> GcSample:
    return GcSample(
        candidate=name,
        round=number,
        pause_p99_ms=0.0,
        pause_max_ms=0.0,
        pause_share=0.0,
        throughput_hz=0.0,
        p50_ms=0.0,
        p99_ms=0.0,
        cpu_s=0.0,
        memory_bytes=0.0,
        errors_share=1.0,
        trouble=trouble[:300],
    )


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
    if found.runtime != "python":
        raise refuse(
            ErrorType.RUNTIME_UNSUPPORTED,
            f"process {found.pid} ({found.program}) is no CPython: its collector takes no other settings while it runs",
            way_out=f"give the target its command, with {PORT_WORD} in it: settings are then tried on fresh launches",
        )
    if "inject" not in target.allow:
        raise refuse(
            ErrorType.TARGET_REFUSED,
            f'code may not run in process {found.pid}: target "{target.name}" does not allow "inject"',
            way_out=f'Add "inject" to targets.{target.name}.allow, or give the target its command',
        )
    warnings = () if wanted.probe else ("There is no probe: settings are recommended, and none is tried on the running process.",)
    return CollectorPreflight(runtime="python", version=found.runtime_version, live=True, warnings=warnings)


async def _collectors_of(executable: str) -> tuple[Collector, ...]:
    """Those that this JVM starts with."""
    if not executable:
        return ()
    found: list[Collector] = []
    for collector, flag in FLAGS.items():
        tool = Tool([executable, flag, "-version"], limit_s=PROBE_S, way_out="install a JDK", title=f"java {flag}")
        with suppress(ApplicationError):
            if (await run(tool, heartbeat=lambda *_: activity.heartbeat())).returncode == 0:
                found.append(collector)
    return tuple(found)
