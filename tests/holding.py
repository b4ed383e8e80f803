"""A program that holds as many bytes as it is told to, found by its pid file: what a running target looks like from outside."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PROGRAM = """
import os, sys
if not sys.argv[1:] or os.fork():
    print("ready", flush=True)
for line in sys.stdin:
    held = [b"x" * int(line)]
    print("ready", flush=True)
"""


class Held:
    """It runs from `start` to `stop`."""

    def __init__(self, folder: Path) -> None:
        self.pid_file = folder / "held.pid"
        self.start()

    def start(self, *words: str) -> None:
        """`words`: any, for a child beside it."""
        self.program = subprocess.Popen(
            [sys.executable, "-S", "-c", _PROGRAM, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._ready()
        self.pid_file.write_text(str(self.program.pid))

    def hold(self, size: int) -> None:
        """In place of what it held."""
        assert self.program.stdin
        self.program.stdin.write(f"{size}\n")
        self.program.stdin.flush()
        self._ready()

    def stop(self) -> None:
        self.program.kill()
        self.program.communicate()

    def _ready(self) -> None:
        assert self.program.stdout
        assert (line := self.program.stdout.readline()) == "ready\n", line


@contextmanager
def holding(folder: Path) -> Iterator[Held]:
    held = Held(folder)
    try:
        yield held
    finally:
        held.stop()
