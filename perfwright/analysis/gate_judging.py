"""How a message to a gate is judged: from what it is, over which gate it is for, to what it says. Judging changes nothing."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple

from perfwright.analysis.gate_answers import (
    ACTIONS,
    OverridesCheck,
    Unusable,
    closed_problem,
    content_problems,
    digest_problem,
    joined,
    read_decision,
    signature,
    told,
)
from perfwright.models.gate import Action, DecisionInput, GateState, HeldGate
from perfwright.models.registry_checks import nearest


class Judged(NamedTuple):
    """How a message would be taken: refused with a `reason`, counted as a duplicate, or taken at `held`."""

    reason: str = ""
    action: Action = "approve"
    given: DecisionInput | None = None
    held: HeldGate | None = None
    duplicate: bool = False


def judge(
    state: GateState, checks: Mapping[str, OverridesCheck], expected: Collection[str], action: object, payload: object, now: datetime
) -> Judged:
    """Anything at all may come as `action` and `payload`; this never raises."""
    if not isinstance(action, str) or action not in ACTIONS:
        return Judged(f"action: one of {', '.join(ACTIONS)} is needed (got {told(action, 60)})")
    known: Action = action
    try:
        given = read_decision(payload)
    except Unusable as unusable:
        return Judged(str(unusable), known)
    held = state.gates.get(given.gate)
    if given.decision_id is not None and (seen := state.seen.get(given.decision_id)):
        if seen == signature(known, given, with_digest=True):
            return Judged("", known, given, held, duplicate=True)
        return Judged(f"decision_id: {told(given.decision_id, 60)} was used already, for another decision", known, given, held)
    if held is None:
        return Judged(_no_such_gate(given.gate, state, expected), known, given)
    problem = digest_problem(given, held)
    if problem and held.status == "open":
        return Judged(problem, known, given, held)
    if _repeats(known, given, held):
        return Judged("", known, given, held, duplicate=True)
    problem = closed_problem(known, held, now) or problem
    if not problem and held.shown:
        problem = joined(content_problems(known, given, held, held.shown, checks.get(held.name)))
    return Judged(problem, known, given, held)


def _repeats(action: Action, given: DecisionInput, held: HeldGate) -> bool:
    """Whether it says the same as the answer in force, or, where several may object, as any of theirs."""
    if given.digest not in (None, held.digest) or not held.answers:
        return False
    said = signature(action, given, with_digest=False)
    return said in held.answers if held.status == "noted" else said == held.answers[-1]


def _no_such_gate(name: str, state: GateState, expected: Collection[str]) -> str:
    if name in expected:
        return f"gate {name} is not open yet; it opens later in this run"
    known = [*state.gates, *(gate for gate in expected if gate not in state.gates)]
    now_open = ", ".join(held.name for held in state.gates.values() if held.status == "open") or "none"
    return f"no gate {told(name, 80)} is open or was open{nearest(name, known)} (open now: {told(now_open, 300)})"
