"""A small database of a shop on a real server, and statements of it to explain outside of a Temporal server."""

import asyncio
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
from temporalio.testing import ActivityEnvironment

from activities.artifacts import ArtifactStore
from activities.postgres_explain import PostgresExplain
from perfwright.analysis.statements.parsing import Unreadable, parse_statement
from perfwright.analysis.statements.stored import MEDIA_TYPE, decode, encode
from perfwright.models.artifact import ArtifactRef
from perfwright.models.database import DatabaseFacts
from perfwright.models.query_performance import ExplainOutcome
from perfwright.models.query_steps import ExplainedStatements, ExplainStatements, PlanSet
from perfwright.models.statement import Safety, Statement, StatementSample, StatementTable
from perfwright.models.target import Target
from tests.needs import require
from tests.postgres import PASSWORD, USER, PostgresServer, free_port, server_folder, system_user

DSN_ENV = "EXAMINED_DSN"
PREFIX = "query-performance-analysis/shop-db/run/1"
SCHEMA = """
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, city text);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int NOT NULL, status text NOT NULL, total numeric(10, 2), note text);
CREATE TABLE audit (id serial PRIMARY KEY, said text NOT NULL);
CREATE SEQUENCE tickets;
CREATE TABLE bulk (id int);
CREATE VIEW open_orders AS SELECT id, customer_id FROM orders WHERE status = 'open';
INSERT INTO customers SELECT n, 'customer ' || n, CASE WHEN n % 7 = 0 THEN NULL ELSE 'city ' || n % 20 END FROM generate_series(1, 500) n;
INSERT INTO orders SELECT n, CASE WHEN n % 2 = 0 THEN 1 ELSE n % 500 + 1 END, CASE WHEN n % 50 = 0 THEN 'open' ELSE 'done' END, n % 97, NULL
    FROM generate_series(1, 5000) n;
CREATE FUNCTION noisy(int) RETURNS int LANGUAGE plpgsql VOLATILE AS
    $$ BEGIN INSERT INTO audit (said) VALUES ('called'); PERFORM nextval('tickets'); RETURN $1; END $$;
CREATE FUNCTION lying(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN INSERT INTO audit (said) VALUES ('called while planning'); RETURN $1; END $$;
ANALYZE;
"""
SLOW = "SELECT count(*) FROM orders a, orders b, orders c WHERE a.total + b.total > c.total"
"""A cross join of 125,000,000,000 rows: it ends only when it is cancelled."""
BULKY = "SELECT count(*) FROM bulk a, bulk b, bulk c"
"""The same while `bulk` is filled, and nothing when it is empty."""


def statement(text: str, safety: Safety = "reads only", *samples: str | StatementSample, **more: Any) -> Statement:
    """As the statement table has it; `samples`: texts with values, or whole samples."""
    kept = tuple(one if isinstance(one, StatementSample) else StatementSample(text=one, source="log") for one in samples)
    try:
        read = parse_statement(text)
        facts: dict[str, Any] = {"fingerprint": read.fingerprint, "kind": read.kind}
    except Unreadable:
        facts = {"fingerprint": f"{abs(hash(text)) % 2**64:016x}", "kind": "unknown"}
    return Statement(**(facts | {"text": text, "safety": safety, "samples": kept} | more))


def sampled(text: str, *parameters: str | None, ms: float | None = None) -> StatementSample:
    return StatementSample(text=text, parameters=parameters, duration_ms=ms, source="log")


