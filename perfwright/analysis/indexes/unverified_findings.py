"""What IndexStrategyOptimization says where nothing could be measured: candidates by the planner's costs, and how to have them verified."""

from collections.abc import Sequence

from perfwright.analysis.indexes.strategy_results import budget_gates
from perfwright.models.finding import Evidence, Finding, Location, Recommendation
from perfwright.models.index_strategy import ExistingIndexes, IndexStrategyRequest
from perfwright.models.measurement import Estimate
from perfwright.models.quality import QualityGate
from perfwright.models.result import Verdict
from perfwright.models.unverified_indexes import UnverifiedIndex, UnverifiedStrategy

NOTHING_MEASURED = "Nothing was measured: there was no copy with rows to run a statement on"
VERIFYING = (
    "To have it verified: name a smaller copy of the database as the target, or let clones be made (clone_dsn_env, clone_limit_mb), and"
    " give the statement below as add_indexes."
)


def unverified_findings(strategy: UnverifiedStrategy) -> tuple[Finding, ...]:
    """One of each candidate, in the order of the list."""
    return tuple(
        Finding(
            id=f"index:unverified:{one.title}",
            title=f"{one.title} may be missing (not verified)",
            severity="medium",
            summary=f"By the planner's costs alone, the plans of {one.queries} statements would read it. {NOTHING_MEASURED}."
            f" About {one.bytes / 1e6:,.1f} MB, estimated; writes: {_written(one)}" + (f". Risk: {one.risk}" if one.risk else ""),
            cost=Estimate(value=one.saved_share, unit="share of the time, if costs were times"),
            locations=(Location(index=one.name),),
            evidence=tuple(
                Evidence(
                    statement=f"{effect.text}: planner's cost {effect.cost_before:,.0f} to {effect.cost_after:,.0f}, not measured",
                    estimate=Estimate(value=round(effect.ratio, 4), unit="of its cost, by the planner"),
                )
                for effect in one.effects
            ),
            confidence="low",
        )
        for one in strategy.indexes
    )


def unverified_recommendations(strategy: UnverifiedStrategy, existing: ExistingIndexes) -> tuple[Recommendation, ...]:
    """To verify each candidate; and what is redundant or invalid, which a run with clones would have tried to drop."""
    made = [
        Recommendation(
            id=f"do:index:unverified:{one.title}",
            title=f"Verify {one.title}",
            finding_ids=(f"index:unverified:{one.title}",),
            expected_gain=Estimate(value=one.saved_share, unit="share of the time, if costs were times"),
            derivation="the planner's costs with a hypothetical index on a clone of statistics; nothing was measured",
            effort="hours",
            risk="observe",
            score=one.saved_share,
            brief=f"{NOTHING_MEASURED}: {strategy.why}. {VERIFYING} {strategy.way_out}\n```sql\n{one.ddl};\n-- undo: {one.undo};\n```",
        )
        for one in strategy.indexes
    ]
    for noted in existing.noted:
        if noted.kind not in ("duplicate", "prefix", "invalid"):
            continue
        statement, key = f"DROP INDEX CONCURRENTLY {noted.name}", f"index:{noted.kind}:{noted.name}"
        shown = "It serves nobody" if noted.kind == "invalid" else "That its queries do not suffer was not measured: watch them"
        made.append(
            Recommendation(
                id=f"do:{key}",
                title=statement,
                finding_ids=(key,),
                expected_gain=Estimate(value=noted.bytes / 1e6, unit="MB"),
                derivation="its size on disk; what it costs writers comes on top",
                effort="hours",
                risk="observe",
                score=noted.bytes / 1e6,
                brief=f"```sql\n{statement};\n```\n{noted.reason}. {shown}. Undo: {'; '.join(noted.undo) or 'none is needed'}",
            )
        )
    return tuple(made)


def unverified_gates(request: IndexStrategyRequest, strategy: UnverifiedStrategy) -> tuple[QualityGate, ...]:
    """What was estimated is told as that; what would have to be measured has no data."""
    return (
        QualityGate(
            name="no query slower",
            metric="queries that may have become slower on a clone",
            comparison="==",
            threshold=0,
            observed=None,
            unit="queries",
            outcome="no data",
            note="nothing was measured",
        ),
        *budget_gates(request, strategy, "candidates", note="estimated"),
    )


def unverified_verdict(gates: Sequence[QualityGate], strategy: UnverifiedStrategy) -> Verdict:
    """Candidates decide nothing; where there is none, there was nothing to verify."""
    if any(one.outcome == "failed" for one in gates):
        return "failed"
    return "inconclusive" if strategy.indexes or not strategy.queries else "passed"


def unverified_summary(target: str, strategy: UnverifiedStrategy) -> str:
    """One sentence."""
    if not strategy.indexes:
        return f"The planner's costs speak for no further index on {target}: {strategy.queries} queries were looked at, none was measured."
    return (
        f"{target}: {len(strategy.indexes)} indexes of about {strategy.bytes / 1e6:,.1f} MB are worth verifying by the planner's costs"
        f" (costs {strategy.cost_gain:.2f} times lower). Nothing was measured and nothing changed: {strategy.why}."
    )


def _written(one: UnverifiedIndex) -> str:
    return f"about {one.write_growth:+.1%} of WAL" if one.write_growth else "no more WAL is expected"
