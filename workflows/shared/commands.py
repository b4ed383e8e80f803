"""Brackets around a measurement: the launched target, and the workload that loads it. Both end with the block, however it is left."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from temporalio import workflow

from activities.commands import Commands
from activities.errors import refuse
from perfwright.models.command import CommandEnd, CommandRun
from perfwright.models.errors import ErrorType
from perfwright.models.target import Target
from perfwright.models.workload import Workload
from workflows.shared.options import measuring
from workflows.shared.waiting import stop_if_cancelled, to_the_end

MARGIN_S = 600.0
"""A command lives as long as the recording and what a restarted worker adds to it; then it is stopped whatever happens."""


@asynccontextmanager
async def launched(target: Target, prefix: str, duration_s: float) -> AsyncIterator[int | None]:
    """Run the target's own command for the block and give its pid; nothing to do for a target that runs already."""
    if target.process is None or target.process.command is None:
        yield None
        return
    command = CommandRun(
        key=f"{prefix}/target",
        title=f"the command of {target.title}",
        command=target.process.command,
        working_directory=target.process.working_directory,
        environment_names=target.process.environment_names,
        limit_s=duration_s + MARGIN_S,
        profiling_flags=True,
    )
    async with _running(command, target) as pid:
        yield pid


@asynccontextmanager
async def loaded(workload: Workload | None, target: Target, prefix: str, duration_s: float) -> AsyncIterator[None]:
    """Run the workload for the block, beginning with its warm-up."""
    if workload is None:
        yield
        return
    command = CommandRun(
        key=f"{prefix}/workload",
        title=f"the workload of {target.title}",
        command=workload.command,
        working_directory=workload.working_directory,
        environment_names=workload.environment_names,
        limit_s=workload.warm_up_s + duration_s + MARGIN_S,
    )
    async with _running(command, target):
        if workload.warm_up_s:
            await workflow.sleep(timedelta(seconds=workload.warm_up_s), summary=f"Warm up {target.title}")
        yield


@asynccontextmanager
async def _running(command: CommandRun, target: Target) -> AsyncIterator[int]:
    handle = workflow.start_activity_method(
        Commands.run_command,
        command,
        summary=f"Run {command.title}: {' '.join(command.command)}"[:200],
        **measuring(command.limit_s, on=target.host),
    )
    finding = workflow.start_activity_method(
        Commands.find_command,
        command,
        summary=f"Wait until {command.title} runs",
        **measuring(30, on=target.host),
    )
    try:
        await workflow.wait_condition(lambda: finding.done() or handle.done())
        if handle.done():
            raise _ended_at_once(command, await handle)
        yield (await finding).pid
    except GeneratorExit:  # the run is only dropped from memory, by a worker that has stopped: the command goes on
        raise
    except BaseException:
        await _stop(finding, handle)
        raise
    await _stop(finding, handle)


async def _stop(*steps: asyncio.Task[Any]) -> None:
    for step in steps:
        step.cancel()
    await to_the_end(_ended(steps))
    stop_if_cancelled()


async def _ended(steps: tuple[asyncio.Task[Any], ...]) -> None:
    await asyncio.gather(*steps, return_exceptions=True)


def _ended_at_once(command: CommandRun, end: CommandEnd) -> Exception:
    said = f": {end.output_tail}" if end.output_tail else ""
    return refuse(ErrorType.TARGET_GONE, f"{command.title} ended after {end.seconds:.1f} s with exit code {end.returncode}{said}")
