"""From hits to causes: what is one finding.

1. A hit whose index draft became a proposal belongs to that index; one whose cure is statistics, to them; one with an index that is there
   and not used, to that index; any other to its rule's own cause.
2. On one node the most specific hit says why, the others are its evidence: a scan that is hidden behind a function is no missing index.
3. What only repeats what lies below it (a correlated subquery whose scan lacks an index, a nested loop on misjudged rows) joins that.
4. Causes with the same id are one, across statements.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from perfwright.analysis.query_advice.advice_kinds import RuleAdvice
from perfwright.analysis.query_advice.cheap_fixes import MEMORY_RULES, STATISTICS_RULES
from perfwright.analysis.query_advice.existing_indexes import NoDraft
from perfwright.analysis.query_advice.index_candidates import IndexAdvice, IndexProposal, PlanViews
from perfwright.analysis.query_advice.plan_view import Tables
from perfwright.analysis.query_advice.rule_advice import (
    INDEX_NOT_USED,
    MORE_SPECIFIC,
    REFUTED,
    RULES,
    STALE,
    WITHOUT_INDEX,
    advice_of,
)
from perfwright.analysis.query_advice.statistics_fixes import CheapFix
from perfwright.models.database import TableFacts
from perfwright.models.query_performance import PlanHit, WhatIf
from perfwright.models.statement import Statement, StatementTable

REFUTED_RATIO = 0.95
"""A what-if plan that costs more than this share of the present one is no gain: costs are estimates."""
JOINS_BELOW = {
    "R11": frozenset({"missing-index", "function-on-column", "stale-statistics"}),
    "R24": frozenset({"missing-index", "stale-statistics"}),
    "R10": frozenset({"misestimate", "stale-statistics", "function-rows"}),
    "R09": frozenset({"stale-statistics"}),
}
"""Rules that join a cause found below their node."""
MOSTLY = 0.5
"""Of the share of the hit above: then what is below is what makes it slow."""
Key = tuple[str, str, int, int]


@dataclass(frozen=True)
class Cause:
    """One thing that is wrong, wherever it shows."""

    advice: RuleAdvice
    subject: str
    """`public.orders(customer_id)`, `public.orders`, or a statement's fingerprint."""
    hits: tuple[PlanHit, ...]
    """Those that say so first, then what else was seen at the same places."""
    table: TableFacts | None = None
    columns: tuple[str, ...] = ()
    proposals: tuple[IndexProposal, ...] = ()
    fixes: tuple[CheapFix, ...] = ()
    reason: str = ""
    """Why the obvious advice is not given."""
    what_ifs: tuple[WhatIf, ...] = ()
    """Asked about the proposals."""

    @property
    def id(self) -> str:
        return f"{self.advice.kind}:{self.subject}"[:200]

    @property
    def fingerprints(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(hit.fingerprint for hit in self.hits))


@dataclass
class _Known:
    """What rules stand for, and what was made of hits before, by hit."""

    rules: Mapping[str, RuleAdvice]
    proposals: dict[Key, list[IndexProposal]] = field(default_factory=dict)
    refused: dict[Key, NoDraft] = field(default_factory=dict)
    fixes: dict[Key, list[CheapFix]] = field(default_factory=dict)


def find_causes(
    hits: Sequence[PlanHit],
    table: StatementTable,
    tables: Tables,
    views: PlanViews,
    indexes: IndexAdvice,
    fixes: Sequence[CheapFix],
    what_ifs: Sequence[WhatIf],
    rules: Mapping[str, RuleAdvice] = RULES,
) -> tuple[Cause, ...]:
    """Causes in the order in which their first hit comes. `rules`: what each rule stands for on this server."""
    known = _Known(rules)
    for proposal in indexes.proposals:
        for draft in proposal.drafts:
            known.proposals.setdefault(key_of(draft.hit), []).append(proposal)
    known.refused = {key_of(one.hit): one for one in indexes.refused}
    for fix in fixes:
        for hit in fix.hits:
            known.fixes.setdefault(key_of(hit), []).append(fix)
    statements = {one.fingerprint: one for one in table.statements}
    asked: dict[str, list[WhatIf]] = {}
    for what_if in what_ifs:
        asked.setdefault(what_if.ddl, []).append(what_if)

    alone = {key_of(hit): _cause(hit, known, tables, statements.get(hit.fingerprint), asked) for hit in hits}
    decided = _most_specific(hits, alone)
    _join_below(hits, decided, views)
    same: dict[str, list[tuple[PlanHit, Cause]]] = {}
    for hit in hits:
        cause = decided[key_of(hit)]
        same.setdefault(cause.id, []).append((hit, replace(cause, fixes=alone[key_of(hit)].fixes or cause.fixes)))
    return tuple(_merged(found) for found in same.values())


def key_of(hit: PlanHit) -> Key:
    return hit.fingerprint, hit.rule, hit.sample, hit.node


