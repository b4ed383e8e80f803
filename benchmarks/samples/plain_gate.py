"""What `gated.GatedSteps` does, written with the SDK alone: the same steps, the same search attributes, a gate with a policy."""

from datetime import timedelta

from temporalio import workflow
from temporalio.common import SearchAttributeKey

with workflow.unsafe.imports_passed_through():
    from benchmarks.samples.models import Answer, Request, Result
    from benchmarks.samples.steps import do_step, read_gate_rule

STEPS = 10
PATIENCE = timedelta(seconds=30)
PENDING_GATES = SearchAttributeKey.for_keyword_list("PerfPendingGates")
PHASE = SearchAttributeKey.for_keyword("PerfPhase")
TARGET = SearchAttributeKey.for_keyword("PerfTarget")
ENVIRONMENT = SearchAttributeKey.for_keyword("PerfEnvironment")
HOST = SearchAttributeKey.for_keyword("PerfHost")
VERDICT = SearchAttributeKey.for_keyword("PerfVerdict")


@workflow.defn
class PlainGatedSteps:
    """Five steps, a gate, five steps; where it stands is shown in the details and found by search."""

    def __init__(self) -> None:
        self._answer: Answer | None = None
        self._open = False
        self._done: list[str] = []

    @workflow.signal
    def approve(self, answer: Answer) -> None:
        if self._open and self._answer is None:
            self._answer = answer

    @workflow.query
    def pending_gates(self) -> list[str]:
        return ["findings_review"] if self._open else []

    @workflow.run
    async def run(self, request: Request) -> Result:
        workflow.upsert_search_attributes(
            [
                TARGET.value_set(request.target),
                ENVIRONMENT.value_set("lab"),
                HOST.value_set("local"),
                PHASE.value_set("Working"),
            ]
        )
        seconds = 0.0
        for number in range(STEPS):
            if number == STEPS // 2:
                await self._ask("findings_review")
            self._show(f"Step {number}")
            done = await workflow.execute_activity(
                do_step, number, summary=f"Step {number} of {request.target}", start_to_close_timeout=PATIENCE
            )
            seconds += done.seconds
            self._done.append(f"Step {number}, done")
        workflow.upsert_search_attributes([VERDICT.value_set("passed"), PHASE.value_set("Finished")])
        await workflow.wait_condition(workflow.all_handlers_finished)
        return Result(steps=STEPS, seconds=seconds)

    async def _ask(self, gate: str) -> None:
        rule = await workflow.execute_activity(read_gate_rule, gate, summary=f"Read who answers {gate}", start_to_close_timeout=PATIENCE)
        self._open = True
        workflow.upsert_search_attributes([PENDING_GATES.value_set([gate])])
        self._show(f"Waiting at {gate}")
        await workflow.wait_condition(lambda: self._answer is not None, timeout=timedelta(seconds=rule.deadline_s))
        self._open = False
        workflow.upsert_search_attributes([PENDING_GATES.value_unset()])

    def _show(self, what: str) -> None:
        lines = "\n".join(f"- {line}" for line in self._done)
        workflow.set_current_details(f"**{what}**\n\n## Steps\n\n{lines}")
