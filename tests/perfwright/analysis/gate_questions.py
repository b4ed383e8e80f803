"""Questions of gates and the moments at which something happens to them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from perfwright.analysis.gates import GateMachine
from perfwright.models.gate import GateKind, GatePolicy, GateQuestion

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def question(name: str = "findings_review", kind: GateKind = "review", **fields: Any) -> GateQuestion:
    return GateQuestion(name=name, kind=kind, question="Is this so?", consequence="The report says so.", **fields)


def opened(kind: GateKind = "review", *, max_revisions: int = 3, check: Any = None, **fields: Any) -> tuple[GateMachine, str]:
    policy = GatePolicy(**{"deadline_s": 100.0, "reminders": 0} | fields.pop("policy", {}))
    machine = GateMachine(expected=("findings_review", "later_review"))
    machine.open(question(kind=kind, **fields), policy, T0, max_revisions=max_revisions, check=check)
    return machine, machine.state.gates["findings_review"].digest


def says(**fields: Any) -> dict[str, Any]:
    return {"gate": "findings_review", "by": "ada"} | fields


def refused(machine: GateMachine, action: Any, payload: Any, seconds: float = 1.0) -> str:
    """The reason of a message that must be refused, and listed."""
    before = len(machine.state.refused)
    reason = machine.reason_against(action, payload, at(seconds))
    taken = machine.receive(action, payload, at(seconds))
    assert taken.refused is not None
    assert taken.refused.reason == reason
    assert len(machine.state.refused) == before + 1
    return reason
