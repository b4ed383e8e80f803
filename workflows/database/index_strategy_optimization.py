"""Which indexes should exist?

preflight -> lease -> observe (statements || log || catalog || workload) -> group statements || existing indexes
-> lease -> search (what-ifs, selection, measured search on a clone) -> verify on a fresh clone, with the WAL of writes -> gate `strategy`
-> one after the other: invalid indexes dropped; creates and drops as a Trial each, with its own gate `keep`
-> use of kept indexes watched -> report -> findings review -> record in the history

Where no clone with rows can be made: what-ifs on a clone of statistics -> a list of which nothing is measured -> report -> ...
"""

from typing import Any

from temporalio import workflow

from activities.index_findings import IndexFindings
from activities.index_search import IndexSearch
from activities.index_upkeep import IndexUpkeep
from activities.statement_grouping import StatementGrouping
from activities.targets import TargetQuery, Targets
from perfwright.analysis.indexes.proposals import dropped
from perfwright.analysis.indexes.strategy_results import GATE, strategy_question, trial_of
from perfwright.analysis.masking.requests import shown_request
from perfwright.analysis.query_results import told_request
from perfwright.models.database import DatabaseFacts
from perfwright.models.index_steps import (
    ClonePlan,
    ClonesRemoved,
    ConcludeIndexStrategy,
    IndexConclusion,
    ReadExistingIndexes,
    RemoveClones,
    SearchedIndexes,
    SearchIndexes,
    VerifyIndexes,
)
from perfwright.models.index_strategy import (
    PROCESS,
    ExistingIndexes,
    IndexProposal,
    IndexStrategy,
    IndexStrategyDetails,
    IndexStrategyRequest,
)
from perfwright.models.query_steps import GroupedStatements, GroupStatements, InspectDatabase, Observation
from perfwright.models.result import ProcessResult, TaskType
from perfwright.models.target import Target
from perfwright.models.unverified_indexes import UnverifiedStrategy
from workflows.database.collecting import catalog_kept, count_statements, read_catalog, read_log, sample_activity, with_given
from workflows.database.database_steps import DatabaseSteps, steps_of
from workflows.database.index_changes import Described, described, invalid_removed, tried, use_between, use_read
from workflows.database.index_orders import clone_plan, search_order
from workflows.shared.closing import artifact_folder, close, ended_runs_filed, number_run, reviewed
from workflows.shared.commands import loaded
from workflows.shared.hosts import reach_host
from workflows.shared.human_gates import HumanGates
from workflows.shared.leasing import LeaseHolder, LeaseLost, target_lease
from workflows.shared.options import COMPUTE, READ, asking, measuring
from workflows.shared.overrides import override_problems
from workflows.shared.waiting import together

Result = ProcessResult[IndexStrategyDetails]
WHAT_IFS_S = 600.0
"""Of asking the planner, where nothing can be hypothetical."""
LOOKS = 4
"""At the use of kept indexes, over the time that they are watched."""
UNMEASURED: tuple[tuple[str, TaskType], ...] = (
    ("Verify on a fresh clone", "benchmarking"),
    ("Carry out", "implementation"),
    ("Watch use", "monitoring"),
)
"""What takes rows."""


