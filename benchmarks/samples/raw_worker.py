"""A worker as the SDK's documentation writes it: `raw_worker.py ADDRESS QUEUE NUMBER`, with NUMBER workflows `process_0` ... beside it."""

import asyncio
import importlib
import sys

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from benchmarks.samples.steps import do_step, read_gate_rule


async def main(address: str, queue: str, number: int) -> None:
    workflows = [getattr(importlib.import_module(f"process_{one}"), f"Process{one}") for one in range(number)]
    client = await Client.connect(address, data_converter=pydantic_data_converter)
    await Worker(client, task_queue=queue, workflows=workflows, activities=[do_step, read_gate_rule]).run()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
