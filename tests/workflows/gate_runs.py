"""Runs of the sample that asks, on workers of their own, and what is seen of their gates from outside."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowHandle

from activities.gates import Gates
from activities.registry_file import RegistryFile
from perfwright.models.gate import OpenGate
from tests.workflows.gate_samples import Asking, AskingSample

REGISTRY = """
[environments.lab]
review = "ask"
[environments.noting]
review = "notify"
[environments.automatic]
review = "auto"
change = "auto"
[environments.production]
approvers = ["ada", "starter"]
[environments.reminding]
reminders = 2
"""


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    path = tmp_path / "perfwright.toml"
    path.write_text(REGISTRY)
    return path


def gate_activities(registry: Path, **options: Any) -> list[Any]:
    gates = Gates(RegistryFile(registry), **options)
    return [gates.read_gate_policy, gates.send_notification]


@pytest.fixture
def asking(client: Client, running_worker: Any, task_queue: str, registry: Path) -> Any:
    """`async with asking(gate=..., kind=...) as run:` a run of the sample on a worker of its own."""

    @asynccontextmanager
    async def start(*, by: Client | None = None, activities: Any = None, worker: Any = None, **fields: Any) -> AsyncIterator[Any]:
        offered = gate_activities(registry) if activities is None else activities
        async with running_worker(workflows=[AskingSample], activities=offered, **(worker or {})):
            yield await (by or client).start_workflow(
                AskingSample.run, Asking(**fields), id=f"asking/{uuid.uuid4()}", task_queue=task_queue
            )

    return start


async def until(condition: Callable[[], Awaitable[Any]], deadline_s: float = 30.0) -> Any:
    end = asyncio.get_running_loop().time() + deadline_s
    while not (found := await condition()):
        assert asyncio.get_running_loop().time() < end, f"not within {deadline_s} s"
        await asyncio.sleep(0.02)
    return found


async def open_gate(run: WorkflowHandle[Any, Any], revision: int = 1) -> OpenGate:
    async def shown() -> OpenGate | None:
        gates = await run.query(AskingSample.pending_gates)
        return next((gate for gate in gates if gate.revision >= revision), None)

    gate: OpenGate = await until(shown)
    return gate


def says(at: OpenGate, **fields: Any) -> dict[str, Any]:
    return {"gate": at.name, "by": "ada", "digest": at.digest} | fields


async def refusals(run: WorkflowHandle[Any, Any], count: int = 1) -> list[Any]:
    async def enough() -> list[Any]:
        listed = await run.query(AskingSample.rejected_decisions)
        return listed if len(listed) >= count else []

    found: list[Any] = await until(enough)
    return found


async def details_of(client: Client, run: WorkflowHandle[Any, Any]) -> str:
    metadata = await run.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return str(metadata.current_details)


async def pending_attribute(run: WorkflowHandle[Any, Any]) -> Any:
    found = (await run.describe()).search_attributes
    return found.get("PerfPendingGates")
