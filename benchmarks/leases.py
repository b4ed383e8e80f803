"""Three thousand leases of one target, which thirty processes take in turn: nobody is lost or out of turn, and no run grows.

Who asked first is read from the lease's own histories, through every continue-as-new; who held it when, from what the processes saw.
"""

import asyncio
import itertools
import time
import uuid
from collections.abc import Sequence

from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from benchmarks.measured import Measured, percentile
from benchmarks.running import OURS, sample_worker, server
from benchmarks.samples.models import Bracket, LeaseOrder
from perfwright.models.lease import LeaseRequest, LeaseSettings, lease_workflow_id
from workflows.plugin.plugin import PerfwrightPlugin

PROCESSES, TIMES = 30, 100
LEASES = PROCESSES * TIMES
EVENTS_LIMIT = 5_000
"""Half of where a server begins to warn of a history's length."""
WITHIN_S = 1_150.0


async def measure() -> list[Measured]:
    resource = f"target/{uuid.uuid4().hex}"
    async with server() as address:
        with sample_worker(OURS, address) as worker:
            client, began = await Client.connect(address, plugins=[PerfwrightPlugin()]), time.perf_counter()
            async with asyncio.timeout(WITHIN_S):
                taken = await asyncio.gather(*(take(client, worker.queue, resource) for _ in range(PROCESSES)))
            seconds = time.perf_counter() - began
            runs = await runs_of(client, lease_workflow_id(resource))
            return judge(sorted(itertools.chain(*taken), key=lambda one: one.entered_s), runs, await asked_in(client, runs), seconds)


async def take(client: Client, queue: str, resource: str) -> list[Bracket]:
    order, name = LeaseOrder(resource=resource, times=TIMES), f"benchmark-{uuid.uuid4()}"
    taken: list[Bracket] = await client.execute_workflow("TakesLeases", order, id=name, task_queue=queue, result_type=list[Bracket])
    return taken


async def runs_of(client: Client, workflow_id: str) -> list[list[HistoryEvent]]:
    """The histories of all runs that continued each other as new, the first one first."""
    runs: list[list[HistoryEvent]] = []
    run_id = (await client.get_workflow_handle(workflow_id).describe()).run_id
    while run_id:
        runs.insert(0, [event async for event in client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history_events()])
        run_id = runs[0][0].workflow_execution_started_event_attributes.continued_execution_run_id
    return runs


async def asked_in(client: Client, runs: Sequence[Sequence[HistoryEvent]]) -> list[str]:
    """Tokens in the order in which they first asked."""
    tokens: dict[str, None] = {}
    for event in itertools.chain(*runs):
        request = event.workflow_execution_update_accepted_event_attributes.accepted_request.input
        if request.name == "acquire":
            (asked,) = await client.data_converter.decode(request.args.payloads, [LeaseRequest])
            tokens[asked.token] = None
    return list(tokens)


def judge(held: Sequence[Bracket], runs: Sequence[Sequence[HistoryEvent]], asked: Sequence[str], seconds: float) -> list[Measured]:
    """`held` by when it was entered."""
    handovers = [later.entered_s - earlier.left_s for earlier, later in itertools.pairwise(held)]
    out_of_turn = sum(bracket.token != token for bracket, token in itertools.zip_longest(held, asked, fillvalue=None) if bracket)
    failed = [
        event
        for event in itertools.chain(*runs)
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
        and event.workflow_task_failed_event_attributes.cause != WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND
    ]
    return [
        Measured(
            f"{LEASES:,} leases: held to the end",
            len(held),
            "leases",
            LEASES,
            at_least=True,
            note=f"{PROCESSES} processes, {len(held) / seconds:.0f} leases/s",
        ),
        Measured("leases held while another one was", sum(pause < 0 for pause in handovers), "", 0),
        Measured("leases out of turn", out_of_turn, "", 0, note="against the order in which they were first asked for"),
        Measured(
            "runs of the lease",
            len(runs),
            "",
            LEASES // LeaseSettings().max_grants,
            at_least=True,
            note="each continues the one before as new",
        ),
        Measured("its longest history", max(map(len, runs)), "events", EVENTS_LIMIT, note=f"{sum(map(len, runs)):,} in all"),
        Measured("its failed workflow tasks", len(failed), "", 0, note="other than a continue-as-new that a message came before"),
        Measured(
            "from one holder to the next, p50",
            percentile(handovers, 0.5) * 1e3,
            "ms",
            note=f"p95 {percentile(handovers, 0.95) * 1e3:.1f} ms",
        ),
    ]
