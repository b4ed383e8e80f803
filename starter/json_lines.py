"""The one JSON line with which the worker and the lab say that they are ready."""

import json
from typing import Any


def ready_line(line: str) -> dict[str, Any] | None:
    """What the line tells, if it is one: a JSON object with `"ready": true`."""
    if not line.startswith("{"):
        return None
    try:
        told = json.loads(line)
    except json.JSONDecodeError:
        return None
    return told if isinstance(told, dict) and told.get("ready") is True else None


def say_ready(**facts: Any) -> None:
    print(json.dumps({"ready": True, **facts}), flush=True)
