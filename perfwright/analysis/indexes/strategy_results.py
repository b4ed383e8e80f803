"""What IndexStrategyOptimization puts before people, what it asks of a trial, and what it says in the end."""

import math
from collections.abc import Sequence

from perfwright.analysis.trials.watching import LIVE_GUARDS
from perfwright.models.artifact import ArtifactRef
from perfwright.models.change import IndexSpec
from perfwright.models.gate import GateQuestion
from perfwright.models.index_strategy import (
    OVERRIDABLE,
    IndexProposal,
    IndexStrategy,
    IndexStrategyRequest,
    IndexUse,
    SearchFacts,
    TriedIndex,
)
from perfwright.models.quality import QualityGate
from perfwright.models.result import Verdict
from perfwright.models.target import Target
from perfwright.models.trial import Guard
from perfwright.models.trial_run import QueriesMeasurement, TrialRequest, TrialResult
from perfwright.models.undo import ChangeDescription
from perfwright.models.unverified_indexes import UnverifiedStrategy

GATE = "strategy"
SHOWN_EFFECTS, SHOWN_WRITES = 12, 8
GIVEN_MOST = 200
"""Queries that one trial is given: it runs those whose plans the index changes."""
UNHARMED = 0.10
"""Difference of logarithms of the queries' time that a drop may cost, which is shown not to be reached."""
KEPT_WATCHED_S = 600.0
"""At most, before the next change is tried: a dozen of its 24 windows show a breach."""
LEAST_DIFFERENCE = 1e-4
"""Of the bytes of a table's indexes, which are counted and not measured."""


def strategy_question(
    target: Target,
    request: IndexStrategyRequest,
    strategy: IndexStrategy,
    proposals: Sequence[IndexProposal],
    facts: SearchFacts,
    artifacts: tuple[ArtifactRef, ...],
    *,
    impossible: Sequence[TriedIndex] = (),
) -> GateQuestion:
    """May exactly these statements be carried out, one after the other, each measured and asked about again? `impossible`: those that the
    target refuses."""
    evidence = [
        f"**{_gained(strategy)}**, {strategy.bytes / 1e6:,.1f} MB of new indexes (budget {request.budget_mb:,.0f} MB)",
        f"writes: {_written(strategy)} (at most {request.write_growth_most:.0%})",
        *(f"`{one.title}`: {one.bytes / 1e6:,.2f} MB; {one.reason}" for one in proposals),
        *(
            f"`{one.fingerprint}` {one.ratio:.3f} of its time, blocks {one.blocks_before:,} to {one.blocks_after:,}: {_code(one.text)}"
            for one in strategy.effects[:SHOWN_EFFECTS]
        ),
        *(
            f"write `{one.fingerprint}`: WAL {one.bytes_before:,} to {one.bytes_after:,} bytes, HOT {one.hot_before} to {one.hot_after}"
            f" of {one.updated_rows} rows"
            for one in strategy.writes[:SHOWN_WRITES]
            if not one.note
        ),
        *(f"cannot be done: `{one.proposal.title}`: {one.reason}" for one in impossible),
        *(f"**Note:** {one}" for one in strategy.warnings),
        *(f"not proposed: {one}" for one in strategy.measured_dropped[:SHOWN_WRITES]),
        f"{facts.candidates} candidates, {facts.plans_asked:,} plans asked about ({facts.method}), {facts.plans_timed} timed",
    ]
    return GateQuestion(
        name=GATE,
        kind="change",
        question=f"May these {len(proposals)} changes of indexes be made on {target.name}?",
        consequence="Each is carried out without stopping writers, measured, and undone unless it is then kept at a gate of its own"
        + ("; invalid indexes are dropped for good." if any(one.action == "remove invalid" for one in proposals) else "."),
        evidence=tuple(one[:1_000] for one in evidence),
        artifacts=artifacts,
        exact_change="\n".join(f"{one.ddl};" for one in proposals),
        risk="observe",
        overrides=OVERRIDABLE,
        quality_passed=_sound(strategy, request),
    )


