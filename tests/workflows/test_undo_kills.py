"""Whatever is lost, and at whatever instant, every kind of change ends as it was, or kept and recorded: read from the target itself.

Trials of all kinds run at the same time, each on a target of its own, against the same workers and the same server. What is lost is lost for
all of them at one instant, which falls into a different moment of each. Instants are drawn over the whole run, from before `apply` to after
`keep`; others lie right behind a boundary of one kind: its undo was recorded, its effect shows on the target, it is applied, it is kept.
"""

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import RPCError
from temporalio.common import WorkflowIDConflictPolicy

from activities.abandoned_changes import AbandonedChangeFinder
from activities.changes.carrying_out import CarryingOut
from activities.changes.kind import Site as ChangeSite
from activities.context import WorkerContext
from activities.leases import Leases
from activities.registry import build_activities
from activities.undo_records import UndoRecords
from perfwright.models.queues import CENTRAL_QUEUE, host_queue
from perfwright.models.trial_run import TrialResult
from perfwright.models.undo import OPEN_STATES, UndoQuery, UndoRecord
from starter.dev_server import start_dev_server
from starter.search_attributes import ensure_search_attributes
from starter.temporal_cli import find_temporal_cli
from tests.conftest import run_worker
from tests.needs import needs
from tests.object_store import object_store
from tests.postgres import needed_programs, start_postgres
from tests.workflows.killed_steps import WITHOUT_CACHE
from tests.workflows.lease_worker import lease_activities
from tests.workflows.sites import Site, WorkerProcess, running_site
from tests.workflows.undoing_kinds import Kind, all_kinds
from tests.workflows.watching_runs import PATIENCE_S, Handle, task_failures
from workflows.changes.trial import Trial
from workflows.registry import WORKFLOWS

pytestmark = [needs("temporal", "gdb", "ptrace"), pytest.mark.timeout(7_200)]

