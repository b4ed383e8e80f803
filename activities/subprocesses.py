"""Tools as supervised subprocesses: bounded, cancelled promptly, reaped, and never outliving the worker.

Every program that Perfwright starts goes through here: profilers, load generators, launched targets, analysis in its own process.

Run a tool to its end::

    tool = Tool(
        [bundled("py-spy"), "record", "-p", str(pid), "-d", "30", "-r", "100", "-f", "raw", "-o", str(out)],
        limit_s=60,                         # wall time; then it is stopped, and `timed_out` is set
        way_out="pip install py-spy",       # told with ToolMissing: what installs it
        stop_signal=signal.SIGINT,          # cancel, time limit, dead worker: py-spy detaches and writes what it has
        stop_grace_s=5,                     # then SIGKILL, for everything it started
        output_files=(out,),                # files or folders; larger than output_limit_bytes -> killed, OutputTooLarge
    )
    result = await run(tool, heartbeat=activity.heartbeat, progress=lambda: {"samples": count})
    result.require_success()                # ToolTimeout or ToolFailed with the end of stderr
    result.stdout, result.cpu_s, result.peak_rss_bytes, result.wall_s

Line by line while it runs, and large standard output straight into a file::

    await run(tool, on_line=lambda stream, line: progress.note(line))          # stream: "stdout" or "stderr"
    await run(Tool(["perf", "script", "-i", data], stdout_file=text, limit_s=60, way_out="apt install linux-perf"))

A long-lived child, such as a launched target or a workload; gone with everything it started when the block is left, however it is left::

    async with running(tool, heartbeat=activity.heartbeat) as child:
        child.pid                           # of the program itself, not of its supervisor
        child.ended, child.stdout, child.stderr                                # so far
        child.send_signal(signal.SIGUSR1)
        result = await child.wait()         # or: await child.stop(), await child.stop(signal.SIGINT, grace_s=2)

- `heartbeat(elapsed_s, progress)` is called at least every second, from start to end, also *while the tool is being stopped*; a plain
  function or an async one. `progress` is what the caller's `progress()` returned, or None. What either raises stops the tool and is raised.
- Cancelled (asyncio.CancelledError, also by a worker's shutdown): stop signal, grace, SIGKILL, all reaped, then the cancellation is raised.
- The environment holds `ALLOWED_ENVIRONMENT` of the worker's and what the tool's `environment` adds: no secret of the worker leaks.
- Output is always drained; the first and last half of `keep_bytes` are kept, a note in between says how much was dropped
  (`stdout_dropped_bytes`: whoever parses must check it; data belongs into files).
- A tool that ends with an error is a result; a tool that cannot start, overruns a file limit or cannot be killed is an `ApplicationError`.
- The whole group gets the stop signal, as by Ctrl-C, and children outside of the group as well; what was stopped (SIGSTOP) is continued.
"""

import asyncio
import inspect
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from activities.errors import refuse
from activities.tool import (
    ALLOWED_ENVIRONMENT,
    OF_TOOL,
    PASSING_ERRNOS,
    Output,
    Tool,
    ToolRun,
    bundled,
    size_bytes,
    start_refusal,
    supervisor_order,
)
from perfwright.models.errors import ErrorType

Heartbeat = Callable[[float, Any], Awaitable[None] | None]
OnLine = Callable[[str, str], None]

START_SUPERVISOR = f"import sys; sys.path.append({str(Path(__file__).parent)!r}); import supervisor; supervisor.main()"
"""Imported rather than run as a script: then it need not be compiled for every tool."""
TICK_S = 0.2
BEAT_EVERY_S = 0.8
DRAIN_LIMIT_S = 2.0
"""After everything ended, output can only still be open in hands that we do not know."""
SUPERVISOR_LIMIT_S = 15.0
"""Longer than the supervisor's own KILL_LIMIT_S: past this it is itself what hangs."""

__all__ = ["ALLOWED_ENVIRONMENT", "Heartbeat", "OnLine", "RunningTool", "Tool", "ToolRun", "bundled", "run", "running"]
log = logging.getLogger(__name__)


async def run(
    tool: Tool,
    *,
    heartbeat: Heartbeat | None = None,
    progress: Callable[[], Any] | None = None,
    on_line: OnLine | None = None,
) -> ToolRun:
    """Run a tool to its end."""
    async with running(tool, heartbeat=heartbeat, progress=progress, on_line=on_line) as child:
        return await child.wait()


@asynccontextmanager
async def running(
    tool: Tool,
    *,
    heartbeat: Heartbeat | None = None,
    progress: Callable[[], Any] | None = None,
    on_line: OnLine | None = None,
) -> AsyncIterator["RunningTool"]:
    """A child that lives as long as the block, at most."""
    child = RunningTool(tool, heartbeat, progress, on_line)
    try:
        await child.start()
        yield child
    finally:
        await child.finish()
    if not child.failure_told:
        child.raise_failure()


