"""GarbageCollectionTuning of processes that others have started: a CPython is tuned where it stands, a JVM is looked at and left alone."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from temporalio.client import Client

from activities import jvm_log_session
from activities.changes.injection import injected
from activities.changes.kind import Site
from activities.finding_processes import describe, find_process
from perfwright.models.target import ProcessSelector
from tests.needs import needs
from tests.workflows.short_trials import fewest_noise_rounds
from tests.workflows.tuning import HOARDER, GcResult, answer, jvm_command, serving, tuning

__all__ = ["fewest_noise_rounds"]

pytestmark = [
    pytest.mark.paired,
    needs("temporal"),
    pytest.mark.timeout(600),
    pytest.mark.usefixtures("fewest_noise_rounds"),
]

PROBE = """
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
def visit():
    connection.request("GET", "/remembered")
    answer = connection.getresponse()
    answer.read()
    return int(answer.headers["Full-Collections"]), int(answer.headers["Looked-Through"])
def until_another(full):
    for visits in range(1, 101):
        now = visit()
        if now[0] > full: break
    return visits, *now
_, full, before = until_another(visit()[0])
visits = 0
for _ in range(3):
    more, full, looked_through = until_another(full)
    visits += more
print((1 + looked_through - before) / visits)
"""
"""Objects that full collections look through for a visit, over three of them (or 300 visits, where there are none)."""
VISITS = """
import http.client, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
while True:
    for branch in range(20):
        connection.request("GET", f"/list/{branch}")
        connection.getresponse().read()
"""
DEAR = "thresholds 50000, 20, 20"
STATE = "def ask():\n    import gc\n    return [list(gc.get_threshold()), len(gc.callbacks), gc.get_freeze_count() > 0]\n"


@needs("gdb", "ptrace")
async def test_a_running_process_is_tuned_where_it_stands(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """The first candidate takes memory and is off again; the second is proven and stays, without a restart, and nothing else of ours."""
    async with serving((sys.executable, "-c", HOARDER)) as (pid, port):
        probe = [sys.executable, "-S", "-c", PROBE, str(port)]
        load = [sys.executable, "-c", f"while True:\n  exec({PROBE!r})", str(port)]
        async with tuning(client, task_queue, host_name, tmp_path, f"pid = {pid}", allow="inject") as tuned:
            asked = {"observe_s": 2.0, "pause_target_ms": 2.0, "candidates": [DEAR, "freeze"], "trial_budget_s": 150.0}
            handle = await tuned.start(probe=probe, workload={"command": load}, **asked)
            assert "gc.set_threshold(50000, 20, 20)" in await answer(await tuned.trial(handle), "change")
            second = await tuned.trial(handle, 2)
            assert "gc.freeze()" in await answer(second, "change")
            await answer(second, "keep")
            result: GcResult = await handle.result()
        details = result.details
        assert [(one.candidate, one.end) for one in details.tried] == [(DEAR, "undone"), ("freeze", "kept")], details.tried
        assert "rss_bytes" in details.tried[0].reason
        assert details.before and details.before.live and details.trial and details.trial.evidence and details.after
        (guard,) = details.trial.evidence.guards
        assert guard.metric == "rss_bytes" and guard.verdict == "held" and guard.smallest_harm
        found = await injected(describe(find_process(ProcessSelector(pid=pid))), STATE, Site({}, tmp_path))
        assert found == [[700, 10, 10], 0, True], json.dumps(found)


def log_is_ended_without_its_worker(pid: int, folder: Path, listed: Callable[[], str], before: str) -> None:
    """What its supervisor does when the worker was killed, and no attempt follows: the log is off, and its folder gone."""
    folder.mkdir()
    jcmd = shutil.which("jcmd")
    words = [sys.executable, "-I", "-S", jvm_log_session.__file__, str(jcmd), str(pid), jvm_log_session.started(str(pid)), str(folder)]
    with subprocess.Popen([*words, "gc.log", "what=gc*"], stdout=subprocess.PIPE, text=True) as session:
        assert session.stdout is not None and session.stdout.readline() == "on\n"
        assert str(folder) in listed()
        session.terminate()
        assert session.wait(60) == 0
    assert listed() == before and not folder.exists()


@needs("javac")
async def test_a_running_jvm_is_looked_at_and_left_alone(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """Its humongous allocations are named, and flags for its next launch; the reason why none was tried is told, no log of ours is left."""
    async with serving([word for word in jvm_command() if word != "{port}"]) as (pid, port):

        def said(*words: str) -> str:
            return subprocess.run(["jcmd", str(pid), *words], check=True, capture_output=True, text=True).stdout

        flags, logs = said("VM.flags", "-all"), said("VM.log", "list")
        async with tuning(client, task_queue, host_name, tmp_path, f"pid = {pid}") as tuned:
            load = [sys.executable, "-c", VISITS, str(port)]
            result: GcResult = await (await tuned.start(observe_s=3.0, workload={"command": load})).result()
        details = result.details
        assert result.verdict == "inconclusive" and "at its launch alone" in result.summary and details.trial is None, result.summary
        assert details.before and details.before.live and details.before.memory_bytes > 1e6
        assert (details.before.facts.collector, details.before.facts.heap_max_bytes, details.before.facts.region_bytes) == (
            "G1",
            64 << 20,
            1 << 20,
        )
        assert details.issues[0].cause == "humongous allocation"
        assert set(details.before.flags) == {"-XX:+UseG1GC", "-Xmx64m"} and details.before.facts.settable
        assert "-XX:G1HeapRegionSize=" in result.recommendations[0].brief
        assert {"Serial", "Parallel", "G1"} <= set(details.collectors)
        assert said("VM.log", "list") == logs
        log_is_ended_without_its_worker(pid, tmp_path / "log", lambda: said("VM.log", "list"), logs)
        assert not [line for line in set(said("VM.flags", "-all").splitlines()) ^ set(flags.splitlines()) if "{C2" not in line]
