"""The Node.js inspector: CPU profiles of a running Node process over its debugging protocol (CDP, `Profiler` domain).

SIGUSR1 makes Node open the inspector on a loopback port; where it was not open before, it is closed again at the end, by a timer in the
target as well, should this worker be gone. A profile ends with its connection, and nothing of the target's code is changed. V8 samples
whether or not its thread runs; perf's context switches, recorded beside, tell which (node_output.py).
Protocol: https://chromedevtools.github.io/devtools-protocol/v8/Profiler/; signal and port: https://nodejs.org/api/debugger.html.
"""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from temporalio import activity
from temporalio.exceptions import ApplicationError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from activities.artifacts import ArtifactStore
from activities.errors import refuse
from activities.finding_processes import not_permitted, still_there
from activities.node_output import read_cpu_profile
from activities.node_ports import (
    UNNAMED,
    ask_inspector,
    catches_usr1,
    holder_of,
    inspector_title,
    listening,
    open_inspector,
    reads_synchronously,
    signal_port,
)
from activities.perf_switches import switches_recorded
from activities.profiler_cpu import ProfilerCpu
from activities.recording_cost import OverBudget
from activities.recording_folder import RecordingFolder
from activities.slice_recorder import SliceOrder, SliceRecorder, Tick, carried_out
from activities.taken_slices import ReadSlice, SliceTake
from perfwright.models.cpu_profiling import StackProfile, StackRecording
from perfwright.models.errors import ErrorType
from perfwright.models.profile import PassKind

SHORTEST_SLICE_S = 10.0
"""Starting a profile makes V8 list all its code, in the target's own time."""
OPEN_LIMIT_S, CLOSE_LIMIT_S, READ_LIMIT_S = 15.0, 5.0, 5.0
ASK_ALL_AFTER_S = 3.0
"""When no new port appears: the program opened its inspector itself, and any of its loopback ports may be it."""
ANSWER_LIMIT_S = 60.0
COMPILING_S = 1.0
INSIDE = ("v8:ProfEvntProc",)
"""V8's sampling thread; the signal handler that it runs on the thread it looks at, some microseconds a sample, is not counted apart."""
LEFT_OPEN_S = 120.0
"""The target closes the inspector itself when nobody has come back for this long after a slice."""
MESSAGE_LIMIT_BYTES = 256 * 1024 * 1024
INSPECTOR_FILE = "inspector.jsonl"
_SET_TIMER = """(() => {
  const key = Symbol.for('perfwright.inspector');
  const inspector = process.getBuiltinModule ? process.getBuiltinModule('inspector') : require('inspector');
  clearTimeout(globalThis[key]);
  globalThis[key] = setTimeout(() => { delete globalThis[key]; inspector.close(); }, MILLISECONDS);
  globalThis[key].unref();
})()"""
"""`require` is there by includeCommandLineAPI, also where the program is an ES module."""
_CLOSE_AFTER_MS = 100
"""After our connection: closing with one open would hold the target up until it is gone."""


class NodeInspector:
    """Records stacks of Node.js processes on this host."""

    def __init__(self, artifacts: ArtifactStore, state_folder: Path) -> None:
        self._artifacts = artifacts
        self._state_folder = state_folder

    @activity.defn
    async def record_node_stacks(self, request: StackRecording) -> StackProfile:
        """CPU profiles, one per slice."""
        request = request.model_copy(update={"slice_s": max(request.slice_s, SHORTEST_SLICE_S)})
        return await SliceRecorder(NodeSlices(request, self._state_folder), request, self._artifacts, self._state_folder).record()


