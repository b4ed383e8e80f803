"""Which collector settings meet the pause target without costing memory or throughput?

preflight -> lease -> current behaviour under load -> pause issues -> objective -> lease -> sweep -> front -> Trial of the chosen candidate,
or on a running CPython of one candidate after the other (its own gates: change, keep) -> lease -> monitor after -> configuration document
-> report -> findings review -> record in the history
"""

from typing import Any

from temporalio import workflow
from temporalio.workflow import ParentClosePolicy

from activities.collectors import Collectors
from activities.targets import TargetQuery, Targets
from perfwright.analysis.gc.trying import budget_s, trial_of
from perfwright.analysis.gc.tuning_questions import objective_question, unknown_names
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
    PROCESS,
    CollectorPreflight,
    GarbageCollectionRequest,
    GcCandidate,
    GcDetails,
    GcObservation,
    GcSweep,
    TriedCandidate,
)
from perfwright.models.lease import summary_of
from perfwright.models.result import ProcessResult
from perfwright.models.target import Target
from perfwright.models.trial_run import TrialResult
from workflows.changes.trial import Trial
from workflows.shared.closing import artifact_folder, close, ended_runs_filed, number_run, reviewed
from workflows.shared.commands import loaded
from workflows.shared.hosts import reach_host
from workflows.shared.human_gates import HumanGates
from workflows.shared.leasing import LeaseHolder, LeaseLost, target_lease
from workflows.shared.options import READ, asking, measuring, outlasting
from workflows.shared.overrides import override_problems
from workflows.shared.waiting import stop_if_cancelled

SERVER_S = 60.0
"""A fresh server, its warm-up and its requests, at most; as many as are measured bound a step."""

Result = ProcessResult[GcDetails]


