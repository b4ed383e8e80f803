"""The memory of processes together, with those that have ended or may not be looked at."""

import subprocess
import sys

import psutil
import pytest

from activities.process_memory import pss_bytes

HOLDS_50_MB = "held = b'x' * 50_000_000; print('ready', flush=True); input()"


def test_what_processes_hold_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that hold 50 MB each hold 100; when one has ended, what the other holds; with one that may not be looked at, nothing is known."""
    programs = [
        subprocess.Popen([sys.executable, "-S", "-c", HOLDS_50_MB], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)
    ]
    try:
        for program in programs:
            assert program.stdout and program.stdout.readline() == b"ready\n"
        both = [psutil.Process(program.pid) for program in programs]
        assert 100e6 < pss_bytes(both) < 150e6
        programs[0].communicate()
        assert 50e6 < pss_bytes(both) < 75e6 and pss_bytes(both[:1]) == 0.0
        with monkeypatch.context() as patched:
            patched.setattr(both[0], "memory_full_info", lambda: (_ for _ in ()).throw(psutil.AccessDenied()))
            assert pss_bytes(both) == 0.0
    finally:
        for program in programs:
            program.communicate()
