"""Data that servers of all test processes start on copies of: made by the first process that needs it, gone with the last that may."""

import atexit
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
"""One word for all processes of a test run."""
_MADE: dict[str, tuple[Path, IO[str]]] = {}
"""Name -> folder, and the file on which its users hold a shared lock for as long as they live."""


def made_once(name: str, place: Path, make: Callable[[Path], None]) -> Path:
    """The folder in `place` that `make` has filled. Another process that wants it meanwhile waits until it is filled, and no longer."""
    if name not in _MADE:
        folder = place / f"perfwright-made-{name}-{RUN}"
        with _alone(folder):
            if not folder.exists():
                folder.mkdir()
                try:
                    make(folder)
                except BaseException:
                    shutil.rmtree(folder, ignore_errors=True)
                    raise
            users = folder.with_suffix(".users").open("a")
            fcntl.flock(users, fcntl.LOCK_SH)
        _MADE[name] = folder, users
        atexit.register(_remove_if_last, folder, users)
    return _MADE[name][0]


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else makes or removes it meanwhile."""
    with folder.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_if_last(folder: Path, users: IO[str]) -> None:
    with _alone(folder):
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        shutil.rmtree(folder, ignore_errors=True)
        Path(users.name).unlink(missing_ok=True)
        folder.with_suffix(".lock").unlink(missing_ok=True)
