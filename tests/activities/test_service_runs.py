"""Services started fresh, with the logs of their collectors."""

import os
import sys
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.collector_logs import AGENT_FOLDER, logging_environment, read_logs, with_agent
from activities.service_runs import measured, requests_of, send, started
from activities.subprocesses import Tool, run
from activities.trial_measuring.sides import CommandSide

SERVER = """
import gc, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/collect":
            gc.collect()
        status = 500 if self.path == "/broken" else 200
        self.send_response(status); self.send_header("Content-Length", "0"); self.end_headers()
        if self.path == "/exit":
            sys.stderr.write("token=abcdefgh and " + __import__("os").environ.get("PASSPHRASE", "")); sys.stderr.flush()
            __import__("os")._exit(3)
    def log_message(self, *arguments): pass
server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.serve_forever()
"""


def side(*words: str, **environment: str) -> CommandSide:
    return CommandSide((sys.executable, *words), Path(), environment)


async def test_pauses_are_those_of_the_window() -> None:
    """Collections before the window do not count, those within it do, each with its cause."""

    async def look() -> tuple[int, int, float]:
        async with started(side("-c", SERVER, "{port}"), "server", {}) as service:
            await service.ready("/")
            await send([service], [(0,)] * 7, ["/collect"] * 7, 1)
            (sample,) = await measured([service], [(0,)] * 5, ["/collect"] * 5, 1)
            assert sample.table and sample.facts and sample.facts.thresholds == (700, 10, 10)
            full = [line.count for line in sample.table.lines if line.cause == "full generation"]
            return sum(full), len(sample.answers.seconds), sample.memory_bytes

    full, answered, memory_bytes = await ActivityEnvironment().run(look)
    assert (full, answered) == (5, 5) and memory_bytes > 1_000_000


async def test_errors_are_no_answers() -> None:
    """Half of the requests fail: so does half of the share."""

    async def look() -> float:
        async with started(side("-c", SERVER, "{port}"), "server", {}) as service:
            await service.ready("/")
            (sample,) = await measured([service], [(0,)] * 10, requests_of(("/", "/broken"), 10), 2)
            return sample.answers.errors_share

    assert await ActivityEnvironment().run(look) == 0.5


async def test_two_services_get_the_same_requests() -> None:
    """Each request goes to both, in the order that was drawn for it."""

    async def look() -> tuple[set[int], set[int]]:
        async with started(side("-c", SERVER, "{port}"), "A", {}) as a, started(side("-c", SERVER, "{port}"), "B", {}) as b:
            for service in (a, b):
                await service.ready("/")
            first, second = await measured([a, b], [(0, 1), (1, 0), (0, 1)], ["/"] * 3, 2)
            return set(first.answers.seconds), set(second.answers.seconds)

    assert await ActivityEnvironment().run(look) == ({0, 1, 2}, {0, 1, 2})


async def test_a_service_that_ends_is_told_without_its_secrets() -> None:
    """What it said last stands in the error; what it inherited does not."""

    async def look() -> None:
        async with started(side("-c", SERVER, "{port}", PASSPHRASE="very-secret"), "the service", {}) as service:
            await service.ready("/")
            await measured([service], [(0,)] * 2, ["/exit", "/"], 1)

    with pytest.raises(ApplicationError) as told:
        await ActivityEnvironment().run(look)
    assert "the service ended" in told.value.message and "very-secret" not in told.value.message


async def test_one_that_never_starts_is_told_at_once() -> None:
    """With the last that it said, long before the limit for coming up."""

    async def look() -> None:
        async with started(side("-c", "raise SystemExit('no such file')"), "the service", {}) as service:
            await service.ready("/")

    with pytest.raises(ApplicationError, match="no such file"):
        await ActivityEnvironment().run(look)


async def logged(folder: Path, program: str, **environment: str) -> str:
    variables = {**environment, **logging_environment(folder, environment)}
    tool = Tool([sys.executable, "-c", program], limit_s=60, way_out="", environment=variables)
    return (await run(tool)).require_success().stdout.strip()


async def test_settings_come_before_the_program(tmp_path: Path) -> None:
    """Thresholds are set when the program begins; its PYTHONPATH and its own sitecustomize are as without the agent."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "sitecustomize.py").write_text("import sys; sys.own = 'seen'")
    told = await logged(
        tmp_path,
        "import gc, sys; print(gc.get_threshold(), sys.own, sum('gc_agent' in one for one in sys.path))",
        PYTHONPATH=str(tmp_path / "own"),
        PERFWRIGHT_GC_SETTINGS="5000,7,9",
    )
    assert told == "(5000, 7, 9) seen 0"
    collected = read_logs(tmp_path)
    assert collected and collected.facts.thresholds == (5_000, 7, 9)


async def test_what_is_loaded_is_frozen_when_it_listens(tmp_path: Path) -> None:
    """Not before, and once."""
    program = """
import gc, socket
kept = [[n] for n in range(1000)]
one, two = socket.socket(), socket.socket()
before = gc.get_freeze_count()
one.bind(("127.0.0.1", 0)); one.listen()
after = gc.get_freeze_count()
two.bind(("127.0.0.1", 0)); two.listen()
print(before, after > 1000, gc.get_freeze_count() == after)
"""
    assert await logged(tmp_path, program, PERFWRIGHT_GC_SETTINGS="freeze") == "0 True True"


async def test_a_broken_setting_ends_no_program(tmp_path: Path) -> None:
    """It runs as without."""
    assert await logged(tmp_path, "print('runs')", PERFWRIGHT_GC_SETTINGS="many,x") == "runs"


async def test_the_log_survives_a_kill_and_is_bounded(tmp_path: Path) -> None:
    """A killed program's collections are there; a forked child writes its own."""
    program = (
        "import gc, os\n[gc.collect() for _ in range(50)]\nif not os.fork(): gc.collect(); os.kill(os.getpid(), 9)\nos.wait(); print('ok')"
    )
    assert await logged(tmp_path, program) == "ok"
    files = sorted(tmp_path.glob("gc-*.jsonl"))
    assert len(files) == 2 and all(file.stat().st_size == 4 << 20 for file in files)
    collected = read_logs(tmp_path)
    assert collected and sum(pause.cause == "full generation" for pause in collected.pauses) >= 51


def test_the_agent_comes_first_and_once() -> None:
    """Whatever stands on the path already."""
    assert with_agent("") == AGENT_FOLDER
    twice = with_agent(with_agent(f"/a{os.pathsep}/b"))
    assert twice == os.pathsep.join([AGENT_FOLDER, "/a", "/b"])
