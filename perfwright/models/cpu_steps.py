"""What the steps of CpuProfilingInvestigation are asked and answer, where it is more than the vocabulary."""

from perfwright.models.artifact import ArtifactRef
from perfwright.models.cpu_profiling import (
    CpuProfilingRequest,
    FlameGraph,
    HotPaths,
    PreviousProfile,
    ProcessUse,
    Recording,
    RequestedPass,
    Runtime,
    TargetProcess,
    Utilisation,
)
from perfwright.models.finding import Finding, Recommendation
from perfwright.models.host import HostFacts
from perfwright.models.measurement import Estimate
from perfwright.models.quality import QualityGate
from perfwright.models.target import Target
from perfwright.models.vocabulary import Model


class InspectTarget(Model):
    """Preflight on the target's host."""

    target: Target
    host: HostFacts
    passes: tuple[RequestedPass, ...] | None = None
    launched_pid: int | None = None
    """Pid of the command that we launched for this recording."""


class UseSampling(Model):
    """What the process and thread sampler is asked to do."""

    target: str
    process: TargetProcess
    duration_s: float
    interval_s: float = 0.5
    subprocesses: bool = True
    artifact_prefix: str


class ProfileToJudge(Model):
    """The recording and what was asked of it."""

    recording: Recording
    request: CpuProfilingRequest


class ProfileJudgement(Model):
    """Is this profile good enough to believe what follows from it?"""

    quality_gates: tuple[QualityGate, ...]
    believable: bool
    statements: tuple[str, ...]
    """What a reviewer should see: samples, errors, overhead, tool; one Markdown line each."""
    problem: str = ""
    """Why it is not believable, and what would help; one sentence."""


class FlameGraphsToDraw(Model):
    """Which pictures of which profile."""

    target: str
    profile: ArtifactRef
    previous: PreviousProfile | None = None
    runtime: Runtime = "unknown"
    usage: ProcessUse
    artifact_prefix: str


class FlameGraphs(Model):
    """The pictures of one recording."""

    graphs: tuple[FlameGraph, ...]
    note: str = ""
    """Why there is no change since the earlier run that was given."""


class ProfileToRead(Model):
    """A recording to analyse."""

    recording: Recording
    top: int = 15


class FindingsToRank(Model):
    """Everything that findings follow from."""

    request: CpuProfilingRequest
    recording: Recording
    hot_paths: HotPaths
    utilisation: Utilisation
    quality_gates: tuple[QualityGate, ...] = ()


class RankedFindings(Model):
    """Findings by cost, recommendations by gain over effort, and the sentence that sums them up."""

    findings: tuple[Finding, ...]
    recommendations: tuple[Recommendation, ...]
    summary: str
    biggest_win: Estimate | None = None
