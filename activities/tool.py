"""A tool to start, its bounds, what it may see of the worker's environment, and what is kept of what it said."""

import errno
import marshal
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import BinaryIO

from activities.errors import refuse
from perfwright.models.errors import ErrorType

ALLOWED_ENVIRONMENT = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR"}
    | {"LD_LIBRARY_PATH", "JAVA_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR"}
)
"""What a program needs to find itself and its files; and LC_*. Everything else is the caller's to pass."""
LINE_LIMIT_BYTES = 65_536
OF_TOOL = "perfwright-tool"
"""A word in the command line of every tool's supervisor: nobody who looks for a program by its name means what is below it."""
PASSING_ERRNOS = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
"""The machine is out of something for the moment: worth another attempt."""


@dataclass(frozen=True, slots=True)
class Tool:
    """What to start, and its bounds."""

    argv: Sequence[str]
    _: KW_ONLY
    limit_s: float
    way_out: str
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    directory: Path = Path()
    stdin: bytes | BinaryIO = field(default=b"", repr=False)
    stdout_file: Path | BinaryIO | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_grace_s: float = 3.0
    keep_bytes: int = 1 << 20
    output_files: Sequence[Path] = ()
    output_limit_bytes: int = 1 << 30
    """All output files and `stdout_file` together."""
    title: str = ""
    """What people read in errors; the program's name by default."""
    core: int | None = None
    """The only one it runs on, with all that it starts."""

    @property
    def name(self) -> str:
        return self.title or Path(self.argv[0]).name


@dataclass(frozen=True, slots=True)
class ToolRun:
    """How it ended. CPU time and peak memory are the tool's with all its descendants, without the supervisor's.

    `peak_rss_bytes` is that of the largest single process, and never below the 10 MB or so of the supervisor that forked it.
    """

    name: str
    pid: int
    returncode: int | None
    """Exit code, or minus the signal that ended it, as in `subprocess`."""
    stdout: str
    stderr: str
    stdout_dropped_bytes: int
    stderr_dropped_bytes: int
    cpu_s: float
    peak_rss_bytes: int
    wall_s: float
    timed_out: bool
    stopped: bool
    """We asked it to stop."""
    left_over: int
    """Processes that it left behind when it ended by itself; they were stopped."""

    @property
    def signal(self) -> int | None:
        return -self.returncode if self.returncode is not None and self.returncode < 0 else None

    def require_success(self, *, codes: Sequence[int] = (0,), way_out: str = "") -> "ToolRun":
        """Return itself, or raise ToolTimeout or ToolFailed with the last lines of stderr."""
        if self.timed_out:
            raise refuse(ErrorType.TOOL_TIMEOUT, f"{self.name} was stopped at its limit, after {self.wall_s:.1f} s", way_out=way_out)
        if self.returncode not in codes:
            end = f"signal {self.signal} ({signal.strsignal(self.signal)})" if self.signal else f"exit code {self.returncode}"
            said = " | ".join((self.stderr.strip() or self.stdout.strip())[-600:].splitlines()[-5:])
            raise refuse(ErrorType.TOOL_FAILED, f"{self.name} ended with {end}" + (f": {said}" if said else ""), way_out=way_out)
        return self


