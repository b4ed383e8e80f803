"""What the steps of QueryPerformanceAnalysis are asked and answer, where it is more than the vocabulary."""

from typing import Literal

from perfwright.models.artifact import ArtifactRef
from perfwright.models.database import DatabaseFacts, NotSeen
from perfwright.models.finding import Finding, Recommendation
from perfwright.models.measurement import Estimate
from perfwright.models.quality import QualityGate
from perfwright.models.query_performance import (
    ExplainMode,
    ExplainOutcome,
    PlanHit,
    QueryPerformanceRequest,
    StatementSummary,
    VerifiedRewrite,
    WaitShare,
    WhatIf,
)
from perfwright.models.statement import StatementSample, StatementSource
from perfwright.models.target import Target
from perfwright.models.vocabulary import Model

RuleFamily = Literal["scans", "joins", "estimates", "memory", "complexity", "overhead"]
"""Plan rules that are judged side by side: full scans and missing indexes, joins, misestimates, spills, query shapes, the rest."""
RULE_FAMILIES: tuple[RuleFamily, ...] = ("scans", "joins", "estimates", "memory", "complexity", "overhead")


class InspectDatabase(Model):
    """Preflight: connect, and see what the server is and lets us see."""

    target: Target


class ObserveStatements(Model):
    """Counters before and after a window."""

    target: Target
    duration_s: float
    artifact_prefix: str


class ObservedStatements(Model):
    """Where the window's counters are."""

    window: ArtifactRef | None = None
    """An `ObservedWindow`; None where the server has no counters (`not_seen` says so)."""
    source: StatementSource = "pg_stat_statements"
    seconds: float = 0.0
    statements: int = 0
    total_ms: float = 0.0
    evicted: int = 0
    reset: bool = False
    own_ms: float = 0.0
    """Execution time of our own statements in the window."""
    warnings: tuple[str, ...] = ()
    not_seen: tuple[NotSeen, ...] = ()


class SampleActivity(Model):
    """Look at sessions and what they wait for, through the window."""

    target: Target
    duration_s: float
    interval_s: float = 1.0
    artifact_prefix: str


class ActivitySampled(Model):
    """What sessions did."""

    samples: int = 0
    seconds: float = 0.0
    waits: tuple[WaitShare, ...] = ()
    longest_transaction_s: float = 0.0
    series: ArtifactRef | None = None
    """Sessions by state over time, as `SeriesFigure` reads it."""
    warnings: tuple[str, ...] = ()


class ReadLog(Model):
    """Read a server log: given files whole, the server's own from now on until the window ends."""

    target: Target
    files: tuple[str, ...] = ()
    folder: str = ""
    """The server's log folder, when no files are given."""
    log_format: str = ""
    follow_s: float = 0.0
    """Seconds to go on reading what is appended; 0: what is there."""
    artifact_prefix: str


class LogReadDone(Model):
    """Where the log's digest is."""

    digest: ArtifactRef | None = None
    """A `LogDigest`."""
    read_bytes: int = 0
    lines: int = 0
    statements: int = 0
    gaps: tuple[str, ...] = ()
    not_seen: tuple[NotSeen, ...] = ()


class ReadCatalog(Model):
    """Tables, columns, indexes and their statistics."""

    target: Target
    artifact_prefix: str


class CatalogRead(Model):
    """Where the catalog is."""

    catalog: ArtifactRef
    tables: int
    left_out: int = 0


class GroupStatements(Model):
    """Make one table of statements from every source."""

    request: QueryPerformanceRequest
    database: DatabaseFacts
    observed: ObservedStatements | None = None
    log: LogReadDone | None = None
    catalog: ArtifactRef | None = None
    given: tuple[str, ...] = ()
    """SQL of the input's `sql_file`, read on the host."""
    artifact_prefix: str


class GroupedStatements(Model):
    """The statements, and which of them would be examined."""

    table: ArtifactRef
    """A `StatementTable`."""
    statements: int
    total_ms: float
    top: tuple[StatementSummary, ...]
    chosen: tuple[str, ...]
    """Fingerprints to examine, in the order of their total time, given SQL included."""
    chosen_share: float = 0.0
    unknown_fingerprints: tuple[str, ...] = ()
    """Asked for by `add_fingerprints` and not seen."""
    unreadable: int = 0


