"""What `perfwright up` leaves in `.perfwright/` so that other commands in this folder find it: `up.json`, and a Temporal profile.

`temporal.toml` is an ordinary Temporal configuration file: `TEMPORAL_CONFIG_FILE=.perfwright/temporal.toml temporal workflow list` works.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import psutil
from pydantic import ValidationError

from perfwright.models.vocabulary import Model

FOLDER = Path(".perfwright")
CHOOSES_A_SERVER = ("TEMPORAL_ADDRESS", "TEMPORAL_PROFILE", "TEMPORAL_CONFIG_FILE")
"""Whoever sets one of these means that server, not the one that happens to be up here."""


class UpState(Model):
    """One `perfwright up` in the foreground somewhere."""

    pid: int
    started_s: float
    """When that process began, seconds since the epoch: a pid alone may belong to another program by now."""
    address: str
    ui: str
    worker_pid: int
    config: str | None = None
    """The target registry that its worker reads; None: the usual search."""
    lab: str | None = None
    """Where the lab's shop answers."""


def write_state(state: UpState, folder: Path = FOLDER) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / "temporal.toml", f'[profile.default]\naddress = "{state.address}"\nnamespace = "default"\n')
    _replace(folder / "up.json", state.model_dump_json(indent=2) + "\n")


def remove_state(folder: Path = FOLDER) -> None:
    for name in ("up.json", "temporal.toml"):
        (folder / name).unlink(missing_ok=True)


def running_up(folder: Path = FOLDER) -> UpState | None:
    """Return the state of the `perfwright up` that runs in this folder; None when there is none, or it has died."""
    try:
        state = UpState.model_validate(json.loads((folder / "up.json").read_text()))
    except (OSError, json.JSONDecodeError, ValidationError):
        return None
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(state.pid)
        if abs(process.create_time() - state.started_s) < 2 and process.status() != psutil.STATUS_ZOMBIE:
            return state
    return None


def with_running_up(environ: Mapping[str, str], folder: Path = FOLDER) -> dict[str, str]:
    """Point Temporal's settings at what is up here, unless the environment already names a server."""
    if any(environ.get(name) for name in CHOOSES_A_SERVER) or running_up(folder) is None:
        return dict(environ)
    return {**environ, "TEMPORAL_CONFIG_FILE": str((folder / "temporal.toml").resolve())}


def own_start_s() -> float:
    return psutil.Process(os.getpid()).create_time()


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text)
    part.replace(path)
