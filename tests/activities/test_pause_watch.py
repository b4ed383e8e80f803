"""Held and not held are told apart on a process that a real tracer stops."""

import subprocess
import sys

import psutil

from activities.pause_watch import PauseWatch, state_of
from tests.activities.recordings import program, until
from tests.needs import needs

TRACER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
pid = int(sys.argv[1])
assert libc.ptrace(16, pid, 0, 0) == 0, os.strerror(ctypes.get_errno())
os.waitpid(pid, 0x40000000)
print('held', flush=True)
sys.stdin.read()
libc.ptrace(17, pid, 0, 0)
"""
SLEEPER = "print('ready'); import time; time.sleep(300)"


async def test_a_process_that_runs_is_not_held() -> None:
    """Readings of a process that nobody traces find it free; they end with the process."""
    with program(sys.executable, "-uc", SLEEPER) as target:
        watch = PauseWatch([psutil.Process(target.pid)])
        assert watch.share is None
        async with watch.watching():
            await until(lambda: watch.readings >= 10)
        assert (watch.held, watch.share) == (0, 0.0)
    assert state_of(target.pid) == ""


@needs("ptrace")
async def test_a_process_in_a_tracers_hand_is_held() -> None:
    """While a tracer holds it every reading says so, and who waits for that is told; afterwards none does."""
    with program(sys.executable, "-uc", SLEEPER) as target:
        with subprocess.Popen([sys.executable, "-c", TRACER, str(target.pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as tracer:
            assert tracer.stdout
            assert tracer.stdin
            assert tracer.stdout.readline() == b"held\n"
            watch = PauseWatch([psutil.Process(target.pid)])
            async with watch.watching():
                await watch.held_for(0.1)
            assert watch.share == 1.0
            tracer.stdin.close()
        await until(lambda: state_of(target.pid) in ("S", "R"))
        free = PauseWatch([psutil.Process(target.pid)])
        async with free.watching():
            await until(lambda: free.readings >= 5)
        assert free.held == 0
