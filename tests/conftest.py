"""Fixtures of all tests: one real Temporal server per test process, and everything else fresh per test."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from starter import dev_server
from starter.search_attributes import ensure_search_attributes
from tests.needs import require, temporal_cli
from tests.scheduling import UnitsInOrder, in_good_order
from workflows.plugin.plugin import PerfwrightPlugin

RunningWorker = Callable[..., AbstractAsyncContextManager[Worker]]
SERVER_STARTS = 3
SETTINGS = dev_server.SETTINGS | {"history.transferProcessorUpdateAckInterval": '"1s"'}
"""As `perfwright up` has it, so that no step waits for the next look at what is to be done; and a server removes a run that it is told to
delete when it has noted that nothing is left to do for it: every 30 s if it is not told."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # one of several processes
        items[:] = [items[index] for index in in_good_order([item.nodeid for item in items])]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> UnitsInOrder:
    return UnitsInOrder(config, log)


@pytest.fixture(scope="session")
def temporal_server() -> Iterator[str]:
    """The address of a development server with our search attributes; its own for every xdist worker."""
    require("temporal")
    settings = [word for name, value in SETTINGS.items() for word in ("--dynamic-config-value", f"{name}={value}")]

    async def start() -> WorkflowEnvironment:
        server = await WorkflowEnvironment.start_local(
            dev_server_existing_path=str(temporal_cli()),
            dev_server_log_level="error",
            dev_server_extra_args=["--ui-disable-news-fetch", *settings],
        )
        await ensure_search_attributes(server.client)
        return server

    for tries_left in reversed(range(SERVER_STARTS)):
        try:
            server = asyncio.run(start())
            break
        except RuntimeError:  # the SDK gives it five seconds, which a busy machine may need for itself
            if not tries_left:
                raise
    yield server.client.service_client.config.target_host
    asyncio.run(server.shutdown())


@pytest.fixture
async def client(temporal_server: str) -> Client:
    """Speaks as all of Perfwright does: with the plugin."""
    return await Client.connect(temporal_server, plugins=[PerfwrightPlugin()])


@pytest.fixture
async def raw_client(temporal_server: str) -> Client:
    """Speaks as anybody may: without the plugin."""
    return await Client.connect(temporal_server)


@pytest.fixture
def task_queue() -> str:
    return f"queue-{uuid.uuid4()}"


@pytest.fixture
def host_name() -> str:
    """A host that no other test polls for."""
    return f"host-{uuid.uuid4().hex[:12]}"


@asynccontextmanager
async def run_worker(
    client: Client,
    task_queue: str,
    *,
    workflows: Sequence[type] = (),
    activities: Sequence[Callable[..., Any]] = (),
    **options: Any,
) -> AsyncIterator[Worker]:
    """A worker for the time of a block, with the settings that make tests quick: frequent heartbeats, short sticky queues."""
    with ThreadPoolExecutor(8) as threads:
        settings: dict[str, Any] = {
            "activity_executor": threads,
            "max_heartbeat_throttle_interval": timedelta(seconds=0.2),
            "default_heartbeat_throttle_interval": timedelta(seconds=0.2),
            "graceful_shutdown_timeout": timedelta(seconds=1),
        }
        worker = Worker(client, task_queue=task_queue, workflows=workflows, activities=activities, **(settings | options))
        async with worker:
            yield worker


@pytest.fixture
def running_worker(client: Client, task_queue: str) -> RunningWorker:
    """`async with running_worker(workflows=[...], activities=[...]):` on the test's own task queue (or `task_queue=...`)."""

    def run(**options: Any) -> AbstractAsyncContextManager[Worker]:
        return run_worker(options.pop("client", client), options.pop("task_queue", task_queue), **options)

    return run