def _sound(strategy: IndexStrategy, request: IndexStrategyRequest) -> bool:
    slower = any(one.suspicious for one in strategy.effects)
    return not slower and strategy.write_growth <= request.write_growth_most and strategy.bytes <= request.budget_mb * 1e6


def trial_of(
    proposal: IndexProposal,
    description: ChangeDescription,
    strategy: IndexStrategy,
    request: IndexStrategyRequest,
    target: Target,
    artifact_prefix: str,
    table: str,
) -> TrialRequest:
    """The trial of one create or drop. `table`: of a drop, `schema.table`."""
    creates = proposal.action == "create"
    changed = [one.fingerprint for one in strategy.effects] if creates else []
    reads = dict.fromkeys([*proposal.helps, *changed] if creates else strategy.readers.get(table, ()))
    writes = [one.fingerprint for one in strategy.writes if not one.note]
    names = [*list(reads)[:GIVEN_MOST], *writes]
    guards = []
    if creates and writes:
        guards.append(Guard(metric="wal_bytes", margin=math.log1p(max(request.write_growth_most, LEAST_DIFFERENCE))))
    if not creates and reads:
        guards.append(Guard(metric="wall_s", margin=UNHARMED))
    gain = expected_share(proposal, strategy)
    return TrialRequest(
        target=target,
        title=description.change.title,
        change=spec_of(proposal, request),
        measurement=QueriesMeasurement(
            # Others are run to see that they are not worse; in the sum, what the index does not touch would only hide what it does.
            weights={name: strategy.calls.get(name, 1.0) if name not in changed or name in proposal.helps else 0.0 for name in names},
            kept_in=strategy.kept_in,
            role=strategy.role,
            statement_limit_s=request.statement_timeout_s,
            clone_dsn_env=request.clone_dsn_env,
            clone_limit_mb=request.clone_limit_mb,
            clone_limit_s=request.clone_limit_s,
        ),
        metric="wall_s" if creates else "bytes",
        margin=None if creates else LEAST_DIFFERENCE,
        wanted_effect=min(0.5, max(0.05, gain / 2)),
        guards=tuple(guards),
        live_guards=LIVE_GUARDS,
        watch_s=min(request.watch_s, KEPT_WATCHED_S),
        budget_s=request.trial_s,
        expected=f"{proposal.reason}: together {gain:.0%} less time of the statements that it is measured by"
        if creates
        else proposal.reason,
        ask_change=False,
        approved_digest=description.digest,
        mask_literals=bool(request.mask_literals),
        deadline_s=request.review_deadline_s,
        artifact_prefix=artifact_prefix,
    )


def spec_of(proposal: IndexProposal, request: IndexStrategyRequest) -> IndexSpec:
    if proposal.action == "create":
        return IndexSpec(create=proposal.ddl, lock_timeout_s=request.lock_timeout_s)
    return IndexSpec(drop=proposal.name, keeper=proposal.keeper, lock_timeout_s=request.lock_timeout_s)


def expected_share(proposal: IndexProposal, strategy: IndexStrategy) -> float:
    """Of the time of the queries that read it, as verified with all of the set."""
    helped = [one for one in strategy.effects if one.fingerprint in proposal.helps]
    total = math.fsum(one.weight for one in helped)
    return max(0.0, 1 - math.fsum(one.weight * one.ratio for one in helped) / total) if total else 0.0


def tried_index(proposal: IndexProposal, result: TrialResult) -> TriedIndex:
    """How it ended, with its gain per megabyte."""
    judged = result.evidence.judgement if result.evidence else None
    ratio = judged.ratio.value if judged and judged.ratio and proposal.action == "create" else None
    megabytes = max(proposal.bytes, 8_192) / 1e6
    return TriedIndex(
        proposal=proposal,
        end=result.end,
        reason=result.reason,
        change_id=result.change_id,
        ratio=ratio,
        gain_per_mb=-math.log(ratio) / megabytes if ratio else None,
        workflow_id=result.workflow_id,
    )


