"""What CpuProfilingInvestigation asks people, and what it puts on show."""

from perfwright.models.cpu_profiling import OVERRIDABLE, CpuProfilingDetails, CpuProfilingRequest, Recording
from perfwright.models.cpu_steps import ProfileJudgement
from perfwright.models.gate import GateQuestion
from perfwright.models.result import ProcessResult


def profile_review(judgement: ProfileJudgement, recording: Recording, request: CpuProfilingRequest) -> GateQuestion:
    """Is the profile good enough to believe what follows from it?"""
    return GateQuestion(
        name="profile_review",
        kind="review",
        question=f"Is this profile of {request.target_name} usable?",
        consequence="Approval goes on to the analysis.",
        evidence=judgement.statements,
        artifacts=(recording.stacks.profile,),
        overrides=OVERRIDABLE,
        quality_passed=judgement.believable,
    )


def findings_review(result: ProcessResult[CpuProfilingDetails]) -> GateQuestion:
    """Do the findings hold?"""
    shown = [f"**{finding.severity}** {finding.title}" for finding in result.findings[:5]] or ["No finding costs enough to act on."]
    advice = [f"To do: {one.title}" for one in result.recommendations[:3]]
    report = tuple(ref for ref in (result.report.html, result.report.markdown) if ref)
    return GateQuestion(
        name="findings_review",
        kind="review",
        question=f"Do the findings on {result.target} hold?",
        consequence="Approval ends the investigation and keeps its findings.",
        evidence=(result.summary, *shown, *advice),
        artifacts=report,
        quality_passed=all(gate.outcome == "passed" for gate in result.quality_gates),
    )
