"""A small shop with indexes that are missing, and some too many; workers that optimise it; what stands in its catalog."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
from temporalio.client import Client, RPCError

from activities.context import WorkerContext
from activities.registry import build_activities
from perfwright.models.index_strategy import IndexStrategyDetails
from perfwright.models.queues import host_queue, probe_queue
from perfwright.models.result import ProcessResult
from tests.conftest import run_worker
from tests.databases import VARIABLE, fresh_database
from tests.postgres import PostgresServer
from tests.workflows.watching_runs import Handle, open_gate, task_failures, until
from workflows.database.index_strategy_optimization import IndexStrategyOptimization
from workflows.registry import WORKFLOWS

IndexResult = ProcessResult[IndexStrategyDetails]
REGISTRY = """
[environments.lab]
review = "auto"
change = "auto"
keep = "auto"

[environments.asking]

[targets.{name}]
kind = "postgresql"
dsn_env = "{variable}"
environment = "{environment}"
host = "{host}"
allow = ["analyze", "ddl", "settings"]
"""
TABLES = (
    "CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL, status text NOT NULL, placed date NOT NULL, total int NOT NULL)"
    " WITH (fillfactor = 90)",
    "INSERT INTO orders SELECT n, n * 7919 % 4000, CASE WHEN n % 50 = 0 THEN 'open' ELSE 'done' END, date '2026-01-01' + n % 200, n % 977"
    " FROM generate_series(1, 60000) n",
    "CREATE TABLE visits (id int PRIMARY KEY, page int NOT NULL, seen int NOT NULL) WITH (fillfactor = 90)",
    "INSERT INTO visits SELECT n, n % 100, 0 FROM generate_series(1, 5000) n",
)
SETTLED = ("VACUUM ANALYZE orders", "VACUUM ANALYZE visits")
QUERIES = (
    "SELECT sum(total) FROM orders WHERE customer = 77",
    "SELECT id, total FROM orders WHERE customer = 1234 AND placed > date '2026-03-01' ORDER BY placed",
    "SELECT count(*) FROM orders WHERE id = 4711",
)
WRITES = ("UPDATE orders SET total = total + 1 WHERE id = 4711", "UPDATE visits SET seen = seen + 1 WHERE id = 17")
COVERING = "CREATE INDEX orders_by_customer ON orders (customer, placed) INCLUDE (id, total)"
INDEXES = "SELECT pg_get_indexdef(indexrelid) AS definition, indisvalid, indisready, indislive FROM pg_index WHERE indrelid > 16383"


class Shop:
    """The database, and runs on it."""

    def __init__(self, client: Client, queue: str, name: str, connection: asyncpg.Connection, server: PostgresServer, folder: Path) -> None:
        self.client, self.queue, self.name = client, queue, name
        self.connection, self.server, self.folder = connection, server, folder
        self._number = 0

    async def start(self, **request: Any) -> Handle:
        self._number += 1
        given: dict[str, Any] = {
            "target": self.name,
            "window_s": 1,
            "statements": [*QUERIES, *WRITES],
            "top": 1,
            "min_share": 1.0,
            "measure_s": 10,
            "trial_s": 20,
            "watch_s": 0,
        }
        return await self.client.start_workflow(
            IndexStrategyOptimization.__name__,
            given | request,
            id=f"index-strategy-optimization/{self.name}/{self._number}",
            task_queue=self.queue,
            result_type=IndexResult,
        )

    async def result_of(self, handle: Handle) -> IndexResult:
        result: IndexResult = await handle.result()
        assert not await task_failures(handle)
        return result

    @asynccontextmanager
    async def traffic(self) -> AsyncIterator[None]:
        """Somebody uses the shop; which also keeps its database from being copied as a template."""
        connection = await self.server.connect(await self.connection.fetchval("SELECT current_database()::text"))

        async def use() -> None:
            while True:
                for text in QUERIES:
                    await connection.fetch(text)
                await asyncio.sleep(0.2)

        task = asyncio.create_task(use())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
            connection.terminate()

    def trial(self, handle: Handle, run_id: str, number: int = 1) -> Handle:
        """The run's n-th trial."""
        return self.client.get_workflow_handle(f"{handle.id}/trial/{run_id}/{number}")

    async def indexes(self) -> list[tuple[Any, ...]]:
        """Everything in pg_index that belongs to the shop, exactly."""
        return sorted(tuple(row) for row in await self.connection.fetch(INDEXES))

    async def clones(self) -> list[str]:
        rows = await self.connection.fetch("SELECT datname::text AS name FROM pg_database WHERE datname LIKE 'perfwright_clone_%'")
        return [row["name"] for row in rows]


async def answer(handle: Handle, gate: str, action: str = "approve", revision: int = 1, **more: Any) -> None:
    opened = await open_gate(handle, gate, revision)
    decision = {"action": action, "gate": gate, "by": "ada", "digest": opened.digest, "comment": "looked at it"}
    await handle.execute_update("decide", decision | more)


async def begun(handle: Handle) -> None:
    """A run that somebody else starts."""

    async def is_there() -> bool:
        try:
            await handle.describe()
        except RPCError:
            return False
        return True

    await until(is_there, handle.id)


@asynccontextmanager
async def shop(
    client: Client,
    queue: str,
    host: str,
    folder: Path,
    server: PostgresServer,
    *more: str,
    environment: str = "lab",
    serves: bool = True,
) -> AsyncIterator[Shop]:
    """A shop of a test's own, with workers that serve it. `more`: statements after its tables are filled."""
    async with fresh_database(server, *TABLES, *more, *SETTLED) as connection:
        database = await connection.fetchval("SELECT current_database()::text")
        name = f"shop-{host[-8:]}"
        (folder / "perfwright.toml").write_text(REGISTRY.format(name=name, variable=VARIABLE, environment=environment, host=host))
        context = await WorkerContext.open(
            folder / "perfwright.toml", host, environ={VARIABLE: server.dsn(database)}, working_directory=folder
        )
        activities = build_activities(context)
        try:
            async with run_worker(client, queue, workflows=WORKFLOWS, activities=activities.central):
                if not serves:
                    yield Shop(client, queue, name, connection, server, folder)
                else:
                    async with (
                        run_worker(client, host_queue(host), activities=activities.host),
                        run_worker(client, probe_queue(host), activities=activities.probe),
                    ):
                        yield Shop(client, queue, name, connection, server, folder)
        finally:
            await context.close()
