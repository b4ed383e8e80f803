"""Reading what people send to gates: anything at all may come, and every refusal says what was wrong and what is allowed."""

import hashlib
import json
import re
import reprlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, get_args

from pydantic import ValidationError

from perfwright.analysis.gate_times import is_over
from perfwright.models.gate import Action, DecisionInput, DecisionOutcome, GatePolicy, GateQuestion, HeldGate, OpenGate
from perfwright.models.registry_checks import nearest

ACTIONS: tuple[Action, ...] = get_args(Action)
OUTCOMES: dict[Action, DecisionOutcome] = {"approve": "approved", "reject": "rejected", "request_changes": "changes_requested"}

OverridesCheck = Callable[[dict[str, Any]], list[str]]
"""Says what is wrong with overrides, one problem each, the field first (`duration_s: ...`); an empty list when they can be used."""

OVERRIDES_CHARACTERS = 4_000
RECEIVED_CHARACTERS = 300
REASON_CHARACTERS = 600
SHOWN_PROBLEMS = 8
EVIDENCE_ITEMS, EVIDENCE_CHARACTERS, CHANGE_CHARACTERS, TEXT_CHARACTERS = 40, 1_000, 20_000, 4_000
SHAPE = '{"gate": "...", "by": "..."}'

_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 100
_short.maxdict = _short.maxlist = 12
_short.maxlevel = 4


class Unusable(Exception):
    """A payload that is no decision; the text is the reason to tell."""


def told(value: object, limit: int = RECEIVED_CHARACTERS) -> str:
    """Anything at all as bounded, printable text."""
    try:
        text = value if isinstance(value, str) else _short.repr(value)
    except Exception:  # a repr that raises is one more thing that may come
        text = f"something that cannot be printed ({type(value).__name__})"
    text = text[: limit + 1].encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def read_decision(payload: object) -> DecisionInput:
    """The decision in a payload; raises Unusable with every mistake, each naming its field."""
    if isinstance(payload, DecisionInput):
        payload = payload.model_dump(include=set(DecisionInput.model_fields))
    if not isinstance(payload, Mapping):
        raise Unusable(f"one JSON object is needed: {SHAPE}; {_kind(payload)} came")
    try:
        decision = DecisionInput.model_validate(dict(payload))
    except ValidationError as invalid:
        problems = [_problem(error) for error in invalid.errors(include_url=False, include_context=False)]
        raise Unusable(joined(list(dict.fromkeys(problems)))) from None
    except Exception as trouble:
        raise Unusable(f"it cannot be read ({type(trouble).__name__}); one JSON object is needed: {SHAPE}") from None
    return decision.model_copy(update={"overrides": _plain(decision.overrides)})


def _plain(overrides: dict[str, Any]) -> dict[str, Any]:
    """The same as plain JSON of bounded size: it is kept in the history of the run."""
    try:
        text = json.dumps(overrides, allow_nan=False, ensure_ascii=False)
        text.encode("utf-8")
    except (TypeError, ValueError, RecursionError):
        raise Unusable("overrides: not plain JSON (no NaN, no infinity, no broken characters, at most some levels deep)") from None
    if len(text) > OVERRIDES_CHARACTERS:
        raise Unusable(f"overrides: at most {OVERRIDES_CHARACTERS:,} characters of JSON are allowed (got {len(text):,})")
    plain: dict[str, Any] = json.loads(text)
    return plain


def _kind(payload: object) -> str:
    if payload is None:
        return "nothing"
    if isinstance(payload, str):
        return "a string"
    return f"a {type(payload).__name__}" if not isinstance(payload, list | tuple) else "a list"


def _problem(error: Any) -> str:
    field = ".".join(told(part, 60) for part in error["loc"]) or "decision"
    if error["type"] == "missing":
        return f"{field}: missing"
    if error["type"] == "extra_forbidden":
        known = sorted(DecisionInput.model_fields)
        return f"{field}: not a known field{nearest(field, known)} (allowed: {', '.join(known)})"
    if field == "digest" and error["type"] == "string_pattern_mismatch":
        return f"digest: the eight characters shown with the gate are needed (got {told(error['input'], 40)})"
    if field == "gate" and error["type"] == "string_pattern_mismatch":
        return f"gate: the name of a gate is needed, small letters, digits and underscores (got {told(error['input'], 40)})"
    return f"{field}: {told(error['msg'], 120)}"


def signature(action: str, decision: DecisionInput, *, with_digest: bool) -> str:
    """Says whether two messages say the same; `decision_id` is left out."""
    said = [action, decision.gate, decision.by, decision.comment, decision.overrides, decision.digest if with_digest else ""]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]


def digest_problem(decision: DecisionInput, held: HeldGate) -> str:
    """Why the decision is not about what is on show; empty when it is. Nobody decides blind on a `change` or `keep` gate."""
    if decision.digest is None:
        if held.kind == "review":
            return ""
        return f"digest: missing; a decision on a {held.kind} gate carries the eight characters shown with it"
    if decision.digest == held.digest:
        return ""
    if decision.digest in held.earlier_digests:
        return (
            f"digest {decision.digest} is of an earlier revision; revision {held.revision} is on show now: look at it and take its digest"
        )
    return f"digest {decision.digest} is not of what is on show at revision {held.revision}: look at it and take its digest"


