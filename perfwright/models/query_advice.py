"""Advice on queries: candidates, what trying them gave, and the ranking that follows. Steps of QueryPerformanceAnalysis."""

from perfwright.models.artifact import ArtifactRef
from perfwright.models.database import DatabaseFacts
from perfwright.models.finding import Finding, Recommendation
from perfwright.models.measurement import Estimate
from perfwright.models.quality import QualityGate
from perfwright.models.query_performance import (
    ExaminedStatement,
    PlanHit,
    QueryPerformanceRequest,
    VerifiedRewrite,
    WaitShare,
    WhatIf,
    WindowFacts,
)
from perfwright.models.query_steps import ExplainedStatements, GroupedStatements, Observation
from perfwright.models.statement import StatementSample
from perfwright.models.target import Target
from perfwright.models.vocabulary import Model


class IndexCandidate(Model):
    """An index that may help a statement: exact DDL, to be asked about."""

    ddl: str
    """`CREATE INDEX CONCURRENTLY ON public.orders (customer_id)`; with a name."""
    undo: str = ""
    """What removes it again."""
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
    cost_ceiling: float = 5e7
    """Planner cost above which a rewrite is not executed beside its original..."""
    costly_approved: tuple[str, ...] = ()
    """...unless its statement was let through by a person."""
    mask_literals: bool = False
    """Values stay out of what is handed on."""


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
    gains: dict[str, Estimate] = {}
    """Fingerprint -> share of total database time that its best advice may win."""
    quality_gates: tuple[QualityGate, ...] = ()
    warnings: tuple[str, ...] = ()


class LookForAdvice(Model):
    """From what the families found to what can be tried."""

    plans: ArtifactRef
    table: ArtifactRef
    catalog: ArtifactRef | None
    judged: tuple[ArtifactRef, ...]
    artifact_prefix: str


class AdviceMade(Model):
    """What can be tried."""

    advice: ArtifactRef
    """An `AdviceToTry`."""
    indexes: int = 0
    rewrites: int = 0


class AdviceOnTrial(Model):
    """What is to be tried, and how long it may take."""

    target: Target
    database: DatabaseFacts
    table: ArtifactRef
    advice: ArtifactRef
    what_if: bool = True
    """Ask the planner about indexes."""
    rewrites: bool = True
    """Run rewrites beside their originals."""
    statement_timeout_s: float
    lock_timeout_s: float
    cost_ceiling: float = 5e7
    """Planner cost above which a rewrite is not executed beside its original..."""
    costly_approved: tuple[str, ...] = ()
    """...unless its statement was let through by a person."""
    mask_literals: bool = False
    """Values stay out of what is handed on."""
    artifact_prefix: str


class AdviceTried(Model):
    """What came of it."""

    tried: ArtifactRef
    """A `TriedAdvice`."""
    what_ifs: int = 0
    used: int = 0
    faster: int = 0
    rewrites: int = 0

    @property
    def sentence(self) -> str:
        return f"{self.used} of {self.what_ifs} hypothetical indexes used; {self.faster} of {self.rewrites} rewrites faster"


class QueryFindingsToRank(Model):
    """Everything that findings follow from, by reference where it is large."""

    request: QueryPerformanceRequest
    database: DatabaseFacts
    grouped: GroupedStatements
    explained: ExplainedStatements
    observation: Observation
    judged: tuple[ArtifactRef, ...]
    advice: ArtifactRef
    tried: ArtifactRef | None
    artifact_prefix: str


class RankedQueries(Model):
    """The ranking, and what of the details is known only now."""

    ranked: RankedQueryFindings
    window: WindowFacts
    examined: tuple[ExaminedStatement, ...] = ()
    what_ifs: tuple[WhatIf, ...] = ()
    rewrites: tuple[VerifiedRewrite, ...] = ()
