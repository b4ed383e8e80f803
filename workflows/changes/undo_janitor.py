"""Which changes stand without anybody who is responsible, and are they undone?

look -> of each target, by a run of its own: lease -> undo, the latest first
     -> in production, and where the owner's server is not known: a run of its own asks a person first

Started by a Temporal schedule that the worker ensures, by the lease of a target that would be given on (`activities/leases.py`), and by
hand. It is what undoes the change of a run that was terminated, or lost with its server.
"""

from collections.abc import Sequence
from contextlib import suppress

from temporalio import workflow
from temporalio.exceptions import ActivityError, WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

from activities.abandoned_changes import AbandonedChangeFinder
from activities.changing import Changing
from perfwright.analysis.changes.abandoned import by_target, janitor_id, needs_asking, question_about, queued_janitor_id
from perfwright.analysis.gate_answers import told
from perfwright.models.delivery import AnnotationOrder
from perfwright.models.lease import LeaseTicket, summary_of
from perfwright.models.target import Target
from perfwright.models.undo import (
    AbandonedChange,
    AbandonedChanges,
    AbandonedQuery,
    ChangeOutcome,
    ChangeReference,
    JanitorReport,
    JanitorRequest,
)
from workflows.shared.human_gates import HumanGates
from workflows.shared.leasing import LeaseHolder, LeaseLost, target_lease
from workflows.shared.marking import marked
from workflows.shared.options import READ, changing
from workflows.shared.waiting import stop_if_cancelled

UNDO_GATE = "undo_abandoned"
APART, MARKED = "each target is undone by a run of its own", "what is undone is marked on dashboards"
"""Runs that began before these go on as they began (`workflow.patched`)."""


@workflow.defn
class UndoJanitor(HumanGates, LeaseHolder):
    gate_names = (UNDO_GATE,)

    @workflow.run
    async def run(self, request: JanitorRequest) -> JanitorReport:
        found = await self._look(request)
        report = JanitorReport()
        for changes in by_target(found.changes):
            target = changes[0].target
            if needs_asking(changes) and not request.ask:
                await self._have_asked(target, request)
                report = report.model_copy(update={"asked": (*report.asked, target.name)})
                continue
            if request.target is None and not request.ask and workflow.patched(APART):
                await self._have_undone(target, request)
                report = report.model_copy(update={"handed_on": (*report.handed_on, target.name)})
                continue
            self.about(target, "Undoing what was left")
            if request.ask and not await self._may_undo(changes, request):
                report = report.model_copy(update={"refused": (*report.refused, *(change.change_id for change in changes))})
                continue
            report = await self._undo(target, changes, report, request.ticket)
        await self.finish()
        self.phase("Finished")
        self.say(report.summary)
        return report

    async def _look(self, request: JanitorRequest) -> AbandonedChanges:
        with self.step("Look for abandoned changes", "analysis") as step:
            found = await workflow.execute_activity_method(
                AbandonedChangeFinder.find_abandoned_changes,
                AbandonedQuery(target=request.target or "", settle_s=request.settle_s),
                summary="Which changes stand without a living owner?",
                **READ,
            )
            step.note = f"{len(found.changes)} found" + (f", {found.left_out} more at the next look" if found.left_out else "")
        return found

    async def _have_asked(self, target: Target, request: JanitorRequest) -> None:
        """So that other targets do not wait for a person."""
        run_id = janitor_id(target.name)
        await self._started(target, request.model_copy(update={"ask": True}), run_id, "Ask whether abandoned changes are undone")
        self.say(f"{target.name}: a person is asked, by {run_id}")

    async def _have_undone(self, target: Target, request: JanitorRequest) -> None:
        """So that other targets, and the next look, wait neither for this one's lease nor for an index that is built for hours."""
        run_id = queued_janitor_id(target.name)
        await self._started(target, request, run_id, "Undo abandoned changes")
        self.say(f"{target.name}: is undone by {run_id}")

    async def _started(self, target: Target, request: JanitorRequest, run_id: str, what: str) -> None:
        """A run of its own, which lives on when this one has ended."""
        with suppress(WorkflowAlreadyStartedError):  # it is at it already
            await workflow.start_child_workflow(
                UndoJanitor.run,
                request.model_copy(update={"target": target.name}),
                id=run_id,
                parent_close_policy=ParentClosePolicy.ABANDON,
                static_summary=summary_of(f"{what}: {target.name}"),
            )

    async def _may_undo(self, changes: Sequence[AbandonedChange], request: JanitorRequest) -> bool:
        decision = await self.ask(question_about(UNDO_GATE, changes), deadline_s=request.deadline_s, max_revisions=0)
        return decision.outcome == "approved" and self.begin_apply(UNDO_GATE).outcome == "approved"

    async def _undo(
        self, target: Target, changes: Sequence[AbandonedChange], report: JanitorReport, ticket: LeaseTicket | None
    ) -> JanitorReport:
        """Under a ticket it is leased what that covers: its holder has the rest."""
        resources = target.resources if ticket is None else tuple(ticket.tokens)
        try:
            async with target_lease(self, resources, ticket=ticket, on_waiting=self.waits_for_lease):
                for change in changes:
                    report = await self._undo_one(change, report)
        except LeaseLost as lost:
            self.say(lost.message)
        return report

    async def _undo_one(self, change: AbandonedChange, report: JanitorReport) -> JanitorReport:
        try:
            outcome: ChangeOutcome = await workflow.execute_activity_method(
                Changing.revert_change,
                ChangeReference(change_id=change.change_id),
                summary=summary_of(f"Undo {change.title} of {change.target.name}: {change.reason}"),
                **changing(change.limit_s, on=change.target.host),
            )
        except ActivityError as failed:
            stop_if_cancelled()
            reason = told(str(failed.cause or failed), 400)
            self.say(f"{change.target.name}: {change.title} could not be undone: {reason}")
            return report.model_copy(update={"failed": (*report.failed, f"{change.change_id}: {reason}")})
        self.say(f"{change.target.name}: {change.title}: {outcome.state} {outcome.note}".strip())
        if outcome.state == "reverted" and workflow.patched(MARKED):
            await self._mark(change)
        return report.model_copy(update={"outcomes": (*report.outcomes, outcome)})

    async def _mark(self, change: AbandonedChange) -> None:
        order = AnnotationOrder(
            target=change.target.name,
            change_id=change.change_id,
            word="undone",
            title=change.title,
            workflow_id=change.owner.workflow_id,
        )
        if note := await marked(order):
            self.say(note)
