"""Processes that use the SDK alone, as its documentation recommends; the same classes run with and without our plugin."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from benchmarks.samples.models import Answer, Request, Result
    from benchmarks.samples.steps import do_step

STEPS = 10
PATIENCE = timedelta(seconds=30)


@workflow.defn
class TenSteps:
    """Five steps, a gate, five steps."""

    def __init__(self) -> None:
        self._answer: Answer | None = None

    @workflow.signal
    def approve(self, answer: Answer) -> None:
        self._answer = answer

    @workflow.run
    async def run(self, request: Request) -> Result:
        seconds = 0.0
        for number in range(STEPS):
            if number == STEPS // 2:
                await workflow.wait_condition(lambda: self._answer is not None, timeout=timedelta(days=1))
            done = await workflow.execute_activity(
                do_step, number, summary=f"Step {number} of {request.target}", start_to_close_timeout=PATIENCE
            )
            seconds += done.seconds
        return Result(steps=STEPS, seconds=seconds)


@workflow.defn
class OneStep:
    """One step."""

    @workflow.run
    async def run(self, request: Request) -> Result:
        done = await workflow.execute_activity(do_step, 0, summary=f"Step of {request.target}", start_to_close_timeout=PATIENCE)
        return Result(steps=1, seconds=done.seconds)
