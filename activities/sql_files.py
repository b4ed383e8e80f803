"""SQL that a person keeps in a file on the target's host."""

import asyncio
import json
import stat
from pathlib import Path

from temporalio import activity

from activities.errors import refuse
from perfwright.models.errors import ErrorType
from perfwright.models.query_steps import ReadSqlFile

LARGEST_FILE_BYTES = 120_000
"""What is read crosses the workflow's history, the next step beside the input: both are under its 256 KiB, as JSON."""
LARGEST_MASKED_BYTES = 240_000
"""Of the input's statements and the file's together, where literals are masked."""
MOST_STATEMENTS = 500


class SqlFiles:
    """Reads statements from files. `state_folder` keeps values where literals are masked."""

    def __init__(self, state_folder: Path) -> None:
        self._state_folder = state_folder

    @activity.defn
    async def read_sql_file(self, request: ReadSqlFile) -> tuple[str, ...]:
        """The statements, in the order of the file. Refused, naming the field, where it is no readable text with statements.

        Where literals are masked they are kept on this host, and handed on without their values.
        """
        statements = await asyncio.to_thread(_statements, Path(request.path)) if request.path else ()
        if not request.kept_in:
            return statements
        return await asyncio.to_thread(self._masked, (*_split(request.statements), *statements), request)

    def _masked(self, statements: tuple[str, ...], request: ReadSqlFile) -> tuple[str, ...]:
        from activities.kept_values import KeptValues
        from perfwright.analysis.masking.documents import given_samples
        from perfwright.analysis.masking.statement_texts import shown_statement

        KeptValues(self._state_folder).keep(request.kept_in, given_samples(statements, request.kept_in))
        shown = tuple(shown_statement(text, request.system) for text in statements)
        if (size := _json_bytes(shown)) > LARGEST_MASKED_BYTES:
            raise refuse(
                ErrorType.INVALID_INPUT,
                f"the given statements have {size:,} bytes without their values; at most {LARGEST_MASKED_BYTES:,} are taken",
                way_out="Give fewer, in several runs",
            )
        return shown


def _json_bytes(texts: tuple[str, ...]) -> int:
    return len(json.dumps(texts, ensure_ascii=False).encode())


def _split(texts: tuple[str, ...]) -> tuple[str, ...]:
    """One statement each."""
    from perfwright.analysis.statements.splitting import split_statements

    return tuple(one for text in texts for one in split_statements(text))


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
    if (size := _json_bytes(statements)) > LARGEST_FILE_BYTES:
        raise _refused(path, f"has {size:,} bytes as JSON; at most {LARGEST_FILE_BYTES:,} are read")
    if len(statements) == MOST_STATEMENTS and text.count(";") > MOST_STATEMENTS:
        raise _refused(path, f"has more than {MOST_STATEMENTS} statements; so many are examined at most")
    return statements


def _refused(path: Path, what: str) -> Exception:
    return refuse(ErrorType.INVALID_INPUT, f"sql_file: {path} on this host {what}", way_out="Give a file of statements that end with ;")
