"""What a run of IndexStrategyOptimization says in the end: thresholds are applied here, so that a replayed run says the same."""

from temporalio import activity

from perfwright.analysis.indexes.strategy_findings import findings, recommendations
from perfwright.analysis.indexes.strategy_results import quality_gates, summary_of, verdict_of
from perfwright.models.index_steps import ConcludeIndexStrategy, IndexConclusion
from perfwright.models.index_strategy import ExistingIndexes, IndexStrategy


class IndexFindings:
    """Activities that judge."""

    @activity.defn
    async def conclude_index_strategy(self, request: ConcludeIndexStrategy) -> IndexConclusion:
        """Findings, advice, quality gates and the verdict."""
        details = request.details
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
