"""What QueryPerformanceAnalysis tells of its examined statements and its window, beyond findings."""

from collections import defaultdict

from perfwright.analysis.statements.choosing import summary_of
from perfwright.models.query_advice import RankedQueries, RankedQueryFindings, RankQueryFindings
from perfwright.models.query_performance import ExaminedStatement, PlanHit, VerifiedRewrite, WindowFacts
from perfwright.models.query_steps import Observation
from perfwright.models.statement import StatementTable

EXAMINED_TOLD, HITS_TOLD = 25, 4
"""Statements and hits that a result carries: it must fit into a workflow's history. The artifacts have all of them."""
TEXT_TOLD = 500
WHAT_IFS_TOLD, REWRITES_TOLD, REWRITE_TEXT_TOLD = 30, 10, 2_000


def ranked_queries(asked: RankQueryFindings, ranked: RankedQueryFindings, table: StatementTable, observation: Observation) -> RankedQueries:
    """The ranking with the examined statements, costliest first."""
    known = {one.fingerprint: one for one in table.statements}
    hits: dict[str, list[PlanHit]] = defaultdict(list)
    for hit in sorted(asked.hits, key=lambda one: -one.share):
        hits[hit.fingerprint].append(hit)
    outcomes = [outcome for outcome in asked.explained.outcomes if outcome.fingerprint in known]
    outcomes.sort(key=lambda one: (not hits[one.fingerprint] and one.mode != "not explained", -known[one.fingerprint].share))
    examined = [
        ExaminedStatement(
            statement=summary_of(known[outcome.fingerprint], characters=TEXT_TOLD),
            outcome=outcome,
            hits=tuple(hits[outcome.fingerprint][:HITS_TOLD]),
            gain=ranked.gains.get(outcome.fingerprint),
        )
        for outcome in outcomes[:EXAMINED_TOLD]
    ]
    examined.sort(key=lambda one: -one.statement.share)
    return RankedQueries(
        ranked=ranked,
        window=window_facts(asked, observation, table),
        examined=tuple(examined),
        what_ifs=asked.tried.what_ifs[:WHAT_IFS_TOLD],
        rewrites=tuple(_shortened(one) for one in asked.tried.rewrites[:REWRITES_TOLD]),
    )


def window_facts(asked: RankQueryFindings, observation: Observation, table: StatementTable) -> WindowFacts:
    """What was observed, in numbers."""
    observed, log = observation.observed, observation.log
    all_ms = observed.total_ms + observed.own_ms
    return WindowFacts(
        seconds=observed.seconds,
        total_ms=table.total_ms,
        statements=len(table.statements) + len(table.unreadable),
        examined_share=min(1.0, asked.grouped.chosen_share),
        sources=table.sources,
        reset=observed.reset,
        evicted=observed.evicted,
        log_bytes=log.read_bytes,
        log_lines=log.lines,
        log_gaps=log.gaps,
        own_share=observed.own_ms / all_ms if all_ms > 0 else None,
    )


def _shortened(rewrite: VerifiedRewrite) -> VerifiedRewrite:
    texts = {"original": rewrite.original[:REWRITE_TEXT_TOLD], "rewritten": rewrite.rewritten[:REWRITE_TEXT_TOLD]}
    return rewrite.model_copy(update=texts)
