"""The systemd unit of host workers."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).resolve().parents[2] / "deploy" / "systemd" / "perfwright-host.service"
OWN_MOUNTS = re.compile(
    r"^(Protect(System|Home|KernelTunables|KernelModules|KernelLogs|ControlGroups|Proc)|Private(Tmp|Devices|Mounts|Users|Network)"
    r"|(ReadOnly|ReadWrite|Inaccessible|Exec|NoExec)Paths|TemporaryFileSystem|Bind(ReadOnly)?Paths|RootDirectory|DynamicUser|ProcSubset)=",
    re.MULTILINE,
)


def settings() -> dict[str, str]:
    return dict(re.findall(r"^([A-Za-z]+)=(.*)$", UNIT.read_text(), re.MULTILINE))


def test_it_has_two_capabilities_and_cannot_get_more() -> None:
    """Not root; ptrace and perf events, as ambient capabilities that its tools inherit."""
    told = settings()
    assert told["User"] == "perfwright"
    assert told["AmbientCapabilities"] == told["CapabilityBoundingSet"] == "CAP_SYS_PTRACE CAP_PERFMON"
    assert told["NoNewPrivileges"] == "yes"


def test_it_stays_in_the_namespaces_of_its_targets() -> None:
    """A mount namespace of its own would make every target look like one in another container."""
    assert not OWN_MOUNTS.search(UNIT.read_text())


def test_the_target_pays_little() -> None:
    """Memory, tasks and CPU of the worker with all its tools are bounded, and it ends within its grace."""
    assert {"MemoryMax", "TasksMax", "CPUWeight", "Restart", "TimeoutStopSec"} <= settings().keys()


def test_the_example_names_what_the_unit_reads() -> None:
    """The host's name is the one setting without which it does not start."""
    named = re.findall(r"^([A-Z_]+)=", (UNIT.parent / "host.env.example").read_text(), re.MULTILINE)
    assert set(re.findall(r"\$\{(\w+)\}", settings()["ExecStart"])) <= set(named)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_it(tmp_path: Path) -> None:
    """Every key and value is one that systemd knows (the program's path is another one's here)."""
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE)
    unit = tmp_path / "perfwright-host.service"
    unit.write_text(text)
    told = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60)
    ours = [line for line in told.stderr.splitlines() if unit.name in line]
    assert told.returncode == 0 and not ours, told.stderr
