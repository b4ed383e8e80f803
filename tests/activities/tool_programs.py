"""Small Python programs to run as tools: a stubborn one, one with a family; and looks at what is left of them."""

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress

import psutil
import pytest
from temporalio.exceptions import ApplicationError

from activities.subprocesses import Tool

SERVERS = ("postgres", "mariadbd", "temporal")
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"


def python(code: str, *arguments: str, **bounds: object) -> Tool:
    return Tool([sys.executable, "-c", code, *arguments], **({"limit_s": 60, "way_out": "install Python", "stop_grace_s": 0.3} | bounds))


async def soon(condition: Callable[[], object], within_s: float = 30) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.02)


def gone(*pids: int) -> bool:
    """Ended and reaped."""
    return not any(psutil.pid_exists(pid) for pid in pids)


def refused_as(error: pytest.ExceptionInfo[ApplicationError]) -> str | None:
    return error.value.type


def children() -> set[int]:
    """Everything below this process but the servers of other tests, whose own children come and go."""
    found = set()
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if child.name() not in SERVERS:
                found.add(child.pid)
    return found
