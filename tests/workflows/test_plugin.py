"""The plugin: converter, interceptors and sandbox, with a real server."""

import ast
import asyncio
import logging
import uuid
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.converter import DataConverter, PayloadCodec
from temporalio.exceptions import ApplicationError
from temporalio.runtime import MetricBuffer, Runtime, TelemetryConfig
from temporalio.worker import UnsandboxedWorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

import workflows
from activities import compute
from perfwright.models.cpu_profiling import CpuProfilingRequest
from perfwright.models.queues import host_queue, probe_queue
from perfwright.models.target import InlineTarget, ProcessSelector
from tests.conftest import run_worker
from tests.workflows.plugin_samples import (
    CallsFailing,
    ExpectsPart,
    ExpectsPartOfChild,
    Failing,
    Logging,
    Measured,
    ReadsTheClock,
    Words,
    return_words,
)
from workflows.plugin.converter import GuardedConverter, UnreadablePayload, guarded_data_converter
from workflows.plugin.mistakes import cut, describe_mistakes, one_line, shown
from workflows.plugin.plugin import PerfwrightPlugin
from workflows.plugin.run_fields import RunFields
from workflows.plugin.sandbox import LeanSandbox, sandbox
from workflows.shared.options import CHANGE, COMPUTE, READ, asking, changing, computing, measuring, outlasting, probing

ALL = [CallsFailing, ExpectsPart, ExpectsPartOfChild, Logging, ReadsTheClock, Words]


def mistakes_in(model: type[BaseModel], sent: object) -> list[str]:
    with pytest.raises(ValidationError) as failed:
        model.model_validate(sent)
    return describe_mistakes(failed.value, model)


def test_mistakes_name_fields_and_what_is_allowed() -> None:
    """Each mistake is one line: the field without pydantic's inner names, what is allowed, what came."""
    told = mistakes_in(CpuProfilingRequest, {"target": {"process": {"pid": 0, "prot": 1}}, "duration_s": 0.5, "rate": 1})
    assert "duration_s: Input should be greater than or equal to 2 (got 0.5)" in told
    assert "target.process.pid: Input should be greater than or equal to 1 (got 0)" in told
    assert any(line.startswith("target.process.prot: no such field; did you mean port? (allowed: pid, port, name") for line in told)
    assert any(line.startswith("rate: no such field; did you mean rate_hz?") for line in told)
    assert not any("InlineTarget" in line or "constrained" in line for line in told)


def test_one_mistake_is_told_once() -> None:
    """A name that is none, and a list whose items are refused, are one line each: nothing that only follows from it stands beside."""
    told = mistakes_in(CpuProfilingRequest, {"target": "a\x07b", "passes": ("x",)})
    assert [line.partition(":")[0] for line in told] == ["target", "passes[0]"]
    assert "letters, digits" in told[0] and "pattern" not in told[0]
    assert mistakes_in(CpuProfilingRequest, {"target": "shop", "passes": ()}) == ["passes: at least 1 needed (got a list of 0)"]
    assert mistakes_in(CpuProfilingRequest, {"target": {"process": {"command": "job.py"}}}) == [
        "target.process.command: a list is needed (got 'job.py')"
    ]
    assert len(mistakes_in(CpuProfilingRequest, {"target": 7})) == 2


def test_two_programs_of_one_interpreter_are_two_targets() -> None:
    """What is compared with an earlier run, and kept from running twice, is the program and not its interpreter."""
    commands = [
        ("python", "a.py"),
        ("python", "-u", "/srv/b.py", "--n", "3"),
        ("python", "-m", "c"),
        ("python", "-c", "1"),
        ("python", "-c", "2"),
    ]
    slugs = [InlineTarget(process=ProcessSelector(command=command)).slug for command in commands]
    assert slugs[:3] == ["command-python-a.py", "command-python-b.py", "command-python-c"] and len(set(slugs)) == 5


def test_mistakes_are_bounded() -> None:
    """A thousand mistakes, or a huge value, make a message that can be read."""

    class Numbers(BaseModel):
        numbers: list[int]

    told = mistakes_in(Numbers, {"numbers": ["x" * 10_000] * 1_000})
    assert len(told) == 21
    assert told[-1] == "and 980 more mistakes"
    assert max(map(len, told)) < 250
    assert len(one_line(told)) <= 1_500


