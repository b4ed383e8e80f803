"""Trials of real changes on targets of a test's own: a file that is edited, a command with its flags, a repository with a patch."""

import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.abandoned_changes import AbandonedChangeFinder
from activities.changes.carrying_out import CarryingOut
from activities.changes.kind import Site
from activities.context import WorkerContext
from activities.leases import Leases
from activities.registry import build_activities
from activities.undo_records import UndoRecords
from perfwright.models.queues import host_queue, probe_queue
from perfwright.models.target import Target
from perfwright.models.trial_run import TrialResult
from perfwright.models.undo import UndoQuery, UndoRecord
from tests.conftest import run_worker
from tests.workflows.lease_processes import Measuring
from tests.workflows.lease_worker import lease_activities
from tests.workflows.trial_parents import Proposing
from tests.workflows.watching_runs import Handle, open_gate, task_failures, until
from workflows.changes.trial import Trial
from workflows.registry import WORKFLOWS

PROGRAM = """
import os, sys
held = bytearray(int(os.environ.get("HELD_MB", "1")) * 1_000_000)
held[::4096] = b"x" * len(held[::4096])
total = 0
for number in range(int(os.environ.get("WORK", "300_000"))):
    total += number % 7
print(total)
"""
"""As much work, and memory, as its environment says."""
SLOW, FAST = "WORK = 300_000", "WORK = 150_000"
SOURCE = f"""
{SLOW}
total = 0
for number in range(WORK):
    total += number % 7
print(total)
"""
CONFIGURATION = "cost = 20\n"
PROBE = """
import sys
from _random import Random
with open(sys.argv[1]) as file: cost = float(file.read().split()[-1])
print(cost * (0.99 + 0.02 * Random().random()))
"""
"""What the target costs is what its configuration says, give or take a per cent. Trials start it dozens of times: it imports next to nothing."""
REGISTRY = """
[environments.lab]

[environments.production]
approvers = ["ada"]

[targets.{name}]
kind = "process"
environment = "{environment}"
host = "{host}"
repository = "{folder}/repository"
files_root = "{folder}/etc"
process = {{ command = ["{python}", "-S", "{folder}/program.py"] }}
{more}
"""
EASY_NOISE: dict[str, Any] = {
    "phase": "noise",
    "metric": "cpu_s",
    "clock": "cpu",
    "rounds": 12,
    "noise": {"verdict": "usable", "reason": "measured before", "rounds": 12, "sigma": 0.02},
}
"""A against A, where a test is about something else. A round is said to be so long that the budget has a first look at which a clear effect is
seen: with more looks at hand the first of them sees none."""


class Lab:
    """A target, and what is asked of its trials."""

    def __init__(self, client: Client, queue: str, name: str, context: WorkerContext, folder: Path) -> None:
        self.client, self.queue, self.name, self.folder, self.context = client, queue, name, folder, context
        self.records = UndoRecords(context.history)
        self.work = CarryingOut(self.records, Site({}, context.state_folder))
        target = context.registry_file.read().target(name)
        assert target is not None
        self.target: Target = target
        self._number = 0

    @property
    def file(self) -> Path:
        return self.folder / "etc" / "app.conf"

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    def edit(self, cost: float, **more: Any) -> dict[str, Any]:
        """The configuration's cost is changed, and probed in turns."""
        spec = {"kind": "file", "path": "app.conf", "replacements": [{"find": "cost = 20", "replace": f"cost = {cost}"}], "reload": False}
        probe = [sys.executable, "-I", "-S", str(self.folder / "probe.py"), str(self.file)]
        noise = EASY_NOISE | {"metric": "value", "clock": None, "round_s": 1.0, "guards": [held(one) for one in more.get("guards", ())]}
        measurement = {"kind": "switched", "probe": probe, "burn_in_s": 0.0, "probes_per_block": 1}
        return {"change": spec, "measurement": measurement, "noise": noise, "budget_s": 60.0} | more

    def launch(self, environment: Mapping[str, str], **more: Any) -> dict[str, Any]:
        """The command is launched with these variables."""
        noise = EASY_NOISE | {"round_s": 1.0, "guards": [held(one) for one in more.get("guards", ())]}
        measurement = {"kind": "benchmark", "command": [sys.executable, "-S", str(self.folder / "program.py")]}
        spec = {"kind": "command", "environment": dict(environment)}
        return {"change": spec, "measurement": measurement, "noise": noise, "budget_s": 60.0} | more

    def patch(self, before: str = SLOW, after: str = FAST, **more: Any) -> dict[str, Any]:
        """The source is changed."""
        diff = f"--- a/work.py\n+++ b/work.py\n@@ -1,3 +1,3 @@\n \n-{before}\n+{after}\n total = 0\n"
        measurement = {"kind": "benchmark", "command": [sys.executable, "-S", "work.py"]}
        noise = EASY_NOISE | {"round_s": 1.0}
        return {"change": {"kind": "patch", "patch": diff}, "measurement": measurement, "noise": noise, "budget_s": 60.0} | more

    async def start(self, request: Mapping[str, Any]) -> Handle:
        """Where nobody is to be asked before, the gate is approved at once: a trial that is started by hand asks in any case."""
        self._number += 1
        given = {"target": self.target.model_dump(mode="json"), "title": f"try {self._number}", **request}
        handle: Handle = await self.client.start_workflow(
            Trial.__name__, given, id=f"trial-{self.name}-{self._number}", task_queue=self.queue, result_type=TrialResult
        )
        if not given.get("ask_change", True):
            await answer(handle, "change")
        return handle

    async def proposed(self, request: Mapping[str, Any]) -> Handle:
        """The trial of a process that has asked before."""
        self._number += 1
        given = {"target": self.target.model_dump(mode="json"), "title": f"try {self._number}", **request}
        name = f"proposing-{self.name}-{self._number}"
        await self.client.start_workflow(Proposing.__name__, given, id=name, task_queue=self.queue)
        handle: Handle = self.client.get_workflow_handle(f"{name}/trial", result_type=TrialResult)
        await until(lambda: _is_there(handle), f"the trial of {name}")
        return handle

    async def ended(self, request: Mapping[str, Any]) -> TrialResult:
        """A trial in which nobody is asked."""
        return await result_of(await self.start({"ask_change": False, "ask_keep": False} | dict(request)))

    async def records_of(self, handle: Handle) -> list[UndoRecord]:
        return await self.records.find_all(UndoQuery(workflow_id=handle.id))

    def git(self, *words: str) -> str:
        return subprocess.run(["git", *words], cwd=self.repository, check=True, capture_output=True, text=True).stdout.strip()

    def state(self) -> dict[str, object]:
        """All that a refused change must leave as it is, byte by byte. Git's store of objects is not the repository's state."""
        roots = (self.folder / "etc", self.repository, self.context.state_folder / "launches", self.context.state_folder / "worktrees")
        files = [one for root in roots for one in root.rglob("*") if one.is_file() and "objects" not in one.parts]
        return {str(one): (one.read_bytes(), one.stat().st_mode) for one in files}


