"""A service, started fresh on both sides in every round, that gets the same requests: each request to both, in an order drawn for it."""

import math
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import ClassVar

from activities.changes.kind import Site
from activities.errors import refuse
from activities.service_runs import ServiceSample, measured, p_ms, requests_of, send, started
from activities.trial_measuring.kind import Round, Rounds
from activities.trial_measuring.sides import Sides, opened_sides
from activities.trial_measuring.statements import count_statements
from activities.trial_rounds import PADDING
from perfwright.analysis.gc.pauses import LEAST_MS
from perfwright.models.errors import ErrorType
from perfwright.models.gc_tuning import PORT_WORD
from perfwright.models.trial import RoundPlan, Side
from perfwright.models.trial_run import Companion, MeasuringOrder, ServiceMeasurement, TrialRequest
from perfwright.models.undo import UndoRecord

LEAST_SHARE = 1e-5
"""What a side without any pause is taken to spend in pauses, so that a ratio exists."""
FEWEST_ANSWERED_SHARE = 0.5
"""A round in which a side answered less is void: it says nothing of how long an answer takes."""


class Services:
    """Metrics `p50_ms`, `p99_ms`, `throughput_hz`, `cpu_s`, `rss_bytes`, `errors_share`; `gc_pause_p99_ms`, `gc_pause_max_ms`, `gc_share`
    of a CPython program or a JVM."""

    spec: ClassVar = ServiceMeasurement

    @asynccontextmanager
    async def opened(self, order: MeasuringOrder, record: UndoRecord | None, site: Site) -> AsyncIterator[Rounds]:
        measurement = order.request.measurement
        assert isinstance(measurement, ServiceMeasurement), "the kind is chosen by its spec"
        if not any(PORT_WORD in word for word in measurement.command):
            raise refuse(ErrorType.INVALID_INPUT, f"command: no word of it holds {PORT_WORD}, the port it is to listen on")
        async with opened_sides(order, record, site, measurement.command, "") as sides:
            yield _Rounds(sides, measurement, order.request, site)


class _Rounds:
    def __init__(self, sides: Sides, measurement: ServiceMeasurement, request: TrialRequest, site: Site) -> None:
        self._sides, self._measurement, self._seed, self._site = sides, measurement, request.seed, site
        self._target, self._round_s = request.target, 0.0
        self.notes: tuple[str, ...] = ()

    async def measure(self, plan: RoundPlan, number: int) -> Round:
        """Raises ToolFailed or ToolTimeout where a side does not come up, or ends."""
        # Imported when it is first used: NumPy takes a twentieth of a worker's start.
        import numpy as np

        from perfwright.analysis.trials.services import request_orders

        began, given = time.perf_counter(), self._measurement
        chance = np.random.default_rng((self._seed, number, plan.hash_seed))
        drawn = {"PYTHONHASHSEED": str(plan.hash_seed), PADDING: "x" * plan.padding_bytes}
        first: tuple[Side, Side] = ("A", "B") if plan.first == "A" else ("B", "A")
        async with AsyncExitStack() as stack:
            services = {side: await stack.enter_async_context(started(self._sides[side], f"side {side}", drawn)) for side in first}
            both = [services["A"], services["B"]]
            for service in both:
                await service.ready(given.ready_path)
            warm_up = [(0, 1)] * given.warm_up_requests
            await send(both, warm_up, requests_of(given.paths, given.warm_up_requests), given.concurrency)
            orders = [tuple(0 if side == "A" else 1 for side in one) for one in request_orders(chance, given.requests_per_round)]
            paths = requests_of(given.paths, given.requests_per_round)
            a, b = await measured(both, orders, paths, given.concurrency)
        self._round_s = time.perf_counter() - began
        return _round(a, b, self._round_s)

    async def companions(self) -> tuple[Companion, ...]:
        found, self.notes = await count_statements(self._target, self._site, self._alone, self._round_s)
        return found

    async def _alone(self, side: Side) -> None:
        """Start a side, ask what a round asks it, and end it."""
        given = self._measurement
        async with started(self._sides[side], f"side {side}", {"PYTHONHASHSEED": "0"}) as service:
            await service.ready(given.ready_path)
            asked = requests_of(given.paths, given.warm_up_requests + given.requests_per_round)
            await send([service], [(0,)] * len(asked), asked, given.concurrency)


def _round(a: ServiceSample, b: ServiceSample, wall_s: float) -> Round:
    for side, sample in (("A", a), ("B", b)):
        if len(sample.answers.seconds) < FEWEST_ANSWERED_SHARE * (len(sample.answers.seconds) + sample.answers.failed):
            told = f"side {side} answered {len(sample.answers.seconds)} requests and failed {sample.answers.failed}"
            return Round(values={"errors_share": (a.answers.errors_share, b.answers.errors_share)}, wall_s=wall_s, void=told)
    values = {
        "p50_ms": (p_ms(a.answers, 50), p_ms(b.answers, 50)),
        "p99_ms": (p_ms(a.answers, 99), p_ms(b.answers, 99)),
        "throughput_hz": (a.answers.throughput_hz, b.answers.throughput_hz),
        "cpu_s": (a.cpu_s, b.cpu_s),
        "rss_bytes": (a.memory_bytes, b.memory_bytes),
        "errors_share": (a.answers.errors_share, b.answers.errors_share),
    }
    if a.table is not None and b.table is not None:
        values["gc_pause_p99_ms"] = (max(LEAST_MS, a.table.p99_ms), max(LEAST_MS, b.table.p99_ms))
        values["gc_pause_max_ms"] = (max(LEAST_MS, a.table.max_ms), max(LEAST_MS, b.table.max_ms))
        values["gc_share"] = (max(LEAST_SHARE, a.table.share), max(LEAST_SHARE, b.table.share))
    return Round(values=values, data=_data(a, b), wall_s=wall_s)


def _data(a: ServiceSample, b: ServiceSample) -> dict[str, float]:
    """Of latencies: each request against itself, where both sides answered it."""
    from perfwright.analysis.trials.services import FEWEST_REQUESTS, p50_datum, p99_datum

    both = a.answers.seconds.keys() & b.answers.seconds.keys()
    a_s, b_s = ({str(one): side.answers.seconds[one] for one in both} for side in (a, b))
    data = {"p50_ms": p50_datum(a_s, b_s)} if both else {}
    if len(both) >= FEWEST_REQUESTS:
        data["p99_ms"] = p99_datum(list(a_s.values()), list(b_s.values()))
    return {name: value for name, value in data.items() if math.isfinite(value)}
