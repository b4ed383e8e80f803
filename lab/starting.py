"""Programs of the lab that never outlive whoever started them.

Each gets a pipe as its standard input, whose other end only its starter holds. The kernel is asked to send SIGIO to the program's
whole process group when that pipe changes (`F_SETOWN`, `O_ASYNC`: fcntl(2)), and nobody ever writes to it: so when the starter is
gone, even by SIGKILL, the group dies. That needs no thread in the program, and works for every runtime and while it is stuck in C.
"""

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).resolve().parent.parent
_FIRST_LINE_BYTES = 64_000
_STOP_S = 5.0


class NotStarted(RuntimeError):
    """The program ended, or said nothing in time, before it was ready."""


class Program:
    """A running program: its own process group, its lifeline, and the line that it printed when it was ready."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        reading, self._lifeline = os.pipe()
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=reading,
                stdout=subprocess.PIPE,
                start_new_session=True,
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
            )
            fcntl.fcntl(reading, fcntl.F_SETOWN, -self._process.pid)
            fcntl.fcntl(reading, fcntl.F_SETFL, fcntl.fcntl(reading, fcntl.F_GETFL) | os.O_ASYNC)
        except BaseException:
            os.close(self._lifeline)
            raise
        finally:
            os.close(reading)

    @property
    def pid(self) -> int:
        return self._process.pid

    def returncode(self) -> int | None:
        return self._process.poll()

    def first_line(self, timeout_s: float) -> str:
        """The first line that the program prints; NotStarted (and the program stopped) when there is none in time."""
        assert self._process.stdout is not None
        output = self._process.stdout.fileno()
        deadline = time.monotonic() + timeout_s
        line = b""
        while b"\n" not in line and len(line) < _FIRST_LINE_BYTES:
            ready, _, _ = select.select([output], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(output, 4_096) if ready else b""
            if not piece:
                status = self.stop()
                raise NotStarted(f"{self._process.args!r} was not ready in {timeout_s:g} s, or ended before (status {status})")
            line += piece
        return line.split(b"\n", 1)[0].decode()

    def ready(self, timeout_s: float) -> dict[str, Any]:
        """The first line as JSON."""
        told: dict[str, Any] = json.loads(self.first_line(timeout_s))
        return told

    def stop(self) -> int:
        """Ends the whole group, politely first; returns the status. Harmless when it has ended."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_S)
        self._signal(signal.SIGKILL)
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        if self._process.stdout is not None:
            self._process.stdout.close()
        return self._process.wait()

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return


def starter_gone(timeout_s: float) -> bool:
    """Waits up to `timeout_s` for the end of our own standard input: whoever started us has closed it or is gone."""
    ready, _, _ = select.select([0], [], [], timeout_s)
    return bool(ready) and not os.read(0, 4_096)


def stop_by_signal() -> None:
    """SIGTERM and SIGINT leave by SystemExit, so that `finally` stops what we started."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)


class Running(Protocol):
    """What runs until it ends by itself: a `Program`, or more than one process."""

    def returncode(self) -> int | None: ...


def until_over(programs: Sequence[Running]) -> int:
    """Waits until our starter is gone (0) or the first of `programs` ends (its status: 0, or 1 for anything else)."""
    while not starter_gone(0.2):
        for program in programs:
            if (status := program.returncode()) is not None:
                return int(status != 0)
    return 0