class ExplainStatements(Model):
    """Take plans, one statement after the other."""

    target: Target
    database: DatabaseFacts
    table: ArtifactRef
    fingerprints: tuple[str, ...]
    analyze: bool
    """Execute (rolled back); otherwise plan only."""
    costly_approved: tuple[str, ...] = ()
    """Fingerprints over the ceiling that a person let through."""
    cost_ceiling: float
    statement_timeout_s: float
    lock_timeout_s: float
    parameter_sets: int = 3
    artifact_prefix: str


class CostlyStatement(Model):
    """A statement whose planned cost is over the ceiling: planned, not executed."""

    fingerprint: str
    text: str
    cost: float


class TakenPlan(Model):
    """One plan as the server gave it."""

    sample: StatementSample | None = None
    """None: a generic plan of the normalized text."""
    mode: ExplainMode
    plan: dict[str, object]
    """The object that EXPLAIN (FORMAT JSON) returns in its list: Plan, Planning Time, Execution Time, Triggers, JIT, Settings."""
    execution_ms: float | None = None
    """With TIMING OFF where both were taken: node timing costs time itself."""


class StatementPlans(Model):
    """All plans of one statement."""

    fingerprint: str
    outcome: ExplainOutcome
    plans: tuple[TakenPlan, ...] = ()


class PlanSet(Model):
    """Plans of a run. Kept as an artifact (JSON, gzipped)."""

    database: DatabaseFacts
    statements: tuple[StatementPlans, ...]


class ExplainedStatements(Model):
    """Where the plans are, and what became of each statement."""

    plans: ArtifactRef
    """A `PlanSet`."""
    outcomes: tuple[ExplainOutcome, ...]
    costly: tuple[CostlyStatement, ...] = ()
    warnings: tuple[str, ...] = ()


class JudgePlans(Model):
    """Run one family of rules over the plans."""

    plans: ArtifactRef
    table: ArtifactRef
    catalog: ArtifactRef | None
    family: RuleFamily


class JudgedPlans(Model):
    """What one family found."""

    hits: tuple[PlanHit, ...] = ()
    examined_nodes: int = 0


class IndexCandidate(Model):
    """An index that may help a statement: exact DDL, to be asked about."""

    ddl: str
    """`CREATE INDEX CONCURRENTLY ON public.orders (customer_id)`; with a name."""
    table: str
    columns: tuple[str, ...]
    fingerprint: str
    hit_rule: str
    bytes: int = 0
    """Estimate."""
    expression: bool = False
    """Hypothetical indexes cannot show it (expression, trigram, partial)."""


class RewriteCandidate(Model):
    """Another way to write a statement, believed equal; to be tried."""

    fingerprint: str
    title: str
    original: str
    rewritten: str
    sample: StatementSample
    rule: str = ""


class MakeAdvice(Model):
    """From hits to candidates."""

    plans: ArtifactRef
    table: ArtifactRef
    catalog: ArtifactRef | None
    hits: tuple[PlanHit, ...]


class AdviceToTry(Model):
    """What can be tried without changing anything."""

    indexes: tuple[IndexCandidate, ...] = ()
    rewrites: tuple[RewriteCandidate, ...] = ()


class TryAdvice(Model):
    """Ask the planner about indexes, and run rewrites beside their originals."""

    target: Target
    database: DatabaseFacts
    table: ArtifactRef
    indexes: tuple[IndexCandidate, ...] = ()
    rewrites: tuple[RewriteCandidate, ...] = ()
    statement_timeout_s: float
    lock_timeout_s: float


class TriedAdvice(Model):
    """What came of it."""

    what_ifs: tuple[WhatIf, ...] = ()
    rewrites: tuple[VerifiedRewrite, ...] = ()
    warnings: tuple[str, ...] = ()


class RankQueryFindings(Model):
    """Everything that findings follow from."""

    request: QueryPerformanceRequest
    database: DatabaseFacts
    grouped: GroupedStatements
    explained: ExplainedStatements
    catalog: ArtifactRef | None
    hits: tuple[PlanHit, ...]
    to_try: AdviceToTry
    tried: TriedAdvice
    waits: tuple[WaitShare, ...] = ()
    artifact_prefix: str


class RankedQueryFindings(Model):
    """Findings by cost, recommendations by gain over effort, the pictures of plans, and the sentence that sums them up."""

    findings: tuple[Finding, ...]
    recommendations: tuple[Recommendation, ...]
    summary: str
    pictures: dict[str, ArtifactRef] = {}
    """Fingerprint -> data of its `PlanFigure`."""
    gains: dict[str, Estimate] = {}
    """Fingerprint -> share of total database time that its best advice may win."""
    quality_gates: tuple[QualityGate, ...] = ()
    warnings: tuple[str, ...] = ()
