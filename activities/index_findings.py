"""What a run of IndexStrategyOptimization says in the end: thresholds are applied here, so that a replayed run says the same."""

from temporalio import activity

from perfwright.analysis.indexes.strategy_findings import findings, recommendations
from perfwright.analysis.indexes.strategy_results import quality_gates, summary_of, verdict_of
from perfwright.analysis.indexes.unverified_findings import (
    unverified_findings,
    unverified_gates,
    unverified_recommendations,
    unverified_summary,
    unverified_verdict,
)
from perfwright.models.finding import SEVERITIES
from perfwright.models.index_steps import ConcludeIndexStrategy, IndexConclusion
from perfwright.models.index_strategy import ExistingIndexes, IndexStrategy
from perfwright.models.unverified_indexes import UnverifiedStrategy


class IndexFindings:
    """Activities that judge."""

    @activity.defn
    async def conclude_index_strategy(self, request: ConcludeIndexStrategy) -> IndexConclusion:
        """Findings, advice, quality gates and the verdict."""
        details = request.details
        if details.unverified is not None:
            return _unverified(request, details.unverified)
        strategy, existing = details.strategy or IndexStrategy(), details.existing or ExistingIndexes()
        gates = quality_gates(request.request, strategy, details.tried, details.use)
        found = findings(strategy, existing, details.tried, details.use)
        return IndexConclusion(
            verdict="rejected" if request.refused else verdict_of(gates, len(request.proposals), details.tried),
            summary=request.refused or summary_of(request.title, strategy, request.proposals, details.tried),
            findings=found,
            recommendations=recommendations(existing, details.use, found),
            quality_gates=gates,
        )


def _unverified(request: ConcludeIndexStrategy, strategy: UnverifiedStrategy) -> IndexConclusion:
    """Of a run that could measure nothing, and so changed nothing. What there is to say of existing indexes took no clone."""
    existing = request.details.existing or ExistingIndexes()
    gates = unverified_gates(request.request, strategy)
    noted = findings(IndexStrategy(), existing, (), ())
    found = (*unverified_findings(strategy), *noted)
    return IndexConclusion(
        verdict=unverified_verdict(gates, strategy),
        summary=unverified_summary(request.title, strategy),
        findings=tuple(sorted(found, key=lambda one: SEVERITIES.index(one.severity))),
        recommendations=(*unverified_recommendations(strategy, existing), *recommendations(existing, (), noted)),
        quality_gates=gates,
    )
