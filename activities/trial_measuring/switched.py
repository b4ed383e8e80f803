"""A running target, switched between both states by carrying the change out and undoing it, again and again.

The record of the change stays as it is meanwhile (`applied`, or `kept`): whatever interrupts the measurement, the undo finds the target in
one of the two states. Between switches the target settles; what the probe said until then does not count.

In the phase `watch` nothing is switched: the target is probed as it is, beside what A cost in the trial.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import psutil

from activities.changes.carrying_out import CarryingOut
from activities.changes.kind import Site
from activities.errors import refuse
from activities.finding_processes import find_process, through_wrappers
from activities.process_memory import pss_bytes
from activities.processes_below import processes_below
from activities.subprocesses import Tool, run
from activities.trial_measuring.kind import Round, Rounds, TrialSite
from perfwright.analysis.trials.pairs import pair_data
from perfwright.models.errors import ErrorType
from perfwright.models.target import Target
from perfwright.models.trial import Block, RoundPlan, Side
from perfwright.models.trial_run import Companion, MeasuringOrder, SwitchedMeasurement
from perfwright.models.undo import UndoRecord

METRIC, MEMORY = "value", "rss_bytes"
WAY_OUT = "Run the probe by hand: it prints what it measured, one number, as its last line, and ends with exit code 0"


class SwitchedTargets:
    """Metrics `value`, what the probe gave, and `rss_bytes` of a target that is a running process.

    Memory that was taken is seldom given back, so that B's would soon be A's as well: what the process holds after B is compared with what
    it held at the least without it. What it takes more and more of by itself counts against the change.
    """

    spec: ClassVar = SwitchedMeasurement

    @asynccontextmanager
    async def opened(self, order: MeasuringOrder, record: UndoRecord | None, site: Site) -> AsyncIterator[Rounds]:
        measurement = order.request.measurement
        assert isinstance(measurement, SwitchedMeasurement), "the kind is chosen by its spec"
        memory = await asyncio.to_thread(_Memory, order.request.target)
        if order.phase == "watch":
            yield _Watched(measurement, memory, order.reference)
            return
        if record is None:
            yield _Switched(measurement, memory, None)
            return
        assert isinstance(site, TrialSite) and site.carrying_out is not None, "the measuring step gives it"
        switch = _Switch(site.carrying_out, record.change_id)
        await switch.to("B", again=True)
        try:
            yield _Switched(measurement, memory, switch)
        finally:
            await switch.to("B")


class _Switch:
    """Carries the change out, and undoes it, without giving it up."""

    def __init__(self, carrying_out: CarryingOut, change_id: str) -> None:
        self._carrying_out, self._change_id = carrying_out, change_id

    async def to(self, side: Side, *, again: bool = False) -> None:
        await self._carrying_out.switch(self._change_id, on=side == "B", again=again)


class _Memory:
    """Of the target's process and its children (PSS); none where it is no process, or may not be looked at."""

    def __init__(self, target: Target) -> None:
        self._process: psutil.Process | None = None
        if target.process is not None and target.process.command is None:
            self._process, _ = through_wrappers(find_process(target.process))
        self.before = self.bytes()

    def bytes(self) -> float:
        """0: nothing is known."""
        return 0.0 if self._process is None else pss_bytes([self._process, *processes_below(self._process.pid)])

    async def settle(self) -> None:
        """What an earlier change took may only now be given back: the least that was held without the change counts."""
        now = await asyncio.to_thread(self.bytes)
        self.before = min(self.before, now) if now else self.before

    async def pair(self, before: float) -> dict[str, tuple[float, float]]:
        now = await asyncio.to_thread(self.bytes)
        return {MEMORY: (before, now)} if before and now else {}


class _Probed:
    """What both phases have."""

    def __init__(self, measurement: SwitchedMeasurement, memory: _Memory) -> None:
        self.measurement, self.memory = measurement, memory

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
            way_out="Name a program that exists on the target's host",
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

    def __init__(self, measurement: SwitchedMeasurement, memory: _Memory, switch: _Switch | None) -> None:
        super().__init__(measurement, memory)
        self._switch = switch

    async def measure(self, plan: RoundPlan, number: int) -> Round:
        began = time.monotonic()
        order: tuple[Side, Side] = ("A", "B") if plan.first == "A" else ("B", "A")
        blocks, held = {}, {}
        for side in order:
            if self._switch is not None:
                await self._switch.to(side)
            blocks[side] = await self.block(side, self.measurement.burn_in_s)
            if side == "A":
                await self.memory.settle()
            else:
                held = await self.memory.pair(self.memory.before)
        pair = pair_data([blocks[side] for side in order], burn_in_s=self.measurement.burn_in_s)
        wall_s = time.monotonic() - began
        if pair.void:
            return Round(values={}, wall_s=wall_s, void=pair.void[0])
        values = {METRIC: (self._settled(blocks["A"]), self._settled(blocks["B"])), **held}
        return Round(values=values, data={METRIC: pair.data[0]}, wall_s=wall_s)

    def _settled(self, block: Block) -> float:
        values = block.values[-self.measurement.probes_per_block :]
        return sum(values) / len(values)


class _Watched(_Probed):
    """The target as it is, beside what it cost before."""

    def __init__(self, measurement: SwitchedMeasurement, memory: _Memory, reference: Mapping[str, float]) -> None:
        super().__init__(measurement, memory)
        self._reference = reference

    async def measure(self, plan: RoundPlan, number: int) -> Round:
        began = time.monotonic()
        block = await self.block("B", 0.0)
        mean = sum(block.values) / len(block.values)
        held = await self.memory.pair(self._reference.get(MEMORY, 0.0))
        return Round(values={METRIC: (self._reference.get(METRIC, 0.0), mean), **held}, wall_s=time.monotonic() - began)
