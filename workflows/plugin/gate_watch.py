"""Gauges of what waits for people: how many gates, and how long the oldest has waited.

Counted where the truth is, in Temporal's visibility, and not in workers: a waiting run sits in no worker's memory after a restart.
Every worker with workflows sets the same gauges, so a dashboard takes the maximum. When a gate opened is asked of its run once, by
the query `pending_gates`, a few runs per round, and the run that started first is asked first. A run that does not answer counts from
its start, because no worker that can tell is no reason to be silent, and is asked again when the others have been.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from temporalio.client import Client, WorkflowQueryFailedError
from temporalio.common import MetricMeter
from temporalio.runtime import Runtime
from temporalio.service import RPCError

from workflows.plugin.metrics import GATES_OLDEST_AGE, GATES_WAITING

EVERY_S = 15.0
PENDING = "PerfPendingGates"
QUERY = f"ExecutionStatus = 'Running' AND {PENDING} IS NOT NULL"
LOOKED_AT = 10_000
"""Runs listed per round, newest first: the oldest is known only when all are listed."""
ASKED_PER_ROUND = 20
QUESTION_TIMEOUT_S = 5.0

log = logging.getLogger(__name__)

Waiting = tuple[str, str, tuple[str, ...]]
"""Workflow id, run id, names of the open gates."""


class GateWatch:
    """Sets the gauges, round after round, until it is cancelled; does nothing where no metrics are served."""

    def __init__(self, client: Client) -> None:
        self._client = client
        meter = (client.service_client.config.runtime or Runtime.default()).metric_meter
        self._heard = meter is not MetricMeter.noop
        self._waiting = meter.create_gauge(GATES_WAITING, "Gates that wait for a person")
        self._oldest = meter.create_gauge_float(GATES_OLDEST_AGE, "How long the oldest open gate has waited")
        self._opened: dict[Waiting, datetime] = {}
        self._silent: dict[Waiting, datetime] = {}
        """Start of each run that did not answer; who was asked last stands last."""

    async def run(self) -> None:
        if not self._heard:
            return
        troubled = False
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                count, oldest_s = await self.look()
            except RPCError as e:
                if not troubled:
                    log.warning("Waiting gates cannot be counted: %s", e.message[:200])
                troubled = True
                continue
            troubled = False
            self._waiting.set(count)
            self._oldest.set(oldest_s)

    async def look(self) -> tuple[int, float]:
        """One round: how many gates are open, and the age of the oldest that is known, in seconds."""
        started: dict[Waiting, datetime] = {}
        async for run in self._client.list_workflows(QUERY, limit=LOOKED_AT):
            gates = run.search_attributes.get(PENDING, ())
            if gates:  # an emptied list still counts as not null
                started[(run.id, run.run_id, tuple(str(gate) for gate in gates))] = run.start_time
        self._opened = {one: opened for one, opened in self._opened.items() if one in started}
        self._silent = {one: start for one, start in self._silent.items() if one in started}
        unasked = sorted(started.keys() - self._opened.keys() - self._silent.keys(), key=lambda one: started[one])
        for one in [*unasked, *self._silent][:ASKED_PER_ROUND]:
            await self._ask(one, started[one])
        now = datetime.now(UTC)
        oldest = min([*self._opened.values(), *self._silent.values()], default=now)
        return sum(len(gates) for _, _, gates in started), max(0.0, (now - oldest).total_seconds())

    async def _ask(self, one: Waiting, start: datetime) -> None:
        self._silent.pop(one, None)
        handle = self._client.get_workflow_handle(one[0], run_id=one[1])
        try:
            async with asyncio.timeout(QUESTION_TIMEOUT_S):
                gates: Sequence[dict[str, Any]] = await handle.query("pending_gates")
            opened = [datetime.fromisoformat(gate["opened_at"]) for gate in gates]
        except (RPCError, WorkflowQueryFailedError, TimeoutError, KeyError, TypeError, ValueError) as e:
            log.debug("%s does not tell since when it waits: %s", one[0], e)
            self._silent[one] = start
            return
        if opened:
            self._opened[one] = min(opened)
