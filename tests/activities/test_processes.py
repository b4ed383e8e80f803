"""The preflight look at a process, and the sampler of its counters, on real processes."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from temporalio.exceptions import ApplicationError

from activities.finding_processes import describe
from activities.processes import Processes
from perfwright.models.cpu_profiling import Preflight, ProcessUse
from perfwright.models.cpu_steps import InspectTarget, UseSampling
from perfwright.models.host import HostFacts
from perfwright.models.target import ProcessSelector, Target
from tests import preloaded
from tests.activities.recordings import LEAVES, PREFIX, Bench, pattern, program, python, until
from tests.needs import needs

SLEEPER = "print('ready'); import time; time.sleep(300)"
TOOLS = {"py-spy": "0.4.3", "perf": "6.1", "jcmd": "present", "java": "17", "node": "20"}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def facts(uid: int | None = None, capabilities: tuple[str, ...] = ("SYS_PTRACE", "PERFMON"), **software: str) -> HostFacts:
    return HostFacts(
        host="here",
        kernel="Linux 6.1",
        cpu_model="a CPU",
        cpu_count=2,
        memory_bytes=1 << 30,
        software=TOOLS | software,
        uid=os.geteuid() if uid is None else uid,
        capabilities=capabilities,
    )


async def inspect(
    bench: Bench,
    selector: ProcessSelector | None,
    *,
    host: HostFacts | None = None,
    environment: str = "lab",
    allow: tuple[str, ...] = (),
    launched_pid: int | None = None,
) -> Preflight:
    target = Target(name="shop", kind="process", environment=environment, process=selector, allow=allow)  # type: ignore[arg-type]
    request = InspectTarget(target=target, host=host or facts(), launched_pid=launched_pid)
    preflight: Preflight = await bench.run(Processes, "inspect_target", request)
    return preflight


async def sample(bench: Bench, pid: int, **more: Any) -> ProcessUse:
    use: ProcessUse = await bench.run(Processes, "sample_threads", sampling(pid, **more))
    return use


def sampling(pid: int, *, duration_s: float = 3, **more: Any) -> UseSampling:
    return UseSampling(target="shop", process=describe(psutil.Process(pid)), duration_s=duration_s, artifact_prefix=PREFIX, **more)


async def test_a_python_process_is_found_with_its_profiler(bench: Bench) -> None:
    """Process, runtime, tool and reason; the environment says which runtime it is, and nothing of the worker's own account."""
    with program(sys.executable, "-uc", SLEEPER) as target:
        preflight = await inspect(bench, ProcessSelector(pid=target.pid))
    assert preflight.process is not None
    assert preflight.choice is not None
    assert (preflight.process.pid, preflight.process.runtime, preflight.choice.tool) == (target.pid, "python", "py-spy")
    assert preflight.environment.runtime.startswith("CPython 3.")
    assert "capabilities" not in preflight.model_dump(mode="json")["environment"]


async def test_a_command_is_inspected_when_it_runs(bench: Bench) -> None:
    """Before the launch there is no process; afterwards it is the launched one, behind its wrappers."""
    selector = ProcessSelector(command=("timeout", "60", sys.executable, "-uc", SLEEPER))
    assert (await inspect(bench, selector)).process is None
    with program(*(selector.command or ())) as wrapper:
        preflight = await inspect(bench, selector, launched_pid=wrapper.pid)
    assert preflight.process is not None
    assert preflight.process.pid != wrapper.pid
    assert preflight.process.runtime == "python"
    assert "only wraps" in preflight.warnings[0]


async def test_a_target_without_a_process_is_refused(bench: Bench) -> None:
    """The message shows the line to write in the registry."""
    with pytest.raises(ApplicationError, match=r"\[targets.\"shop\"\]") as trouble:
        await inspect(bench, None)
    assert trouble.value.type == "InvalidInput"


async def test_missing_tools_are_told(bench: Bench) -> None:
    """Neither py-spy nor perf: the error says what installs them."""
    with program(sys.executable, "-uc", SLEEPER) as target, pytest.raises(ApplicationError, match="pip install py-spy") as trouble:
        await inspect(bench, ProcessSelector(pid=target.pid), host=facts(**{"py-spy": "", "perf": ""}))
    assert trouble.value.type == "ToolMissing"


async def test_a_process_of_another_user_needs_the_permission(bench: Bench) -> None:
    """A worker of another user without CAP_SYS_PTRACE is told before anything attaches."""
    with program(sys.executable, "-uc", SLEEPER) as target, pytest.raises(ApplicationError, match="CAP_SYS_PTRACE") as trouble:
        await inspect(bench, ProcessSelector(pid=target.pid), host=facts(uid=os.geteuid() + 1, capabilities=()))
    assert trouble.value.type == "NotPermitted"


