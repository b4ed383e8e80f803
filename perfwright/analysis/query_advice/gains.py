"""What advice may win, as a share of the database's time.

Measured where something was measured: a rewrite that ran beside its original wins 1 - ratio of its statement. Asked where the planner was
asked: 1 - cost after / cost before of a what-if plan, at most the share of the nodes it cures, because costs rank and only time decides
(measured on TPC-H: a rank correlation of 0.68 with the gains in time). Else assumed: the share at the nodes times what the remedy takes
away (rule_advice.py).
"""

from dataclasses import dataclass

from perfwright.analysis.query_advice.causes import Cause, helps
from perfwright.analysis.query_advice.index_candidates import IndexProposal, PlanViews
from perfwright.analysis.query_advice.shares import Loads
from perfwright.models.finding import Confidence
from perfwright.models.measurement import Estimate, Interval
from perfwright.models.query_performance import VerifiedRewrite, WhatIf


@dataclass(frozen=True)
class Gain:
    """Of the database's time, 0 to 1."""

    least: float
    expected: float
    most: float
    derivation: str
    confidence: Confidence
    by_statement: dict[str, float]
    """Fingerprint -> expected share of the database's time."""

    def estimate(self, unit: str, method: str = "share at the nodes times what the remedy takes away") -> Estimate:
        interval = Interval(low=round(self.least, 6), high=round(self.most, 6), level=0.9, method=method)
        return Estimate(value=round(self.expected, 6), unit=unit, interval=interval)


def of_cause(cause: Cause, loads: Loads, views: PlanViews, *, executed: bool = True) -> Gain:
    """What the cause's own remedy wins: the index where one is proposed, else what its rule assumes."""
    nodes = loads.at_nodes(cause.hits, views)
    if cause.proposals and cause.advice.kind != "spill":
        return of_index(cause, cause.proposals, nodes, loads, executed=executed)
    least, expected, most = (sum(loads.share(name) * share * part for name, share in nodes.items()) for part in cause.advice.won)
    told = _nodes_told(nodes, loads)
    assumed = f"{cause.advice.won[1]:.0%} of that may go ({cause.advice.won[0]:.0%} to {cause.advice.won[2]:.0%}: {cause.advice.why})"
    by_statement = {name: loads.share(name) * share * cause.advice.won[1] for name, share in nodes.items()}
    return Gain(least, expected, min(1.0, most), f"{told}; {assumed}.", "medium" if executed else "low", by_statement)


def of_index(cause: Cause, proposals: tuple[IndexProposal, ...], nodes: dict[str, float], loads: Loads, *, executed: bool = True) -> Gain:
    """By statement: the what-if plan where there is one, else the assumption."""
    asked = {(one.fingerprint, one.ddl): one for one in cause.what_ifs}
    ddls = [proposal.ddl for proposal in proposals]
    parts: dict[str, tuple[float, float, float]] = {}
    sentences: list[str] = []
    confirmed = 0.0
    for name, share in nodes.items():
        answers = [asked[name, ddl] for ddl in ddls if (name, ddl) in asked]
        together = any(proposal.together for proposal in proposals)
        if not answers or (together and not any(helps(one) for one in answers)):
            parts[name] = (share * cause.advice.won[0], share * cause.advice.won[1], share * cause.advice.won[2])
            continue
        best = min(answers, key=_ratio)
        if not helps(best):
            parts[name] = (0.0, 0.0, share * cause.advice.won[0])
            continue
        ratio = _ratio(best)
        expected = min(share, 1 - ratio)
        parts[name] = (expected / 2, expected, max(share, 1 - ratio))
        confirmed += loads.share(name) * expected
        if len(sentences) < 3:
            sentences.append(f"what-if plan of {name}: cost {best.cost_before:,.0f} -> {best.cost_after:,.0f} ({ratio:.2%})")
    least, expected, most = (sum(loads.share(name) * part[which] for name, part in parts.items()) for which in range(3))
    told = _nodes_told(nodes, loads)
    assumed = f"assumed that {cause.advice.won[1]:.0%} of it goes, because {cause.advice.why}"
    how = "; ".join(sentences) or ("asked about, and of no use" if cause.what_ifs and not expected else assumed)
    sure: Confidence = "high" if expected and confirmed >= expected / 2 else "medium" if executed else "low"
    by_statement = {name: loads.share(name) * part[1] for name, part in parts.items()}
    return Gain(least, expected, min(1.0, most), f"{told}; {how}.", sure, by_statement)


def of_rewrite(rewrite: VerifiedRewrite, loads: Loads) -> Gain:
    """Measured beside the original; 0 unless it was faster."""
    ratio = rewrite.ratio if rewrite.outcome == "faster" and rewrite.ratio is not None else 1.0
    share = loads.share(rewrite.fingerprint)
    low, high = (rewrite.interval.high, rewrite.interval.low) if rewrite.interval else (ratio, ratio)
    derivation = (
        f"Measured beside the original in {rewrite.pairs} interleaved pairs: {ratio:.3f} times its time, with the same "
        f"{rewrite.rows_compared:,} rows; the statement takes {share:.1%}."
    )
    won = share * max(0.0, 1 - ratio)
    return Gain(share * max(0.0, 1 - low), won, share * max(0.0, 1 - high), derivation, "high", {rewrite.fingerprint: won})


def _ratio(what_if: WhatIf) -> float:
    """Cost after over cost before; 1 when the index is not used."""
    return what_if.cost_after / what_if.cost_before if what_if.used and what_if.cost_before > 0 else 1.0


def _nodes_told(nodes: dict[str, float], loads: Loads) -> str:
    touched = sum(loads.share(name) * share for name, share in nodes.items())
    ordered = sorted(nodes.items(), key=lambda one: -loads.share(one[0]) * one[1])
    parts = [f"{share:.0%} of {name} (itself {loads.share(name):.1%})" for name, share in ordered[:3]]
    more = f" and {len(ordered) - 3} more" if len(ordered) > 3 else ""
    return f"{touched:.1%} of the time is spent there: {', '.join(parts)}{more}"
