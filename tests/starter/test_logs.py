"""Logs that a machine can search and a person can read."""

import json
import subprocess
import sys

import pytest

from starter.logs import set_up_logs

WRITE = """
import logging, os
from starter.logs import set_up_logs
set_up_logs({environ!r})
logging.getLogger("perfwright.test").info("recorded %d stacks", 3, extra={extra!r})
logging.getLogger("perfwright.test").debug("never")
"""


def written(environ: dict[str, str], extra: dict[str, str]) -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", WRITE.format(environ=environ, extra=extra)], capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout == ""
    return ran.stderr.splitlines()


def test_json_where_nobody_looks() -> None:
    """Not on a terminal: one JSON object per line with run, target and step, and no field that says nothing."""
    lines = written({}, {"workflow_id": "cpu-profiling-investigation/shop", "target": "shop", "step": "record_stacks"})
    assert len(lines) == 1
    told = json.loads(lines[0])
    assert told.pop("time").startswith("20")
    assert told == {
        "level": "INFO",
        "logger": "perfwright.test",
        "message": "recorded 3 stacks",
        "workflow_id": "cpu-profiling-investigation/shop",
        "target": "shop",
        "step": "record_stacks",
    }


def test_text_for_people() -> None:
    """Readable lines name the run and the step at their end."""
    lines = written({"PERFWRIGHT_LOG_FORMAT": "text"}, {"workflow_id": "cpu/shop", "step": "record_stacks"})
    assert len(lines) == 1 and lines[0].endswith("INFO    recorded 3 stacks  [cpu/shop record_stacks]")


@pytest.mark.parametrize(
    ("environ", "allowed"), [({"PERFWRIGHT_LOG_LEVEL": "LOUD"}, "DEBUG, INFO"), ({"PERFWRIGHT_LOG_FORMAT": "xml"}, "json or text")]
)
def test_a_setting_that_is_wrong_is_told(environ: dict[str, str], allowed: str) -> None:
    """An unknown level or format names the variable and what is allowed."""
    with pytest.raises(ValueError, match=next(iter(environ))) as refused:
        set_up_logs(environ)
    assert allowed in str(refused.value)
