"""Commands beside a measurement: found, bounded, gone with their step, and silent about secrets."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.commands import Commands
from perfwright.models.command import CommandEnd, CommandRun, RunningCommand
from tests.activities.recordings import until
from tests.lab.processes import ended

SLEEP = ("sleep", "300")


class Step:
    """The two activities of one command, as a workflow runs them."""

    def __init__(self, folder: Path) -> None:
        self.commands = Commands(folder)
        self.running, self.finding = ActivityEnvironment(), ActivityEnvironment()
        self.beats: list[Any] = []
        self.running.on_heartbeat = self.finding.on_heartbeat = lambda *details: self.beats.append(details)

    async def run(self, request: CommandRun) -> CommandEnd:
        return await self.running.run(self.commands.run_command, request)

    async def find(self, request: CommandRun) -> RunningCommand:
        return await self.finding.run(self.commands.find_command, request)


@pytest.fixture
def step(tmp_path: Path) -> Step:
    return Step(tmp_path / "state")


def command(*words: str, limit_s: float = 60, **more: Any) -> CommandRun:
    return CommandRun(key="process/shop/run/1/workload", title="the workload of shop", command=words, limit_s=limit_s, **more)


async def test_a_command_is_found_and_ends_with_its_step(step: Step, tmp_path: Path) -> None:
    """The other steps get its pid while it runs; a cancel of its step ends it with everything it started."""
    request = command("sh", "-c", "sleep 300 & sleep 300; true")
    running = asyncio.create_task(step.run(request))
    found = await step.find(request)
    await until(lambda: len(psutil.Process(found.pid).children()) == 2)
    children = psutil.Process(found.pid).children()
    step.running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended(found.pid)
    assert all(ended(child.pid) for child in children)
    assert not [file for file in (tmp_path / "state").rglob("*") if file.is_file()]


async def test_a_command_that_ends_at_once_tells_how(step: Step) -> None:
    """Exit code, the end of what it said, and how many processes it had put into the background."""
    end = await step.run(command(sys.executable, "-c", "import sys; sys.exit('no database at ' + 'db1')"))
    assert (end.returncode, end.stopped_by_us, end.left_over) == (1, False, 0)
    assert end.output_tail == "no database at db1"
    end = await step.run(command("sh", "-c", "sleep 300 & exit 0"))
    assert (end.returncode, end.left_over) == (0, 1)


async def test_a_command_that_is_over_is_not_found(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    """What never ran, or ran for an earlier worker only, is not taken for a running target."""
    monkeypatch.setattr("activities.commands.FIND_LIMIT_S", 0.3)
    request = command(*SLEEP)
    with subprocess.Popen(["true"]) as over:
        pass
    folder = step.commands._state_folder / "recordings" / "process-shop-run-1-workload"
    folder.mkdir(parents=True)
    (folder / "running.jsonl").write_text(json.dumps({"pid": over.pid, "create_time_s": 1.0}) + "\n")
    with pytest.raises(ApplicationError, match="the workload of shop did not start") as trouble:
        await step.find(request)
    assert trouble.value.type == "TargetGone"


async def test_a_command_that_ignores_sigterm_is_ended(step: Step) -> None:
    """Whoever does not listen is killed."""
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(300)"
    request = command(sys.executable, "-c", code)
    running = asyncio.create_task(step.run(request))
    found = await step.find(request)

    def deaf() -> bool:
        status = Path(f"/proc/{found.pid}/status").read_text()
        ignored = next(line for line in status.splitlines() if line.startswith("SigIgn"))
        return bool(int(ignored.split()[1], 16) & 1 << (signal.SIGTERM - 1))

    await until(deaf)
    step.running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(running, 30)
    assert ended(found.pid)


async def test_a_command_has_a_limit(step: Step) -> None:
    """However long the recording takes, it ends."""
    end = await step.run(command(*SLEEP, limit_s=0.5))
    assert end.returncode == -signal.SIGTERM


async def test_missing_variables_are_told_together(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that the worker's environment lacks are refused before anything runs, all of them."""
    monkeypatch.setenv("SHOP_THERE", "1")
    with pytest.raises(ApplicationError, match="SHOP_DSN, SHOP_TOKEN") as trouble:
        await step.run(command(*SLEEP, environment_names=("SHOP_DSN", "SHOP_THERE", "SHOP_TOKEN")))
    assert trouble.value.type == "InvalidInput"


async def test_an_unknown_program_or_folder_is_told(step: Step) -> None:
    """The error names the program, or the folder."""
    with pytest.raises(ApplicationError, match="no-such-program is not installed") as trouble:
        await step.run(command("no-such-program"))
    assert trouble.value.type == "ToolMissing"
    with pytest.raises(ApplicationError, match="/no/such/folder") as trouble:
        await step.run(command(*SLEEP, working_directory="/no/such/folder"))
    assert trouble.value.type == "InvalidInput"


async def test_secrets_stay_on_the_host(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command sees the variables it was given by name and no others; neither result nor heartbeats hold their values."""
    monkeypatch.setenv("SHOP_TOKEN", "s3cret-t0ken")
    monkeypatch.setenv("OTHER_SECRET", "unrelated")
    code = "import os; print(os.environ['SHOP_TOKEN'], 'OTHER_SECRET' in os.environ, 'postgresql://shop:hunter2@db/shop')"
    end = await step.run(command(sys.executable, "-c", code, environment_names=("SHOP_TOKEN",)))
    assert end.output_tail == "*** False postgresql://***@db/shop"
    assert step.beats
    assert "s3cret" not in repr(step.beats) + end.model_dump_json()


async def test_profiling_flags_do_not_replace_the_users(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flags that make profiles exact are added to what the command inherits under the same name; a workload gets none."""
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Dshop=1")
    code = "import os; print(os.environ.get('JAVA_TOOL_OPTIONS'), os.environ.get('NODE_OPTIONS'))"
    monkeypatch.setattr("activities.commands.SHORTEST_SECRET", 1_000)
    end = await step.run(command(sys.executable, "-c", code, environment_names=("JAVA_TOOL_OPTIONS",), profiling_flags=True))
    assert end.output_tail == "-XX:+UnlockDiagnosticVMOptions -XX:+DebugNonSafepoints -Dshop=1 --inspect-port=0"
    end = await step.run(command(sys.executable, "-c", code))
    assert end.output_tail == "None None"


WORKER = """
import asyncio, sys
from pathlib import Path
from temporalio.testing import ActivityEnvironment
from activities.commands import Commands
from perfwright.models.command import CommandRun
asyncio.run(ActivityEnvironment().run(Commands(Path(sys.argv[1])).run_command, CommandRun.model_validate_json(sys.argv[2])))
"""


async def test_a_killed_worker_takes_its_command_along(step: Step, tmp_path: Path) -> None:
    """kill -9 of the worker: the command and what it started are gone, and another attempt runs it anew."""
    request = command("sh", "-c", "sleep 300 & wait")
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path / "state"), request.model_dump_json()])
    try:
        first = await step.find(request)
        await until(lambda: len(psutil.Process(first.pid).children()) == 1)
        [child] = psutil.Process(first.pid).children()
    finally:
        worker.kill()
        worker.wait()
    await until(lambda: ended(first.pid) and ended(child.pid))
    running = asyncio.create_task(step.run(request))
    second = await step.find(request)
    assert second.pid != first.pid
    step.running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
