"""Is a history as this release left it? Asked with the plain driver: SQLAlchemy takes a fifth of a worker's start to import."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

REVISION = "0004"
"""The newest migration: databases at this revision need none."""
_FILE_URL = "sqlite+aiosqlite:///"


def is_current(url: str, folder_of_relative: Path, busy_s: float) -> bool:
    """Whether it is an SQLite file in WAL mode, at this release's revision, that can be written; False also where that is not known."""
    name = url.removeprefix(_FILE_URL)
    if name == url or not name or set(name) & set("?#%"):
        return False
    file = (folder_of_relative / Path(name).expanduser()).absolute()
    if not (os.access(file, os.R_OK | os.W_OK) and os.access(file.parent, os.W_OK)):
        return False
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=rw", uri=True, timeout=busy_s)) as connection:
            mode = connection.execute("PRAGMA journal_mode").fetchone()
            return mode == ("wal",) and connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(REVISION,)]
    except sqlite3.Error:
        return False
