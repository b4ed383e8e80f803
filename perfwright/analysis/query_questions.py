"""What QueryPerformanceAnalysis asks people, and what it puts on show."""

from collections.abc import Sequence

from perfwright.models.gate import GateQuestion
from perfwright.models.query_performance import OVERRIDABLE, QueryPerformanceRequest, StatementSummary
from perfwright.models.query_steps import CostlyStatement, GroupedStatements, Observation
from perfwright.models.target import Target

SHOWN = 15
TEXT_CHARACTERS = 160


def queries_review(grouped: GroupedStatements, observation: Observation, request: QueryPerformanceRequest) -> GateQuestion:
    """Which statements are examined?"""
    chosen = set(grouped.chosen)
    lines = [_line(one, examined=one.fingerprint in chosen) for one in grouped.top[:SHOWN]]
    unknown = [f"Not seen: {', '.join(grouped.unknown_fingerprints)}"] if grouped.unknown_fingerprints else []
    return GateQuestion(
        name="queries_review",
        kind="review",
        question=f"Are these the statements of {request.target_name} to examine?",
        consequence=f"Approval takes plans of {len(grouped.chosen)} statements, one after the other.",
        evidence=(
            observation.sentence,
            f"{len(grouped.chosen)} of {grouped.statements:,} statements are examined: {grouped.chosen_share:.0%} of their time",
            *lines,
            *unknown,
            *(missing.sentence for missing in observation.not_seen),
        ),
        artifacts=(grouped.table,),
        overrides=OVERRIDABLE,
        quality_passed=bool(grouped.chosen),
    )


def costly_statements(target: Target, costly: Sequence[CostlyStatement], request: QueryPerformanceRequest) -> GateQuestion:
    """May statements that the planner thinks dear be executed for their plans?"""
    return GateQuestion(
        name="costly_statements",
        kind="change",
        question=f"May {len(costly)} costly statements be executed on {target.name} for their plans?",
        consequence=f"Approval executes each up to {2 * request.parameter_sets} times, rolled back, for at most "
        f"{request.statement_timeout_s:g} s each time; a refusal leaves them with their planned costs.",
        evidence=tuple(f"`{one.fingerprint}` cost {one.cost:,.0f}: {_short(one.text)}" for one in costly[:SHOWN]),
        exact_change="\n".join(f"EXPLAIN (ANALYZE, BUFFERS) {one.fingerprint}: {_short(one.text)}" for one in costly),
        risk="observe",
    )


def _line(one: StatementSummary, *, examined: bool) -> str:
    why_not = "" if examined else f" (not examined{': ' + one.not_explainable if one.not_explainable else ''})"
    return f"`{one.fingerprint}` {one.share:.1%}, {one.calls:,} calls of {one.mean_ms:.3g} ms: {_short(one.text)}{why_not}"


def _short(text: str) -> str:
    """On one line, as code: a statement is no Markdown."""
    line = " ".join(text.replace("`", "'").split())
    return f"`{line if len(line) <= TEXT_CHARACTERS else line[: TEXT_CHARACTERS - 1] + '…'}`"
