"""Changes that people submit to a run: the signal `submit_change`, and `await self.submitted_change(deadline_s)`.

What cannot be taken is listed with its reason, like a decision that cannot, and never fails the run.
"""

from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import workflow

from perfwright.models.submission import SUBMIT_CHANGE, ChangeSubmission, TakenSubmission
from workflows.plugin.mistakes import describe_mistakes, one_line
from workflows.shared.refused_messages import RefusedMessages
from workflows.shared.waiting import stop_if_cancelled

KEPT = 20
"""That wait at a time."""
LISTED = 100


class SubmittedChanges(RefusedMessages):
    """Mixin of processes that take changes from people."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting_changes: list[tuple[str, ChangeSubmission]] = []
        self._submissions: list[TakenSubmission] = []
        self._submissions_heard = 0

    @workflow.signal(name=SUBMIT_CHANGE, description="Submit a change to be tried: {patch or ref, base, by, comment, item}")
    def submit_change(self, submission: Any = None) -> None:
        try:
            given = ChangeSubmission.model_validate(submission)
        except ValidationError as mistakes:
            self.refuse_message(SUBMIT_CHANGE, one_line(describe_mistakes(mistakes, ChangeSubmission)), submission)
            return
        self._submissions_heard += 1
        number = given.submission_id or f"submission {self._submissions_heard}"
        if any(one.submission_id == number for one in self._submissions):
            return
        if len(self._waiting_changes) >= KEPT:
            self.refuse_message(SUBMIT_CHANGE, f"{KEPT} changes wait already: send it again when one of them was tried", "", by=given.by)
            return
        self._waiting_changes.append((number, given))
        noted = TakenSubmission(
            submission_id=number, by=given.by, comment=given.comment, item=given.item, at=workflow.now().isoformat(timespec="seconds")
        )
        self._submissions = [*self._submissions, noted][-LISTED:]

    @workflow.query(description="Changes that were submitted, oldest first")
    def submissions(self) -> list[TakenSubmission]:
        return self._submissions

    async def submitted_change(self, deadline_s: float, item: str = "") -> ChangeSubmission | None:
        """The oldest that waits, for this work item if one is named (or for none in particular); None after the deadline."""
        if self._next_change(item) is None:  # a wait of no time would end before it had looked
            try:
                await workflow.wait_condition(
                    lambda: self._next_change(item) is not None,
                    timeout=timedelta(seconds=deadline_s),
                    timeout_summary="Nobody submitted a change",
                )
            except TimeoutError:
                return None
        stop_if_cancelled()
        found = self._next_change(item)
        assert found is not None, "waited for"
        self._waiting_changes.remove(found)
        number, given = found
        self._submissions = [one.model_copy(update={"taken": True}) if one.submission_id == number else one for one in self._submissions]
        return given

    def _next_change(self, item: str) -> tuple[str, ChangeSubmission] | None:
        return next((one for one in self._waiting_changes if not item or one[1].item in ("", item)), None)