@pytest.mark.parametrize(
    ("value", "name", "text"),
    [
        ("short", "", "'short'"),
        ("x" * 100, "", "'" + "x" * 58 + "…"),
        ("postgresql://app:hunter2@db/shop", "url", "'postgresql://…@db/shop'"),
        ("hunter2", "db_password", "(not shown)"),
        ({"password": "hunter2"}, "target", "an object of 1"),
        ([1, 2], "", "a list of 2"),
        pytest.param(10**5_000, "", "an integer of 16610 bits", id="a huge integer"),
        (None, "", "None"),
    ],
)
def test_a_value_is_shown_short_and_without_secrets(value: object, name: str, text: str) -> None:
    """What came is told in at most 60 characters, and never where it may be a secret."""
    assert shown(value, name) == text


def test_what_cannot_be_printed_is_told() -> None:
    """An integer of five thousand digits has no text; the message says so and nothing fails."""
    assert "not printable" in cut(10**5_000, 300)


def test_a_payload_of_the_wrong_shape_is_told_without_its_values() -> None:
    """Outside of workflows, a payload that does not fit raises an error that names the field and repeats no secret."""

    class Login(BaseModel):
        password: int

    payload = Payload(metadata={"encoding": b"json/plain"}, data=b'{"password": "hunter2"}')
    with pytest.raises(UnreadablePayload, match="password") as failed:
        GuardedConverter().from_payloads([payload], [Login])
    assert "hunter2" not in str(failed.value)


FORBIDDEN_MODULES = {
    *("time", "random", "secrets", "uuid", "os", "sys", "io", "pathlib", "socket", "ssl", "select", "shutil", "tempfile", "platform"),
    *("subprocess", "threading", "multiprocessing", "concurrent", "urllib", "http", "sqlite3", "ctypes", "numpy", "psutil"),
}
PURE_MODULES = {"urllib.parse"}
FORBIDDEN_BUILTINS = {"open", "input", "print", "exec", "eval", "__import__", "id", "hash"}
CLOCKS = {"now", "utcnow", "today"}
OUTSIDE = {"gate_watch.py": "runs beside the worker, never in a workflow"}


def is_forbidden(module: str) -> bool:
    return module not in PURE_MODULES and module.partition(".")[0] in FORBIDDEN_MODULES


def is_unordered(node: ast.expr) -> bool:
    made = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"set", "frozenset"}
    return made or isinstance(node, ast.Set | ast.SetComp)


