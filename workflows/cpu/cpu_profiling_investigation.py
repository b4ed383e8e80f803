"""Where does the CPU time go, which line, and how much could be won?

preflight (-> in production: may an inspector be opened?) -> lease -> record (on-CPU | idle and GIL | native slices
|| process and thread sampler || workload) -> profile review
-> flame graphs || hot paths || utilisation -> ranking -> report -> findings review -> record in the history
"""

from typing import Any

from temporalio import workflow

from activities.cpu_analysis import CpuAnalysis
from activities.errors import refuse
from activities.history import History
from activities.jfr import Jfr
from activities.node_inspector import NodeInspector
from activities.perf import Perf
from activities.processes import Processes
from activities.pyspy import PySpy
from activities.targets import TargetQuery, Targets
from perfwright.analysis.cpu_questions import OPEN_INSPECTOR, inspector_change, may_inject, not_approved, profile_review
from perfwright.models.cpu_profiling import (
    PROCESS,
    CpuProfilingDetails,
    CpuProfilingRequest,
    Preflight,
    PreviousProfile,
    ProfilerChoice,
    ProfilerName,
    Recording,
    StackProfile,
    StackRecording,
    TargetProcess,
)
from perfwright.models.cpu_steps import (
    FindingsToRank,
    FlameGraphsToDraw,
    InspectTarget,
    ProfileJudgement,
    ProfileToJudge,
    ProfileToRead,
    UseSampling,
)
from perfwright.models.errors import ErrorType
from perfwright.models.history import PreviousProfileQuery, RecordedProfile
from perfwright.models.host import HostFacts
from perfwright.models.registry_checks import PRODUCTION
from perfwright.models.result import ProcessResult, Verdict
from perfwright.models.target import ProcessSelector, Target
from perfwright.models.workload import Workload
from workflows.shared.closing import artifact_folder, close, ended_runs_filed, number_run, reviewed
from workflows.shared.commands import launched, loaded
from workflows.shared.hosts import reach_host
from workflows.shared.human_gates import HumanGates
from workflows.shared.leasing import LeaseHolder, LeaseLost, target_lease
from workflows.shared.options import COMPUTE, READ, measuring, outlasting
from workflows.shared.overrides import override_problems
from workflows.shared.waiting import together

RECORDERS: dict[ProfilerName, Any] = {
    "py-spy": PySpy.record_python_stacks,
    "jfr": Jfr.record_jvm_stacks,
    "node-inspector": NodeInspector.record_node_stacks,
    "perf": Perf.record_native_stacks,
}

Result = ProcessResult[CpuProfilingDetails]


