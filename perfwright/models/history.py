"""Runs as the history store keeps them: what later runs compare themselves with, and the audit of decisions."""

from typing import Any, Self

from perfwright.models.artifact import ArtifactRef
from perfwright.models.cpu_profiling import ProcessUse
from perfwright.models.gate import Decision
from perfwright.models.measurement import EnvironmentFingerprint
from perfwright.models.result import ProcessResult, ReportRefs, Verdict
from perfwright.models.vocabulary import Model

CATALOG = "catalog"
"""Kind of what a run keeps of a database: its tables and indexes as they were then. Later runs know by it what was there."""


class RunStart(Model):
    """A run that begins, and asks for its number."""

    process: str
    """The workflow type: `CpuProfilingInvestigation`."""
    target: str
    environment: str
    workflow_id: str
    run_id: str
    started_at: str
    """ISO 8601, UTC."""
    request: dict[str, object] = {}
    """The exact input."""


class RecordedProfile(Model):
    """A profile that later runs may be compared with, or a catalog of what was there."""

    kind: str
    """What was recorded: `cpu`, `catalog`."""
    artifact: ArtifactRef
    tool: str = ""
    """What recorded it: `py-spy`."""
    runtime: str = ""
    """Of what: `python`."""
    usage: ProcessUse | None = None
    """What the target's threads used meanwhile: profiles are weighed by it before they are compared."""
    program_digest: str = ""
    """Of the process that was recorded (`TargetProcess.program_digest`)."""


class RunRecord(RunStart):
    """A run that has ended."""

    verdict: Verdict
    summary: str
    closed_at: str
    """ISO 8601, UTC."""
    fingerprint: EnvironmentFingerprint | None = None
    report: ReportRefs = ReportRefs()
    profiles: tuple[RecordedProfile, ...] = ()
    decisions: tuple[Decision, ...] = ()

    @classmethod
    def of(
        cls,
        result: ProcessResult[Any],
        closed_at: str,
        *,
        fingerprint: EnvironmentFingerprint | None = None,
        profiles: tuple[RecordedProfile, ...] = (),
    ) -> Self:
        """The record of a result."""
        return cls(
            process=result.process,
            target=result.target,
            environment=result.environment,
            workflow_id=result.workflow_id,
            run_id=result.run_id,
            started_at=result.started_at,
            request=result.request,
            verdict=result.verdict,
            summary=result.summary,
            closed_at=closed_at,
            fingerprint=fingerprint,
            report=result.report,
            profiles=profiles,
            decisions=result.decisions,
        )


class RunEnd(Model):
    """A run that ended without a result."""

    run_id: str
    closed_at: str
    """ISO 8601, UTC."""
    verdict: Verdict | None = None
    """`cancelled`; None for a run that could not be carried out."""
    summary: str = ""
    """Why."""


class PreviousProfileQuery(Model):
    """Which earlier profile of a target is wanted."""

    process: str
    target: str
    compare_with: str = "latest"
    """`latest`, `none`, or a run: `shop#12`."""
    kind: str = "cpu"
    tool: str = ""
    runtime: str = ""
    program_digest: str = ""
    """`latest` is the newest that this tool recorded of this runtime, and of this program; empty: any."""
    run_id: str = ""
    """The run that asks: never compared with itself."""


class KeptArtifact(Model):
    """What an earlier run kept."""

    at: str
    """ISO; when that run closed: what it saw was there by then."""
    artifact: ArtifactRef


class RunQuery(Model):
    """Which runs are listed, newest first; what is not given is not asked for."""

    process: str | None = None
    target: str | None = None
    number: int | None = None
    verdict: Verdict | None = None
    run_id: str | None = None
    limit: int = 50
    """At most 500."""


class RunSummary(Model):
    """A run in a list."""

    name: str
    """`shop#12`: the twelfth run of its process on its target."""
    process: str
    target: str
    environment: str
    workflow_id: str
    run_id: str
    started_at: str
    closed_at: str = ""
    """Empty while it runs."""
    verdict: Verdict | None = None
    summary: str = ""
    report: ReportRefs = ReportRefs()
