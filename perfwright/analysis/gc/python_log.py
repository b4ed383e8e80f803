"""What the agent in a CPython program wrote down (`activities/gc_agent/sitecustomize.py`), as pauses."""

import json
from dataclasses import dataclass

from perfwright.models.gc_tuning import Pause, PauseCause

OLDEST = 2


@dataclass(frozen=True)
class PythonLog:
    """One process."""

    pauses: tuple[Pause, ...]
    thresholds: tuple[int, int, int] | None
    dropped: int
    """Collections that did not fit into the file."""
    version: str = ""


def read_python_log(text: str) -> PythonLog:
    """Lines `[monotonic s, generation, ms, collected, uncollectable]` below a header; what is no such line is left out."""
    pauses: list[Pause] = []
    thresholds, dropped, version = None, 0, ""
    for line in text.rstrip("\0").split("\n"):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and isinstance(value.get("thresholds"), list) and len(value["thresholds"]) == 3:
            first, second, third = value["thresholds"]
            thresholds, dropped = (int(first), int(second), int(third)), int(value.get("dropped", 0))
            version = str(value.get("version", ""))
        elif isinstance(value, list) and len(value) == 5:
            pauses.append(python_pause(value))
    return PythonLog(tuple(pauses), thresholds, dropped, version)


def python_pause(event: list[float]) -> Pause:
    """One collection. Generations 0 and 1 are `young`."""
    at_s, generation, ms, collected, uncollectable = event
    cause: PauseCause = "full generation" if generation >= OLDEST else "young"
    return Pause(at_s=at_s, ms=max(0.0, ms), cause=cause, collected=int(collected), uncollectable=int(uncollectable))
