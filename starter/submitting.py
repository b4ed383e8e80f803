"""A change submitted to a run, and whether the run takes it."""

import asyncio
import uuid
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from temporalio.client import WorkflowExecutionStatus, WorkflowQueryFailedError

from perfwright.analysis.changes.file_edits import looks_secret
from perfwright.models.change import PATCH_CHARACTERS
from perfwright.models.queues import CENTRAL_QUEUE
from perfwright.models.submission import SUBMIT_CHANGE, ChangeSubmission, TakenSubmission
from starter.pollers import pollers_of
from starter.refusals import DecisionRefused, InvalidRequest, NoWorkerAnswers
from starter.run import Run
from workflows.plugin.mistakes import describe_mistakes

PATIENCE_S = 20.0
ASK_EVERY_S = 0.1


@dataclass(frozen=True)
class Submitted:
    """What became of it."""

    workflow_id: str
    submission_id: str
    taken: bool
    """False: it was sent, and waits for a worker."""


def read_patch(file: Path) -> str:
    """The patch in the file; raises InvalidRequest."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as trouble:
        raise InvalidRequest("submit", [f"--patch: cannot read {file}: {getattr(trouble, 'strerror', None) or trouble}"]) from None
    if not text.strip():
        raise InvalidRequest("submit", [f"--patch: {file} is empty"])
    if len(text) > PATCH_CHARACTERS:
        told = f"--patch: {file} has {len(text):,} characters, {PATCH_CHARACTERS:,} are allowed; give a --ref that the repository has"
        raise InvalidRequest("submit", [told])
    return text


async def submit_change(run: Run, *, patch: str, ref: str, base: str, by: str, comment: str, item: str) -> Submitted:
    """Send it, and hear whether it is taken.

    Raises InvalidRequest before anything is sent, also for a patch that seems to hold a password (what is sent is recorded);
    DecisionRefused with the run's reason; NoWorkerAnswers.
    """
    number = uuid.uuid4().hex
    given = {"patch": patch, "ref": ref or None, "base": base or "HEAD", "by": by, "comment": comment, "item": item}
    try:
        submission = ChangeSubmission.model_validate(given | {"submission_id": number})
    except ValidationError as mistakes:
        raise InvalidRequest("submit", describe_mistakes(mistakes, ChangeSubmission)) from None
    if looks_secret("\n".join(line for line in patch.splitlines() if line[:1] in "+-").encode(), code=True):
        told = "--patch: a line that changes looks like it holds a password or token, and what is sent is recorded; give a --ref"
        raise InvalidRequest("submit", [told])
    description = await run.describe()
    if description.status != WorkflowExecutionStatus.RUNNING:
        raise DecisionRefused(f"{run.workflow_id} is over: it takes no changes")
    refused_before = len(await run.refused_decisions()) if await _answers(run, description.task_queue) else 0
    await run.handle.signal(SUBMIT_CHANGE, submission.model_dump(mode="json", exclude_defaults=True))
    if not await _answers(run, description.task_queue):
        return Submitted(run.workflow_id, number, taken=False)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for refused in (await run.refused_decisions())[refused_before:]:
                    if refused.message == SUBMIT_CHANGE:
                        raise DecisionRefused(f"{run.workflow_id} did not take it: {refused.reason}")
                if number in {one.submission_id for one in await _submissions(run)}:
                    return Submitted(run.workflow_id, number, taken=True)
                await asyncio.sleep(ASK_EVERY_S)
    except TimeoutError:
        told = f"{run.workflow_id} did not say within {PATIENCE_S:g} s whether it takes the change"
        raise NoWorkerAnswers(told, way_out=f"Look at `perfwright show {run.workflow_id}` before sending it again") from None


async def _answers(run: Run, queue: str | None) -> bool:
    return (await pollers_of(run.client, queue or CENTRAL_QUEUE, workflows=True)).present


async def _submissions(run: Run) -> list[TakenSubmission]:
    try:
        found: list[TakenSubmission] = await run.handle.query("submissions", result_type=list[TakenSubmission])
    except WorkflowQueryFailedError:
        raise DecisionRefused(f"{run.workflow_id} takes no changes from outside") from None
    return found
