"""Which queries cost most, why, and what first?

preflight -> lease -> observe (statement counters || activity and waits || server log || catalog || workload) -> group statements
-> queries review -> lease -> explain, one after the other (-> costly statements) -> judge plans by family, side by side -> advice
-> lease -> try it (what-if indexes, rewrites beside their originals) -> ranking -> report -> findings review -> record in the history
"""

from typing import Any

from temporalio import workflow

from activities.query_analysis import QueryAnalysis
from activities.statement_grouping import StatementGrouping
from activities.targets import TargetQuery, Targets
from perfwright.analysis.masking.requests import shown_request
from perfwright.analysis.query_questions import costly_statements, queries_review
from perfwright.analysis.query_results import told_request
from perfwright.models.database import DatabaseFacts
from perfwright.models.query_advice import AdviceMade, AdviceOnTrial, AdviceTried, LookForAdvice, QueryFindingsToRank, RankedQueries
from perfwright.models.query_performance import PROCESS, QueryPerformanceDetails, QueryPerformanceRequest, WindowFacts
from perfwright.models.query_steps import (
    RULE_FAMILIES,
    ExplainedStatements,
    ExplainStatements,
    GroupedStatements,
    GroupStatements,
    InspectDatabase,
    JudgePlans,
    Observation,
    PlansJudged,
    RuleFamily,
)
from perfwright.models.result import ProcessResult, Verdict
from perfwright.models.target import Target
from workflows.database.collecting import catalog_kept, count_statements, read_catalog, read_log, sample_activity, with_given
from workflows.database.database_steps import DatabaseSteps, steps_of
from workflows.shared.closing import artifact_folder, close, ended_runs_filed, number_run, reviewed
from workflows.shared.commands import loaded
from workflows.shared.hosts import reach_host
from workflows.shared.human_gates import HumanGates
from workflows.shared.leasing import LeaseHolder, LeaseLost, target_lease
from workflows.shared.options import COMPUTE, READ, asking, measuring
from workflows.shared.overrides import override_problems
from workflows.shared.waiting import together

Result = ProcessResult[QueryPerformanceDetails]


