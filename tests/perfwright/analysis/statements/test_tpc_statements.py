"""TPC-H and TPC-DS, normalized as servers normalize them, can be explained without their values: on real servers, with empty tables.

Seen without rewriting: 6 of 22 and 46 of 99 texts are refused by PostgreSQL 15, 6 and 44 by PostgreSQL 18.
"""

import re
from contextlib import suppress

import asyncpg
import pytest

from perfwright.analysis.statements.generic_text import generic_text
from perfwright.analysis.statements.grouping import group_statements
from perfwright.analysis.statements.parsing import parse_statement
from perfwright.models.database import Catalog, ColumnFacts, DatabaseFacts, TableFacts
from perfwright.models.statement import ObservedWindow, ServerCounters
from tests.databases import observed_postgres, postgres18, server
from tests.postgres import PostgresServer

__all__ = ["observed_postgres", "postgres18", "server"]

Suite = tuple[Catalog, list[str], list[str]]


def suite(make: str, queries: str) -> Suite:
    """Catalog, DDL and queries of a benchmark, from DuckDB's extensions that are linked in."""
    duckdb = pytest.importorskip("duckdb")
    database = duckdb.connect()
    database.sql(f"CALL {make}(sf=0)")
    columns: dict[str, list[ColumnFacts]] = {}
    described = "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'main' ORDER BY table_name, ordinal_position"
    for table, column, kind in database.sql(described).fetchall():
        columns.setdefault(table, []).append(ColumnFacts(name=column, type=kind.lower()))
    ddl = [f"CREATE TABLE {table} ({', '.join(f'{one.name} {one.type}' for one in found)})" for table, found in columns.items()]
    tables = tuple(TableFacts(schema_name="public", name=table, columns=tuple(found)) for table, found in columns.items())
    texts = [text.strip().rstrip(";") for _, text in database.sql(f"FROM {queries}()").fetchall()]
    return Catalog(database="tpc", tables=tables), ddl, texts


@pytest.fixture(scope="module")
def tpch() -> Suite:
    return suite("dbgen", "tpch_queries")


@pytest.fixture(scope="module")
def tpcds() -> Suite:
    return suite("dsdgen", "tpcds_queries")


async def refusal(connection: asyncpg.Connection, text: str) -> str:
    """Why the server has no generic plan of the text; empty: it has one, with `$n` in it."""
    highest = max((int(number) for number in re.findall(r"\$(\d+)", text)), default=0)
    values = f"({', '.join(['NULL'] * highest)})" if highest else ""
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            await connection.execute(f"PREPARE looked_at AS {text}")
            plan = await connection.fetch(f"EXPLAIN (COSTS OFF, VERBOSE) EXECUTE looked_at{values}")
    except asyncpg.PostgresError as trouble:
        return str(trouble)
    finally:
        with suppress(asyncpg.PostgresError):
            await connection.execute("DEALLOCATE looked_at")
    return "" if not highest or any("$" in row[0] for row in plan) else "a plan without placeholders"


async def test_every_normalized_text_has_a_generic_plan(server: PostgresServer, tpch: Suite, tpcds: Suite) -> None:
    """All 22 and all 99 statements, normalized by the parser, are explained; without the catalog one of them is not."""
    for (catalog, ddl, texts), refused_without in ((tpch, 0), (tpcds, 1)):
        connection = await server.connect((await server.new_database()).rpartition("/")[2])
        try:
            await connection.execute("; ".join(ddl))
            version = connection.get_server_version().major * 10_000
            normalized = [parse_statement(text).text for text in texts]
            refused = {
                text: why for text in normalized if (why := await refusal(connection, generic_text(text, catalog, version_number=version)))
            }
            assert refused == {}
            assert (
                sum([bool(await refusal(connection, generic_text(text, version_number=version))) for text in normalized]) == refused_without
            )
        finally:
            await connection.close()


async def test_what_pg_stat_statements_keeps_has_a_generic_plan(server: PostgresServer, tpch: Suite) -> None:
    """All 22 statements of TPC-H are grouped from the server's own counters, only read, and are explained without any sample."""
    catalog, ddl, texts = tpch
    database = (await server.new_database()).rpartition("/")[2]
    connection = await server.connect(database)
    try:
        await connection.execute("CREATE EXTENSION pg_stat_statements")
        await connection.execute("; ".join(ddl))
        for text in texts:
            await connection.fetch(text)
        rows = await connection.fetch(
            "SELECT queryid, calls, total_exec_time, query FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = current_database()"
        )
        counters = tuple(
            ServerCounters(
                query_id=str(row["queryid"]), database=database, text=row["query"], calls=row["calls"], total_ms=row["total_exec_time"]
            )
            for row in rows
        )
        window = ObservedWindow(seconds=1.0, started_at="", source="pg_stat_statements", statements=counters)
        version = connection.get_server_version().major
        facts = DatabaseFacts(system="postgresql", version=str(version), version_number=version * 10_000, database=database)
        table = group_statements(window, None, (), catalog, database=facts)
        assert table.unreadable == ()
        by_fingerprint = {one.fingerprint: one for one in table.statements}
        for text in texts:
            statement = by_fingerprint[parse_statement(text).fingerprint]
            assert (statement.safety, statement.not_explainable, statement.samples) == ("reads only", "", ())
            rewritten = generic_text(statement.text, catalog, version_number=facts.version_number)
            assert await refusal(connection, rewritten) == "", rewritten
        assert all(one.not_explainable for one in table.statements if one.kind == "utility")
    finally:
        await connection.close()
