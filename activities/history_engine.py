"""Connections to the history database, and its troubles in our words."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, NullPool, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from activities.errors import refuse
from perfwright.models.errors import ErrorType
from perfwright.models.registry_checks import HISTORY_SCHEMES
from perfwright.models.secrets import without_secrets

CONNECT_S = 5.0
STATEMENT_S = 30.0
WRITES = {"perfwright_writes": True}
"""Execution option of connections that will write: SQLite's write lock is then taken at once, and not in the middle of a transaction."""


def history_url(text: str, folder_of_relative: Path) -> URL:
    """The URL with a relative SQLite file made absolute, and the file's folder made; raises InvalidInput."""
    try:
        url = make_url(text)
    except ArgumentError:
        url = None
    if (
        url is None
        or url.drivername not in HISTORY_SCHEMES
        or (url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"))
    ):
        raise refuse(
            ErrorType.INVALID_INPUT,
            f"{without_secrets(text)} is no history store",
            way_out="store.history is sqlite+aiosqlite:///FILE or postgresql+asyncpg://USER@HOST/DATABASE",
        )
    if url.get_backend_name() == "sqlite":
        assert url.database
        file = (folder_of_relative / Path(url.database).expanduser()).absolute()
        with told(url, "open"):
            file.parent.mkdir(parents=True, exist_ok=True)
        url = url.set(database=str(file))
    return url


def open_engine(url: URL, *, busy_s: float, pooled: bool = True) -> AsyncEngine:
    """An engine whose waits are all bounded: `busy_s` for another writer of an SQLite file, seconds for a server."""
    # Parameters are hidden, because requests and comments have no place in error messages.
    options: dict[str, Any] = {"hide_parameters": True}
    if url.get_backend_name() != "sqlite":
        options["connect_args"] = {"timeout": CONNECT_S, "command_timeout": STATEMENT_S}
        options |= (
            {"pool_size": 5, "max_overflow": 5, "pool_timeout": STATEMENT_S, "pool_pre_ping": True} if pooled else {"poolclass": NullPool}
        )
        return create_async_engine(url, **options)
    # Without an isolation level the driver begins no transactions behind our back.
    options["connect_args"] = {"timeout": busy_s, "isolation_level": None}
    options |= {"pool_size": 3, "max_overflow": 0, "pool_timeout": STATEMENT_S} if pooled else {"poolclass": NullPool}
    engine = create_async_engine(url, **options)
    event.listen(engine.sync_engine, "connect", _enforce_foreign_keys)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def write_ahead(file: str, busy_s: float) -> None:
    """Open or make an SQLite file, and set the mode in which readers and the one writer do not block each other; it stays with the file.

    By the plain driver, in a thread: a file that cannot be opened is told here, where no connection thread is left behind.
    """
    deadline = time.monotonic() + busy_s
    with closing(sqlite3.connect(file, timeout=busy_s, isolation_level=None)) as connection:
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as trouble:
                # SQLite does not wait here by itself when another connection changes the mode at the same time.
                if "locked" not in str(trouble) or time.monotonic() > deadline:
                    raise
            time.sleep(0.02)


async def found_revision(engine: AsyncEngine) -> str | None:
    """The revision of the schema in the database; None where there is none yet."""
    async with engine.connect() as connection:
        if not await connection.run_sync(lambda sync: inspect(sync).has_table("alembic_version")):
            return None
        return (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar()


def _enforce_foreign_keys(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("perfwright_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def told(url: URL, attempt: str) -> Iterator[None]:
    """What the driver raises, as one of our errors; no password and no stored value is in it."""
    try:
        yield
    except (IntegrityError, DataError) as mistake:
        raise refuse(ErrorType.INVALID_INPUT, f"cannot {attempt} the history: {_cause(mistake)}") from None
    except (SQLAlchemyError, sqlite3.Error, OSError) as trouble:
        cause = _cause(trouble)
        shown = without_secrets(url.render_as_string(hide_password=True))
        raise refuse(ErrorType.STORE_UNAVAILABLE, f"cannot {attempt} the history {shown}: {cause}", way_out=_way_out(url, cause)) from None


def _cause(trouble: BaseException) -> str:
    if isinstance(trouble, DBAPIError) and trouble.orig is not None:
        trouble = trouble.orig.__cause__ or trouble.orig
    lines = str(trouble).strip().splitlines()
    return without_secrets(lines[0] if lines else type(trouble).__name__)[:300]


def _way_out(url: URL, cause: str) -> str:
    if "full" in cause or "No space" in cause:
        return "The disk is full: make room there"
    if "readonly" in cause or "Read-only" in cause or "ermission denied" in cause:
        return "The worker may not write there: grant it, or name another store in store.history"
    if "locked" in cause:
        return "Another program holds the file for long: end it, or use PostgreSQL where many workers write"
    if "not a database" in cause or "malformed" in cause:
        return "The file is no SQLite database: move it away, or name another one in store.history"
    if url.get_backend_name() == "sqlite":
        return "Check store.history, and that its folder can be written"
    return "Check store.history, that the server runs and takes connections from here, and the user's password"
