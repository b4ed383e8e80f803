"""What processes hold of the machine's memory: PSS, in which a page that several share counts once (proc_pid_smaps(5))."""

from collections.abc import Iterable
from contextlib import suppress

import psutil


def pss_bytes(processes: Iterable[psutil.Process]) -> float:
    """Of all of them together; one that has ended holds nothing. 0 where one may not be looked at: then nothing is known."""
    total = 0.0
    try:
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
    except psutil.AccessDenied:
        return 0.0
    return total
