"""The processes below another, as the kernel lists them."""

import os
import sys

import psutil
import pytest

from activities import processes_below
from activities.processes_below import pids_below
from tests.activities.recordings import program

NESTED = (
    "import subprocess, sys, threading\n"
    'code = \'import subprocess, sys; subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE); print(1, flush=True); input()\'\n'
    "def start():\n"
    "    global child\n"
    "    child = subprocess.Popen([sys.executable, '-c', code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
    "    child.stdout.readline()\n"
    "thread = threading.Thread(target=start); thread.start(); thread.join()\n"
    "print('ready', flush=True); input()"
)


@pytest.mark.parametrize("most_threads", [processes_below.MOST_THREADS, 0])
def test_children_of_every_thread_are_found(monkeypatch: pytest.MonkeyPatch, most_threads: int) -> None:
    """A child that a thread started and a grandchild, by the kernel's lists as by a look at all processes."""
    monkeypatch.setattr(processes_below, "MOST_THREADS", most_threads)
    with program(sys.executable, "-uc", NESTED, stdin=-1) as target:
        found = pids_below(target.pid)
        assert [psutil.Process(pid).ppid() for pid in found] == [target.pid, found[0]]


def test_a_process_that_is_gone_has_none() -> None:
    """Nothing is raised."""
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    assert pids_below(child) == []
