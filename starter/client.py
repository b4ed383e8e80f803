"""The Python client: start processes, answer their gates, read their results. The command line is built on it.

    async with Perfwright.connect() as perf:
        run = await perf.start(CpuProfilingInvestigation, target="shop", duration_s=30)
        async for gate in run.gates():
            await run.approve(gate.name, by="release-bot", comment="within budget")
        result = await run.result()

Errors are those of `starter.refusals`, and `CannotStart` when no server answers.
"""

import getpass
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.common import (
    Priority,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from perfwright.models.queues import CENTRAL_QUEUE
from perfwright.models.registry import Registry
from perfwright.models.result import Verdict
from perfwright.models.target import INLINE_ENVIRONMENT
from starter.catalogue import ProcessEntry, find_process
from starter.connection import connect
from starter.here import Here
from starter.inbox import Inbox, read_inbox
from starter.inputs import build_request
from starter.refusals import AlreadyRunning, NotCarriedOut
from starter.run import Run
from starter.run_names import attribute, find_run, of_our_processes, pending_gates, quoted
from workflows.plugin.plugin import PerfwrightPlugin

TARGET = SearchAttributeKey.for_keyword("PerfTarget")
ENVIRONMENT = SearchAttributeKey.for_keyword("PerfEnvironment")
PRIORITY = 3
MAX_LISTED = 1_000


def user_name() -> str:
    """Who we say we are: a claim, recorded with every decision."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"


@dataclass(frozen=True)
class ListedRun:
    """A run in a list."""

    workflow_id: str
    run_id: str
    process: str
    target: str
    environment: str
    status: str
    """`running`, `completed`, `failed`, `cancelled`, `terminated`, `timed out`."""
    phase: str
    verdict: str
    pending_gates: tuple[str, ...]
    started_at: str
    closed_at: str
    """Empty while it runs."""

    @classmethod
    def of(cls, execution: WorkflowExecution) -> Self:
        return cls(
            workflow_id=execution.id,
            run_id=execution.run_id,
            process=execution.workflow_type,
            target=attribute(execution, "PerfTarget"),
            environment=attribute(execution, "PerfEnvironment"),
            status=status_word(execution.status),
            phase=attribute(execution, "PerfPhase"),
            verdict=attribute(execution, "PerfVerdict"),
            pending_gates=tuple(pending_gates(execution)) if execution.status == WorkflowExecutionStatus.RUNNING else (),
            started_at=execution.start_time.isoformat(timespec="seconds"),
            closed_at=execution.close_time.isoformat(timespec="seconds") if execution.close_time else "",
        )


class Perfwright:
    """A connection to the Temporal server that Perfwright's workers poll. Make one with `Perfwright.connect()`."""

    def __init__(self, client: Client, here: Here, *, task_queue: str = CENTRAL_QUEUE) -> None:
        self.client = client
        self.here = here
        self.task_queue = task_queue

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, client: Client | None = None, *, config: str | Path | None = None, task_queue: str = CENTRAL_QUEUE
    ) -> AsyncIterator[Self]:
        """Connect as the `temporal` CLI does (profiles and TEMPORAL_*), or use a client that has the plugin already.

        `config` names the target registry of this machine, where it has one. Raises `CannotStart` when no server answers.
        """
        if client is None:
            client = await connect(plugins=[PerfwrightPlugin()], identity=f"{user_name()}@{socket.gethostname()}")
        yield cls(client, Here(config), task_queue=task_queue)

    async def start(self, process: type | str, /, *, mistakes: Sequence[str] = (), **fields: Any) -> Run:
        """Start a process on a target, given its class or its name and the fields of its request.

        Everything is checked before anything starts. Raises UnknownProcess, InvalidRequest (all mistakes at once), AlreadyRunning.
        """
        entry = find_process(process if isinstance(process, str) else process.__name__)
        registry = self.here.registry()
        request = build_request(entry, fields, registry=registry, mistakes=mistakes)
        workflow_id = entry.workflow_id(request)
        target, environment = target_of(request, registry)
        try:
            handle = await self.client.start_workflow(
                entry.name,
                request,
                id=workflow_id,
                task_queue=self.task_queue,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                static_summary=f"{entry.name} on {target}"[:200],
                static_details=_static_details(entry, request, environment),
                search_attributes=TypedSearchAttributes(
                    [SearchAttributePair(TARGET, target)] + ([SearchAttributePair(ENVIRONMENT, environment)] if environment else [])
                ),
                priority=Priority(priority_key=PRIORITY),
            )
        except WorkflowAlreadyStartedError:
            raise AlreadyRunning(
                f"{workflow_id} is running already: one {entry.name} per target at a time",
                way_out=f"Look at it with `perfwright show {workflow_id} --follow`, or end it with `perfwright cancel {workflow_id}`",
            ) from None
        except RPCError as error:
            raise NotCarriedOut(
                f"the server refused the start: {' '.join(error.message.split())[:300]}", way_out=_attributes(error)
            ) from None
        return Run(self.client, self.here, workflow_id, handle.result_run_id or handle.first_execution_run_id or "", entry)

    async def run(self, name: str) -> Run:
        """A run by `cpu-profiling-investigation/shop`, `shop`, `shop#12` or its run id; raises UnknownRun."""
        found = await find_run(self.client, self.here, name)
        return Run(self.client, self.here, found.workflow_id, found.run_id, recorded=found.recorded)

    async def runs(
        self,
        *,
        process: type | str | None = None,
        target: str | None = None,
        verdict: Verdict | None = None,
        open_only: bool = False,
        limit: int = 50,
    ) -> list[ListedRun]:
        """Runs, newest first."""
        entry = None if process is None else find_process(process if isinstance(process, str) else process.__name__)
        query = [of_our_processes(entry), "ExecutionStatus != 'ContinuedAsNew'"]
        query += [f"PerfTarget = {quoted(target)}"] if target else []
        query += [f"PerfVerdict = {quoted(verdict)}"] if verdict else []
        query += ["ExecutionStatus = 'Running'"] if open_only else []
        listed = self.client.list_workflows(" AND ".join(query), limit=max(1, min(limit, MAX_LISTED)))
        return [ListedRun.of(execution) async for execution in listed]

    async def gates(self, *, target: str | None = None) -> Inbox:
        """Everything that waits for a person, oldest first; of the 500 runs that started first, `more_runs` tells how many wait besides."""
        return await read_inbox(self.client, target=target)


