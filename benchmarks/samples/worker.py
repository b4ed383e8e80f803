"""A worker of its own process: `python -m benchmarks.samples.worker raw|ours --address A --queue Q [--workflows N] [--cached N]`.

Both kinds have the SDK's default settings, so that the plugin alone makes the difference. Only what a kind needs is imported.
"""

import argparse
import asyncio
import os
import signal
from typing import Any

from starter.json_lines import say_ready
from starter.process_exit import exit_at_once


async def work(kind: str, address: str, queue: str, cached: int) -> None:
    from temporalio.client import Client
    from temporalio.worker import Worker

    from benchmarks.samples.plain import OneStep, TenSteps
    from benchmarks.samples.steps import do_step, read_gate_rule

    workflows: list[type] = [TenSteps, OneStep]
    activities: list[Any] = [do_step]
    if kind == "ours":
        from activities.gates import Gates
        from activities.leases import Leases
        from activities.registry_file import RegistryFile
        from benchmarks.samples.gated import GatedSteps, OnlyGate
        from benchmarks.samples.leased import TakesLeases
        from workflows.plugin.plugin import PerfwrightPlugin
        from workflows.shared.target_lease import TargetLease

        gates, leases = Gates(RegistryFile(allow_inline_targets=True, environ={})), Leases()
        client = await Client.connect(address, plugins=[PerfwrightPlugin()])
        workflows += [GatedSteps, OnlyGate, TakesLeases, TargetLease]
        activities += [gates.read_gate_policy, gates.send_notification, leases.acquire_leases, leases.release_leases, leases.watch_holders]
    else:
        from temporalio.contrib.pydantic import pydantic_data_converter

        from benchmarks.samples.plain_gate import PlainGatedSteps

        client = await Client.connect(address, data_converter=pydantic_data_converter)
        workflows += [PlainGatedSteps]
        activities += [read_gate_rule]
    worker = Worker(client, task_queue=queue, workflows=workflows, activities=activities, max_cached_workflows=cached)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with worker:
        say_ready(pid=os.getpid(), task_queue=queue)
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("raw", "ours"))
    parser.add_argument("--address", required=True)
    parser.add_argument("--queue", required=True)
    parser.add_argument("--cached", type=int, default=1_000)
    given = parser.parse_args()
    asyncio.run(work(given.kind, given.address, given.queue, given.cached))
    exit_at_once(0)


if __name__ == "__main__":
    main()