def closed_problem(action: Action, held: HeldGate, now: datetime) -> str:
    """Why it is too late for this action at this gate; empty when it is not."""
    decision = held.decision
    over = held.shown is not None and is_over(held.shown, now)
    if held.status == "closed":
        if decision is None:
            return f"gate {held.name} is closed: it was withdrawn"
        if decision.outcome == "noted":
            return f"gate {held.name} is closed: the time for objections is over"
        return f"gate {held.name} was decided already: {decision.outcome} by {decision.by} at {decision.at} (revision {held.revision})"
    if held.status == "noted":
        if over:
            return f"gate {held.name} is closed: the time for objections is over"
        if action == "request_changes":
            return f"gate {held.name} does not hold the run up here (policy notify), so nothing is repeated; object to it with reject"
    if held.status == "approved" and action != "reject":
        return f"gate {held.name} was approved already{f' by {decision.by}' if decision else ''}; until it is applied only reject is taken"
    if held.status == "open" and held.kind != "review" and over:
        return f"gate {held.name} is closed: its deadline has passed"
    return ""


def content_problems(action: Action, decision: DecisionInput, held: HeldGate, shown: OpenGate, check: OverridesCheck | None) -> list[str]:
    """Why this answer cannot be taken at this gate: who, comment and overrides; all reasons at once."""
    problems = _person(action, decision.by, shown.policy)
    if action != "approve" and not decision.comment.strip():
        problems.append(f"comment: missing; {action} needs to say why")
    if decision.overrides:
        if held.checks_overrides and check is None:  # between a carried state and the process asking again
            return [*problems, "overrides: they cannot be checked in this moment; send the decision again"]
        problems += _overrides(action, decision.overrides, shown.question, check)
    return problems


def _person(action: Action, by: str, policy: GatePolicy) -> list[str]:
    name = by.strip()
    if not name:
        return ["by: missing; a decision says whose it is"]
    problems = []
    if policy.approvers and name not in policy.approvers:
        problems.append(f"by: {told(name, 60)} is not an approver here (approvers: {told(', '.join(policy.approvers), 200)})")
    if action != "reject" and policy.approvers_required and not policy.approvers:
        problems.append(f"environment {policy.environment} names no approvers: name them in [environments.{policy.environment}]")
    if action == "approve" and not policy.self_approval and name in policy.started_by:
        problems.append(f"by: {told(name, 60)} started this run and may not approve it here")
    return problems


def _overrides(action: Action, overrides: dict[str, Any], question: GateQuestion, check: OverridesCheck | None) -> list[str]:
    if action != "request_changes":
        return [f"overrides: {action} takes none; use request_changes"]
    if not question.overrides:
        return ["overrides: this gate takes none; say in the comment what should change"]
    allowed = sorted(question.overrides)
    unknown = [name for name in overrides if name not in question.overrides]
    if unknown:
        return [f"overrides.{told(name, 60)}: not allowed{nearest(name[:60], allowed)} (allowed: {', '.join(allowed)})" for name in unknown]
    if check is None:
        return []
    try:
        return [_placed(told(problem, 300), allowed) for problem in check(dict(overrides))]
    except Exception as trouble:  # the check is the process's code: what it cannot judge is not taken
        return [f"overrides: could not be checked ({type(trouble).__name__}: {told(str(trouble), 200)})"]


def _placed(problem: str, allowed: list[str]) -> str:
    """`overrides.duration_s: ...`, also for `duration_s[0]: ...`; what concerns no field, or several, stands under `overrides`."""
    field = re.split(r"[.:\[]", problem, maxsplit=1)[0]
    return f"overrides.{problem}" if field in allowed else f"overrides: {problem}"


def joined(problems: list[str]) -> str:
    """All reasons in one bounded line."""
    shown = problems[:SHOWN_PROBLEMS]
    if len(problems) > SHOWN_PROBLEMS:
        shown = [*shown, f"and {len(problems) - SHOWN_PROBLEMS} more"]
    return told("; ".join(shown), REASON_CHARACTERS)


def text_at(payload: object, field: str) -> str:
    """A text inside of a payload that could not be used, for the list of refusals."""
    value = payload.get(field) if isinstance(payload, Mapping) else None
    return value if isinstance(value, str) else ""


def bounded(question: GateQuestion) -> GateQuestion:
    """What is kept and shown of a question; its digest is over the whole of it."""
    exact = question.exact_change
    if len(exact) > CHANGE_CHARACTERS:
        exact = f"{exact[:CHANGE_CHARACTERS]}\n… cut here: {len(exact) - CHANGE_CHARACTERS:,} more characters are in the artifacts"
    return question.model_copy(
        update={
            "question": told(question.question, TEXT_CHARACTERS),
            "consequence": told(question.consequence, TEXT_CHARACTERS),
            "evidence": tuple(told(line, EVIDENCE_CHARACTERS) for line in question.evidence[:EVIDENCE_ITEMS]),
            "artifacts": question.artifacts[:EVIDENCE_ITEMS],
            "exact_change": exact,
        }
    )
