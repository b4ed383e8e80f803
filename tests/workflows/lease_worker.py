"""A worker in a process of its own, to be killed: `python -m tests.workflows.lease_worker ADDRESS TASK_QUEUE`."""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from temporalio.client import Client
from temporalio.worker import Worker

from activities.abandoned_changes import AbandonedChangeFinder
from activities.leases import Leases
from perfwright.models.lease import LeaseSettings
from tests.workflows.lease_processes import Measuring
from workflows.plugin.plugin import PerfwrightPlugin
from workflows.shared.target_lease import TargetLease

QUICK = LeaseSettings(watch_every_s=0.1, watch_for_s=20, look_every_s=0.3, settle_s=0.2, idle_s=1)
"""An impatient lease: what takes minutes in production takes a second here."""


def lease_activities(settings: LeaseSettings = QUICK, abandoned: AbandonedChangeFinder | None = None) -> list:
    leases = Leases(settings, abandoned)
    return [leases.acquire_leases, leases.release_leases, leases.watch_holders]


async def main(address: str, task_queue: str) -> None:
    client = await Client.connect(address, plugins=[PerfwrightPlugin()])
    worker = Worker(
        client,
        task_queue=task_queue,
        workflows=[TargetLease, Measuring],
        activities=lease_activities(),
        activity_executor=ThreadPoolExecutor(2),
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=1),
    )
    async with worker:
        print("polling", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
