"""Where literals are masked, none reaches an artifact, the history, a report, a gate or a log; and the analysis still finds what there is."""

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import pymysql
import pytest
from temporalio.client import Client

from tests.mysql import DATABASE, USER, MysqlServer, mariadb  # noqa: F401
from tests.postgres import OBSERVED, PASSWORD, PostgresServer, needed_programs, start_postgres
from tests.workflows.investigating import DSN_VARIABLE, QueryResult, analyse, database, workers
from tests.workflows.watching_runs import open_gate

pytestmark = pytest.mark.timeout(400)

CANARIES = (
    "qqstring", "qqpattern", "qqescape", "qqdollar", "qqcomment", "qqlist", "qqarray", "qqjson", "qqparameter", "qqutility", "qqbroken",
    "qqerror", "qqduplicate", "qqfile", "qqinput", "qqunicode", "qqregclass", "918273645", "918273646", "91827.3645", "1987-03-21", "qqdoubled", "qqview",
)  # fmt: skip
"""Values planted in statements, parameters, files and what the server says of them."""
TABLES = """
CREATE EXTENSION pg_stat_statements;
CREATE TABLE orders (id int PRIMARY KEY, customer_id int, status text, note text, data jsonb, total numeric, made date);
INSERT INTO orders SELECT n, n % 997, 'qqstring' || n % 5000, 'note qqpattern' || n, '{"k": "qqjson"}', n, '1987-03-21'::date + n % 400
    FROM generate_series(1, 40000) n;
CREATE INDEX ON orders (note) WHERE status = 'qqstring1';
CREATE VIEW late AS SELECT * FROM orders WHERE status = 'qqview';
CREATE TABLE customers (id int PRIMARY KEY, name text);
INSERT INTO customers SELECT n, 'customer ' || n FROM generate_series(0, 996) n;
ANALYZE;
"""
STATEMENTS = (
    "SELECT count(*) FROM orders WHERE status = 'qqstring7'",
    "SELECT id FROM orders WHERE note LIKE '%qqpattern77' ORDER BY total",
    "SELECT id FROM orders WHERE status IN ('qqlist1', 'qqlist2') AND total > 91827.3645",
    "SELECT id FROM orders WHERE status = ANY ('{qqarray1,qqarray2}') OR customer_id = ANY (ARRAY[918273645, 4])",
    "SELECT id FROM orders WHERE note = E'it\\'s qqescape' OR note = $x$qqdollar$x$ OR note = U&'qq\\0075nicode qqunicode' /* qqcomment */",
    "SELECT count(*) FROM orders WHERE data ->> 'k' = 'qqjson' AND made > '1987-03-21' AND customer_id <> -918273646 -- qqcomment",
    "SELECT c.id, (SELECT count(*) FROM orders o WHERE o.customer_id = c.id AND o.status <> 'qqstring9') FROM customers c WHERE c.id < 7",
    "SELECT count(*) FROM late WHERE note <> 'qqdoubled '' qqdoubled'",
    "SELECT count(*) FROM customers WHERE name = 'qqregclass'",
)
WITH_PARAMETERS = ("SELECT count(*) FROM orders WHERE lower(status) = $1 AND customer_id < $2", "qqparameter", 918273645)
REFUSED = (
    "SET application_name = 'qqutility'",
    "SELECT 'qqbroken' FROM FROM orders WHERE note = 'qqbroken",
    "SELECT id FROM customers WHERE id = 'qqerror'",
    "INSERT INTO customers VALUES (7, 'qqduplicate')",
    "SELECT count(*) FROM pg_class WHERE oid = 'qqregclass'::regclass",
)
IN_FILE = """
SELECT id, note FROM orders WHERE status = 'qqfile' AND made = '1987-03-21' -- qqcomment
;
SELECT count(*) FROM pg_class WHERE oid = 'qqregclass'::regclass;
SELECT id FROM customers WHERE id = 'qqerror';
SELECT 'qqbroken' FROM FROM x WHERE y = "qqdoubled";
"""
MYSQL = (
    "SELECT COUNT(*) FROM orders WHERE note = 'qqstring'",
    'SELECT id FROM orders WHERE note = "qqdoubled" AND total > 91827.3645',
    "SELECT id FROM orders WHERE note LIKE '%qqpattern' OR note = 'it\\'s qqescape' ORDER BY total LIMIT 5",
    "SELECT id FROM orders WHERE note IN ('qqlist', 'x') AND customer_id <> 918273645 /* qqcomment */",
    "SELECT id FROM orders WHERE created > '1987-03-21' AND JSON_EXTRACT(note, '$.qqjson') = 918273646 # qqcomment",
    "SELECT id FROM customers WHERE id = x'7171' AND name = _utf8mb4'qqunicode'",
    "SELECT 'qqbroken' FROM FROM orders WHERE note = 'qqbroken",
    "INSERT INTO customers VALUES (7, 'qqduplicate', 'qqduplicate', 'de', NULL)",
)
MYSQL_FILE = "SELECT id FROM orders WHERE note = 'qqfile' AND total = 918273645;\nSELECT id FROM nowhere WHERE a = 'qqerror';\n"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    logged = {
        "log_destination": "jsonlog",
        "logging_collector": "on",
        "log_min_duration_statement": "0",
        "auto_explain.log_min_duration": "0",
        "auto_explain.log_format": "json",
        "auto_explain.log_analyze": "on",
        "log_file_mode": "0644",
    }
    with start_postgres(needed_programs(), OBSERVED | logged) as found:
        yield found


