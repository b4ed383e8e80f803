"""Brackets around a measurement: the launched target, and the workload that loads it. Both end with the block, however it is left."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from activities.commands import Commands
from activities.errors import refuse
from perfwright.models.command import CommandEnd, CommandRun
from perfwright.models.errors import ErrorType
from perfwright.models.target import Target
from perfwright.models.workload import Workload
from workflows.shared.options import measuring
from workflows.shared.waiting import stop_if_cancelled, to_the_end

T = TypeVar("T")

STARTS = 4
"""How many times a target's command may be started for one recording: it ends with its worker."""
MARGIN_S = 600.0
"""A command lives as long as the recording and what a restarted worker adds to it; then it is stopped whatever happens."""


class Launched:
    """The target's own command while it runs; without one the target runs already, and there is nothing to launch."""

    def __init__(self, command: "_Command | None", pid: int | None) -> None:
        self._command, self._pid = command, pid

    async def examined(self, examine: Callable[[int | None], Awaitable[T]]) -> T:
        """What `examine(pid)` gives; asked again where the command ended with its worker, after the next worker has started it again."""
        for _ in range(STARTS - 1):
            try:
                return await examine(self._pid)
            except ActivityError as failed:
                if self._command is None or not _target_is_gone(failed):
                    raise
                self._pid = await self._command.found()  # raises, with its last words, when it ended by itself
        return await examine(self._pid)

    @property
    def said(self) -> tuple[str, ...]:
        """What whoever reads the recording must know of its end: that it went into the background meanwhile."""
        return self._command.said if self._command else ()


@asynccontextmanager
async def launched(target: Target, prefix: str, duration_s: float) -> AsyncIterator[Launched]:
    """Run the target's own command for the block; nothing to do for a target that runs already."""
    if target.process is None or target.process.command is None:
        yield Launched(None, None)
        return
    command = CommandRun(
        key=f"{prefix}/target",
        title=f"the command of {target.title}",
        command=target.process.command,
        working_directory=target.process.working_directory,
        environment_names=target.process.environment_names,
        limit_s=duration_s + MARGIN_S,
        target=target.name,
        profiling_flags=True,
    )
    async with _running(command, target) as running:
        yield Launched(running, running.pid)


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


class _Command:
    """`run_command` and the steps that look for what it has started."""

    def __init__(self, command: CommandRun, target: Target) -> None:
        self._command, self._target = command, target
        self._run = workflow.start_activity_method(
            Commands.run_command,
            command,
            summary=f"Run {command.title}: {command.program}",
            **measuring(command.limit_s, on=target.host),
        )
        self._steps: list[asyncio.Task[Any]] = [self._run]
        self.pid = 0

    async def found(self) -> int:
        """Its pid, once it runs. Raises TargetGone when it has ended."""
        finding = workflow.start_activity_method(
            Commands.find_command,
            self._command,
            summary=f"Wait until {self._command.title} runs",
            **measuring(30, on=self._target.host),
        )
        self._steps.append(finding)
        await workflow.wait_condition(lambda: finding.done() or self._run.done())
        if self._run.done():
            raise _ended_early(self._command, await self._run)
        self.pid = (await finding).pid
        return self.pid

    @property
    def said(self) -> tuple[str, ...]:
        if not self._run.done() or self._run.cancelled() or self._run.exception() is not None:
            return ()
        end = self._run.result()
        return (". ".join(_in_the_background(self._command, end)) + ".",) if end.left_over else ()

    async def stop(self) -> None:
        for step in self._steps:
            step.cancel()
        await to_the_end(_ended(self._steps))
        stop_if_cancelled()


@asynccontextmanager
async def _running(command: CommandRun, target: Target) -> AsyncIterator[_Command]:
    running = _Command(command, target)
    try:
        await running.found()
        yield running
    except GeneratorExit:  # the run is only dropped from memory, by a worker that has stopped: the command goes on
        raise
    except BaseException:
        await running.stop()
        raise
    await running.stop()


async def _ended(steps: Sequence[asyncio.Task[Any]]) -> None:
    await asyncio.gather(*steps, return_exceptions=True)


def _target_is_gone(error: ActivityError) -> bool:
    return isinstance(error.cause, ApplicationError) and error.cause.type == ErrorType.TARGET_GONE


def _ended_early(command: CommandRun, end: CommandEnd) -> Exception:
    told = f"{command.title} ended after {end.seconds:.1f} s with exit code {end.returncode}"
    if end.left_over:
        told, way_out = _in_the_background(command, end)
        return refuse(ErrorType.TARGET_GONE, f"{told}: {end.output_tail}" if end.output_tail else told, way_out=way_out)
    if end.returncode == 0:
        return refuse(ErrorType.TARGET_GONE, f"{told}, before it was recorded", way_out="Give it more work, or start it from a loop")
    return refuse(ErrorType.TARGET_GONE, f"{told}: {end.output_tail}" if end.output_tail else told)


def _in_the_background(command: CommandRun, end: CommandEnd) -> tuple[str, str]:
    """What it did, and the way out."""
    them = "a process" if end.left_over == 1 else f"{end.left_over} processes"
    ended = f"{command.title} ended after {end.seconds:.1f} s with exit code {end.returncode}"
    told = f"{ended} and left {them} in the background, ended with it: nothing that a recording starts outlives it"
    way_out = "If that does the work: keep it in the foreground (no daemon option, no `&`; `exec` in a script)"
    return told, f"{way_out}, or start it yourself and name what runs by pid_file, port or pid" if command.target else way_out
