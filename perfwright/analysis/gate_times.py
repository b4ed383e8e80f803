"""When gates are reminded of and when they are over. Reminders are evenly spaced between opening and deadline."""

from datetime import UTC, datetime

from perfwright.models.gate import OpenGate


def stamp(at: datetime) -> str:
    """ISO 8601, UTC, milliseconds; `at` is aware."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds")


def time_of(text: str) -> datetime:
    return datetime.fromisoformat(text)


def is_over(gate: OpenGate, now: datetime) -> bool:
    return now >= time_of(gate.deadline_at)


def reminders_due(gate: OpenGate, now: datetime) -> int:
    """How many reminders should have been sent by now."""
    return sum(1 for number in range(1, gate.policy.reminders + 1) if now >= _reminder_at(gate, number))


def seconds_until_due(gate: OpenGate, reminders_sent: int, now: datetime) -> float:
    """Until the next reminder, or the deadline when there is none left."""
    more = reminders_sent < gate.policy.reminders
    at = _reminder_at(gate, reminders_sent + 1) if more else time_of(gate.deadline_at)
    return max(0.0, (at - now).total_seconds())


def _reminder_at(gate: OpenGate, number: int) -> datetime:
    opened = time_of(gate.opened_at)
    return opened + (time_of(gate.deadline_at) - opened) * number / (gate.policy.reminders + 1)
