"""Databases and statements that index advice is measured on: TPC-H, TPC-DS and a small shop of accounts (pgbench's schema)."""

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from subprocess import run
from typing import Any

import asyncpg
import duckdb

from benchmarks.query_tpch import PRIMARY_KEYS, load
from tests.postgres import PASSWORD, USER, PostgresServer, system_user

SCALE = 0.1
SLOWEST = (17, 20)
QUICK_MS = 1_000.0
TPC_DS_QUERIES = 30
BRANCHES = 5
ALL = ("index_advisor's method", "dexter's method", "Extend, narrow")
BY_HAND = ("a column each", "Extend, narrow")
TPC_DS_KEYS = {
    "call_center": "cc_call_center_sk",
    "catalog_page": "cp_catalog_page_sk",
    "catalog_returns": "cr_item_sk, cr_order_number",
    "catalog_sales": "cs_item_sk, cs_order_number",
    "customer": "c_customer_sk",
    "customer_address": "ca_address_sk",
    "customer_demographics": "cd_demo_sk",
    "date_dim": "d_date_sk",
    "household_demographics": "hd_demo_sk",
    "income_band": "ib_income_band_sk",
    "inventory": "inv_date_sk, inv_item_sk, inv_warehouse_sk",
    "item": "i_item_sk",
    "promotion": "p_promo_sk",
    "reason": "r_reason_sk",
    "ship_mode": "sm_ship_mode_sk",
    "store": "s_store_sk",
    "store_returns": "sr_item_sk, sr_ticket_number",
    "store_sales": "ss_item_sk, ss_ticket_number",
    "time_dim": "t_time_sk",
    "warehouse": "w_warehouse_sk",
    "web_page": "wp_web_page_sk",
    "web_returns": "wr_item_sk, wr_order_number",
    "web_sales": "ws_item_sk, ws_order_number",
    "web_site": "web_site_sk",
}


@dataclass(frozen=True)
class Statements:
    """A database on the server, and what is asked of it."""

    database: str
    texts: tuple[str, ...]
    names: tuple[str, ...]
    weights: tuple[float, ...]
    peers: tuple[str, ...]
    """Whom to compare with."""
    slow: tuple[int, ...] = ()
    """Places of queries that take half a minute without an index: measured apart."""
    writes: tuple[str, ...] = ()
    """Names of those of `texts` that write: measured by what they put into the WAL."""


async def tpc_h(server: PostgresServer) -> Statements:
    source = duckdb.connect()
    source.execute("LOAD tpch")
    source.execute(f"CALL dbgen(sf={SCALE})")
    await load(server, source, "tpch", PRIMARY_KEYS)
    queries = sorted(source.execute("SELECT query_nr, query FROM tpch_queries()").fetchall())
    slow = tuple(place for place, (number, _) in enumerate(queries) if number in SLOWEST)
    return Statements(
        "tpch", tuple(text for _, text in queries), tuple(f"Q{number}" for number, _ in queries), (1.0,) * len(queries), ALL, slow
    )


async def tpc_ds(server: PostgresServer) -> Statements:
    """The first thirty queries that end within a second without an index."""
    source = duckdb.connect()
    source.execute("LOAD tpcds")
    source.execute(f"CALL dsdgen(sf={SCALE})")
    await load(server, source, "tpcds", TPC_DS_KEYS)
    connection = await server.connect("tpcds")
    quick: list[tuple[int, str]] = []
    try:
        await connection.execute(f"SET statement_timeout = {QUICK_MS:.0f}")
        for number, text in sorted(source.execute("SELECT query_nr, query FROM tpcds_queries()").fetchall()):
            if len(quick) == TPC_DS_QUERIES:
                break
            try:
                await connection.fetch(text)
                quick.append((number, text))
            except Exception as refused:
                if not hasattr(refused, "sqlstate"):
                    raise
    finally:
        await connection.close()
    return Statements("tpcds", tuple(text for _, text in quick), tuple(f"Q{number}" for number, _ in quick), (1.0,) * len(quick), BY_HAND)


