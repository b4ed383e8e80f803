"""Does this change make the target better, and is it kept?

describe, check -> A against A -> gate `change` -> apply, verify -> A against B -> gate `keep`, guards watched -> kept, guards watched
Whatever else happens, at any point after `apply` has begun: undone, and seen to be undone.

A child of every process that changes something; it is closed by its parent's end with a request to cancel, which undoes as well.
"""

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, FailureError, is_cancelled_exception

from activities.changing import Changing
from activities.targets import TargetQuery, Targets
from activities.trial_measuring.measuring import TrialMeasuring
from perfwright.analysis.trials.verdicts import (
    CHANGE_GATE,
    CONFLICT_GATE,
    KEEP_GATE,
    change_question,
    conflict_question,
    evidence_problem,
    keep_question,
    noise_problem,
    reference_of,
    told_judgement,
    told_noise,
    told_verdict,
    unwatched,
    watch_problem,
)
from perfwright.analysis.trials.watching import is_probed, live_guards_of, watched_by
from perfwright.models.change import limit_s
from perfwright.models.delivery import AnnotationOrder, DeliveryOrder
from perfwright.models.errors import ErrorType
from perfwright.models.lease import LeaseTicket, summary_of
from perfwright.models.queues import host_queue
from perfwright.models.target import Target
from perfwright.models.trial_run import MeasuringOrder, TrialEnd, TrialEvidence, TrialPhase, TrialRequest, TrialResult
from perfwright.models.undo import ChangeChecked, ChangeDescription, ChangeOrder, ChangeOutcome, ChangeOwner, ChangeReference, UndoState
from workflows.changes.live_watch import LiveWatch, answered, side_by_side
from workflows.changes.trial_steps import begin_undo, delivered, error_type, told_trouble
from workflows.shared.closing import artifact_folder
from workflows.shared.hosts import reach_host
from workflows.shared.human_gates import HumanGates
from workflows.shared.leasing import LeaseHolder, target_lease
from workflows.shared.marking import marked
from workflows.shared.options import CHANGE, READ, ActivityOptions, changing, measuring
from workflows.shared.waiting import to_the_end

CONFLICT_TRIES = 3
ALL_WATCHED = "live targets of all kinds are watched"
"""Runs that began before go on as they began (`workflow.patched`)."""
ALWAYS_ASKED = "a trial that was started by hand asks before it changes anything"
OPENING_S = 60.0
"""Laying out both sides, counting instructions: beyond what is measured."""
STEPS: dict[TrialPhase, str] = {"noise": "Measure A against A", "trial": "Measure A against B", "watch": "Watch the guards"}


