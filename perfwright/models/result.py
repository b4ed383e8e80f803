"""The one envelope all processes return."""

from typing import Generic, Literal, TypeVar

from pydantic import BaseModel

from perfwright.models.artifact import ArtifactRef
from perfwright.models.finding import Finding, Recommendation
from perfwright.models.gate import Decision, RefusedDecision
from perfwright.models.quality import QualityGate
from perfwright.models.vocabulary import Model

Verdict = Literal["passed", "failed", "inconclusive", "rejected", "cancelled"]
TaskType = Literal["profiling", "analysis", "design", "implementation", "benchmarking", "monitoring", "documentation", "validation"]
StepOutcome = Literal["done", "skipped", "failed", "cancelled"]


class Step(Model):
    """What was done, in order, for the report and `show`."""

    name: str
    task: TaskType
    outcome: StepOutcome
    started_s: float = 0.0
    """Seconds since the run began."""
    duration_s: float = 0.0
    note: str = ""
    """The reason when skipped or failed; the tool used when done."""


class ReportRefs(Model):
    """Where the report is: HTML and Markdown for people, `data` (result.json) for programs."""

    html: ArtifactRef | None = None
    markdown: ArtifactRef | None = None
    data: ArtifactRef | None = None


DetailsT = TypeVar("DetailsT", bound=BaseModel)


class ProcessResult(Model, Generic[DetailsT]):
    """A verdict is data; a workflow fails only when the process could not be carried out."""

    process: str
    """The workflow type: `CpuProfilingInvestigation`."""
    target: str
    environment: str
    workflow_id: str
    run_id: str
    verdict: Verdict
    summary: str
    """One sentence that a reader who stops here takes away."""
    reviewed: bool = True
    """False when a review gate timed out: the evidence stands, nobody has looked at it."""
    findings: tuple[Finding, ...] = ()
    recommendations: tuple[Recommendation, ...] = ()
    quality_gates: tuple[QualityGate, ...] = ()
    decisions: tuple[Decision, ...] = ()
    refused_decisions: tuple[RefusedDecision, ...] = ()
    steps: tuple[Step, ...] = ()
    artifacts: tuple[ArtifactRef, ...] = ()
    report: ReportRefs = ReportRefs()
    request: dict[str, object] = {}
    """The exact input to repeat it."""
    started_at: str = ""
    """ISO 8601, UTC."""
    duration_s: float = 0.0
    details: DetailsT


class ReportToPublish(Model):
    """A result on its way into a report."""

    result: dict[str, object]
    """The `ProcessResult` as JSON: its details are typed by the process it names."""
    run: str
    """Short name of the run: `shop#12`."""
    artifact_prefix: str
