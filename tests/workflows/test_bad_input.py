"""What people may start any workflow type with: a bad start fails at once and names the mistake.

Everything is sent as raw payloads, as any client in any language may, and some through the real CLI.
"""

import asyncio
import base64
import json
import uuid
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from perfwright.models.vocabulary import Input
from tests.workflows.bad_messages import (
    ALL_TYPES,
    GOOD,
    UNREADABLE,
    WRONG_VALUES,
    Bad,
    Stage,
    assert_no_task_failed,
    cli,
    filled,
    payload,
    stage,
)

__all__ = ["stage"]

pytestmark = pytest.mark.asyncio(loop_scope="module")


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
        Fields({"target": "x" * 100_000}, ["target: a name is needed", "at most 63", "…"]),
        Fields({"target": "shop", "password": "hunter2-hunter2"}, ["password", "(not shown)"]),
    ],
    "CpuOptimizationImplementation": [
        Fields({"target": "shop"}, ["benchmark: missing", "tests: missing"]),
        Fields({"target": "shop", "benchmark": [], "tests": ["true"]}, ["benchmark"]),
        Fields(
            {"target": "shop", "benchmark": ["x"], "tests": ["x", "--password=hunter2-hunter2"]},
            ["tests: argument 2 (--password) looks like a secret"],
        ),
        Fields({"target": "shop", "benchmark": ["x"], "tests": ["x"], "base": "--all", "investigation": "12"}, ["base", "investigation"]),
        Fields({"target": "shop", "benchmark": ["x"], "tests": ["x"], "trial_s": 1, "goal": 0.1}, ["trial_s", "goal: no such field"]),
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
    "GarbageCollectionTuning": [
        Fields({}, ["target: missing"]),
        Fields({"target": "no spaces allowed"}, ["target"]),
        Fields({"target": "shop", "load": {"paths": []}}, ["load.paths"]),
        Fields({"target": "shop", "load": {"paths": ["no slash", "/a b"]}}, ["load.paths[0]", "load.paths[1]"]),
        Fields(
            {"target": "shop", "load": {"paths": ["/"], "concurrency": 0, "path": "/"}}, ["load.concurrency", "load.path: no such field"]
        ),
        Fields(
            {"target": "shop", "pause_target_ms": 0, "memory_limit_share": 2, "rounds": 1},
            ["pause_target_ms", "memory_limit_share", "rounds"],
        ),
        Fields({"target": "shop", "candidates": ["freeze", "freeze"]}, ["candidates: each is allowed once"]),
        Fields({"target": "shop", "probe": ["probe", "--password=hunter2"]}, ["probe: argument 2 (--password)"]),
    ],
    "IndexStrategyOptimization": [
        Fields({}, ["target: missing"]),
        Fields({"target": {"dsn_env": "postgresql://shop:hunter2@db/shop"}}, ["target.dsn_env"]),
        Fields({"target": "shop-db", "window_s": -1, "budget_mb": "10"}, ["window_s", "budget_mb", "valid number"]),
        Fields({"target": "shop-db", "budget": 10}, ["budget: no such field; did you mean budget_mb?"]),
        Fields({"target": "shop-db", "least_gain_share": 2, "write_growth_most": -0.1}, ["least_gain_share", "write_growth_most"]),
        Fields({"target": "shop-db", "statements": ["x" * 60_000, "y" * 60_000]}, ["statements: at most 100,000 characters"]),
        Fields({"target": "shop-db", "clone_dsn_env": "postgresql://root:hunter2@db/x"}, ["clone_dsn_env"]),
        Fields({"target": "shop-db", "workload": {"command": ["load", "--password=hunter2"]}}, ["argument 2 (--password)"]),
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
    "Trial": [
        Fields({}, ["target: missing", "title: missing", "change: missing", "measurement: missing"]),
        Fields({"target": "shop", "change": {"kind": "patch"}, "measurement": {"kind": "guess"}}, ["target", "change", "measurement"]),
        Fields({"change": {"kind": "command", "append": ["--password=hunter2-hunter2"]}}, ["change", "secret"]),
        Fields({"measurement": {"kind": "benchmark", "command": []}}, ["measurement.benchmark.command"]),
        Fields({"guards": [{"metric": "p99_ms", "margin": 0}], "budget_s": "long"}, ["guards[0].margin", "budget_s"]),
    ],
    "UndoJanitor": [
        Fields({"target": 7}, ["target"]),
        Fields({"target": "no spaces allowed"}, ["target"]),
        Fields({"settle_s": -1}, ["settle_s: Input should be greater than or equal to 0 (got -1)"]),
        Fields({"deadline_s": 1e12, "asks": True}, ["deadline_s", "asks: no such field; did you mean ask?"]),
    ],
    "TargetLease": [
        Fields({"resource": 7}, ["resource"]),
        Fields({"hold": {}}, ["hold.token: missing", "hold.owner: missing"]),
        Fields({"waiters": [1]}, ["waiters[0]"]),
    ],
}

HIDDEN = "hunter2"


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


async def test_a_good_start_and_a_good_signal_pass(stage: Stage) -> None:
    """The guard lets through what is right."""
    handle = await stage.start("SampleProcess", [payload('{"target": "shop", "duration_s": 5}')])
    await stage.signal(handle, "approve", [payload('{"gate": "sample", "by": "Ada"}')])
    assert await handle.result() == "shop approved by Ada"


CLI_STARTS = [
    ("no input", [], "argument"),
    ("two inputs", ["--input", "{}", "--input", "{}"], "2 given"),
    ("null", ["--input", "null"], ""),
    ("binary", ["--input", "not JSON", "--input-meta", "encoding=binary/plain"], "json/plain is"),
    ("cut JSON, which the CLI refuses", ["--input", base64.b64encode(b'{"a":').decode(), "--input-base64"], "not valid JSON"),
]
BY_CLI = [
    pytest.param(type_name, options, says, id=f"{type_name}: {name}")
    for type_name, (name, options, says) in zip(ALL_TYPES, cycle(CLI_STARTS), strict=False)
]
"""In turns: what the CLI sends is what a raw client sends, and of that every type has had all."""


@pytest.mark.parametrize(("type_name", "options", "says"), BY_CLI)
async def test_the_cli_is_told_what_is_wrong(stage: Stage, type_name: str, options: list[str], says: str) -> None:
    """`temporal workflow execute` with a bad input ends at once and prints InvalidInput's message."""
    common = ["--type", type_name, "--task-queue", stage.task_queue, "--workflow-id", f"cli-{uuid.uuid4()}"]
    done = await asyncio.to_thread(cli, stage, "workflow", "execute", *common, *options)
    assert done.returncode != 0
    assert says in done.stdout + done.stderr


async def test_an_input_model_that_people_write_is_strict() -> None:
    """Every process's input refuses unknown fields; only what workflows pass to each other is tolerant."""
    for name in ALL_TYPES:
        assert issubclass(input_model(name), Input) or name in ("TargetLease", "Trial")