@needs("node")
async def test_the_node_inspector_is_not_opened_unasked(bench: Bench) -> None:
    """The registry must allow `inject`, or somebody must have opened the inspector; what would be done is told."""
    idle = "setInterval(() => {}, 1000); console.log('ready')"
    with program("node", "--inspect-port=0", "-e", idle) as target:
        selector = ProcessSelector(pid=target.pid)
        for environment in ("production", "staging", "lab"):
            with pytest.raises(ApplicationError, match='add "inject" to `allow`') as trouble:
                await inspect(bench, selector, environment=environment)
            assert trouble.value.type == "TargetRefused"
        preflight = await inspect(bench, selector, environment="production", allow=("inject",))
        assert preflight.choice is not None
        assert preflight.choice.tool == "node-inspector"
        assert f"SIGUSR1 to pid {target.pid}" in preflight.injects
    with program("node", "--inspect=127.0.0.1:0", "-e", idle, stderr=subprocess.DEVNULL) as target:
        preflight = await inspect(bench, ProcessSelector(pid=target.pid), environment="production")
        assert preflight.choice is not None
        assert preflight.injects == ""


@pytest.mark.paired
async def test_a_saturated_thread_is_told_from_waiting_ones(bench: Bench) -> None:
    """Shares by thread add up to the process, names are the kernel's, and the waiting threads use nothing."""
    with pattern("one-thread") as target:
        use = await sample(bench, target.pid)
    assert use.thread_count == 4
    [busy] = [thread for thread in use.threads if thread.user_share + thread.system_share > 0.05]
    assert (busy.tid, busy.pid) == (target.pid, target.pid)
    assert busy.name.startswith("python")
    assert busy.user_share + busy.system_share == pytest.approx(use.user_share + use.system_share, abs=0.05)
    assert use.involuntary_switches_hz > 0
    assert use.series is not None
    series = json.loads(await bench.store.get(use.series))
    assert len(series["t_s"]) == use.samples >= 2
    assert use.seconds == pytest.approx(3, abs=1.5)
    assert {"recorded_s", "of_s", "cpu_cores", "threads"} <= set(bench.beats[-1])


async def test_switches_are_those_of_all_threads(bench: Bench) -> None:
    """Threads that wait and wake make switches, whichever thread they are; the process's own figure knows only its main thread."""
    with pattern("io") as target:
        use = await sample(bench, target.pid)
    assert use.voluntary_switches_hz > 50, "four threads are woken twenty times a second"


async def test_children_are_counted(bench: Bench) -> None:
    """Work that is done in child processes is the target's."""
    with pattern("forks") as target:
        use = await sample(bench, target.pid)
    assert use.child_processes == 2
    assert use.user_share > 0.1
    children = {thread.pid for thread in use.threads if thread.user_share > 0.02}
    assert len(children) == 2
    assert target.pid not in children


@pytest.mark.paired
async def test_500_threads_are_read_within_the_budget(bench: Bench) -> None:
    """With many threads they are read more rarely instead of at a higher price: at most 2 % of a core."""
    with pattern("threads", "--threads", "500") as target:
        use = await sample(bench, target.pid, duration_s=10)
    assert use.thread_count == 501
    assert use.samples >= 1
    assert use.sampler_cpu_share < 0.02


async def test_a_target_that_exits_ends_the_sampling(bench: Bench) -> None:
    """What was read until then is the result; nothing read at all is TargetGone."""
    with python(LEAVES) as target:
        request = sampling(target.pid, duration_s=60)
        attempt = asyncio.create_task(bench.run(Processes, "sample_threads", request))
        await bench.beat_of(lambda beat: beat.get("recorded_s", 0) > 1)
        target.terminate()
        use: ProcessUse = await attempt
    assert 0.5 < use.seconds < 30
    assert use.user_share > 0
    with pytest.raises(ApplicationError, match=f"process {target.pid} of shop exited") as trouble:
        await bench.run(Processes, "sample_threads", request.model_copy(update={"artifact_prefix": "another"}))
    assert trouble.value.type == "TargetGone"


async def test_the_next_attempt_goes_on(bench: Bench, tmp_path: Path) -> None:
    """kill -9 of the worker: its readings count, and only the remaining time is sampled."""
    with pattern("one-thread") as target:
        request = sampling(target.pid, duration_s=5)
        (tmp_path / "request.json").write_text(request.model_dump_json())
        words = [str(tmp_path), "activities.processes:Processes.sample_threads", str(tmp_path / "request.json")]
        steps = bench.state / "recordings" / f"{PREFIX}/use".replace("/", "-") / "use.jsonl"
        with preloaded.killed("tests.activities.recording_worker", words):
            await until(lambda: steps.exists() and steps.read_text().count("\n") >= 3)
        kept = [json.loads(line) for line in steps.read_text().splitlines()]
        use: ProcessUse = await bench.run(Processes, "sample_threads", request)
        again: ProcessUse = await bench.run(Processes, "sample_threads", request)
    assert use.samples > len(kept)
    assert use.seconds == pytest.approx(5, abs=2)
    assert use.series is not None
    series = json.loads(await bench.store.get(use.series))
    assert series["t_s"][: len(kept)] == [round(step["at_s"], 3) for step in kept]
    assert again == use


async def test_a_cancelled_sampling_leaves_nothing(bench: Bench) -> None:
    """Cancelled for good: no file of it stays on the host."""
    with pattern("one-thread") as target:
        attempt = asyncio.create_task(bench.run(Processes, "sample_threads", sampling(target.pid, duration_s=60)))
        await bench.beat_of(lambda beat: beat.get("cpu_cores") is not None)
        bench.environment.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
    assert bench.left == []
