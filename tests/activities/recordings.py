"""Real programs to profile, and activities that profile them outside of a Temporal server."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from temporalio.testing import ActivityEnvironment

from activities import recording_cost
from activities.artifacts import ArtifactStore
from activities.finding_processes import describe
from activities.profiler_cpu import MachineBusy
from lab.starting import ROOT
from perfwright.analysis.call_tree import decode_profile
from perfwright.models.cpu_profiling import ProfilerChoice, ProfilerName, StackProfile, StackRecording
from perfwright.models.profile import PassKind, Profile

GENEROUS_BUDGET = 1.0
"""Of the target's time, for tests that are about something else: a busy machine holds the target long."""
PREFIX = "process/target/run/1"
LEAVES = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
print('ready')
while True: sum(range(1000))
"""
"""Python that is busy until it is told to end, and then exits by itself."""


@contextmanager
def program(*command: str, ready: str | None = "ready", **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A program, once it has said that it is ready; killed with its whole group at the end."""
    settings = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "text": True, "start_new_session": True, "cwd": ROOT} | options
    with subprocess.Popen(command, **settings) as process:
        try:
            if ready is not None:
                assert process.stdout
                line = process.stdout.readline()
                assert ready in line, f"{command} said {line!r}"
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def pattern(name: str, *options: str, seconds: float = 120) -> Any:
    """One of the lab's patterns of CPU use."""
    return program(sys.executable, str(ROOT / "lab" / "patterns.py"), name, "--seconds", str(seconds), *options)


def python(code: str, **options: Any) -> Any:
    """Python code that prints `ready`."""
    return program(sys.executable, "-u", "-c", code, **options)


def recording(
    pid: int,
    tool: ProfilerName,
    passes: Sequence[PassKind] = ("on_cpu",),
    *,
    duration_s: float = 4,
    slice_s: float = 2,
    rate_hz: int = 99,
    budget: float = GENEROUS_BUDGET,
    **more: Any,
) -> StackRecording:
    return StackRecording(
        target="shop",
        process=describe(psutil.Process(pid)),
        choice=ProfilerChoice(tool=tool, reason="asked for by the test", passes=tuple(passes)),
        duration_s=duration_s,
        rate_hz=rate_hz,
        slice_s=slice_s,
        overhead_budget_share=budget,
        artifact_prefix=PREFIX,
        **more,
    )


@contextmanager
def no_budget() -> Iterator[dict[str, Any]]:
    """Recordings by tools that hold nothing are over their budget after a second, in their first slice; gives arguments for `recording`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MachineBusy, "share", lambda self: 1.0)  # no CPU is free: all that the tool takes comes from somebody
        patch.setattr(recording_cost, "FEWEST_SECONDS", 1.0)
        yield {"budget": 1e-6, "duration_s": 60, "slice_s": 60}


def assert_kept(stacks: StackProfile) -> None:
    """What was recorded until the budget was spent is a profile."""
    [taken] = stacks.passes
    assert (stacks.end, taken.slices) == ("over budget", 1)
    assert taken.samples > 0 and 1 <= taken.seconds < 30
    assert "stopped after" in stacks.warnings[0]


class Bench:
    """State folder, artifact store and heartbeats of one test."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.store = ArtifactStore(f"file://{folder}/store")
        self.beats: list[dict[str, Any]] = []
        self.environment = self.new_environment()

    def new_environment(self) -> ActivityEnvironment:
        """As for another attempt."""
        self.environment = ActivityEnvironment()
        self.environment.on_heartbeat = lambda *details: self.beats.append(details[0] if details else {})
        return self.environment

    async def run(self, tool: type, method: str, request: Any) -> Any:
        return await self.environment.run(getattr(tool(self.store, self.state), method), request)

    async def profile(self, stacks: StackProfile) -> Profile:
        return decode_profile(await self.store.get(stacks.profile))

    @property
    def left(self) -> list[str]:
        """Files of recordings in progress."""
        return sorted(str(file.relative_to(self.state)) for file in self.state.rglob("*") if file.is_file())

    async def beat_of(self, what: Callable[[dict[str, Any]], bool], within_s: float = 30) -> None:
        """Wait for a heartbeat."""
        await until(lambda: any(what(beat) for beat in self.beats), within_s)


def shares(profile: Profile, kind: PassKind = "on_cpu", thread: str | None = None) -> dict[tuple[str, str, int], float]:
    """(function, base name of the file, line) of the leaves -> share of the samples of the pass, or of its threads of that name."""
    counts: Counter[tuple[str, str, int]] = Counter()
    for one in profile.passes:
        if one.kind == kind:
            for node, number, count in zip(one.node, one.thread, one.count, strict=True):
                if thread is not None and profile.threads[number].name != thread:
                    continue
                frame = profile.nodes.frame[node]
                counts[(profile.frames.function[frame], Path(profile.frames.file[frame]).name, profile.frames.line[frame])] += count
    total = sum(counts.values())
    return {leaf: count / total for leaf, count in counts.items()}


def function_shares(profile: Profile, kind: PassKind = "on_cpu", thread: str | None = None) -> dict[str, float]:
    found: Counter[str] = Counter()
    for (function, _, _), share in shares(profile, kind, thread).items():
        found[function] += share
    return dict(found)


def total_share(profile: Profile, function: str, kind: PassKind = "on_cpu") -> float:
    """Share of the pass's samples with the function anywhere on their stack."""
    inside: list[bool] = []
    for parent, frame in zip(profile.nodes.parent, profile.nodes.frame, strict=True):
        inside.append(profile.frames.function[frame] == function or (parent >= 0 and inside[parent]))
    counts = [(inside[node], count) for one in profile.passes if one.kind == kind for node, count in zip(one.node, one.count, strict=True)]
    return sum(count for there, count in counts if there) / sum(count for _, count in counts)


async def until(what: Callable[[], bool], within_s: float = 30) -> None:
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline, "it did not come true in time"
        await asyncio.sleep(0.02)


READER = "activities.cpython.sampler"
"""The module that reads CPython's stacks without stopping the target."""
TAKEN_BY: dict[PassKind, str] = {"on_cpu": READER, "native": "py-spy"}
"""What records these passes of a Python program."""


def tools_of(pid: int, name: str) -> list[psutil.Process]:
    """Running programs, or Python modules, of this name whose command line names the target."""
    found = []
    for process in psutil.process_iter(["name", "cmdline", "status"]):
        command = process.info["cmdline"] or []
        if (process.info["name"] == name or name in command) and str(pid) in command and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def runs(pid: int) -> bool:
    """Whether the process lives and is neither stopped nor held by a tracer."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() in (
        psutil.STATUS_RUNNING,
        psutil.STATUS_SLEEPING,
        psutil.STATUS_DISK_SLEEP,
    )