@workflow.defn
class IndexStrategyOptimization(HumanGates, LeaseHolder):
    """Which indexes should exist?"""

    gate_names = (GATE, "findings_review")
    _tools: DatabaseSteps
    _clone: ClonePlan
    _unclonable: ClonesRemoved
    """With the reason, where no clone with rows can be made."""

    @workflow.run
    async def run(self, request: IndexStrategyRequest) -> Result:
        async with ended_runs_filed(self):
            target, run, database = await self._preflight(request)
            request = request.decided(target.environment)
            observation = await self._observe(request, target, database)
            grouped, existing = await together(
                self._group(request, target, database, observation), self._look_at_existing(request, target, observation)
            )
            details = IndexStrategyDetails(
                database=database,
                window_s=observation.observed.seconds,
                existing=existing,
                not_seen=(*database.not_seen, *observation.not_seen),
                statement_table=grouped.table,
                catalog=observation.catalog.catalog,
                warnings=(*observation.warnings, *existing.warnings),
            )
            order = search_order(request, self._clone, database, observation, grouped)
            proposals: tuple[IndexProposal, ...] = ()
            refused = ""
            if self._unclonable.unclonable:
                details = details.model_copy(update={"unverified": await self._advise(request, target, order)})
            else:
                request, details, proposals, refused = await self._improve(request, target, order, details)
            await self._remove_clones(target)
            result = await self._result(request, target, details, proposals, refused)
            if not refused:
                result = await reviewed(self, result, run, **self._patience(request, revisions=0))
            return await close(self, result, run, profiles=catalog_kept(observation))

    async def _improve(
        self, request: IndexStrategyRequest, target: Target, order: SearchIndexes, details: IndexStrategyDetails
    ) -> tuple[IndexStrategyRequest, IndexStrategyDetails, tuple[IndexProposal, ...], str]:
        """The request as people left it, what came of it, what was proposed, and why nothing of it was carried out."""
        assert details.existing is not None, "they were looked at"
        existing, searched, revision = details.existing, await self._search(request, target, order), 1
        strategy = await self._verify(request, target, order, searched, revision)
        exactly = await self._described(request, target, strategy, existing)
        while exactly.proposals:
            question = strategy_question(
                target, request, strategy, exactly.proposals, searched.facts, (order.table,), impossible=exactly.impossible
            )
            if not (decision := await self.ask(question, **self._patience(request))).wants_changes:
                break
            request, revision = request.revised(decision.overrides), revision + 1
            strategy = await self._verify(request, target, order, searched, revision)
            exactly = await self._described(request, target, strategy, existing)
        details = details.model_copy(update={"search": searched.facts, "strategy": strategy, "tried": exactly.impossible})
        refused = ""
        if not exactly.proposals:
            nothing = "the target refuses each change" if exactly.impossible else "there is nothing to change"
            self.skip_step("Carry out", "implementation", nothing)
        elif (decision := decision if decision.refused else self.begin_apply(GATE)).refused:
            refused = f"The strategy was refused by {decision.by}: {decision.comment}"
        else:
            details = await self._carry_out(request, target, details, exactly)
        proposals = (*exactly.proposals, *(one.proposal for one in exactly.impossible))
        return request, await self._watched(request, target, details), proposals, refused

    async def _advise(self, request: IndexStrategyRequest, target: Target, order: SearchIndexes) -> UnverifiedStrategy:
        """Where no clone with rows can be made: a list of which nothing is measured, and after which nothing is changed."""
        self.phase("Advice")
        with self.step("Ask the planner on a clone of statistics", "design") as step:
            async with target_lease(self, target.resources, on_waiting=self.waits_for_lease):
                found: UnverifiedStrategy = await workflow.execute_activity_method(
                    IndexSearch.advise_indexes,
                    order,
                    summary=f"Ask the planner about indexes for {len(order.fingerprints)} statements of {target.title}, without rows",
                    **measuring(request.clone_limit_s + WHAT_IFS_S, on=target.host),
                )
            step.note = f"{found.candidates} candidates, {len(found.indexes)} worth verifying"
        for name, task in UNMEASURED:
            self.skip_step(name, task, self._unclonable.unclonable)
        return found.model_copy(update={"why": self._unclonable.unclonable, "way_out": self._unclonable.way_out})

    async def _preflight(self, request: IndexStrategyRequest) -> tuple[Target, str, DatabaseFacts]:
        with self.step("Preflight", "validation") as step:
            target = await workflow.execute_activity_method(
                Targets.resolve_target,
                TargetQuery(target=request.target, operation="ddl"),
                summary=f"Look up {request.target_name} in the registry",
                **READ,
            )
            self._tools = steps_of(target, only="postgresql")
            self.about(target, "Preflight")
            run = await number_run(target, shown_request(request.decided(target.environment)))
            await reach_host(target.host)
            database: DatabaseFacts = await workflow.execute_activity_method(
                self._tools.inspect,
                InspectDatabase(target=target),
                summary=f"Connect to {target.title}: version, rights, extensions, settings",
                **asking(on=target.host),
            )
            self._clone = clone_plan(request, target)
            self._unclonable = await self._remove_clones(target, needed=True)
            step.note = f"{database.system} {database.version}"
            if self._unclonable.unclonable:
                self.say(f"Nothing will be measured or changed: {self._unclonable.unclonable}")
        for missing in database.not_seen:
            self.say(missing.sentence)
        return target, run, database

    async def _observe(self, request: IndexStrategyRequest, target: Target, database: DatabaseFacts) -> Observation:
        self.phase("Observation")
        prefix, asked = f"{artifact_folder(target.name)}/1", request.observation
        observation: Observation | None = None
        with self.step("Observe", "monitoring") as step:
            try:
                async with (
                    target_lease(self, target.resources, on_waiting=self.waits_for_lease),
                    loaded(asked.workload, target, prefix, asked.window_s),
                ):
                    observed, sampled, log, catalog = await together(
                        count_statements(self._tools, asked, target, prefix),
                        sample_activity(self._tools, asked, target, prefix),
                        read_log(self._tools, asked, target, database, prefix),
                        read_catalog(self._tools, asked, target, prefix),
                    )
                observation = Observation(revision=1, observed=observed, sampled=sampled, log=log, catalog=catalog)
            except LeaseLost as lost:
                if observation is None:
                    raise
                observation = observation.model_copy(update={"disturbed": str(lost)})
            observation = await with_given(observation, asked, target, database, prefix)
            step.note = f"{observed.statements:,} statements in {observed.seconds:.0f} s"
        self.say(observation.sentence)
        return observation

    async def _group(
        self, request: IndexStrategyRequest, target: Target, database: DatabaseFacts, observation: Observation
    ) -> GroupedStatements:
        asked = request.observation
        with self.step("Group statements", "analysis") as step:
            grouped: GroupedStatements = await workflow.execute_activity_method(
                StatementGrouping.group_statements,
                GroupStatements(
                    request=asked.model_copy(update={"statements": ()}) if observation.given_kept_in else asked,
                    database=database,
                    observed=observation.observed,
                    log=observation.log,
                    catalog=observation.catalog.catalog,
                    given=observation.given,
                    given_kept_in=observation.given_kept_in,
                    artifact_prefix=f"{artifact_folder(target.name)}/1",
                ),
                summary=f"Group the statements of {target.title} by shape, find values to run them with",
                **COMPUTE,
            )
            step.note = f"{len(grouped.chosen)} of {grouped.statements:,} shapes"
        return grouped

    async def _look_at_existing(self, request: IndexStrategyRequest, target: Target, observation: Observation) -> ExistingIndexes:
        with self.step("Look at existing indexes", "analysis") as step:
            existing: ExistingIndexes = await workflow.execute_activity_method(
                IndexUpkeep.read_existing_indexes,
                ReadExistingIndexes(target=target, catalog=observation.catalog.catalog, mask_literals=bool(request.mask_literals)),
                summary=f"Find duplicate, redundant, unused, invalid and bloated indexes of {target.title}",
                **asking(on=target.host),
            )
            step.note = f"{existing.indexes} indexes, {len(existing.noted)} noted"
        return existing

    async def _search(self, request: IndexStrategyRequest, target: Target, order: SearchIndexes) -> SearchedIndexes:
        self.phase("Search")
        with self.step("Search on a clone", "design") as step:
            async with target_lease(self, target.resources, on_waiting=self.waits_for_lease):
                searched: SearchedIndexes = await workflow.execute_activity_method(
                    IndexSearch.search_indexes,
                    order,
                    summary=f"Search indexes for {len(order.fingerprints)} statements of {target.title} on a clone",
                    **measuring(request.clone_limit_s + WHAT_IFS_S + request.measure_s, on=target.host),
                )
            step.note = f"{searched.facts.candidates} candidates, {len(searched.selected)} chosen"
        return searched

    async def _verify(
        self, request: IndexStrategyRequest, target: Target, order: SearchIndexes, found: SearchedIndexes, revision: int
    ) -> IndexStrategy:
        self.phase("Verification")
        with self.step(
            f"Verify on a fresh clone, revision {revision}" if revision > 1 else "Verify on a fresh clone", "benchmarking"
        ) as step:
            async with target_lease(self, target.resources, on_waiting=self.waits_for_lease):
                strategy: IndexStrategy = await workflow.execute_activity_method(
                    IndexSearch.verify_indexes,
                    VerifyIndexes(
                        search=order.model_copy(update={"request": request.model_copy(update={"statements": ()})}),
                        found=found.document,
                        add_indexes=request.add_indexes,
                        leave_out=request.leave_out,
                        revision=revision,
                    ),
                    summary=f"Verify {len(found.selected)} indexes of {target.title} in pairs, and what they cost writers",
                    **measuring(request.clone_limit_s + WHAT_IFS_S + request.measure_s, on=target.host),
                )
            step.note = f"{len(strategy.proposals)} left, {strategy.geomean_gain:.2f} times faster"
        return strategy

    async def _described(
        self, request: IndexStrategyRequest, target: Target, strategy: IndexStrategy, existing: ExistingIndexes
    ) -> Described:
        with self.step("Describe the changes", "design") as step:
            exactly = await described(request, target, (*strategy.proposals, *dropped(existing, request)))
            step.note = f"{len(exactly.proposals)} changes"
        for one in exactly.impossible:
            self.say(f"{one.proposal.title} cannot be done: {one.reason}")
        return exactly

    async def _carry_out(
        self, request: IndexStrategyRequest, target: Target, details: IndexStrategyDetails, exactly: Described
    ) -> IndexStrategyDetails:
        """One after the other: each sees what was kept before it."""
        self.phase("Trials")
        assert details.strategy is not None and details.existing is not None, "both were looked at"
        ends = list(exactly.impossible)
        existing = {one.name: one for one in details.existing.noted}
        for number, one in enumerate(exactly.proposals, 1):
            with self.step(one.ddl[:200], "implementation") as step:
                if one.action == "remove invalid":
                    async with target_lease(self, target.resources, on_waiting=self.waits_for_lease):
                        ends.append(await invalid_removed(request, target, one, existing[one.name].definition))
                else:
                    prefix, table = (
                        f"{artifact_folder(target.name)}/trial-{number}",
                        existing[one.name].table if one.name in existing else "",
                    )
                    asked = trial_of(one, exactly.told[one.title], details.strategy, request, target, prefix, table)
                    ended, result = await tried(one, asked, number)
                    ends.append(ended)
                    details = details.model_copy(update={"delivered": (*details.delivered, *result.delivered)})
                step.note = f"{ends[-1].end}: {ends[-1].reason}"
            self.say(f"{one.title}: {ends[-1].end}, {ends[-1].reason}")
        return details.model_copy(update={"tried": tuple(ends)})

    async def _watched(self, request: IndexStrategyRequest, target: Target, details: IndexStrategyDetails) -> IndexStrategyDetails:
        """Who uses what was kept: the run sleeps meanwhile, for days if so asked."""
        kept = tuple(one.proposal.name for one in details.tried if one.end == "kept" and one.proposal.action == "create")
        if not kept or not request.watch_s:
            self.skip_step("Watch use", "monitoring", "watch_s is 0" if kept else "nothing was created and kept")
            return details
        self.phase("Watching use")
        with self.step("Watch use", "monitoring") as step:
            first = await use_read(target, kept)
            for look in range(1, LOOKS + 1):
                await workflow.sleep(request.watch_s / LOOKS, summary=f"Use of {len(kept)} kept indexes, look {look} of {LOOKS}")
                use = use_between(kept, first, await use_read(target, kept), request.watch_s * look / LOOKS)
                step.note = f"{sum(one.scans > 0 for one in use)} of {len(kept)} kept indexes are used"
                self.say(step.note)
        return details.model_copy(update={"use": use})

    async def _remove_clones(self, target: Target, *, needed: bool = False) -> ClonesRemoved:
        """What killed workers left."""
        removed: ClonesRemoved = await workflow.execute_activity_method(
            IndexSearch.remove_clones,
            RemoveClones(clone=self._clone, needed=needed),
            summary=f"Drop clones of {target.title} that are left",
            **asking(on=target.host),
        )
        if removed.names:
            self.say(f"{len(removed.names)} clones of {target.title} were left, and are dropped")
        return removed

    def _patience(self, request: IndexStrategyRequest, revisions: int | None = None) -> dict[str, Any]:
        return {
            "deadline_s": request.review_deadline_s,
            "max_revisions": request.max_revisions if revisions is None else revisions,
            "validate_overrides": lambda overrides: override_problems(request, overrides),
        }

    async def _result(
        self,
        request: IndexStrategyRequest,
        target: Target,
        details: IndexStrategyDetails,
        proposals: tuple[IndexProposal, ...],
        refused: str,
    ) -> Result:
        info = workflow.info()
        with self.step("Conclude", "analysis"):
            said: IndexConclusion = await workflow.execute_activity_method(
                IndexFindings.conclude_index_strategy,
                ConcludeIndexStrategy(
                    request=request.model_copy(update={"statements": ()}),
                    title=target.title,
                    details=details,
                    proposals=proposals,
                    refused=refused,
                ),
                summary=f"What was found and done on {target.title}",
                **READ,
            )
        return Result(
            process=PROCESS,
            target=target.name,
            environment=target.environment,
            workflow_id=info.workflow_id,
            run_id=info.run_id,
            verdict=said.verdict,
            summary=said.summary,
            findings=said.findings,
            recommendations=said.recommendations,
            quality_gates=said.quality_gates,
            artifacts=tuple(one for one in (details.statement_table, details.catalog, *details.delivered) if one),
            request=told_request(request),
            started_at=info.start_time.isoformat(),
            details=details,
        )
