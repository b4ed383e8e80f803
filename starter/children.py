"""Programs that `perfwright up` and the tests start: supervised, with their last lines kept for the day they fail."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from temporalio.exceptions import ApplicationError

from activities.subprocesses import START_SUPERVISOR
from activities.supervisor import KILL_LIMIT_S
from activities.tool import Tool, supervisor_order
from starter.failures import CannotStart
from starter.json_lines import ready_line

KEPT_LINES = 200
LINE_LIMIT = 4_000
NO_LIMIT_S = 1e9

Echo = Callable[[str, str], None]
"""Called with the child's name and a line that it wrote."""


class Child:
    """One program, below the same supervisor as every tool: nothing of it outlives this process, however this process ends.

    `grace_s` is how long it may take from SIGTERM to its end before everything below it is killed. Its stdin stays open as long as we live.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path | None = None,
        grace_s: float = 10.0,
        echo: Echo | None = None,
        on_end: Callable[["Child"], None] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        tool = Tool(
            command,
            limit_s=NO_LIMIT_S,
            way_out="",
            environment=env,
            directory=cwd or Path.cwd(),
            stop_signal=signal.SIGTERM,
            stop_grace_s=grace_s,
            title=name,
        )
        try:
            order = supervisor_order(tool)
        except ApplicationError as error:
            raise CannotStart(f"{name} cannot be started: {error.message}") from None
        self.name = name
        self.grace_s = grace_s
        self.pid: int | None = None
        self._echo, self._on_end = echo, on_end
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._ready: dict[str, Any] | None = None
        self._exit_code: int | None = None
        self._refused: str | None = None
        self._ended = False
        self._changed = threading.Condition()
        self.was_stopped = False
        """It ends because we asked for it."""

        self._channel, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", START_SUPERVISOR, str(theirs.fileno()), name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(env),
                start_new_session=True,  # Ctrl-C goes to us, and we stop children in order
                pass_fds=[theirs.fileno(), *pass_fds],
            )
        self._channel.sendall(order)
        assert self._process.stdout is not None and self._process.stderr is not None
        self._pumps = [
            threading.Thread(target=self._pump, args=(stream, may_be_ready), daemon=True)
            for stream, may_be_ready in ((self._process.stdout, True), (self._process.stderr, False))
        ]
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        for thread in (*self._pumps, self._watcher):
            thread.start()

    @property
    def ended(self) -> bool:
        return self._ended

    @property
    def exit_code(self) -> int | None:
        """None while it runs and where nobody could tell; a negative number is the signal that killed it."""
        return self._exit_code

    def last_lines(self, count: int = 10) -> list[str]:
        return list(self._lines)[-count:]

    def wait_ready(self, timeout_s: float) -> dict[str, Any]:
        """Return the JSON line with `"ready": true` that it writes to stdout. Raises `CannotStart` if it ends or says nothing."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready is not None or self._ended, timeout_s)
            if self._ready is not None:
                return self._ready
        if self._ended:
            raise CannotStart(self.epitaph())
        raise CannotStart(f"{self.name} was not ready after {timeout_s:g} s{self._quoted()}")

    def wait_ended(self, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._ended, timeout_s)

    def epitaph(self) -> str:
        """Say how it ended, with its last words."""
        if self._refused is not None:
            return f"{self.name} could not be started: {self._refused}"
        code = self._exit_code
        if code is None:
            how = "ended with its supervisor, which was killed"
        elif code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        else:
            how = f"ended with exit code {code}"
        return f"{self.name} {how}{self._quoted()}"

    def signal(self, number: int) -> None:
        """Send a signal to the program alone."""
        self._tell(f"signal {int(number)}")

    def stop(self) -> int | None:
        """Ask it to end, kill everything of it after the grace, and return its exit code. Safe to call again.

        Only the program itself is asked: a worker ends its own tools, in its own way.
        """
        self.was_stopped = True
        self.signal(signal.SIGTERM)
        if not self.wait_ended(self.grace_s):
            self._tell(f"stop {int(signal.SIGTERM)} 0")
            if not self.wait_ended(KILL_LIMIT_S + 5):
                self._process.kill()
        self._watcher.join()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        return self._exit_code

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _tell(self, line: str) -> None:
        with contextlib.suppress(OSError):  # it has ended
            self._channel.sendall(line.encode() + b"\n")

    def _quoted(self) -> str:
        lines = [line for line in self.last_lines(8) if line.strip()]
        return "; its last lines:\n" + "\n".join(f"    {line}" for line in lines) + "\n" if lines else ""

    def _pump(self, stream: IO[bytes], may_be_ready: bool) -> None:
        with stream:
            for raw in iter(lambda: stream.readline(LINE_LIMIT), b""):
                line = raw.decode(errors="replace").rstrip("\n")
                if may_be_ready and self._ready is None and (told := ready_line(line)) is not None:
                    with self._changed:
                        self._ready = told
                        self._changed.notify_all()
                    continue
                self._lines.append(line)
                if self._echo is not None:
                    self._echo(self.name, line)

    def _watch(self) -> None:
        with self._channel, self._channel.makefile("r", encoding="utf-8") as told, contextlib.suppress(ConnectionResetError):
            for line in told:  # reset: it ended just when we told it to stop; what it said before has arrived
                self._hear(line.split())
        self._process.wait()
        for pump in self._pumps:
            pump.join(timeout=2)  # so that the last words are in before anyone hears of the end
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._on_end is not None:
            self._on_end(self)

    def _hear(self, words: list[str]) -> None:
        if words[0] == "started":
            self.pid = int(words[1])
        elif words[0] == "refused":
            self._refused = f"{words[1]}: {os.strerror(int(words[2]))}"
        elif words[0] == "ended" and words[1] != "-":
            self._exit_code = int(words[1])
