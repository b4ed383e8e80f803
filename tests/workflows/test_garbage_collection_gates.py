"""GarbageCollectionTuning where people say no, where input is wrong, and where a gain is too dear: the target stays as it was."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from activities.changes.injection import injected
from activities.changes.kind import Site
from activities.collector_logs import AGENT_FOLDER
from activities.finding_processes import describe, find_process
from activities.service_runs import free_port
from perfwright.models.target import ProcessSelector
from perfwright.models.trial_run import TrialResult
from tests.needs import needs
from tests.workflows.tuning import PYTHON_LOAD, ROOT, GcResult, answer, python_command, tuning
from tests.workflows.watching_runs import failure_of
from workflows.changes.trial import Trial

pytestmark = [needs("temporal"), pytest.mark.timeout(600)]

SHORT: dict[str, Any] = {"load": PYTHON_LOAD | {"requests_per_round": 300}, "rounds": 2, "trial_budget_s": 60.0}
FIRST = "thresholds 10000, 10, 10"
HOARDER = """
import gc, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
live = [[n] for n in range(150_000)]
held = b"x" * (1_000_000 * int(os.environ.get("HELD_MB", "0")))
gc.collect()
class Knot:
    def __init__(self):
        self.me, self.load = self, bytearray(3_000)
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path != "/ready":
            for _ in range(150 if self.path == "/" else 0): Knot()
            kept = [[n] for n in range(2_000)]
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *arguments): pass
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
"""Its garbage hangs together in circles and is heavy: what is collected rarely piles up."""


