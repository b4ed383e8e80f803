"""The small program between the lab and its PostgreSQL: it sees to it that neither server nor data outlive the lab.

    lab  == pipe (our standard input) ==>  guard  -->  initdb, then postgres

Started with `python -I -S`, in a session of its own. When the pipe closes, because the lab let go or is gone, even by SIGKILL, the server
is told to shut down at once (SIGQUIT), everything below us that is still there is killed, and the folder is removed. When we are killed
ourselves, the kernel tells the server (PR_SET_PDEATHSIG: we have one thread, so its end is ours); only the folder is left then if the lab
is gone as well. Server processes come to us when their parent goes, because we are their subreaper (prctl(2)).
"""

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
QUIT_S = 8.0
"""An immediate shutdown kills what does not follow after 5 s itself (postmaster.c, SIGKILL_CHILDREN_AFTER_SECS)."""
TOLD_CHARACTERS = 2_000

_libc = ctypes.CDLL(None, use_errno=True)


def told_at_our_end(parent: int) -> Callable[[], None]:
    """For the child, between fork and exec: the user is changed by then, which would have undone the request (prctl(2))."""

    def tell() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)
        if os.getppid() != parent:
            os._exit(1)

    return tell


def run(command: list[str], user: str | None, folder: str) -> int | None:
    """Its status, or None when the lab let go before it ended; then it has been ended."""
    process = subprocess.Popen(
        command, user=user, extra_groups=[] if user else None, cwd=folder, stdin=subprocess.DEVNULL, preexec_fn=told_at_our_end(os.getpid())
    )
    ended = os.pidfd_open(process.pid)
    try:
        ready, _, _ = select.select([0, ended], [], [])
        if ended in ready:
            return process.wait()
        process.send_signal(signal.SIGQUIT)
        if not select.select([ended], [], [], QUIT_S)[0]:
            process.kill()
        process.wait()
        return None
    finally:
        os.close(ended)


def kill_what_is_left() -> None:
    """Children of ours, and theirs as they come to us."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while left := children.read_text().split():
        for pid in left:
            os.kill(int(pid), signal.SIGKILL)
        for pid in left:
            os.waitpid(int(pid), 0)


def tell_log(folder: Path) -> None:
    """Why it ended, on our standard error: the folder is about to go."""
    for file in sorted(folder.iterdir()):
        sys.stderr.write(file.read_text(errors="replace")[-TOLD_CHARACTERS:])


def main() -> int:
    order = json.loads(sys.argv[1])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the lab ends us by letting go of the pipe
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        for command in order["commands"]:
            status = run(command, order["user"], order["folder"])
            kill_what_is_left()
            if status is None:
                return 0
            if status != 0:
                tell_log(Path(order["folder"]) / "log")
                return 1
        return 1
    finally:
        shutil.rmtree(order["folder"], ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
