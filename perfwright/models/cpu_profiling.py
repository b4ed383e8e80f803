"""Input, intermediate results and details of CpuProfilingInvestigation.

They stand here and not in the process's file because the command line builds forms and checks input from them without loading Temporal.
"""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from perfwright.models.artifact import ArtifactRef
from perfwright.models.cpu_coverage import CpuCoverage, ProcessCpu
from perfwright.models.measurement import EnvironmentFingerprint, Estimate, Interval
from perfwright.models.profile import Origin, PassKind
from perfwright.models.target import InlineTarget, TargetName
from perfwright.models.vocabulary import Input, Model, Share
from perfwright.models.workload import Workload

PROCESS = "CpuProfilingInvestigation"
MIN_RECORDING_S, MAX_RECORDING_S = 2.0, 3_600.0
MAX_RATE_HZ = 999

RequestedPass = Literal["on_cpu", "wall", "gil", "native"]
Overridable = Literal["duration_s", "rate_hz", "passes", "workload", "overhead_budget_share"]
OVERRIDABLE: dict[str, str] = {
    "duration_s": "seconds to record",
    "rate_hz": "samples per second",
    "passes": "which passes to record",
    "workload": "command that loads the target meanwhile",
    "overhead_budget_share": "share of the target's time the collectors may take",
}
"""What `request_changes` at `profile_review` may change."""


class CpuProfilingRequest(Input):
    """Where does the CPU time go, which line, and how much could be won?"""

    target: TargetName | InlineTarget
    """Name of a target in the registry (or, where the worker allows it, `{"process": {"pid": 4711}}`)."""
    duration_s: Annotated[float, Field(ge=MIN_RECORDING_S, le=MAX_RECORDING_S)] = 30.0
    """Seconds to record, all passes together."""
    rate_hz: Annotated[int, Field(ge=1, le=MAX_RATE_HZ)] = 99
    """Samples per second at most; lowered where the overhead budget asks for it."""
    overhead_budget_share: Annotated[float, Field(ge=0.001, le=0.5)] = 0.02
    """Share of the target's time that all collectors together may take; passing it live stops the recording."""
    passes: Annotated[tuple[RequestedPass, ...], Field(min_length=1, max_length=4)] | None = None
    """Passes to record in alternating slices; chosen by runtime when not given."""
    slice_s: Annotated[float, Field(ge=1.0, le=60.0)] | None = None
    """Length of one slice, one profiler at a time is attached; chosen by profiler when not given."""
    subprocesses: bool = True
    """Also profile the processes that the target starts. Those of a JVM or of Node.js, and other programs below Python, are named."""
    workload: Workload | None = None
    """Command that loads the target while it is recorded."""
    instead: Workload | None = None
    """Command that is run and recorded in place of the target's own process: its benchmark. Its profile is not compared with others."""
    min_samples: Annotated[int, Field(ge=10, le=1_000_000)] = 50
    """On-CPU samples below which the profile is not believed; with 50, what takes half of the time is known to 14 points either way."""
    goal_share: Share | None = None
    """CPU time you want to win, as a share; recommendations say whether they reach it."""
    top: Annotated[int, Field(ge=1, le=100)] = 15
    """How many hot functions and lines to list."""
    compare_with: Annotated[str, StringConstraints(pattern=r"^(latest|none|[A-Za-z0-9][A-Za-z0-9._-]{0,62}#[0-9]{1,9})$")] = "latest"
    """Earlier run of the same target for the diff flame graph: `latest`, `none`, or `shop#12`."""
    review_deadline_s: Annotated[float, Field(ge=1.0, le=2_592_000.0)] = 86_400.0
    """Seconds a review gate waits for a person."""
    max_revisions: Annotated[int, Field(ge=0, le=20)] = 3
    """How many times `request_changes` may re-run the recording."""

    @model_validator(mode="after")
    def _no_pass_twice(self) -> Self:
        if self.passes is not None and len(set(self.passes)) != len(self.passes):
            raise ValueError("passes: each pass is allowed once")
        return self

    @property
    def target_name(self) -> str:
        return self.target if isinstance(self.target, str) else self.target.slug

    def revised(self, overrides: dict[str, Any]) -> "CpuProfilingRequest":
        """The request with a person's overrides, validated as a whole; raises ValidationError."""
        merged = self.model_dump(mode="json") | overrides
        return CpuProfilingRequest.model_validate_json(json.dumps(merged))


