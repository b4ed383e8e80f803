"""Whatever is lost, and at whatever instant, every kind of change ends as it was, or kept and recorded: read from the target itself.

Trials of all kinds run at the same time, each on a target of its own, against the same workers and the same server. What is lost is lost for
all of them at one instant, which falls into a different moment of each. Instants are drawn over the whole run, from before `apply` to after
`keep`; others lie right behind a boundary of one kind: its undo was recorded, its effect shows on the target, it is applied, it is kept.
"""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from activities.abandoned_changes import AbandonedChangeFinder
from activities.context import WorkerContext
from activities.leases import Leases
from activities.registry import build_activities
from perfwright.models.queues import CENTRAL_QUEUE, host_queue, probe_queue
from starter.search_attributes import ensure_search_attributes
from tests.conftest import run_worker
from tests.needs import needs
from tests.object_store import object_store
from tests.postgres import needed_programs, start_postgres
from tests.workflows.lease_worker import lease_activities
from tests.workflows.sites import running_site
from tests.workflows.undoing_kinds import Kind, all_kinds
from tests.workflows.undoing_world import BOUNDARIES, World, terminated
from workflows.registry import WORKFLOWS

pytestmark = [needs("temporal", "gdb", "ptrace"), pytest.mark.timeout(7_200)]

KILLS = int(os.environ.get("PERFWRIGHT_TEST_KILLS", "0"))
"""Instants of each loss. 30 for the whole proof; 0: the two losses that hold the most, at one instant each."""
KINDS = os.environ.get("PERFWRIGHT_TEST_KINDS", "").split()
"""Which kinds; all of them, if none is named."""
LOSSES = ("worker", "machine", "server", "run", "server for ever") if KILLS else ("machine", "run")
OF_ONE_MACHINE = ("patch", "sql", "settings")
"""What is tried where one machine is lost once: each kind alone is killed in its own tests as well, and a trial of these takes least."""
SEED = int(os.environ.get("PERFWRIGHT_TEST_SEED", "90"))
"""Of one instant, 90 falls into all moments: before, in the middle of and after the measuring."""


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """All targets, and a Temporal server; no workers yet."""
    with start_postgres(needed_programs()) as server, object_store() as found_by:
        for name, value in found_by.items():
            monkeypatch.setenv(name, value)
        async with running_site(tmp_path) as site, all_kinds(tmp_path, server) as (kinds, environ):
            monkeypatch.setenv("PATH", environ["PATH"])
            context = await WorkerContext.open(tmp_path / "perfwright.toml", "local", environ=environ, working_directory=tmp_path)
            world = World(site, {name: kind for name, kind in kinds.items() if not KINDS or name in KINDS}, environ, context)
            try:
                yield world
            finally:
                world.close()
                await context.close()
                _tell(world)


def _tell(world: World) -> None:
    for name in world.kinds:
        print(f"{name}: {len(world.hit[name])} trials hit at {dict(world.moments[name])}, ended {dict(world.ends[name])}", flush=True)


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
            await running.enter_async_context(run_worker(client, probe_queue(kind.host), activities=activities.probe))
        yield


async def terminate_each(world: World, chance: random.Random) -> None:
    """Trials of all kinds, each terminated at an instant of its own: right behind a boundary, `kept` first, or drawn over its length."""

    async def go_on(kind: Kind) -> None:
        for number in range(KILLS):
            handle, began = await world.start(kind), time.monotonic()
            if number % 3 == 0:
                boundary = BOUNDARIES[-1 - number // 3 % len(BOUNDARIES)]
                await world.behind(boundary, kind)
                if boundary == "kept":
                    world.lasts_s[kind.name] = time.monotonic() - began
            else:
                await asyncio.sleep(chance.uniform(0.0, 1.03 * world.lasts_s[kind.name]))
            await world.note_moments({kind.name: handle})
            await terminated(handle)
            await world.janitor(kind.name)
            await world.settle(kind, handle, ended=False)
            _tell(world)

    async with asyncio.TaskGroup() as tasks:
        for kind in world.kinds.values():
            tasks.create_task(go_on(kind))


async def lose_once_each(world: World, lost: str, chance: random.Random) -> None:
    """Trials of all kinds that begin so that the loss falls into an instant of each that was drawn, or right behind a boundary of one.

    A kind goes on until so many instants have hit it; one at which it had ended already does not count.
    """
    number, wanted, most = 0, max(1, KILLS), max(1, 2 * KILLS)
    while names := [name for name in world.kinds if len(world.hit[name]) < wanted and number < most]:
        boundary = (names[number // 2 % len(names)], BOUNDARIES[(number // 2 + number // 12) % len(BOUNDARIES)]) if number % 2 else None
        handles = await world.begun(names, chance, boundary)
        await world.note_moments(handles)
        await world.lose(lost, chance, handles)
        ended = lost not in ("run", "server for ever")
        await asyncio.gather(*(world.settle(world.kinds[name], handle, ended=ended) for name, handle in handles.items()))
        number += 1
        print(f"{lost} {number}", flush=True)
        _tell(world)


@pytest.mark.parametrize("lost", LOSSES)
async def test_every_kind_ends_as_it_was_or_kept(world: World, lost: str) -> None:
    """kill -9 of workers, of their machine, of the server that comes back or not, a run that is terminated: at any instant of all kinds."""
    chance = random.Random(SEED)
    if lost == "machine" and not KILLS:
        world.kinds = {name: world.kinds[name] for name in OF_ONE_MACHINE}
    async with workers_of(world, lost):
        await world.prepare()
        if KILLS and lost == "run":
            await terminate_each(world, chance)
        else:
            await lose_once_each(world, lost, chance)
    if lost in ("worker", "machine"):
        assert all(set(world.ends[name]) == {"kept and recorded"} for name in world.kinds), "a kill alone loses no trial"