KILLS = int(os.environ.get("PERFWRIGHT_TEST_KILLS", "0"))
"""Instants of each loss. 30 for the whole proof; 0: the two losses that hold the most, at one instant each."""
LOSSES = ("worker", "machine", "server", "run", "server for ever") if KILLS else ("machine", "run")
SUPPOSED_S = {"file": 5.0, "launch": 5.0, "patch": 6.0, "sql": 7.0, "settings": 7.0, "interpreter": 20.0}
"""How long trials take, where that is not measured first."""
SEED = int(os.environ.get("PERFWRIGHT_TEST_SEED", "17"))
BOUNDARIES = ("recorded", "changed", "applied", "kept")
SINCE = {"recorded": ("recorded", "applied", "kept"), "applied": ("applied", "kept"), "kept": ("kept",)}
"""States of the record at a boundary, and those that follow before it can be seen."""
GAP_S = (8.0, 35.0)
"""Between losses: a step whose worker was killed is found out after fifteen seconds."""
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
    going: dict[str, Handle] = field(default_factory=dict)
    hosts: WorkerProcess | None = None
    number: int = 0

    def __post_init__(self) -> None:
        self.records = UndoRecords(self.context.history)
        self.work = CarryingOut(self.records, ChangeSite(self.environ, self.context.state_folder))
        self.ends = {name: Counter() for name in self.kinds}
        self.moments = {name: Counter() for name in self.kinds}

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

    async def kill_workers(self, chance: random.Random | None = None) -> None:
        """Both, or what is drawn."""
        assert self.hosts is not None
        both: tuple[WorkerProcess, ...] = (self.site, self.hosts)
        for one in chance.choice([both, both[:1], both[1:], both[1:]]) if chance else both:
            await one.signal_worker(signal.SIGKILL)

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

        self.going[kind.name] = await _patiently(started)
        return self.going[kind.name]

    async def records_of(self, handle: Handle) -> list[UndoRecord]:
        return await self.records.find_all(UndoQuery(workflow_id=handle.id))

    async def prepare(self, *, measured: bool) -> None:
        """How the targets are; `measured`: all trials once to their end, how long each takes."""
        self.before = {name: await kind.read() for name, kind in self.kinds.items()}

        async def one(kind: Kind) -> None:
            began = time.monotonic()
            handle = await self.start(kind)
            await handle.result()
            self.lasts_s[kind.name] = time.monotonic() - began
            await self.settle(kind, handle)

        if measured:
            await asyncio.gather(*(one(kind) for kind in self.kinds.values()))
            assert all(set(ends) == {"kept and recorded"} for ends in self.ends.values()), self.ends
            self.ends = {name: Counter() for name in self.kinds}

    async def lose_again_and_again(self, lost: str, chance: random.Random) -> None:
        """Trials of all kinds, one after the other, and losses at instants that have nothing to do with them, or right behind a boundary."""
        over = asyncio.Event()

        async def go_on(kind: Kind) -> None:
            while not over.is_set():
                await self.settle(kind, await self.start(kind))

        async def lose() -> None:
            names = [*self.kinds]
            for number in range(KILLS):
                await asyncio.sleep(chance.uniform(*GAP_S))
                if number % 2:
                    name, boundary = names[number // 2 % len(names)], BOUNDARIES[number // 2 // len(names) % len(BOUNDARIES)]
                    await self._behind(boundary, self.kinds[name])
                await self.note_moments(self.going)
                await self.lose(lost, chance, {})
                print(lost, number, {name: dict(counts) for name, counts in self.moments.items()}, flush=True)
            over.set()

        async with asyncio.TaskGroup() as tasks:
            for kind in self.kinds.values():
                tasks.create_task(go_on(kind))
            tasks.create_task(lose())

    async def terminate_each(self, chance: random.Random) -> None:
        """Trials of all kinds, each terminated at an instant of its own: right behind a boundary, `kept` first, or drawn over its length."""

        async def go_on(kind: Kind) -> None:
            for number in range(KILLS):
                handle, began = await self.start(kind), time.monotonic()
                if number % 3 == 0:
                    boundary = BOUNDARIES[-1 - number // 3 % len(BOUNDARIES)]
                    await self._behind(boundary, kind)
                    if boundary == "kept":
                        self.lasts_s[kind.name] = time.monotonic() - began
                else:
                    await asyncio.sleep(chance.uniform(0.0, 1.03 * self.lasts_s[kind.name]))
                await self.note_moments({kind.name: handle})
                await _terminated(handle)
                await self.janitor(kind.name)
                await self.settle(kind, handle, ended=False)
                print(kind.name, dict(self.moments[kind.name]), dict(self.ends[kind.name]), flush=True)

        async with asyncio.TaskGroup() as tasks:
            for kind in self.kinds.values():
                tasks.create_task(go_on(kind))

    async def lose_once_each(self, lost: str, chance: random.Random) -> None:
        """Trials of all kinds that begin so that the loss falls into an instant of each that was drawn."""
        for _ in range(max(1, KILLS)):
            handles = await self.begun(chance)
            await self.note_moments(handles)
            await self.lose(lost, chance, handles)
            ended = lost not in ("run", "server for ever")
            await asyncio.gather(*(self.settle(self.kinds[name], handle, ended=ended) for name, handle in handles.items()))
            print(lost, {name: (dict(self.moments[name]), dict(self.ends[name])) for name in self.kinds}, flush=True)

    async def note_moments(self, handles: dict[str, Handle]) -> None:
        for name, handle in handles.items():
            records = await self.records_of(handle)
            self.moments[name][records[0].state if records else "before"] += 1

    async def begun(self, chance: random.Random) -> dict[str, Handle]:
        """Trials of all kinds, at an instant that is drawn for each."""
        handles: dict[str, Handle] = {}
        at = {name: chance.uniform(0.0, 1.03 * lasts_s) for name, lasts_s in self.lasts_s.items()}
        over, began = max(at.values()), time.monotonic()

        async def start_at(kind: Kind) -> None:
            await asyncio.sleep(max(0.0, over - at[kind.name] - (time.monotonic() - began)))
            handles[kind.name] = await self.start(kind)

        await asyncio.gather(*(start_at(kind) for kind in self.kinds.values()))
        await asyncio.sleep(max(0.0, over - (time.monotonic() - began)))
        return handles

    async def _behind(self, boundary: str, kind: Kind) -> None:
        """As soon as it can be seen from outside, of the trial that goes on."""
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
            result = await _patiently(handle.result)
            assert not await _patiently(lambda: task_failures(handle))
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
        for record in await self.open_records():
            command = [sys.executable, "-m", "starter.cli.main", "undo", "run", record.change_id, "--yes"]
            environ = os.environ | self.environ | {"PYTHONPATH": str(ROOT), "TEMPORAL_ADDRESS": "127.0.0.1:1"}
            started = await asyncio.create_subprocess_exec(*command, cwd=self.site.folder, env=environ, stdin=asyncio.subprocess.DEVNULL)
            assert await started.wait() == 0, record

    async def lose(self, lost: str, chance: random.Random, handles: dict[str, Handle]) -> None:
        """And have back what a person, or the machine itself, brings back."""
        if lost == "worker":
            await self.kill_workers(chance)
        elif lost == "machine":
            await self.kill_workers()
            await self.site.restart_server()
        elif lost == "server":
            await self.site.restart_server()
        elif lost == "run":
            await asyncio.gather(*(_terminated(handle) for handle in handles.values()))
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
        self.site.server = await asyncio.to_thread(start_dev_server, find_temporal_cli().path, db=file, port=port, ui=False)

    def close(self) -> None:
        if self.hosts is not None:
            self.hosts.kill_worker()


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """All targets, and a Temporal server; no workers yet."""
    with start_postgres(needed_programs()) as server, object_store() as found_by:
        for name, value in found_by.items():
            monkeypatch.setenv(name, value)
        async with running_site(tmp_path) as site, all_kinds(tmp_path, server) as (kinds, environ):
            monkeypatch.setenv("PATH", environ["PATH"])
            context = await WorkerContext.open(tmp_path / "perfwright.toml", "local", environ=environ, working_directory=tmp_path)
            world = World(site, kinds, environ, context)
            try:
                yield world
            finally:
                world.close()
                await context.close()
                print(
                    "\n", *(f"{name}: lost at {dict(world.moments[name])}, ended {dict(counts)}\n" for name, counts in world.ends.items())
                )


async def _patiently(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Its answer, also when the server is away meanwhile."""
    deadline = time.monotonic() + 2 * PATIENCE_S
    while True:
        try:
            return await asyncio.wait_for(ask(), 2 * PATIENCE_S)
        except (RPCError, RuntimeError) as trouble:
            assert time.monotonic() < deadline, trouble
            await asyncio.sleep(0.2)


async def _terminated(handle: Handle) -> None:
    with contextlib.suppress(RPCError):  # it has ended
        await handle.terminate("the test")


@asynccontextmanager
async def workers_of(world: World, lost: str) -> AsyncIterator[None]:
    """Processes that can be killed; where only runs are lost, workers here, whose leases are impatient."""
    if lost == "run":
        async with workers_here(world):
            yield
    else:
        await world.start_workers()
        yield


@asynccontextmanager
async def workers_here(world: World) -> AsyncIterator[None]:
    """Workers in this process, whose leases are impatient."""
    client, activities = await world.site.client(), build_activities(world.context)
    await ensure_search_attributes(client)
    central = [one for one in activities.central if not isinstance(one.__self__, Leases)]  # type: ignore[attr-defined]
    central += lease_activities(abandoned=AbandonedChangeFinder(world.context.history))
    async with AsyncExitStack() as running:
        await running.enter_async_context(run_worker(client, CENTRAL_QUEUE, workflows=WORKFLOWS, activities=central))
        for kind in world.kinds.values():
            await running.enter_async_context(run_worker(client, host_queue(kind.host), activities=activities.host))
        yield


@pytest.mark.parametrize("lost", LOSSES)
async def test_every_kind_ends_as_it_was_or_kept(world: World, lost: str) -> None:
    """kill -9 of workers, of their machine, of the server that comes back or not, a run that is terminated: at any instant of all kinds."""
    chance = random.Random(SEED)
    async with workers_of(world, lost):
        await world.prepare(measured=KILLS > 0 and lost.startswith("server"))
        if KILLS and lost in ("worker", "machine", "server"):
            await world.lose_again_and_again(lost, chance)
        elif KILLS and lost == "run":
            await world.terminate_each(chance)
        else:
            await world.lose_once_each(lost, chance)
    if lost in ("worker", "machine"):
        assert all(set(ends) == {"kept and recorded"} for ends in world.ends.values()), "a kill alone loses no trial"
