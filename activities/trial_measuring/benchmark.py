"""A command, run on both sides: whole runs, or slices of iterations of a program that stays up for a round.

Both sides of a round run on one drawn core, with the same hash seed and padding; CPU time is that of all their processes, as the kernel
tells when they are reaped. Memory is that of all their processes together.
"""

import math
import os
import statistics
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np
from temporalio.exceptions import ApplicationError

from activities.changes.kind import Site
from activities.process_memory import Looks, TreeMemory
from activities.subprocesses import Tool, running
from activities.trial_measuring.kind import Round, Rounds
from activities.trial_measuring.sides import CommandSide, Sides, opened_sides
from activities.trial_measuring.statements import count_statements
from activities.trial_measuring.valgrind import count_under_valgrind
from activities.trial_rounds import PADDING, run_round
from perfwright.analysis.trials.rounds import plan_round, quads_per_round, round_datum, slice_seconds
from perfwright.models.secrets import without_secrets
from perfwright.models.target import Target
from perfwright.models.trial import Clock, RoundPlan, Side, Slice
from perfwright.models.trial_run import BenchmarkMeasurement, Companion, MeasuringOrder
from perfwright.models.undo import UndoRecord

SLICE_S = 0.01
MEMORY_HEAVY_SLICE_S = 0.05
MEMORY_HEAVY_BYTES = 64 * 1024 * 1024
"""More than a core's caches hold: the first iteration after a switch costs more, and is spread over more of them."""
CALIBRATIONS = 5
MOST_ITERATIONS = 10_000_000
LEAST_LIMIT_S = 60.0
"""A run that takes longer than the whole trial may is no use to it."""
SHORTEST_SECRET = 4
WAY_OUT = "Run the command by hand in the target's folder: it has to end with exit code 0"
KEPT_BYTES = 64 * 1024


class Benchmarks:
    """Metrics `cpu_s`, `wall_s`, `rss_bytes` (at its peak; none where a side has processes that may not be looked at)."""

    spec: ClassVar = BenchmarkMeasurement

    @asynccontextmanager
    async def opened(self, order: MeasuringOrder, record: UndoRecord | None, site: Site) -> AsyncIterator[Rounds]:
        measurement = order.request.measurement
        assert isinstance(measurement, BenchmarkMeasurement), "the kind is chosen by its spec"
        async with opened_sides(order, record, site, measurement.command, measurement.working_directory) as sides:
            limit_s = min(measurement.run_limit_s, max(LEAST_LIMIT_S, order.request.budget_s))
            if measurement.protocol == "run":
                rounds: _Runs | _Slices = _Runs(sides, limit_s, measurement.one_core, order.request.target, site)
            else:
                rounds = _Slices(sides, limit_s)
            await rounds.warm_up()
            yield rounds


