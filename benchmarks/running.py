"""Servers and workers for a benchmark: processes of their own, found by pid, gone when the benchmark is."""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from temporalio.client import Client

from starter.children import Child
from starter.dev_server import start_dev_server, without_temporal
from starter.search_attributes import ensure_search_attributes
from starter.temporal_cli import find_temporal_cli

ROOT = Path(__file__).resolve().parent.parent
READY_S = 120.0
OURS, RAW = "ours", "raw"


def environment(**more: str) -> dict[str, str]:
    """Ours without what would steer it elsewhere: no profile, no metrics, no registry of this folder."""
    kept = {name: value for name, value in without_temporal(os.environ).items() if not name.startswith("PERFWRIGHT_")}
    return kept | {"PERFWRIGHT_METRICS": "off", "PYTHONPATH": str(ROOT)} | more


@asynccontextmanager
async def server() -> AsyncIterator[str]:
    """The address of a development server that keeps everything in memory, with our search attributes."""
    with start_dev_server(find_temporal_cli().path, db=None, port=None, ui=False) as running:
        await ensure_search_attributes(await Client.connect(running.address))
        yield running.address


@dataclass(frozen=True)
class SampleWorker:
    """One that polls `queue`."""

    pid: int
    queue: str

    def cpu_s(self) -> float:
        """User and system time of the process so far."""
        used = psutil.Process(self.pid).cpu_times()
        return used.user + used.system

    def resident_bytes(self) -> int:
        return int(psutil.Process(self.pid).memory_info().rss)


@contextmanager
def sample_worker(kind: str, address: str, *, cached: int = 1_000) -> Iterator[SampleWorker]:
    """`benchmarks.samples.worker` in a folder of its own."""
    queue = f"benchmark-{kind}"
    command = [sys.executable, "-m", "benchmarks.samples.worker", kind, "--address", address, "--queue", queue, "--cached", str(cached)]
    with (
        tempfile.TemporaryDirectory(prefix="perfwright-") as folder,
        Child(f"{kind} worker", command, env=environment(), cwd=Path(folder)) as child,
    ):
        child.wait_ready(READY_S)
        assert child.pid is not None, "it said that it is ready"
        yield SampleWorker(child.pid, queue)


def rounds(most: int, *, least: int = 4, within_s: float) -> Iterator[int]:
    """0, 1, 2 ...: as many as asked for, fewer on a slow machine; an even number, so that each side begins as often."""
    began = time.perf_counter()
    for number in range(most):
        if number >= least and number % 2 == 0 and time.perf_counter() - began > within_s:
            return
        yield number


async def wait_until(condition: Callable[[], Awaitable[bool]], timeout_s: float, what: str) -> None:
    """Ask ten times a second. Raises TimeoutError that says what did not come."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not await condition():
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s")
        await asyncio.sleep(0.1)
