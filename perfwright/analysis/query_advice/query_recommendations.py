"""What to do about causes, ranked by gain over effort."""

from collections.abc import Sequence
from dataclasses import replace

from perfwright.analysis.query_advice.causes import Cause
from perfwright.analysis.query_advice.gains import Gain, of_cause, of_index, of_rewrite
from perfwright.analysis.query_advice.index_candidates import IndexProposal, PlanViews
from perfwright.analysis.query_advice.index_sizes import btree_bytes
from perfwright.analysis.query_advice.query_briefs import brief_of, rewrite_brief
from perfwright.analysis.query_advice.rule_advice import REFUTED, advice_of
from perfwright.analysis.query_advice.shares import Loads
from perfwright.analysis.query_advice.statistics_fixes import CheapFix
from perfwright.analysis.recommendations import EFFORT_WEIGHT
from perfwright.models.change import Change
from perfwright.models.finding import Effort, Finding, Recommendation
from perfwright.models.query_performance import VerifiedRewrite, WhatIf

MB = 1 << 20
BUILD_BYTES_PER_S = 20 * MB
"""CONCURRENTLY reads the table twice, beside other work: 20 MB of index a second is on the safe side."""
BEFORE = (
    "Before: no long transactions, room on disk, replicas that keep up (CREATE INDEX CONCURRENTLY waits for older transactions; an index "
    "left `INVALID` by a failure must be dropped). It cannot run inside a transaction: in migrations switch that off."
)
PARTITIONED = (
    "The table is partitioned: this locks writes. To avoid it create the index on each partition with CONCURRENTLY, create it on the "
    "parent with ON ONLY, and attach the parts."
)
ANALYZE_FIRST = 10.0
"""ANALYZE takes seconds, and comes before what was concluded from plans on stale statistics."""


def for_cause(cause: Cause, finding: Finding, gain: Gain, loads: Loads, views: PlanViews) -> list[Recommendation]:
    """Indexes and cheap fixes with their change; where there is none, the advice alone."""
    beside = of_cause(replace(cause, advice=advice_of("R09"), proposals=()), loads, views) if cause.proposals else gain
    made = [_fix(cause, finding, gain if fix.kind == "analyze" else beside, fix, loads, views) for fix in cause.fixes]
    useful = [one for one in cause.proposals if one.together or not cause.what_ifs or _used(one, cause.what_ifs)]
    if useful and cause.advice is not REFUTED:
        won = gain if cause.advice.kind != "spill" else of_index(cause, tuple(useful), loads.at_nodes(cause.hits, views), loads)
        if cause.advice.kind != "spill" or won.confidence == "high":
            made += [_index(cause, finding, won, proposal, loads, views) for proposal in useful]
    return made or [_advice(cause, finding, gain, loads, views)]


def _used(proposal: IndexProposal, what_ifs: Sequence[WhatIf]) -> bool:
    asked = [one for one in what_ifs if one.ddl == proposal.ddl]
    return not asked or any(one.used for one in asked)


def for_rewrite(rewrite: VerifiedRewrite, finding_ids: tuple[str, ...], loads: Loads) -> Recommendation:
    """A rewrite that was measured to be faster."""
    gain = of_rewrite(rewrite, loads)
    title = f"Rewrite {rewrite.fingerprint}: {rewrite.title[:1].lower()}{rewrite.title[1:160]}"
    return Recommendation(
        id=f"rewrite:{rewrite.fingerprint}:{'-'.join(rewrite.title.lower().split()[:6])}"[:200],
        title=title,
        finding_ids=finding_ids,
        expected_gain=gain.estimate(loads.unit, "interleaved pairs of both texts"),
        derivation=gain.derivation,
        effort="hours",
        risk="restart",
        score=gain.expected / EFFORT_WEIGHT["hours"],
        brief=rewrite_brief(rewrite, title, gain.derivation),
    )


def merged(recommendations: Sequence[Recommendation]) -> list[Recommendation]:
    """One per change: the same ANALYZE, or work_mem of one role, for several findings. Gains of different nodes add up."""
    found: dict[str, Recommendation] = {}
    for one in recommendations:
        before = found.get(one.id)
        if before is None:
            found[one.id] = one
            continue
        larger, smaller = (before, one) if before.expected_gain.value >= one.expected_gain.value else (one, before)
        value = min(1.0, before.expected_gain.value + one.expected_gain.value)
        ids = tuple(dict.fromkeys((*larger.finding_ids, *smaller.finding_ids)))
        gain = larger.expected_gain.model_copy(update={"value": round(value, 6), "interval": None})
        found[one.id] = larger.model_copy(
            update={"finding_ids": ids, "expected_gain": gain, "score": before.score + one.score, "change": larger.change or smaller.change}
        )
    return list(found.values())