def target_of(request: BaseModel, registry: Registry | None) -> tuple[str, str]:
    """Name and environment of a request's target; the environment is empty where only the worker knows it."""
    target = getattr(request, "target", "")
    if not isinstance(target, str):
        return str(getattr(request, "target_name", "")), INLINE_ENVIRONMENT
    entry = registry.targets.get(target) if registry else None
    return target, entry.environment if entry else ""


def status_word(status: WorkflowExecutionStatus | None) -> str:
    if status is None:
        return ""
    return "cancelled" if status == WorkflowExecutionStatus.CANCELED else status.name.lower().replace("_", " ")


def _static_details(entry: ProcessEntry, request: BaseModel, environment: str) -> str:
    """What the Temporal UI shows of a run all of its life."""
    given = request.model_dump_json(exclude_unset=True)
    gates = ", ".join(f"`{gate.name}`" for gate in entry.gates) or "none"
    where = f"\n\nEnvironment: {environment}" if environment else ""
    return f"{entry.question}{where}\n\nGates: {gates}\n\n```json\n{given[:8_000].replace('```', '')}\n```"


def _attributes(error: RPCError) -> str:
    asked = "search attribute" in error.message.lower()
    return "Start a worker first: it registers the search attributes (`perfwright worker`)" if asked else ""
