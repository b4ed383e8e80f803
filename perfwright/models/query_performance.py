"""Input and details of QueryPerformanceAnalysis."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from perfwright.models.artifact import ArtifactRef
from perfwright.models.database import DatabaseFacts, NotSeen
from perfwright.models.measurement import Estimate, Interval
from perfwright.models.registry_checks import PRODUCTION
from perfwright.models.statement import Safety, StatementKind, StatementSource
from perfwright.models.target import InlineDatabase, TargetName
from perfwright.models.vocabulary import Input, Model, Share
from perfwright.models.workload import Workload

PROCESS = "QueryPerformanceAnalysis"
Fingerprint = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
LARGEST_SQL = 100_000
"""Characters of SQL that an input carries: it is recorded with the run, and shown."""
LARGEST_INPUT_BYTES = 110_000
"""Of the whole input as JSON: steps get it beside what they work on, and one payload of a history has 256 KiB."""
Sql = Annotated[str, StringConstraints(min_length=1, max_length=LARGEST_SQL)]
FilePath = Annotated[str, StringConstraints(min_length=1, max_length=4_096)]
OVERRIDABLE: dict[str, str] = {
    "add_fingerprints": "statements to examine besides the first ones",
    "drop_fingerprints": "statements to leave alone",
    "top": "how many statements to examine",
    "window_s": "seconds to observe again",
    "analyze": "whether statements may be executed for their plans",
}
"""What `request_changes` at `queries_review` may change."""


class QueryPerformanceRequest(Input):
    """Which queries cost most, why, and what first?"""

    target: TargetName | InlineDatabase
    """Name of a database in the registry (or, where the worker allows it, `{"dsn_env": "SHOP_DB_DSN"}`)."""
    window_s: Annotated[float, Field(ge=1.0, le=86_400.0)] = 60.0
    """Seconds to observe the server's statement counters, its activity and its log."""
    workload: Workload | None = None
    """Command that loads the database while it is observed."""
    log_files: Annotated[tuple[FilePath, ...], Field(max_length=64)] = ()
    """Server logs to read on the target's host (jsonlog, csvlog); the server's own log of the window when not given."""
    statements: Annotated[tuple[Sql, ...], Field(max_length=500)] = ()
    """SQL to examine besides what was observed."""
    sql_file: FilePath | None = None
    """File on the target's host with SQL to examine: statements that end with a semicolon."""
    top: Annotated[int, Field(ge=1, le=500)] = 25
    """How many statements to examine, by total time in the window; given SQL is always examined."""
    add_fingerprints: Annotated[tuple[Fingerprint, ...], Field(max_length=500)] = ()
    """Statements to examine besides the first ones."""
    drop_fingerprints: Annotated[tuple[Fingerprint, ...], Field(max_length=500)] = ()
    """Statements to leave alone."""
    analyze: bool = True
    """Whether statements may be executed for their plans (EXPLAIN ANALYZE, rolled back), where the target allows it."""
    statement_timeout_s: Annotated[float, Field(ge=0.1, le=3_600.0)] = 60.0
    """Seconds that one execution may take."""
    lock_timeout_s: Annotated[float, Field(ge=0.01, le=60.0)] = 1.0
    """Seconds to wait for a lock that another holds."""
    cost_ceiling: Annotated[float, Field(ge=1.0, le=1e15)] = 5e7
    """Planner cost above which a statement is executed only after approval at the gate `costly_statements`."""
    parameter_sets: Annotated[int, Field(ge=1, le=3)] = 3
    """Sets of values per statement (cheap, median, worst) when they seem to make a difference."""
    verify_rewrites: bool = True
    """Whether rewrites are executed beside the original, to offer only those with equal rows that are faster."""
    what_if: bool = True
    """Whether index advice is checked with hypothetical indexes (hypopg), where the target allows `analyze`."""
    mask_literals: bool | None = None
    """Whether values of statements are left out of artifacts, findings, report and history; None: for targets in production. They stay on
    the target's host, for the plans. SQL in `statements` is recorded with the input as it is given: `sql_file` keeps it out."""
    min_share: Share = 0.005
    """Share of the time in the window below which a statement is not examined."""
    review_deadline_s: Annotated[float, Field(ge=1.0, le=2_592_000.0)] = 86_400.0
    """Seconds a gate waits for a person."""
    max_revisions: Annotated[int, Field(ge=0, le=20)] = 3
    """How many times `request_changes` may change what is examined."""

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        if both := sorted(set(self.add_fingerprints) & set(self.drop_fingerprints)):
            raise ValueError(f"drop_fingerprints: {both[0]} is also in add_fingerprints")
        if (given := sum(map(len, self.statements))) > LARGEST_SQL:
            raise ValueError(f"statements: at most {LARGEST_SQL:,} characters in all (got {given:,}); put more into a file: sql_file")
        if (size := len(self.model_dump_json().encode())) > LARGEST_INPUT_BYTES:
            raise ValueError(
                f"the input has {size:,} bytes as JSON, at most {LARGEST_INPUT_BYTES:,} are taken; put SQL into a file: sql_file"
            )
        return self

    @property
    def target_name(self) -> str:
        return self.target if isinstance(self.target, str) else self.target.slug

    def decided(self, environment: str) -> "QueryPerformanceRequest":
        """For a target of this environment; decided once: a registry may change while a gate is open."""
        masks = environment == PRODUCTION if self.mask_literals is None else self.mask_literals
        return self.model_copy(update={"mask_literals": masks})

    def revised(self, overrides: dict[str, Any]) -> "QueryPerformanceRequest":
        """The request with a person's overrides, validated as a whole; raises ValidationError."""
        merged = self.model_dump(mode="json") | overrides
        return QueryPerformanceRequest.model_validate_json(json.dumps(merged))