async def _is_there(handle: Handle) -> bool:
    try:
        await handle.describe()
    except RPCError as trouble:
        if trouble.status != RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


def held(guard: Mapping[str, Any]) -> dict[str, Any]:
    return {"metric": guard["metric"], "verdict": "held", "rounds": 12}


async def result_of(handle: Handle) -> TrialResult:
    result: TrialResult = await handle.result()
    assert not await task_failures(handle)
    return result


async def answer(handle: Handle, gate: str, action: str = "approve", comment: str = "looked at it") -> None:
    opened = await open_gate(handle, gate)
    decision = {"action": action, "gate": gate, "by": "ada", "digest": opened.digest, "comment": comment}
    await handle.execute_update("decide", decision)


def furnish(folder: Path) -> None:
    """A program, a configuration, a repository."""
    for name in ("etc", "repository"):
        (folder / name).mkdir()
    (folder / "etc" / "app.conf").write_text(CONFIGURATION)
    (folder / "program.py").write_text(PROGRAM)
    (folder / "probe.py").write_text(PROBE)
    (folder / "repository" / "work.py").write_text(SOURCE)
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com")
    for words in (("init", "--quiet", "--initial-branch=main"), ("add", "."), (*who, "commit", "--quiet", "-m", "Work")):
        subprocess.run(["git", *words], cwd=folder / "repository", check=True)


def registry(name: str, host: str, folder: Path, environment: str = "lab", more: str = "") -> str:
    return REGISTRY.format(name=name, host=host, folder=folder, environment=environment, python=sys.executable, more=more)


@asynccontextmanager
async def trying(
    client: Client, queue: str, host: str, name: str, folder: Path, environment: str = "lab", more: str = "", **options: Any
) -> AsyncIterator[Lab]:
    """Workers with everything, impatient leases, and one target. No instructions are counted: that takes seconds, and has tests of its own."""
    furnish(folder)
    (folder / "perfwright.toml").write_text(registry(name, host, folder, environment, more))
    context = await WorkerContext.open(folder / "perfwright.toml", host, environ=options.pop("environ", {}), working_directory=folder)
    activities = build_activities(context)
    central = [one for one in activities.central if not isinstance(one.__self__, Leases)]  # type: ignore[attr-defined]
    central += lease_activities(abandoned=AbandonedChangeFinder(context.history))
    try:
        async with AsyncExitStack() as running:
            running.enter_context(patch("activities.trial_measuring.valgrind.LIMIT_S", 0.0))
            await running.enter_async_context(
                run_worker(client, queue, workflows=[*WORKFLOWS, Measuring, Proposing], activities=central, **options)
            )
            await running.enter_async_context(run_worker(client, host_queue(host), activities=activities.host))
            await running.enter_async_context(run_worker(client, probe_queue(host), activities=activities.probe))
            yield Lab(client, queue, name, context, folder)
    finally:
        await context.close()
