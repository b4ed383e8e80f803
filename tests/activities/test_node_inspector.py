"""CPU profiles of real Node.js programs: function and line, and an inspector that is closed again where it was closed before."""

import asyncio
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest
from temporalio.exceptions import ApplicationError

from activities import node_inspector
from activities.node_inspector import NodeInspector
from activities.node_ports import ask_inspector, catches_usr1, listening, reads_synchronously, signal_port
from lab.programs import build
from perfwright.analysis.hot_paths import on_cpu
from perfwright.analysis.tree_weights import CallTree
from perfwright.analysis.utilisation import describe_utilisation
from perfwright.analysis.waits import off_cpu
from perfwright.models.cpu_profiling import StackProfile, StackRecording
from tests import preloaded
from tests.activities.recordings import Bench, assert_kept, no_budget, program, recording, runs, shares, total_share, until
from tests.needs import needs

pytestmark = needs("node")

FREE = "--inspect-port=0"
"""So that tests do not meet at port 9229."""
MODULE = """
import { createServer } from 'node:http';
const rows = Array.from({ length: 3000 }, (_, row) => ({ article: `A${row}`, cents: row % 997 }));
function findAll(rows) {
  let found = 0;
  for (const row of rows) {
    found += rows.findIndex((other) => other.article === row.article);
  }
  return found;
}
createServer((request, response) => response.end(request.url)).listen(0, '127.0.0.1', () => console.log('ready'));
setInterval(() => findAll(rows), 1);
"""
WAITS = """
const fs = require('node:fs');
const { execSync } = require('node:child_process');
const orders = fs.openSync(process.argv[2], 'r');
const cell = new Int32Array(new SharedArrayBuffer(4));
function readsOrders() {
  return fs.readSync(orders, Buffer.alloc(1));
}
function asksShell() {
  return execSync('sleep 0.1').length;
}
function waitsForCell() {
  return Atomics.wait(cell, 0, 0, 200);
}
function burn(n) {
  let s = 1;
  for (let i = 0; i < n; i++) s = (s * 1664525 + 1013904223) >>> 0;
  return s;
}
function turn() {
  readsOrders();
  asksShell();
  waitsForCell();
  burn(1e7);
  setTimeout(turn, 50);
}
console.log('ready');
turn();
"""
CAREFUL = WAITS.replace(
    "return fs.readSync(orders, Buffer.alloc(1));",
    "for (;;) try { return fs.readSync(orders, Buffer.alloc(1)); } catch (e) { if (e.code !== 'EINTR') throw e; }",
)
"""On a busy machine a while may lie between the look for a read and the signal that breaks it off."""
IDLE = "setInterval(() => {}, 1000); console.log('ready')"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def record(bench: Bench, request: StackRecording) -> StackProfile:
    stacks: StackProfile = await bench.run(NodeInspector, "record_node_stacks", request)
    return stacks


def node(*arguments: str, **options: Any) -> Any:
    return program("node", *arguments, **({"stderr": subprocess.DEVNULL} | options))


def inspectors(pid: int) -> list[str]:
    return [found for address in listening(psutil.Process(pid)) if (found := ask_inspector(address))]


async def test_the_planted_line_and_a_closed_inspector(bench: Bench) -> None:
    """The lab's program spends most of its time in one line; afterwards no port of it listens any more; a recording that
    costs too much keeps what it has."""
    executable, script, *rest = build("node").command(120)
    source = Path(script).read_text().splitlines()
    planted = next(number for number, line in enumerate(source, 1) if "planted:" in line)
    # What V8 has put into its caller before the inspector opens is told at the caller's line.
    with program(executable, FREE, "--no-turbo-inlining", script, *rest, stderr=subprocess.DEVNULL) as target:
        stacks = await record(bench, recording(target.pid, "node-inspector", duration_s=4))
        with no_budget() as settings:
            request = recording(target.pid, "node-inspector", **settings)
            assert_kept(await record(bench, request.model_copy(update={"artifact_prefix": "dear"})))
        assert listening(psutil.Process(target.pid)) == []
        assert runs(target.pid)
    (_, file, line), share = max(shares(await bench.profile(stacks)).items(), key=lambda leaf: leaf[1])
    assert (file, line) == ("prices.js", planted)
    assert share > 0.3
    assert stacks.tool.startswith("Node.js inspector v")
    assert stacks.end == "complete"