def workflow_id(request: QueryPerformanceRequest) -> str:
    """`query-performance-analysis/shop-db`: one run per target at a time."""
    return f"query-performance-analysis/{request.target_name}"


def plan_anchor(fingerprint: str, node: int | None = None) -> str:
    """The element of the report that shows a statement's plan (`plan-1f0c8a7b6d5e4f32`), or one of its nodes (`...-3`)."""
    return f"plan-{fingerprint}" if node is None else f"plan-{fingerprint}-{node}"


class StatementSummary(Model):
    """A statement as a result carries it."""

    fingerprint: str
    text: str
    """Normalized, at most 1,500 characters."""
    kind: StatementKind = "unknown"
    safety: Safety = "never"
    calls: int = 0
    total_ms: float = 0.0
    mean_ms: float = 0.0
    p99_ms: float | None = None
    rows: int = 0
    blocks: int = 0
    """Shared blocks, hit and read."""
    temp_written_blocks: int = 0
    share: float = 0.0
    sources: tuple[StatementSource, ...] = ()
    not_explainable: str = ""


ExplainMode = Literal["analyzed", "planned", "generic plan", "not explained"]


class ExplainOutcome(Model):
    """What became of one statement at EXPLAIN; `not explained` always has its reason."""

    fingerprint: str
    mode: ExplainMode
    reason: str = ""
    plans: int = 0
    execution_ms: float | None = None
    """Of the median sample, without the timing of single nodes where it was measured twice."""
    planning_ms: float | None = None


class PlanHit(Model):
    """A rule of the plan analysis that fired on one node."""

    rule: str
    """`R01`."""
    fingerprint: str
    sample: int = 0
    """Which of the statement's plans."""
    node: int
    """Number of the node in preorder, the root is 0."""
    node_title: str
    """`Seq Scan on orders`."""
    relation: str = ""
    """`schema.table` (or `table`) that the node reads; empty where it reads none."""
    relations: tuple[str, ...] = ()
    """Those that the rows of a sort, hash or intermediate result come from."""
    statement: str
    """One sentence with the numbers: what was seen."""
    share: float = 0.0
    """Of the statement's execution time that this node (and what it repeats) takes, 0 to 1."""
    numbers: dict[str, float] = {}
    """What the formula compared, by name."""
    columns: tuple[str, ...] = ()
    """Columns of the relation that the advice is about."""


class WaitShare(Model):
    """What sessions were doing when looked at."""

    state: str
    """`running`, `IO: DataFileRead`, `Lock: transactionid`, `Client: ClientRead in transaction`."""
    share: float
    """Of all looks at sessions in a transaction."""
    sessions: float
    """On average at the same time."""
    statement: str = ""
    """Commonest statement meanwhile, shortened."""


class WhatIf(Model):
    """What the planner would do with a change that was not made (hypothetical index)."""

    fingerprint: str
    ddl: str
    cost_before: float
    cost_after: float
    used: bool
    bytes: int = 0
    method: str = "hypopg"
    note: str = ""


class VerifiedRewrite(Model):
    """Another way to write a statement, tried beside the original."""

    fingerprint: str
    title: str
    original: str
    rewritten: str
    outcome: Literal["faster", "not faster", "other rows", "not tried"]
    reason: str = ""
    ratio: float | None = None
    """Median time of the rewrite over that of the original, interleaved; below 1 is faster."""
    interval: Interval | None = None
    pairs: int = 0
    rows_compared: int = 0
    blocks_before: int | None = None
    blocks_after: int | None = None


class ExaminedStatement(Model):
    """One statement with everything that was found about it."""

    statement: StatementSummary
    outcome: ExplainOutcome
    hits: tuple[PlanHit, ...] = ()
    plan: ArtifactRef | None = None
    """Picture data of the plan that is on show (`PlanFigure`)."""
    gain: Estimate | None = None
    """Share of total database time that the best advice may win."""


class WindowFacts(Model):
    """What was observed, and what was not."""

    seconds: float = 0.0
    total_ms: float = 0.0
    statements: int = 0
    """Distinct ones."""
    examined_share: float = 0.0
    """Of the time in the window, by the statements that were examined."""
    sources: tuple[StatementSource, ...] = ()
    reset: bool = False
    evicted: int = 0
    log_bytes: int = 0
    log_lines: int = 0
    log_gaps: tuple[str, ...] = ()
    own_share: float | None = None
    """Of the server's time in the window that our own observation took."""


class QueryPerformanceDetails(Model):
    """What QueryPerformanceAnalysis adds to the common result."""

    database: DatabaseFacts | None = None
    window: WindowFacts = WindowFacts()
    statements: tuple[StatementSummary, ...] = ()
    """The costliest, by total time; the artifact has all."""
    examined: tuple[ExaminedStatement, ...] = ()
    waits: tuple[WaitShare, ...] = ()
    activity: ArtifactRef | None = None
    """Sessions by state over time."""
    what_ifs: tuple[WhatIf, ...] = ()
    rewrites: tuple[VerifiedRewrite, ...] = ()
    not_seen: tuple[NotSeen, ...] = ()
    statement_table: ArtifactRef | None = None
    plans: ArtifactRef | None = None
    catalog: ArtifactRef | None = None
    warnings: tuple[str, ...] = ()
