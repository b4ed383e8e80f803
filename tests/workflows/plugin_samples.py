"""Workflows and activities for the tests of the plugin."""

import datetime
import logging
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from temporalio import activity, workflow
from temporalio.common import RetryPolicy, SearchAttributeKey

from activities.errors import refuse
from perfwright.models.errors import ErrorType

SHORT: Any = {"start_to_close_timeout": timedelta(seconds=10), "retry_policy": RetryPolicy(maximum_attempts=2)}


class Part(BaseModel):
    size_bytes: int


class Measured(BaseModel):
    target: str
    verdict: str = "passed"


@activity.defn
async def return_words() -> Any:
    return {"size_bytes": "many"}


class Failing:
    """Raises what no activity should, by name."""

    def __init__(self) -> None:
        self.attempts = 0

    @activity.defn
    async def fail_as(self, name: str) -> None:
        self.attempts += 1
        match name:
            case "validation":
                Part.model_validate({"size_bytes": "many"})
            case "key":
                raise KeyError("no such thing")
            case "connection":
                raise ConnectionResetError("postgresql://app:hunter2@db/shop went away")
            case "permission":
                raise PermissionError(13, "not allowed", "/proc/1/mem")
            case "long":
                raise ValueError("x" * 100_000)
            case "refusal":
                raise refuse(ErrorType.TOOL_MISSING, "py-spy is not installed", way_out="pip install py-spy")

    @activity.defn
    def log_something(self, measured: Measured) -> None:
        logging.getLogger("some.library").warning("seen")


@workflow.defn
class CallsFailing:
    @workflow.run
    async def run(self, name: str) -> None:
        await workflow.execute_activity_method(Failing.fail_as, name, summary="Fail", **SHORT)


@workflow.defn
class Logging:
    @workflow.run
    async def run(self, measured: Measured) -> Measured:
        await workflow.execute_activity_method(Failing.log_something, measured, summary="Log", **SHORT)
        return measured


@workflow.defn
class ExpectsPart:
    @workflow.run
    async def run(self) -> int:
        part = await workflow.execute_activity("return_words", result_type=Part, **SHORT)
        return part.size_bytes


@workflow.defn
class Words:
    @workflow.run
    async def run(self) -> dict[str, str]:
        return {"size_bytes": "many"}


@workflow.defn
class ExpectsPartOfChild:
    @workflow.run
    async def run(self) -> int:
        part: Part = await workflow.execute_child_workflow("Words", id=f"{workflow.info().workflow_id}/child", result_type=Part)
        return part.size_bytes


@workflow.defn
class ReadsTheClock:
    @workflow.run
    async def run(self) -> str:
        return datetime.datetime.now().isoformat()


@workflow.defn
class Waits:
    """Gates that are open since given times; what is no time is no answer."""

    @workflow.run
    async def run(self, opened_at: list[str]) -> None:
        self._opened_at = opened_at
        names = [f"gate_{i}" for i in range(len(opened_at))]
        workflow.upsert_search_attributes([SearchAttributeKey.for_keyword_list("PerfPendingGates").value_set(names)])
        await workflow.wait_condition(lambda: False, timeout=timedelta(hours=1))

    @workflow.query
    def pending_gates(self) -> list[dict[str, str]]:
        return [{"opened_at": datetime.datetime.fromisoformat(at).isoformat()} for at in self._opened_at]
