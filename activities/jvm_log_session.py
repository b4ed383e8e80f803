"""The small program that keeps a log of a running JVM switched on, and switches it off when it is told to stop, or its worker is gone.

    python -I -S jvm_log_session.py JCMD PID START_TICKS FOLDER FILE OPTION...

Says `on`. SIGINT: off, and the log stays to be read. SIGTERM, which a supervisor sends when its worker has died: off, and the folder goes
too. A log that stays on writes for as long as the JVM runs, and no later attempt may come.
"""

import os
import shutil
import signal
import subprocess
import sys

LIMIT_S = 30.0


def main(jcmd: str, pid: str, start_ticks: str, folder: str, file: str, *options: str) -> int:
    stops = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)  # jcmd inherits it: what was begun is brought to its end
    output = f"output=file={os.path.join(folder, file)}"  # noqa: PTH118  # pathlib would lengthen the start
    switched = said(jcmd, pid, output, *options)
    if switched.returncode:
        sys.stderr.write(switched.stdout)
        return 1
    print("on", flush=True)
    number = signal.sigwait(stops)
    if started(pid) != start_ticks:
        return 0  # jcmd wakes its target with SIGQUIT: another program that got the pid would be killed by it
    off = said(jcmd, pid, output, "what=all=off")
    if off.returncode == 0 and number != signal.SIGINT:
        shutil.rmtree(folder, ignore_errors=True)
    return off.returncode


def said(jcmd: str, pid: str, *words: str) -> "subprocess.CompletedProcess[str]":
    called = [jcmd, pid, "VM.log", *words]
    try:
        return subprocess.run(called, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as trouble:
        return subprocess.CompletedProcess(called, 1, stdout=str(trouble))


def started(pid: str) -> str:
    """In clock ticks since the machine's start (proc(5), field 22); empty: it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[19]
    except OSError:
        return ""


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
