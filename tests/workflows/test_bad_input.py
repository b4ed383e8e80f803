"""What people may send to any workflow type, and that nothing of it wedges a run.

A bad start fails at once and names the mistake; a bad signal is listed; a bad update is refused; and the run stays answerable.
Everything is sent as raw payloads, as any client in any language may, and some through the real CLI.
"""

import asyncio
import base64
import json
import subprocess
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from pydantic import BaseModel, ValidationError
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
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from perfwright.models.vocabulary import Input
from starter.temporal_cli import find_temporal_cli
from tests.conftest import run_worker
from tests.workflows.sample_workflows import SampleProcess
from workflows.plugin.plugin import PerfwrightPlugin
from workflows.registry import WORKFLOWS

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALL_TYPES: dict[str, type] = {workflow.__name__: workflow for workflow in (SampleProcess, *WORKFLOWS)}

GOOD: dict[str, dict[str, Any]] = {
    "SampleProcess": {"target": "shop"},
    "CpuProfilingInvestigation": {"target": "shop"},
    "QueryPerformanceAnalysis": {"target": "shop-db"},
    "TargetLease": {"resource": "target/shop", "settings": {"idle_s": 600}},
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


@dataclass(frozen=True)
class Fields:
    """A start with mistakes in its fields: all of them are named."""

    sent: dict[str, Any]
    named: list[str]


FIELDS: dict[str, list[Fields]] = {
    "SampleProcess": [
        Fields({}, ["target: missing"]),
        Fields(
            {"target": "shop", "durration_s": 3}, ["durration_s: no such field; did you mean duration_s?", "allowed: target, duration_s"]
        ),
        Fields({"target": "shop", "duration_s": -1}, ["duration_s: Input should be greater than or equal to 2 (got -1)"]),
        Fields({"target": "shop", "duration_s": "30"}, ["duration_s", "valid number", "'30'"]),
        Fields({"target": 7, "duration_s": 1e12, "extra": 1}, ["target", "duration_s", "3600", "extra: no such field"]),
        Fields(
            {"target": "shop", "parts": [{"size_bytes": 1}, {"size_bytes": 0, "color": "red"}]}, ["parts[1].size_bytes", "parts[1].color"]
        ),
        Fields({"target": "x" * 100_000}, ["target", "pattern", "…"]),
        Fields({"target": "shop", "password": "hunter2-hunter2"}, ["password", "(not shown)"]),
    ],
    "CpuProfilingInvestigation": [
        Fields({}, ["target: missing"]),
        Fields({"target": ""}, ["target"]),
        Fields({"target": "no spaces allowed"}, ["target"]),
        Fields({"target": "shop", "duration_s": -1}, ["duration_s: Input should be greater than or equal to 2 (got -1)"]),
        Fields({"target": "shop", "duration_s": 1e12}, ["duration_s", "3600"]),
        Fields({"target": "shop", "rate_hz": 1_000_000}, ["rate_hz", "999", "got 1000000"]),
        Fields({"target": "shop", "rate_hz": 99.5}, ["rate_hz"]),
        Fields({"target": "shop", "passes": ["on_cpu", "of_cpu"]}, ["passes[1]", "on_cpu", "wall"]),
        Fields({"target": "shop", "passes": ["wall", "wall"]}, ["passes: each pass is allowed once"]),
        Fields({"target": {"process": {"pid": 0}}}, ["target.process.pid", "greater than or equal to 1"]),
        Fields({"target": {"process": {"pid": 1, "port": 2}}}, ["exactly one of pid, port, name, pid_file or command"]),
        Fields(
            {"target": "shop", "top": 0, "goal_share": 2, "max_revisions": -1, "slice": 3},
            ["top", "goal_share", "max_revisions", "slice: no such field"],
        ),
    ],
    "QueryPerformanceAnalysis": [
        Fields({}, ["target: missing"]),
        Fields({"target": "no spaces allowed"}, ["target"]),
        Fields({"target": {"dsn_env": "postgresql://shop:hunter2@db/shop"}}, ["target.dsn_env"]),
        Fields({"target": {"dsn_env": "SHOP_DB_DSN", "kind": "oracle"}}, ["target.kind", "postgresql", "mysql"]),
        Fields({"target": "shop-db", "window_s": -1}, ["window_s: Input should be greater than or equal to 1 (got -1)"]),
        Fields({"target": "shop-db", "window_s": "60"}, ["window_s", "valid number"]),
        Fields({"target": "shop-db", "windows": 60}, ["windows: no such field; did you mean window_s?"]),
        Fields({"target": "shop-db", "top": 0, "parameter_sets": 9, "cost_ceiling": 0}, ["top", "parameter_sets", "cost_ceiling"]),
        Fields({"target": "shop-db", "add_fingerprints": ["SELECT 1"]}, ["add_fingerprints[0]", "pattern"]),
        Fields(
            {"target": "shop-db", "add_fingerprints": ["0123456789abcdef"], "drop_fingerprints": ["0123456789abcdef"]},
            ["drop_fingerprints: 0123456789abcdef is also in add_fingerprints"],
        ),
        Fields({"target": "shop-db", "statements": ["SELECT 1" * 20_000]}, ["statements[0]"]),
        Fields({"target": "shop-db", "statements": ["x" * 60_000, "y" * 60_000]}, ["statements: at most 100,000 characters"]),
        Fields({"target": "shop-db", "min_share": 2, "analyze": "yes"}, ["min_share", "analyze"]),
        Fields({"target": "shop-db", "workload": {"command": ["load", "--password=hunter2"]}}, ["argument 2 (--password)"]),
    ],
    "TargetLease": [
        Fields({"resource": 7}, ["resource"]),
        Fields({"hold": {}}, ["hold.token: missing", "hold.owner: missing"]),
        Fields({"waiters": [1]}, ["waiters[0]"]),
    ],
}

HIDDEN = "hunter2"
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
        return await asyncio.wait_for(handle.query("rejected_decisions"), 15)


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


async def why_refused(handle: WorkflowHandle) -> str:
    """The message of a start that was refused at once, as every bad start must be."""
    with pytest.raises(WorkflowFailureError) as failed:
        await asyncio.wait_for(handle.result(), 15)
    cause = failed.value.cause
    assert isinstance(cause, ApplicationError), repr(cause)
    assert cause.type == "InvalidInput"
    assert cause.non_retryable
    assert len(str(cause)) < 2_000
    await assert_no_task_failed(handle)
    return cause.message


def input_model(type_name: str) -> type[BaseModel]:
    return next(hint for name, hint in ALL_TYPES[type_name].run.__annotations__.items() if name != "return")


async def test_every_type_is_tried() -> None:
    """A registered workflow type without a line in this matrix fails here."""
    assert set(ALL_TYPES) == set(GOOD) == set(FIELDS)
    assert len(UNREADABLE + WRONG_VALUES) >= 20
    for type_name, mistakes in FIELDS.items():
        for mistake in mistakes:
            with pytest.raises(ValidationError):
                input_model(type_name).model_validate_json(json.dumps(mistake.sent))


STARTS = [pytest.param(name, bad, id=f"{name}: {bad.name}") for name in ALL_TYPES for bad in UNREADABLE + WRONG_VALUES]


@pytest.mark.parametrize(("type_name", "bad"), STARTS)
async def test_a_bad_start_fails_at_once(stage: Stage, type_name: str, bad: Bad) -> None:
    """Whatever is sent as input, the run fails at once as InvalidInput and says what is wrong with it."""
    told = await why_refused(await stage.start(type_name, filled(bad, type_name)))
    assert bad.says in told
    assert told


MISTAKES = [pytest.param(name, fields, id=f"{name}: {json.dumps(fields.sent)[:60]}") for name, rows in FIELDS.items() for fields in rows]


@pytest.mark.parametrize(("type_name", "mistakes"), MISTAKES)
async def test_every_mistaken_field_is_named(stage: Stage, type_name: str, mistakes: Fields) -> None:
    """All mistakes are told at once, each with its field and what is allowed; nothing secret or long is repeated."""
    told = await why_refused(await stage.start(type_name, [payload(json.dumps(mistakes.sent))]))
    for part in mistakes.named:
        assert part in told
    assert HIDDEN not in told
    assert "x" * 70 not in told


def signal_of(type_name: str) -> str:
    return "approve" if hasattr(ALL_TYPES[type_name], "approve") else "no_such_signal"


SIGNALS = [pytest.param(name, bad, id=f"{name}: {bad.name}") for name in ALL_TYPES for bad in UNREADABLE + WRONG_VALUES]


@pytest.mark.parametrize(("type_name", "bad"), SIGNALS)
async def test_a_bad_signal_is_listed(stage: Stage, type_name: str, bad: Bad) -> None:
    """A signal that cannot be taken is listed with the reason, and the run stays answerable."""
    handle = await stage.open_run(type_name)
    before = len(await stage.refused(handle))
    name = signal_of(type_name)
    await stage.signal(handle, name, filled(bad, type_name))
    refused = await stage.refused(handle)
    assert len(refused) == before + 1
    assert refused[-1]["message"] == name
    assert refused[-1]["reason"]
    if name == "approve":
        assert bad.says in refused[-1]["reason"]
    assert len(json.dumps(refused[-1])) < 4_000


@pytest.mark.parametrize("type_name", ALL_TYPES)
@pytest.mark.parametrize("name", ["no_such_signal", "Approve", "x" * 500, "naïve 🐍", " "])
async def test_an_unknown_signal_is_listed(stage: Stage, type_name: str, name: str) -> None:
    """A signal that the process does not have is listed under its name."""
    handle = await stage.open_run(type_name)
    before = len(await stage.refused(handle))
    await stage.signal(handle, name, [payload('{"by": "me"}')])
    refused = await stage.refused(handle)
    assert len(refused) == before + 1
    assert refused[-1]["message"][:90] == name[:90]
    assert "no such signal" in refused[-1]["reason"]


UPDATES = [
    pytest.param(name, update, bad, id=f"{name}.{update}: {bad.name}")
    for name, workflow in ALL_TYPES.items()
    for update in ("decide", "unvalidated", "acquire", "release", "no_such_update")
    if hasattr(workflow, update) or update == "no_such_update"
    for bad in (UNREADABLE + WRONG_VALUES if update != "no_such_update" else UNREADABLE[:3])
]


@pytest.mark.parametrize(("type_name", "update", "bad"), UPDATES)
async def test_a_bad_update_is_refused(stage: Stage, type_name: str, update: str, bad: Bad) -> None:
    """Who sends an update that cannot be taken is told why, and the run stays answerable."""
    handle = await stage.open_run(type_name)
    told = await asyncio.wait_for(stage.update(handle, update, filled(bad, type_name)), 15)
    if update != "no_such_update":
        assert bad.says in told
    assert told
    await stage.refused(handle)


async def test_a_handler_that_fails_wedges_nothing(stage: Stage) -> None:
    """A mistake in a handler is told and listed; neither the run nor its workflow task fails."""
    handle = await stage.open_run("SampleProcess")
    await stage.signal(handle, "broken", [payload("{}")])
    assert "could not be handled (KeyError" in (await stage.refused(handle))[-1]["reason"]
    told = await stage.update(handle, "unvalidated", [payload('{"gate": "sample", "by": "me"}')])
    assert told == "KeyError: 'me'"
    with pytest.raises(Exception, match="json/plain is"):
        await stage.query(handle, "approved_by", [payload(b"\x00", "binary/plain")])


async def test_a_flood_of_refused_signals_is_bounded(stage: Stage) -> None:
    """Two hundred refused messages are kept, the others are counted."""
    handle = await stage.start("SampleProcess", [payload(json.dumps(GOOD["SampleProcess"]))])
    await asyncio.gather(*(stage.signal(handle, f"unknown_{i}", []) for i in range(230)))
    refused = await stage.refused(handle)
    assert len(refused) == 201
    assert "30 more" in refused[-1]["reason"]
    await assert_no_task_failed(handle)
    await handle.terminate()


async def test_a_good_start_and_a_good_signal_pass(stage: Stage) -> None:
    """The guard lets through what is right."""
    handle = await stage.start("SampleProcess", [payload('{"target": "shop", "duration_s": 5}')])
    await stage.signal(handle, "approve", [payload('{"gate": "sample", "by": "Ada"}')])
    assert await handle.result() == "shop approved by Ada"


def cli(stage: Stage, *arguments: str) -> subprocess.CompletedProcess[str]:
    address = stage.client.service_client.config.target_host
    command = [str(find_temporal_cli().path), *arguments, "--address", address, "--disable-config-file", "--command-timeout", "30s"]
    return subprocess.run(command, capture_output=True, text=True, timeout=40, stdin=subprocess.DEVNULL)


CLI_STARTS = [
    pytest.param([], "argument", id="no input"),
    pytest.param(["--input", "{}", "--input", "{}"], "2 given", id="two inputs"),
    pytest.param(["--input", "null"], "", id="null"),
    pytest.param(["--input", "not JSON", "--input-meta", "encoding=binary/plain"], "json/plain is", id="binary"),
    pytest.param(
        ["--input", base64.b64encode(b'{"a":').decode(), "--input-base64"], "not valid JSON", id="cut JSON, which the CLI refuses"
    ),
]


@pytest.mark.parametrize("type_name", ALL_TYPES)
@pytest.mark.parametrize(("options", "says"), CLI_STARTS)
async def test_the_cli_is_told_what_is_wrong(stage: Stage, type_name: str, options: list[str], says: str) -> None:
    """`temporal workflow execute` with a bad input ends at once and prints InvalidInput's message."""
    common = ["--type", type_name, "--task-queue", stage.task_queue, "--workflow-id", f"cli-{uuid.uuid4()}"]
    done = await asyncio.to_thread(cli, stage, "workflow", "execute", *common, *options)
    assert done.returncode != 0
    assert says in done.stdout + done.stderr


@pytest.mark.parametrize("type_name", ALL_TYPES)
@pytest.mark.parametrize("options", [[], ["--input", "{}", "--input", "{}"], ["--input", "x", "--input-meta", "encoding=binary/plain"]])
async def test_a_bad_signal_of_the_cli_is_listed(stage: Stage, type_name: str, options: list[str]) -> None:
    """`temporal workflow signal` with a bad payload leaves a trace that the sender can find."""
    handle = await stage.open_run(type_name)
    before = len(await stage.refused(handle))
    done = await asyncio.to_thread(cli, stage, "workflow", "signal", "--workflow-id", handle.id, "--name", signal_of(type_name), *options)
    assert done.returncode == 0, done.stderr
    assert len(await stage.refused(handle)) == before + 1


async def test_an_input_model_that_people_write_is_strict() -> None:
    """Every process's input refuses unknown fields; only what workflows pass to each other is tolerant."""
    for name in ALL_TYPES:
        assert issubclass(input_model(name), Input) or name == "TargetLease"