def _cause(hit: PlanHit, known: _Known, tables: Tables, statement: Statement | None, asked: dict[str, list[WhatIf]]) -> Cause:
    key = key_of(hit)
    advice = known.rules.get(hit.rule) or advice_of(hit.rule)
    fixes = tuple(known.fixes.get(key, ()))
    refused = known.refused.get(key)
    found = tables.find(hit.relation, statement)
    table = tables.whole(found, statement) if found else None
    if stale := next((fix for fix in fixes if fix.kind == "analyze"), None):
        return Cause(STALE, stale.subject, (hit,), stale.tables[0], fixes=fixes, reason=stale.why)
    if hit.rule not in MEMORY_RULES and (proposals := known.proposals.get(key)):
        what_ifs = tuple(one for proposal in proposals for one in asked.get(proposal.ddl, ()))
        if _refuted(proposals, what_ifs):
            advice = REFUTED
        columns = tuple(dict.fromkeys(column for proposal in proposals for column in proposal.columns))
        subject = proposals[0].id if len(proposals) == 1 else f"{_named(proposals[0].table)}({','.join(columns)})"
        return Cause(advice, subject, (hit,), proposals[0].table, columns, tuple(proposals), fixes, what_ifs=what_ifs)
    if refused and refused.refusal == "stale statistics" and refused.table:
        return Cause(
            advice_of("R09"), _named(refused.table, hit.columns), (hit,), refused.table, hit.columns, fixes=fixes, reason=refused.reason
        )
    if hit.rule not in MEMORY_RULES and refused and refused.refusal == "index not used" and refused.table and refused.index:
        subject = f"{_named(refused.table)}({refused.index.name})"
        return Cause(INDEX_NOT_USED, subject, (hit,), refused.table, hit.columns, reason=refused.reason)
    reason = refused.reason if refused and refused.refusal in ("no column", "small table", "no table") else ""
    if hit.rule in MEMORY_RULES:
        also = tuple(known.proposals.get(key, ()))
        return Cause(
            advice, hit.fingerprint, (hit,), table, hit.columns, also, fixes, what_ifs=tuple(w for p in also for w in asked.get(p.ddl, ()))
        )
    if hit.rule in WITHOUT_INDEX and (refused is None or refused.refusal != "index exists"):
        advice = WITHOUT_INDEX[hit.rule]
    subject = hit.fingerprint
    if table is not None and advice.about != "statement":
        subject = _named(table, hit.columns if advice.about == "columns" else ())
    return Cause(advice, subject, (hit,), table, hit.columns, fixes=fixes, reason=reason)


def _refuted(proposals: Sequence[IndexProposal], what_ifs: Sequence[WhatIf]) -> bool:
    """Asked about for every statement, and never used to gain anything. Branches of an OR need each other: one alone proves nothing."""
    if not what_ifs or any(proposal.together for proposal in proposals):
        return False
    asked = {(one.fingerprint, one.ddl) for one in what_ifs}
    wanted = {(draft.hit.fingerprint, proposal.ddl) for proposal in proposals for draft in proposal.drafts}
    return wanted <= asked and not any(helps(one) for one in what_ifs)


def helps(what_if: WhatIf) -> bool:
    return what_if.used and what_if.cost_before > 0 and what_if.cost_after < REFUTED_RATIO * what_if.cost_before


def _named(table: TableFacts, columns: Sequence[str] = ()) -> str:
    name = f"{table.schema_name}.{table.name}"
    return f"{name}({','.join(columns)})" if columns else name


def _most_specific(hits: Sequence[PlanHit], alone: dict[Key, Cause]) -> dict[Key, Cause]:
    """One cause for all hits of a node, except what memory, time elsewhere and statistics of their own are about."""
    by_node: dict[tuple[str, int, int], list[PlanHit]] = {}
    for hit in hits:
        by_node.setdefault((hit.fingerprint, hit.sample, hit.node), []).append(hit)
    decided = dict(alone)
    for of_node in by_node.values():
        stale = [hit for hit in of_node if alone[key_of(hit)].advice is STALE and hit.rule in MORE_SPECIFIC]
        ranked = stale or sorted((hit for hit in of_node if hit.rule in MORE_SPECIFIC), key=lambda hit: MORE_SPECIFIC.index(hit.rule))
        for hit in of_node:
            if ranked and (hit.rule in MORE_SPECIFIC or hit.rule == "R09"):
                decided[key_of(hit)] = decided[key_of(ranked[0])] if alone[key_of(hit)].advice is not STALE else alone[key_of(hit)]
    return decided


def _join_below(hits: Sequence[PlanHit], decided: dict[Key, Cause], views: PlanViews) -> None:
    by_plan: dict[tuple[str, int], list[PlanHit]] = {}
    for hit in hits:
        by_plan.setdefault((hit.fingerprint, hit.sample), []).append(hit)
    for hit in hits:
        kinds = JOINS_BELOW.get(hit.rule)
        view = views.view(hit)
        node = view.node(hit.node) if view else None
        if kinds is None or view is None or node is None or decided[key_of(hit)].advice.kind in kinds - {"misestimate"}:
            continue
        below = {one.id for one in view.below(node)} - {node.id}
        fitting = [
            one
            for one in by_plan[hit.fingerprint, hit.sample]
            if one.node in below
            and decided[key_of(one)].advice.kind in kinds
            and (hit.rule in STATISTICS_RULES or one.share >= MOSTLY * hit.share)
        ]
        if fitting:
            decided[key_of(hit)] = decided[key_of(max(fitting, key=lambda one: (one.share, -one.node)))]


def _merged(found: Sequence[tuple[PlanHit, Cause]]) -> Cause:
    """One cause of all its hits."""
    causes = [cause for _, cause in found]
    whole = replace(
        causes[0],
        hits=tuple({key_of(hit): hit for hit, _ in found}.values()),
        fixes=tuple({(fix.kind, fix.subject): fix for cause in causes for fix in cause.fixes}.values()),
        proposals=tuple({one.ddl: one for cause in causes for one in cause.proposals}.values()),
        what_ifs=tuple({(one.fingerprint, one.ddl): one for cause in causes for one in cause.what_ifs}.values()),
    )
    return replace(whole, hits=_main_first(whole))


def _main_first(cause: Cause) -> tuple[PlanHit, ...]:
    kind = cause.advice.kind
    own = [hit for hit in cause.hits if advice_of(hit.rule).kind == kind]
    return tuple(sorted(cause.hits, key=lambda hit: (hit not in own, -hit.share, hit.fingerprint, hit.node)))
