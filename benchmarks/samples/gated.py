"""Processes as ours are written: steps, a gate of `HumanGates`, and everything that a run tells about itself."""

from temporalio import workflow

from benchmarks.samples.models import Request, Result
from benchmarks.samples.steps import do_step
from perfwright.models.gate import GateQuestion
from perfwright.models.target import Target
from workflows.shared.human_gates import HumanGates
from workflows.shared.options import READ

STEPS = 10


def review(request: Request) -> GateQuestion:
    return GateQuestion(
        name="findings_review",
        kind="review",
        question="Is this measurement good enough?",
        consequence="The findings are believed.",
        evidence=(f"recorded for **{request.duration_s:g} s**",),
    )


@workflow.defn
class GatedSteps(HumanGates):
    """Five steps, a gate, five steps."""

    gate_names = ("findings_review",)

    @workflow.run
    async def run(self, request: Request) -> Result:
        self.about(Target(name=request.target, kind="process", environment="lab"), "Working")
        seconds = 0.0
        for number in range(STEPS):
            if number == STEPS // 2:
                await self.ask(review(request))
            with self.step(f"Step {number}", "profiling"):
                done = await workflow.execute_activity(do_step, number, summary=f"Step {number} of {request.target}", **READ)
            seconds += done.seconds
        self.conclude("passed")
        await self.finish()
        return Result(steps=STEPS, seconds=seconds)


@workflow.defn
class OnlyGate(HumanGates):
    """One gate."""

    gate_names = ("findings_review",)

    @workflow.run
    async def run(self, request: Request) -> Result:
        self.about(Target(name=request.target, kind="process", environment="lab"), "Review")
        decision = await self.ask(review(request))
        self.conclude("rejected" if decision.refused else "passed")
        await self.finish()
        return Result(verdict="rejected" if decision.refused else "passed", steps=0, seconds=0.0)
