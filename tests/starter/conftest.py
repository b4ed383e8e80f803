"""A worker for the stand-in of `cli_samples`, with real stores and a real registry, and the command line against it."""

import asyncio
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from activities.context import WorkerContext
from activities.gates import Gates
from activities.reports import Reports
from activities.targets import Targets
from perfwright.models.queues import CENTRAL_QUEUE
from starter.client import Perfwright
from tests.conftest import run_worker
from tests.starter.cli_samples import AsksForChange, HasChild, SampleRecorder, StandIn

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Bench:
    """A worker with a registry of two targets, and where it is."""

    folder: Path
    target: str
    other: str
    recorder: SampleRecorder


@dataclass(frozen=True)
class Said:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Awaitable[Said]]


def registry_of(target: str, other: str) -> str:
    return f"""
[environments.lab]
review = "ask"
[environments.quick]
review = "auto"
[targets.{target}]
kind = "process"
environment = "lab"
process = {{ pid = {os.getpid()} }}
[targets.{other}]
kind = "process"
environment = "quick"
process = {{ pid = {os.getpid()} }}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def bench_on(client: Client, folder: Path) -> Callable[..., AbstractAsyncContextManager[Bench]]:
    """`async with bench_on(queue):` the stand-in's worker on that queue."""
    unique = uuid.uuid4().hex[:8]
    target, other = f"shop-{unique}", f"quick-{unique}"
    (folder / "perfwright.toml").write_text(registry_of(target, other))

    @asynccontextmanager
    async def run(queue: str = CENTRAL_QUEUE) -> AsyncIterator[Bench]:
        context = await WorkerContext.open(folder / "perfwright.toml")
        recorder = SampleRecorder()
        gates = Gates(context.registry_file)
        try:
            async with run_worker(
                client,
                queue,
                workflows=[StandIn, HasChild, AsksForChange],
                activities=[
                    Targets(context.registry_file).resolve_target,
                    gates.read_gate_policy,
                    gates.send_notification,
                    context.history.number_run,
                    context.history.record_run,
                    Reports(context.artifacts).publish_report,
                    recorder.record_sample,
                ],
            ):
                yield Bench(folder, target, other, recorder)
        finally:
            recorder.finish.set()
            await context.close()

    return run


@pytest.fixture
async def bench(bench_on: Callable[..., AbstractAsyncContextManager[Bench]]) -> AsyncIterator[Bench]:
    async with bench_on() as running:
        yield running


@pytest.fixture
async def perf(client: Client, bench: Bench) -> AsyncIterator[Perfwright]:
    async with Perfwright.connect(client, config=bench.folder / "perfwright.toml") as connected:
        yield connected


@pytest.fixture
def command(temporal_server: str, folder: Path) -> Command:
    """`await command("show", "shop")`: the real program, in the folder of the registry."""
    environ = {name: value for name, value in os.environ.items() if name != "COLUMNS" and not name.startswith(("TEMPORAL_", "PERFWRIGHT_"))}
    environ |= {"TEMPORAL_ADDRESS": temporal_server, "TEMPORAL_CONFIG_FILE": os.devnull, "USER": "ada", "LOGNAME": "ada"}

    async def run(*words: str, stdin: str = "", interrupt_at: str = "", **more: str) -> Said:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "starter.cli.main",
            *words,
            cwd=folder,
            env=environ | {"PYTHONPATH": str(ROOT)} | more,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(90):
                if interrupt_at:
                    return await _interrupted(process, interrupt_at)
                out, err = await process.communicate(stdin.encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return Said(process.returncode or 0, out.decode(), err.decode())

    return run


async def _interrupted(process: asyncio.subprocess.Process, at: str) -> Said:
    """Ctrl-C as soon as a line holds `at`."""
    assert process.stdout is not None
    seen = ""
    while at not in seen:
        line = await process.stdout.readline()
        assert line, f"ended without {at!r}: {seen}"
        seen += line.decode()
    process.send_signal(2)
    out, err = await process.communicate()
    return Said(process.returncode or 0, seen + out.decode(), err.decode())


async def until(condition: Callable[[], Awaitable[Any]], deadline_s: float = 40.0) -> Any:
    end = asyncio.get_running_loop().time() + deadline_s
    while not (found := await condition()):
        assert asyncio.get_running_loop().time() < end, f"not within {deadline_s} s"
        await asyncio.sleep(0.05)
    return found