def budget_gates(
    request: IndexStrategyRequest, strategy: IndexStrategy | UnverifiedStrategy, sized: str, *, note: str = ""
) -> tuple[QualityGate, QualityGate]:
    """What writers and the disk may pay. `sized`: what the size is of; `note`: how it is known."""
    megabytes = strategy.bytes / 1e6
    return (
        QualityGate(
            name="writes within their budget",
            metric="more WAL by the workload's writes",
            comparison="<=",
            threshold=request.write_growth_most,
            observed=strategy.write_growth,
            unit="share",
            outcome="passed" if strategy.write_growth <= request.write_growth_most else "failed",
            note=strategy.write_growth_source,
        ),
        QualityGate(
            name="size within its budget",
            metric=sized,
            comparison="<=",
            threshold=request.budget_mb,
            observed=megabytes,
            unit="MB",
            outcome="passed" if megabytes <= request.budget_mb else "failed",
            note=note,
        ),
    )


def quality_gates(
    request: IndexStrategyRequest, strategy: IndexStrategy, tried: Sequence[TriedIndex], use: Sequence[IndexUse]
) -> tuple[QualityGate, ...]:
    slower = sum(one.suspicious for one in strategy.effects)
    gates = [
        QualityGate(
            name="no query slower",
            metric="queries that may have become slower on the clone",
            comparison="==",
            threshold=0,
            observed=slower,
            unit="queries",
            outcome="failed" if slower else "passed" if strategy.queries else "no data",
        ),
        *budget_gates(request, strategy, "new indexes"),
    ]
    stuck = [one.proposal.title for one in tried if one.end == "conflict"]
    gates.append(
        QualityGate(
            name="nothing left behind",
            metric="changes that are neither kept nor undone",
            comparison="==",
            threshold=0,
            observed=len(stuck),
            unit="changes",
            outcome="failed" if stuck else "passed",
            note="; ".join(stuck)[:300],
        )
    )
    created = {one.proposal.name for one in tried if one.end == "kept" and one.proposal.action == "create"}
    if created and use:
        used = [one for one in use if one.name in created and one.scans > 0]
        gates.append(
            QualityGate(
                name="kept indexes are used",
                metric="kept indexes that were scanned while they were watched",
                comparison=">=",
                threshold=len(created),
                observed=len(used),
                unit="indexes",
                outcome="passed" if len(used) >= len(created) else "failed",
            )
        )
    return tuple(gates)


def verdict_of(gates: Sequence[QualityGate], proposals: int, tried: Sequence[TriedIndex]) -> Verdict:
    """Nothing to change is a pass; proposals of which none was kept are not."""
    if any(one.outcome == "failed" for one in gates):
        return "failed"
    if proposals and not any(one.end == "kept" for one in tried):
        return "inconclusive"
    return "passed"


def summary_of(target: str, strategy: IndexStrategy, proposals: Sequence[IndexProposal], tried: Sequence[TriedIndex]) -> str:
    """One sentence."""
    if not proposals:
        return f"No change of indexes pays on {target}: {strategy.queries} queries were looked at."
    kept = [one for one in tried if one.end == "kept"]
    made = [one for one in kept if one.proposal.action == "create"]
    gone = len(kept) - len(made)
    if not kept:
        return f"None of {len(proposals)} proposed changes of indexes on {target} was kept."
    parts = []
    if made:
        parts.append(
            f"{len(made)} indexes of {sum(one.proposal.bytes for one in made) / 1e6:,.1f} MB made ({_gained(strategy)} on a clone)"
        )
    if gone:
        freed = sum(one.proposal.bytes for one in kept if one.proposal.action != "create") / 1e6
        parts.append(f"{gone} dropped, which frees {freed:,.1f} MB")
    return f"{target}: {' and '.join(parts)}; {len(proposals) - len(kept)} of {len(proposals)} proposals were not kept."


def _gained(strategy: IndexStrategy) -> str:
    return f"queries {strategy.geomean_gain:.2f} times faster"


def _written(strategy: IndexStrategy) -> str:
    if strategy.write_growth_source == "no writes":
        return "none were seen"
    return f"{strategy.write_growth:+.1%} of WAL, {strategy.write_growth_source}"


def _code(text: str) -> str:
    return f"`{' '.join(text.replace('`', chr(39)).split())[:160]}`"
