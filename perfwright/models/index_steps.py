"""What the steps of IndexStrategyOptimization are asked and answer, where it is more than the vocabulary."""

from perfwright.models.artifact import ArtifactRef
from perfwright.models.database import DatabaseFacts
from perfwright.models.finding import Finding, Recommendation
from perfwright.models.index_strategy import IndexProposal, IndexStrategyDetails, IndexStrategyRequest, SearchFacts
from perfwright.models.quality import QualityGate
from perfwright.models.result import Verdict
from perfwright.models.target import Target
from perfwright.models.unverified_indexes import StatisticsPolicy
from perfwright.models.vocabulary import Model


class ReadExistingIndexes(Model):
    """Look at all indexes of the database."""

    target: Target
    catalog: ArtifactRef
    mask_literals: bool = False
    """Definitions have no values; the undo of a drop is recorded with them when it is made."""


class ClonePlan(Model):
    """Where clones are made, and within which bounds."""

    target: Target
    dsn_env: str | None = None
    """Of the server for clones; None: the target's own."""
    owner: str
    """Run (its artifact prefix): the same run finds its own clone again after a crash and makes it anew."""
    limit_mb: float = 20_000.0
    limit_s: float = 1_800.0
    statistics: StatisticsPolicy = "never"
    """Whether a clone of statistics alone may take its place, for advice that nothing is measured of."""
    role: str = ""
    """Whose sessions are planned like: the application's, where it is known; empty: those of our own role."""


class SearchIndexes(Model):
    """From the statements to the best set: by the planner's costs, then by measuring, on one clone."""

    target: Target
    database: DatabaseFacts
    request: IndexStrategyRequest
    """Without its SQL, which the table has."""
    table: ArtifactRef
    fingerprints: tuple[str, ...]
    catalog: ArtifactRef
    clone: ClonePlan
    artifact_prefix: str


class SearchedIndexes(Model):
    """Where the search stands."""

    document: ArtifactRef
    """An `IndexSearchDocument`."""
    facts: SearchFacts
    selected: tuple[str, ...] = ()
    """Titles of the best set so far."""


class VerifyIndexes(Model):
    """Verify a set on a fresh clone, with what it costs writers."""

    search: SearchIndexes
    found: ArtifactRef
    add_indexes: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    revision: int = 1


class RemoveClones(Model):
    """Drop whatever clones of this target are left."""

    clone: ClonePlan
    needed: bool = False
    """Clones are made later: where that is refused, it is told now, before anything is observed."""


class ClonesRemoved(Model):
    """Names of databases that were dropped, and of private servers that were ended and removed."""

    names: tuple[str, ...] = ()
    unclonable: str = ""
    """Why no clone with rows can be made, where one of statistics alone can."""
    way_out: str = ""


class RemoveInvalidIndex(Model):
    """Drop what a failed build left, if it is still that."""

    target: Target
    name: str
    """Schema and name, as SQL writes them."""
    definition: str
    lock_timeout_s: float = 2.0
    mask_literals: bool = False
    """Whether `definition` is without values."""


class InvalidIndexRemoved(Model):
    """What stands there now."""

    removed: bool
    told: str = ""


class ReadIndexUse(Model):
    """Scan counts of some indexes."""

    target: Target
    names: tuple[str, ...]
    """`schema.index`."""


class IndexUseRead(Model):
    """Scans so far."""

    scans: dict[str, int] = {}
    bytes: dict[str, int] = {}
    counted_since: str = ""


class ConcludeIndexStrategy(Model):
    """Everything that was found and done."""

    request: IndexStrategyRequest
    """Without its SQL."""
    title: str
    """Of the target."""
    details: IndexStrategyDetails
    proposals: tuple[IndexProposal, ...] = ()
    refused: str = ""
    """Why nothing was carried out."""


class IndexConclusion(Model):
    """What is said of it."""

    verdict: Verdict
    summary: str
    findings: tuple[Finding, ...] = ()
    recommendations: tuple[Recommendation, ...] = ()
    quality_gates: tuple[QualityGate, ...] = ()
