"""Workers and targets for tests of whole processes: real activities, real stores, a registry of the test's own."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHandle

from activities.context import WorkerContext
from activities.registry import build_activities
from perfwright.models.cpu_profiling import CpuProfilingDetails
from perfwright.models.query_performance import QueryPerformanceDetails
from perfwright.models.queues import host_queue, probe_queue
from perfwright.models.result import ProcessResult
from tests.conftest import run_worker
from workflows.cpu.cpu_profiling_investigation import CpuProfilingInvestigation
from workflows.database.query_performance_analysis import QueryPerformanceAnalysis
from workflows.registry import WORKFLOWS

CpuResult = ProcessResult[CpuProfilingDetails]
QueryResult = ProcessResult[QueryPerformanceDetails]
DSN_VARIABLE = "SHOP_DB_DSN"
REGISTRY = """
[environments.lab]
review = "notify"

[environments.asking]

[environments.production]
approvers = ["grace"]

{targets}
"""


def target(name: str, host: str, process: str, environment: str = "lab", allow: str = "") -> str:
    """A registry entry: `process` is the inside of its inline table, such as `pid = 4711`; `allow` one operation."""
    allowed = f'allow = ["{allow}"]\n' if allow else ""
    return f'[targets.{name}]\nkind = "process"\nenvironment = "{environment}"\nhost = "{host}"\nprocess = {{ {process} }}\n{allowed}'


@asynccontextmanager
async def workers(
    client: Client,
    task_queue: str,
    host: str,
    folder: Path,
    *targets: str,
    environ: Mapping[str, str] | None = None,
    serves_host: bool = True,
    **options: Any,
) -> AsyncIterator[WorkerContext]:
    """Everything that `worker.py` runs, on the test's own queues, with its stores in `folder`; the host's steps only if it serves it."""
    (folder / "perfwright.toml").write_text(REGISTRY.format(targets="\n".join(targets)))
    context = await WorkerContext.open(folder / "perfwright.toml", host, environ=environ or {}, working_directory=folder)
    activities = build_activities(context)
    try:
        async with AsyncExitStack() as running:
            await running.enter_async_context(run_worker(client, task_queue, workflows=WORKFLOWS, activities=activities.central, **options))
            if serves_host:
                await running.enter_async_context(run_worker(client, host_queue(host), activities=activities.host))
                await running.enter_async_context(run_worker(client, probe_queue(host), activities=activities.probe))
            yield context
    finally:
        await context.close()


async def start(client: Client, task_queue: str, name: str, **request: Any) -> WorkflowHandle[Any, Any]:
    """Start an investigation of the target under an id of its own."""
    return await client.start_workflow(
        CpuProfilingInvestigation.__name__,
        {"target": name} | request,
        id=f"cpu-profiling-investigation/{name}/{task_queue}",
        task_queue=task_queue,
        result_type=CpuResult,
    )


def database(name: str, host: str, environment: str = "lab", allow: str = "analyze") -> str:
    """A registry entry of a PostgreSQL database; its connection string is in `DSN_VARIABLE`."""
    allowed = f'allow = ["{allow}"]\n' if allow else ""
    kind = f'kind = "postgresql"\ndsn_env = "{DSN_VARIABLE}"'
    return f'[targets.{name}]\n{kind}\nenvironment = "{environment}"\nhost = "{host}"\n{allowed}'


async def analyse(client: Client, task_queue: str, name: str, **request: Any) -> WorkflowHandle[Any, Any]:
    """Start an analysis of the database under an id of its own."""
    return await client.start_workflow(
        QueryPerformanceAnalysis.__name__,
        {"target": name} | request,
        id=f"query-performance-analysis/{name}/{task_queue}",
        task_queue=task_queue,
        result_type=QueryResult,
    )


@contextmanager
def started(*arguments: str) -> Iterator[dict[str, Any]]:
    """A program of the lab (`python -m ...`) that prints a JSON line when it is ready and ends with its standard input."""
    with subprocess.Popen([sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout
            yield json.loads(program.stdout.readline())
        finally:
            assert program.stdin
            program.stdin.close()
            program.wait(20)
