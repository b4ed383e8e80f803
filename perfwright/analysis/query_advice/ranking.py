"""The whole of advice: from hits, plans and what was tried to findings, recommendations and the sentence that sums them up."""

from collections.abc import Sequence

from perfwright.analysis.markdown_text import as_markdown
from perfwright.analysis.mysql.index_fixes import index_fixes
from perfwright.analysis.mysql.rule_advice import MYSQL_RULES
from perfwright.analysis.query_advice.causes import Cause, find_causes
from perfwright.analysis.query_advice.cheap_fixes import cheap_fixes
from perfwright.analysis.query_advice.gains import Gain, of_cause, of_rewrite
from perfwright.analysis.query_advice.index_candidates import IndexAdvice, PlanViews, propose_indexes
from perfwright.analysis.query_advice.plan_view import Tables
from perfwright.analysis.query_advice.query_findings import finding_of, waits_found
from perfwright.analysis.query_advice.query_quality import quality_gates
from perfwright.analysis.query_advice.query_recommendations import for_cause, for_rewrite, merged
from perfwright.analysis.query_advice.rule_advice import RULES
from perfwright.analysis.query_advice.shares import OF_DATABASE, Loads
from perfwright.analysis.recommendations import EFFORT_WEIGHT
from perfwright.models.database import Catalog
from perfwright.models.finding import SEVERITIES, Finding, Recommendation
from perfwright.models.measurement import Estimate
from perfwright.models.query_advice import RankedQueryFindings, RankQueryFindings
from perfwright.models.query_performance import ExplainOutcome
from perfwright.models.query_steps import PlanSet
from perfwright.models.statement import StatementTable

MAX_FINDINGS, MAX_RECOMMENDATIONS = 60, 30
RESULT_BYTES = 56 * 1024
"""What the two lists may take: a result of an activity is to stay below 256 KiB, and examined statements, what-if plans, rewrites, gains
and gates come with it."""
FULL_BRIEFS, SHORT_BRIEF = 5, 500
"""Recommendations whose briefs are never shortened, and what the others' are cut to."""
MAX_GAINS = 50
REASONS_TOLD = 5


def rank(asked: RankQueryFindings, table: StatementTable, plans: PlanSet, catalog: Catalog | None) -> RankedQueryFindings:
    """Findings by severity and cost, recommendations by gain over effort. `pictures` is left to who can store them."""
    known = catalog or Catalog(database=asked.database.database)
    views, loads = PlanViews(plans), Loads(table, plans)
    executed = {one.fingerprint for one in asked.explained.outcomes if one.mode == "analyzed"}
    rules = RULES
    if asked.database.system == "postgresql":
        indexes = propose_indexes(asked.hits, table, plans, known)
        fixes = cheap_fixes(asked.hits, table, plans, known, indexes.refused)
    else:
        indexes, rules = IndexAdvice((), ()), RULES | MYSQL_RULES
        fixes = index_fixes(asked.to_try.indexes, asked.hits, Tables(known))
    causes = find_causes(asked.hits, table, Tables(known), views, indexes, fixes, asked.tried.what_ifs, rules)

    told: list[tuple[Cause, Gain, Finding]] = []
    for cause in causes:
        gain = of_cause(cause, loads, views, executed=bool(executed & set(cause.fingerprints)))
        told.append((cause, gain, finding_of(cause, gain, loads, views, asked.explained.plans)))
    waits = waits_found(asked.waits, loads.unit)
    findings = sorted([*(finding for _, _, finding in told), *(finding for finding, _ in waits)], key=_rank)[:MAX_FINDINGS]
    kept = {finding.id for finding in findings}
    recommendations = _recommendations(asked, told, kept, loads, views)
    recommendations += [_for_wait(finding, advice) for finding, advice in waits if finding.id in kept]
    ordered = sorted(recommendations, key=lambda one: (-one.score, one.id))[:MAX_RECOMMENDATIONS]
    findings, ordered = bounded(findings, ordered)
    shares = {one.fingerprint: loads.share(one.fingerprint) for one in table.statements}
    return RankedQueryFindings(
        findings=tuple(findings),
        recommendations=tuple(ordered),
        summary=summary_of(asked, findings, ordered, loads),
        gains=_gains(told, asked, loads),
        quality_gates=quality_gates(table, asked.grouped.chosen, asked.grouped.chosen_share, asked.explained.outcomes, shares),
        warnings=tuple(_warnings(asked.explained.outcomes, asked.grouped.unreadable)),
    )


def _recommendations(
    asked: RankQueryFindings, told: Sequence[tuple[Cause, Gain, Finding]], kept: set[str], loads: Loads, views: PlanViews
) -> list[Recommendation]:
    """For findings above information; a faster rewrite belongs to the findings about its statement."""
    made: list[Recommendation] = []
    for cause, gain, finding in told:
        if finding.id in kept and finding.severity != "information":
            made += for_cause(cause, finding, gain, loads, views)
    for rewrite in asked.tried.rewrites:
        if rewrite.outcome != "faster":
            continue
        about = [finding for cause, _, finding in told if rewrite.fingerprint in cause.fingerprints and finding.id in kept]
        loud = tuple(finding.id for finding in sorted(about, key=_rank) if finding.severity != "information")
        if loud:
            made.append(for_rewrite(rewrite, loud, loads))
    return merged(made)


