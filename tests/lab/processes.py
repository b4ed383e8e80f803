"""Waiting for processes in the lab's tests."""

import time
from collections.abc import Callable

import psutil


def until(what: Callable[[], bool], timeout_s: float = 15.0) -> bool:
    """Whether `what` came true in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.02)
    return what()


def ended(pid: int) -> bool:
    """Whether no process of that id runs; one that is dead and not yet reaped has ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
