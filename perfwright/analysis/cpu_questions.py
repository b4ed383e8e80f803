"""What CpuProfilingInvestigation asks people, and what it puts on show."""

from perfwright.models.cpu_profiling import OVERRIDABLE, CpuProfilingRequest, Preflight, Recording, TargetProcess
from perfwright.models.cpu_steps import ProfileJudgement
from perfwright.models.gate import GateQuestion
from perfwright.models.registry_checks import PRODUCTION
from perfwright.models.target import Target

OPEN_INSPECTOR = "open_inspector"
"""The gate's name."""


def inspector_change(target: Target, found: Preflight) -> GateQuestion:
    """May the target's process be touched, so that it can be recorded?"""
    return GateQuestion(
        name=OPEN_INSPECTOR,
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


def may_inject(target: Target, process: TargetProcess, approved: TargetProcess | None, *, launched_by_us: bool) -> bool:
    """Whether something may be done to the process itself: in production only to the very one (`approved`) that was on show."""
    if launched_by_us:
        return True
    if target.environment != PRODUCTION:
        return target.inline or "inject" in target.allow
    return approved is not None and (approved.pid, approved.create_time_s) == (process.pid, process.create_time_s)


def not_approved(found: Preflight, approved: TargetProcess | None) -> str:
    """Why what `found` needs is not done, although the run went past its gate."""
    why = "The inspector was open when the run began" if approved is None else f"Approved was pid {approved.pid} as it ran then"
    return f"nobody has approved this in production: {found.injects}. {why}"


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
