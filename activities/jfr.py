"""Java Flight Recorder, switched on and off by jcmd: stacks of running JVMs without restarting them.

The JVM itself writes the recording, so its file goes to a folder that the JVM's user owns. The settings switch on samples, blocking and the
threads' ids and nothing else: recordings made with the JVM's own settings hold environment, properties and arguments word for word. A
recording is ended by protocol; it ends by itself when this worker is gone (it has a duration), and what it left is removed by the next
attempt.
Commands and settings: https://docs.oracle.com/en/java/javase/17/docs/specs/man/jcmd.html, JFR.start.
"""

import asyncio
import hashlib
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from pathlib import Path

import psutil
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.artifacts import ArtifactStore
from activities.errors import refuse
from activities.finding_processes import still_there
from activities.jcmd import JCMD_LIMIT_S, not_attached, said_by
from activities.jfr_output import BLOCKING, EVENTS, NATIVE_SAMPLE, SAMPLES, THREAD_LOAD, compiled_for_us, read_jfr_text, read_thread_ids
from activities.profiler_cpu import ProfilerCpu
from activities.recording_cost import OverBudget
from activities.recording_folder import RecordingFolder
from activities.slice_recorder import SliceOrder, SliceRecorder, Tick, carried_out
from activities.subprocesses import Tool, ToolRun, run
from activities.taken_slices import ReadSlice, SliceTake
from perfwright.models.cpu_profiling import StackProfile, StackRecording
from perfwright.models.errors import ErrorType
from perfwright.models.profile import PassKind

WAY_OUT = "Install a JDK of the target's version or newer on its host (Debian: openjdk-17-jdk-headless); jcmd and jfr are part of it"
SHORTEST_SLICE_S = 30.0
"""Switching on and off costs seconds, some of them the target's."""
LEFT_BEHIND_S = 60
"""How long a recording goes on after its slice when nobody ends it."""
PRINT_LIMIT_S = 180.0
STACK_DEPTH = 64
COMPILERS = ("C1 Compiler", "C2 Compiler")
INSIDE = ("JFR ", "Attach Listener")
"""The JVM's own threads that sample, write and answer jcmd: what the recording costs. A sample stops one thread, for microseconds."""
OUTPUT_LIMIT_BYTES = 512 * 1024 * 1024
FOLDERS_FILE = "folders.jsonl"


class Jfr:
    """Records stacks of JVMs on this host."""

    def __init__(self, artifacts: ArtifactStore, state_folder: Path) -> None:
        self._artifacts = artifacts
        self._state_folder = state_folder

    @activity.defn
    async def record_jvm_stacks(self, request: StackRecording) -> StackProfile:
        """Execution samples, and where threads were blocked, in slices of half a minute."""
        request = request.model_copy(update={"slice_s": max(request.slice_s, SHORTEST_SLICE_S)})
        tool = JfrSlices(request, self._state_folder)
        return await SliceRecorder(tool, request, self._artifacts, self._state_folder).record()


