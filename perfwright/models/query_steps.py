"""What the steps of QueryPerformanceAnalysis are asked and answer, where it is more than the vocabulary."""

from typing import Literal

from perfwright.models.artifact import ArtifactRef
from perfwright.models.database import DatabaseFacts, DatabaseSystem, NotSeen
from perfwright.models.query_performance import (
    ExplainMode,
    ExplainOutcome,
    PlanHit,
    QueryPerformanceRequest,
    StatementSummary,
    WaitShare,
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
    mask_literals: bool = False
    """Values stay out of what is handed on."""
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
    mask_literals: bool = False
    """Values stay out of what is handed on."""
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
    mask_literals: bool = False
    """Values stay out of what is handed on."""
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
    given_kept_in: str = ""
    """Where the host keeps it with its values, in this order; empty: literals are not masked."""
    mask_literals: bool = False
    """Values stay out of what is handed on."""
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
    earlier: "ExplainedStatements | None" = None
    """Plans of the same run that were taken before: these are added to them."""
    mask_literals: bool = False
    """Values stay out of what is handed on."""
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
    approved: tuple[str, ...] = ()
    """Fingerprints over the ceiling that a person let through."""
    warnings: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """`18 executed, 3 planned, 1 without a plan`."""
        modes = [one.mode for one in self.outcomes]
        planned = modes.count("planned") + modes.count("generic plan")
        return f"{modes.count('analyzed')} executed, {planned} planned, {modes.count('not explained')} without a plan"


class JudgePlans(Model):
    """Run one family of rules over the plans."""

    plans: ArtifactRef
    table: ArtifactRef
    catalog: ArtifactRef | None
    family: RuleFamily
    artifact_prefix: str = ""


class JudgedPlans(Model):
    """What one family found."""

    hits: tuple[PlanHit, ...] = ()
    examined_nodes: int = 0


class ReadSqlFile(Model):
    """A file of statements on the target's host."""

    path: str = ""
    """Empty: there is none."""
    statements: tuple[str, ...] = ()
    """Of the input, where literals are masked: kept with those of the file."""
    system: DatabaseSystem = "postgresql"
    kept_in: str = ""
    """Literals are masked: where the statements with their values stay on the host. Handed on are texts without them."""


class Observation(Model):
    """Everything that was collected in one window."""

    revision: int = 1
    observed: ObservedStatements
    sampled: ActivitySampled
    log: LogReadDone
    catalog: CatalogRead
    given: tuple[str, ...] = ()
    """Statements of the input's `sql_file`."""
    given_kept_in: str = ""
    """Where the host keeps them with their values, if literals are masked."""
    disturbed: str = ""
    """Why another process may have measured the target at the same time; empty: it was held alone."""

    @property
    def not_seen(self) -> tuple[NotSeen, ...]:
        return (*self.observed.not_seen, *self.log.not_seen)

    @property
    def warnings(self) -> tuple[str, ...]:
        own = (*self.observed.warnings, *self.sampled.warnings)
        return (*own, self.disturbed) if self.disturbed else own

    @property
    def sentence(self) -> str:
        """`214 statements took 3.2 s in 60 s; 12,034 lines of the log`."""
        text = f"{self.observed.statements:,} statements took {self.observed.total_ms / 1_000:.1f} s in {self.observed.seconds:.0f} s"
        return f"{text}; {self.log.lines:,} lines of the log" if self.log.lines else text


class PlansJudged(Model):
    """What one family of rules found."""

    judged: ArtifactRef
    """A `JudgedPlans`."""
    hits: int = 0
    examined_nodes: int = 0
