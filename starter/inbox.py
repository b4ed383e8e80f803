"""Everything that waits for a person: found by search attribute, asked of the runs themselves."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from temporalio.client import Client, WorkflowExecution, WorkflowQueryFailedError
from temporalio.service import RPCError

from perfwright.models.gate import OpenGate
from starter.run_names import attribute, pending_gates, quoted

MAX_LISTED = 10_000
"""The server lists the newest first: which are the oldest is known only when all are listed."""
MAX_RUNS = 500
AT_ONCE = 16
PATIENCE = timedelta(seconds=10)
"""A query without a worker fails only after 29 seconds."""


@dataclass(frozen=True)
class WaitingGate:
    """A gate of a run. `gate` is None where no worker answered: then only its name is known."""

    workflow_id: str
    run_id: str
    process: str
    target: str
    environment: str
    name: str
    gate: OpenGate | None
    since: str
    """When the gate opened; the run's start where that is not known."""


class Inbox(list[WaitingGate]):
    """Open gates, oldest first, of the 500 runs that started first."""

    def __init__(self, gates: list[WaitingGate], more_runs: int) -> None:
        super().__init__(gates)
        self.more_runs = more_runs
        """How many runs wait besides."""


async def read_inbox(client: Client, *, target: str | None = None) -> Inbox:
    """Open gates of all runs, oldest first; where more than 500 runs wait, of those that have waited longest."""
    query = "ExecutionStatus = 'Running' AND PerfPendingGates IS NOT NULL"
    if target:
        query += f" AND PerfTarget = {quoted(target)}"
    waiting = [one async for one in client.list_workflows(query, limit=MAX_LISTED) if pending_gates(one)]
    oldest = sorted(waiting, key=lambda one: one.start_time)[:MAX_RUNS]
    turns = asyncio.Semaphore(AT_ONCE)

    async def ask(execution: WorkflowExecution) -> list[WaitingGate]:
        async with turns:
            return await _gates_of(client, execution)

    found = [gate for gates in await asyncio.gather(*(ask(one) for one in oldest)) for gate in gates]
    return Inbox(sorted(found, key=lambda gate: gate.since), more_runs=len(waiting) - len(oldest))


async def _gates_of(client: Client, execution: WorkflowExecution) -> list[WaitingGate]:
    handle = client.get_workflow_handle(execution.id, run_id=execution.run_id)
    try:
        asked: list[OpenGate] = await handle.query("pending_gates", result_type=list[OpenGate], rpc_timeout=PATIENCE)
        gates: list[tuple[str, OpenGate | None]] = [(gate.name, gate) for gate in asked]
    except (RPCError, WorkflowQueryFailedError):
        gates = [(name, None) for name in pending_gates(execution)]
    return [
        WaitingGate(
            workflow_id=execution.id,
            run_id=execution.run_id,
            process=execution.workflow_type,
            target=attribute(execution, "PerfTarget"),
            environment=attribute(execution, "PerfEnvironment"),
            name=name,
            gate=gate,
            since=gate.opened_at if gate else execution.start_time.isoformat(),
        )
        for name, gate in gates
    ]
