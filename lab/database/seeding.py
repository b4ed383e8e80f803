"""Fills an empty database with the shop's tables, data, indexes and statistics."""

import asyncio
from collections.abc import Iterable
from typing import Any

import asyncpg
from sqlalchemy import Connection, ForeignKeyConstraint, Table, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import AddConstraint, CreateTable

from lab.database import data, indexes
from lab.database.dsn import for_sqlalchemy, plain
from lab.database.models import Base

TABLES = tuple(table.name for table in Base.metadata.sorted_tables)
IMPORTED = "shipments"
_NEXT_ID = "SELECT setval(pg_get_serial_sequence('{0}', 'id'), (SELECT max(id) FROM {0}))"
_STATISTICS_S = 30.0


async def seed_shop(dsn: str, orders: int, seed: int) -> None:
    """Tables, rows, then indexes and foreign keys, then VACUUM (ANALYZE), as this version of the shop wants them."""
    # A connection per step: a session's counts of rows reach the statistics for certain when it ends.
    engine = create_async_engine(for_sqlalchemy(dsn), poolclass=NullPool)
    autocommitting = engine.execution_options(isolation_level="AUTOCOMMIT")
    sizes = data.Sizes(orders)
    async with engine.begin() as connection:
        await connection.run_sync(_create_tables)
        await _copy(connection, sizes, seed)
    async with engine.begin() as connection:
        for ddl in indexes.all_indexes():
            await connection.execute(text(ddl))
        await connection.run_sync(_finish_tables)
    async with autocommitting.connect() as connection:
        for table in TABLES:
            await _counted(connection, table)
            if table != IMPORTED:
                await connection.execute(text(f"VACUUM (ANALYZE) {table}"))
        await _run(connection, indexes.shipment_import().before)
    async with engine.begin() as connection:
        await _copy_rows(connection, IMPORTED, data.shipments(sizes, imported=True))
        await connection.execute(text(_NEXT_ID.format(IMPORTED)))
    async with autocommitting.connect() as connection:
        await _counted(connection, IMPORTED)
        await _run(connection, indexes.shipment_import().after)
    await engine.dispose()


async def _run(connection: AsyncConnection, ddl: Iterable[str]) -> None:
    for statement in ddl:
        await connection.execute(text(statement))


async def _counted(connection: AsyncConnection, table: str) -> None:
    """Waits until the table's statistics know of all rows: counts that come after VACUUM or ANALYZE would look like changes since."""
    rows = await connection.scalar(select(func.count()).select_from(Base.metadata.tables[table]))
    counted = text("SELECT n_tup_ins FROM pg_stat_user_tables WHERE relid = CAST(:table AS regclass)")
    async with asyncio.timeout(_STATISTICS_S):
        while await connection.scalar(counted, {"table": table}) < rows:  # noqa: ASYNC110  another process of the server counts
            await asyncio.sleep(0.01)


async def forget_statements(administrator_dsn: str) -> None:
    """Statement counters of this database begin anew, where the server has them and lets us."""
    connection = await asyncpg.connect(plain(administrator_dsn), timeout=10)
    try:
        await connection.execute("SELECT pg_stat_statements_reset(0, (SELECT oid FROM pg_database WHERE datname = current_database()), 0)")
    except (asyncpg.UndefinedFunctionError, asyncpg.ObjectNotInPrerequisiteStateError, asyncpg.InsufficientPrivilegeError):
        return
    finally:
        await connection.close()


def _create_tables(connection: Connection) -> None:
    """Without foreign keys: checking each row as it comes takes longer than all the rest."""
    for table in Base.metadata.sorted_tables:
        connection.execute(CreateTable(table, include_foreign_key_constraints=[]))


def _finish_tables(connection: Connection) -> None:
    for table in Base.metadata.sorted_tables:
        for constraint in _foreign_keys(table):
            connection.execute(AddConstraint(constraint))
        connection.execute(text(_NEXT_ID.format(table.name)))


def _foreign_keys(table: Table) -> list[ForeignKeyConstraint]:
    return sorted(table.foreign_key_constraints, key=lambda constraint: list(constraint.column_keys))


async def _copy(connection: AsyncConnection, sizes: data.Sizes, seed: int) -> None:
    await _copy_rows(connection, "customers", data.customers(sizes, seed))
    await _copy_rows(connection, "products", data.products(sizes, seed))
    for piece in data.orders(sizes, seed):
        await _copy_rows(connection, "orders", piece.orders)
        await _copy_rows(connection, "order_lines", piece.lines)
        await _copy_rows(connection, "payments", piece.payments)
    await _copy_rows(connection, IMPORTED, data.shipments(sizes, imported=False))
    await _copy_rows(connection, "reviews", data.reviews(sizes, seed))


async def _copy_rows(connection: AsyncConnection, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
    columns = [column.name for column in Base.metadata.tables[table].columns]
    driver = (await connection.get_raw_connection()).driver_connection
    assert isinstance(driver, asyncpg.Connection)
    await driver.copy_records_to_table(table, records=rows, columns=columns)
