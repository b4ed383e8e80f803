"""A small guarded process, to try what every process must stand."""

from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field, ValidationError
from temporalio import workflow
from temporalio.exceptions import ApplicationError

from perfwright.models.gate import DecisionInput
from perfwright.models.vocabulary import Input, Name
from workflows.plugin.mistakes import describe_mistakes, one_line
from workflows.shared.refused_messages import RefusedMessages


class Part(Input):
    size_bytes: Annotated[int, Field(ge=1)]


class SampleRequest(Input):
    target: Name
    duration_s: Annotated[float, Field(ge=2, le=3_600)] = 30.0
    parts: tuple[Part, ...] = ()
    password: Annotated[str, Field(max_length=8)] = ""


@workflow.defn
class SampleProcess(RefusedMessages):
    """Waits for an approval."""

    def __init__(self) -> None:
        super().__init__()
        self._approved_by = ""

    @workflow.run
    async def run(self, request: SampleRequest) -> str:
        await workflow.wait_condition(lambda: self._approved_by != "", timeout=timedelta(seconds=request.duration_s * 100))
        return f"{request.target} approved by {self._approved_by}"

    @workflow.signal
    def approve(self, decision: Any) -> None:
        try:
            self._approved_by = DecisionInput.model_validate(decision).by
        except ValidationError as e:
            self.refuse_message("approve", one_line(describe_mistakes(e, DecisionInput)), decision)

    @workflow.signal
    def broken(self, decision: Any) -> None:
        raise ApplicationError(f"would fail the run: {decision['nothing']}")

    @workflow.update
    def decide(self, decision: DecisionInput) -> str:
        self._approved_by = decision.by
        return decision.by

    @decide.validator
    def _decide_allowed(self, decision: DecisionInput) -> None:
        if decision.gate != "sample":
            raise ApplicationError(f"gate: {decision.gate} is not open", type="InvalidInput")

    @workflow.update
    def unvalidated(self, decision: DecisionInput) -> str:
        return {}[decision.by]

    @workflow.query
    def approved_by(self, prefix: str) -> str:
        return prefix + self._approved_by
