"""Which change of the hot code makes it cheaper, and is that proven?

preflight, the commit's own tests -> profile (of an earlier run, or CpuProfilingInvestigation over the benchmark as a child)
-> hot functions in the repository -> lease -> their calls recorded -> candidates -> gate `approach`
-> one after the other, each on top of what was kept: syntax, tests, calls made again -> Trial, with its own gate `keep`
-> changes that people or the team's command gave: gate `given_change`, then likewise
-> Trial of another count of workers, where one is named
-> branch, text of a pull request -> report -> findings review -> history
"""

from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError
from temporalio.workflow import ParentClosePolicy

from activities.change_commands import ChangeCommands
from activities.code_calls import CodeCalls
from activities.code_candidates import CodeCandidates
from activities.cpu_optimizing import TOP, CpuOptimizing
from activities.targets import TargetQuery, Targets
from perfwright.analysis.gate_answers import told
from perfwright.analysis.optimization_brief import brief_of
from perfwright.analysis.optimization_questions import GIVEN_GATE, approach_question, given_question
from perfwright.analysis.optimization_results import (
    advice_left,
    chosen,
    findings_of,
    quality_of,
    summary_of,
    together_won,
    usable_noise,
    verdict_of,
)
from perfwright.models.change import PatchSpec
from perfwright.models.cpu_optimization import (
    PROCESS,
    CallsRecorded,
    CallsToRecord,
    Candidate,
    CandidatesFound,
    CandidatesQuery,
    CheckOrder,
    CodeBase,
    CpuOptimizationDetails,
    CpuOptimizationRequest,
    EarlierProfileQuery,
    GivenCandidate,
    GivenOrder,
    HotCodeFound,
    HotCodeQuery,
    HotFunction,
    PrepareCode,
    PullRequestOrder,
)
from perfwright.models.cpu_profiling import CpuProfilingDetails, CpuProfilingRequest, HotPaths
from perfwright.models.lease import summary_of as short_summary
from perfwright.models.result import ProcessResult, Verdict
from perfwright.models.submission import ChangeCommandOrder, ProducedChange
from perfwright.models.target import Target
from perfwright.models.workload import Workload
from workflows.cpu.cpu_optimization_trying import (
    Optimising,
    changing_on,
    checked_code,
    on_host,
    recording_s,
    tried_candidate,
    tried_workers,
)
from workflows.cpu.cpu_profiling_investigation import CpuProfilingInvestigation
from workflows.shared.closing import artifact_folder, close, ended_runs_filed, number_run, reviewed
from workflows.shared.hosts import reach_host
from workflows.shared.leasing import target_lease
from workflows.shared.options import COMPUTE, READ, measuring, outlasting
from workflows.shared.overrides import override_problems
from workflows.shared.submitted_changes import SubmittedChanges
from workflows.shared.waiting import stop_if_cancelled, to_the_end

Result = ProcessResult[CpuOptimizationDetails]
OVERHEAD_SHARE = 0.1
"""Of a benchmark that is only profiled; what is claimed is measured without a profiler."""
GIVEN_ASKED = "code that was given is not run before a person has seen it"
"""Runs that began before go on as they began (`workflow.patched`)."""


