"""SQL that a person keeps in a file on the target's host."""

import asyncio
import stat
from pathlib import Path

from temporalio import activity

from activities.errors import refuse
from perfwright.models.errors import ErrorType
from perfwright.models.query_steps import ReadSqlFile

LARGEST_FILE_BYTES = 180_000
"""What is read crosses the workflow's history: under its 256 KiB, with room for JSON's escapes."""
MOST_STATEMENTS = 500


class SqlFiles:
    """Reads statements from files."""

    @activity.defn
    async def read_sql_file(self, request: ReadSqlFile) -> tuple[str, ...]:
        """The statements, in the order of the file. Refused, naming the field, where it is no readable text with statements."""
        return await asyncio.to_thread(_statements, Path(request.path))


def _statements(path: Path) -> tuple[str, ...]:
    from perfwright.analysis.statements.splitting import split_statements  # here: it brings the parser, and workers start without

    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise _refused(path, "is not a regular file")
        if found.st_size > LARGEST_FILE_BYTES:
            raise _refused(path, f"has {found.st_size:,} bytes; at most {LARGEST_FILE_BYTES:,} are read")
        text = path.read_text(encoding="utf-8")
    except OSError as trouble:
        raise _refused(path, f"cannot be read: {trouble.strerror}") from trouble
    except UnicodeDecodeError as trouble:
        raise _refused(path, f"is not UTF-8 text: byte {trouble.start}") from trouble
    statements = tuple(split_statements(text))
    if not statements:
        raise _refused(path, "has no statement in it")
    if len(statements) == MOST_STATEMENTS and text.count(";") > MOST_STATEMENTS:
        raise _refused(path, f"has more than {MOST_STATEMENTS} statements; so many are examined at most")
    return statements


def _refused(path: Path, what: str) -> Exception:
    return refuse(ErrorType.INVALID_INPUT, f"sql_file: {path} on this host {what}", way_out="Give a file of statements that end with ;")