def workflow_id(request: CpuProfilingRequest) -> str:
    """`cpu-profiling-investigation/shop`: one run per target at a time."""
    return f"cpu-profiling-investigation/{request.target_name}"


Runtime = Literal["python", "jvm", "node", "native", "unknown"]
ProfilerName = Literal["py-spy", "jfr", "node-inspector", "perf"]


class TargetProcess(Model):
    """The process as preflight found it."""

    pid: int
    create_time_s: float
    """Seconds since the epoch: tells a reused pid from the same process."""
    program: str
    """Executable name."""
    runtime: Runtime
    runtime_version: str = ""
    thread_count: int = 1
    child_count: int = 0
    state: str = ""
    """`running`, `sleeping`, `stopped`, ..."""
    user: str = ""
    own_namespace: bool = True
    """False when the process lives in another pid or mount namespace (a container)."""
    program_digest: str = ""
    """Over executable and command line: what has another one is another program, also under the same pid or port."""


class ProfilerChoice(Model):
    """Which tool records, why, and why not the others."""

    tool: ProfilerName
    reason: str
    passes: tuple[PassKind, ...]
    slice_s: float = 5.0
    """Length of a slice where none was asked for."""
    rejected: dict[str, str] = {}
    """Tool -> why it was not chosen."""
    caveats: tuple[str, ...] = ()


class Preflight(Model):
    """What is examined, with what, and where."""

    process: TargetProcess | None
    """None for a command that we launch: it is inspected when it runs."""
    choice: ProfilerChoice | None
    environment: EnvironmentFingerprint
    injects: str = ""
    """What is done to the process itself before it can be recorded; in production a person approves it."""
    warnings: tuple[str, ...] = ()


class StackRecording(Model):
    """What a profiler is asked to do on the target's host."""

    target: str
    process: TargetProcess
    choice: ProfilerChoice
    duration_s: float
    rate_hz: int
    slice_s: float
    overhead_budget_share: float
    subprocesses: bool = True
    artifact_prefix: str
    """Folder inside the artifact store: `cpu-profiling-investigation/shop/<run id>/1`."""
    min_samples: int = 0
    """On-CPU samples that the recording is to reach: passes nobody asked for are left out where it would not; 0: all are recorded."""
    may_inject: bool = True
    """Whether something may be done to the process itself (Node.js: SIGUSR1) where it is needed; otherwise the recording is refused."""


class RecordedPass(Model):
    """How one pass went."""

    kind: PassKind
    rate_hz: float
    seconds: float
    samples: int
    failed_samples: int = 0
    slices: int = 1
    blocks: int = 0


RecordingEnd = Literal["complete", "target exited", "over budget", "interrupted"]


class Overhead(Model):
    """What the recording cost the target and the machine, measured while it ran."""

    paused_share: float | None = None
    """Share of polls that found the target's main thread stopped by the tracer (/proc state `t`)."""
    readings: int = 0
    """Polls that the share comes from."""
    profiler_cpu_share: float | None = None
    """CPU seconds of the profiler per second of recording, in cores."""
    probe_note: str = ""
    """What the probe before the recording found, and the rate it led to."""
    nonblocking: bool = False
    """Whether the target was left running while it was sampled (stacks may be torn)."""


class Gap(Model):
    """A stretch of time in which nothing was recorded."""

    at_s: float
    """Seconds of recording before it."""
    missing_s: float
    reason: str

    @property
    def title(self) -> str:
        """`5.5 s missing after 12.0 s: the worker was restarted`."""
        return f"{self.missing_s:.1f} s missing after {self.at_s:.1f} s: {self.reason}"


class StackProfile(Model):
    """The stacks of one recording."""

    profile: ArtifactRef
    tool: str
    """Tool and version."""
    passes: tuple[RecordedPass, ...]
    overhead: Overhead
    end: RecordingEnd = "complete"
    gaps: tuple[Gap, ...] = ()
    """What could not be measured, and why."""
    warnings: tuple[str, ...] = ()


class ThreadUse(Model):
    """One thread over the recording."""

    pid: int
    tid: int
    name: str
    user_share: float
    """User CPU seconds per second, in cores."""
    system_share: float
    voluntary_switches_hz: float
    involuntary_switches_hz: float
    busy_share_p95: float = 0.0
    """95th percentile over the samples of user plus system share."""


