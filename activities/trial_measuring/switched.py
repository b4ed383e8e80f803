"""A running target, switched between both states by carrying the change out and undoing it, again and again.

The record of the change stays as it is meanwhile (`applied`, or `kept`): whatever interrupts the measurement, the undo finds the target in
one of the two states. Between switches the target settles; what the probe said until then does not count.

In the phase `watch` nothing is switched: the target is probed as it is, beside what A cost in the trial.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

from activities.changes.carrying_out import CarryingOut
from activities.changes.kind import Site
from activities.errors import refuse
from activities.subprocesses import Tool, run
from activities.trial_measuring.kind import Round, Rounds, TrialSite
from perfwright.analysis.trials.pairs import pair_data
from perfwright.models.errors import ErrorType
from perfwright.models.trial import Block, RoundPlan, Side
from perfwright.models.trial_run import Companion, MeasuringOrder, SwitchedMeasurement
from perfwright.models.undo import UndoRecord

METRIC = "value"
WAY_OUT = "Run the probe by hand: it prints what it measured, one number, as its last line, and ends with exit code 0"


class SwitchedTargets:
    """Metric `value`, what the probe gave."""

    spec: ClassVar = SwitchedMeasurement

    @asynccontextmanager
    async def opened(self, order: MeasuringOrder, record: UndoRecord | None, site: Site) -> AsyncIterator[Rounds]:
        measurement = order.request.measurement
        assert isinstance(measurement, SwitchedMeasurement), "the kind is chosen by its spec"
        if order.phase == "watch":
            yield _Watched(measurement, order.reference.get(METRIC, 0.0))
            return
        if record is None:
            yield _Switched(measurement, None)
            return
        assert isinstance(site, TrialSite) and site.carrying_out is not None, "the measuring step gives it"
        switch = _Switch(site.carrying_out, record.change_id)
        await switch.to("B")
        try:
            yield _Switched(measurement, switch)
        finally:
            await switch.to("B")


class _Switch:
    """Carries the change out, and undoes it, without giving it up."""

    def __init__(self, carrying_out: CarryingOut, change_id: str) -> None:
        self._carrying_out, self._change_id = carrying_out, change_id

    async def to(self, side: Side) -> None:
        await self._carrying_out.switch(self._change_id, on=side == "B")


class _Probed:
    """What both phases have."""

    def __init__(self, measurement: SwitchedMeasurement) -> None:
        self.measurement = measurement

    async def block(self, side: Side, burn_in_s: float) -> Block:
        """Probed until the burn-in is over, because a target that rests does not settle; then as often as wanted."""
        began, at, values, settled = time.monotonic(), [], [], 0
        while settled < self.measurement.probes_per_block:
            at.append(time.monotonic() - began)
            values.append(await self._probe())
            settled += at[-1] >= burn_in_s
        return Block(side=side, after_switch_s=tuple(at), values=tuple(values))

    async def companions(self) -> tuple[Companion, ...]:
        return ()

    async def _probe(self) -> float:
        tool = Tool(
            self.measurement.probe,
            limit_s=self.measurement.probe_limit_s,
            way_out="name a program that exists on the target's host",
            directory=Path(),
            keep_bytes=64 * 1024,
            title="the probe",
        )
        ended = (await run(tool)).require_success(way_out=WAY_OUT)
        last = (ended.stdout.strip().splitlines() or [""])[-1]
        try:
            return float(last)
        except ValueError:
            raise refuse(ErrorType.TOOL_FAILED, f"the probe printed {last[:100]!r} last", way_out=WAY_OUT) from None


class _Switched(_Probed):
    """Pairs of blocks; without a switch both are as it is."""

    def __init__(self, measurement: SwitchedMeasurement, switch: _Switch | None) -> None:
        super().__init__(measurement)
        self._switch = switch

    async def measure(self, plan: RoundPlan, number: int) -> Round:
        began = time.monotonic()
        order: tuple[Side, Side] = ("A", "B") if plan.first == "A" else ("B", "A")
        blocks = {}
        for side in order:
            if self._switch is not None:
                await self._switch.to(side)
            blocks[side] = await self.block(side, self.measurement.burn_in_s)
        pair = pair_data([blocks[side] for side in order], burn_in_s=self.measurement.burn_in_s)
        wall_s = time.monotonic() - began
        if pair.void:
            return Round(values={}, wall_s=wall_s, void=pair.void[0])
        values = {METRIC: (self._settled(blocks["A"]), self._settled(blocks["B"]))}
        return Round(values=values, data={METRIC: pair.data[0]}, wall_s=wall_s)

    def _settled(self, block: Block) -> float:
        values = block.values[-self.measurement.probes_per_block :]
        return sum(values) / len(values)


class _Watched(_Probed):
    """The target as it is, beside what it cost before."""

    def __init__(self, measurement: SwitchedMeasurement, reference: float) -> None:
        super().__init__(measurement)
        self._reference = reference

    async def measure(self, plan: RoundPlan, number: int) -> Round:
        began = time.monotonic()
        block = await self.block("B", 0.0)
        mean = sum(block.values) / len(block.values)
        return Round(values={METRIC: (self._reference, mean)}, wall_s=time.monotonic() - began)