@workflow.defn
class GarbageCollectionTuning(HumanGates, LeaseHolder):
    """Which collector settings meet the pause target without costing memory or throughput?"""

    gate_names = ("objective", "findings_review")

    @workflow.run
    async def run(self, request: GarbageCollectionRequest) -> Result:
        async with ended_runs_filed(self):
            target, run, found = await self._preflight(request)
            before = await self._observe(target, request, "before")
            proposed = await self._propose(target, request, before)
            sweep: GcSweep | None = None
            while proposed.candidates:
                question = objective_question(request, before, proposed)
                decision = await self.ask(question, **self._patience(request, known=proposed.known))
                if not decision.wants_changes:
                    if decision.refused:
                        refused = f"The objective was refused by {decision.by}: {decision.comment}. Nothing was changed."
                        return await self._conclude(request, target, run, found, before, proposed, refused=refused)
                    break
                request = request.revised(decision.overrides)
                proposed = await self._propose(target, request, before)

            if proposed.candidates and not before.live:
                sweep = await self._sweep(target, request, proposed)
            chosen, trial, tried = None, None, list[TriedCandidate]()
            for chosen in self._to_try(before, proposed, sweep):
                if not self._can_try(request, chosen):
                    break
                trial = await self._try(target, request, before, proposed, sweep, chosen, trial, len(tried) + 1)
                tried.append(TriedCandidate(candidate=chosen.name, end=trial.end, reason=trial.reason))
                if not self._goes_on(trial):
                    break
            after = await self._observe(target, request, "after") if trial is not None and trial.kept else None
            return await self._conclude(request, target, run, found, before, proposed, sweep, chosen, trial, after, tuple(tried))

    async def _preflight(self, request: GarbageCollectionRequest) -> tuple[Target, str, CollectorPreflight]:
        with self.step("Preflight", "validation"):
            target = await workflow.execute_activity_method(
                Targets.resolve_target,
                TargetQuery(target=request.target, operation="profile"),
                summary=f"Look up {request.target_name} in the registry",
                **READ,
            )
            self.about(target, "Preflight")
            run = await number_run(target, request)
            await reach_host(target.host)
            found = await workflow.execute_activity_method(
                Collectors.inspect_collector,
                InspectCollector(target=target, request=request),
                summary=f"Is there a collector of {target.title} to observe, and a load?",
                **asking(on=target.host),
            )
        return target, run, found

    async def _observe(self, target: Target, request: GarbageCollectionRequest, when: str) -> GcObservation:
        """As things stand, under the load."""
        self.phase("Observation" if when == "before" else "Monitoring")
        prefix = f"{artifact_folder(target.name)}/{when}"
        live = target.process is not None and target.process.command is None
        seconds = request.observe_s if live else request.rounds * self._sample_s(request)
        seen: GcObservation | None = None
        with self.step(f"Observe the collector {when}", "profiling" if when == "before" else "monitoring") as step:
            try:
                async with (
                    target_lease(self, target.resources, on_waiting=self.waits_for_lease),
                    loaded(request.workload if live else None, target, prefix, seconds),
                ):
                    seen = await workflow.execute_activity_method(
                        Collectors.observe_collector,
                        CollectorToObserve(target=target, request=request, artifact_prefix=prefix),
                        summary=summary_of(f"Pauses of {target.title} under load, {when}"),
                        **measuring(seconds, on=target.host),
                    )
            except LeaseLost as lost:
                if seen is None:
                    raise
                seen = seen.model_copy(update={"warnings": (*seen.warnings, str(lost))})
            step.note = f"{seen.table.count:,} pauses in {seen.table.seconds:.1f} s, p99 {seen.typical_p99_ms:.1f} ms"
        self.say(step.note)
        return seen

    async def _propose(self, target: Target, request: GarbageCollectionRequest, before: GcObservation) -> ProposedSettings:
        self.phase("Pause issues")
        with self.step("Find pause issues and candidates", "analysis") as step:
            proposed = await workflow.execute_activity_method(
                Collectors.propose_settings,
                SettingsToPropose(target=target, request=request, observation=before),
                summary=summary_of(f"Which pauses of {target.title} are worth tuning, and what could be tried?"),
                **measuring(SERVER_S, on=target.host),
            )
            step.note = f"{len(proposed.issues)} issues, {len(proposed.candidates)} candidates"
        self.say(proposed.sentence)
        return proposed

    async def _sweep(self, target: Target, request: GarbageCollectionRequest, proposed: ProposedSettings) -> GcSweep:
        self.phase("Sweep")
        prefix = f"{artifact_folder(target.name)}/sweep"
        seconds = request.rounds * (len(proposed.candidates) + 1) * self._sample_s(request)
        sweep: GcSweep | None = None
        with self.step("Sweep candidates", "benchmarking") as step:
            try:
                async with target_lease(self, target.resources, on_waiting=self.waits_for_lease):
                    sweep = await workflow.execute_activity_method(
                        Collectors.sweep_settings,
                        SweepOrder(
                            target=target,
                            request=request,
                            candidates=proposed.candidates,
                            artifact_prefix=prefix,
                            metric=proposed.metric if request.load is not None else "",
                        ),
                        summary=summary_of(f"{len(proposed.candidates)} candidates and what is, in turns, under the same load"),
                        **measuring(seconds, on=target.host),
                    )
            except LeaseLost as lost:
                if sweep is None:
                    raise
                self.say(str(lost))
            step.note = sweep.reason + (f"; a trial of it takes up to {budget_s(request, sweep):.0f} s" if sweep.chosen else "")
        self.say(step.note)
        return sweep

    async def _try(
        self,
        target: Target,
        request: GarbageCollectionRequest,
        before: GcObservation,
        proposed: ProposedSettings,
        sweep: GcSweep | None,
        chosen: GcCandidate,
        earlier: TrialResult | None,
        number: int,
    ) -> TrialResult:
        """`earlier`: of another candidate on the same process; its A against A holds for this one as well."""
        self.phase("Trial")
        info = workflow.info()
        with self.step(f"Try {chosen.name}", "implementation") as step:
            prefix = f"{artifact_folder(target.name)}/trial" + (f"-{number}" if number > 1 else "")
            asked = trial_of(request, target, chosen, before, proposed, sweep, prefix, earlier.noise if earlier else None)
            result: TrialResult = await workflow.execute_child_workflow(
                Trial.run,
                asked,
                id=f"{info.workflow_id}/trial/{info.run_id}/{number}",
                parent_close_policy=ParentClosePolicy.REQUEST_CANCEL,
                static_summary=summary_of(asked.title),
            )
            stop_if_cancelled()
            step.note = f"{result.end}: {result.reason}"[:400]
        self.say(step.note)
        return result

    async def _conclude(
        self,
        request: GarbageCollectionRequest,
        target: Target,
        run: str,
        found: CollectorPreflight,
        before: GcObservation,
        proposed: ProposedSettings,
        sweep: GcSweep | None = None,
        chosen: GcCandidate | None = None,
        trial: TrialResult | None = None,
        after: GcObservation | None = None,
        tried: tuple[TriedCandidate, ...] = (),
        refused: str = "",
    ) -> Result:
        known = TuningToJudge(
            request=request,
            target=target.name,
            preflight=found,
            before=before,
            proposed=proposed,
            sweep=sweep,
            chosen=chosen,
            tried=tried,
            trial=trial,
            after=after,
            artifact_prefix=artifact_folder(target.name),
        )
        with self.step("Write the configuration down", "documentation") as step:
            judged: JudgedTuning = await workflow.execute_activity_method(
                Collectors.judge_tuning,
                known,
                summary=summary_of(f"What comes of it for {target.title}"),
                **outlasting(asking(on=target.host)),
            )
            if judged.document is None:
                step.skip("nothing is changed, so there is nothing to write down")
        details = GcDetails(
            preflight=found,
            before=before,
            issues=proposed.issues,
            candidates=proposed.candidates,
            collectors=proposed.collectors,
            absent=proposed.absent,
            sweep=sweep,
            chosen=chosen,
            tried=tried if before.live else (),
            trial=trial,
            after=after,
            configuration=judged.document,
            undo=trial.description.change.undo if trial and trial.kept and trial.description else "",
            warnings=(*found.warnings, *before.warnings, *(after.warnings if after else ())),
        )
        info = workflow.info()
        result = Result(
            process=PROCESS,
            target=target.name,
            environment=target.environment,
            workflow_id=info.workflow_id,
            run_id=info.run_id,
            verdict="rejected" if refused else judged.verdict,
            summary=refused or judged.summary,
            findings=judged.findings,
            recommendations=judged.recommendations,
            quality_gates=judged.quality_gates,
            artifacts=tuple(ref for ref in (before.pauses, sweep.samples if sweep else None, judged.document) if ref),
            request=request.model_dump(mode="json"),
            started_at=info.start_time.isoformat(),
            details=details,
        )
        if not refused:
            result = await reviewed(self, result, run, **self._patience(request, revisions=0))
        return await close(self, result, run)

    @staticmethod
    def _sample_s(request: GarbageCollectionRequest) -> float:
        return SERVER_S if request.load is not None else request.run_limit_s

    @staticmethod
    def _to_try(before: GcObservation, proposed: ProposedSettings, sweep: GcSweep | None) -> tuple[GcCandidate, ...]:
        """Of the sweep the best; on a running process one after the other, because each look at one changes it."""
        if sweep is not None:
            return tuple(one for one in proposed.candidates if one.name == sweep.chosen)
        return proposed.candidates if before.live else ()

    @staticmethod
    def _can_try(request: GarbageCollectionRequest, chosen: GcCandidate) -> bool:
        return chosen.launch is not None or (chosen.interpreter is not None and request.probe is not None)

    @staticmethod
    def _goes_on(trial: TrialResult) -> bool:
        """To the next candidate: this one was measured, was not good enough, and is off again."""
        return trial.end == "undone" and trial.evidence is not None and not any(one.outcome == "rejected" for one in trial.decisions)

    def _patience(self, request: GarbageCollectionRequest, revisions: int | None = None, known: tuple[str, ...] = ()) -> dict[str, Any]:
        return {
            "deadline_s": request.review_deadline_s,
            "max_revisions": request.max_revisions if revisions is None else revisions,
            "validate_overrides": lambda overrides: override_problems(request, overrides) or unknown_names(overrides, known),
        }
