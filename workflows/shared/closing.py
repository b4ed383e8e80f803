"""What every process does with its result: number the run, publish the report, and at the end file both.

run = await number_run(target, request)
result = await publish(self, result, run)              # before a review: report and artifacts exist when the gate opens
return await close(self, result, run, profiles=...)    # objections, the final report, the history
"""

from typing import Any, TypeVar

from pydantic import BaseModel
from temporalio import workflow

from activities.history import History
from activities.reports import Reports
from perfwright.models.history import RecordedProfile, RunRecord, RunStart
from perfwright.models.measurement import EnvironmentFingerprint
from perfwright.models.result import ProcessResult, ReportToPublish
from perfwright.models.target import Target
from workflows.shared.human_gates import HumanGates
from workflows.shared.options import COMPUTE, READ
from workflows.shared.waiting import to_the_end

Result = TypeVar("Result", bound=ProcessResult[Any])


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
            **READ,
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