def bundled(name: str) -> str:
    """The tool that is installed beside the worker's interpreter (a pinned dependency), else the name, to be found on PATH."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if os.access(beside, os.X_OK) else name


def clean_environment(more: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ALLOWED_ENVIRONMENT or name.startswith("LC_")}
    return kept | dict(more)


def find_program(tool: Tool, environment: Mapping[str, str]) -> str:
    name = tool.argv[0]
    if os.sep in name:
        path = tool.directory / name
        if os.access(path, os.X_OK) and path.is_file():
            return str(path.absolute())
        problem = "may not be executed" if path.exists() else "does not exist"
        raise refuse(ErrorType.TOOL_MISSING, f"{name} {problem}", way_out=tool.way_out)
    if found := shutil.which(name, path=environment.get("PATH", os.defpath)):
        return str(Path(found).absolute())
    raise refuse(ErrorType.TOOL_MISSING, f"{name} is not installed or not on PATH", way_out=tool.way_out)


def supervisor_order(tool: Tool) -> bytes:
    """What the supervisor is told first: a length of four bytes, then everything as marshalled bytes and numbers."""
    environment = clean_environment(tool.environment)
    if any("\0" in word for word in (*tool.argv, *environment, *environment.values())):
        raise refuse(ErrorType.INVALID_INPUT, f"an argument or environment value of {tool.name} holds a NUL character")
    order = marshal.dumps(
        {
            "program": os.fsencode(find_program(tool, environment)),
            "argv": [os.fsencode(word) for word in tool.argv],
            "environment": {os.fsencode(name): os.fsencode(value) for name, value in environment.items()},
            "directory": os.fsencode(tool.directory),
            "limit_s": float(tool.limit_s),
            "stop_signal": int(tool.stop_signal),
            "grace_s": float(tool.stop_grace_s),
            "core": -1 if tool.core is None else tool.core,
        }
    )
    return len(order).to_bytes(4, "big") + order


def start_refusal(tool: Tool, what: str, number: int) -> Exception:
    """The error for what the supervisor could not do: enter the directory or execute the program."""
    reason = os.strerror(number)
    if what == "directory":
        return refuse(ErrorType.INVALID_INPUT, f"directory {tool.directory}: {reason}", way_out="Name an existing folder to start in")
    if number in {errno.E2BIG, errno.EINVAL}:
        return refuse(ErrorType.INVALID_INPUT, f"{tool.name}: {reason}", way_out="Pass fewer or shorter arguments")
    if number in PASSING_ERRNOS:
        return refuse(ErrorType.TOOL_FAILED, f"{tool.name} could not be started: {reason}", retryable=True)
    return refuse(ErrorType.TOOL_MISSING, f"{tool.name} cannot be executed: {reason}", way_out=tool.way_out)


class Output:
    """Keeps the first and the last half of `keep_bytes`; hands on whole lines."""

    def __init__(self, keep_bytes: int, on_line: Callable[[str], None] | None) -> None:
        self.half = keep_bytes // 2
        self.head, self.tail, self.line = bytearray(), bytearray(), bytearray()
        self.total = 0
        self.on_line = on_line

    def add(self, data: bytes) -> None:
        self.total += len(data)
        room = self.half - len(self.head)
        self.head += data[:room]
        self.tail += data[room:]
        if len(self.tail) > 2 * self.half:
            del self.tail[: len(self.tail) - self.half]
        if self.on_line is not None:
            *whole, rest = (self.line + data).split(b"\n")
            self.line = rest[:LINE_LIMIT_BYTES]  # what is longer is no line that anybody reads
            for line in whole:
                self.tell(line)

    def close(self) -> None:
        if self.line:
            self.tell(self.line)
            self.line = bytearray()

    def tell(self, line: bytearray) -> None:
        if self.on_line is not None:
            self.on_line(line[:LINE_LIMIT_BYTES].rstrip(b"\r").decode(errors="replace"))

    @property
    def dropped_bytes(self) -> int:
        return max(0, self.total - 2 * self.half)

    def text(self) -> str:
        tail = self.tail[max(0, len(self.tail) - self.half) :]
        note = f"\n[... {self.dropped_bytes} bytes dropped ...]\n".encode() if self.dropped_bytes else b""
        return (self.head + note + tail).decode(errors="replace")


def size_bytes(path: Path) -> int:
    """Of a file, or of all files in a folder; 0 if there is none yet."""
    try:
        if not path.is_dir():
            return path.stat().st_size
        return sum(size_bytes(inner) for inner in path.iterdir())
    except OSError:
        return 0