def trespasses(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [f"import {n.name}" for n in node.names if is_forbidden(n.name)]
        elif isinstance(node, ast.ImportFrom) and is_forbidden(node.module or ""):
            found.append(f"from {node.module} import")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_BUILTINS:
            found.append(f"{node.func.id}() in line {node.lineno}")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS:
            if ast.unparse(node.func.value) != "workflow":  # `workflow.now()` is the run's own clock
                found.append(f"{ast.unparse(node.func)}() in line {node.lineno}")
        elif isinstance(node, ast.For | ast.comprehension) and is_unordered(node.iter):
            found.append(f"the order of {ast.unparse(node.iter)}")
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in {"asyncio.wait", "asyncio.as_completed", "asyncio.TaskGroup"}:
            found.append(f"{ast.unparse(node)} in line {node.lineno}")
    return found


FOLDER = Path(next(iter(workflows.__path__)))
PASSED_THROUGH_FILES = [f for folder in ("plugin", "shared") for f in sorted((FOLDER / folder).rglob("*.py")) if f.name not in OUTSIDE]


@pytest.mark.parametrize("file", PASSED_THROUGH_FILES, ids=lambda file: str(file.relative_to(FOLDER)))
def test_what_the_sandbox_does_not_see_is_deterministic(file: Path) -> None:
    """Modules passed through the sandbox use no clock, chance, file, environment or unordered set."""
    assert trespasses(file.read_text()) == []


@pytest.mark.parametrize(
    "line", ["import time", "from random import choice", "datetime.now()", "open('x')", "for x in set(a): ...", "asyncio.wait(a)"]
)
def test_the_guard_of_passed_through_modules_sees(line: str) -> None:
    """The check above finds what it is for."""
    assert trespasses(line)


def test_central_steps_name_no_queue_and_host_steps_do() -> None:
    """Central steps run beside their workflow, measuring steps on their target's host and probes on its probe queue."""
    assert not any("task_queue" in option for option in (READ, COMPUTE, CHANGE))
    assert measuring(30, on="db1")["task_queue"] == host_queue("db1")
    assert probing("db1")["task_queue"] == probe_queue("db1")
    assert measuring(30, on="db1")["schedule_to_close_timeout"] > 2 * measuring(30, on="db1")["start_to_close_timeout"]
    assert measuring(30, on="db1")["retry_policy"].maximum_attempts == 0
    assert changing(0.0, on="db1") == CHANGE | {"task_queue": host_queue("db1")}, "what takes moments has what every change has"
    assert changing(3_600.0, on="db1")["start_to_close_timeout"] > timedelta(hours=1)
    assert changing(3_600.0, on="db1")["schedule_to_close_timeout"] > 2 * changing(3_600.0, on="db1")["start_to_close_timeout"]


def test_what_comes_after_the_measuring_outlasts_an_outage_of_a_store() -> None:
    """Analysis, reports and the history are tried again for a day, and not a number of times; what needs a host that may be gone for an hour."""
    day = timedelta(days=1)
    for options in (COMPUTE, outlasting(READ), outlasting(asking(on="db1"))):
        assert options["schedule_to_close_timeout"] == day and options["retry_policy"].maximum_attempts == 0
    assert outlasting(asking(on="db1"))["task_queue"] == computing(on="db1")["task_queue"] == host_queue("db1")
    assert computing(on="db1")["schedule_to_close_timeout"] == timedelta(hours=1)
    assert COMPUTE["start_to_close_timeout"].total_seconds() > compute.LIMIT_S, "an analysis that takes too long says so itself"


class Reversing(PayloadCodec):
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload(metadata={"encoding": b"reversed"}, data=p.SerializeToString()[::-1]) for p in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload.FromString(p.data[::-1]) for p in payloads]


async def test_a_codec_is_kept(temporal_server: str, task_queue: str) -> None:
    """Payloads can be encrypted by a codec: the plugin guards what comes out of it."""
    client = await Client.connect(temporal_server, data_converter=DataConverter(payload_codec=Reversing()), plugins=[PerfwrightPlugin()])
    async with run_worker(client, task_queue, workflows=ALL, activities=[Failing().log_something]) as worker:
        assert type(worker.config(active_config=True)["workflow_runner"]) is SandboxedWorkflowRunner
        measured = Measured(target="shop")
        assert await client.execute_workflow(Logging.run, measured, id=task_queue, task_queue=task_queue) == measured


def test_only_the_sdks_own_sandbox_is_replaced() -> None:
    """Who chose another runner, for a debugger or with own restrictions, keeps it."""
    other = UnsandboxedWorkflowRunner()
    assert sandbox(other, None) is other
    own = SandboxedWorkflowRunner()
    lean = sandbox(own, guarded_data_converter(None))
    assert isinstance(lean, LeanSandbox)
    assert own.restrictions.passthrough_modules < lean.restrictions.passthrough_modules
    assert not lean.restrictions.passthrough_modules & {"workflows", "workflows.cpu", "tests"}


async def task_failure(handle: WorkflowHandle) -> str:
    """What the first failed workflow task of a run says."""
    for _ in range(200):
        for event in (await handle.fetch_history()).events:
            if event.HasField("workflow_task_failed_event_attributes"):
                failure = event.workflow_task_failed_event_attributes.failure
                texts = []
                while failure.message:
                    texts.append(failure.message)
                    failure = failure.cause
                return " <- ".join(texts)
        await asyncio.sleep(0.05)
    pytest.fail("no workflow task failed")


@pytest.mark.parametrize("workflow", [ExpectsPart, ExpectsPartOfChild])
async def test_a_result_of_another_shape_waits_for_a_worker_that_reads_it(client, running_worker, task_queue, workflow):
    """What an activity or child of another release returned does not end the run: it is told, and retried until it can be read."""
    async with running_worker(workflows=ALL, activities=[return_words]):
        handle = await client.start_workflow(workflow.run, id=str(uuid.uuid4()), task_queue=task_queue)
        told = await task_failure(handle)
        assert "size_bytes: Input should be a valid integer" in told
        assert (await handle.describe()).status == WorkflowExecutionStatus.RUNNING
        await handle.terminate()