@workflow.defn
class CpuProfilingInvestigation(HumanGates, LeaseHolder):
    """Where does the CPU time go, which line, and how much could be won?"""

    gate_names = (OPEN_INSPECTOR, "profile_review", "findings_review")
    _host: HostFacts
    _approved: TargetProcess | None = None
    """In production: the process whose inspector a person lets us open."""

    @workflow.run
    async def run(self, request: CpuProfilingRequest) -> Result:
        async with ended_runs_filed(self):
            target, run, found = await self._preflight(request)
            if found.injects and target.environment == PRODUCTION:
                decision = await self.ask(inspector_change(target, found), **self._patience(request, revisions=0))
                if decision.refused:
                    return await self._close(self._not_opened(request, target), run)
                self._approved = found.process
            recording = await self._take_recording(target, request, revision=1)
            if recording is None:
                return await self._close(self._not_opened(request, target), run)
            judgement = await self._judge(request, recording)
            while (decision := await self.ask(profile_review(judgement, recording, request), **self._patience(request))).wants_changes:
                request = request.revised(decision.overrides)
                recording = await self._take_recording(target, request, revision=recording.revision + 1)
                assert recording is not None, "an approval is final once the first recording has begun"
                judgement = await self._judge(request, recording)
            if decision.refused:
                summary = f"The profile was refused by {decision.by}: {decision.comment}"
                return await self._close(self._result(request, target, "rejected", summary, recording, judgement), run)

            result = await self._analyse(request, target, recording, judgement)
            result = await reviewed(self, result, run, **self._patience(request, revisions=0))
            return await self._close(result, run)

    async def _analyse(self, request: CpuProfilingRequest, target: Target, recording: Recording, judgement: ProfileJudgement) -> Result:
        self.phase("Analysis")
        previous = await self._find_previous(request, target, recording)
        graphs, hot_paths, utilisation = await together(
            self._draw_flame_graphs(target, recording, previous),
            self._find_hot_paths(request, recording),
            self._classify_utilisation(recording),
        )
        with self.step("Rank findings", "analysis"):
            ranked = await workflow.execute_activity_method(
                CpuAnalysis.rank_findings,
                FindingsToRank(
                    request=request,
                    recording=recording,
                    hot_paths=hot_paths,
                    utilisation=utilisation,
                    quality_gates=judgement.quality_gates,
                ),
                summary=f"Rank what was found in {target.title} by gain over effort",
                **COMPUTE,
            )
        return self._result(
            request,
            target,
            "passed" if judgement.believable else "inconclusive",
            ranked.summary if judgement.believable else judgement.problem,
            recording,
            judgement,
            findings=ranked.findings,
            recommendations=ranked.recommendations,
            details={
                "flame_graphs": graphs.graphs,
                "hot_paths": hot_paths,
                "utilisation": utilisation,
                "compared_with": next((graph.compared_with for graph in graphs.graphs if graph.kind == "diff"), ""),
                "biggest_win": ranked.biggest_win,
            },
        )

    async def _preflight(self, request: CpuProfilingRequest) -> tuple[Target, str, Preflight]:
        with self.step("Preflight", "validation"):
            target = await workflow.execute_activity_method(
                Targets.resolve_target,
                TargetQuery(target=request.target, operation="profile"),
                summary=f"Look up {request.target_name} in the registry",
                **READ,
            )
            if request.instead is not None:
                target = target.model_copy(update={"process": started_instead(request.instead)})
            self.about(target, "Preflight")
            run = await number_run(target, request)
            self._host = await reach_host(target.host)
            found = await self._inspect(target, request)
            if request.compare_with not in ("latest", "none"):
                await self._find_previous(request, target)
        return target, run, found

    async def _inspect(self, target: Target, request: CpuProfilingRequest, launched_pid: int | None = None) -> Preflight:
        return await workflow.execute_activity_method(
            Processes.inspect_target,
            InspectTarget(target=target, host=self._host, passes=request.passes, launched_pid=launched_pid),
            summary=f"Find the process of {target.title}, its runtime and its profiler",
            **measuring(10, on=target.host),
        )

    async def _take_recording(self, target: Target, request: CpuProfilingRequest, revision: int) -> Recording | None:
        """None when the approval to open the inspector was taken back while the lease was waited for."""
        self.phase("Recording")
        prefix = f"{artifact_folder(target.name)}/{revision}"
        recording: Recording | None = None
        taken_back = False
        with self.step(f"Record, revision {revision}" if revision > 1 else "Record", "profiling") as step:
            try:
                async with target_lease(self, target.resources, on_waiting=self.waits_for_lease):
                    taken_back = self._approved is not None and self.begin_apply(OPEN_INSPECTOR).refused
                    if not taken_back:
                        recording = await self._record_under_load(target, request, prefix, revision)
            except LeaseLost as lost:
                if recording is not None:
                    recording = recording.model_copy(update={"disturbed": str(lost)})
                elif not taken_back:
                    raise
            if recording is None:
                step.skip("the inspector may not be opened any more")
                return None
            step.note = f"{recording.choice.tool}: {recording.choice.reason}"
        self.say(recording.sentence)
        return recording

    async def _record_under_load(self, target: Target, request: CpuProfilingRequest, prefix: str, revision: int) -> Recording:
        async with (
            launched(target, prefix, request.duration_s) as command,
            loaded(request.workload, target, prefix, request.duration_s),
        ):
            recording = await command.examined(lambda pid: self._record(target, request, pid, prefix, revision))
            return recording.model_copy(update={"warnings": (*recording.warnings, *command.said)}) if command.said else recording

    async def _record(self, target: Target, request: CpuProfilingRequest, pid: int | None, prefix: str, revision: int) -> Recording:
        found = await self._inspect(target, request, pid)
        process, choice = found.process, found.choice
        assert process is not None and choice is not None, "a target that runs has a process and a profiler"
        injectable = may_inject(target, process, self._approved, launched_by_us=pid is not None)
        if found.injects and not injectable:
            raise refuse(ErrorType.TARGET_REFUSED, not_approved(found, self._approved), way_out="Start again: the run asks first")
        stacks, usage = await together(
            self._record_stacks(target, request, process, choice, prefix, injectable),
            workflow.execute_activity_method(
                Processes.sample_threads,
                UseSampling(
                    target=target.name,
                    process=process,
                    duration_s=request.duration_s,
                    subprocesses=request.subprocesses,
                    artifact_prefix=prefix,
                ),
                summary=f"Sample CPU, threads and switches of {target.title} (pid {process.pid})",
                **measuring(request.duration_s, on=target.host),
            ),
        )
        return Recording(
            stacks=stacks,
            usage=usage,
            process=process,
            choice=choice,
            environment=found.environment,
            revision=revision,
            warnings=found.warnings,
        )

    async def _record_stacks(
        self, target: Target, request: CpuProfilingRequest, process: TargetProcess, choice: ProfilerChoice, prefix: str, injectable: bool
    ) -> StackProfile:
        passes = " | ".join(kind.replace("_", "-") for kind in choice.passes)
        return await workflow.execute_activity_method(
            RECORDERS[choice.tool],
            StackRecording(
                target=target.name,
                process=process,
                choice=choice,
                duration_s=request.duration_s,
                rate_hz=request.rate_hz,
                slice_s=request.slice_s or choice.slice_s,
                overhead_budget_share=request.overhead_budget_share,
                subprocesses=request.subprocesses,
                artifact_prefix=prefix,
                min_samples=request.min_samples if request.passes is None else 0,
                may_inject=injectable,
            ),
            summary=f"Record {passes} stacks of {target.title} (pid {process.pid}) with {choice.tool} for {request.duration_s:g} s",
            **measuring(request.duration_s, on=target.host),
        )

    async def _judge(self, request: CpuProfilingRequest, recording: Recording) -> ProfileJudgement:
        self.phase("Profile review")
        with self.step("Judge the profile", "validation"):
            return await workflow.execute_activity_method(
                CpuAnalysis.judge_profile,
                ProfileToJudge(recording=recording, request=request),
                summary=f"Check samples, errors and overhead of the profile of {request.target_name}",
                **COMPUTE,
            )

    async def _find_previous(
        self, request: CpuProfilingRequest, target: Target, recording: Recording | None = None
    ) -> PreviousProfile | None:
        return await workflow.execute_activity_method(
            History.find_previous_profile,
            PreviousProfileQuery(
                process=PROCESS,
                target=target.name,
                compare_with=request.compare_with,
                tool=recording.choice.tool if recording else "",
                runtime=recording.process.runtime if recording else "",
                # What the registry names stays the same target with other arguments; a pid or port may be anybody's.
                program_digest=recording.process.program_digest if recording and target.inline else "",
                run_id=workflow.info().run_id,
            ),
            summary=f"Find an earlier profile of {target.title} ({request.compare_with})",
            **(outlasting(READ) if recording else READ),
        )

    async def _draw_flame_graphs(self, target: Target, recording: Recording, previous: PreviousProfile | None) -> Any:
        with self.step("Draw flame graphs", "analysis") as step:
            step.note = f"compared with {previous.run}" if previous else "no earlier run to compare with"
            prefix = recording.stacks.profile.uri.rpartition("/")[0]
            drawn = await workflow.execute_activity_method(
                CpuAnalysis.draw_flame_graphs,
                FlameGraphsToDraw(
                    target=target.name,
                    profile=recording.stacks.profile,
                    previous=previous,
                    runtime=recording.process.runtime,
                    usage=recording.usage,
                    artifact_prefix=prefix,
                ),
                summary=f"Draw flame graphs of {target.title}: on-CPU, waiting" + (f", change since {previous.run}" if previous else ""),
                **COMPUTE,
            )
            step.note = drawn.note or step.note
            return drawn

    async def _find_hot_paths(self, request: CpuProfilingRequest, recording: Recording) -> Any:
        with self.step("Find hot paths", "analysis"):
            return await workflow.execute_activity_method(
                CpuAnalysis.find_hot_paths,
                ProfileToRead(recording=recording, top=request.top),
                summary=f"Self and total time of {request.target_name} by function and line, with intervals",
                **COMPUTE,
            )

    async def _classify_utilisation(self, recording: Recording) -> Any:
        with self.step("Classify utilisation", "analysis"):
            return await workflow.execute_activity_method(
                CpuAnalysis.classify_utilisation,
                ProfileToRead(recording=recording),
                summary="Name how threads use the CPUs, and where they wait",
                **COMPUTE,
            )

    def _patience(self, request: CpuProfilingRequest, revisions: int | None = None) -> dict[str, Any]:
        return {
            "deadline_s": request.review_deadline_s,
            "max_revisions": request.max_revisions if revisions is None else revisions,
            "validate_overrides": lambda overrides: override_problems(request, overrides),
        }

    def _not_opened(self, request: CpuProfilingRequest, target: Target) -> Result:
        decision = self.begin_apply(OPEN_INSPECTOR)
        summary = f"Nothing was recorded: {decision.by} did not let the inspector be opened: {decision.comment}"
        return self._result(request, target, "rejected", summary)

    def _result(
        self,
        request: CpuProfilingRequest,
        target: Target,
        verdict: Verdict,
        summary: str,
        recording: Recording | None = None,
        judgement: ProfileJudgement | None = None,
        details: dict[str, Any] | None = None,
        **more: Any,
    ) -> Result:
        info = workflow.info()
        recorded: dict[str, Any] = {}
        if recording is not None:
            recorded = {
                "choice": recording.choice,
                "process": recording.process,
                "environment": recording.environment,
                "stacks": recording.stacks,
                "usage": recording.usage,
                "warnings": (*recording.warnings, *recording.stacks.warnings, *(gap.title for gap in recording.stacks.gaps)),
            }
        return Result(
            process=PROCESS,
            target=target.name,
            environment=target.environment,
            workflow_id=info.workflow_id,
            run_id=info.run_id,
            verdict=verdict,
            summary=summary,
            quality_gates=judgement.quality_gates if judgement else (),
            artifacts=(recording.stacks.profile,) if recording else (),
            request=request.model_dump(mode="json"),
            started_at=info.start_time.isoformat(),
            details=CpuProfilingDetails(**recorded, **(details or {})),
            **more,
        )

    async def _close(self, result: Result, run: str) -> Result:
        profiles = () if result.request.get("instead") else _kept_profiles(result.details)
        return await close(self, result, run, fingerprint=result.details.environment, profiles=profiles)


def started_instead(command: Workload) -> ProcessSelector:
    """The command as a target's process."""
    return ProcessSelector(
        command=command.command, working_directory=command.working_directory, environment_names=command.environment_names
    )


def _kept_profiles(details: CpuProfilingDetails) -> tuple[RecordedProfile, ...]:
    if details.stacks is None:
        return ()
    return (
        RecordedProfile(
            kind="cpu",
            artifact=details.stacks.profile,
            tool=details.choice.tool if details.choice else "",
            runtime=details.process.runtime if details.process else "",
            usage=details.usage,
            program_digest=details.process.program_digest if details.process else "",
        ),
    )
