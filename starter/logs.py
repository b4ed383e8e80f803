"""Structured logs on stderr: JSON for machines, one readable line on a terminal; both say which run, target and step."""

import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

import temporalio.activity
import temporalio.workflow
from pythonjsonlogger.json import JsonFormatter

from starter.settings import LOG_FORMAT, LOG_LEVEL
from workflows.plugin.run_fields import RunFields

HIDDEN = ["temporal_workflow", "temporal_activity", "temporal_log", "taskName"]
"""What the SDK attaches whole; the fields worth reading stand on their own (`workflows/plugin/run_fields.py`)."""


class Compact(JsonFormatter):
    """JSON without the fields that say nothing: outside of a run there is no target."""

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        return {field: value for field, value in super().process_log_record(log_data).items() if value not in ("", None)}


class ReadableFormatter(logging.Formatter):
    """`12:30:01 INFO    message  [workflow-id step]` for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:
        where = " ".join(str(value) for field in ("workflow_id", "step") if (value := getattr(record, field, None)))
        text = super().formatMessage(record)
        return f"{text}  [{where}]" if where else text


def set_up_logs(environ: Mapping[str, str] | None = None) -> None:
    """Send everything to stderr in the format of the place. Raises `ValueError` for an unknown level or format."""
    environ = os.environ if environ is None else environ
    level, chosen = environ.get(LOG_LEVEL, "INFO").upper(), environ.get(LOG_FORMAT, "text" if sys.stderr.isatty() else "json")
    if level not in logging.getLevelNamesMapping():
        raise ValueError(f"{LOG_LEVEL}={level} is not a level; use DEBUG, INFO, WARNING or ERROR")
    if chosen not in {"json", "text"}:
        raise ValueError(f"{LOG_FORMAT}={chosen} is not a format; use json or text")

    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RunFields())
    if chosen == "text":
        handler.setFormatter(ReadableFormatter())
    else:
        handler.setFormatter(
            Compact(
                "%(asctime)s %(levelname)s %(name)s %(message)s",
                rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
                datefmt="%Y-%m-%dT%H:%M:%S%z",
                reserved_attrs=[*_STANDARD_ATTRIBUTES, *HIDDEN],
            )
        )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("temporalio.worker", "aiosqlite", "sqlalchemy", "alembic", "asyncio", "httpx", "apprise"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))
    temporalio.workflow.logger.workflow_info_on_message = False  # it stands in fields of its own
    temporalio.activity.logger.activity_info_on_message = False


_STANDARD_ATTRIBUTES = [*logging.makeLogRecord({}).__dict__, "message", "asctime"]