@workflow.defn
class CpuOptimizationImplementation(Optimising, SubmittedChanges):
    """Which change of the hot code makes it cheaper, and is that proven?"""

    gate_names = ("approach", GIVEN_GATE, "findings_review")
    _investigated: ProcessResult[CpuProfilingDetails] | None = None

    @workflow.run
    async def run(self, request: CpuOptimizationRequest) -> Result:
        async with ended_runs_filed(self):
            run, code = await self._preflight(request)
            try:
                details = CpuOptimizationDetails(commit=code.commit)
                result = await self._optimise(request, code, details)
            finally:
                await to_the_end(self._release(code))
            if result.verdict != "rejected":
                result = await reviewed(self, result, run, deadline_s=request.review_deadline_s, max_revisions=0)
            return await close(self, result, run)

    async def _optimise(self, request: CpuOptimizationRequest, code: CodeBase, details: CpuOptimizationDetails) -> Result:
        with self.step("Run the commit's own tests", "validation") as step:
            base = await checked_code(self, code, CheckOrder(code=code, tip=code.commit))
            step.note = base.problem[:300] or f"they pass in {base.tests.seconds:.1f} s" if base.tests else ""
        details = details.model_copy(update={"base_tests": base.tests})
        if base.problem:
            return self._result(request, code.target, details, "failed", f"Nothing was tried: {base.problem}")
        hot_paths, refusal = await self._profile(request, code)
        if hot_paths is None:
            return self._result(request, code.target, details, "rejected", refusal)
        details = details.model_copy(update={"profile_of": self._profile_of(request)})
        hot = await self._locate(code, hot_paths)
        details = details.model_copy(update={"hot_functions": hot.functions})
        if not hot.functions:
            return self._result(request, code.target, await self._try_workers(request, code, details))
        calls = await self._record_calls(code, hot)
        found = await self._find_candidates(request, code, hot, calls)
        details = details.model_copy(update={"left_alone": found.left_alone, "warnings": (calls.note,) if calls.note else ()})
        approved = chosen(found.candidates, request)
        if approved:
            self.phase("Approach")
            while (decision := await self.ask(approach_question(request, approved, found), **self._patience(request))).wants_changes:
                request = request.revised(decision.overrides)
                approved = chosen(found.candidates, request)
            if decision.refused:
                summary = f"The approach was refused by {decision.by}: {decision.comment}; nothing was changed."
                return self._result(request, code.target, details, "rejected", summary)
        details = await self._try_all(request, code, details, approved, hot, calls)
        details = await self._try_workers(request, code, details)
        return await self._with_pull_request(request, code, details)

    async def _preflight(self, request: CpuOptimizationRequest) -> tuple[str, CodeBase]:
        with self.step("Preflight", "validation") as step:
            target = await workflow.execute_activity_method(
                Targets.resolve_target,
                TargetQuery(target=request.target, operation="profile"),
                summary=f"Look up {request.target} in the registry",
                **READ,
            )
            self.about(target, "Preflight")
            run = await number_run(target, request)
            await reach_host(target.host)
            code: CodeBase = await workflow.execute_activity_method(
                CodeCandidates.prepare_code,
                PrepareCode(target=target, request=request, prefix=artifact_folder(target.name)),
                summary=f"Lay {request.base} of {target.title} out beside its repository",
                **changing_on(target.host),
            )
            step.note = f"commit {code.commit[:12]}"
        return run, code

    async def _profile(self, request: CpuOptimizationRequest, code: CodeBase) -> tuple[HotPaths | None, str]:
        """Hot paths; none where a person refused the profile."""
        self.phase("Profile")
        info = workflow.info()
        if request.investigation is not None:
            with self.step("Read the profile", "analysis") as step:
                step.note = request.investigation
                earlier: HotPaths = await workflow.execute_activity_method(
                    CpuOptimizing.read_earlier_hot_paths,
                    EarlierProfileQuery(target=request.target, run=request.investigation, run_id=info.run_id),
                    summary=f"Hot paths of {request.investigation}",
                    **COMPUTE,
                )
            return earlier, ""
        folder = f"{code.tree}/{code.working_directory}".rstrip("/")
        names = code.target.process.environment_names if code.target.process else ()
        with self.step("Profile the benchmark", "profiling") as step:
            self._investigated = await workflow.execute_child_workflow(
                CpuProfilingInvestigation.run,
                CpuProfilingRequest(
                    target=request.target,
                    duration_s=request.profile_s,
                    passes=("on_cpu",) if request.workers is None else ("on_cpu", "gil"),
                    overhead_budget_share=OVERHEAD_SHARE,
                    instead=Workload(command=code.repeated, working_directory=folder, environment_names=names),
                    top=TOP,
                    compare_with="none",
                    review_deadline_s=request.review_deadline_s,
                ),
                id=f"{info.workflow_id}/profile/{info.run_id}",
                parent_close_policy=ParentClosePolicy.REQUEST_CANCEL,
                static_summary=short_summary(f"Profile the benchmark of {request.target}"),
            )
            stop_if_cancelled()
            step.note = self._investigated.summary[:300]
        if self._investigated.verdict == "rejected" or self._investigated.details.hot_paths is None:
            return None, f"Nothing was tried: {self._investigated.summary}"
        return self._investigated.details.hot_paths, ""

    def _profile_of(self, request: CpuOptimizationRequest) -> str:
        if self._investigated is None:
            return request.investigation or ""
        return f"{self._investigated.workflow_id}: {self._investigated.verdict}"

    async def _locate(self, code: CodeBase, hot_paths: HotPaths) -> HotCodeFound:
        self.phase("Candidates")
        with self.step("Find hot functions in the repository", "analysis") as step:
            hot: HotCodeFound = await workflow.execute_activity_method(
                CodeCandidates.locate_hot_code,
                HotCodeQuery(code=code, hot_paths=hot_paths),
                summary=f"Which hot functions are in the repository of {code.target.title}?",
                **on_host(code),
            )
            step.note = f"{len(hot.functions)} functions"
        return hot

    async def _record_calls(self, code: CodeBase, hot: HotCodeFound) -> CallsRecorded:
        with self.step("Record calls of hot functions", "profiling") as step:
            async with target_lease(self, code.target.resources, on_waiting=self.waits_for_lease):
                calls: CallsRecorded = await workflow.execute_activity_method(
                    CodeCalls.record_calls,
                    CallsToRecord(code=code, functions=hot.functions),
                    summary=f"Run the benchmark once, and note with which arguments {len(hot.functions)} functions are called",
                    **measuring(recording_s(code), on=code.target.host),
                )
            step.note = (
                calls.note or f"{sum(one.calls for one in calls.functions):,} calls, {sum(one.kept for one in calls.functions)} kept"
            )
        return calls

    async def _find_candidates(
        self, request: CpuOptimizationRequest, code: CodeBase, hot: HotCodeFound, calls: CallsRecorded
    ) -> CandidatesFound:
        with self.step("Find candidates", "design") as step:
            found: CandidatesFound = await workflow.execute_activity_method(
                CodeCandidates.find_candidates,
                CandidatesQuery(code=code, functions=hot.functions, calls=calls, least_gain_share=request.least_gain_share),
                summary=f"Which changes of {len(hot.functions)} hot functions are known?",
                **on_host(code),
            )
            step.note = f"{len(found.candidates)} candidates, {len(found.left_alone)} left alone"
        return found

    async def _try_all(
        self,
        request: CpuOptimizationRequest,
        code: CodeBase,
        details: CpuOptimizationDetails,
        approved: tuple[Candidate, ...],
        hot: HotCodeFound,
        calls: CallsRecorded,
    ) -> CpuOptimizationDetails:
        """Each on top of what was kept before it."""
        self.phase("Trials")
        number = 0
        for candidate in approved:
            number += 1
            function = _function_of(candidate, hot)
            details = await self._try(request, code, details, candidate, function, calls, function.line if function else 0, number)
        if request.use_change_command:
            number += 1
            details = await self._try_command(request, code, details, calls, number)
        patience_s = request.submissions_s
        while (given := await self.submitted_change(patience_s)) is not None:
            number += 1
            details = await self._try_given(
                request, code, details, calls, given.spec, given.comment or "A submitted change", given.by, number
            )
            patience_s = 0.0
        return details

    async def _try(
        self,
        request: CpuOptimizationRequest,
        code: CodeBase,
        details: CpuOptimizationDetails,
        candidate: Candidate,
        function: HotFunction | None,
        calls: CallsRecorded,
        line: int,
        number: int,
    ) -> CpuOptimizationDetails:
        tip = details.tip or code.commit
        noise = usable_noise(details.candidates)
        result, place = await tried_candidate(self, code, request, tip, candidate, function, calls, line, number, noise)
        update: dict[str, Any] = {"candidates": (*details.candidates, result)}
        if place.commit:
            update |= {"tip": place.commit, "branch": place.branch}
        return details.model_copy(update=update)

    async def _try_given(
        self,
        request: CpuOptimizationRequest,
        code: CodeBase,
        details: CpuOptimizationDetails,
        calls: CallsRecorded,
        spec: PatchSpec,
        title: str,
        by: str,
        number: int,
    ) -> CpuOptimizationDetails:
        order = GivenOrder(code=code, tip=details.tip or code.commit, spec=spec, title=title, by=by, number=number, calls=calls)
        read: GivenCandidate = await workflow.execute_activity_method(
            CodeCandidates.read_given_change, order, summary=short_summary(f"Read the change of {by}: {title}"), **on_host(code)
        )
        if read.candidate is None:
            self.say(f"{title} of {by} is not tried: {read.why}"[:300])
            return details.model_copy(update={"warnings": (*details.warnings, f"{title} of {by}: {read.why}")})
        if workflow.patched(GIVEN_ASKED) and (refusal := await self._refused_given(request, read.candidate, by)):
            return details.model_copy(update={"warnings": (*details.warnings, f"{title} of {by}: {refusal}")})
        return await self._try(request, code, details, read.candidate, None, calls, read.line, number)

    async def _refused_given(self, request: CpuOptimizationRequest, candidate: Candidate, by: str) -> str:
        """Its tests and benchmark run with the worker's rights: not before a person has seen the diff."""
        decision = await self.ask(given_question(request, candidate, by), deadline_s=request.review_deadline_s, max_revisions=0)
        if not decision.refused:
            decision = self.begin_apply(GIVEN_GATE)  # a later rejection still counts
        return f"refused by {decision.by}: {decision.comment}" if decision.refused else ""

    async def _try_command(
        self, request: CpuOptimizationRequest, code: CodeBase, details: CpuOptimizationDetails, calls: CallsRecorded, number: int
    ) -> CpuOptimizationDetails:
        """The team's own command, with a brief of what is hot and what was tried."""
        order = ChangeCommandOrder(target=code.target, brief=brief_of(request, details), base=details.tip or code.commit)
        with self.step("Ask the change command", "implementation") as step:
            try:
                made: ProducedChange = await workflow.execute_activity_method(
                    ChangeCommands.produce_change,
                    order,
                    summary=f"The command of {code.target.title} makes a change",
                    **measuring(order.limit_s, on=code.target.host),
                )
            except ActivityError as failed:
                stop_if_cancelled()
                step.fail(told(str(failed.cause or failed), 300))
                return details.model_copy(update={"warnings": (*details.warnings, f"change command: {step.note}")})
            step.note = f"{made.commits} commits in {made.seconds:.0f} s"
        return await self._try_given(
            request, code, details, calls, made.spec, "A change of the change command", "the change command", number
        )

    async def _try_workers(
        self, request: CpuOptimizationRequest, code: CodeBase, details: CpuOptimizationDetails
    ) -> CpuOptimizationDetails:
        if request.workers is None:
            return details
        seen = self._investigated.details if self._investigated else None
        result, why = await tried_workers(self, code, request, seen)
        return details.model_copy(update={"workers": result, "workers_left": why})

    async def _with_pull_request(self, request: CpuOptimizationRequest, code: CodeBase, details: CpuOptimizationDetails) -> Result:
        if (won := together_won(details.candidates)) is not None:
            gain = {"gain_share": won.share, "gain_low": won.low, "gain_high": won.high, "gain_metric": won.metric}
            details = details.model_copy(update=gain)
        if details.branch:
            with self.step("Write the pull request", "documentation"):
                text = await workflow.execute_activity_method(
                    CpuOptimizing.write_pull_request,
                    PullRequestOrder(target=request.target, details=details, prefix=code.prefix),
                    summary=f"Write the text of a pull request for {details.branch}",
                    **outlasting(READ),
                )
            details = details.model_copy(update={"pull_request": text})
        return self._result(request, code.target, details)

    async def _release(self, code: CodeBase) -> None:
        await workflow.execute_activity_method(
            CodeCandidates.release_code,
            code,
            summary="Remove what was laid out",
            **changing_on(code.target.host),
        )

    def _patience(self, request: CpuOptimizationRequest) -> dict[str, Any]:
        return {
            "deadline_s": request.review_deadline_s,
            "max_revisions": request.max_revisions,
            "validate_overrides": lambda overrides: override_problems(request, overrides),
        }

    def _result(
        self,
        request: CpuOptimizationRequest,
        target: Target,
        details: CpuOptimizationDetails,
        verdict: Verdict | None = None,
        summary: str = "",
    ) -> Result:
        info = workflow.info()
        gates = quality_of(details, request)
        before = self._investigated
        findings = findings_of(details, before.findings if before else ())
        return Result(
            process=PROCESS,
            target=target.name,
            environment=target.environment,
            workflow_id=info.workflow_id,
            run_id=info.run_id,
            verdict=verdict or verdict_of(details, gates),
            summary=summary or summary_of(target.name, details),
            findings=findings,
            recommendations=advice_left(before.recommendations if before else (), findings),
            quality_gates=gates,
            artifacts=(details.pull_request,) if details.pull_request else (),
            request=request.model_dump(mode="json"),
            started_at=info.start_time.isoformat(),
            details=details,
        )


def _function_of(candidate: Candidate, hot: HotCodeFound) -> HotFunction | None:
    name = candidate.function.rpartition(".")[2]
    same = [one for one in hot.functions if (one.path, one.function) == (candidate.path, name) and one.line <= candidate.line]
    return max(same, key=lambda one: one.line) if same else None
