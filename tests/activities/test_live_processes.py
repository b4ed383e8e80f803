"""A running process, read and watched from outside: what it holds, the most that it ever held, and whether it is still the same."""

import asyncio
import dataclasses
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.live_processes import LiveProcesses
from perfwright.models.live_guards import ProcessReading, ReadProcess, WatchProcess
from perfwright.models.target import ProcessSelector, Target
from perfwright.models.trial import Guard
from perfwright.models.trial_run import TrialEvidence
from tests.activities.tool_programs import soon
from tests.holding import Held, holding

MEMORY = Guard(metric="live_rss_bytes", margin=math.log(2))
RESTARTS = Guard(metric="live_restarts", margin=math.log(2))
WEEK_S = 7 * 86_400.0


def target_of(held: Held) -> Target:
    return Target(name="held", kind="process", environment="lab", process=ProcessSelector(pid_file=str(held.pid_file)))


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Held]:
    with holding(tmp_path) as opened:
        yield opened


async def read(held: Held) -> ProcessReading:
    found: ProcessReading = await ActivityEnvironment().run(LiveProcesses().read_live_process, ReadProcess(target=target_of(held)))
    return found


@asynccontextmanager
async def watching(held: Held, *guards: Guard, ran_s: float = 0.0, seconds: float = 60.0) -> AsyncIterator["asyncio.Task[TrialEvidence]"]:
    """A watch that has seen its first window. `ran_s`: how long it is said to have run before."""
    now = await read(held)
    before = now.model_copy(update={"create_time_s": now.taken_s - ran_s}) if ran_s else now
    order = WatchProcess(target=target_of(held), guards=guards, before=(before, before), seconds=seconds)
    environment, beats = ActivityEnvironment(), list[Any]()
    environment.info = dataclasses.replace(environment.info, scheduled_time=datetime.now(UTC))
    environment.on_heartbeat = lambda *details: beats.append(details[0])
    with patch("activities.live_windows.WATCH_EVERY_S", 0.05), patch("activities.heartbeats.BEAT_EVERY_S", 0.02):
        task = asyncio.ensure_future(environment.run(LiveProcesses().watch_live_process, order))
        await soon(lambda: task.done() or any(one["windows"] for one in beats))
        yield task


async def test_what_it_holds_and_the_most_that_it_held(held: Held) -> None:
    """Memory that was given back is remembered as its most; threads, files and CPU time are counted, of children as well."""
    held.hold(80_000_000)
    held.hold(1)
    found = await read(held)
    assert found.pss_bytes < 60e6 and 80e6 < found.most_bytes < 150e6
    assert found.pid == held.program.pid and found.processes == 1 and found.threads == 1 and found.cpu_s > 0
    assert found.open_files and found.taken_s > found.create_time_s > 0
    held.stop()
    held.start("with a child")
    both = await read(held)
    assert both.processes == 2 and both.threads == 2 and both.pss_bytes < 1.7 * found.pss_bytes


async def test_memory_is_watched(held: Held) -> None:
    """What stays is held; many times as much as it ever held is a breach, and ends the watch."""
    async with watching(held, MEMORY, RESTARTS, seconds=1.2) as task:
        quiet = await task
    assert [one.verdict for one in quiet.guards] == ["held" if quiet.rounds >= 12 else "unclear", "unclear"]
    assert quiet.medians["live_restarts"] == (0, 0)
    async with watching(held, MEMORY, RESTARTS) as task:
        held.hold(150_000_000)
        found = await task
    assert [one.verdict for one in found.guards] == ["breached", "unclear"] and found.seconds < 60
    before, now = found.medians["live_rss_bytes"]
    assert now > before


async def test_a_restart_is_a_breach_where_it_had_run_for_long(held: Held) -> None:
    """The same number of restarts says nothing of a program that had run for moments."""
    async with watching(held, RESTARTS, ran_s=WEEK_S) as task:
        held.stop()
        held.start()
        found = await task
    assert found.guards[0].verdict == "breached" and found.medians["live_restarts"] == (0, 1)
    async with watching(held, RESTARTS, seconds=1.2) as task:
        held.stop()
        held.start()
        found = await task
    assert found.guards[0].verdict == "unclear"


async def test_what_does_not_come_back_ends_the_watch(held: Held) -> None:
    """It is waited for for a while, and then told as gone; so is what names no running process."""
    with patch("activities.live_processes.PATIENCE_S", 0.2), pytest.raises(ApplicationError, match=r"exited|no process") as gone:
        async with watching(held, MEMORY) as task:
            held.stop()
            await task
    assert gone.value.type == "TargetGone"
    launched = Target(name="job", kind="process", environment="lab", process=ProcessSelector(command=("job",)))
    with pytest.raises(ApplicationError, match="names no running process"):
        await ActivityEnvironment().run(LiveProcesses().read_live_process, ReadProcess(target=launched))
