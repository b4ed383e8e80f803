"""Programs of ours that are there at once: forked from an interpreter that has imported their modules, not from nothing each time.

    program = start(WORKER, ["--host", "db1"], environment, folder, stderr=log)
    program.stdout.readline(); program.send_signal(signal.SIGKILL); program.wait()

Tests that kill a worker again and again would spend most of their CPU time on imports: a second of them for every kill. What runs is the file
itself, as `__main__`, in a process and session of its own, with the environment and folder that it is given, and it dies as any process does. That
our programs also start from nothing is tested where that is the question (tests/starter/test_worker.py, test_up.py, test_first_look.py, test_undo.py).

As a program (`python -m tests.preloaded SOCKET`) it is the interpreter that forks: it has one thread, and ends with its socket.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
MODULES = (
    *("starter.worker_process", "tests.workflows.short_trials"),
    *("activities.history_store", "activities.undo_records", "activities.changes.carrying_out", "asyncpg", "pgparse"),
    *("perfwright.report.render", "perfwright.analysis.utilisation", "perfwright.analysis.query_results"),
    *("starter.client", "starter.cli.session", "typer", "rich.table"),
)
"""What a worker imports at its start, what it imports when that is first used, and what commands import."""
ORDER_BYTES = 128 * 1024
PIPES = 4
"""Standard input, output and error; and where its process id and its end are told."""
ALIVE_S = 120.0
"""More than the imports take on a crowded machine."""


class Forked:
    """A running program, as `subprocess.Popen[str]` in what tests use of it; with the arguments of `start`."""

    def __init__(self, pid: int, told: socket.socket, stdout: IO[str]) -> None:
        self.pid, self.stdout = pid, stdout
        self._told = told
        self._code: int | None = None

    def send_signal(self, number: int) -> None:
        """Nothing where it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        """Its exit code, or minus the signal that ended it; None while it runs."""
        if self._code is None and select.select([self._told], [], [], 0)[0]:
            self._read_end()
        return self._code

    def wait(self) -> int:
        if self._code is None:
            self._read_end()
        assert self._code is not None
        return self._code

    def _read_end(self) -> None:
        self._told.settimeout(None)
        told = self._told.recv(32)
        assert told, "what forks programs has ended"
        self._code = int(told)
        self._told.close()


class _Forking:
    """The interpreter that forks: one per test process, from the first program to the end of the tests."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._channel: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, order: Mapping[str, Any], pipes: Sequence[int]) -> tuple[int, socket.socket]:
        """The process id, and where the end will be told."""
        told, tells = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with tells, self._lock:
            if self._channel is None:
                self._open()
            assert self._channel is not None
            socket.send_fds(self._channel, [json.dumps(order).encode()], [*pipes, tells.fileno()])
        told.settimeout(ALIVE_S)
        pid = told.recv(32)
        assert pid, "what forks programs has ended"
        return int(pid), told

    def _open(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.preloaded", str(theirs.fileno())],
                cwd=ROOT,
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # a process with threads must not fork
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        atexit.register(self._close)

    def _close(self) -> None:
        assert self._channel is not None and self._process is not None
        self._channel.close()
        self._process.wait(ALIVE_S)


_forking = _Forking()


def start(
    program: Path | str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    *,
    stderr: IO[bytes],
    stdin: IO[bytes] | None = None,
) -> Forked:
    """Run the file, or the module of that name, as `python PROGRAM ARGUMENTS` would in `folder`; it takes milliseconds."""
    order = {
        "program": str(program),
        "is_module": isinstance(program, str),
        "arguments": [*arguments],
        "environment": dict(environment),
        "folder": str(folder),
    }
    reads, writes = os.pipe()
    try:
        with open(os.devnull, "rb") as nothing:
            pid, told = _forking.start(order, [(stdin or nothing).fileno(), writes, stderr.fileno()])
    except BaseException:
        os.close(reads)
        raise
    finally:
        os.close(writes)
    return Forked(pid, told, os.fdopen(reads, "r"))


@contextmanager
def killed(module: str, arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Iterator[Forked]:
    """The same for the time of a block, at whose end it is killed; it stands at the root of the repository."""
    assert sys.__stderr__
    running = start(module, arguments, environment, ROOT, stderr=sys.__stderr__.buffer)
    try:
        yield running
    finally:
        running.kill()
        running.wait()
        running.stdout.close()


def serve(channel: socket.socket) -> None:
    """Fork what is asked for, and tell of each how it ended; until nobody is there any more."""
    running: dict[int, tuple[int, int]] = {}  # a process's descriptor -> its id, and where its end is told
    waits = select.poll()
    asked = channel.fileno()
    waits.register(asked, select.POLLIN)
    while True:
        for ready, _ in waits.poll():
            if ready != asked:
                pid, tells = running.pop(ready)
                waits.unregister(ready)
                os.close(ready)
                _tell(tells, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                os.close(tells)
                continue
            order, given, _, _ = socket.recv_fds(channel, ORDER_BYTES, PIPES)
            if not order:
                for pid, _ in running.values():
                    os.kill(pid, signal.SIGKILL)
                return
            if not (pid := os.fork()):
                channel.detach()  # its number is free for others from now on
                _become(json.loads(order), given)
            *pipes, tells = given
            for one in pipes:
                os.close(one)
            _tell(tells, pid)
            seen = os.pidfd_open(pid)
            running[seen] = (pid, tells)
            waits.register(seen, select.POLLIN)


def _tell(where: int, number: int) -> None:
    with suppress(OSError):  # nobody waits for it
        os.write(where, str(number).encode())


def _become(order: Mapping[str, Any], given: Sequence[int]) -> NoReturn:
    """The program: nothing of the interpreter that forked it is left but its modules."""
    code: object = 1
    try:
        for place, one in enumerate(given[:3]):
            os.dup2(one, place)
        for one in os.listdir("/proc/self/fd"):
            if int(one) > 2:
                with suppress(OSError):  # the one that lists them
                    os.close(int(one))
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # tests that a shell started in the background inherit that it is ignored
        os.chdir(order["folder"])
        os.environ.clear()
        os.environ.update(order["environment"])
        sys.argv = [order["program"], *order["arguments"]]
        if order["is_module"]:
            sys.path[0] = order["folder"]
            runpy.run_module(order["program"], run_name="__main__", alter_sys=True)
        else:
            sys.path[0] = os.path.dirname(order["program"])
            runpy.run_path(order["program"], run_name="__main__")
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


def main() -> None:
    for module in MODULES:
        importlib.import_module(module)
    gc.freeze()  # what was imported is nobody's garbage
    threads = len(os.listdir("/proc/self/task"))
    assert threads == 1, f"{threads} threads: a fork would have one of them"
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        serve(channel)


if __name__ == "__main__":
    main()
