"""A service that is started fresh, gets requests, and is looked at meanwhile: latencies, CPU, memory, and the pauses of its collector.

    async with started(side, folder, drawn, heartbeat=...) as service:
        await service.ready("/", limit_s)
        await send([service], orders, paths, concurrency)      # warm-up
        service.begin()
        answers = await send([service], orders, paths, concurrency)
        sample = service.sample(answers[0])

Several services get the same requests side by side, each request in the order that was drawn for it.
"""

import asyncio
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from temporalio.exceptions import ApplicationError

from activities.collector_logs import Collected, logging_environment, read_logs
from activities.errors import refuse
from activities.http_requests import Connection, NoAnswer
from activities.process_memory import pss_bytes
from activities.processes_below import itself_and_below, program_named
from activities.subprocesses import Heartbeat, RunningTool, Tool, running
from activities.trial_measuring.sides import CommandSide
from perfwright.analysis.gc.pauses import nearest_rank, pause_table
from perfwright.models.errors import ErrorType
from perfwright.models.gc_tuning import PORT_WORD, CollectorFacts, Pause, PauseTable
from perfwright.models.secrets import without_secrets

READY_S = 60.0
"""How long a service may take until it answers."""
ANSWER_S = 30.0
LIFE_S = 900.0
SAMPLED_EVERY_S = 0.25
ENDING_S, ENDING_LOOKS = 1.0, 20
"""How long a service that failed to answer is given to be seen as ended."""
KEPT_BYTES = 64 * 1024
SHORTEST_SECRET = 4
TAIL_CHARACTERS = 400
SERVER_ERRORS = 500


@dataclass(frozen=True)
class Answers:
    """What one service answered: request number -> seconds; and how many failed."""

    seconds: Mapping[int, float]
    failed: int
    concurrency: int

    @property
    def throughput_hz(self) -> float:
        """Requests a second that so many connections get, each with one at a time (Little's law)."""
        spent = sum(self.seconds.values())
        return self.concurrency * len(self.seconds) / spent if spent else 0.0

    @property
    def errors_share(self) -> float:
        asked = len(self.seconds) + self.failed
        return self.failed / asked if asked else 1.0


@dataclass(frozen=True)
class ServiceSample:
    """One service over one window."""

    answers: Answers
    seconds: float
    cpu_s: float
    memory_bytes: float
    """The most that its processes held, pages that are mapped several times counted once (PSS): ZGC maps its heap three times."""
    facts: CollectorFacts | None
    table: PauseTable | None
    pauses: tuple[Pause, ...]
    processes: int = 1
    executable: str = ""
    """Of the JVM, where there is one."""


@dataclass
class _Window:
    began_s: float = 0.0
    ended_s: float = 0.0
    cpu_s: float = 0.0
    memory_bytes: float = 0.0


@dataclass
class Service:
    """A service that runs. Made by `started`."""

    child: RunningTool
    port: int
    folder: Path
    title: str
    environment: Mapping[str, str]
    window: _Window = field(default_factory=_Window)
    executable: str = ""

    async def ready(self, path: str) -> None:
        """Until it answers. Raises ToolFailed when it ends, ToolTimeout when it does not come up."""
        until = time.monotonic() + READY_S
        connection = Connection(self.port, limit_s=READY_S)
        try:
            while time.monotonic() < until:
                if self.child.ended:
                    raise self._ended()
                with suppress(NoAnswer):
                    if (await connection.get(path)).status < SERVER_ERRORS:
                        return
                await asyncio.sleep(0.02)
        finally:
            connection.close()
        raise refuse(
            ErrorType.TOOL_TIMEOUT,
            f"{self.title} did not answer {path} on port {self.port} within {READY_S:.0f} s",
            way_out="ready_path names a path that answers without an error once the service is up; the command listens on {port}",
        )

    def begin(self) -> None:
        """What comes now counts."""
        self.window = _Window(began_s=time.monotonic(), cpu_s=-self._cpu_s())

    async def watched(self) -> None:
        """Look at its memory until cancelled."""
        while True:
            self.window.memory_bytes = max(self.window.memory_bytes, await asyncio.to_thread(self._memory_bytes))
            await asyncio.sleep(SAMPLED_EVERY_S)

    async def finish(self, answers: Answers) -> None:
        """What came since `begin` counts. Raises ToolFailed where it ended meanwhile."""
        self.window.ended_s = time.monotonic()
        for _ in range(ENDING_LOOKS):
            if self.child.ended or not answers.failed:
                break
            await asyncio.sleep(ENDING_S / ENDING_LOOKS)  # perhaps it is just ending
        if self.child.ended:
            raise self._ended()
        self.window.cpu_s += self._cpu_s()
        self.window.memory_bytes = max(self.window.memory_bytes, self._memory_bytes())

    def sample(self, answers: Answers) -> ServiceSample:
        seconds = self.window.ended_s - self.window.began_s
        collected: Collected | None = read_logs(self.folder)
        pauses = collected.within(self.window.began_s, self.window.ended_s) if collected else []
        return ServiceSample(
            answers=answers,
            seconds=seconds,
            cpu_s=max(0.0, self.window.cpu_s),
            memory_bytes=self.window.memory_bytes,
            facts=collected.facts if collected else None,
            table=pause_table(pauses, seconds, processes=collected.processes, dropped=collected.dropped) if collected else None,
            pauses=tuple(pauses),
            processes=collected.processes if collected else 1,
            executable=self.executable,
        )

    def _cpu_s(self) -> float:
        total = 0.0
        for process in itself_and_below(self.child.pid):
            with suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def _memory_bytes(self) -> float:
        processes = itself_and_below(self.child.pid)
        self.executable = self.executable or program_named("java", processes)
        return pss_bytes(processes)

    def _ended(self) -> ApplicationError:
        said = self.child.stderr.strip() or self.child.stdout.strip()
        told = f": {told_without(said, self.environment)[-TAIL_CHARACTERS:]}" if said else ""
        failed: ApplicationError = refuse(
            ErrorType.TOOL_FAILED, f"{self.title} ended{told}", way_out="Run the command by hand, with a port in the place of {port}"
        )
        return failed


