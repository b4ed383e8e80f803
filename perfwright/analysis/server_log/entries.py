"""One entry of a PostgreSQL server log, whatever format it was written in, and how formats are told apart."""

import re
from typing import Literal, get_args

import msgspec

LogFormat = Literal["jsonlog", "csvlog", "stderr"]
LOG_FORMATS: tuple[LogFormat, ...] = get_args(LogFormat)

LINE_LIMIT_BYTES = 8 << 20
"""A longer line (or record) is counted as broken and not read: a statement may have 1 GB, and memory is bounded."""

SEVERITIES = "DEBUG[1-5]?|INFO|NOTICE|WARNING|ERROR|LOG|FATAL|PANIC"
ATTACHED = "DETAIL|HINT|QUERY|CONTEXT|STATEMENT|LOCATION|BACKTRACE"
"""Parts of a stderr entry that stand on lines of their own, below it."""
TIMESTAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"

_CSV_QUOTED = rb'(?:"(?:[^"\n]|"")*")?'
CSV_START = re.compile(TIMESTAMP.encode() + rb"\.\d{3} [^,\n]{1,40}," + _CSV_QUOTED + rb"," + _CSV_QUOTED + rb",\d+,")
"""How a csvlog record begins: time, user, database, process. Within a field quotes are doubled, so that a copy of one does not fit."""
_JSON_START = re.compile(rb'\{\s*"timestamp"\s*:')
_STDERR_START = re.compile(rf"[^\n]{{0,400}}?\b(?:{SEVERITIES}|{ATTACHED}):  ".encode())


class Entry(msgspec.Struct, gc=False):
    """The fields that are read; names as jsonlog has them (PostgreSQL documentation, 20.8.5 Using JSON-Format Log Output)."""

    timestamp: str = ""
    dbname: str = ""
    session_id: str = ""
    error_severity: str = ""
    message: str = ""
    detail: str = ""
    context: str = ""
    statement: str = ""
    application_name: str = ""


def format_of(head: bytes) -> LogFormat | None:
    """The format of a log that begins with (or is continued by) these bytes; None when it is no log of PostgreSQL.

    Lines before the first one that tells it may be the rest of a record: up to the whole of `head` is looked at.
    """
    for line in head.split(b"\n"):
        if _JSON_START.match(line):
            return "jsonlog"
        if CSV_START.match(line):
            return "csvlog"
        if _STDERR_START.match(line):
            return "stderr"
    return None