async def test_an_objective_that_is_refused_ends_it(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """After other candidates were asked for, one of them that does not exist; nothing was swept, nothing is changed."""
    async with tuning(client, task_queue, host_name, tmp_path, python_command(), environment="asking") as tuned:
        handle = await tuned.start(**SHORT)
        await answer(handle, "objective", "request_changes", overrides={"candidates": ["freeze", "no such"]})
        await answer(handle, "objective", "request_changes", overrides={"candidates": ["freeze"], "pause_target_ms": 5.0})
        await answer(handle, "objective", "reject", revision=2)
        result: GcResult = await handle.result()
        assert result.verdict == "rejected" and "grace" in result.summary
        assert [refused.reason for refused in result.refused_decisions if "there is no 'no such'" in refused.reason]
        assert [one.name for one in result.details.candidates] == ["freeze"] and result.details.sweep is None
        assert [step.name for step in result.steps].count("Find pause issues and candidates") == 2
        assert not tuned.launches()


@pytest.mark.parametrize("gate", ["change", "keep"])
async def test_a_trial_that_is_refused_is_undone(client: Client, task_queue: str, host_name: str, tmp_path: Path, gate: str) -> None:
    """At either of its gates: launched as before, and the refusal is the verdict."""
    async with tuning(client, task_queue, host_name, tmp_path, python_command()) as tuned:
        handle = await tuned.start(candidates=[FIRST], **SHORT)
        trial = await tuned.trial(handle)
        if gate == "keep":
            await answer(trial, "change")
        await answer(trial, gate, "reject")
        result: GcResult = await handle.result()
        assert result.verdict == "rejected" and result.details.trial and not result.details.trial.kept, result.summary
        assert result.details.after is None and result.details.configuration is None and not result.recommendations
        assert not tuned.launches()


async def test_rare_collections_that_cost_memory_are_not_tried(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """Circles of heavy garbage pile up without the oldest generation's collections: the candidate is too dear, and nobody is asked."""
    command = (sys.executable, "-c", HOARDER, "{port}")
    dear = "thresholds 50000, 20, 20"
    load = {"paths": ["/"], "ready_path": "/ready", "requests_per_round": 400, "warm_up_requests": 20}
    async with tuning(client, task_queue, host_name, tmp_path, command) as tuned:
        result: GcResult = await (await tuned.start(load=load, rounds=2, candidates=[dear], pause_target_ms=2.0)).result()
        assert result.details.sweep, result.summary
        score = next(one for one in result.details.sweep.scores if one.candidate == dear)
        assert score.memory_ratio > 1.1 and not score.allowed and score.note.startswith("memory x")
        assert result.verdict == "failed" and result.details.trial is None and not tuned.launches()


async def test_a_calm_service_in_twice_the_memory_is_not_kept(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """It wins its metric by far and breaks the guard on memory: undone, and launched as before."""
    command = (sys.executable, "-c", HOARDER, "{port}")
    spec = {"kind": "command", "environment": {"HELD_MB": "100", "PYTHONPATH": AGENT_FOLDER, "PERFWRIGHT_GC_SETTINGS": "1000000,100,100"}}
    measurement = {"kind": "service", "command": command, "ready_path": "/ready", "paths": ["/calm"], "requests_per_round": 100}
    async with tuning(client, task_queue, host_name, tmp_path, command) as tuned:
        target = tuned.context.registry_file.read().target(tuned.name)
        assert target
        result: TrialResult = await client.execute_workflow(
            Trial.__name__,
            {
                "target": target.model_dump(mode="json"),
                "title": "calm and large",
                "change": spec,
                "measurement": measurement,
                "metric": "gc_share",
                "wanted_effect": 0.9,
                "guards": [{"metric": "rss_bytes", "margin": 0.1}],
                "budget_s": 90.0,
                "ask_change": False,
                "ask_keep": False,
            },
            id=f"trial-{tuned.name}",
            task_queue=task_queue,
            result_type=TrialResult,
        )
        assert result.end == "undone" and result.reason.startswith("a guard was breached: rss_bytes"), result.reason
        assert result.evidence and result.evidence.judgement and result.evidence.judgement.verdict == "better"
        assert not tuned.launches()


@pytest.mark.parametrize(
    ("process", "request_", "word"),
    [
        (["python3", "server.py"], {}, "load: a command is observed"),
        (["python3", "server.py"], {"load": {"paths": ["/"]}}, "holds no {port}"),
        ("pid = 1", {}, "process 1"),
        (["no-such-program", "{port}"], {"load": {"paths": ["/"]}}, "no-such-program"),
        (["python3", "-I", "-c", HOARDER, "{port}"], {"load": {"paths": ["/"]}, "rounds": 2}, "not with -I"),
        (["python3", "-c", "raise SystemExit('nothing to serve')", "{port}"], {"load": {"paths": ["/"]}, "rounds": 2}, "nothing to serve"),
    ],
)
async def test_what_cannot_be_observed_is_told(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, process: Any, request_: dict[str, Any], word: str
) -> None:
    """Before anything is measured where that can be known; with the way out."""
    async with tuning(client, task_queue, host_name, tmp_path, process) as tuned:
        failure = await failure_of(await tuned.start(**request_))
        assert word in str(failure), failure


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[int, int]]:
    """The service of the lab by hand: pid and port."""
    port = free_port()
    words = (sys.executable, "-m", "lab.gc.recommender", str(port))
    program = await asyncio.create_subprocess_exec(*words, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    try:
        assert program.stdout and await program.stdout.readline() == b"ready\n"
        yield program.pid, port
    finally:
        program.kill()
        await program.wait()


PROBE = """
import http.client, sys
import psutil
port, pid = map(int, sys.argv[1:])
connection, program = http.client.HTTPConnection("127.0.0.1", port), psutil.Process(pid)
began = sum(program.cpu_times()[:2])
for visitor in range(300):
    connection.request("GET", f"/visit/{visitor}")
    connection.getresponse().read()
print(sum(program.cpu_times()[:2]) - began)
"""
"""CPU seconds of the service for as many visits: less noisy than the time they take."""


@pytest.mark.measuring
@needs("gdb", "ptrace")
async def test_a_running_process_is_tuned_where_it_stands(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """Observed, changed and proven without a restart: its thresholds are the new ones afterwards, and nothing of ours is left in it."""
    async with serving(tmp_path) as (pid, port):
        probe = [sys.executable, "-c", PROBE, str(port), str(pid)]
        load = [sys.executable, "-c", f"while True:\n  exec({PROBE!r})", str(port), str(pid)]
        async with tuning(client, task_queue, host_name, tmp_path, f"pid = {pid}", allow="inject") as tuned:
            handle = await tuned.start(observe_s=5.0, probe=probe, workload={"command": load}, trial_budget_s=180.0)
            trial = await tuned.trial(handle)
            change = await answer(trial, "change")
            assert "gc.set_threshold(10000, 10, 10)" in change
            await answer(trial, "keep")
            result: GcResult = await handle.result()
        assert result.details.before and result.details.before.live and result.details.trial and result.details.trial.kept, result.summary
        found = await injected(
            describe(find_process(ProcessSelector(pid=pid))),
            "def ask():\n    import gc\n    return [list(gc.get_threshold()), len(gc.callbacks)]\n",
            Site({}, tmp_path),
        )
        assert found == [[10_000, 10, 10], 0], json.dumps(found)
