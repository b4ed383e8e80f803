"""What should not have been sent to a workflow, and a stage with an open run of every type to send it to, as raw payloads."""

import asyncio
import json
import subprocess
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest_asyncio
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import UpdateWorkflowExecutionLifecycleStage, WorkflowTaskFailedCause
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.update.v1 import Input as UpdateArguments
from temporalio.api.update.v1 import Meta, Request, WaitPolicy
from temporalio.api.workflowservice.v1 import (
    QueryWorkflowRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
)
from temporalio.client import Client, WorkflowHandle

from tests.conftest import run_worker
from tests.needs import temporal_cli
from tests.workflows.sample_workflows import SampleProcess
from workflows.plugin.plugin import PerfwrightPlugin
from workflows.registry import WORKFLOWS

ALL_TYPES: dict[str, type] = {workflow.__name__: workflow for workflow in (SampleProcess, *WORKFLOWS)}

GOOD: dict[str, dict[str, Any]] = {
    "SampleProcess": {"target": "shop"},
    "CpuOptimizationImplementation": {"target": "shop", "benchmark": ["python", "bench.py"], "tests": ["python", "check.py"]},
    "CpuProfilingInvestigation": {"target": "shop"},
    "GarbageCollectionTuning": {"target": "shop", "load": {"paths": ["/"]}},
    "IndexStrategyOptimization": {"target": "shop-db"},
    "QueryPerformanceAnalysis": {"target": "shop-db"},
    "TargetLease": {"resource": "target/shop", "settings": {"idle_s": 600}},
    "Trial": {
        "target": {"name": "shop", "kind": "process", "environment": "lab"},
        "title": "more workers",
        "change": {"kind": "command", "append": ["--workers=4"]},
        "measurement": {"kind": "benchmark", "command": ["shop"]},
    },
    "UndoJanitor": {"target": "shop"},
}
"""A start that is accepted and stays open, for every type: a new type needs a line here."""


def payload(data: bytes | str, encoding: str | None = "json/plain", **metadata: bytes) -> Payload:
    told = {} if encoding is None else {"encoding": encoding.encode()}
    return Payload(metadata={**told, **metadata}, data=data.encode() if isinstance(data, str) else data)


@dataclass(frozen=True)
class Bad:
    """One thing that should not have been sent."""

    name: str
    payloads: list[Payload]
    says: str = ""
    """What the answer must say, whatever the workflow type."""


GOOD_JSON = "GOOD"
"""Stands for an input that the type accepts."""

UNREADABLE = [
    Bad("no payload", [], "argument"),
    Bad("two payloads", [payload("{}"), payload("{}")], "2 given"),
    Bad("good and null", [payload(GOOD_JSON), payload("", "binary/null")], "2 given"),
    Bad("five payloads", [payload("{}")] * 5, "5 given"),
    Bad("cut JSON", [payload('{"target": ')], "EOF"),
    Bad("no bytes at all", [payload("")], "EOF"),
    Bad("two JSON values", [payload("{} {}")], "trailing"),
    Bad("garbage bytes", [payload(b"\xff\xfe\x00\x01")]),
    Bad("latin-1 text", [payload('{"target": "caf\xe9"}'.encode("latin-1"))]),
    Bad("UTF-16", [payload('{"target": "shop"}'.encode("utf-16"))]),
    Bad("half a surrogate", [payload('{"target": "\\ud800"}')]),
    Bad("five thousand lists in each other", [payload("[" * 5_000 + "]" * 5_000)], "recursion"),
    Bad("five thousand objects in each other", [payload('{"a":' * 5_000 + "1" + "}" * 5_000)], "recursion"),
    Bad("binary encoding", [payload(b"\x00\x01", "binary/plain")], "binary/plain is not accepted"),
    Bad("a megabyte of binary", [payload(b"\x00" * 1_000_000, "binary/plain")], "json/plain is"),
    Bad("good input, encrypted", [payload(GOOD_JSON, "binary/encrypted")], "binary/encrypted is not accepted"),
    Bad("good input without an encoding", [payload(GOOD_JSON, None)], "none is not accepted"),
    Bad("an encoding that is no text", [Payload(metadata={"encoding": b"\xff\x00"}, data=b"{}")], "is not accepted"),
    Bad("an encoding of ten thousand characters", [payload("{}", "x" * 10_000)], "is not accepted"),
    Bad("an unknown protobuf", [payload("{}", "json/protobuf", messageType=b"no.such.Message")], "not accepted"),
    Bad("a known protobuf", [payload("{}", "json/protobuf", messageType=b"temporal.api.common.v1.Payload")], "not accepted"),
    Bad("binary protobuf", [payload(b"\x08\x01", "binary/protobuf")], "not accepted"),
]
"""No handler of any type can take these."""

WRONG_VALUES = [
    Bad("null", [payload("null")]),
    Bad("null by encoding", [payload("", "binary/null")]),
    Bad("a number", [payload("42")]),
    Bad("a text", [payload('"shop"')]),
    Bad("a list", [payload("[]")]),
    Bad("true", [payload("true")]),
    Bad("a megabyte of text", [payload(json.dumps("x" * 1_000_000))]),
    Bad("a number of five thousand digits", [payload("9" * 5_000)]),
    Bad("NaN", [payload("NaN")]),
    Bad("good input as a text", [payload(json.dumps(GOOD_JSON))]),
    Bad("good input in a list", [payload(f"[{GOOD_JSON}]")]),
]
"""JSON, but not the object that is asked for."""

