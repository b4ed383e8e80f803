"""Where a recording in progress is kept on its host, so that a killed worker's next attempt goes on from there.

One folder per recording under the worker's state folder. Lines are appended and flushed one by one; a line that a kill cut short is
ignored when read back. The folder is removed once its content is an artifact; what a dead run left behind goes after a day.
"""

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ABANDONED_AFTER_S = 86_400.0


class RecordingFolder:
    """Files of one recording: `<state folder>/recordings/<prefix with dashes>/`."""

    def __init__(self, state_folder: Path, prefix: str) -> None:
        self.root = state_folder / "recordings"
        self.path = self.root / re.sub(r"[^A-Za-z0-9._-]+", "-", prefix)

    def open(self) -> Path:
        """Create the folder if need be, and remove recordings that nobody came back for."""
        self.path.mkdir(parents=True, exist_ok=True)
        for other in self.root.iterdir():
            if other != self.path and time.time() - other.stat().st_mtime > ABANDONED_AFTER_S:
                shutil.rmtree(other, ignore_errors=True)
        return self.path

    def append(self, name: str, line: dict[str, Any]) -> None:
        """Add one JSON line; it survives a kill of this process."""
        with (self.path / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, separators=(",", ":")) + "\n")

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        """The whole lines of an earlier attempt, in order; nothing when there are none."""
        try:
            text = (self.path / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        for line in text.split("\n"):
            try:
                value = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(value, dict):
                yield value

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
