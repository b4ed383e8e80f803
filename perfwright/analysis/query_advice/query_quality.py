"""Is what was examined enough to believe the ranking? Quality gates: no data is never a pass."""

from collections.abc import Sequence

from perfwright.models.quality import QualityGate
from perfwright.models.query_performance import ExplainOutcome
from perfwright.models.statement import StatementTable

EXPLAINED_SHARE = 0.8
"""Of the chosen statements' time: what has no plan is not judged, and a fifth of the load may hide the worst."""
EXAMINED_SHARE = 0.5
"""Of all time that was seen: a ranking of a smaller part says little about the database."""
MIN_CALLS = 100
"""Calls seen: with a hundred, a share of 10 % is known to within 6 points (Wald, 95 %)."""


def quality_gates(
    table: StatementTable, chosen: Sequence[str], chosen_share: float, outcomes: Sequence[ExplainOutcome], shares: dict[str, float]
) -> tuple[QualityGate, ...]:
    """In the order in which a reviewer asks. `shares`: fingerprint -> share of the load."""
    modes = {one.fingerprint: one.mode for one in outcomes}
    whole = sum(shares.get(name, 0.0) for name in chosen)
    with_plan = [name for name in chosen if modes.get(name, "not explained") != "not explained"]
    explained = sum(shares.get(name, 0.0) for name in with_plan) / whole if whole else (len(with_plan) / len(chosen) if chosen else None)
    lost = [name for name in chosen if name not in modes]
    observed = [one for one in table.statements if one.calls > 0]
    calls = sum(one.calls for one in observed)
    without = len(chosen) - len(with_plan)
    return (
        _gate(
            "plans for most of the load",
            "time of the chosen statements that has a plan",
            ">=",
            EXPLAINED_SHARE,
            explained,
            "share",
            f"{without} of {len(chosen)} chosen statements have none; each has its reason in the table." if without else "",
        ),
        _gate(
            "no statement lost",
            "chosen statements without an outcome",
            "==",
            0,
            float(len(lost)) if chosen else None,
            "statements",
            f"Without an outcome: {', '.join(lost[:5])}." if lost else "",
        ),
        _gate(
            "most of the load was examined",
            "time in the window of the chosen statements",
            ">=",
            EXAMINED_SHARE,
            chosen_share if observed else None,
            "share",
            "" if observed else "Only given statements were examined: nothing is known of the load.",
        ),
        _gate(
            "window long enough",
            "calls that were seen",
            ">=",
            MIN_CALLS,
            float(calls) if observed else None,
            "calls",
            "Observe for longer, or while the database is used." if observed and calls < MIN_CALLS else "",
        ),
    )


def _gate(name: str, metric: str, comparison: str, threshold: float, observed: float | None, unit: str, note: str) -> QualityGate:
    kept = observed is not None and (observed >= threshold if comparison == ">=" else observed == threshold)
    return QualityGate(
        name=name,
        metric=metric,
        comparison=">=" if comparison == ">=" else "==",
        threshold=threshold,
        observed=observed,
        unit=unit,
        outcome="no data" if observed is None else "passed" if kept else "failed",
        note=note,
    )