@workflow.defn
class Trial(HumanGates, LeaseHolder):
    """Does this change make the target better, and is it kept?"""

    gate_names = (CHANGE_GATE, KEEP_GATE, CONFLICT_GATE)
    _request: TrialRequest
    _result: TrialResult
    _begun = False
    """Whether `apply` was asked for: from then on there may be something to undo."""
    _keeping = False
    """Whether it was asked to be kept, and its undo has not begun: the janitor would leave it."""

    @workflow.run
    async def run(self, request: TrialRequest) -> TrialResult:
        self._begin(request)
        try:
            problem = await self._tried()
        except (FailureError, asyncio.CancelledError) as trouble:
            problem = told_trouble(trouble)
            if isinstance(trouble, asyncio.CancelledError) or is_cancelled_exception(trouble):
                await to_the_end(self._undo())
                await to_the_end(self._close(problem))
                raise asyncio.CancelledError(problem) from trouble
        if problem:
            await to_the_end(self._undo())
            await self._settle_conflict()
            return await to_the_end(self._close(problem))
        try:
            await to_the_end(self._close_kept())
        except asyncio.CancelledError:  # too late: it is kept, by a decision, and its result is not lost
            if workflow.cancellation_reason() is None:  # the run is only dropped from its worker's memory
                raise
        return self._result

    async def _tried(self) -> str:
        """Why it is not kept; empty: it is."""
        if workflow.info().parent is None:
            await self._look_up()
            if self._all_watched:
                await reach_host(self._request.target.host)
        self._choose_watch()
        description, problem = await self._describe()
        if not problem:
            await self._read_live()
        if problem := problem or await self._measure_noise():
            return problem
        if self._asks_before(description) and (problem := await self._refused_before(description)):
            return problem
        if problem := await self._apply_and_measure():
            return problem
        if problem := await self._refused_after(description):
            return problem
        await self._keep()
        return await self._watch_kept()

    def _begin(self, request: TrialRequest) -> None:
        info = workflow.info()
        self._result = TrialResult(title=request.title, end="not applied", reason="", workflow_id=info.workflow_id, run_id=info.run_id)
        prefix = request.artifact_prefix or artifact_folder(request.target.name)
        self._request = request.model_copy(update={"artifact_prefix": prefix, "noise": None})
        self._noise = request.noise
        self._reference = ChangeReference(change_id=f"{info.run_id}/1")
        self._all_watched = workflow.patched(ALL_WATCHED)
        self._on(request.target)

    def _on(self, target: Target) -> None:
        info = workflow.info()
        self.about(target, "Describe")
        self._request = self._request.model_copy(update={"target": target})
        owner = ChangeOwner(workflow_id=info.workflow_id, first_run_id=info.first_execution_run_id, run_id=info.run_id)
        self._order = ChangeOrder(
            change_id=self._reference.change_id,
            target=target,
            spec=self._request.change,
            owner=owner,
            mask_literals=self._request.mask_literals,
        )
        self._looking: ActivityOptions = {**CHANGE, "task_queue": host_queue(target.host)}
        self._changing = changing(limit_s(self._request.change), on=target.host)

    def _choose_watch(self) -> None:
        """By what the live target is watched, now that it is known. What nothing can read is not asked to be."""
        request = self._request
        kind, guards = watched_by(request.change, request.target), live_guards_of(request)
        if not self._all_watched:
            kind, guards = "counters", request.live_guards or ()
        self._request = request.model_copy(update={"live_guards": guards if kind != "nothing" else ()})
        self._live = LiveWatch(kind)
        # The trial's own guards, by its probe; runs that began before are watched by one or the other.
        self._probed = is_probed(request) and (self._all_watched or not guards)

    async def _look_up(self) -> None:
        """Started by hand and not by a process: what may be done to the target is what the registry says, and not what the input says."""
        target = await workflow.execute_activity_method(
            Targets.resolve_target,
            TargetQuery(target=self._request.target.name),
            summary=summary_of(f"Look up {self._request.target.name} in the registry"),
            **READ,
        )
        self._on(target)
        request = self._request
        given_yes = not request.ask_change or request.approved_digest  # which only a process of ours has asked for before
        if given_yes and workflow.patched(ALWAYS_ASKED):
            self._request = request.model_copy(update={"ask_change": True, "approved_digest": ""})

    async def _describe(self) -> tuple[ChangeDescription, str]:
        with self.step("Describe the change", "validation"):
            description: ChangeDescription = await workflow.execute_activity_method(
                Changing.describe_change,
                self._order,
                summary=summary_of(f"What exactly would be done to {self._request.target.title}: {self._request.title}"),
                **self._looking,
            )
            self._note(description=description, change_id=self._order.change_id)
            self._checked: ChangeChecked = await workflow.execute_activity_method(
                Changing.check_change, self._order, summary="Do its preconditions hold?", **self._looking
            )
        return description, "" if self._checked.passed else f"it may not be applied: {self._checked.told}"

    async def _measure_noise(self) -> str:
        """Why B is not measured."""
        noise = self._noise
        if noise is None:
            self.phase("A against A")
            async with self._leased():
                noise = await self._measure("noise", self._request.budget_s / 2)
        self._noise = noise
        self._note(noise=noise)
        if noise.noise is not None:
            self.say(told_noise(noise.noise))
        return noise_problem(noise, self._request.guards)

    def _asks_before(self, description: ChangeDescription) -> bool:
        """Not where the parent's own gate has approved exactly this."""
        if self._request.approved_digest:
            return self._request.approved_digest != description.digest
        return self._request.ask_change

    async def _refused_before(self, description: ChangeDescription) -> str:
        self.phase("Approval of the change")
        question = change_question(self._request, description, self._checked, self._noise)
        decision = await self.ask(question, deadline_s=self._request.deadline_s, max_revisions=0)
        if not decision.refused:
            decision = self.begin_apply(CHANGE_GATE)  # a later rejection still counts
        return f"refused by {decision.by}: {decision.comment}" if decision.refused else ""

    async def _apply_and_measure(self) -> str:
        """Why it is not better; then it is undone already, while nobody else can measure."""
        async with self._leased():
            try:
                await self._read_live()
                if not (problem := await self._apply()):
                    evidence = await self._measure("trial", self._request.budget_s)
                    self._note(evidence=evidence)
                    self._evidence = evidence
                    problem = evidence_problem(self._request, evidence)
                    if evidence.judgement is not None:
                        self.say(told_judgement(evidence.metric, evidence.judgement))
                if not problem and not self._request.ask_keep:
                    problem = f"measured only, as asked: {told_verdict(evidence)}"
            except (FailureError, asyncio.CancelledError):
                await to_the_end(self._undo())
                raise
            if problem:
                await to_the_end(self._undo())
        return problem

    async def _apply(self) -> str:
        self.phase("Apply")
        with self.step("Apply the change", "implementation"):
            self._begun = True
            outcome: ChangeOutcome = await workflow.execute_activity_method(
                Changing.apply_change,
                self._order,
                summary=summary_of(f"Record the undo, then apply: {self._request.title}"),
                **self._changing,
            )
            self._note(outcome=outcome)
            if outcome.state == "applied":
                outcome = await workflow.execute_activity_method(
                    Changing.verify_change, self._reference, summary="Does it stand there?", **self._looking
                )
                self._note(outcome=outcome)
        if outcome.state != "applied" or outcome.standing.word != "changed":
            return f"it was applied and does not stand: {outcome.state}, {outcome.standing.word} {outcome.standing.told}".strip()
        await self._annotate("applied")
        return ""

    async def _measure(self, phase: TrialPhase, seconds: float) -> TrialEvidence:
        request = self._request
        order = MeasuringOrder(request=request, phase=phase, seconds=seconds)
        if self._noise is not None:
            known = {"clock": self._noise.clock, "metric": self._noise.metric, "round_s": self._noise.round_s}
            order = order.model_copy(update={"change_id": self._order.change_id, **known})
        if phase == "watch":
            order = order.model_copy(update={"reference": reference_of(self._evidence)})
        opening_s = request.measurement.clone_limit_s if request.measurement.kind == "queries" else OPENING_S
        with self.step(STEPS[phase], "monitoring" if phase == "watch" else "benchmarking") as step:
            evidence: TrialEvidence = await workflow.execute_activity_method(
                TrialMeasuring.measure_trial,
                order,
                summary=summary_of(f"{STEPS[phase]} on {request.target.title}, {seconds:.0f} s at most: {request.title}"),
                **measuring(seconds + request.budget_s + opening_s, on=request.target.host),
            )
            step.note = f"{evidence.rounds} rounds of {evidence.round_s:.2f} s" + (f", {len(evidence.void)} void" if evidence.void else "")
        return evidence

    async def _refused_after(self, description: ChangeDescription) -> str:
        """A person's no, the deadline's, or that of a guard that was breached while they thought."""
        self.phase("Decision to keep")
        question = keep_question(self._request, description, self._evidence, live=self._live.ready)
        watching = self._watch(self._request.deadline_s) if self._live.ready or self._probed else None
        answer = await answered(self.ask(question, deadline_s=self._request.deadline_s, max_revisions=0), watching)
        if isinstance(answer, str):
            return answer
        return f"not kept, decided by {answer.by}: {answer.comment}" if answer.refused else ""

    async def _read_live(self) -> None:
        if self._request.live_guards and self._request.ask_keep and (why := await self._live.read(self._request)):
            self._note(notes=(*self._result.notes, why))

    async def _watch(self, seconds: float) -> TrialEvidence:
        """By all that watches it; both sides are measured again only where nothing else does."""
        watches = [self._measure("watch", seconds)] if self._probed or not self._live.ready else []
        if self._live.ready:
            watches.append(self._watch_live(seconds))
        return await side_by_side(*watches)

    async def _watch_live(self, seconds: float) -> TrialEvidence:
        with self.step("Watch the live target", "monitoring") as step:
            evidence = await self._live.watch(self._request, seconds)
            step.note = f"{evidence.rounds} windows of {evidence.round_s:.0f} s"
        self._note(notes=(*self._result.notes, *evidence.warnings))
        return evidence

    async def _keep(self) -> None:
        self.phase("Keep")
        with self.step("Keep the change", "implementation"):
            self._keeping = True
            outcome: ChangeOutcome = await workflow.execute_activity_method(
                Changing.keep_change, self._reference, summary=summary_of(f"It stands for good: {self._request.title}"), **self._looking
            )
        self._note(outcome=outcome)

    async def _watch_kept(self) -> str:
        """A breach; what could not be ruled out is a note."""
        request = self._request
        undisturbed = self._live.ready or self._probed
        if not request.watch_s or not (undisturbed or (request.guards and not request.live_guards)):
            return ""
        self.phase("Watch the guards")
        async with nullcontext() if undisturbed else self._leased():
            watched = await self._watch(request.watch_s)
        self._note(watched=watched)
        if note := unwatched(watched):
            self._note(notes=(*self._result.notes, note))
        return watch_problem(watched)

    async def _undo(self) -> None:
        """Until it is seen to be undone, or stands in conflict; nothing where nothing was begun or it is undone already."""
        if not self._begun or self._is("reverted"):
            return
        self.phase("Undo")
        with self.step("Undo the change", "implementation") as step:
            try:
                if self._keeping:
                    await begin_undo(self._reference, self._request.title)
                    self._keeping = False
                outcome: ChangeOutcome = await workflow.execute_activity_method(
                    Changing.revert_change, self._reference, summary=summary_of(f"Undo: {self._request.title}"), **self._changing
                )
            except ActivityError as failed:
                if self._result.outcome is None and error_type(failed) == ErrorType.INVALID_INPUT:
                    self._begun = False  # it failed before anything was recorded, so nothing was done
                    step.skip("nothing was done")
                    return
                then = "it stays as it was kept" if self._keeping else "the janitor tries again"
                note = f"it could not be undone, and {then}: {told_trouble(failed)}"
                self._note(notes=(*self._result.notes, note))
                step.note = note
                return
            step.note = f"{outcome.state}, {outcome.standing.word}"
            self._note(outcome=outcome)
        if outcome.state == "reverted":
            await self._annotate("undone")

    async def _settle_conflict(self) -> None:
        """What stands there is neither ours nor the earlier: a person puts it right, and it is tried again."""
        for _ in range(CONFLICT_TRIES):
            outcome = self._result.outcome
            if outcome is None or outcome.state != "conflict":
                return
            self.phase("Conflict")
            question = conflict_question(self._request, outcome)
            decision = await self.ask(question, deadline_s=self._request.deadline_s, max_revisions=0)
            if decision.refused or self.begin_apply(CONFLICT_GATE).refused:
                return
            await to_the_end(self._undo())

    async def _close_kept(self) -> None:
        await self._deliver()
        await self._close("")

    async def _deliver(self) -> None:
        prefix, reason = self._request.artifact_prefix, self._request.title
        done, why = await delivered(self, DeliveryOrder(change_id=self._order.change_id, artifact_prefix=prefix, reason=reason))
        self._note(delivered=done.artifacts, branch=done.branch, notes=(*self._result.notes, *filter(None, (why,))))

    async def _annotate(self, word: str) -> None:
        """On the team's dashboards, where the registry names them."""
        order = AnnotationOrder(
            target=self._request.target.name,
            change_id=self._order.change_id,
            word=word,
            title=self._request.title,
            workflow_id=self._result.workflow_id,
        )
        if note := await marked(order):
            self._note(notes=(*self._result.notes, note))

    async def _close(self, problem: str) -> TrialResult:
        await self.finish()
        kept = not problem
        end: TrialEnd = "kept" if kept else "not applied" if not self._begun else "undone" if self._is("reverted") else "conflict"
        reason = problem or f"better, and kept: {told_verdict(self._evidence)}"
        if end == "conflict":
            reason = "; ".join((reason, *self._result.notes[-1:]))
        self._note(end=end, reason=reason, decisions=tuple(self.decisions()))
        self.say(f"{end}: {reason}")
        refused = any(decision.refused for decision in self._result.decisions)
        self.conclude("passed" if kept else "rejected" if refused else "inconclusive", phase=end.capitalize())
        return self._result

    def _leased(self) -> AbstractAsyncContextManager[LeaseTicket]:
        return target_lease(self, self._request.target.resources, ticket=self._request.ticket, on_waiting=self.waits_for_lease)

    def _note(self, **fields: Any) -> None:
        self._result = self._result.model_copy(update=fields)

    def _is(self, state: UndoState) -> bool:
        return self._result.outcome is not None and self._result.outcome.state == state
