"""Brings the history database to the schema of this release, at the start of a worker that finds another one.

All pending migrations run in one transaction that holds a lock (SQLite's write lock, an advisory lock of PostgreSQL): of workers that start
together one migrates, the others find it done; a killed one leaves nothing half done.
"""

import asyncio
import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, text

from activities.history_engine import WRITES, open_engine

MIGRATIONS = Path(__file__).parent / "migrations"
ADVISORY_LOCK = 0x70657266
"""Key of the advisory lock that migrations hold: `perf` in ASCII."""

_ALEMBIC_IS_GLOBAL = threading.Lock()
"""Alembic's `op` and `context` are one per process: two stores of one process migrate one after the other."""


class SchemaTooNew(Exception):
    """The database was migrated by a later release; `found` is its revision."""

    def __init__(self, found: str) -> None:
        super().__init__(found)
        self.found = found


async def migrate(url: URL, *, busy_s: float) -> None:
    """Bring the database at `url` to the newest revision; raises SchemaTooNew, and what the driver raises.

    In a thread with a loop of its own, because Alembic reads files and holds a global lock while it waits for the database.
    """
    await asyncio.to_thread(_migrate, url, busy_s)


def scripts() -> ScriptDirectory:
    """All revisions of this release."""
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _migrate(url: URL, busy_s: float) -> None:
    with _ALEMBIC_IS_GLOBAL:
        asyncio.run(_migrate_alone(url, busy_s))


async def _migrate_alone(url: URL, busy_s: float) -> None:
    engine = open_engine(url, busy_s=busy_s, pooled=False)
    try:
        async with engine.execution_options(**WRITES).begin() as connection:
            if url.get_backend_name() == "postgresql":
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> None:
    found = MigrationContext.configure(connection).get_current_revision()
    directory = scripts()
    if found == directory.get_current_head():
        return
    if found is not None and found not in {script.revision for script in directory.walk_revisions()}:
        raise SchemaTooNew(found)
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
