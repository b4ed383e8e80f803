"""`perfwright up` in the foreground: everything up, everything down, and what is said when something dies."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from starter.ports import free_ports
from starter.up_state import running_up
from tests.needs import needs

pytestmark = needs("temporal")

Up = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_up(tmp_path: Path) -> Iterator[Up]:
    """Start `up` in a folder of its own, on free ports."""
    running: list[subprocess.Popen[str]] = []

    def start(*, port: int = 0, ui_port: int = 0) -> "subprocess.Popen[str]":
        script = f"import sys; from starter.up import up; sys.exit(up(port={port}, ui_port={ui_port}))"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TEMPORAL_", "PERFWRIGHT_"))}
        chosen = {"TEMPORAL_CLI_PATH": os.environ["TEMPORAL_CLI_PATH"]} if "TEMPORAL_CLI_PATH" in os.environ else {}
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", script],
                cwd=tmp_path,
                env=kept | chosen | {"PERFWRIGHT_METRICS": "off"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return running[-1]

    yield start
    for each in running:
        if each.poll() is None:
            each.kill()
        each.wait()
        assert each.stdout is not None
        each.stdout.close()


def read_until(process: "subprocess.Popen[str]", wanted: str) -> str:
    """Everything it says up to the line with `wanted`."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if wanted in line:
            return said
    raise AssertionError(f"it ended without saying {wanted!r}:\n{said}")


def all_gone(pids: list[int], timeout_s: float = 30) -> bool:
    deadline = time.monotonic() + timeout_s
    while any(psutil.pid_exists(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(psutil.pid_exists(pid) for pid in pids)


def children_of(process: "subprocess.Popen[str]") -> list[int]:
    return [child.pid for child in psutil.Process(process.pid).children(recursive=True)]


def test_ctrl_c_stops_everything(start_up: Up, tmp_path: Path) -> None:
    """It tells where everything is, other commands find it, and Ctrl-C leaves nothing behind but the database."""
    up = start_up()
    said = read_until(up, "a first look")
    state = running_up(tmp_path / ".perfwright")
    assert state is not None and state.pid == up.pid
    assert state.ui in said and state.address in said
    pids = children_of(up)
    assert state.worker_pid in pids

    up.send_signal(signal.SIGINT)
    assert up.wait(90) == 0
    assert all_gone(pids)
    assert not (tmp_path / ".perfwright" / "up.json").exists() and (tmp_path / ".perfwright" / "temporal.db").exists()


def test_a_child_that_dies_is_named_and_all_is_stopped(start_up: Up, tmp_path: Path) -> None:
    """kill -9 of the worker: it is said which child died and how, and everything ends with exit code 5."""
    up = start_up()
    read_until(up, "a first look")
    pids = children_of(up)
    os.kill(json.loads((tmp_path / ".perfwright" / "up.json").read_text())["worker_pid"], signal.SIGKILL)
    said = read_until(up, "error: stopping everything else")
    assert "worker was killed by SIGKILL" in said
    assert up.wait(90) == 5 and all_gone(pids)


def test_kill_9_leaves_nothing_running(start_up: Up, tmp_path: Path) -> None:
    """However it ends, server and worker end with it, and the next one starts in the same folder."""
    up = start_up()
    read_until(up, "a first look")
    pids = children_of(up)
    up.kill()
    assert all_gone(pids, 60)
    assert running_up(tmp_path / ".perfwright") is None
    again = start_up()
    read_until(again, "a first look")
    again.terminate()
    assert again.wait(90) == 0


def test_a_second_one_in_the_same_folder_is_refused(start_up: Up) -> None:
    """The running one is named; nothing is started."""
    up = start_up()
    read_until(up, "a first look")
    second = start_up()
    said = read_until(second, "error:")
    assert f"pid {up.pid}" in said and second.wait(60) == 5
    up.terminate()
    assert up.wait(90) == 0


def test_a_busy_port_is_named(start_up: Up) -> None:
    """The option that changes the port is told, with exit code 5."""
    (ui_port,) = free_ports(1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", ui_port))
        taken.listen()
        up = start_up(ui_port=ui_port)
        said = read_until(up, "error:")
        assert f"port {ui_port} (Temporal UI)" in said and "--ui-port" in said and up.wait(60) == 5
