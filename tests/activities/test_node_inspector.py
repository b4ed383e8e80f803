"""CPU profiles of real Node.js programs: function and line, and an inspector that is closed again where it was closed before."""

import asyncio
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from temporalio.exceptions import ApplicationError

from activities.node_inspector import NodeInspector
from activities.node_ports import ask_inspector, catches_usr1, listening, signal_port
from lab.programs import build
from perfwright.models.cpu_profiling import StackProfile, StackRecording
from tests.activities.recordings import Bench, program, recording, runs, shares, until
from tests.needs import needs

pytestmark = [pytest.mark.measuring, needs("node")]

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
    """The lab's program spends most of its time in one line; afterwards no port of it listens any more."""
    executable, script, *rest = build("node").command(120)
    source = Path(script).read_text().splitlines()
    planted = next(number for number, line in enumerate(source, 1) if "planted:" in line)
    with program(executable, FREE, script, *rest, stderr=subprocess.DEVNULL) as target:
        stacks = await record(bench, recording(target.pid, "node-inspector", duration_s=4))
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


async def test_a_target_that_ends_in_the_middle(bench: Bench) -> None:
    """What was recorded until the program exits is the profile, and we do not hold up its end."""
    with node(FREE, "-e", f"setTimeout(() => process.exit(), 5000); {IDLE}") as target:
        stacks = await record(bench, recording(target.pid, "node-inspector", duration_s=60, slice_s=60))
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
        command = [sys.executable, "-m", "tests.activities.recording_worker", str(tmp_path)]
        command += ["activities.node_inspector:NodeInspector.record_node_stacks", str(tmp_path / "request.json")]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE)
        state = bench.state / "recordings"
        try:
            await until(lambda: any('"address":"ws' in file.read_text() for file in state.glob("*/inspector.jsonl")))
        finally:
            worker.kill()
            worker.communicate()
        assert inspectors(target.pid)
        stacks = await record(bench, request)
        assert listening(psutil.Process(target.pid)) == []
    assert stacks.end == "complete"
