"""Java Flight Recorder, switched on and off by jcmd: stacks of running JVMs without restarting them.

The JVM itself writes the recording, so its file goes to a folder that the JVM's user owns. Recordings hold environment, properties and
arguments word for word: they are read and deleted at once, never stored. A recording is ended by protocol, and it ends by itself when
this worker is gone (it has a duration).
"""

import asyncio
import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from temporalio import activity

from activities.artifacts import ArtifactStore
from activities.errors import refuse
from activities.finding_processes import not_permitted, still_there
from activities.jfr_output import EVENTS, read_jfr_text
from activities.slice_recorder import ReadSlice, SliceRecorder, Tick
from activities.subprocesses import Tool, ToolRun, run
from perfwright.models.cpu_profiling import StackProfile, StackRecording
from perfwright.models.errors import ErrorType
from perfwright.models.profile import PassKind

WAY_OUT = "Install a JDK of the target's version or newer on its host (Debian: openjdk-17-jdk-headless); jcmd and jfr are part of it"
SHORTEST_SLICE_S = 10.0
"""Switching on costs a second or more: short slices would mostly do that."""
JCMD_LIMIT_S = 30.0
PRINT_LIMIT_S = 180.0
STACK_DEPTH = 64
OUTPUT_LIMIT_BYTES = 512 * 1024 * 1024


class Jfr:
    """Records stacks of JVMs on this host."""

    def __init__(self, artifacts: ArtifactStore, state_folder: Path) -> None:
        self._artifacts = artifacts
        self._state_folder = state_folder

    @activity.defn
    async def record_jvm_stacks(self, request: StackRecording) -> StackProfile:
        """Execution samples, and where threads were blocked, in slices of ten seconds or more."""
        request = request.model_copy(update={"slice_s": max(request.slice_s, SHORTEST_SLICE_S)})
        return await SliceRecorder(JfrSlices(request), request, self._artifacts, self._state_folder).record()


class JfrSlices:
    """One recording per slice."""

    title = "JFR by jcmd"
    holds_target = False
    read: ReadSlice = staticmethod(read_jfr_text)

    def __init__(self, request: StackRecording) -> None:
        self._request = request
        self._name = f"perfwright-{hashlib.sha256(request.artifact_prefix.encode()).hexdigest()[:8]}"

    async def take(self, kind: PassKind, seconds: float, rate_hz: float, nonblocking: bool, path: Path, tick: Tick) -> float:
        period_ms = max(1, round(1_000 / rate_hz))
        async with self._folder() as folder:
            recording = folder / "recording.jfr"
            await self._jcmd("JFR.stop", f"name={self._name}", may_fail=True)  # what a killed worker left running
            started = await self._jcmd(
                "JFR.start",
                f"name={self._name}",
                "settings=profile",
                f"duration={round(seconds) + 60}s",
                f"jdk.ExecutionSample#period={period_ms}ms",
            )
            cpu_s = started.cpu_s
            try:
                await self._wait(seconds, tick)
            except BaseException:
                await asyncio.shield(self._jcmd("JFR.stop", f"name={self._name}", may_fail=True))
                raise
            stopped = await self._jcmd("JFR.stop", f"name={self._name}", f"filename={recording}", may_fail=True)
            if not await asyncio.to_thread(recording.is_file):
                raise self._failure(stopped)
            text = path.with_suffix(".txt")
            printed = await run(
                Tool(
                    ["jfr", "print", "--stack-depth", str(STACK_DEPTH), "--events", ",".join(EVENTS), str(recording)],
                    stdout_file=text,
                    limit_s=PRINT_LIMIT_S,
                    way_out=WAY_OUT,
                    output_files=(text,),
                    output_limit_bytes=OUTPUT_LIMIT_BYTES,
                ),
                heartbeat=lambda _elapsed_s, _: tick(seconds),
            )
            printed.require_success(way_out="jfr must not be older than the JVM that recorded")
        path.with_suffix(".pid").write_text(str(self._request.process.pid))
        return cpu_s + stopped.cpu_s + printed.cpu_s

    async def _wait(self, seconds: float, tick: Tick) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (elapsed_s := loop.time() - began) < seconds:
            beaten = tick(elapsed_s)
            if beaten is not None:
                await beaten
            if still_there(self._request.process) is None:
                return
            await asyncio.sleep(min(0.5, seconds - elapsed_s))

    async def _jcmd(self, *words: str, may_fail: bool = False) -> ToolRun:
        if still_there(self._request.process) is None:
            # jcmd wakes its target with SIGQUIT: a pid that was given to another program would be killed by it.
            raise refuse(
                ErrorType.TARGET_GONE, f"process {self._request.process.pid} of {self._request.target} exited while it was recorded"
            )
        ended = await run(
            Tool(["jcmd", str(self._request.process.pid), *words], limit_s=JCMD_LIMIT_S, way_out=WAY_OUT),
            heartbeat=lambda elapsed_s, _: activity.heartbeat({"jcmd": words[0], "elapsed_s": round(elapsed_s, 1)}),
        )
        if ended.returncode != 0 and not may_fail:
            raise self._failure(ended)
        return ended

    def _failure(self, ended: ToolRun) -> Exception:
        process, said = self._request.process, f"{ended.stderr} {ended.stdout}".strip()
        if still_there(process) is None:
            return refuse(ErrorType.TARGET_GONE, f"process {process.pid} of {self._request.target} exited while it was recorded")
        if "AttachNotSupportedException" in said or "Permission denied" in said or "well-known file" in said:
            return not_permitted(process.pid)
        return refuse(
            ErrorType.TOOL_FAILED,
            f"JFR recorded nothing in process {process.pid}: {' | '.join(said.splitlines()[:3])[:600]}",
            retryable=True,
        )

    @asynccontextmanager
    async def _folder(self) -> AsyncIterator[Path]:
        process = still_there(self._request.process)
        folder = Path(tempfile.mkdtemp(prefix="perfwright-jfr-"))
        try:
            if process is not None and os.getuid() == 0:
                os.chown(folder, process.uids().effective, process.gids().effective)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