class RunningTool:
    """One tool under its supervisor. Made by `running`."""

    def __init__(self, tool: Tool, heartbeat: Heartbeat | None, progress: Callable[[], Any] | None, on_line: OnLine | None) -> None:
        self.tool = tool
        self.pid = 0
        self.failure_told = False
        self._heartbeat, self._progress, self._on_line = heartbeat, progress, on_line
        self._loop = asyncio.get_running_loop()
        self._outputs = {1: self._output("stdout"), 2: self._output("stderr")}
        self._started: asyncio.Future[None] = self._loop.create_future()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._report: list[str] = []
        self._failure: BaseException | None = None
        self._stopped = self._launched = self._channel_lost = self._streams_lost = False
        self._channel: asyncio.Transport | None = None
        self._process: asyncio.SubprocessTransport | None = None
        self._watching: asyncio.Task[None] | None = None
        self._stdout_file: BinaryIO | None = None
        self._files = ExitStack()

    @property
    def ended(self) -> bool:
        return self._over.done()

    @property
    def stdout(self) -> str:
        return self._outputs[1].text()

    @property
    def stderr(self) -> str:
        return self._outputs[2].text()

    async def wait(self) -> ToolRun:
        """Wait for its end; how long it may take is the tool's `limit_s`."""
        await asyncio.shield(self._over)
        self.raise_failure()
        status, cpu_us, peak_kb, wall_us, timed_out, left_over, unkilled = self._report
        if unkilled != "-":
            raise refuse(
                ErrorType.TOOL_FAILED,
                f"{self.tool.name} left processes that cannot be killed: {unkilled}",
                way_out="They wait in the kernel or belong to another user: look at /proc/PID/status and end them by hand",
            )
        return ToolRun(
            name=self.tool.name,
            pid=self.pid,
            returncode=None if status == "-" else int(status),
            stdout=self.stdout,
            stderr=self.stderr,
            stdout_dropped_bytes=self._outputs[1].dropped_bytes,
            stderr_dropped_bytes=self._outputs[2].dropped_bytes,
            cpu_s=int(cpu_us) / 1e6,
            peak_rss_bytes=int(peak_kb) * 1024,
            wall_s=int(wall_us) / 1e6,
            timed_out=timed_out == "1",
            stopped=self._stopped,
            left_over=int(left_over),
        )

    async def stop(self, number: signal.Signals | None = None, *, grace_s: float | None = None) -> ToolRun:
        """Ask it to end, kill it after the grace, and wait for that."""
        self._order_stop(number, grace_s)
        return await self.wait()

    def send_signal(self, number: signal.Signals) -> None:
        """To the program itself only, and never to a stranger that got its pid: the supervisor knows whether it still lives."""
        self._say(f"signal {int(number)}\n".encode())

    def raise_failure(self) -> None:
        if self._failure is not None:
            self.failure_told = True
            raise self._failure

    async def start(self) -> None:
        tool = self.tool
        order = supervisor_order(tool)
        try:
            await self._launch(order)
        except OSError as trouble:
            raise refuse(
                ErrorType.TOOL_FAILED,
                f"{tool.name} could not be started: {trouble}",
                way_out="Look at the worker's limits of processes, open files, memory and disk",
                retryable=trouble.errno in PASSING_ERRNOS,
            ) from trouble
        self._watching = self._loop.create_task(self._watch())
        await asyncio.shield(self._started)

    async def finish(self) -> None:
        """Stop it if it still runs; returns when it is gone. A cancellation that comes meanwhile is raised afterwards."""
        ending = self._loop.create_task(self._end())
        cancelled: asyncio.CancelledError | None = None
        while not ending.done():
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError as cancellation:
                if ending.cancelled():
                    raise
                cancelled = cancellation
        ending.result()
        if cancelled is not None:
            raise cancelled

    async def _end(self) -> None:
        try:
            if self._launched and not self.ended:
                self._order_stop()
                done, _ = await asyncio.wait([self._over], timeout=self.tool.stop_grace_s + SUPERVISOR_LIMIT_S)
                if not done:
                    log.error("the supervisor of %s hangs and is killed", self.tool.name)
                    self._kill_group()
            if self._watching is not None:
                self._watching.cancel()
                await asyncio.wait([self._watching])
        finally:
            for transport in (self._channel, self._process):
                if transport is not None:
                    transport.close()
            self._files.close()
            if self._started.done() and not self._started.cancelled():
                self._started.exception()  # seen: who was cancelled during the start did not fetch it

    async def _launch(self, order: bytes) -> None:
        tool = self.tool
        stdin: BinaryIO | int = subprocess.DEVNULL
        if isinstance(tool.stdin, bytes):
            if tool.stdin:
                # A file needs no feeding; without a name nothing is left behind when the worker is killed.
                stdin = self._files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  # the exit stack closes it
                stdin.write(tool.stdin)
                stdin.seek(0)
        else:
            stdin = tool.stdin
        if isinstance(tool.stdout_file, Path):
            self._stdout_file = self._files.enter_context(tool.stdout_file.open("wb"))
        else:
            self._stdout_file = tool.stdout_file

        ours, theirs = socket.socketpair()
        with theirs:
            self._channel, _ = await self._loop.create_unix_connection(lambda: _Channel(self), sock=ours)
            self._process, _ = await self._loop.subprocess_exec(
                lambda: _Streams(self),
                *(sys.executable, "-I", "-S", "-c", START_SUPERVISOR, str(theirs.fileno()), OF_TOOL, tool.name),
                stdin=stdin,
                stdout=self._stdout_file or subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ},
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C at the worker is the worker's to handle
            )
        self._launched = True
        self._say(order)

    def _output(self, stream: str) -> Output:
        on_line = self._on_line
        return Output(self.tool.keep_bytes, None if on_line is None else lambda line: on_line(stream, line))

    def _say(self, words: bytes) -> None:
        if self._channel is not None and not self._channel.is_closing():
            self._channel.write(words)

    def _order_stop(self, number: signal.Signals | None = None, grace_s: float | None = None) -> None:
        self._stopped = self._stopped or not self.ended
        grace_s = self.tool.stop_grace_s if grace_s is None else grace_s
        self._say(f"stop {int(number or self.tool.stop_signal)} {int(grace_s * 1000)}\n".encode())

    def _kill_group(self) -> None:
        """Only when the supervisor is lost: what left the tool's session cannot be found any more."""
        with suppress(OSError):
            if self.pid and os.getsid(self.pid) == self.pid:
                os.killpg(self.pid, signal.SIGKILL)

    def _fail(self, failure: BaseException, *, grace_s: float | None = None) -> None:
        if self._failure is None:
            self._failure = failure
            self._order_stop(grace_s=grace_s)

    async def _watch(self) -> None:
        """Beats and measures files until everything is over, so also while the tool is being stopped."""
        started = beat_at = self._loop.time()
        while not self.ended:
            now = self._loop.time()
            try:
                self._check_files()
                if self._heartbeat is not None and now >= beat_at:
                    beat_at = now + BEAT_EVERY_S
                    beat = self._heartbeat(round(now - started, 1), self._progress() if self._progress else None)
                    if inspect.isawaitable(beat):
                        await beat
            except Exception as trouble:
                self._fail(trouble)
            await asyncio.wait([self._over], timeout=TICK_S)

    def _check_files(self) -> None:
        written = sum(size_bytes(path) for path in self.tool.output_files)
        if self._stdout_file is not None and not self._stdout_file.closed:
            written += os.fstat(self._stdout_file.fileno()).st_size
        if written > self.tool.output_limit_bytes:
            trouble = f"{self.tool.name} wrote {written:,} bytes, its limit is {self.tool.output_limit_bytes:,}"
            self._fail(refuse(ErrorType.OUTPUT_TOO_LARGE, trouble, way_out="Let it run shorter or at a lower rate"), grace_s=0)

    def _hear(self, line: str) -> None:
        verb, *words = line.split(" ")
        if verb == "started":
            self.pid = int(words[0])
            self._started.set_result(None)
        elif verb == "ended":
            self._report = words
            if words[-1] != "-":
                log.error("%s left processes that cannot be killed: %s", self.tool.name, words[-1])
        else:
            self._started.set_exception(start_refusal(self.tool, words[0], int(words[1])))

    def _channel_ended(self) -> None:
        self._channel_lost = True
        if not self._report and self._launched:
            if not self._started.done():
                self._started.set_exception(self._supervisor_lost())
            elif self.pid:
                self._kill_group()
                self._fail(self._supervisor_lost())
        self._loop.call_later(DRAIN_LIMIT_S, self._set_over)
        self._settle()

    def _supervisor_lost(self) -> Exception:
        return refuse(
            ErrorType.TOOL_FAILED,
            f"the supervisor of {self.tool.name} died; the tool was killed",
            way_out="Look for the out-of-memory killer in the kernel log",
        )

    def _streams_ended(self) -> None:
        self._streams_lost = True
        self._settle()

    def _settle(self) -> None:
        if self._channel_lost and self._streams_lost:
            self._set_over()

    def _set_over(self) -> None:
        if not self._over.done():
            self._check_files()  # a quick tool may have written it all between two looks
            self._over.set_result(None)


class _Channel(asyncio.Protocol):
    """The supervisor's words."""

    def __init__(self, child: RunningTool) -> None:
        self.child = child
        self.unread = b""

    def data_received(self, data: bytes) -> None:
        *lines, self.unread = (self.unread + data).split(b"\n")
        for line in lines:
            self.child._hear(line.decode())

    def connection_lost(self, exc: Exception | None) -> None:
        self.child._channel_ended()


class _Streams(asyncio.SubprocessProtocol):
    """The tool's output. What a caller's `on_line` raises stops the tool."""

    def __init__(self, child: RunningTool) -> None:
        self.child = child

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        try:
            self.child._outputs[fd].add(data)
        except Exception as trouble:
            self.child._fail(trouble)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        try:
            self.child._outputs[fd].close()
        except Exception as trouble:
            self.child._fail(trouble)

    def connection_lost(self, exc: Exception | None) -> None:
        self.child._streams_ended()
