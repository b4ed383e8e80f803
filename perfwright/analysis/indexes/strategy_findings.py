"""What IndexStrategyOptimization found: indexes that were missing, ones that could go, and who used what was kept."""

from collections.abc import Mapping, Sequence
from typing import Literal

from perfwright.analysis.indexes.strategy_results import expected_share
from perfwright.models.finding import SEVERITIES, Evidence, Finding, Location, Recommendation
from perfwright.models.index_strategy import ExistingIndex, ExistingIndexes, IndexStrategy, IndexUse, TriedIndex
from perfwright.models.measurement import Estimate

EVIDENCE_TOLD = 5
KINDS: Mapping[str, str] = {
    "duplicate": "is a duplicate",
    "prefix": "is the beginning of another index",
    "unused": "is not used",
    "invalid": "is invalid",
    "bloated": "is bloated",
}


def findings(
    strategy: IndexStrategy, existing: ExistingIndexes, tried: Sequence[TriedIndex], use: Sequence[IndexUse]
) -> tuple[Finding, ...]:
    """The gravest first."""
    ends = {one.proposal.name: one for one in tried if one.proposal.action != "create"}
    made = {one.proposal.name for one in tried if one.end == "kept" and one.proposal.action == "create"}
    found = [_missing(one, strategy) for one in tried if one.proposal.action == "create"]
    found += [_existing(one, ends.get(one.name)) for one in existing.noted]
    found += [_without_index(key) for key in existing.foreign_keys_without_index]
    found += [_not_used(one) for one in use if one.name in made and one.scans == 0]
    return tuple(sorted(found, key=lambda one: SEVERITIES.index(one.severity)))


def _existing(one: ExistingIndex, ended: TriedIndex | None) -> Finding:
    done = f" {ended.proposal.ddl}: {ended.end}, {ended.reason}" if ended else ""
    severity: Literal["medium", "low", "information"] = "medium" if one.kind == "invalid" else "low"
    return Finding(
        id=f"index:{one.kind}:{one.name}",
        title=f"{one.name} {KINDS[one.kind]}" + (", and is dropped" if ended and ended.end == "kept" else ""),
        severity="information" if ended and ended.end == "kept" else severity,
        summary=f"{one.reason}. It has {one.bytes / 1e6:,.1f} MB, and every write of {one.table} keeps it.{done}",
        cost=Estimate(value=one.bytes / 1e6, unit="MB"),
        locations=(Location(index=one.name),),
        confidence="high" if one.kind in ("duplicate", "prefix", "invalid") else "medium",
    )


def _without_index(key: str) -> Finding:
    return Finding(
        id=f"index:foreign-key:{key}",
        title=f"No index begins with the foreign key {key}",
        severity="information",
        summary="A DELETE of a referenced row, or a change of its key, reads the whole table: worth an index where that happens.",
        confidence="high",
    )


def _not_used(one: IndexUse) -> Finding:
    return Finding(
        id=f"index:not-used:{one.name}",
        title=f"{one.name} was kept, and nobody used it for {one.watched_s / 3600:,.1f} hours",
        severity="low",
        summary=f"{one.bytes / 1e6:,.1f} MB; its queries may not have run meanwhile. {one.note}".strip(),
        cost=Estimate(value=one.bytes / 1e6, unit="MB"),
        locations=(Location(index=one.name),),
    )


def _missing(one: TriedIndex, strategy: IndexStrategy) -> Finding:
    kept = one.end == "kept"
    share = expected_share(one.proposal, strategy)
    effects = [effect for effect in strategy.effects if effect.fingerprint in one.proposal.helps]
    ratio = f"{one.ratio:.2f} of the time of its queries, measured" if one.ratio is not None else "not measured"
    return Finding(
        id=f"index:missing:{one.proposal.title}",
        title=f"{one.proposal.title} {'was missing, and is there now' if kept else 'was not kept'}",
        severity=("high" if share > 0.5 else "medium") if kept else "information",
        summary=f"{one.proposal.reason}. {ratio}; {one.proposal.bytes / 1e6:,.1f} MB. {one.reason}",
        cost=Estimate(value=share, unit="share of the time of its queries"),
        locations=(Location(index=one.proposal.name),),
        evidence=tuple(
            Evidence(
                statement=f"{effect.text}: blocks {effect.blocks_before:,} to {effect.blocks_after:,}",
                estimate=Estimate(value=effect.ratio, unit="of its time", interval=effect.interval),
            )
            for effect in effects[:EVIDENCE_TOLD]
        ),
        confidence="high" if kept else "medium",
    )


def recommendations(existing: ExistingIndexes, use: Sequence[IndexUse], found: Sequence[Finding]) -> tuple[Recommendation, ...]:
    """What this run does not do by itself: unused and bloated indexes, and kept ones that nobody used."""
    known = {one.id for one in found}
    made = []
    for one in existing.noted:
        if one.kind in ("unused", "bloated") and (key := f"index:{one.kind}:{one.name}") in known:
            statement = f"DROP INDEX CONCURRENTLY {one.name}" if one.kind == "unused" else f"REINDEX INDEX CONCURRENTLY {one.name}"
            made.append(_advice(key, statement, one.bytes, f"{one.reason}. Undo: {'; '.join(one.undo) or 'none is needed'}"))
    wait = "Watch it for longer first: month-end jobs run rarely."
    made += [
        _advice(key, f"DROP INDEX CONCURRENTLY {one.name}", one.bytes, wait)
        for one in use
        if (key := f"index:not-used:{one.name}") in known
    ]
    return tuple(made)


def _advice(key: str, statement: str, size_bytes: int, why: str) -> Recommendation:
    return Recommendation(
        id=f"do:{key}",
        title=statement,
        finding_ids=(key,),
        expected_gain=Estimate(value=size_bytes / 1e6, unit="MB"),
        derivation="its size on disk; what it costs writers comes on top",
        effort="hours",
        risk="observe",
        score=size_bytes / 1e6,
        brief=f"```sql\n{statement};\n```\n{why}",
    )
