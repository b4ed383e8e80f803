"""Two hundred processes of one step each, started at once, on one worker: how many end per second, ours against the SDK alone."""

import asyncio
import time
import uuid

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from benchmarks.measured import Measured, ratio
from benchmarks.running import OURS, RAW, rounds, sample_worker, server
from benchmarks.samples.models import Request
from workflows.plugin.plugin import PerfwrightPlugin

LIMIT = 0.9
PROCESSES = 200
ROUNDS = 6
WITHIN_S = 150.0


async def measure() -> list[Measured]:
    rates: dict[str, list[float]] = {OURS: [], RAW: []}
    async with server() as address:
        with sample_worker(OURS, address) as our_worker, sample_worker(RAW, address) as raw_worker:
            ours = await Client.connect(address, plugins=[PerfwrightPlugin()])
            raw = await Client.connect(address, data_converter=pydantic_data_converter)
            sides = [(OURS, ours, our_worker.queue), (RAW, raw, raw_worker.queue)]
            for _, client, queue in sides:
                await processes_per_s(client, queue, 20)
            for number in rounds(ROUNDS, least=2, within_s=WITHIN_S):
                for kind, client, queue in sides if number % 2 else sides[::-1]:
                    rates[kind].append(await processes_per_s(client, queue, PROCESSES))
    found = ratio(rates[OURS], rates[RAW])
    return [Measured(f"{PROCESSES} processes of one step: rate", found.median, "x", LIMIT, at_least=True, note=found.note("processes/s"))]


async def processes_per_s(client: Client, queue: str, count: int) -> float:
    batch, began = uuid.uuid4(), time.perf_counter()

    async def one(number: int) -> None:
        await client.execute_workflow("OneStep", Request(target="shop"), id=f"{batch}/{number}", task_queue=queue, result_type=dict)

    async with asyncio.timeout(120):
        await asyncio.gather(*(one(number) for number in range(count)))
    return count / (time.perf_counter() - began)
