"""A process of ten steps with one gate: ours against the SDK alone, wall time and the worker's CPU.

Twice: the very same class with and without the plugin, and a process written our way (`HumanGates`, steps that are recorded, details,
search attributes) against one written with the SDK that leaves the same history. Runs go one after the other, ours and theirs in turns
(ABBA), each kind on a worker process of its own, which is idle while the other's runs; CPU is what that process used, by psutil.
"""

import asyncio
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter

from benchmarks.measured import Measured, ratio
from benchmarks.running import OURS, RAW, SampleWorker, rounds, sample_worker, server
from benchmarks.samples.models import Request
from workflows.plugin.plugin import PerfwrightPlugin

WALL_LIMIT, CPU_LIMIT = 1.10, 1.15
ROUNDS = 16
WITHIN_S = 120.0
RUNS = 4
"""Of each per round: the kernel counts CPU in hundredths of a second."""
WARM_UP_RUNS = 3
ANSWER = {"gate": "findings_review", "by": "benchmark"}


@dataclass(frozen=True)
class Side:
    """One of the two, and what was measured of it."""

    client: Client
    worker: SampleWorker
    workflow: str
    run_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    """Per run, mean of a round."""


async def measure() -> list[Measured]:
    async with server() as address:
        with sample_worker(OURS, address) as our_worker, sample_worker(RAW, address) as raw_worker:
            ours = await Client.connect(address, plugins=[PerfwrightPlugin()])
            raw = await Client.connect(address, data_converter=pydantic_data_converter)
            plugin = await compare(Side(ours, our_worker, "TenSteps"), Side(raw, raw_worker, "TenSteps"), "process, same class")
            gated = await compare(Side(ours, our_worker, "GatedSteps"), Side(raw, raw_worker, "PlainGatedSteps"), "process, HumanGates")
    return plugin + gated


async def compare(ours: Side, theirs: Side, name: str) -> list[Measured]:
    """Both metrics. Raises ValueError when the two did not do the same."""
    histories = [await warm_up(side) for side in (ours, theirs)]
    if histories[0] != histories[1]:
        raise ValueError(f"{ours.workflow} and {theirs.workflow} leave different histories: {histories}")
    for _ in rounds(ROUNDS, within_s=WITHIN_S):
        before_s = [side.worker.cpu_s() for side in (ours, theirs)]
        for number in range(RUNS):
            for side in (ours, theirs) if number % 2 else (theirs, ours):
                began = time.perf_counter()
                await run_once(side)
                side.run_s.append(time.perf_counter() - began)
        for side, began_s in zip((ours, theirs), before_s, strict=True):
            side.cpu_s.append((side.worker.cpu_s() - began_s) / RUNS)
    wall, cpu = ratio(ours.run_s, theirs.run_s), ratio(ours.cpu_s, theirs.cpu_s)
    return [
        Measured(f"{name}: wall", wall.median, "x", WALL_LIMIT, note=wall.note("ms", 1e3, of="pairs")),
        Measured(f"{name}: worker CPU", cpu.median, "x", CPU_LIMIT, note=cpu.note("ms", 1e3)),
    ]


async def warm_up(side: Side) -> dict[str, int]:
    """How often each kind of event stands in the history of a run."""
    for _ in range(WARM_UP_RUNS):
        handle = await run_once(side)
    kinds: dict[str, int] = {}
    async for event in handle.fetch_history_events():
        name = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_")
        kinds[name] = kinds.get(name, 0) + 1
    return dict(sorted(kinds.items()))


async def run_once(side: Side) -> WorkflowHandle[Any, Any]:
    """Start, answer when the gate waits (its deadline is the run's only timer), and wait for the result."""
    request = Request(target="shop")
    handle = await side.client.start_workflow(
        side.workflow, request, id=f"benchmark-{uuid.uuid4()}", task_queue=side.worker.queue, result_type=dict
    )
    async with asyncio.timeout(60):
        async for event in handle.fetch_history_events(wait_new_event=True):
            if event.event_type == EventType.EVENT_TYPE_TIMER_STARTED:
                break
        await handle.signal("approve", ANSWER)
        await handle.result()
    return handle