async def test_a_clock_in_a_process_is_noticed(client, running_worker, task_queue):
    """The sandbox still refuses `datetime.now()` in a process's own file."""
    async with running_worker(workflows=ALL):
        handle = await client.start_workflow(ReadsTheClock.run, id=str(uuid.uuid4()), task_queue=task_queue)
        assert "datetime" in await task_failure(handle)
        await handle.terminate()


@pytest.mark.parametrize(
    ("name", "error_type", "attempts", "says"),
    [
        ("validation", "ValidationError", 1, "size_bytes: Input should be a valid integer"),
        ("key", "KeyError", 1, "no such thing"),
        ("connection", "ConnectionResetError", 2, "postgresql://…@db/shop went away"),
        ("permission", "PermissionError", 1, "/proc/1/mem"),
        ("long", "ValueError", 1, "…"),
        ("refusal", "ToolMissing", 1, "py-spy is not installed. pip install py-spy"),
    ],
)
async def test_an_unexpected_error_has_a_type_and_a_bounded_message(client, running_worker, task_queue, name, error_type, attempts, says):
    """Whatever an activity raises arrives under its type's name, without secrets, and is repeated only if it may pass by itself."""
    failing = Failing()
    async with running_worker(workflows=ALL, activities=[failing.fail_as]):
        with pytest.raises(WorkflowFailureError) as failed:
            await client.execute_workflow(CallsFailing.run, name, id=task_queue, task_queue=task_queue)
    cause = failed.value.cause.__cause__
    assert isinstance(cause, ApplicationError)
    assert cause.type == error_type
    assert says in cause.message
    assert len(cause.message) < 1_200
    assert "hunter2" not in cause.message
    assert failing.attempts == attempts


async def test_runs_and_activities_are_counted_once(temporal_server: str, task_queue: str) -> None:
    """Our metrics count a run and its steps once, however often it is replayed."""
    buffer = MetricBuffer(10_000)
    runtime = Runtime(telemetry=TelemetryConfig(metrics=buffer))
    client = await Client.connect(temporal_server, plugins=[PerfwrightPlugin()], runtime=runtime)
    failing = Failing()
    activities = [failing.log_something, failing.fail_as]
    async with run_worker(client, task_queue, workflows=ALL, activities=activities, max_cached_workflows=0):
        await client.execute_workflow(Logging.run, Measured(target="shop"), id=f"{task_queue}-1", task_queue=task_queue)
        with pytest.raises(WorkflowFailureError):
            await client.execute_workflow(CallsFailing.run, "key", id=f"{task_queue}-2", task_queue=task_queue)
    counted: dict[tuple[str, ...], int] = {}
    for update in buffer.retrieve_updates():
        if update.metric.name.startswith("perfwright_"):
            own = tuple(str(value) for key, value in sorted(update.attributes.items()) if key in {"activity", "tool", "outcome", "process"})
            counted[(update.metric.name, *own)] = counted.get((update.metric.name, *own), 0) + int(update.value)
    assert counted == {
        ("perfwright_processes_started", "Logging"): 1,
        ("perfwright_processes_closed", "passed", "Logging"): 1,
        ("perfwright_activities", "log_something", "done", "Failing"): 1,
        ("perfwright_processes_started", "CallsFailing"): 1,
        ("perfwright_processes_closed", "error", "CallsFailing"): 1,
        ("perfwright_activities", "fail_as", "KeyError", "Failing"): 1,
    }


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.addFilter(RunFields())

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


async def test_lines_of_any_library_name_their_run(client, running_worker, task_queue):
    """A line that a library logs during a step, in a thread too, carries the run, the target and the step."""
    kept = Kept()
    logging.getLogger("some.library").addHandler(kept)
    try:
        async with running_worker(workflows=ALL, activities=[Failing().log_something]):
            await client.execute_workflow(Logging.run, Measured(target="shop"), id=task_queue, task_queue=task_queue)
    finally:
        logging.getLogger("some.library").removeHandler(kept)
    record = kept.records[0]
    assert (record.workflow_id, record.workflow_type, record.target, record.step) == (task_queue, "Logging", "shop", "log_something")