class _Rounds:
    """What both protocols have."""

    def __init__(self, sides: Sides, limit_s: float) -> None:
        self.sides, self.limit_s = sides, limit_s
        self.looks = Looks()
        self._notes: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, and how memory was measured where a side had children."""
        looks = self.looks
        if looks.processes == 1:
            return self._notes
        told = f"{looks.count:,} looks at up to {looks.processes} processes of a side, {looks.cost_s:.2f} s of CPU time beside it"
        return (*self._notes, f"rss_bytes is of all processes of a side together: {told}")

    def tool(self, side: Side, core: int | None, environment: dict[str, str], limit_s: float) -> Tool:
        given = self.sides[side]
        return Tool(
            given.argv,
            limit_s=limit_s,
            way_out="Name a program that exists on the target's host",
            environment={**given.environment, **environment},
            directory=given.directory,
            keep_bytes=KEPT_BYTES,
            title=f"side {side}",
            core=core,
        )

    def told(self, trouble: ApplicationError) -> ApplicationError:
        """The same error without the values that the command inherited."""
        values = {value for side in self.sides.values() for value in side.environment.values() if len(value) >= SHORTEST_SECRET}
        message = trouble.message
        for value in sorted(values, key=len, reverse=True):
            message = message.replace(value, "***")
        return ApplicationError(without_secrets(message), type=trouble.type, non_retryable=trouble.non_retryable)


class _Runs(_Rounds):
    """Each side is run whole, once a round."""

    run_s = 0.0
    """Of a run of A, started and ended."""

    def __init__(self, sides: Sides, limit_s: float, one_core: bool, target: Target, site: Site) -> None:
        super().__init__(sides, limit_s)
        self._one_core, self._target, self._site = one_core, target, site

    async def warm_up(self) -> None:
        """Files are read and compiled once before anything counts; a side that does not work is known at once. Raises ToolFailed."""
        for side in ("A", "B"):
            began = time.perf_counter()
            await self._run("A" if side == "A" else "B", None, {})
            self.run_s = self.run_s or time.perf_counter() - began

    async def measure(self, plan: RoundPlan, number: int) -> Round:
        began = time.perf_counter()
        order: tuple[Side, Side] = ("A", "B") if plan.first == "A" else ("B", "A")
        drawn = {"PYTHONHASHSEED": str(plan.hash_seed), PADDING: "x" * plan.padding_bytes}
        took = {side: await self._run(side, plan.core if self._one_core else None, drawn) for side in order}
        values = {name: (took["A"][name], took["B"][name]) for name in took["A"] if name in took["B"]}
        return Round(values=values, wall_s=time.perf_counter() - began)

    async def companions(self) -> tuple[Companion, ...]:
        statements, notes = await count_statements(self._target, self._site, lambda side: self._run(side, None, {}), self.run_s)
        counts, more = await count_under_valgrind({side: self.tool(side, None, {}, self.limit_s) for side in self.sides}, self.run_s)
        self._notes = (*notes, *more)
        return (*counts, *statements)

    async def _run(self, side: Side, core: int | None, environment: dict[str, str]) -> dict[str, float]:
        try:
            async with running(self.tool(side, core, environment, self.limit_s)) as child:
                memory = TreeMemory(child.pid)
                async with memory.watched():
                    ended = await child.wait()
            ended.require_success(way_out=WAY_OUT)
        except ApplicationError as trouble:
            raise self.told(trouble) from None
        self.looks.add(memory.looks)
        took = {"cpu_s": ended.cpu_s, "wall_s": ended.wall_s}
        held = memory.peak_bytes(ended.peak_rss_bytes)
        return took if held is None else took | {"rss_bytes": held}


class _Slices(_Rounds):
    """Both sides stay up for a round and run slices in its drawn order."""

    iterations = 1
    quads = 1

    async def warm_up(self) -> None:
        """How many iterations make a slice, and how many slices a round, from A alone: long enough for the clock, short enough that nothing
        drifts meanwhile, and as many as a start is worth."""
        chance = np.random.default_rng(0)
        cores = sorted(os.sched_getaffinity(0))
        for _ in range(CALIBRATIONS):
            plan = plan_round(chance, cores, quads=1)
            slices, rss_bytes, wall_s = await self._slices(plan, {"A": self.sides["A"], "B": self.sides["A"]})
            wanted_s = MEMORY_HEAVY_SLICE_S if rss_bytes.get("A", 0.0) >= MEMORY_HEAVY_BYTES else SLICE_S
            slice_s = statistics.median(one.wall_s for one in slices)
            self.quads = quads_per_round(max(0.0, wall_s - sum(one.wall_s for one in slices)), 4 * max(slice_s, wanted_s))
            if slice_s >= 0.7 * wanted_s:
                break
            self.iterations = min(MOST_ITERATIONS, math.ceil(self.iterations * min(1_000.0, wanted_s / max(slice_s, 1e-9))) + 1)

    async def measure(self, plan: RoundPlan, number: int) -> Round:
        plan = plan.model_copy(update={"quads": plan.quads[: self.quads]})
        slices, rss_bytes, wall_s = await self._slices(plan, self.sides)
        values = {"rss_bytes": (rss_bytes["A"], rss_bytes["B"])} if len(rss_bytes) == len(self.sides) else {}
        data = {}
        for name, clock in (("cpu_s", "cpu"), ("wall_s", "wall")):
            try:
                data[name] = round_datum(slices, plan, clock)  # type: ignore[arg-type]
            except ValueError as reason:  # too short for this clock; the other may do
                if clock == "wall":
                    return Round(values={}, wall_s=wall_s, void=str(reason))
                continue
            values[name] = (_mean(slices, "A", clock), _mean(slices, "B", clock))  # type: ignore[arg-type]
        return Round(values=values, data=data, wall_s=wall_s)

    async def companions(self) -> tuple[Companion, ...]:
        self._notes = ("instructions and allocations are counted of whole runs only",)
        return ()

    async def _slices(self, plan: RoundPlan, sides: Sides) -> tuple[tuple[Slice, ...], Mapping[Side, float], float]:
        tools: dict[Side, Tool] = {side: self._started(sides[side], plan) for side in sides}
        try:
            ended = await run_round(plan, tools, iterations=self.iterations, slice_limit_s=self.limit_s)
        except ApplicationError as trouble:
            raise self.told(trouble) from None
        self.looks.add(ended.looks)
        return ended.slices, ended.rss_bytes, ended.wall_s

    def _started(self, side: CommandSide, plan: RoundPlan) -> Tool:
        return Tool(
            side.argv,
            limit_s=(len(plan.order) + 1) * 2 * self.limit_s,  # the start and the warm-up as well
            way_out="Name a program that exists on the target's host",
            environment=side.environment,
            directory=Path(side.directory),
            keep_bytes=KEPT_BYTES,
        )


def _mean(slices: tuple[Slice, ...], side: Side, clock: Clock) -> float:
    """Geometric, as the data are."""
    return statistics.geometric_mean(slice_seconds(one, clock) for one in slices if one.side == side)
