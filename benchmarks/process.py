"""A process of ten steps with one gate: ours against the SDK alone, wall time and the worker's CPU.

Twice: the very same class with and without the plugin, and a process written our way (`HumanGates`, steps that are recorded, details,
search attributes) against one written with the SDK that leaves the same history. Runs go one after the other, ours and theirs in turns
(ABBA), each kind on a worker process of its own; CPU is what that process used, by psutil.
"""

import asyncio
import time
import uuid
from dataclasses import dataclass
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
"""Per turn: the kernel counts CPU in hundredths of a second."""
WARM_UP_RUNS = 3
ANSWER = {"gate": "findings_review", "by": "benchmark"}


@dataclass(frozen=True)
class Side:
    """One of the two."""

    client: Client
    worker: SampleWorker
    workflow: str


@dataclass
class Turns:
    wall_s: list[float]
    cpu_s: list[float]


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
    mine, other = Turns([], []), Turns([], [])
    histories = [await warm_up(side) for side in (ours, theirs)]
    if histories[0] != histories[1]:
        raise ValueError(f"{ours.workflow} and {theirs.workflow} leave different histories: {histories}")
    for number in rounds(ROUNDS, within_s=WITHIN_S):
        order = [(ours, mine), (theirs, other)]
        for side, turns in order if number % 2 else order[::-1]:
            cpu_s, began = side.worker.cpu_s(), time.perf_counter()
            for _ in range(RUNS):
                await run_once(side)
            turns.wall_s.append((time.perf_counter() - began) / RUNS)
            turns.cpu_s.append((side.worker.cpu_s() - cpu_s) / RUNS)
    wall, cpu = ratio(mine.wall_s, other.wall_s), ratio(mine.cpu_s, other.cpu_s)
    return [
        Measured(f"{name}: wall", wall.median, "x", WALL_LIMIT, note=wall.note("ms", 1e3)),
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
