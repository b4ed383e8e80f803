"""Readings of a PostgreSQL log, and what they give."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from activities.postgres_log import PostgresLog
from perfwright.analysis.statements.stored import MEDIA_TYPE, decode
from perfwright.models.query_steps import LogReadDone, ReadLog
from perfwright.models.statement import LogDigest
from perfwright.models.target import Target
from tests.activities.recordings import Bench
from tests.perfwright.analysis.server_log.written import Line, jsonlog

PREFIX = "runs/1/log"
TARGET = Target(name="shop-db", kind="postgresql", environment="lab")


def reading(*files: Path | str, **options: Any) -> ReadLog:
    return ReadLog(target=TARGET, files=tuple(map(str, files)), artifact_prefix=PREFIX, **options)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def read(bench: Bench, request: ReadLog) -> LogReadDone:
    done: LogReadDone = await bench.run(PostgresLog, "read_log", request)
    return done


async def digest_of(bench: Bench, done: LogReadDone) -> LogDigest:
    assert done.digest is not None and done.digest.media_type == MEDIA_TYPE
    return decode(LogDigest, await bench.store.get(done.digest))


def work_folder(bench: Bench) -> Path:
    return bench.state / "recordings" / f"{PREFIX}/log".replace("/", "-")


def call(text: str, duration_ms: float = 1.0, **facts: str) -> bytes:
    return jsonlog(Line(f"duration: {duration_ms:.3f} ms  statement: {text}", **facts))


@asynccontextmanager
async def connected(url: str, **settings: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""), timeout=10, server_settings=settings)
    try:
        yield connection
    finally:
        await connection.close()


async def work(connection: asyncpg.Connection, url: str) -> None:
    """Some of everything that a log can tell."""
    await connection.execute("CREATE TABLE items (a int, b text)")
    await connection.execute("INSERT INTO items SELECT i, md5(i::text) FROM generate_series(1, 20000) i")
    for number in (1, 2):
        await connection.execute(f"SELECT * FROM items WHERE b = 'Grüße\n\"{number}\"' LIMIT 1")
    for values in ((1, "it's"), (2, "it's"), (3, None)):
        await connection.fetch("SELECT count(*) FROM items WHERE a = $1 AND b <> $2", *values)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await connection.fetch("SELECT 1 / $1::int", 0)
    await connection.execute("SET work_mem = '64kB'")
    await connection.fetch("SELECT * FROM items ORDER BY b")
    await connection.execute("CREATE ROLE reader PASSWORD 'very-secret-indeed'")
    await connection.execute("DROP ROLE reader")
    await connection.execute("CREATE FUNCTION inner_count(int) RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM items WHERE a < $1'")
    await connection.execute("SET auto_explain.log_nested_statements = on; SELECT 1")
    await connection.execute("SELECT inner_count(10)")
    async with connected(url) as other:
        async with connection.transaction():
            await connection.execute("LOCK TABLE items")
            waiting = asyncio.create_task(other.execute("SELECT max(a) FROM items"))
            await asyncio.sleep(0.15)  # longer than deadlock_timeout: the wait is in the log then
        await waiting
