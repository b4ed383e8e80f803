"""One machine as its users have it, for tests that kill its parts: a Temporal server with its file, a registry, worker processes."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.client import Client, Interceptor, OutboundInterceptor, StartWorkflowInput, WorkflowHandle

from activities.context import WorkerContext
from starter.dev_server import DevServer, start_dev_server
from starter.json_lines import ready_line
from tests import preloaded
from tests.needs import temporal_cli
from tests.workflows.investigating import REGISTRY
from tests.workflows.watching_runs import PATIENCE_S
from workflows.plugin.plugin import PerfwrightPlugin

WORKER = Path(__file__).resolve().parents[2] / "worker.py"
TASK_TIMEOUT = timedelta(seconds=4)
"""After which the server gives a dead worker's workflow task to the next: a kill costs ten seconds where nothing is said."""


class _ShortTasks(Interceptor):
    """Runs that this client starts do not wait long for a dead worker's workflow task."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _Starting(next)


class _Starting(OutboundInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        input.task_timeout = input.task_timeout or TASK_TIMEOUT
        return await super().start_workflow(input)


@dataclass(kw_only=True)
class WorkerProcess:
    """`worker.py` with the registry and the stores in `folder`. It can be killed, and is there again at once (tests/preloaded.py)."""

    folder: Path
    address: str
    """Of the Temporal server."""
    environment: dict[str, str] = field(default_factory=dict)
    program: Path = WORKER
    worker: preloaded.Forked | None = None

    async def start_worker(self, *arguments: str, **environment: str) -> None:
        """`arguments`: none for everything on the host `local`; `--host NAME`... for the steps of these hosts alone."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TEMPORAL_", "PERFWRIGHT_"))}
        ours = {"TEMPORAL_ADDRESS": self.address, "PERFWRIGHT_METRICS": "off", "PERFWRIGHT_LOG_LEVEL": "WARNING"}
        words = ["--config", str(self.folder / "perfwright.toml"), *arguments]
        with (self.folder / "worker.log").open("ab") as log:
            self.worker = await asyncio.to_thread(
                preloaded.start, self.program, words, kept | ours | self.environment | environment, self.folder, stderr=log
            )
        await asyncio.wait_for(asyncio.to_thread(self._wait_ready), PATIENCE_S)

    def _wait_ready(self) -> None:
        assert self.worker
        for line in self.worker.stdout:
            if ready_line(line) is not None:
                return
        raise AssertionError(f"the worker ended:\n{self.log[-3_000:]}")

    async def signal_worker(self, number: signal.Signals) -> int:
        """Send it and wait for the end; gives the exit code."""
        assert self.worker
        self.worker.send_signal(number)
        code = await asyncio.wait_for(asyncio.to_thread(self.worker.wait), PATIENCE_S)
        self.worker.stdout.close()
        self.worker = None
        return code

    def kill_worker(self) -> None:
        if self.worker:
            self.worker.kill()
            self.worker.wait()
            self.worker.stdout.close()
            self.worker = None

    @property
    def log(self) -> str:
        return (self.folder / "worker.log").read_text()


@dataclass(kw_only=True)
class Site(WorkerProcess):
    """One machine as its users have it: a server with its file, a registry, and a worker process. Both can be killed."""

    server: DevServer

    async def restart_server(self) -> None:
        """kill -9, and again on the same port and file."""
        os.kill(self.server.pid, signal.SIGKILL)
        await asyncio.to_thread(self.server.stop)
        port = int(self.address.rpartition(":")[2])
        self.server = await asyncio.to_thread(start_dev_server, temporal_cli(), db=self.server.db, port=port, ui=False)

    def register(self, *targets: str) -> None:
        (self.folder / "perfwright.toml").write_text(REGISTRY.format(targets="\n".join(targets)))

    async def client(self) -> Client:
        return await Client.connect(self.address, plugins=[PerfwrightPlugin()], interceptors=[_ShortTasks()])

    def close(self) -> None:
        self.kill_worker()
        self.server.stop()


@asynccontextmanager
async def stores_in(folder: Path) -> AsyncIterator[WorkerContext]:
    """The stores of a site's worker; closed with the block, as the next test would find what is left open."""
    context = await WorkerContext.open(folder / "perfwright.toml", "local", environ={}, working_directory=folder)
    try:
        yield context
    finally:
        await context.close()


@asynccontextmanager
async def running_site(folder: Path) -> AsyncIterator[Site]:
    """A site with its server started, and no worker yet."""
    server = await asyncio.to_thread(start_dev_server, temporal_cli(), db=folder / "temporal.db", port=None, ui=False)
    site = Site(folder=folder, address=server.address, server=server)
    try:
        yield site
    finally:
        await asyncio.to_thread(site.close)
