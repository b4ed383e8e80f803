"""What a profiler takes is read from the kernel, not assumed."""

import os
import subprocess
import sys
import threading
import time

from activities.profiler_cpu import MachineBusy, ProfilerCpu

SPIN = "print('ready', flush=True)\nwhile True: pass"
START = f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {SPIN!r}]); input(); child.kill(); child.wait()"


def test_a_process_and_its_children_are_counted() -> None:
    """CPU time of a tool includes that of the programs it starts, and what was seen of it stays when it has ended."""
    with subprocess.Popen([sys.executable, "-c", START], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as tool:
        assert tool.stdout and tool.stdout.readline() == "ready\n"
        cpu, used = ProfilerCpu.of_process(tool.pid), 0.0
        while used < 0.1:
            used = cpu.used_s() or 0.0
        tool.communicate("\n")
    assert (cpu.used_s() or 0.0) >= used


def test_threads_are_found_by_name() -> None:
    """Of a process only the threads of that name are counted; none of that name is unknown, not nothing."""
    done = threading.Event()

    def spin() -> None:
        if sys.platform == "linux":
            with open(f"/proc/self/task/{threading.get_native_id()}/comm", "w") as comm:
                comm.write("JFR Sampler")
        while not done.is_set():
            pass

    thread = threading.Thread(target=spin)
    cpu, other = ProfilerCpu.of_threads(os.getpid(), ("JFR ",)), ProfilerCpu.of_threads(os.getpid(), ("v8:",))
    thread.start()
    try:
        while (cpu.used_s() or 0.0) < 0.05:
            time.sleep(0.001)
    finally:
        done.set()
        thread.join()
    assert other.used_s() is None


def test_a_gone_process_is_unknown() -> None:
    """Of a process that is not there nothing is known."""
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    assert ProfilerCpu.of_process(gone.pid).used_s() is None


def test_the_machine_is_busy_while_somebody_computes() -> None:
    """The busy share is between nothing and everything, and not nothing while this test computes."""
    busy = MachineBusy()
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    assert 0.0 < busy.share() <= 1.0
