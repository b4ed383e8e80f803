"""What the steps of GarbageCollectionTuning are asked, and what goes between them."""

from perfwright.models.artifact import ArtifactRef
from perfwright.models.finding import Finding, Recommendation
from perfwright.models.gc_tuning import (
    Collector,
    CollectorPreflight,
    GarbageCollectionRequest,
    GcCandidate,
    GcIssue,
    GcObservation,
    GcSweep,
    TriedCandidate,
)
from perfwright.models.quality import QualityGate
from perfwright.models.result import Verdict
from perfwright.models.target import Target
from perfwright.models.trial_run import TrialResult
from perfwright.models.vocabulary import Model


class InspectCollector(Model):
    """Is there something to observe?"""

    target: Target
    request: GarbageCollectionRequest


class CollectorToObserve(Model):
    """The target as it is, under the load of the request."""

    target: Target
    request: GarbageCollectionRequest
    artifact_prefix: str


class SettingsToPropose(Model):
    """What was observed of which target."""

    target: Target
    request: GarbageCollectionRequest
    observation: GcObservation


class ProposedSettings(Model):
    """What the observation says, and what could be tried."""

    issues: tuple[GcIssue, ...]
    candidates: tuple[GcCandidate, ...]
    metric: str
    """What the trial is to make better."""
    sentence: str
    refused: tuple[str, ...] = ()
    """Candidates that the request named and that do not exist."""
    known: tuple[str, ...] = ()
    """All that would fit, by name, whether the request names them or not."""
    collectors: tuple[Collector, ...] = ()
    """JVM: those that this java starts with."""
    absent: tuple[Collector, ...] = ()
    """JVM: those that it does not start with."""


class SweepOrder(Model):
    """Candidates to measure under the same load as what is."""

    target: Target
    request: GarbageCollectionRequest
    candidates: tuple[GcCandidate, ...]
    artifact_prefix: str
    metric: str = ""
    """Of the trial that follows; empty: CPU or wall time."""


class TuningToJudge(Model):
    """Everything that is known at the end."""

    request: GarbageCollectionRequest
    target: str
    preflight: CollectorPreflight
    before: GcObservation
    proposed: ProposedSettings
    sweep: GcSweep | None = None
    chosen: GcCandidate | None = None
    tried: tuple[TriedCandidate, ...] = ()
    """All that had a trial; `chosen` is the last of them."""
    trial: TrialResult | None = None
    after: GcObservation | None = None
    artifact_prefix: str


class JudgedTuning(Model):
    """What the result says."""

    findings: tuple[Finding, ...]
    recommendations: tuple[Recommendation, ...]
    quality_gates: tuple[QualityGate, ...]
    verdict: Verdict
    summary: str
    configuration: str = ""
    """The configuration document, as Markdown; empty where nothing is kept."""
    document: ArtifactRef | None = None
    """The same, stored."""