@asynccontextmanager
async def traffic(once: Callable[[], Any]) -> AsyncIterator[None]:
    """The statements, again and again for the time of the block."""
    stop = False

    async def repeat() -> None:
        while not stop:
            await once()
            await asyncio.sleep(0.1)

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        stop = True
        await task


async def on_postgres(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for text in STATEMENTS:
            await connection.fetch(text)
        await connection.fetch(*WITH_PARAMETERS)
        for text in REFUSED:
            with suppress(asyncpg.PostgresError):
                await connection.execute(text)
    finally:
        await connection.close()


async def on_mysql(server: MysqlServer) -> None:
    await asyncio.to_thread(_on_mysql, server)


def _on_mysql(server: MysqlServer) -> None:
    connection = pymysql.connect(host="127.0.0.1", port=server.port, user=USER, password=PASSWORD, database=DATABASE, autocommit=True)
    with connection, connection.cursor() as cursor:
        for text in MYSQL:
            with suppress(pymysql.MySQLError):
                cursor.execute(text)
                cursor.fetchall()


async def seen(client: Client, handle: Any, folder: Path, told: list[str]) -> dict[str, set[str]]:
    """Canary -> where it was found: files (unpacked), events of the history, what gates and the run's details showed, worker's log."""
    places: dict[str, bytes] = {"gates and log": "\n".join(told).encode()}
    for path in folder.rglob("*"):
        inside = path.relative_to(folder).parts
        # What stays on the host, and the input of the test itself.
        if path.is_file() and "values" not in inside and path.name != "given.sql":
            data = path.read_bytes()
            places[str(path.relative_to(folder))] = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    places["history"] = b"\n".join([event.SerializeToString() async for event in handle.fetch_history_events()])
    described = await handle.describe()
    places["description"] = described.raw_description.SerializeToString()
    return {canary: found for canary in CANARIES if (found := {name for name, data in places.items() if canary.encode() in data})}


async def run(
    client: Client, queue: str, host: str, folder: Path, entry: str, environ: dict[str, str], once: Callable[[], Any], **request: Any
) -> tuple[QueryResult, Any, list[str]]:
    name = f"masked-on-{host}"
    told: list[str] = []
    async with workers(client, queue, host, folder, entry.replace("NAME", name), environ=environ):
        async with traffic(once):
            handle = await analyse(client, queue, name, window_s=3, top=30, min_share=0.0, sql_file=str(folder / "given.sql"), **request)
            await open_gate(handle, "queries_review")
        for gate_name in ("queries_review", "findings_review"):
            gate = await open_gate(handle, gate_name)
            told += [gate.model_dump_json(), str(await handle.query("__temporal_workflow_metadata"))]
            await handle.signal("approve", {"gate": gate_name, "by": "grace"})
        result: QueryResult = await handle.result()
    return result, handle, told


@pytest.mark.parametrize("environment", ["production", "asking"])
async def test_postgresql(
    client: Client,
    task_queue: str,
    host_name: str,
    tmp_path: Path,
    server: PostgresServer,
    caplog: pytest.LogCaptureFixture,
    environment: str,
) -> None:
    """By default in production no canary is anywhere; elsewhere, where values are wanted, the same search finds them."""
    caplog.set_level(logging.INFO)
    dsn = server.dsn((await server.new_database()).rpartition("/")[2])
    connection = await asyncpg.connect(dsn)
    await connection.execute(TABLES)
    await connection.close()
    (tmp_path / "given.sql").write_text(IN_FILE)
    entry = database("NAME", host_name, environment)
    result, handle, told = await run(client, task_queue, host_name, tmp_path, entry, {DSN_VARIABLE: dsn}, lambda: on_postgres(dsn))
    found = await seen(client, handle, tmp_path, [*told, caplog.text])
    if environment == "asking":
        assert {"qqstring", "qqpattern", "qqparameter", "qqfile", "918273645", "1987-03-21"} <= set(found)
        return
    assert not found
    modes = {one.statement.text: one.outcome.mode for one in result.details.examined}
    assert sum(mode == "analyzed" for mode in modes.values()) >= 8, modes
    titles = [one.title for one in result.findings]
    assert any("orders" in title for title in titles), titles
    changes = [one.change.apply for one in result.recommendations if one.change]
    assert any("INDEX" in change and "orders" in change and "status" in change for change in changes), changes
    tried = [(one.outcome, one.reason, one.rewritten) for one in result.details.rewrites]
    assert any(outcome in ("faster", "not faster") for outcome, _, _ in tried), tried
    assert result.report.html and result.request["mask_literals"] is True


@pytest.mark.parametrize("masked", [True, False])
async def test_mysql(
    client: Client,
    task_queue: str,
    host_name: str,
    tmp_path: Path,
    mariadb: MysqlServer,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
    masked: bool,
) -> None:
    """Masked when asked for, in either quotes, with backslashes and comments; and not when not."""
    caplog.set_level(logging.INFO)
    (tmp_path / "given.sql").write_text(MYSQL_FILE)
    entry = database("NAME", host_name, "asking").replace('"postgresql"', '"mysql"')
    environ = {DSN_VARIABLE: mariadb.dsn()}
    result, handle, told = await run(
        client, task_queue, host_name, tmp_path, entry, environ, lambda: on_mysql(mariadb), mask_literals=masked
    )
    found = await seen(client, handle, tmp_path, [*told, caplog.text])
    if not masked:
        assert {"qqstring", "qqdoubled", "qqfile", "918273645"} <= set(found)
        return
    assert not found
    modes = {one.statement.text: one.outcome.mode for one in result.details.examined}
    assert sum(mode == "analyzed" for mode in modes.values()) >= 3, modes
    assert any("orders" in one.title for one in result.findings), [one.title for one in result.findings]
