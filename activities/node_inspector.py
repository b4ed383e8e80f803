"""The Node.js inspector: CPU profiles of a running Node process over its debugging protocol (CDP, `Profiler` domain).

SIGUSR1 makes Node open the inspector on a loopback port; where it was not open before, it is closed again at the end. The connection is
local, the profile stops with it, and nothing of the target's code is changed.
"""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import psutil
from temporalio import activity
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from activities.artifacts import ArtifactStore
from activities.errors import refuse
from activities.finding_processes import not_permitted, still_there
from activities.node_output import read_cpu_profile
from activities.slice_recorder import ReadSlice, SliceRecorder, Tick
from perfwright.models.cpu_profiling import StackProfile, StackRecording
from perfwright.models.errors import ErrorType
from perfwright.models.profile import PassKind

OPEN_LIMIT_S = 15.0
ANSWER_LIMIT_S = 60.0
MESSAGE_LIMIT_BYTES = 256 * 1024 * 1024
CLOSE = "(process.getBuiltinModule ? process.getBuiltinModule('inspector') : process.mainModule.require('inspector')).close()"


class NodeInspector:
    """Records stacks of Node.js processes on this host."""

    def __init__(self, artifacts: ArtifactStore, state_folder: Path) -> None:
        self._artifacts = artifacts
        self._state_folder = state_folder

    @activity.defn
    async def record_node_stacks(self, request: StackRecording) -> StackProfile:
        """CPU profiles, one per slice."""
        return await SliceRecorder(NodeSlices(request), request, self._artifacts, self._state_folder).record()


class NodeSlices:
    """One CPU profile per slice."""

    title = "Node.js inspector"
    holds_target = False
    read: ReadSlice = staticmethod(read_cpu_profile)

    def __init__(self, request: StackRecording) -> None:
        self._request = request

    async def take(self, kind: PassKind, seconds: float, rate_hz: float, nonblocking: bool, path: Path, tick: Tick) -> float:
        loop = asyncio.get_running_loop()
        async with self._inspector() as inspector:
            await inspector.ask("Profiler.enable")
            await inspector.ask("Profiler.setSamplingInterval", {"interval": round(1_000_000 / rate_hz)})
            await inspector.ask("Profiler.start")
            began = loop.time()
            try:
                while (elapsed_s := loop.time() - began) < seconds:
                    beaten = tick(elapsed_s)
                    if beaten is not None:
                        await beaten
                    if still_there(self._request.process) is None:
                        raise self._gone()
                    await asyncio.sleep(min(0.5, seconds - elapsed_s))
            finally:
                with suppress(OSError, WebSocketException, TimeoutError):
                    answer = await asyncio.shield(inspector.ask("Profiler.stop"))
        document = json.dumps({"pid": self._request.process.pid, "profile": answer["profile"]})
        await asyncio.to_thread(path.write_text, document)
        return 0.0  # the profiler runs inside of the target: its cost is the target's own

    @asynccontextmanager
    async def _inspector(self) -> AsyncIterator["Inspector"]:
        process = still_there(self._request.process)
        if process is None:
            raise self._gone()
        opened_by_us = False
        address = await asyncio.to_thread(_debugger_address, process)
        if address is None:
            opened_by_us = True
            try:
                os.kill(process.pid, signal.SIGUSR1)
            except PermissionError as denied:
                raise not_permitted(process.pid) from denied
            address = await self._opened(process)
        try:
            async with connect(
                address, max_size=MESSAGE_LIMIT_BYTES, ping_interval=None, open_timeout=OPEN_LIMIT_S, proxy=None
            ) as connection:
                inspector = Inspector(connection)
                try:
                    yield inspector
                finally:
                    if opened_by_us:
                        # Closing the inspector closes this connection too: there is no answer to wait for.
                        with suppress(OSError, WebSocketException):
                            await inspector.tell("Runtime.evaluate", {"expression": f"setTimeout(() => {CLOSE}, 0)"})
        except (OSError, WebSocketException) as trouble:
            if still_there(self._request.process) is None:
                raise self._gone() from trouble
            raise refuse(
                ErrorType.TOOL_FAILED, f"the inspector of process {process.pid} broke off: {trouble}"[:600], retryable=True
            ) from trouble

    async def _opened(self, process: psutil.Process) -> str:
        loop = asyncio.get_running_loop()
        give_up = loop.time() + OPEN_LIMIT_S
        while loop.time() < give_up:
            activity.heartbeat({"waiting for": "inspector"})
            if (address := await asyncio.to_thread(_debugger_address, process)) is not None:
                return address
            await asyncio.sleep(0.1)
        raise refuse(
            ErrorType.TOOL_FAILED,
            f"process {process.pid} did not open its inspector within {OPEN_LIMIT_S:.0f} s of SIGUSR1",
            way_out="port 9229 may be taken by another process: free it, or start this one with --inspect=127.0.0.1:0",
        )

    def _gone(self) -> Exception:
        return refuse(ErrorType.TARGET_GONE, f"process {self._request.process.pid} of {self._request.target} exited while it was recorded")


class Inspector:
    """One connection; answers are matched to questions by id, events are passed over."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._last = 0

    async def tell(self, method: str, parameters: dict[str, Any] | None = None) -> int:
        self._last += 1
        await self._connection.send(json.dumps({"id": self._last, "method": method, "params": parameters or {}}))
        return self._last

    async def ask(self, method: str, parameters: dict[str, Any] | None = None) -> dict[str, Any]:
        wanted = await self.tell(method, parameters)
        async with asyncio.timeout(ANSWER_LIMIT_S):
            while True:
                message = json.loads(await self._connection.recv())
                if message.get("id") == wanted:
                    if "error" in message:
                        raise refuse(
                            ErrorType.TOOL_FAILED, f"the Node.js inspector refused {method}: {message['error'].get('message', '')}"
                        )
                    return dict(message["result"])


def _debugger_address(process: psutil.Process) -> str | None:
    """The WebSocket address of the process's own inspector, if it listens."""
    try:
        listening = [c.laddr for c in process.net_connections(kind="tcp") if c.status == psutil.CONN_LISTEN and c.laddr]
    except psutil.Error:
        return None
    for address in listening:
        if address.ip not in ("127.0.0.1", "::1"):
            continue  # the inspector is only ever on loopback unless told otherwise: no stray request to the target's own server
        connection = HTTPConnection(address.ip, address.port, timeout=1)
        try:
            connection.request("GET", "/json/list")
            for one in json.loads(connection.getresponse().read(65_536)):
                if one.get("type") == "node":
                    return str(one["webSocketDebuggerUrl"])
        except (OSError, HTTPException, ValueError, AttributeError):
            continue
        finally:
            connection.close()
    return None
