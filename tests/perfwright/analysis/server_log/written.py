"""Log lines as a server writes them, in each of the three formats, from the same facts."""

import csv
import io
import json
from dataclasses import dataclass

from perfwright.analysis.server_log.entries import LogFormat
from perfwright.analysis.server_log.reader import LogReader
from perfwright.models.statement import LogDigest, LoggedStatement


@dataclass(frozen=True)
class Line:
    """One entry. `at` is the time of the day."""

    message: str
    at: str = "10:00:00.000"
    detail: str = ""
    statement: str = ""
    context: str = ""
    severity: str = "LOG"
    database: str = "shop"
    session: str = "6b074b5a.7d19"
    application: str = "web"


def jsonlog(*lines: Line) -> bytes:
    return b"".join(_json(line) for line in lines)


def _json(line: Line) -> bytes:
    told = {
        "timestamp": f"2024-05-17 {line.at} UTC",
        "user": "app",
        "dbname": line.database,
        "pid": 32025,
        "session_id": line.session,
        "line_num": 1,
        "error_severity": line.severity,
        "message": line.message,
        "detail": line.detail,
        "context": line.context,
        "statement": line.statement,
        "application_name": line.application,
        "backend_type": "client backend",
        "query_id": 0,
    }
    return (
        json.dumps({name: value for name, value in told.items() if value != ""}, separators=(",", ":"), ensure_ascii=False) + "\n"
    ).encode()


def csvlog(*lines: Line, columns: int = 26) -> bytes:
    """Of version 14 and later; 24 columns are those of version 13."""
    text = io.StringIO()
    for line in lines:
        row = [""] * columns
        row[0], row[8] = f"2024-05-17 {line.at} UTC", "2024-05-17 09:00:00 UTC"
        row[3], row[5], row[6], row[9], row[10], row[11], row[12] = "32025", line.session, "1", "3/0", "0", line.severity, "00000"
        quoted = {1: "app", 2: line.database, 7: "SELECT", 13: line.message, 14: line.detail, 18: line.context, 19: line.statement}
        quoted |= {22: line.application, 23: "client backend"}
        for at, value in quoted.items():
            row[at] = '"' + value.replace('"', '""') + '"' if value else ""
        text.write(",".join(row) + "\n")
    assert all(len(row) == columns for row in csv.reader(io.StringIO(text.getvalue())))
    return text.getvalue().encode()


def stderr(*lines: Line, prefix: str = "{at} UTC [{pid}] app@{database} ") -> bytes:
    text = []
    for line in lines:
        pid = int(line.session.rpartition(".")[2], 16)
        told = prefix.format(
            at=f"2024-05-17 {line.at}", pid=pid, database=line.database, session=line.session, application=line.application
        )
        parts = {line.severity: line.message, "DETAIL": line.detail, "CONTEXT": line.context, "STATEMENT": line.statement}
        text += [f"{told}{word}:  {value}".replace("\n", "\n\t") + "\n" for word, value in parts.items() if value]
    return "".join(text).encode()


WRITERS = {"jsonlog": jsonlog, "csvlog": csvlog, "stderr": stderr}


def read(data: bytes, log_format: LogFormat = "jsonlog", *, database: str = "shop", own_application: str = "perfwright") -> LogDigest:
    """The digest of one file, fed at once."""
    reader = LogReader(database, own_application)
    reader.begin_file("log", log_format)
    reader.feed("log", data)
    reader.end_file("log")
    return reader.digest()


def read_lines(*lines: Line, **options: str) -> LogDigest:
    return read(jsonlog(*lines), **options)


def statement(digest: LogDigest, begin: str) -> LoggedStatement:
    """The one whose text begins so."""
    [found] = [one for one in digest.statements if one.text.lower().startswith(begin.lower())]
    return found


def calls(digest: LogDigest) -> dict[str, int]:
    return {one.text: one.calls for one in digest.statements}


def plan_message(text: str, duration_ms: float = 2.0, *, node: str = "Seq Scan", parameters: str = "") -> str:
    """Of auto_explain, in JSON."""
    document = (
        {"Query Text": text} | ({"Query Parameters": parameters} if parameters else {}) | {"Plan": {"Node Type": node, "Total Cost": 4.0}}
    )
    return f"duration: {duration_ms:.3f} ms  plan:\n{json.dumps(document, indent=2, ensure_ascii=False)}"
