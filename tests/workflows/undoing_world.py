"""Trials of all kinds of change on one site that loses its parts, and what must be true of each target afterwards."""

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from temporalio.client import RPCError
from temporalio.common import WorkflowIDConflictPolicy

from activities.changes.carrying_out import CarryingOut
from activities.changes.kind import Site as ChangeSite
from activities.context import WorkerContext
from activities.undo_records import UndoRecords
from perfwright.models.queues import CENTRAL_QUEUE
from perfwright.models.trial_run import TrialResult
from perfwright.models.undo import OPEN_STATES, UndoQuery, UndoRecord
from starter.dev_server import start_dev_server
from tests.needs import temporal_cli
from tests.workflows.killed_steps import WITHOUT_CACHE, attempts_ended
from tests.workflows.sites import Site, WorkerProcess
from tests.workflows.undoing_kinds import Kind
from tests.workflows.watching_runs import PATIENCE_S, Handle, task_failures
from workflows.changes.trial import Trial

SUPPOSED_S = {"file": 5.0, "launch": 5.0, "patch": 6.0, "sql": 7.0, "settings": 7.0, "interpreter": 12.0}
"""How long trials take, until that was seen. The interpreter's is entered some thirty times, each for a third of a second."""
BOUNDARIES = ("recorded", "changed", "applied", "kept")
SINCE = {"recorded": ("recorded", "applied", "kept"), "applied": ("applied", "kept"), "kept": ("kept",)}
"""States of the record at a boundary, and those that follow before it can be seen."""
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class World:
    """A site, all targets, and what stands in the record."""

    site: Site
    kinds: dict[str, Kind]
    environ: dict[str, str]
    context: WorkerContext
    before: dict[str, object] = field(default_factory=dict)
    after: dict[str, object] = field(default_factory=dict)
    lasts_s: dict[str, float] = field(default_factory=lambda: dict(SUPPOSED_S))
    ends: dict[str, Counter[str]] = field(default_factory=dict)
    moments: dict[str, Counter[str]] = field(default_factory=dict)
    """What stood in the record when something was lost."""
    hit: dict[str, set[str]] = field(default_factory=dict)
    """Trials that something was lost of."""
    going: dict[str, Handle] = field(default_factory=dict)
    """Of each kind the trial that was started last."""
    hosts: WorkerProcess | None = None
    number: int = 0

    def __post_init__(self) -> None:
        self.records = UndoRecords(self.context.history)
        self.work = CarryingOut(self.records, ChangeSite(self.environ, self.context.state_folder))
        self.ends = {name: Counter() for name in self.kinds}
        self.moments = {name: Counter() for name in self.kinds}
        self.hit = {name: set() for name in self.kinds}

    async def start_workers(self) -> None:
        """One for workflows and central steps, one for the steps of all hosts."""
        if self.hosts is None:
            self.hosts = WorkerProcess(folder=self.site.folder, address=self.site.address, environment=self.environ)
        named = [word for kind in self.kinds.values() for word in ("--host", kind.host)]
        missing = []
        if self.site.worker is None:
            missing.append(self.site.start_worker(**WITHOUT_CACHE, **self.environ))
        if self.hosts.worker is None:
            missing.append(self.hosts.start_worker(*named))
        await asyncio.gather(*missing)

    async def kill_workers(self, chance: random.Random | None = None) -> set[str]:
        """Both, or what is drawn. Gives their process ids, as the server knows them."""
        assert self.hosts is not None
        both: tuple[WorkerProcess, ...] = (self.site, self.hosts)
        killed = set()
        for one in chance.choice([both, both[:1], both[1:], both[1:]]) if chance else both:
            assert one.worker is not None
            killed.add(str(one.worker.pid))
            await one.signal_worker(signal.SIGKILL)
        return killed

    async def give_up_steps(self, killed: set[str]) -> None:
        """What killed workers were at is tried again at once, of trials, leases and janitors."""
        client = await self.site.client()
        async for run in client.list_workflows("ExecutionStatus = 'Running'"):
            await attempts_ended(client, run.id, run.run_id, killed)

    async def start(self, kind: Kind) -> Handle:
        self.number += 1
        target = self.context.registry_file.read().target(kind.name)
        assert target is not None
        given = {"target": target.model_dump(mode="json"), "title": f"try {kind.name}", "seed": self.number, **kind.request}
        name = f"trial-{kind.name}-{self.number}"

        async def started() -> Handle:
            client = await self.site.client()
            return await client.start_workflow(
                Trial.__name__,
                given,
                id=name,
                task_queue=CENTRAL_QUEUE,
                result_type=TrialResult,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            )

        self.going[kind.name] = await patiently(started)
        return self.going[kind.name]

    async def records_of(self, handle: Handle) -> list[UndoRecord]:
        return await self.records.find_all(UndoQuery(workflow_id=handle.id))

    async def prepare(self) -> None:
        """How the targets are."""
        self.before = {name: await kind.read() for name, kind in self.kinds.items()}

    async def note_moments(self, handles: dict[str, Handle]) -> None:
        """What stands in the records in this moment, and how long trials take by now."""

        async def note(name: str, handle: Handle) -> None:
            records, described = await asyncio.gather(self.records_of(handle), handle.describe())
            assert described.execution_time is not None
            age_s = ((described.close_time or datetime.now(UTC)) - described.execution_time).total_seconds()
            if described.close_time is not None:
                self.lasts_s[name] = age_s
                self.moments[name]["ended"] += 1
                return
            self.lasts_s[name] = max(self.lasts_s[name], age_s)
            self.moments[name][records[0].state if records else "before"] += 1
            self.hit[name].add(handle.id)

        await asyncio.gather(*(note(name, handle) for name, handle in handles.items()))

    async def begun(self, names: list[str], chance: random.Random, behind: tuple[str, str] | None = None) -> dict[str, Handle]:
        """Trials of these kinds, at an instant that is drawn for each: more of them at both ends, where its state moves.

        `behind`: a kind, and the boundary that it has just passed; the others are where they were drawn to be, or a little later.
        """
        handles: dict[str, Handle] = {}
        at = {name: chance.betavariate(0.5, 0.5) * 1.03 * self.lasts_s[name] for name in names}
        if behind is not None:
            at[behind[0]] = 0.7 * self.lasts_s[behind[0]] if behind[1] == "kept" else 0.0
        over, began = max(at.values()), time.monotonic()

        async def start_at(kind: Kind) -> None:
            await asyncio.sleep(max(0.0, over - at[kind.name] - (time.monotonic() - began)))
            handles[kind.name] = await self.start(kind)

        await asyncio.gather(*(start_at(self.kinds[name]) for name in names))
        await asyncio.sleep(max(0.0, over - (time.monotonic() - began)))
        if behind is not None:
            await self.behind(behind[1], self.kinds[behind[0]])
        return handles

    async def behind(self, boundary: str, kind: Kind) -> None:
        """As soon as it can be seen from outside, of the trial that was started last."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if boundary == "changed":
                if await kind.read() != self.before[kind.name]:
                    return
            elif any(one.state in SINCE[boundary] for one in await self.records_of(self.going[kind.name])):
                return
            await asyncio.sleep(0.002)
        raise AssertionError(f"{kind.name} did not come to {boundary}")

    async def settle(self, kind: Kind, handle: Handle, *, ended: bool = True) -> None:
        """The target is as it was, or kept and recorded; what was kept is undone for the next. Counts how it ended."""
        result: TrialResult | None = None
        if ended:
            result = await patiently(handle.result)
            assert not await patiently(lambda: task_failures(handle))
        states, found = [one.state for one in await self.records_of(handle)], await kind.read()
        why = (kind.name, states, result.end if result else "", result.reason if result else "", found, self.before[kind.name])
        if states == ["kept"]:
            assert found != self.before[kind.name] and found == self.after.setdefault(kind.name, found), why
            assert result is None or result.kept, why
            await self.work.revert((await self.records_of(handle))[0].change_id)
            assert await kind.read() == self.before[kind.name], why
            self.ends[kind.name]["kept and recorded"] += 1
            return
        assert states in ([], ["reverted"]) and found == self.before[kind.name], why
        assert result is None or not result.kept, why
        self.ends[kind.name]["as it was"] += 1

    async def open_records(self, target: str = "") -> list[UndoRecord]:
        return await self.records.find_all(UndoQuery(states=OPEN_STATES, target=target, limit=1_000))

    async def janitor(self, target: str) -> None:
        """Until two looks have found nothing: a step that is already on its way may come late."""
        client, quiet = await self.site.client(), 0
        for number in range(20):
            quiet = 0 if await self.open_records(target) else quiet + 1
            if quiet == 2:
                return
            name = f"janitor-{target}-{self.number}-{number}"
            order = {"settle_s": 0.0, "target": target}
            await (await client.start_workflow("UndoJanitor", order, id=name, task_queue=CENTRAL_QUEUE)).result()
        raise AssertionError([(one.target.name, one.state, one.note) for one in await self.open_records(target)])

    async def undo_by_hand(self) -> None:
        """`perfwright undo run`, where no Temporal server answers."""

        async def undo(record: UndoRecord) -> None:
            command = [sys.executable, "-m", "starter.cli.main", "undo", "run", record.change_id, "--yes"]
            environ = os.environ | self.environ | {"PYTHONPATH": str(ROOT), "TEMPORAL_ADDRESS": "127.0.0.1:1"}
            started = await asyncio.create_subprocess_exec(*command, cwd=self.site.folder, env=environ, stdin=asyncio.subprocess.DEVNULL)
            assert await started.wait() == 0, record

        await asyncio.gather(*(undo(record) for record in await self.open_records()))

    async def lose(self, lost: str, chance: random.Random, handles: dict[str, Handle]) -> None:
        """And have back what a person, or the machine itself, brings back."""
        if lost == "worker":
            await self.give_up_steps(await self.kill_workers(chance))
        elif lost == "machine":
            killed = await self.kill_workers()
            await self.site.restart_server()
            await self.give_up_steps(killed)
        elif lost == "server":
            await self.site.restart_server()
        elif lost == "run":
            await asyncio.gather(*(terminated(handle) for handle in handles.values()))
            await asyncio.gather(*(self.janitor(name) for name in handles))
        else:
            os.kill(self.site.server.pid, signal.SIGKILL)
            await asyncio.to_thread(self.site.server.stop)
            await self.undo_by_hand()  # its workers still live, and go on with what they had begun
            await self.kill_workers()
            await self.undo_by_hand()
            await self.another_server()
        if lost != "run":
            await self.start_workers()

    async def another_server(self) -> None:
        """It knows nothing of what the lost one knew."""
        file, port = self.site.folder / f"temporal-{self.number}.db", int(self.site.address.rpartition(":")[2])
        self.site.server = await asyncio.to_thread(start_dev_server, temporal_cli(), db=file, port=port, ui=False)

    def close(self) -> None:
        if self.hosts is not None:
            self.hosts.kill_worker()


async def patiently(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Its answer, also when the server is away meanwhile."""
    deadline = time.monotonic() + 2 * PATIENCE_S
    while True:
        try:
            return await asyncio.wait_for(ask(), 2 * PATIENCE_S)
        except (RPCError, RuntimeError) as trouble:
            assert time.monotonic() < deadline, trouble
            await asyncio.sleep(0.2)


async def terminated(handle: Handle) -> None:
    with contextlib.suppress(RPCError):  # it has ended
        await handle.terminate("the test")
