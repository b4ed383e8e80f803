"""What CpuProfilingInvestigation asks people, and what it puts on show."""

from perfwright.models.cpu_profiling import OVERRIDABLE, CpuProfilingRequest, Preflight, Recording
from perfwright.models.cpu_steps import ProfileJudgement
from perfwright.models.gate import GateQuestion
from perfwright.models.target import Target


def inspector_change(target: Target, found: Preflight) -> GateQuestion:
    """May the target's process be touched, so that it can be recorded?"""
    return GateQuestion(
        name="open_inspector",
        kind="change",
        question=f"May the inspector of {target.name} be opened for the time of the recording?",
        consequence="Approval opens it, records, and closes it again; a refusal ends the investigation with nothing done.",
        evidence=(
            "Whoever reaches the port on loopback meanwhile can run code in the target.",
            "V8 compiles its hot functions again once, so that inlined ones can be told apart: about a second of its time.",
        ),
        exact_change=found.injects,
        risk="reload",
    )


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