class ProcessUse(Model):
    """What the process sampler saw: psutil counters, twice a second."""

    series: ArtifactRef | None
    seconds: float
    samples: int
    cpu_count: int
    user_share: float
    """In cores: 1.0 is one core."""
    system_share: float
    iowait_share: float
    """Of the whole machine, 0 to 1."""
    machine_busy_share: float
    """Of the whole machine, 0 to 1."""
    voluntary_switches_hz: float
    involuntary_switches_hz: float
    rss_bytes: int
    thread_count: int
    threads: tuple[ThreadUse, ...]
    """The busiest threads, at most 64."""
    read_bytes_hz: float = 0.0
    write_bytes_hz: float = 0.0
    child_processes: int = 0
    sampler_cpu_share: float = 0.0
    """What reading the counters took, in cores."""
    processes: tuple[ProcessCpu, ...] = ()
    """The busiest processes of the tree, at most 32; empty in recordings of a release that did not keep it."""
    ended_children_share: float = 0.0
    """Part of user and system time that children used which ended, beyond what was seen of them while they ran, in cores."""


class Recording(Model):
    """Stacks and usage, taken at the same time."""

    stacks: StackProfile
    usage: ProcessUse
    process: TargetProcess
    choice: ProfilerChoice
    environment: EnvironmentFingerprint | None = None
    revision: int = 1
    disturbed: str = ""
    """Why another process may have measured the target at the same time; empty: it was held alone."""
    warnings: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """`1,300 samples in 30 s with py-spy 0.4.3; the target used 0.94 cores`."""
        samples = sum(one.samples for one in self.stacks.passes)
        recorded_s = sum(one.seconds for one in self.stacks.passes)
        cores = self.usage.user_share + self.usage.system_share
        return f"{samples:,} samples in {recorded_s:.0f} s with {self.stacks.tool}; the target used {cores:.2f} cores"


class HotSpot(Model):
    """One function or line, with its share of on-CPU samples."""

    function: str
    file: str
    line: int = 0
    """The line for lines; for functions the hottest line inside."""
    origin: Origin
    self_share: float
    self_interval: Interval
    total_share: float
    """Share of samples with it anywhere on the stack; recursion counted once."""
    total_interval: Interval
    samples: int
    callers: tuple[str, ...] = ()
    """The commonest callers: `price_cart (shop/pricing.py:88)`."""
    threads: tuple[str, ...] = ()


class HotPaths(Model):
    """Where the time goes."""

    samples: int
    functions: tuple[HotSpot, ...]
    lines: tuple[HotSpot, ...]
    cpu_cores: float = 0.0
    """CPU use of the target while recorded, in cores."""
    note: str = ""
    """How samples count, where that is not each as one."""
    coverage: CpuCoverage = CpuCoverage()
    """What of the CPU time the samples stand for; shares are of all of it."""


PatternName = Literal[
    "one thread saturated", "GIL-bound", "kernel-heavy", "waiting on I/O", "waiting on locks", "balanced", "idle", "CPU-saturated"
]


class Pattern(Model):
    """A utilisation pattern with the numbers that name it."""

    name: PatternName
    statement: str
    confidence: Literal["high", "medium", "low"] = "medium"


class Utilisation(Model):
    """How the target uses its CPUs."""

    patterns: tuple[Pattern, ...]
    waiting: tuple[HotSpot, ...] = ()
    """Where threads wait (wall pass), commonest first."""
    gil_busy_share: float | None = None
    runnable_threads: float | None = None


class FlameGraph(Model):
    """A picture: data for the report and its weight."""

    title: str
    kind: PassKind | Literal["diff"]
    data: ArtifactRef
    """d3-flame-graph JSON, pruned to what can be seen."""
    samples: int
    pruned_share: float = 0.0
    """Share of the samples' frames that were too thin to draw."""
    compared_with: str = ""


class PreviousProfile(Model):
    """An earlier run of the same target, from the history store."""

    run: str
    """`shop#12`."""
    at: str
    profile: ArtifactRef
    tool: str = ""
    runtime: str = ""
    """Empty where the run was recorded by a release that did not keep it."""
    usage: ProcessUse | None = None
    """What the threads used meanwhile: its samples are weighed by it."""


class CpuProfilingDetails(Model):
    """What CpuProfilingInvestigation adds to the common result."""

    choice: ProfilerChoice | None = None
    process: TargetProcess | None = None
    environment: EnvironmentFingerprint | None = None
    stacks: StackProfile | None = None
    usage: ProcessUse | None = None
    hot_paths: HotPaths | None = None
    utilisation: Utilisation | None = None
    flame_graphs: tuple[FlameGraph, ...] = ()
    compared_with: str = ""
    biggest_win: Estimate | None = None
    warnings: tuple[str, ...] = ()