class Examined:
    """A database on a server, and a worker's folder."""

    def __init__(self, server: PostgresServer, database: str, folder: Path, *, port: int | None = None, user: str | None = None) -> None:
        self.server, self.database, self.folder = server, database, folder
        self.dsn = server.dsn(database, user=user) if user else server.dsn(database)
        if port is not None:
            self.dsn = self.dsn.replace(f":{server.port}/", f":{port}/")
        self.environ: dict[str, str] = {DSN_ENV: self.dsn}
        self.state = folder / "state"
        self.store = ArtifactStore(f"file://{folder}/store")
        self.beats: list[dict[str, Any]] = []
        self.pooler = "pgbouncer in transaction mode" if port is not None else ""
        self.extensions: dict[str, str] = {}
        self.new_environment()

    def new_environment(self) -> ActivityEnvironment:
        """As for another attempt."""
        self.environment = ActivityEnvironment()
        self.environment.on_heartbeat = lambda *details: self.beats.append(details[0] if details else {})
        return self.environment

    async def facts(self, **more: Any) -> DatabaseFacts:
        async with self.session() as session:
            number = int(await session.fetchval("SELECT current_setting('server_version_num')"))
        settings = {"pooler": self.pooler, "extensions": self.extensions} | more
        return DatabaseFacts(system="postgresql", version=str(number), version_number=number, database=self.database, **settings)

    def target(self, *allow: str, environment: str = "lab", inline: bool = False) -> Target:
        return Target.model_validate(
            {"name": "shop-db", "kind": "postgresql", "environment": environment, "dsn_env": DSN_ENV, "allow": allow, "inline": inline}
        )

    async def table(self, statements: Sequence[Statement]) -> ArtifactRef:
        table = StatementTable(statements=tuple(statements), total_ms=1.0, seconds=60.0)
        return await self.store.put("table.json.gz", encode(table), MEDIA_TYPE)

    async def request(self, statements: Sequence[Statement], target: Target | None = None, **more: Any) -> ExplainStatements:
        facts = more.pop("facts", None) or await self.facts()
        settings: dict[str, Any] = {
            "analyze": True,
            "cost_ceiling": 5e7,
            "statement_timeout_s": 20.0,
            "lock_timeout_s": 0.2,
            "artifact_prefix": PREFIX,
            "fingerprints": tuple(one.fingerprint for one in statements),
        } | more
        return ExplainStatements(target=target or self.target("analyze"), database=facts, table=await self.table(statements), **settings)

    async def explain(self, *statements: Statement, target: Target | None = None, **more: Any) -> ExplainedStatements:
        return await self.run(await self.request(statements, target, **more))

    async def run(self, request: ExplainStatements) -> ExplainedStatements:
        explainer = PostgresExplain(self.store, self.environ, self.state)
        result: ExplainedStatements = await self.environment.run(explainer.explain_statements, request)
        return result

    async def outcome(self, one: Statement, target: Target | None = None, **more: Any) -> ExplainOutcome:
        [outcome] = (await self.explain(one, target=target, **more)).outcomes
        return outcome

    async def plans(self, result: ExplainedStatements) -> PlanSet:
        return decode(PlanSet, await self.store.get(result.plans))

    @asynccontextmanager
    async def session(self) -> AsyncIterator[asyncpg.Connection]:
        """Somebody else's session, as a superuser and past every pooler."""
        connection = await asyncpg.connect(self.server.dsn(self.database), timeout=10)
        try:
            yield connection
        finally:
            await connection.close()

    async def value(self, sql: str) -> Any:
        async with self.session() as session:
            return await session.fetchval(sql)

    @asynccontextmanager
    async def bulk(self) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        """`bulk` filled for the time of the block, or until what it yields is called."""

        async def empty() -> None:
            await self.value("TRUNCATE bulk")

        await self.value("INSERT INTO bulk SELECT * FROM generate_series(1, 5000)")
        try:
            yield empty
        finally:
            await empty()

    async def ours(self) -> int:
        """Sessions of ours on the server, apart from a pooler's idle ones."""
        return int(
            await self.value(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'perfwright' AND state IS DISTINCT FROM 'idle'"
                if self.pooler
                else "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'perfwright'"
            )
        )

    async def busy_with(self, word: str, within_s: float = 20.0) -> int:
        """Wait until a session of ours executes a statement with this word in it; its process id."""
        async with asyncio.timeout(within_s), self.session() as session:
            while True:
                found = await session.fetchval(
                    "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND application_name = 'perfwright' AND query ~ 'ANALYZE' AND query ~ $1",
                    word,
                )
                if found:
                    return int(found)
                await asyncio.sleep(0.02)

    async def gone(self, within_s: float = 5.0) -> None:
        """Wait until no session of ours is left."""
        async with asyncio.timeout(within_s):
            while await self.ours():
                await asyncio.sleep(0.02)


_SHOPS: dict[Path, str] = {}
"""By the folder of the server."""


async def make_shop(server: PostgresServer) -> str:
    """A fresh database with the shop; its name."""
    database = (await server.new_database()).rpartition("/")[2]
    connection = await server.connect(database)
    try:
        await connection.execute(SCHEMA)
    finally:
        await connection.close()
    return database


async def shared_shop(server: PostgresServer) -> str:
    """The shop of all tests that leave nothing behind, which is what they are about."""
    if server.folder not in _SHOPS:
        _SHOPS[server.folder] = await make_shop(server)
    return _SHOPS[server.folder]


@contextmanager
def pgbouncer(server: PostgresServer, *, pool_size: int = 1) -> Iterator[int]:
    """The port of a pgbouncer in transaction mode before the server: every transaction gets whichever connection is free."""
    require("pgbouncer")
    port = free_port()
    with server_folder() as folder:
        (folder / "users").write_text(f'"{USER}" "{PASSWORD}"\n')
        lines = [
            "[databases]",
            f"* = host=127.0.0.1 port={server.port}",
            "[pgbouncer]",
            "listen_addr = 127.0.0.1",
            f"listen_port = {port}",
            "unix_socket_dir =",
            "auth_type = plain",
            f"auth_file = {folder}/users",
            "pool_mode = transaction",
            f"default_pool_size = {pool_size}",
        ]
        (folder / "ini").write_text("\n".join(lines) + "\n")
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(["pgbouncer", folder / "ini"], user=system_user(), cwd=folder, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 20
            while True:
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
                assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.02)
            yield port
        finally:
            process.terminate()
            process.wait(20)
