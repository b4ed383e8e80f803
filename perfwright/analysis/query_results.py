"""What QueryPerformanceAnalysis tells of its examined statements and its window, beyond findings."""

import json
from collections import defaultdict

from perfwright.analysis.masking.requests import RequestT, shown_request
from perfwright.analysis.statements.choosing import summary_of
from perfwright.models.query_advice import RankedQueries, RankedQueryFindings, RankQueryFindings
from perfwright.models.query_performance import ExaminedStatement, PlanHit, VerifiedRewrite, WindowFacts
from perfwright.models.query_steps import Observation
from perfwright.models.statement import StatementTable

EXAMINED_TOLD, HITS_TOLD = 25, 4
"""Statements and hits that a result carries: it must fit into a workflow's history. The artifacts have all of them."""
TEXT_TOLD = 500
WHAT_IFS_TOLD, REWRITES_TOLD, REWRITE_TEXT_TOLD = 30, 10, 2_000
RANKED_BYTES = 128 * 1024
"""With findings and recommendations (ranking.py); the result has the costliest statements, the request and decisions beside it."""
SHORTER = ((300, 2, 20, 800), (120, 1, 10, 300), (40, 1, 5, 100))
"""Characters of statements and hits, hits each, what-if plans, characters of rewrites: taken one after the other until it fits."""
REQUEST_BYTES = 16 * 1024


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
    told = RankedQueries(
        ranked=ranked,
        window=window_facts(asked, observation, table),
        examined=tuple(examined),
        what_ifs=asked.tried.what_ifs[:WHAT_IFS_TOLD],
        rewrites=tuple(_shortened(one, REWRITE_TEXT_TOLD) for one in asked.tried.rewrites[:REWRITES_TOLD]),
    )
    for texts, kept, what_ifs, rewrites in SHORTER:
        if len(told.model_dump_json().encode()) > RANKED_BYTES:
            told = told.model_copy(
                update={
                    "examined": tuple(_with_less(one, texts, kept) for one in told.examined),
                    "what_ifs": told.what_ifs[:what_ifs],
                    "rewrites": tuple(_shortened(one, rewrites) for one in told.rewrites),
                }
            )
    return told


def told_request(request: RequestT) -> dict[str, object]:
    """The request as its result carries it: very long SQL is cut, and says so; the run's input has all of it."""
    shown: dict[str, object] = shown_request(request).model_dump(mode="json")
    for characters in (1_000, 200, 20):
        if len(json.dumps(shown, ensure_ascii=False).encode()) > REQUEST_BYTES:
            shown["statements"] = [cut(text, characters) for text in shown_request(request).statements]
    if len(json.dumps(shown, ensure_ascii=False).encode()) > REQUEST_BYTES:
        shown["statements"] = [f"{len(request.statements)} statements: see the input of the run"]
    return shown


def cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[:characters]} ... ({len(text):,} characters)"


def _with_less(one: ExaminedStatement, characters: int, hits: int) -> ExaminedStatement:
    return one.model_copy(
        update={
            "statement": one.statement.model_copy(update={"text": one.statement.text[:characters]}),
            "outcome": one.outcome.model_copy(update={"reason": one.outcome.reason[:characters]}),
            "hits": tuple(hit.model_copy(update={"statement": hit.statement[:characters]}) for hit in one.hits[:hits]),
        }
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


def _shortened(rewrite: VerifiedRewrite, characters: int) -> VerifiedRewrite:
    texts = {"original": rewrite.original[:characters], "rewritten": rewrite.rewritten[:characters]}
    return rewrite.model_copy(update=texts)