def logged(side: CommandSide, argv: Sequence[str], title: str, drawn: Mapping[str, str], folder: Path, *, limit_s: float) -> Tool:
    """The command of a side, whose collectors write their logs into `folder`."""
    return Tool(
        argv,
        limit_s=limit_s,
        way_out="Name a program that exists on the target's host",
        environment={**side.environment, **drawn, **logging_environment(folder, side.environment)},
        directory=side.directory,
        keep_bytes=KEPT_BYTES,
        title=title,
    )


@asynccontextmanager
async def started(side: CommandSide, title: str, drawn: Mapping[str, str], heartbeat: Heartbeat | None = None) -> AsyncIterator[Service]:
    """The service on a free port, with the logs of its collectors; gone with the block."""
    folder = Path(tempfile.mkdtemp(prefix="perfwright-service-"))
    port = free_port()
    argv = [word.replace(PORT_WORD, str(port)) for word in side.argv]
    tool = logged(side, argv, title, drawn, folder, limit_s=LIFE_S)
    try:
        async with running(tool, heartbeat=heartbeat) as child:
            yield Service(child, port, folder, title, side.environment)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def send(services: Sequence[Service], orders: Sequence[Sequence[int]], paths: Sequence[str], concurrency: int) -> list[Answers]:
    """Request number n asks for `paths[n]`, of the services in the order `orders[n]`. Answers by service; an error is no answer."""
    seconds: list[dict[int, float]] = [{} for _ in services]
    failed = [0] * len(services)
    numbers = iter(range(len(orders)))

    async def ask() -> None:
        connections = [Connection(service.port, limit_s=ANSWER_S) for service in services]
        try:
            for number in numbers:
                for place in orders[number]:
                    try:
                        answer = await connections[place].get(paths[number])
                    except NoAnswer:
                        failed[place] += 1
                        continue
                    if answer.status < SERVER_ERRORS:
                        seconds[place][number] = answer.seconds
                    else:
                        failed[place] += 1
        finally:
            for connection in connections:
                connection.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(ask())
    return [Answers(one, lost, concurrency) for one, lost in zip(seconds, failed, strict=True)]


async def measured(
    services: Sequence[Service], orders: Sequence[Sequence[int]], paths: Sequence[str], concurrency: int
) -> list[ServiceSample]:
    """Send what counts, and look at all services meanwhile. Raises ToolFailed where one ends."""
    for service in services:
        service.begin()
    watching = [asyncio.create_task(service.watched()) for service in services]
    try:
        answers = await send(services, orders, paths, concurrency)
    finally:
        for watch in watching:
            watch.cancel()
        await asyncio.wait(watching)
    for service, answered in zip(services, answers, strict=True):
        await service.finish(answered)
    return [await asyncio.to_thread(service.sample, one) for service, one in zip(services, answers, strict=True)]


def requests_of(paths: Sequence[str], count: int) -> list[str]:
    """So many, all paths in turn."""
    return [paths[number % len(paths)] for number in range(count)]


def p_ms(answers: Answers, percent: int) -> float:
    """A percentile of the latencies (nearest rank); 0 where nothing was answered."""
    if not answers.seconds:
        return 0.0
    return 1e3 * nearest_rank(sorted(answers.seconds.values()), percent)


def told_without(said: str, environment: Mapping[str, str]) -> str:
    """What a program said, without the values that it inherited, and without what looks like a secret."""
    for value in sorted((value for value in environment.values() if len(value) >= SHORTEST_SECRET), key=len, reverse=True):
        said = said.replace(value, "***")
    return without_secrets(said)


def free_port() -> int:
    """Given by the kernel; the service takes it a moment later."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
