"""What every process does with its result: number the run, publish the report, and at the end file both.

async with ended_runs_filed(self):                         # around all of it: a run without a result is kept as well
    run = await number_run(target, request)
    result = await reviewed(self, result, run, **patience) # the report is written first: it exists when the gate opens
    return await close(self, result, run, profiles=...)    # objections, the final report, the history
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from pydantic import BaseModel
from temporalio import workflow
from temporalio.exceptions import ActivityError, FailureError, is_cancelled_exception

from activities.history import History
from activities.reports import Reports
from perfwright.analysis.findings_question import findings_review
from perfwright.analysis.gate_answers import told
from perfwright.models.history import RecordedProfile, RunEnd, RunRecord, RunStart
from perfwright.models.measurement import EnvironmentFingerprint
from perfwright.models.result import ProcessResult, ReportToPublish, Verdict
from perfwright.models.target import Target
from workflows.shared.human_gates import HumanGates
from workflows.shared.options import COMPUTE, READ, outlasting
from workflows.shared.run_story import LINE_CHARACTERS
from workflows.shared.waiting import to_the_end

Result = TypeVar("Result", bound=ProcessResult[Any])
FINDINGS_SAID = 3


def artifact_folder(target: str) -> str:
    """`cpu-profiling-investigation/shop/<run id>`: everything that this run keeps."""
    info = workflow.info()
    process = "".join(f"-{c.lower()}" if c.isupper() else c for c in info.workflow_type).lstrip("-")
    return f"{process}/{target}/{info.run_id}"


async def number_run(target: Target, request: BaseModel) -> str:
    """The run's short name, `shop#12`."""
    info = workflow.info()
    return await workflow.execute_activity_method(
        History.number_run,
        RunStart(
            process=info.workflow_type,
            target=target.name,
            environment=target.environment,
            workflow_id=info.workflow_id,
            run_id=info.run_id,
            started_at=info.start_time.isoformat(),
            request=request.model_dump(mode="json"),
        ),
        summary=f"Number this run of {target.title}",
        **READ,
    )


@asynccontextmanager
async def ended_runs_filed(process: HumanGates) -> AsyncIterator[None]:
    """Around all of a process: a run that is cancelled, or cannot be carried out, is kept in the history as well, with the reason."""
    try:
        yield
    except asyncio.CancelledError:
        await to_the_end(_file_end(process, "cancelled", "cancelled"))
        raise
    except FailureError as failure:
        if is_cancelled_exception(failure):
            await to_the_end(_file_end(process, "cancelled", "cancelled"))
        else:
            await to_the_end(_file_end(process, None, str(getattr(failure, "cause", None) or failure)))
        raise


async def _file_end(process: HumanGates, verdict: Verdict | None, reason: str) -> None:
    if not process.target_name:
        return  # refused before it had a target: it has no number either
    info = workflow.info()
    with suppress(ActivityError):  # what ended the run is told, not that the history could not be reached as well
        await workflow.execute_activity_method(
            History.end_run,
            RunEnd(run_id=info.run_id, closed_at=workflow.now().isoformat(), verdict=verdict, summary=told(reason, LINE_CHARACTERS)),
            summary=f"Keep that the run ended: {verdict or 'not carried out'}",
            **READ,
        )
    if verdict is not None:
        process.conclude(verdict, "Cancelled")
    else:
        process.phase("Not carried out")


async def reviewed(process: HumanGates, result: Result, run: str, **patience: Any) -> Result:
    """Say the first findings, publish the report, and ask what a person thinks of them; a refusal is the verdict.

    `patience`: how `HumanGates.ask` waits.
    """
    for finding in result.findings[:FINDINGS_SAID]:
        process.say(f"{finding.severity}: {finding.title}")
    process.phase("Findings review")
    result = await publish(process, result, run)
    decision = await process.ask(findings_review(result), **patience)
    if decision.refused:
        told_so = f"{result.summary} Refused by {decision.by}: {decision.comment}"
        result = result.model_copy(update={"verdict": "rejected", "summary": told_so})
    return result.model_copy(update={"reviewed": decision.outcome in ("approved", "rejected")})


async def publish(process: HumanGates, result: Result, run: str) -> Result:
    """Write the report as things stand; called again, it is replaced."""
    result = _as_things_stand(process, result)
    with process.step("Write the report", "documentation"):
        report = await workflow.execute_activity_method(
            Reports.publish_report,
            ReportToPublish(result=result.model_dump(mode="json"), run=run, artifact_prefix=artifact_folder(result.target)),
            summary=f"Write the report of {run}: HTML, Markdown, JSON",
            **COMPUTE,
        )
    return result.model_copy(update={"report": report})


async def close(
    process: HumanGates,
    result: Result,
    run: str,
    *,
    fingerprint: EnvironmentFingerprint | None = None,
    profiles: tuple[RecordedProfile, ...] = (),
) -> Result:
    """Take objections, write the final report, keep the run in the history; to the end, even when a cancellation comes meanwhile."""
    objections = await process.finish()
    if objections and result.verdict != "rejected":
        first = objections[0]
        result = result.model_copy(update={"verdict": "rejected", "summary": f"{result.summary} {first.by} objected: {first.comment}"})
    return await to_the_end(_file(process, result, run, fingerprint, profiles))


async def _file(
    process: HumanGates, result: Result, run: str, fingerprint: EnvironmentFingerprint | None, profiles: tuple[RecordedProfile, ...]
) -> Result:
    result = await publish(process, result, run)
    with process.step("Record in the history", "documentation"):
        await workflow.execute_activity_method(
            History.record_run,
            RunRecord.of(result, workflow.now().isoformat(), fingerprint=fingerprint, profiles=profiles),
            summary=f"Keep {run} for later comparison: {result.verdict}",
            **outlasting(READ),
        )
    process.say(result.summary)
    process.conclude(result.verdict)
    return _as_things_stand(process, result)


def _as_things_stand(process: HumanGates, result: Result) -> Result:
    return result.model_copy(
        update={
            "decisions": tuple(process.decisions()),
            "refused_decisions": process.refused_messages,
            "steps": process.steps,
            "duration_s": round((workflow.now() - workflow.info().start_time).total_seconds(), 3),
        }
    )
