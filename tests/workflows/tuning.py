"""GarbageCollectionTuning in tests: services of the lab as targets, and a person at the trial's gates."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temporalio.client import Client, RPCError, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCStatusCode

from activities.context import WorkerContext
from activities.service_runs import free_port
from lab.programs import build
from perfwright.models.gc_tuning import GcDetails
from perfwright.models.result import ProcessResult
from tests.workflows.investigating import target, workers
from tests.workflows.watching_runs import open_gate, until
from workflows.memory.garbage_collection_tuning import GarbageCollectionTuning

ROOT = Path(__file__).resolve().parent.parent.parent
GcResult = ProcessResult[GcDetails]
Handle = WorkflowHandle[Any, Any]
PYTHON_LOAD: dict[str, Any] = {
    "paths": [f"/visit/{visitor}" for visitor in range(120)],
    "ready_path": "/ready",
    "requests_per_round": 400,
    "warm_up_requests": 40,
}
JVM_LOAD: dict[str, Any] = {
    "paths": [f"/list/{branch}" for branch in range(20)],
    "ready_path": "/ready",
    "requests_per_round": 500,
    "warm_up_requests": 150,
}


HOARDER = """
import gc, os, sys
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
live = [[n] for n in range(150_000)]
held = b"x" * (1_000_000 * int(os.environ.get("HELD_MB", "0")))
latest = deque(maxlen=60)
gc.collect()
class Knot:
    def __init__(self):
        self.me, self.load = self, bytearray(3_000)
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    full, looked_through = 0, 0
    def do_GET(self):
        if self.path != "/ready":
            for _ in range(0 if self.path == "/calm" else 150): Knot()
            if self.path == "/remembered": latest.append([{"n": [n]} for n in range(480)])
            kept = [[n] for n in range(2_000)]
            full = gc.get_stats()[2]["collections"]
            if full != Handler.full:
                Handler.looked_through += (full - Handler.full) * len(gc.get_objects())
                Handler.full = full
        self.send_response(200); self.send_header("Content-Length", "0")
        self.send_header("Full-Collections", str(Handler.full)); self.send_header("Looked-Through", str(Handler.looked_through))
        self.end_headers()
    def log_message(self, *arguments): pass
print("ready", flush=True)
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
"""Its garbage hangs together in circles and is heavy: what is collected rarely piles up.

Each answer says how many objects full collections have looked through by then: what they cost, in a count that no busy machine disturbs.
"""


def python_command() -> tuple[str, ...]:
    return (sys.executable, "-m", "lab.gc.recommender", "{port}")


def jvm_command() -> tuple[str, ...]:
    return (*build("gc-jvm").head, "{port}")


def batch_command() -> tuple[str, ...]:
    return (sys.executable, "-m", "lab.gc.stocktaking")


@asynccontextmanager
async def serving(words: Sequence[str]) -> AsyncIterator[tuple[int, int]]:
    """A service that was started by others: pid and port. `words` are given the port, and say `ready`."""
    port = free_port()
    program = await asyncio.create_subprocess_exec(*words, str(port), cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    try:
        assert program.stdout and await program.stdout.readline() == b"ready\n"
        yield program.pid, port
    finally:
        program.kill()
        await program.wait()


@dataclass(frozen=True)
class Tuned:
    """A target under a name of the test's own, and everything that serves it."""

    client: Client
    task_queue: str
    name: str
    context: WorkerContext

    async def start(self, **request: Any) -> Handle:
        return await self.client.start_workflow(
            GarbageCollectionTuning.__name__,
            {"target": self.name} | request,
            id=f"garbage-collection-tuning/{self.name}",
            task_queue=self.task_queue,
            result_type=GcResult,
        )

    async def trial(self, handle: Handle, number: int = 1) -> Handle:
        """The run's trial of that number, once it has begun: its id holds the run's own."""
        child = self.client.get_workflow_handle(f"{handle.id}/trial/{(await handle.describe()).run_id}/{number}")

        async def begun() -> bool:
            if (await handle.describe()).status != WorkflowExecutionStatus.RUNNING:
                raise AssertionError(f"the run ended before: {(await handle.result()).summary}")
            try:
                await child.describe()
            except RPCError as trouble:
                assert trouble.status == RPCStatusCode.NOT_FOUND, trouble
                return False
            return True

        await until(begun, f"a trial of {handle.id}")
        return child

    def launches(self) -> list[str]:
        """What stands of changed launches."""
        folder = self.context.state_folder / "launches"
        return [file.read_text() for file in sorted(folder.glob("*"))] if folder.exists() else []


def registered(name: str, host: str, process: str | Sequence[str], *, environment: str = "lab", allow: str = "") -> str:
    """The registry's entry. `process`: a command, or the inside of the inline table."""
    if not isinstance(process, str):
        process = f'command = {json.dumps(list(process))}, working_directory = "{ROOT}", environment_names = ["LAB_PROBLEMS"]'
    return target(name, host, process, environment=environment, allow=allow)


@asynccontextmanager
async def tuning(
    client: Client,
    task_queue: str,
    host: str,
    folder: Path,
    process: str | Sequence[str],
    *,
    problems: str = "all",
    environment: str = "lab",
    allow: str = "",
) -> AsyncIterator[Tuned]:
    """`process`: a command, or the inside of the registry's inline table."""
    name = f"tuned-{host[-8:]}"
    entry = registered(name, host, process, environment=environment, allow=allow)
    async with workers(client, task_queue, host, folder, entry, environ={"LAB_PROBLEMS": problems}) as context:
        yield Tuned(client, task_queue, name, context)


async def answer(handle: Handle, gate: str, action: str = "approve", *, revision: int = 1, **more: Any) -> str:
    """As a person does, with the digest that they saw; gives what was on show."""
    shown = await open_gate(handle, gate, revision)
    await handle.signal(action, {"gate": gate, "by": "grace", "digest": shown.digest, "comment": "seen"} | more)
    return shown.question.exact_change
