"""The one plugin, for client, worker, replayer and tests: what runs, replays and reads histories speaks the same way."""

import asyncio
from collections.abc import Awaitable, Callable

from temporalio.plugin import SimplePlugin
from temporalio.worker import ReplayerConfig, Worker, WorkerConfig

from workflows.plugin.converter import guarded_data_converter
from workflows.plugin.gate_watch import GateWatch
from workflows.plugin.interceptors import PerfwrightInterceptor
from workflows.plugin.sandbox import sandbox


class PerfwrightPlugin(SimplePlugin):
    """Guarded pydantic converter, the interceptor, and the sandbox with its pass-through modules.

    >>> client = await Client.connect("localhost:7233", plugins=[PerfwrightPlugin()])   # its workers have it as well
    >>> Replayer(workflows=WORKFLOWS, plugins=[PerfwrightPlugin()])
    """

    def __init__(self) -> None:
        super().__init__("perfwright.PerfwrightPlugin", data_converter=guarded_data_converter, interceptors=[PerfwrightInterceptor()])

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        config = super().configure_worker(config)
        config["workflow_runner"] = sandbox(config.get("workflow_runner"), config["client"].data_converter)
        return config

    def configure_replayer(self, config: ReplayerConfig) -> ReplayerConfig:
        config = super().configure_replayer(config)
        config["workflow_runner"] = sandbox(config.get("workflow_runner"), config.get("data_converter"))
        return config

    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:
        if not worker.config(active_config=True).get("workflows"):
            return await super().run_worker(worker, next)
        watch = asyncio.create_task(GateWatch(worker.client).run())
        try:
            await super().run_worker(worker, next)
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        return None