def _index(cause: Cause, finding: Finding, gain: Gain, proposal: IndexProposal, loads: Loads, views: PlanViews) -> Recommendation:
    size = _size(proposal, cause.what_ifs)
    change = index_change(proposal, size)
    notes = [BEFORE, f"Each insert into {proposal.table.title}, and each update of an indexed column, then writes one more entry."]
    if proposal.table.kind == "partitioned table":
        notes.insert(0, PARTITIONED)
    if proposal.trigrams:
        notes.insert(0, "Needs `CREATE EXTENSION IF NOT EXISTS pg_trgm` once. GIN makes writes dearer than a B-tree does.")
    if proposal.together:
        notes.insert(0, "Only together with the index of the other branches of the OR.")
    title = f"Create an index on {proposal.title}"[:200]
    return Recommendation(
        id=f"index:{proposal.id}"[:200],
        title=title,
        finding_ids=(finding.id,),
        expected_gain=gain.estimate(
            loads.unit, "what-if plan and share at the nodes" if gain.confidence == "high" else "share at the nodes"
        ),
        derivation=gain.derivation,
        effort="hours",
        risk=change.risk,
        score=gain.expected / EFFORT_WEIGHT["hours"],
        brief=brief_of(
            cause, loads, views, title=title, derivation=gain.derivation, try_=cause.advice.advice, changes=[change], notes=notes
        ),
        change=change,
    )


def index_change(proposal: IndexProposal, size: int = 0) -> Change:
    """The DDL and what undoes it."""
    room = f" ({size / MB:,.1f} MB)" if size else ""
    seconds = max(1.0, size / BUILD_BYTES_PER_S)
    cost = f"Building it again takes about {seconds:,.0f} s" if size else "Building it again reads the whole table twice"
    return Change(
        kind="sql",
        title=f"Index on {proposal.title}{room}",
        apply=f"{proposal.ddl};",
        undo=f"{proposal.undo};",
        risk="reload",
        undo_cost=cost,
    )


def _size(proposal: IndexProposal, what_ifs: Sequence[WhatIf]) -> int:
    """The estimate, or what the planner takes it for where that is less: it does not know of deduplication."""
    told = [one.bytes for one in what_ifs if one.ddl == proposal.ddl and one.bytes]
    own = proposal.bytes or (btree_bytes(proposal.table, ()) if proposal.expression else 0)
    return min(told + [own]) if told and own else own or min(told, default=0)


def _fix(cause: Cause, finding: Finding, gain: Gain, fix: CheapFix, loads: Loads, views: PlanViews) -> Recommendation:
    first = ANALYZE_FIRST if fix.kind == "analyze" else 1.0
    title = fix.change.title[:200]
    derivation = f"{fix.why}. {gain.derivation}"
    return Recommendation(
        id=f"{fix.kind.replace(' ', '-')}:{fix.subject}"[:200],
        title=title,
        finding_ids=(finding.id,),
        expected_gain=gain.estimate(loads.unit),
        derivation=derivation[:1].upper() + derivation[1:],
        effort="hours",
        risk=fix.change.risk,
        score=first * gain.expected / EFFORT_WEIGHT["hours"],
        brief=brief_of(cause, loads, views, title=title, derivation=derivation, try_=cause.advice.advice, changes=[fix.change]),
        change=fix.change,
    )


def _advice(cause: Cause, finding: Finding, gain: Gain, loads: Loads, views: PlanViews) -> Recommendation:
    effort: Effort = cause.advice.effort
    derivation = f"{cause.reason}. {gain.derivation}" if cause.reason else gain.derivation
    return Recommendation(
        id=f"look:{finding.id}"[:200],
        title=f"Look at: {finding.title}"[:200],
        finding_ids=(finding.id,),
        expected_gain=gain.estimate(loads.unit),
        derivation=derivation,
        effort=effort,
        risk="restart",
        score=gain.expected / EFFORT_WEIGHT[effort],
        brief=brief_of(cause, loads, views, title=finding.title, derivation=derivation, try_=cause.advice.advice),
    )