@workflow.defn
class QueryPerformanceAnalysis(HumanGates, LeaseHolder):
    """Which queries cost most, why, and what first?"""

    gate_names = ("queries_review", "costly_statements", "findings_review")
    _tools: DatabaseSteps

    @workflow.run
    async def run(self, request: QueryPerformanceRequest) -> Result:
        async with ended_runs_filed(self):
            target, run, database = await self._preflight(request)
            request = request.decided(target.environment)
            observation = await self._observe(request, target, database, revision=1)
            grouped = await self._group(request, target, database, observation)
            while (decision := await self.ask(queries_review(grouped, observation, request), **self._patience(request))).wants_changes:
                again = "window_s" in decision.overrides
                request = request.revised(decision.overrides)
                if again:
                    observation = await self._observe(request, target, database, revision=observation.revision + 1)
                grouped = await self._group(request, target, database, observation)
            if decision.refused:
                summary = f"The choice of statements was refused by {decision.by}: {decision.comment}"
                return await close(self, self._result(request, target, "rejected", summary, database, observation, grouped), run)

            explained = await self._explain(request, target, database, observation, grouped)
            result = await self._analyse(request, target, database, observation, grouped, explained)
            result = await reviewed(self, result, run, **self._patience(request, revisions=0))
            return await close(self, result, run, profiles=catalog_kept(observation))

    async def _preflight(self, request: QueryPerformanceRequest) -> tuple[Target, str, DatabaseFacts]:
        with self.step("Preflight", "validation") as step:
            target = await workflow.execute_activity_method(
                Targets.resolve_target,
                TargetQuery(target=request.target, operation="profile"),
                summary=f"Look up {request.target_name} in the registry",
                **READ,
            )
            self._tools = steps_of(target)
            self.about(target, "Preflight")
            run = await number_run(target, shown_request(request.decided(target.environment)))
            await reach_host(target.host)
            database: DatabaseFacts = await workflow.execute_activity_method(
                self._tools.inspect,
                InspectDatabase(target=target),
                summary=f"Connect to {target.title}: version, rights, extensions, settings",
                **asking(on=target.host),
            )
            step.note = f"{database.system} {database.version}"
        for missing in database.not_seen:
            self.say(missing.sentence)
        return target, run, database

    async def _observe(self, request: QueryPerformanceRequest, target: Target, database: DatabaseFacts, revision: int) -> Observation:
        """Everything that is collected while the target is held; counters, sessions and log over the same window."""
        self.phase("Observation")
        prefix = f"{artifact_folder(target.name)}/{revision}"
        observation: Observation | None = None
        with self.step(f"Observe, revision {revision}" if revision > 1 else "Observe", "monitoring") as step:
            try:
                async with (
                    target_lease(self, target.resources, on_waiting=self.waits_for_lease),
                    loaded(request.workload, target, prefix, request.window_s),
                ):
                    observed, sampled, log, catalog = await together(
                        count_statements(self._tools, request, target, prefix),
                        sample_activity(self._tools, request, target, prefix),
                        read_log(self._tools, request, target, database, prefix),
                        read_catalog(self._tools, request, target, prefix),
                    )
                observation = Observation(revision=revision, observed=observed, sampled=sampled, log=log, catalog=catalog)
            except LeaseLost as lost:
                if observation is None:
                    raise
                observation = observation.model_copy(update={"disturbed": str(lost)})
            observation = await with_given(observation, request, target, database, prefix)
            step.note = f"{observed.statements:,} statements in {observed.seconds:.0f} s"
        self.say(observation.sentence)
        return observation

    async def _group(
        self, request: QueryPerformanceRequest, target: Target, database: DatabaseFacts, observation: Observation
    ) -> GroupedStatements:
        self.phase("Queries review")
        with self.step("Group statements", "analysis") as step:
            grouped: GroupedStatements = await workflow.execute_activity_method(
                StatementGrouping.group_statements,
                GroupStatements(
                    # Where literals are masked, the host handed on those of the input with `given`.
                    request=request.model_copy(update={"statements": ()}) if observation.given_kept_in else request,
                    database=database,
                    observed=observation.observed,
                    log=observation.log,
                    catalog=observation.catalog.catalog,
                    given=observation.given,
                    given_kept_in=observation.given_kept_in,
                    artifact_prefix=f"{artifact_folder(target.name)}/{observation.revision}",
                ),
                summary=f"Group the statements of {target.title} by shape, find values to explain them with",
                **COMPUTE,
            )
            step.note = f"{grouped.statements:,} shapes, {len(grouped.chosen)} to examine"
        return grouped

    async def _explain(
        self,
        request: QueryPerformanceRequest,
        target: Target,
        database: DatabaseFacts,
        observation: Observation,
        grouped: GroupedStatements,
    ) -> ExplainedStatements:
        self.phase("Plans")
        with self.step("Explain statements", "profiling") as step:
            explained = await self._take_plans(request, target, database, grouped, grouped.chosen)
            step.note = explained.sentence
        if not explained.costly:
            return explained
        decision = await self.ask(costly_statements(target, explained.costly, request), **self._patience(request, revisions=0))
        if self.begin_apply(decision.gate).refused:
            self.skip_step("Explain costly statements", "profiling", f"refused by {decision.by}: planned only")
            return explained
        with self.step("Explain costly statements", "profiling") as step:
            costly = tuple(one.fingerprint for one in explained.costly)
            explained = await self._take_plans(request, target, database, grouped, costly, explained)
            step.note = explained.sentence
        return explained

    async def _take_plans(
        self,
        request: QueryPerformanceRequest,
        target: Target,
        database: DatabaseFacts,
        grouped: GroupedStatements,
        fingerprints: tuple[str, ...],
        earlier: ExplainedStatements | None = None,
    ) -> ExplainedStatements:
        how = "Execute" if earlier else "Explain"
        async with target_lease(self, target.resources, on_waiting=self.waits_for_lease):
            return await workflow.execute_activity_method(
                self._tools.explain,
                ExplainStatements(
                    target=target,
                    database=database,
                    table=grouped.table,
                    fingerprints=fingerprints,
                    analyze=request.analyze,
                    costly_approved=fingerprints if earlier else (),
                    earlier=earlier,
                    cost_ceiling=request.cost_ceiling,
                    statement_timeout_s=request.statement_timeout_s,
                    lock_timeout_s=request.lock_timeout_s,
                    parameter_sets=request.parameter_sets,
                    mask_literals=bool(request.mask_literals),
                    artifact_prefix=artifact_folder(target.name),
                ),
                summary=f"{how} {len(fingerprints)} statements of {target.title}, one after the other",
                **measuring(executions_s(request, len(fingerprints)), on=target.host),
            )

    async def _analyse(
        self,
        request: QueryPerformanceRequest,
        target: Target,
        database: DatabaseFacts,
        observation: Observation,
        grouped: GroupedStatements,
        explained: ExplainedStatements,
    ) -> Result:
        self.phase("Analysis")
        judged = await together(*(self._judge(family, observation, grouped, explained) for family in RULE_FAMILIES))
        with self.step("Look for advice", "analysis") as step:
            advice: AdviceMade = await workflow.execute_activity_method(
                QueryAnalysis.make_advice,
                LookForAdvice(
                    plans=explained.plans,
                    table=grouped.table,
                    catalog=observation.catalog.catalog,
                    judged=tuple(one.judged for one in judged),
                    artifact_prefix=artifact_folder(target.name),
                ),
                summary=f"Derive indexes and rewrites for {target.title} from what was found",
                **COMPUTE,
            )
            step.note = f"{advice.indexes} indexes, {advice.rewrites} rewrites to try"
        tried = await self._try_advice(request, target, database, grouped, explained, advice)
        with self.step("Rank findings", "analysis"):
            found: RankedQueries = await workflow.execute_activity_method(
                QueryAnalysis.rank_query_findings,
                QueryFindingsToRank(
                    # Without the texts that the table has: one payload is at most 256 KiB.
                    request=request.model_copy(update={"statements": ()}),
                    database=database,
                    grouped=grouped.model_copy(update={"top": ()}),
                    explained=explained.model_copy(update={"costly": (), "approved": ()}),
                    observation=observation.model_copy(update={"given": ()}),
                    judged=tuple(one.judged for one in judged),
                    advice=advice.advice,
                    tried=tried.tried if tried else None,
                    artifact_prefix=artifact_folder(target.name),
                ),
                summary=f"Rank what was found in {target.title} by time x expected gain",
                **COMPUTE,
            )
        ranked = found.ranked
        verdict: Verdict = "passed" if all(gate.outcome == "passed" for gate in ranked.quality_gates) else "inconclusive"
        result = self._result(request, target, verdict, ranked.summary, database, observation, grouped, explained)
        details = result.details.model_copy(
            update={
                "window": found.window,
                "examined": found.examined,
                "what_ifs": found.what_ifs,
                "rewrites": found.rewrites,
                "warnings": (*result.details.warnings, *ranked.warnings),
            }
        )
        return result.model_copy(
            update={
                "findings": ranked.findings,
                "recommendations": ranked.recommendations,
                "quality_gates": ranked.quality_gates,
                "details": details,
            }
        )

    async def _judge(
        self, family: RuleFamily, observation: Observation, grouped: GroupedStatements, explained: ExplainedStatements
    ) -> PlansJudged:
        with self.step(f"Judge plans: {family}", "analysis") as step:
            judged: PlansJudged = await workflow.execute_activity_method(
                QueryAnalysis.judge_plans,
                JudgePlans(
                    plans=explained.plans,
                    table=grouped.table,
                    catalog=observation.catalog.catalog,
                    family=family,
                    artifact_prefix=artifact_folder(self.target_name),
                ),
                summary=f"Hold the plans against the rules on {family}",
                **COMPUTE,
            )
            step.note = f"{judged.hits} of {judged.examined_nodes} nodes" if judged.hits else "nothing"
        return judged

    async def _try_advice(
        self,
        request: QueryPerformanceRequest,
        target: Target,
        database: DatabaseFacts,
        grouped: GroupedStatements,
        explained: ExplainedStatements,
        advice: AdviceMade,
    ) -> AdviceTried | None:
        name = "Try advice"
        indexes, rewrites = advice.indexes if request.what_if else 0, advice.rewrites if request.verify_rewrites else 0
        if not indexes and not rewrites:
            self.skip_step(name, "validation", "there is nothing to try")
            return None
        with self.step(name, "validation") as step:
            async with target_lease(self, target.resources, on_waiting=self.waits_for_lease):
                tried: AdviceTried = await workflow.execute_activity_method(
                    self._tools.try_advice,
                    AdviceOnTrial(
                        target=target,
                        database=database,
                        table=grouped.table,
                        advice=advice.advice,
                        what_if=request.what_if,
                        rewrites=request.verify_rewrites,
                        statement_timeout_s=request.statement_timeout_s,
                        lock_timeout_s=request.lock_timeout_s,
                        cost_ceiling=request.cost_ceiling,
                        costly_approved=explained.approved,
                        mask_literals=bool(request.mask_literals),
                        artifact_prefix=artifact_folder(target.name),
                    ),
                    summary=f"Try {indexes} hypothetical indexes and {rewrites} rewrites on {target.title}",
                    **measuring(executions_s(request, indexes + REWRITE_EXECUTIONS * rewrites), on=target.host),
                )
            step.note = tried.sentence
        return tried

    def _patience(self, request: QueryPerformanceRequest, revisions: int | None = None) -> dict[str, Any]:
        return {
            "deadline_s": request.review_deadline_s,
            "max_revisions": request.max_revisions if revisions is None else revisions,
            "validate_overrides": lambda overrides: override_problems(request, overrides),
        }

    def _result(
        self,
        request: QueryPerformanceRequest,
        target: Target,
        verdict: Verdict,
        summary: str,
        database: DatabaseFacts,
        observation: Observation,
        grouped: GroupedStatements,
        explained: ExplainedStatements | None = None,
    ) -> Result:
        info = workflow.info()
        artifacts = (grouped.table, observation.catalog.catalog, *((explained.plans,) if explained else ()))
        return Result(
            process=PROCESS,
            target=target.name,
            environment=target.environment,
            workflow_id=info.workflow_id,
            run_id=info.run_id,
            verdict=verdict,
            summary=summary,
            artifacts=artifacts,
            request=told_request(request),
            started_at=info.start_time.isoformat(),
            details=QueryPerformanceDetails(
                database=database,
                window=WindowFacts(seconds=observation.observed.seconds, statements=grouped.statements, total_ms=grouped.total_ms),
                statements=grouped.top,
                waits=observation.sampled.waits,
                activity=observation.sampled.series,
                not_seen=(*database.not_seen, *observation.not_seen),
                statement_table=grouped.table,
                plans=explained.plans if explained else None,
                catalog=observation.catalog.catalog,
                warnings=(*observation.warnings, *(explained.warnings if explained else ())),
            ),
        )


REWRITE_EXECUTIONS = 24
"""A rewrite is compared once and then timed in pairs beside its original."""
LONGEST_EXECUTIONS_S = 86_400.0


def executions_s(request: QueryPerformanceRequest, statements: int) -> float:
    """How long the executions of so many statements may take: each set of values twice, with and without the timing of nodes."""
    return min(LONGEST_EXECUTIONS_S, 60.0 + 2.0 * request.parameter_sets * request.statement_timeout_s * statements)