def _for_wait(finding: Finding, advice: str) -> Recommendation:
    share = finding.cost.value if finding.cost else 0.0
    return Recommendation(
        id=f"look:{finding.id}",
        title=f"Look at: {finding.title}",
        finding_ids=(finding.id,),
        expected_gain=Estimate(value=0.0, unit="share of database time"),
        derivation="Waiting sessions use no database time: this wins latency; how much, the time they wait tells.",
        effort="days",
        risk="restart",
        score=0.1 * share / EFFORT_WEIGHT["days"],
        brief=f"## {as_markdown(finding.title)}\n\n**Measured**: {as_markdown(finding.summary)}\n\n**Try**: {advice}",
    )


def summary_of(asked: RankQueryFindings, findings: Sequence[Finding], recommendations: Sequence[Recommendation], loads: Loads) -> str:
    """What a reader who stops here takes away."""
    target = asked.request.target_name
    outcomes = asked.explained.outcomes
    explained = sum(one.mode != "not explained" for one in outcomes)
    share = f", {asked.grouped.chosen_share:.0%} of the time seen" if loads.unit == OF_DATABASE else ""
    looked = f"{explained} of {len(outcomes)} examined statements have a plan{share}"
    loud = [finding for finding in findings if finding.severity != "information"]
    if not outcomes:
        return f"{target}: no statement was examined."
    if not loud:
        return f"{target}: nothing in the plans costs enough to act on ({looked})."
    more = f" and {len(loud) - 1} more" if len(loud) > 1 else ""
    first = f" First: {recommendations[0].title}." if recommendations else ""
    return f"{loud[0].title}{more}; {target}: {looked}.{first}"


def bounded(findings: list[Finding], recommendations: list[Recommendation]) -> tuple[list[Finding], list[Recommendation]]:
    """Cut from the end until both fit into a result: briefs of the last recommendations first, then what is last."""
    findings, recommendations = list(findings), list(recommendations)
    size = sum(map(_size, findings)) + sum(map(_size, recommendations))
    for number in range(len(recommendations) - 1, FULL_BRIEFS - 1, -1):
        if size > RESULT_BYTES:
            whole = recommendations[number]
            brief = f"{whole.brief[:SHORT_BRIEF]}\n\n(shortened: the result would be too large)"
            recommendations[number] = whole.model_copy(update={"brief": brief if len(brief) < len(whole.brief) else whole.brief})
            size -= _size(whole) - _size(recommendations[number])
    while size > RESULT_BYTES and len(findings) > 1 and findings[-1].severity == "information":
        size -= _size(findings.pop())
    while size > RESULT_BYTES and len(recommendations) > 1:
        size -= _size(recommendations.pop())
    while size > RESULT_BYTES and len(findings) > 1:
        size -= _size(findings.pop())
    ids = {finding.id for finding in findings}
    return findings, [one for one in recommendations if ids & set(one.finding_ids)]


def _size(item: Finding | Recommendation) -> int:
    return len(item.model_dump_json().encode())


def _gains(told: Sequence[tuple[Cause, Gain, Finding]], asked: RankQueryFindings, loads: Loads) -> dict[str, Estimate]:
    """The best for each statement: gains of several pieces of advice for the same time do not add up."""
    best: dict[str, float] = {}
    measured = [of_rewrite(one, loads) for one in asked.tried.rewrites if one.outcome == "faster"]
    for gain in [*(gain for _, gain, _ in told), *measured]:
        for name, value in gain.by_statement.items():
            best[name] = max(best.get(name, 0.0), value)
    largest = sorted(best.items(), key=lambda one: (-one[1], one[0]))[:MAX_GAINS]
    return {name: Estimate(value=round(value, 6), unit=loads.unit) for name, value in largest if round(value, 6) > 0}


def _warnings(outcomes: Sequence[ExplainOutcome], unreadable: int) -> list[str]:
    missing = [one for one in outcomes if one.mode == "not explained"]
    told = [f"{one.fingerprint} has no plan: {one.reason[:200]}" for one in missing[:REASONS_TOLD]]
    if len(missing) > REASONS_TOLD:
        told.append(f"{len(missing) - REASONS_TOLD} more statements have no plan; the table has their reasons")
    if unreadable:
        told.append(f"{unreadable} statement texts could not be read; they are listed, not examined")
    return told


def _rank(finding: Finding) -> tuple[int, float, str]:
    return SEVERITIES.index(finding.severity), -(finding.cost.value if finding.cost else 0.0), finding.id
