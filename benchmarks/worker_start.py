"""From the start of `worker.py` to the first poll of its workflows' queue, against a worker of the SDK alone with as many workflows.

Both ways seen from outside: the process is started, and the server asked until it lists that process among the queue's pollers. Ours is
started in a folder in which a worker has run before, as a worker is: its stores exist and the server knows the search attributes.
"""

import asyncio
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import NamedTuple

import psutil
from temporalio.client import Client

from benchmarks.measured import Measured, ratio
from benchmarks.running import ROOT, environment, rounds, server
from perfwright.models.queues import CENTRAL_QUEUE
from starter.children import Child
from starter.pollers import pollers_of
from workflows.registry import WORKFLOWS

LIMIT = 1.5
ROUNDS = 8
WITHIN_S = 120.0
START_S = 60.0
PAUSE_S = 0.01


class Start(NamedTuple):
    """Of a process, from its start to its first poll."""

    wall_s: float
    cpu_s: float


async def measure() -> list[Measured]:
    ours: list[Start] = []
    theirs: list[Start] = []
    with tempfile.TemporaryDirectory(prefix="perfwright-") as temporary:
        our_folder, raw_folder = make_folders(Path(temporary), len(WORKFLOWS))
        async with server() as address:
            client = await Client.connect(address)
            for number in rounds(ROUNDS + 1, within_s=WITHIN_S):
                queue = f"raw-{uuid.uuid4()}"
                raw = [str(ROOT / "benchmarks/samples/raw_worker.py"), address, queue, str(len(WORKFLOWS))]
                sides = [([str(ROOT / "worker.py")], CENTRAL_QUEUE, our_folder, ours), (raw, queue, raw_folder, theirs)]
                for command, polled, folder, starts in sides if number % 2 else sides[::-1]:
                    start = await start_worker(client, address, command, polled, folder)
                    if number:  # the first compiles and makes the stores
                        starts.append(start)
    wall = ratio([start.wall_s for start in ours], [start.wall_s for start in theirs])
    cpu = ratio([start.cpu_s for start in ours], [start.cpu_s for start in theirs])
    return [
        Measured("worker start to first poll", wall.median, "x", LIMIT, note=f"{wall.note('s')}; {len(WORKFLOWS)} workflows"),
        Measured("its CPU until then", cpu.median, "x", note=cpu.note("s")),
    ]


def make_folders(parent: Path, number: int) -> tuple[Path, Path]:
    """One with an empty registry for ours; one for the other, with as many workflow files as we have, each a copy of a sample."""
    ours, theirs = parent / "ours", parent / "raw"
    ours.mkdir()
    (ours / "perfwright.toml").touch()
    theirs.mkdir()
    source = (ROOT / "benchmarks/samples/plain_gate.py").read_text(encoding="utf-8")
    for one in range(number):
        (theirs / f"process_{one}.py").write_text(source.replace("PlainGatedSteps", f"Process{one}"), encoding="utf-8")
    return ours, theirs


async def start_worker(client: Client, address: str, command: list[str], queue: str, folder: Path) -> Start:
    """Until it polls; then it is stopped."""
    variables = environment(TEMPORAL_ADDRESS=address, PYTHONPATH=f"{ROOT}:{folder}")
    began = time.perf_counter()
    with Child("worker", [sys.executable, *command], env=variables, cwd=folder, grace_s=30) as child:
        while not await polls(client, queue, child.pid):
            if child.ended or time.perf_counter() - began > START_S:
                raise RuntimeError(f"{child.epitaph()}" if child.ended else f"no poll within {START_S:g} s")
            await asyncio.sleep(PAUSE_S)
        wall_s, used = time.perf_counter() - began, psutil.Process(child.pid).cpu_times()
        return Start(wall_s, used.user + used.system)


async def polls(client: Client, queue: str, pid: int | None) -> bool:
    """Workers tell `pid@host` of themselves."""
    if pid is None:
        return False
    return any(name.startswith(f"{pid}@") for name in (await pollers_of(client, queue, workflows=True)).identities)
