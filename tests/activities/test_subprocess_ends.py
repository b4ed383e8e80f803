"""The subprocess kit with real processes that are stopped or killed: nothing escapes, nothing blocks, nothing leaks."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.subprocesses import Tool, run, running
from perfwright.models.errors import ErrorType
from tests.activities.tool_programs import STUBBORN, children, gone, python, refused_as, soon

ROOT = Path(__file__).parents[2]

FAMILY = """
# A tool with a child, a child in its own session, and an orphan in its own session; each ignores SIGTERM. Pids go into a file.
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def note():
    with open(sys.argv[1], "a") as file:
        file.write(f"{os.getpid()}\\n")
if os.fork() == 0:
    note(); time.sleep(600)
if os.fork() == 0:
    os.setsid(); note(); time.sleep(600)
if os.fork() == 0:
    if os.fork() == 0:
        os.setsid(); note(); time.sleep(600)
    os._exit(0)
os.wait()
note(); time.sleep(600)
"""

WORKER = """
# A worker that runs one tool.
import asyncio, sys
from activities.subprocesses import Tool, run
asyncio.run(run(Tool([sys.executable, "-c", sys.argv[1], sys.argv[2]], limit_s=300, way_out="", stop_grace_s=0.2)))
"""


def eventually(condition: Callable[[], object], within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


def family(pids: Path) -> list[int]:
    """All four of FAMILY, once they have written their pids."""
    found = [int(line) for line in pids.read_text().split()] if pids.exists() else []
    return found if len(found) == 4 else []


class TestStopping:
    async def test_time_limit(self) -> None:
        """A tool that runs past its limit is stopped and told as ToolTimeout."""
        result = await run(python("import time; time.sleep(600)", limit_s=0.3))
        assert result.timed_out
        assert result.signal == signal.SIGTERM
        with pytest.raises(ApplicationError) as error:
            result.require_success()
        assert refused_as(error) == ErrorType.TOOL_TIMEOUT

    async def test_ignored_sigterm_ends_in_sigkill(self) -> None:
        """A tool that ignores the stop signal is killed after its grace."""
        async with running(python(STUBBORN)) as child:
            await soon(lambda: "ready" in child.stdout)
            result = await child.stop()
        assert result.signal == signal.SIGKILL
        assert result.stopped

    async def test_stopped_tool_gets_its_signal(self) -> None:
        """A tool that is suspended is continued, so that it can still tidy up."""
        code = "import os, signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(5)); print('ready', flush=True); os.kill(os.getpid(), 19)"
        async with running(python(code, stop_grace_s=20)) as child:
            await soon(lambda: psutil.Process(child.pid).status() == psutil.STATUS_STOPPED)
            assert (await child.stop()).returncode == 5

    async def test_cancel_uses_the_chosen_signal_and_waits(self, tmp_path: Path) -> None:
        """On cancel the tool gets its own stop signal, may write what it has, and is gone before the cancellation goes on."""
        out = tmp_path / "out"
        code = "import signal, sys, time\ntry:\n    print('ready', flush=True); time.sleep(600)\nexcept KeyboardInterrupt:\n    time.sleep(0.3); open(sys.argv[1], 'w').write('kept')"
        lines: list[str] = []
        tool = python(code, str(out), stop_signal=signal.SIGINT, stop_grace_s=30)
        task = asyncio.create_task(run(tool, on_line=lambda stream, line: lines.append(line)))
        await soon(lambda: lines)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert out.read_text() == "kept"

    async def test_cancel_leaves_nothing(self, tmp_path: Path) -> None:
        """Children, children in other sessions and orphans are gone when the cancellation is raised, although they ignore SIGTERM."""
        pids = tmp_path / "pids"
        task = asyncio.create_task(run(python(FAMILY, str(pids))))
        await soon(lambda: family(pids))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert gone(*family(pids))

    async def test_cancel_again_and_again(self, tmp_path: Path) -> None:
        """Further cancellations while a tool is being stopped do not leave it behind."""
        pids = tmp_path / "pids"
        task = asyncio.create_task(run(python(FAMILY, str(pids), stop_grace_s=0.5)))
        await soon(lambda: family(pids))
        for _ in range(5):
            task.cancel()
            await asyncio.sleep(0.05)
        assert not task.done()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert gone(*family(pids))

    @pytest.mark.parametrize("turns", range(12))
    async def test_cancel_during_start(self, turns: int) -> None:
        """A cancellation at any moment of the start leaves no process and no task."""
        others = children()
        task = asyncio.create_task(run(python("import time; time.sleep(600)")))
        for _ in range(turns):
            await asyncio.sleep(0.001 * turns)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await soon(lambda: children() <= others)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_heartbeats_go_on_while_a_tool_is_stopped(self) -> None:
        """A tool that stops slowly after a cancel is still heard of every second."""
        beats: list[float] = []
        lines: list[str] = []
        tool = python(STUBBORN, stop_grace_s=2.5)
        task = asyncio.create_task(
            run(tool, heartbeat=lambda elapsed_s, _: beats.append(elapsed_s), on_line=lambda _, line: lines.append(line))
        )
        await soon(lambda: lines)
        before = len(beats)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(beats) - before >= 2

    async def test_cancelled_activity(self) -> None:
        """Inside an activity `activity.heartbeat` is the callback; a cancelled activity ends cancelled, its tool is gone and was heard of to the end."""
        environment, beats, lines = ActivityEnvironment(), [], []
        environment.on_heartbeat = lambda *details: beats.append(details)

        @activity.defn
        async def record() -> str:
            tool = python(STUBBORN, stop_grace_s=1.5)
            result = await run(tool, heartbeat=activity.heartbeat, progress=lambda: len(lines), on_line=lambda _, line: lines.append(line))
            return result.stdout

        others = children()
        task = asyncio.create_task(environment.run(record))
        await soon(lambda: lines)
        before = len(beats)
        environment.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(beats) > before
        assert beats[-1][1] == 1
        assert children() <= others

    async def test_left_over_processes_are_ended(self, tmp_path: Path) -> None:
        """What a tool left behind when it ended by itself is counted and ended."""
        code = FAMILY.replace("note(); time.sleep(600)\n", "", 0).rsplit("note(); time.sleep(600)", 1)[0]
        code += "note()\nwhile len(open(sys.argv[1]).read().split()) < 4: time.sleep(0.01)"
        result = await run(python(code, str(tmp_path / "pids")))
        assert result.returncode == 0
        assert result.left_over == 3
        assert gone(*family(tmp_path / "pids"))


class TestDeaths:
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    def test_killed_worker_leaves_nothing(self, tmp_path: Path, number: signal.Signals) -> None:
        """When the worker is killed, the tool and all its descendants, whatever session they are in, are gone."""
        pids = tmp_path / "pids"
        worker = subprocess.Popen([sys.executable, "-c", WORKER, FAMILY, str(pids)], cwd=ROOT)
        try:
            eventually(lambda: family(pids))
            worker.send_signal(number)
        finally:
            worker.kill()
            worker.wait()
        eventually(lambda: gone(*family(pids)))

    def test_killed_worker_with_suspended_tool(self, tmp_path: Path) -> None:
        """A suspended tool does not survive its worker either."""
        pids = tmp_path / "pids"
        worker = subprocess.Popen([sys.executable, "-c", WORKER, FAMILY, str(pids)], cwd=ROOT)
        try:
            eventually(lambda: family(pids))
            for pid in family(pids):
                os.kill(pid, signal.SIGSTOP)
        finally:
            worker.kill()
            worker.wait()
        eventually(lambda: gone(*family(pids)))

    async def test_killed_supervisor(self) -> None:
        """When the supervisor itself is killed, the tool is killed and the error says so."""
        async with running(python(STUBBORN)) as child:
            await soon(lambda: "ready" in child.stdout)
            psutil.Process(child.pid).parent().kill()
            with pytest.raises(ApplicationError, match=r"supervisor .* died") as error:
                await child.wait()
            await soon(lambda: gone(child.pid) or psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
        assert refused_as(error) == ErrorType.TOOL_FAILED

    async def test_terminated_supervisor_ends_the_tool(self) -> None:
        """SIGTERM to the supervisor means the tool."""
        async with running(python("import time; print('ready', flush=True); time.sleep(600)")) as child:
            await soon(lambda: "ready" in child.stdout)
            psutil.Process(child.pid).parent().terminate()
            assert (await child.wait()).signal == signal.SIGTERM


class TestLeaks:
    async def test_two_hundred_runs_leak_nothing(self) -> None:
        """Many runs, ten at a time, leave no open file, task, thread, process or zombie."""
        me = psutil.Process()
        await run(Tool(["true"], limit_s=20, way_out=""))
        files, threads, others = me.num_fds(), threading.active_count(), children()

        async def several() -> None:
            for _ in range(20):
                result = await run(Tool(["echo", "hello"], limit_s=60, way_out=""))
                assert (result.returncode, result.stdout) == (0, "hello\n")

        await asyncio.gather(*(several() for _ in range(10)))
        await soon(lambda: threading.active_count() <= threads)
        assert me.num_fds() == files
        assert children() <= others
        assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_failed_starts_leak_nothing(self, tmp_path: Path) -> None:
        """Refused starts leave no open file or process either."""
        me = psutil.Process()
        await run(Tool(["true"], limit_s=20, way_out=""))
        files, others = me.num_fds(), children()
        for tool in (
            Tool(["true"], limit_s=5, way_out="", directory=tmp_path / "absent"),
            Tool(["true", "x" * 200_000], limit_s=5, way_out=""),
            Tool(["true"], limit_s=5, way_out="", stdout_file=tmp_path / "absent" / "out"),
        ):
            with pytest.raises(ApplicationError):
                await run(tool)
        assert me.num_fds() == files
        assert children() <= others