OLTP = {
    # name: (text, calls)
    "account": ("SELECT abalance FROM pgbench_accounts WHERE aid = 4711", 10),
    "history of an account": ("SELECT delta, mtime FROM pgbench_history WHERE aid = 4711 ORDER BY mtime DESC LIMIT 10", 4),
    "sum of a teller": ("SELECT sum(delta) FROM pgbench_history WHERE tid = 7 AND mtime > timestamp '2026-01-01 12:00'", 2),
    "day of a branch": (
        "SELECT h.tid, count(*), sum(h.delta) FROM pgbench_history h JOIN pgbench_tellers t USING (tid)"
        " WHERE h.bid = 3 AND h.mtime BETWEEN timestamp '2026-01-01 03:00' AND timestamp '2026-01-01 03:30' GROUP BY h.tid",
        1,
    ),
    "accounts in debt": (
        "SELECT a.bid, count(*) FROM pgbench_accounts a JOIN pgbench_branches b USING (bid) WHERE a.abalance < -4990 GROUP BY 1",
        1,
    ),
    "update account": ("UPDATE pgbench_accounts SET abalance = abalance + 10 WHERE aid = 4711", 10),
    "update teller": ("UPDATE pgbench_tellers SET tbalance = tbalance + 10 WHERE tid = 7", 10),
    "update branch": ("UPDATE pgbench_branches SET bbalance = bbalance + 10 WHERE bid = 3", 10),
    "insert history": (
        "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (7, 3, 4711, 10, timestamp '2026-01-02')",
        10,
    ),
}
_HISTORY = """
    INSERT INTO pgbench_history (tid, bid, aid, delta, mtime)
    SELECT 1 + n * 7919 % (10 * $1), 1 + (n * 7919 % (10 * $1)) / 10, 1 + n * 104729 % (100000 * $1), n % 10000 - 5000,
           timestamp '2026-01-01' + n * interval '0.2 s'
      FROM generate_series(1::bigint, 200000) AS n
"""


async def oltp(server: PostgresServer) -> Statements:
    """pgbench's tables with foreign keys, and 200,000 rows of history; ten times as many writes as questions about the past. A statement
    weighs as pg_stat_statements would rank it: calls times time of a call."""
    administrator = await server.connect()
    await administrator.execute("CREATE DATABASE accounts")
    await administrator.close()
    command = [server.programs / "pgbench", "-i", "-q", "--foreign-keys", "-s", str(BRANCHES), "-h", "127.0.0.1", "-p", str(server.port)]
    environment = {"PGPASSWORD": PASSWORD, "PGUSER": USER, "PATH": "/usr/bin:/bin"}
    options: dict[str, Any] = {"env": environment, "user": system_user(), "cwd": "/", "check": True, "capture_output": True, "timeout": 120}
    await asyncio.to_thread(partial(run, [*map(str, command), "accounts"], **options))
    connection = await server.connect("accounts")
    try:
        await connection.execute(_HISTORY.replace("$1", str(BRANCHES)))
        await connection.execute("UPDATE pgbench_accounts SET abalance = aid::bigint * 7919 % 10000 - 5000")
        if await connection.fetchval("SELECT count(*) FROM pg_available_extensions WHERE name = 'hypopg'"):
            await connection.execute("CREATE EXTENSION hypopg")
        await connection.execute("VACUUM FULL")
        await connection.execute("VACUUM ANALYZE")
        weights = [calls * await _quickest_ms(connection, text) for text, calls in OLTP.values()]
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()
    return Statements(
        "accounts",
        tuple(text for text, _ in OLTP.values()),
        tuple(OLTP),
        tuple(weights),
        BY_HAND,
        writes=tuple(name for name, (text, _) in OLTP.items() if not text.startswith("SELECT")),
    )


async def _quickest_ms(connection: asyncpg.Connection, text: str) -> float:
    """Of three runs, all rolled back."""
    runs = []
    for _ in range(3):
        transaction = connection.transaction()
        await transaction.start()
        began = time.perf_counter()
        await connection.fetch(text)
        runs.append((time.perf_counter() - began) * 1e3)
        await transaction.rollback()
    return min(runs)
