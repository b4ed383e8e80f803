"""A worker for the stand-in of `cli_samples`, with real stores and a real registry, and the command line against it."""

import asyncio
import json
import os
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest
from temporalio.client import Client

from activities.context import WorkerContext
from activities.gates import Gates
from activities.reports import Reports
from activities.targets import Targets
from perfwright.models.queues import CENTRAL_QUEUE
from starter.client import Perfwright
from tests import preloaded
from tests.conftest import run_worker
from tests.starter.cli_samples import AsksForChange, HasChild, SampleRecorder, StandIn


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
CLI = "starter.cli.main"


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


async def say(
    words: Sequence[str], environ: Mapping[str, str], folder: Path, *, program: Path | str = CLI, stdin: str = "", interrupt_at: str = ""
) -> Said:
    """What the real program says in that folder. It is there at once (tests/preloaded.py)."""
    with TemporaryFile() as given, TemporaryFile() as wrong:
        given.write(stdin.encode())
        given.seek(0)
        running = await asyncio.to_thread(preloaded.start, program, words, environ, folder, stdin=given, stderr=wrong)
        try:
            async with asyncio.timeout(90):
                out = await asyncio.to_thread(_heard, running, interrupt_at)
                code = await asyncio.to_thread(running.wait)
        finally:
            running.kill()
        wrong.seek(0)
        return Said(code, out, wrong.read().decode())


@pytest.fixture
def command(temporal_server: str, folder: Path) -> Command:
    """`await command("show", "shop")`: the command line, in the folder of the registry."""
    environ = {name: value for name, value in os.environ.items() if name != "COLUMNS" and not name.startswith(("TEMPORAL_", "PERFWRIGHT_"))}
    environ |= {"TEMPORAL_ADDRESS": temporal_server, "TEMPORAL_CONFIG_FILE": os.devnull, "USER": "ada", "LOGNAME": "ada"}

    async def run(*words: str, stdin: str = "", interrupt_at: str = "", **more: str) -> Said:
        return await say(words, environ | more, folder, stdin=stdin, interrupt_at=interrupt_at)

    return run


def _heard(program: preloaded.Forked, interrupt_at: str) -> str:
    """All that it says; Ctrl-C as soon as a line holds `interrupt_at`."""
    said = ""
    with program.stdout as stdout:
        while interrupt_at and interrupt_at not in said:
            line = stdout.readline()
            assert line, f"ended without {interrupt_at!r}: {said}"
            said += line
        if interrupt_at:
            program.send_signal(signal.SIGINT)
        return said + stdout.read()


async def until(condition: Callable[[], Awaitable[Any]], deadline_s: float = 40.0) -> Any:
    end = asyncio.get_running_loop().time() + deadline_s
    while not (found := await condition()):
        assert asyncio.get_running_loop().time() < end, f"not within {deadline_s} s"
        await asyncio.sleep(0.05)
    return found
