import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lab.starting import ROOT
from perfwright.models.registry import parse_registry
from tests.lab.processes import ended, until


@pytest.fixture
def up(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], dict]]:
    command = [sys.executable, "-m", "lab.up", "--orders", "2000", "--load", "--rate", "20", "--duration", "60"]
    process = subprocess.Popen(
        [*command, "--registry", str(tmp_path / "perfwright.toml")], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    told = json.loads(process.stdout.readline())
    yield process, told
    with process:
        process.kill()
    assert until(lambda: ended(told["pid"]))


def test_the_shop_serves_on_a_free_port(up, tmp_path: Path) -> None:
    """The ready line names a shop that answers, under the pid that listens there; the registry names it too."""
    _, told = up
    assert told["ready"] is True
    with urllib.request.urlopen(f"{told['url']}/products?size=3", timeout=10) as reply:
        assert len(json.load(reply)["products"]) == 3
    listening = [held.laddr.port for held in psutil.Process(told["pid"]).net_connections() if held.status == psutil.CONN_LISTEN]
    assert listening == [told["port"]]
    registry = parse_registry((tmp_path / "perfwright.toml").read_text())
    shop = registry.target("shop")
    assert (shop.kind, shop.url, shop.process.port, shop.environment) == ("http", told["url"], told["port"], "lab")
    assert {name: registry.target(name).kind for name in ("jvm", "node", "native")} == dict.fromkeys(("jvm", "node", "native"), "process")
    assert registry.environments["lab"].review.observe == "notify"
    assert registry.environments["lab"].keep.restart == "auto"


def _close(process: subprocess.Popen[str]) -> None:
    process.stdin.close()


def _kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)


def _terminate(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize("end", [_close, _kill, _terminate])
def test_everything_ends_with_its_starter(up, end) -> None:
    """However the starter goes (closed input, SIGKILL, SIGTERM), neither the shop nor its load outlives it."""
    process, told = up
    pids = [told["pid"], told["pids"]["load"]]
    assert not any(ended(pid) for pid in pids)
    end(process)
    assert until(lambda: all(ended(pid) for pid in pids))
    assert process.wait(10) == (-signal.SIGKILL if end is _kill else 0)
    assert process.stdout.read() == ""


def test_a_shop_that_ends_ends_the_lab(up) -> None:
    """When the shop dies, so does the rest, with a status that says so."""
    process, told = up
    os.kill(told["pid"], signal.SIGKILL)
    assert process.wait(15) == 1
    assert until(lambda: ended(told["pids"]["load"]))


@pytest.mark.parametrize("options", [["--problems", "nothing"], ["--programs", "cobol"], ["--duration", "1e9"]])
def test_unknown_options_are_refused(options: list[str]) -> None:
    """A mistake is told before anything starts."""
    done = subprocess.run([sys.executable, "-m", "lab.up", *options], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert options[0] in done.stderr or "LAB_PROBLEMS" in done.stderr


def test_a_busy_port_is_told() -> None:
    """A port that is taken ends the start with a message, not with a wait."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "-m", "lab.up", "--orders", "2000", "--port", str(taken.getsockname()[1])]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, stdin=subprocess.PIPE)
    assert done.returncode == 1
    assert "Address already in use" in done.stderr
