"""Commands that run beside a measurement: a launched target, or a workload. They end with the step that runs them, and with the worker."""

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
from temporalio import activity

from activities.changes.launches import launched_as
from activities.errors import refuse
from activities.finding_processes import runtime_of
from activities.recording_folder import RecordingFolder
from activities.subprocesses import Tool, running
from perfwright.models.command import CommandEnd, CommandRun, RunningCommand
from perfwright.models.errors import ErrorType
from perfwright.models.secrets import without_secrets

RUNNING_FILE = "running.jsonl"
FIND_LIMIT_S = 40.0
"""More than the heartbeat timeout after which a killed worker's command is started again."""
SETTLE_S = 2.0
"""A program shows within this time what it is: wrappers replace themselves by `exec`, and a JVM maps its library after its start."""
PROFILING_ENVIRONMENT = {
    "JAVA_TOOL_OPTIONS": "-XX:+UnlockDiagnosticVMOptions -XX:+DebugNonSafepoints",
    "NODE_OPTIONS": "--inspect-port=0",
}
"""Makes JVM profiles exact to the line (without it inlined leaves are charged to their callers), and lets the inspector of Node open on any
free port. What the command inherits under these names is kept beside it."""
SHORTEST_SECRET = 4
"""A value shorter than this is no secret, and hiding it would make the output unreadable."""
TAIL_CHARACTERS = 1_000
SAME_START_S = 0.05
"""How exactly the kernel tells when a process was started."""


class Commands:
    """Runs commands on this host for the time of a recording."""

    def __init__(self, state_folder: Path) -> None:
        self._state_folder = state_folder

    @activity.defn
    async def run_command(self, request: CommandRun) -> CommandEnd:
        """Run until it ends, the limit is reached, or the recording that needs it cancels this step."""
        missing = [name for name in request.environment_names if name not in os.environ]
        if missing:
            raise refuse(
                ErrorType.INVALID_INPUT,
                f"environment_names: not set in the worker's environment: {', '.join(missing)}",
                way_out="Set them where the host worker is started",
            )
        inherited = {name: os.environ[name] for name in request.environment_names}
        command, environment = request.command, inherited
        if request.target:
            command, environment = launched_as(self._state_folder, request.target, request.command, inherited)
        flags = {name: f"{ours} {environment.get(name, '')}".strip() for name, ours in PROFILING_ENVIRONMENT.items()}
        tool = Tool(
            command,
            limit_s=request.limit_s,
            way_out="Name a program that exists on the target's host",
            environment=environment | (flags if request.profiling_flags else {}),
            directory=Path(request.working_directory or "."),
            keep_bytes=64 * 1024,
        )
        folder = RecordingFolder(self._state_folder, request.key)
        folder.remove()
        folder.open()
        began = time.monotonic()
        try:
            async with running(tool, heartbeat=lambda elapsed_s, _: activity.heartbeat({"running_s": round(elapsed_s, 1)})) as child:
                folder.append(RUNNING_FILE, RunningCommand(pid=child.pid, create_time_s=_create_time(child.pid)).model_dump())
                ended = await child.wait()
        finally:
            folder.remove()
        return CommandEnd(
            pid=ended.pid,
            returncode=ended.returncode,
            stopped_by_us=ended.stopped,
            seconds=time.monotonic() - began,
            left_over=ended.left_over,
            output_tail=_shown(ended.stderr.strip() or ended.stdout.strip(), inherited)[-TAIL_CHARACTERS:],
        )

    @activity.defn
    async def find_command(self, request: CommandRun) -> RunningCommand:
        """Wait until `run_command` with the same key has started its program, and a target shows its runtime; give its pid."""
        folder = RecordingFolder(self._state_folder, request.key)
        give_up = time.monotonic() + FIND_LIMIT_S
        while time.monotonic() < give_up:
            for line in folder.lines(RUNNING_FILE):
                command = RunningCommand.model_validate(line)
                if _shows_what_it_is(command) if request.profiling_flags else _process(command):
                    return command
            activity.heartbeat()
            await asyncio.sleep(0.1)
        raise refuse(ErrorType.TARGET_GONE, f"{request.title} did not start within {FIND_LIMIT_S:.0f} s, or ended at once")


def _create_time(pid: int) -> float:
    """Zero when it has exited."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0


def _shown(output: str, inherited: Mapping[str, str]) -> str:
    """What a command said, without the values that it inherited and without passwords in URLs: it is kept in the run's history."""
    for value in sorted(inherited.values(), key=len, reverse=True):
        if len(value) >= SHORTEST_SECRET:
            output = output.replace(value, "***")
    return without_secrets(output)


def _process(command: RunningCommand) -> psutil.Process | None:
    """The process; None when it has ended, with a killed worker for example, before whose next attempt it is still on file."""
    try:
        process = psutil.Process(command.pid)
        return process if abs(process.create_time() - command.create_time_s) < SAME_START_S else None
    except psutil.NoSuchProcess:
        return None


def _shows_what_it_is(command: RunningCommand) -> bool:
    process = _process(command)
    if process is None:
        return False
    try:
        return runtime_of(process)[0] not in ("native", "unknown") or time.time() - process.create_time() >= SETTLE_S
    except psutil.NoSuchProcess:
        return False