async def test_an_es_module_with_a_server(bench: Bench, tmp_path: Path) -> None:
    """An ES module is profiled as well; the inspector is closed again, and the program's own server is left alone."""
    (tmp_path / "shop.mjs").write_text(MODULE)
    with node(FREE, str(tmp_path / "shop.mjs")) as target:
        own = listening(psutil.Process(target.pid))
        stacks = await record(bench, recording(target.pid, "node-inspector", duration_s=3))
        assert listening(psutil.Process(target.pid)) == own
        assert len(own) == 1
    found = shares(await bench.profile(stacks))
    assert sum(share for (_, file, line), share in found.items() if file == "shop.mjs" and line in (4, 5, 6, 7)) > 0.5


async def test_an_open_inspector_stays_open(bench: Bench) -> None:
    """Where somebody had opened the inspector, it is used and left as it was."""
    with node("--inspect=127.0.0.1:0", "-e", IDLE) as target:
        [before] = inspectors(target.pid)
        stacks = await record(bench, recording(target.pid, "node-inspector", duration_s=2))
        assert inspectors(target.pid) == [before]
    assert stacks.end == "complete"


async def test_an_inspector_that_may_not_be_opened_stays_closed(bench: Bench) -> None:
    """Closed after the run had found it open: without permission no signal is sent, and the error says what to do."""
    with node(FREE, "-e", IDLE) as target:
        with pytest.raises(ApplicationError, match="this run may not open it") as trouble:
            await record(bench, recording(target.pid, "node-inspector", duration_s=2, may_inject=False))
        assert listening(psutil.Process(target.pid)) == []
        assert runs(target.pid)
    assert trouble.value.type == "TargetRefused"


async def test_a_taken_port_is_told(bench: Bench) -> None:
    """Two programs cannot open their inspectors on one port: the error names port and holder, and the signal is not sent."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with node(f"--inspect-port={port}", "-e", IDLE) as target:
            assert signal_port(psutil.Process(target.pid)) == port
            with pytest.raises(ApplicationError, match=f"would open port {port}, which pid \\d+ holds") as trouble:
                await record(bench, recording(target.pid, "node-inspector", duration_s=2))
            assert runs(target.pid)
    assert "--inspect-port=0" in str(trouble.value)


async def test_a_program_that_the_signal_would_end(bench: Bench) -> None:
    """SIGUSR1 ends a program that does not handle it: it is never sent to one."""
    with program("sleep", "60", ready=None) as target:
        assert not catches_usr1(target.pid)
        request = recording(target.pid, "node-inspector", duration_s=2)
        with pytest.raises(ApplicationError, match="the signal would end it") as trouble:
            await record(bench, request)
        assert runs(target.pid)
    assert trouble.value.type == "RuntimeUnsupported"


@needs("perf")
async def test_where_a_program_blocks(bench: Bench, tmp_path: Path) -> None:
    """Calls that block JavaScript's thread are off-CPU at function, file and line, and not CPU time, although V8 samples them all the same."""
    (tmp_path / "waits.js").write_text(CAREFUL)
    os.mkfifo(tmp_path / "orders")
    # opened for both, so that neither end waits for the other to open
    orders = os.open(tmp_path / "orders", os.O_RDWR)
    with node(FREE, str(tmp_path / "waits.js"), str(tmp_path / "orders")) as target:

        async def deliver() -> None:
            while True:
                await asyncio.sleep(1.5)
                os.write(orders, b"x")

        delivering = asyncio.create_task(deliver())
        stacks = await record(bench, recording(target.pid, "node-inspector", duration_s=8))
        delivering.cancel()
        assert runs(target.pid)
    os.close(orders)
    tree = CallTree(await bench.profile(stacks))
    waits = {function: total_share(tree.profile, function, "off_cpu") for function in ("readsOrders", "asksShell", "waitsForCell", "burn")}
    assert min(waits["readsOrders"], waits["asksShell"], waits["waitsForCell"]) > 0.05
    assert waits["burn"] < 0.05
    assert total_share(tree.profile, "burn") > max(total_share(tree.profile, function) for function in waits if function != "burn")
    assert ("waitsForCell", "waits.js", WAITS.splitlines().index("  return Atomics.wait(cell, 0, 0, 200);") + 1) in shares(
        tree.profile, "off_cpu"
    )
    told = {spot.function for spot in describe_utilisation(on_cpu(tree, None, runtime="node"), None).waiting}
    assert {"readsOrders: waits for I/O", "asksShell: waits for a child process"} <= told


