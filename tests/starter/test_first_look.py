import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.needs import needs

ROOT = Path(__file__).resolve().parents[2]
BUSY = """
def burn_cycles():
    return sum(number * number for number in range(2_000))

while True:
    burn_cycles()
"""
pytestmark = needs("temporal", "ptrace")


def environ() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TEMPORAL_") or name == "TEMPORAL_CLI_PATH"}
    return kept | {"PYTHONPATH": str(ROOT), "PERFWRIGHT_METRICS": "off"}


def perfwright(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "starter.cli.main", *words]
    return subprocess.run(command, cwd=folder, env=environ(), capture_output=True, text=True, timeout=180)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Path]:
    """`perfwright up` in an empty folder, on free ports."""
    command = [sys.executable, "-m", "starter.cli.main", "up", "--port", "0", "--ui-port", "0"]
    with (tmp_path / "up.log").open("w") as log:
        program = subprocess.Popen(command, cwd=tmp_path, env=environ(), stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / ".perfwright" / "up.json").exists():
            assert program.poll() is None and time.monotonic() < deadline, (tmp_path / "up.log").read_text()
            time.sleep(0.1)
        yield tmp_path
    finally:
        program.send_signal(signal.SIGINT)
        assert program.wait(60) == 0, (tmp_path / "up.log").read_text()


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Under a name that no other program on the machine has."""
    script = f"busy_{uuid.uuid4().hex[:8]}.py"
    (tmp_path / script).write_text(BUSY)
    program = subprocess.Popen([sys.executable, script], cwd=tmp_path)
    yield program
    program.kill()
    program.wait()


def test_a_first_look_at_a_process(up: Path, busy: subprocess.Popen[bytes]) -> None:
    """Beside `perfwright up`, without a registry or any setting: a pid or a name is profiled, and the hot function is named with its file."""
    script = str(busy.args[1])  # type: ignore[index]
    by_pid = perfwright(up, "cpu", "--pid", str(busy.pid), "--duration", "6")
    assert by_pid.returncode in (0, 3), by_pid.stdout + by_pid.stderr  # 3: a busy machine may give too few samples to conclude from
    assert "burn_cycles" in by_pid.stdout and script in by_pid.stdout
    report = next(line.split()[-1] for line in by_pid.stdout.splitlines() if line.endswith("report.html"))
    assert "burn_cycles" in Path(report).read_text()

    by_name = perfwright(up, "cpu", "--name", script, "--duration", "2", "--json")
    assert by_name.returncode in (0, 3) and f'"pid": {busy.pid}' in by_name.stdout  # and not the command that asks
    assert f"pid-{busy.pid}#2" in perfwright(up, "list").stdout

    gone = perfwright(up, "cpu", "--name", "no program has this name")
    assert gone.returncode == 5 and "no process named" in gone.stderr and "Traceback" not in gone.stderr
    unknown = perfwright(up, "start", "CpuProfilingInvestigation", "--target", "shop")
    assert unknown.returncode == 2 and 'names no "shop"' in unknown.stderr