class JfrSlices:
    """One recording per slice. It samples without stopping the target."""

    title = "JFR"
    held_passes: frozenset[PassKind] = frozenset()
    read: ReadSlice = staticmethod(read_jfr_text)

    def __init__(self, request: StackRecording, state_folder: Path) -> None:
        self._request = request
        self._state = RecordingFolder(state_folder, f"{request.artifact_prefix}/stacks")
        self._name = f"perfwright-{hashlib.sha256(request.artifact_prefix.encode()).hexdigest()[:8]}"

    def attached(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def take(self, order: SliceOrder, tick: Tick) -> SliceTake:
        await carried_out(self._stop(may_fail=True))  # what a killed worker left running
        async with self._folder() as folder:
            recording, settings = folder / "recording.jfr", folder / "settings.jfc"
            period_ms = math.ceil(1_000 / order.rate_hz)  # the JVM counts in whole milliseconds
            await asyncio.to_thread(settings.write_text, jfr_settings(period_ms))
            others, began_s = await asyncio.to_thread(chunk_folder, self._request.process.pid), time.time()
            cpu = ProfilerCpu.of_threads(self._request.process.pid, INSIDE)
            compilers = Compilers(self._request.process.pid)
            await self._jcmd(
                "JFR.start",
                f"name={self._name}",
                f"settings={settings}",
                f"duration={math.ceil(order.seconds) + LEFT_BEHIND_S}s",
                "dumponexit=true",
                f"filename={recording}",
            )
            lines_reliable = self._lines_reliable()
            chunks = None if others else await asyncio.to_thread(chunk_folder, self._request.process.pid)
            over: OverBudget | None = None
            try:

                def watching(elapsed_s: float, _: object) -> None:
                    compilers.look()
                    tick(elapsed_s, cpu.used_s())

                seconds = await self._wait(order.seconds, watching)
            except OverBudget as stopping:
                over, seconds = stopping, min(order.seconds, stopping.seconds)
            except BaseException:
                await carried_out(self._stop(may_fail=True))
                raise
            stopped = await carried_out(self._stop(recording, may_fail=seconds < order.seconds))
            cpu_s = cpu.used_s()
            if chunks is not None and still_there(self._request.process) is None:
                await asyncio.to_thread(remove_chunks, chunks, began_s)
            if not recording.is_file() or recording.stat().st_size == 0:
                raise self._failure(stopped)

            def printing(_elapsed_s: float, _: object) -> None:
                tick(order.seconds, None)

            printed = await run(_print(recording, order.path.with_suffix(".txt"), EVENTS, STACK_DEPTH), heartbeat=printing)
            printed.require_success(way_out="jfr must not be older than the JVM that recorded")
            loads = order.path.with_suffix(".json")
            told = await run(_print(recording, loads, (THREAD_LOAD,), 1, "--json"), heartbeat=printing)
            threads = await asyncio.to_thread(read_thread_ids, loads) if told.returncode == 0 else {}
            await asyncio.to_thread(loads.unlink, missing_ok=True)
        compiled_s = compiled_for_us(compilers.looks, order.seconds / 2)
        summary = {"pid": self._request.process.pid, "lines_reliable": lines_reliable, "threads": threads, "compiled_s": compiled_s}
        order.path.with_suffix(".summary").write_text(json.dumps(summary))
        take = SliceTake(seconds, cpu_s, rate_hz=1_000 / period_ms)
        if over is not None:
            over.take = take
            raise over
        return take

    def _lines_reliable(self) -> bool:
        """Whether the JVM keeps positions of inlined code (-XX:+DebugNonSafepoints); without, only methods are sure."""
        process = still_there(self._request.process)
        try:
            words = [*process.cmdline(), process.environ().get("JAVA_TOOL_OPTIONS", "")] if process else []
        except psutil.Error:
            words = []
        return any("-XX:+DebugNonSafepoints" in word for word in words)

    async def _wait(self, seconds: float, tick: Tick) -> float:
        """Let it record; gives the seconds until the target exited if it did."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (elapsed_s := loop.time() - began) < seconds:
            tick(elapsed_s, None)
            if still_there(self._request.process) is None:
                return max(0.1, elapsed_s)
            await asyncio.sleep(min(0.5, seconds - elapsed_s))
        return seconds

    async def _stop(self, recording: Path | None = None, *, may_fail: bool = False) -> ToolRun | None:
        try:
            ended = await self._jcmd("JFR.stop", f"name={self._name}", *([f"filename={recording}"] if recording else ()))
            if "Stopped recording" not in ended.stdout:  # somebody ended it before; jcmd succeeds all the same
                raise self._failure(ended)
            return ended
        except ApplicationError:
            if may_fail:
                return None
            raise

    async def _jcmd(self, *words: str) -> ToolRun:
        if still_there(self._request.process) is None:
            # jcmd wakes its target with SIGQUIT: a pid that was given to another program would be killed by it.
            raise self._gone()
        ended = await run(
            Tool(["jcmd", str(self._request.process.pid), *words], limit_s=JCMD_LIMIT_S, way_out=WAY_OUT),
            heartbeat=lambda elapsed_s, _: activity.heartbeat({"jcmd": words[0], "elapsed_s": round(elapsed_s, 1)}),
        )
        if ended.returncode != 0:
            raise self._failure(ended)
        return ended

    def _gone(self) -> Exception:
        return refuse(ErrorType.TARGET_GONE, f"process {self._request.process.pid} of {self._request.target} exited while it was recorded")

    def _failure(self, ended: ToolRun | None) -> Exception:
        process, said = self._request.process, said_by(ended) if ended else ""
        if still_there(process) is None:
            return self._gone()
        if (denied := not_attached(process.pid, said)) is not None:
            return denied
        told = " | ".join(said.splitlines()[:3])[:600]
        return refuse(ErrorType.TOOL_FAILED, f"JFR recorded nothing in process {process.pid}: {told}", retryable=True)

    @asynccontextmanager
    async def _folder(self) -> AsyncIterator[Path]:
        for line in self._state.lines(FOLDERS_FILE):
            await asyncio.to_thread(shutil.rmtree, line["folder"], ignore_errors=True)  # what a killed worker left
        folder = Path(tempfile.mkdtemp(prefix="perfwright-jfr-"))
        self._state.append(FOLDERS_FILE, {"folder": str(folder)})
        try:
            process = still_there(self._request.process)
            if process is not None and os.geteuid() == 0:
                os.chown(folder, process.uids().effective, process.gids().effective)
            yield folder
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


class Compilers:
    """CPU time of the JVM's compilers from before the recorder is switched on."""

    def __init__(self, pid: int) -> None:
        self._cpu, self._began_s = ProfilerCpu.of_threads(pid, COMPILERS), time.monotonic()
        self.looks: list[tuple[float, float]] = []
        """(seconds, CPU seconds), since it was made."""

    def look(self) -> None:
        self.looks.append((time.monotonic() - self._began_s, self._cpu.used_s() or 0.0))


def _print(recording: Path, output: Path, events: Sequence[str], depth: int, *options: str) -> Tool:
    return Tool(
        ["jfr", "print", *options, "--stack-depth", str(depth), "--events", ",".join(events), str(recording)],
        stdout_file=output,
        limit_s=PRINT_LIMIT_S,
        way_out=WAY_OUT,
        output_limit_bytes=OUTPUT_LIMIT_BYTES,
    )


def chunk_folder(pid: int) -> Path | None:
    """Where the JVM writes what it is recording just now (seen from here); None when nothing is recorded, or out of our sight."""
    try:
        for file in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                chunk = file.readlink()
                if chunk.suffix == ".jfr" and chunk.samefile(file):
                    return chunk.parent
    except OSError:
        pass
    return None


def remove_chunks(folder: Path, since_s: float) -> None:
    """What a JVM that was killed left of a recording of ours: it removes them itself when it can."""
    for chunk in folder.glob("*.jfr"):
        with suppress(OSError):
            if chunk.stat().st_mtime >= since_s:
                chunk.unlink()
    with suppress(OSError):
        folder.rmdir()


def jfr_settings(period_ms: int) -> str:
    """The settings file: samples every so many milliseconds, waits of at least as long, and who the threads are at its ends."""
    periods = {**dict.fromkeys((*SAMPLES, NATIVE_SAMPLE), f"{period_ms} ms"), THREAD_LOAD: "everyChunk"}
    lines = [
        f'  <event name="{name}">{_setting("enabled", "true")}{_setting("period", period)}</event>' for name, period in periods.items()
    ]
    blocking = f"{_setting('enabled', 'true')}{_setting('stackTrace', 'true')}{_setting('threshold', f'{period_ms} ms')}"
    lines += [f'  <event name="{name}">{blocking}</event>' for name in BLOCKING]
    return "\n".join(
        ['<?xml version="1.0" encoding="UTF-8"?>', '<configuration version="2.0" label="Perfwright">', *lines, "</configuration>", ""]
    )


def _setting(name: str, value: str) -> str:
    return f'<setting name="{name}">{value}</setting>'