async def test_a_read_that_does_not_end_is_not_broken_off(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that sits in a synchronous read would fail with EINTR: it is left alone, and the way out is told."""
    monkeypatch.setattr(node_inspector, "OPEN_LIMIT_S", 0.5)
    os.mkfifo(tmp_path / "orders")
    orders = os.open(tmp_path / "orders", os.O_RDWR)
    (tmp_path / "waits.js").write_text(WAITS)
    with node(FREE, str(tmp_path / "waits.js"), str(tmp_path / "orders")) as target:
        await until(lambda: reads_synchronously(target.pid))
        with pytest.raises(ApplicationError, match="EINTR") as trouble:
            await record(bench, recording(target.pid, "node-inspector", duration_s=2))
        assert runs(target.pid)
    os.close(orders)
    assert trouble.value.type == "ToolFailed" and "--inspect" in str(trouble.value)


@needs("perf")
async def test_an_idle_event_loop_waits_for_work(bench: Bench) -> None:
    """The loop's rest is drawn, and is nothing that holds anybody up."""
    with node(FREE, "-e", IDLE) as target:
        stacks = await record(bench, recording(target.pid, "node-inspector", duration_s=3))
    waited = off_cpu(CallTree(await bench.profile(stacks)))
    assert waited is not None
    assert waited.mean_threads("for work") > 0.9 * waited.rows.samples / waited.ticks > 0.5
    assert stacks.warnings == ()


async def test_without_perf_the_missing_graph_is_told(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """V8's samples are recorded as they are, and the reader learns why there is no off-CPU graph."""
    with node(FREE, "-e", IDLE) as target:
        monkeypatch.setenv("PATH", str(tmp_path))
        stacks = await record(bench, recording(target.pid, "node-inspector", duration_s=2))
    assert [one.kind for one in (await bench.profile(stacks)).passes] == ["on_cpu"]
    [warning] = stacks.warnings
    assert "No off-CPU graph" in warning and "perf" in warning
    assert stacks.end == "complete"


async def test_a_target_that_ends_in_the_middle(bench: Bench) -> None:
    """What was recorded until the program exits is the profile, and we do not hold up its end."""
    with node(FREE, "-e", f"process.on('SIGTERM', () => process.exit()); {IDLE}") as target:
        attempt = asyncio.create_task(record(bench, recording(target.pid, "node-inspector", duration_s=60, slice_s=60)))
        await bench.beat_of(lambda beat: beat.get("recorded_s", 0) > 1)
        target.terminate()
        stacks = await attempt
        assert target.wait(5) == 0
    assert stacks.end == "target exited"
    assert 0 < stacks.passes[0].seconds < 30


async def test_a_cancelled_recording_closes_the_inspector(bench: Bench) -> None:
    """Cancelled in the middle: the port is closed when the step ends, and nothing is left."""
    with node(FREE, "-e", IDLE) as target:
        attempt = asyncio.create_task(record(bench, recording(target.pid, "node-inspector", duration_s=60)))
        await bench.beat_of(lambda beat: beat.get("recorded_s", 0) > 0.5)
        assert inspectors(target.pid)
        bench.environment.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(attempt, 15)
        assert listening(psutil.Process(target.pid)) == []
        assert runs(target.pid)
    assert bench.left == []


async def test_what_a_killed_worker_opened_is_closed(bench: Bench, tmp_path: Path) -> None:
    """kill -9 of the worker: the next attempt knows that the inspector was opened by us, and closes it."""
    with node(FREE, "-e", IDLE) as target:
        request = recording(target.pid, "node-inspector", duration_s=2)
        (tmp_path / "request.json").write_text(request.model_copy(update={"duration_s": 60}).model_dump_json())
        words = [str(tmp_path), "activities.node_inspector:NodeInspector.record_node_stacks", str(tmp_path / "request.json")]
        state = bench.state / "recordings"
        with preloaded.killed("tests.activities.recording_worker", words):
            await until(lambda: any('"address":"ws' in file.read_text() for file in state.glob("*/inspector.jsonl")))
        assert inspectors(target.pid)
        stacks = await record(bench, request)
        assert listening(psutil.Process(target.pid)) == []
    assert stacks.end == "complete"
