"""Children of `perfwright up`: heard, stopped, and never left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from starter.children import Child
from starter.failures import CannotStart

SLEEPER = [sys.executable, "-u", "-c", "import time; print('awake'); time.sleep(600)"]


def eventually(condition: Callable[[], bool], timeout_s: float = 30) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def child(command: list[str], **options: object) -> Child:
    return Child("it", command, env=os.environ, **options)  # type: ignore[arg-type]


def test_a_ready_line_is_heard() -> None:
    """The JSON line on stdout arrives as facts; other lines are kept and passed on."""
    heard: list[tuple[str, str]] = []
    script = "import json,sys; print('hello'); print(json.dumps({'ready': True, 'port': 7})); print('on stderr', file=sys.stderr); input()"
    with child([sys.executable, "-u", "-c", script], echo=lambda name, line: heard.append((name, line))) as it:
        assert it.wait_ready(30) == {"ready": True, "port": 7}
        assert eventually(lambda: set(it.last_lines()) == {"hello", "on stderr"})
        assert ("it", "hello") in heard


def test_one_that_ends_too_early_is_quoted() -> None:
    """An end before it was ready is told with the exit code and the last words."""
    script = "import sys; print('no disk', file=sys.stderr); sys.exit(3)"
    told = r"it ended with exit code 3; its last lines:\n    no disk"
    with child([sys.executable, "-c", script]) as it, pytest.raises(CannotStart, match=told):
        it.wait_ready(30)


def test_one_that_is_killed_is_told_as_such() -> None:
    """Who died by a signal is not said to have had an exit code."""
    ended: list[Child] = []
    with child(SLEEPER, on_end=ended.append) as it:
        assert eventually(lambda: it.last_lines() == ["awake"])
        it.signal(signal.SIGKILL)
        assert it.wait_ended(30) and it.exit_code == -9
        assert it.epitaph().startswith("it was killed by SIGKILL")
        assert eventually(lambda: ended == [it]) and not it.was_stopped


def test_one_that_is_not_there_is_refused() -> None:
    """A program that does not exist is an error at once."""
    with pytest.raises(CannotStart, match="no-such-program is not installed or not on PATH"):
        child(["no-such-program"])


def test_stop_asks_first_and_then_kills() -> None:
    """One that ignores SIGTERM is killed after its grace, and everything that it started as well."""
    script = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "grandchild = subprocess.Popen(['sleep', '600'], start_new_session=True); print(grandchild.pid); time.sleep(600)"
    )
    it = child([sys.executable, "-u", "-c", script], grace_s=0.5)
    assert eventually(lambda: bool(it.last_lines()))
    grandchild = int(it.last_lines()[0])
    assert it.stop() == -9 and it.stop() == -9
    assert eventually(lambda: not alive(grandchild))


def test_stop_leaves_the_order_of_ending_to_the_program() -> None:
    """A program that ends what it started itself gets the time to do so: its own children are not signalled by us."""
    script = """
import signal, subprocess, sys
mine = subprocess.Popen([sys.executable, '-c', "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(9)); print('up', flush=True); signal.pause()"],
                        stdout=subprocess.PIPE)
mine.stdout.readline()
def end(*_):
    print('alive' if mine.poll() is None else 'gone', flush=True)
    mine.kill()
    sys.exit(4)
signal.signal(signal.SIGTERM, end)
print('ready', flush=True)
while True:
    signal.pause()
"""
    it = child([sys.executable, "-u", "-c", script], grace_s=30)
    assert eventually(lambda: it.last_lines() == ["ready"])
    assert it.stop() == 4 and it.last_lines() == ["ready", "alive"]


def test_nothing_outlives_a_killed_starter(tmp_path: Path) -> None:
    """kill -9 of whoever started it ends the child too."""
    script = (
        "import os, sys, time; from starter.children import Child;"
        f"it = Child('it', {SLEEPER!r}, env=os.environ)\nwhile not it.last_lines(): time.sleep(0.05)\nprint(it.pid, flush=True); time.sleep(600)"
    )
    starter = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    with starter.stdout:
        pid = int(starter.stdout.readline())
        assert alive(pid)
        starter.kill()
        starter.wait()
        assert eventually(lambda: not alive(pid))