BY_SERVER = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_FORCE_CLOSE_COMMAND
"""The server ends a task itself when a flood of signals comes meanwhile."""


def filled(bad: Bad, type_name: str) -> list[Payload]:
    good = json.dumps(GOOD[type_name])
    texts = {GOOD_JSON.encode(): good.encode(), json.dumps(GOOD_JSON).encode(): json.dumps(good).encode(), b"[GOOD]": f"[{good}]".encode()}
    return [Payload(metadata=dict(sent.metadata), data=texts.get(sent.data, sent.data)) for sent in bad.payloads]


@dataclass
class Stage:
    """A worker with every type, a raw client, and one open run per type."""

    client: Client
    task_queue: str
    runs: dict[str, WorkflowHandle] = field(default_factory=dict)
    listed: Counter[str] = field(default_factory=Counter)
    """Id of a run -> how many refused messages it listed when it was last asked."""

    async def start(self, type_name: str, payloads: list[Payload], workflow_id: str = "") -> WorkflowHandle:
        workflow_id = workflow_id or f"bad-{uuid.uuid4()}"
        request = StartWorkflowExecutionRequest(
            namespace=self.client.namespace,
            workflow_id=workflow_id,
            request_id=str(uuid.uuid4()),
            workflow_type=WorkflowType(name=type_name),
            task_queue=TaskQueue(name=self.task_queue),
            input=Payloads(payloads=payloads) if payloads else None,
        )
        await self.client.workflow_service.start_workflow_execution(request)
        return self.client.get_workflow_handle(workflow_id)

    async def open_run(self, type_name: str) -> WorkflowHandle:
        if type_name not in self.runs:
            self.runs[type_name] = await self.start(type_name, [payload(json.dumps(GOOD[type_name]))], f"open-{type_name}-{uuid.uuid4()}")
        return self.runs[type_name]

    async def signal(self, handle: WorkflowHandle, name: str, payloads: list[Payload]) -> None:
        request = SignalWorkflowExecutionRequest(
            namespace=self.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id),
            signal_name=name,
            request_id=str(uuid.uuid4()),
            input=Payloads(payloads=payloads) if payloads else None,
        )
        await self.client.workflow_service.signal_workflow_execution(request)

    async def update(self, handle: WorkflowHandle, name: str, payloads: list[Payload]) -> str:
        """The failure that the sender is told."""
        request = UpdateWorkflowExecutionRequest(
            namespace=self.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id),
            wait_policy=WaitPolicy(
                lifecycle_stage=UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED
            ),
            request=Request(
                meta=Meta(update_id=str(uuid.uuid4()), identity="a test"),
                input=UpdateArguments(name=name, args=Payloads(payloads=payloads) if payloads else None),
            ),
        )
        answer = await self.client.workflow_service.update_workflow_execution(request)
        assert answer.outcome.HasField("failure"), answer.outcome
        return str(answer.outcome.failure.message)

    async def query(self, handle: WorkflowHandle, name: str, payloads: list[Payload]) -> None:
        request = QueryWorkflowRequest(
            namespace=self.client.namespace,
            execution=WorkflowExecution(workflow_id=handle.id),
            query=WorkflowQuery(query_type=name, query_args=Payloads(payloads=payloads) if payloads else None),
        )
        await self.client.workflow_service.query_workflow(request)

    async def refused(self, handle: WorkflowHandle) -> list[dict[str, str]]:
        found: list[dict[str, str]] = await asyncio.wait_for(handle.query("rejected_decisions"), 15)
        self.listed[handle.id] = len(found)
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(temporal_server: str) -> AsyncIterator[Stage]:
    ours = await Client.connect(temporal_server, plugins=[PerfwrightPlugin()])
    queue = f"bad-input-{uuid.uuid4()}"
    async with run_worker(ours, queue, workflows=list(ALL_TYPES.values())):
        stage = Stage(await Client.connect(temporal_server), queue)
        yield stage
        for handle in stage.runs.values():
            await assert_no_task_failed(handle)
            await handle.terminate()


async def assert_no_task_failed(handle: WorkflowHandle) -> None:
    events = (await handle.fetch_history()).events
    failed = [event.workflow_task_failed_event_attributes for event in events if event.HasField("workflow_task_failed_event_attributes")]
    assert not [e for e in failed if e.cause != BY_SERVER], "a workflow task failed in the worker"
    assert not [event for event in events if event.HasField("workflow_task_timed_out_event_attributes")]


def cli(stage: Stage, *arguments: str) -> subprocess.CompletedProcess[str]:
    address = stage.client.service_client.config.target_host
    command = [str(temporal_cli()), *arguments, "--address", address, "--disable-config-file", "--command-timeout", "30s"]
    return subprocess.run(command, capture_output=True, text=True, timeout=40, stdin=subprocess.DEVNULL)
