"""Gauges of what waits for people: how many gates, and how long the oldest has waited.

Counted where the truth is, in Temporal's visibility, and not in workers: a waiting run sits in no worker's memory after a restart.
Every worker with workflows sets the same gauges, so a dashboard takes the maximum. When a gate opened is asked of its run once, by
the query `pending_gates`, a few runs per round.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from temporalio.client import Client
from temporalio.common import MetricMeter
from temporalio.runtime import Runtime
from temporalio.service import RPCError

from workflows.plugin.metrics import GATES_OLDEST_AGE, GATES_WAITING

EVERY_S = 15.0
PENDING = "PerfPendingGates"
QUERY = f"ExecutionStatus = 'Running' AND {PENDING} IS NOT NULL"
LOOKED_AT = 2_000
"""Runs listed per round."""
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
        waiting: list[Waiting] = []
        async for run in self._client.list_workflows(QUERY, limit=LOOKED_AT):
            gates = run.search_attributes.get(PENDING, ())
            if gates:  # an emptied list still counts as not null
                waiting.append((run.id, run.run_id, tuple(str(gate) for gate in gates)))
        self._opened = {one: opened for one, opened in self._opened.items() if one in set(waiting)}
        for one in [one for one in waiting if one not in self._opened][:ASKED_PER_ROUND]:
            await self._ask(one)
        now = datetime.now(UTC)
        oldest_s = max(((now - opened).total_seconds() for opened in self._opened.values()), default=0.0)
        return sum(len(gates) for _, _, gates in waiting), max(0.0, oldest_s)

    async def _ask(self, one: Waiting) -> None:
        handle = self._client.get_workflow_handle(one[0], run_id=one[1])
        try:
            async with asyncio.timeout(QUESTION_TIMEOUT_S):
                gates: Sequence[dict[str, Any]] = await handle.query("pending_gates")
            opened = [datetime.fromisoformat(gate["opened_at"]) for gate in gates]
        except (RPCError, TimeoutError, KeyError, TypeError, ValueError) as e:
            log.debug("%s does not tell since when it waits: %s", one[0], e)
            return
        if opened:
            self._opened[one] = min(opened)
