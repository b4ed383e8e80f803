"""py-spy: stacks of CPython processes, read from outside by ptrace and process memory.

Never two at once on one process (each makes the other's samples fail), never faster than the overhead budget allows. It is stopped with
SIGINT, so that it detaches and writes what it has.
"""

import json
import re
import signal
from pathlib import Path

from temporalio import activity

from activities.artifacts import ArtifactStore
from activities.errors import refuse
from activities.finding_processes import not_permitted, still_there
from activities.pyspy_output import read_speedscope
from activities.slice_recorder import ReadSlice, SliceRecorder, Tick, tool_version
from activities.subprocesses import Tool, ToolRun, bundled, run
from perfwright.models.cpu_profiling import StackProfile, StackRecording
from perfwright.models.errors import ErrorType
from perfwright.models.profile import PassKind

WAY_OUT = "pip install py-spy"
PASS_OPTIONS: dict[PassKind, tuple[str, ...]] = {"on_cpu": (), "wall": ("--idle",), "gil": ("--gil",), "native": ("--native",)}
START_ALLOWANCE_S = 20.0
"""Attaching reads the symbols of the interpreter: a second on a slow disk, more with --native."""
OUTPUT_LIMIT_BYTES = 256 * 1024 * 1024
_SUMMARY = re.compile(r"Samples: (\d+) Errors: (\d+)")


class PySpy:
    """Records stacks of Python processes on this host."""

    def __init__(self, artifacts: ArtifactStore, state_folder: Path) -> None:
        self._artifacts = artifacts
        self._state_folder = state_folder

    @activity.defn
    async def record_python_stacks(self, request: StackRecording) -> StackProfile:
        """On-CPU, idle, GIL and native passes in alternating slices, within the overhead budget."""
        version = await run(Tool([bundled("py-spy"), "--version"], limit_s=20, way_out=WAY_OUT))
        tool = PySpySlices(request, f"py-spy {tool_version(version.require_success().stdout)}")
        return await SliceRecorder(tool, request, self._artifacts, self._state_folder).record()


class PySpySlices:
    """One attachment per slice."""

    holds_target = True
    read: ReadSlice = staticmethod(read_speedscope)

    def __init__(self, request: StackRecording, title: str) -> None:
        self.title = title
        self._request = request

    async def take(self, kind: PassKind, seconds: float, rate_hz: float, nonblocking: bool, path: Path, tick: Tick) -> float:
        argv = [bundled("py-spy"), "record", "--pid", str(self._request.process.pid), "--format", "speedscope", "--full-filenames"]
        argv += [
            "--duration",
            str(max(1, round(seconds))),
            "--rate",
            str(max(1, round(rate_hz))),
            "--output",
            str(path),
            *PASS_OPTIONS[kind],
        ]
        if self._request.subprocesses:
            argv.append("--subprocesses")
        if nonblocking:
            argv.append("--nonblocking")
        tool = Tool(
            argv,
            limit_s=seconds + START_ALLOWANCE_S,
            way_out=WAY_OUT,
            stop_signal=signal.SIGINT,
            output_files=(path,),
            output_limit_bytes=OUTPUT_LIMIT_BYTES,
        )
        ended = await run(tool, heartbeat=lambda elapsed_s, _: tick(elapsed_s))
        summary = _SUMMARY.search(ended.stdout + ended.stderr)
        if not path.exists() or summary is None:
            raise self._failure(ended)
        path.with_suffix(".summary").write_text(json.dumps({"pid": self._request.process.pid, "errors": int(summary.group(2))}))
        return ended.cpu_s

    def _failure(self, ended: ToolRun) -> Exception:
        process = self._request.process
        said = f"{ended.stderr} {ended.stdout}"
        if still_there(process) is None:
            return refuse(ErrorType.TARGET_GONE, f"process {process.pid} of {self._request.target} exited while py-spy attached")
        if "ermission denied" in said or "Operation not permitted" in said:
            return not_permitted(process.pid)
        if "Failed to find python version" in said or "Unsupported version" in said:
            return refuse(
                ErrorType.RUNTIME_UNSUPPORTED,
                f"{self.title} does not know the interpreter of process {process.pid} ({process.runtime_version or process.program})",
                way_out="a newer py-spy may; or profile it as native code with perf",
            )
        return refuse(
            ErrorType.TOOL_FAILED,
            f"{self.title} took no samples of process {process.pid}: {' | '.join(said.strip().splitlines()[-3:])[:600]}",
            retryable=True,
        )