class NodeSlices:
    """One CPU profile per slice. V8 samples in its own thread and stops only the thread it looks at."""

    held_passes: frozenset[PassKind] = frozenset()
    read: ReadSlice = staticmethod(read_cpu_profile)

    def __init__(self, request: StackRecording, state_folder: Path) -> None:
        self._request = request
        self._state = RecordingFolder(state_folder, f"{request.artifact_prefix}/stacks")
        self.title = UNNAMED
        self._address = ""
        self._opened_by_us = self._positions_kept = False

    def attached(self) -> AbstractAsyncContextManager[None]:
        return self._inspector_open()

    async def take(self, order: SliceOrder, tick: Tick) -> SliceTake:
        pid = self._request.process.pid
        # the connection ends first: an exiting target waits for that, and not for perf to write what it has
        async with (
            switches_recorded(
                [pid], order.path, order.seconds + COMPILING_S, lambda _elapsed_s, _: tick(order.seconds, None), main_thread_only=True
            ) as switches,
            self._connection() as inspector,
        ):
            if self._opened_by_us:
                await inspector.evaluate(_SET_TIMER.replace("MILLISECONDS", str(round((order.seconds + LEFT_OPEN_S) * 1_000))))
            inside = ProfilerCpu.of_threads(pid, INSIDE)

            def used_s() -> float | None:
                sampling_s = inside.used_s()
                return None if sampling_s is None else sampling_s + switches.cpu_s

            await inspector.ask("Profiler.enable")
            await inspector.ask("Profiler.setSamplingInterval", {"interval": round(1_000_000 / order.rate_hz)})
            with suppress(ApplicationError):  # an older Node does not know it, and its exit waits for the end of the slice
                await inspector.ask("NodeRuntime.notifyWhenWaitingForDisconnect", {"enabled": True})
            await inspector.ask("Profiler.start")
            over: OverBudget | None = None
            try:
                if not self._positions_kept:
                    await self._keep_positions(inspector, tick)
                seconds = await self._wait(inspector, order.seconds, lambda elapsed_s, _: tick(elapsed_s, used_s()))
            except OverBudget as stopping:
                over, seconds = stopping, min(order.seconds, stopping.seconds)
            except BaseException:
                with suppress(OSError, WebSocketException, TimeoutError, ApplicationError):
                    await carried_out(inspector.ask("Profiler.stop"))
                raise
            cpu_s = used_s()
            answer = await inspector.ask("Profiler.stop")
        document = json.dumps({"pid": pid, "profile": answer["profile"]})
        await asyncio.to_thread(order.path.write_text, document)
        if over is not None:
            over.take = SliceTake(seconds, cpu_s)
            raise over
        return SliceTake(seconds, cpu_s)

    async def _keep_positions(self, inspector: "Inspector", tick: Tick) -> None:
        """Make V8 compile again what it compiled before: only code compiled while a profile runs knows which functions are inlined in it.

        Without this, what an inlined function uses is charged to its caller. Precise coverage discards optimised code when it is switched
        on (V8's `Coverage::SelectMode`); the hot functions are optimised anew within a second, which is not part of the slice.
        """
        await inspector.ask("Profiler.startPreciseCoverage", {"callCount": True, "detailed": False})
        await inspector.ask("Profiler.stopPreciseCoverage")
        self._positions_kept = True
        await self._wait(inspector, COMPILING_S, lambda _elapsed_s, _: tick(0.0, None))
        await inspector.ask("Profiler.stop")
        await inspector.ask("Profiler.start")

    async def _wait(self, inspector: "Inspector", seconds: float, tick: Tick) -> float:
        """Let it record; gives the seconds until the target wants to exit, which it only can when we have let go."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (elapsed_s := loop.time() - began) < seconds:
            tick(elapsed_s, None)
            if still_there(self._request.process) is None:
                raise self._gone()
            if await inspector.next_event(min(0.5, seconds - elapsed_s)) == "NodeRuntime.waitingForDisconnect":
                return max(0.1, elapsed_s)
        return seconds

    @asynccontextmanager
    async def _inspector_open(self) -> AsyncIterator[None]:
        process = still_there(self._request.process)
        if process is None:
            raise self._gone()
        earlier = list(self._state.lines(INSPECTOR_FILE))  # what a killed worker opened is ours to close
        self._address, self._opened_by_us = (str(earlier[-1]["address"]), True) if earlier else ("", False)
        try:
            known = await asyncio.to_thread(open_inspector, process, self._address)
            self._opened_by_us = known is None or bool(earlier)
            if known is not None:
                self._address = known
            else:
                self._refuse_if_not_allowed()
                await self._until_no_read_is_broken_off(process, OPEN_LIMIT_S)
                await carried_out(self._open(process, earlier_ours=bool(earlier)))
            if self._opened_by_us:
                self._state.append(INSPECTOR_FILE, {"address": self._address})
            self.title = await asyncio.to_thread(inspector_title, self._address)
            yield
        finally:
            if self._opened_by_us and self._address:
                await carried_out(self._close(process))

    def _refuse_if_not_allowed(self) -> None:
        if not self._request.may_inject:
            raise refuse(
                ErrorType.TARGET_REFUSED,
                f"the inspector of process {self._request.process.pid} of {self._request.target} was closed after it was found open, "
                "and this run may not open it",
                way_out="Start again, or keep it open (--inspect=127.0.0.1:0)",
            )

    async def _until_no_read_is_broken_off(self, process: psutil.Process, limit_s: float) -> None:
        """Wait until the signal can come, and return without giving way. Raises ToolFailed where a read goes on for too long."""
        loop = asyncio.get_running_loop()
        until = loop.time() + limit_s
        while reads_synchronously(process.pid):
            if loop.time() > until:
                raise refuse(
                    ErrorType.TOOL_FAILED,
                    f"process {process.pid} waits in a synchronous read, which the signal that opens the inspector would break off (EINTR)",
                    way_out="Start it with --inspect=127.0.0.1:0",
                )
            activity.heartbeat({"waiting_for": "the end of a synchronous read"})
            await asyncio.sleep(0.05)

    async def _open(self, process: psutil.Process, earlier_ours: bool) -> None:
        before = await asyncio.to_thread(listening, process)
        await asyncio.to_thread(self._refuse_if_it_cannot_open, process)
        self._state.append(INSPECTOR_FILE, {"address": ""})
        # Again, and with nothing in between: the checks above took a while, in which another read may have begun.
        await self._until_no_read_is_broken_off(process, READ_LIMIT_S)
        try:
            os.kill(process.pid, signal.SIGUSR1)
        except PermissionError as denied:
            raise not_permitted(process.pid) from denied
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (waited_s := loop.time() - began) < OPEN_LIMIT_S:
            activity.heartbeat({"waiting_for": "inspector", "elapsed_s": round(waited_s, 1)})
            for address in await asyncio.to_thread(listening, process):
                if address in before and waited_s < ASK_ALL_AFTER_S:
                    continue
                if found := await asyncio.to_thread(ask_inspector, address):
                    self._opened_by_us = address not in before or earlier_ours
                    self._address = found
                    return
            if still_there(self._request.process) is None:
                raise self._gone()
            await asyncio.sleep(0.1)
        raise refuse(
            ErrorType.TOOL_FAILED,
            f"process {process.pid} did not open its inspector within {OPEN_LIMIT_S:.0f} s of SIGUSR1",
            way_out="The program may handle that signal itself: start it with --inspect=127.0.0.1:0",
        )

    def _refuse_if_it_cannot_open(self, process: psutil.Process) -> None:
        if not catches_usr1(process.pid):
            raise refuse(
                ErrorType.RUNTIME_UNSUPPORTED,
                f"process {process.pid} does not handle SIGUSR1 (--disable-sigusr1, or no inspector in it); the signal would end it",
                way_out="Start it with --inspect=127.0.0.1:0",
            )
        port = signal_port(process)
        if (holder := holder_of(port)) is not None and holder != process.pid:
            raise refuse(
                ErrorType.TOOL_FAILED,
                f"the inspector of process {process.pid} would open port {port}, which pid {holder or 'unknown'} holds",
                way_out="Free that port, or start the target with --inspect-port=0 (or --inspect=127.0.0.1:0)",
            )

    async def _close(self, process: psutil.Process) -> None:
        """Let the target close its inspector, and see that it did."""
        with suppress(ApplicationError, OSError, WebSocketException, TimeoutError):
            async with self._connection() as inspector:
                await inspector.evaluate(_SET_TIMER.replace("MILLISECONDS", str(_CLOSE_AFTER_MS)))
        loop = asyncio.get_running_loop()
        until = loop.time() + CLOSE_LIMIT_S
        while loop.time() < until:
            if still_there(self._request.process) is None or await asyncio.to_thread(open_inspector, process, self._address) is None:
                return
            activity.heartbeat({"waiting_for": "inspector to close"})
            await asyncio.sleep(0.1)
        activity.logger.warning("the inspector of process %d is still open: its event loop is busy", process.pid)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator["Inspector"]:
        try:
            async with connect(
                self._address, max_size=MESSAGE_LIMIT_BYTES, ping_interval=None, open_timeout=OPEN_LIMIT_S, close_timeout=1, proxy=None
            ) as connection:
                yield Inspector(connection)
        except (OSError, WebSocketException, TimeoutError) as trouble:
            if still_there(self._request.process) is None:
                raise self._gone() from trouble
            told = f"the inspector of process {self._request.process.pid} broke off: {trouble or type(trouble).__name__}"
            raise refuse(ErrorType.TOOL_FAILED, told[:600], retryable=True) from trouble

    def _gone(self) -> Exception:
        return refuse(ErrorType.TARGET_GONE, f"process {self._request.process.pid} of {self._request.target} exited while it was recorded")


class Inspector:
    """One connection; answers are matched to questions by id, events are passed over."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._last = 0

    async def ask(self, method: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        self._last += 1
        wanted = self._last
        await self._connection.send(json.dumps({"id": wanted, "method": method, "params": parameters or {}}))
        async with asyncio.timeout(ANSWER_LIMIT_S):
            while True:
                message = json.loads(await self._connection.recv())
                if message.get("id") == wanted:
                    if "error" in message:
                        told = f"the Node.js inspector refused {method}: {message['error'].get('message', '')}"
                        raise refuse(ErrorType.TOOL_FAILED, told[:600])
                    return dict(message["result"])

    async def next_event(self, within_s: float) -> str:
        """Its name; empty when none came in time."""
        try:
            async with asyncio.timeout(within_s):
                return str(json.loads(await self._connection.recv()).get("method", ""))
        except TimeoutError:
            return ""

    async def evaluate(self, expression: str) -> None:
        """In the target's main thread. Raises ToolFailed with what it threw."""
        answer = await self.ask("Runtime.evaluate", {"expression": expression, "includeCommandLineAPI": True})
        if "exceptionDetails" in answer:
            thrown = answer["exceptionDetails"].get("exception", {}).get("description") or answer["exceptionDetails"].get("text", "")
            raise refuse(ErrorType.TOOL_FAILED, f"the Node.js inspector could not be looked after: {thrown}"[:600])
