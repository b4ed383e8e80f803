"""What is asked before abandoned changes are undone, and of which targets."""

from collections.abc import Iterable, Sequence

from perfwright.models.gate import GateQuestion
from perfwright.models.registry_checks import PRODUCTION
from perfwright.models.undo import AbandonedChange

SHOWN = 20
SHOWN_IN_LINE = 3


def by_target(changes: Iterable[AbandonedChange]) -> list[list[AbandonedChange]]:
    """Changes of one target together, in the order in which they come off."""
    found: dict[str, list[AbandonedChange]] = {}
    for change in changes:
        found.setdefault(change.target.name, []).append(change)
    return list(found.values())


def needs_asking(changes: Sequence[AbandonedChange]) -> bool:
    """In production always; elsewhere where the owner may live on a server that we cannot ask."""
    return any(change.target.environment == PRODUCTION or change.owner_unknown for change in changes)


def question_about(gate: str, changes: Sequence[AbandonedChange]) -> GateQuestion:
    """The question of one target."""
    target = changes[0].target
    shown = changes[:SHOWN]
    more = f"\n... and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
    return GateQuestion(
        name=gate,
        kind="change",
        question=f"May {_many(changes)} left on {target.name} be undone?",
        consequence=f"{_many(changes)} on {target.name} will be undone, the latest first; what somebody changed meanwhile is left alone",
        evidence=tuple(f"{change.title}: {change.reason}" for change in shown),
        exact_change="\n".join(f"undo {change.change_id}: {change.title} ({change.state})" for change in shown) + more,
        risk="reload",
    )


def told_abandoned(changes: Sequence[AbandonedChange]) -> str:
    """In one line: what stands there, and why nobody is responsible."""
    words = [f"{change.title} ({change.reason})" for change in changes[:SHOWN_IN_LINE]]
    more = [f"{len(changes) - SHOWN_IN_LINE} more"] if len(changes) > SHOWN_IN_LINE else []
    return "; ".join([*words, *more])


def janitor_id(target: str) -> str:
    """Of the run that undoes changes of one target under the lease of whoever waits for it, or asks about them: there is one at a time."""
    return f"undo-janitor/{target}"


def queued_janitor_id(target: str) -> str:
    """Of the run that stands in line for the lease of one target. Not the id above: who holds the lease may wait for that run."""
    return f"undo-janitor/{target}/queued"


def _many(changes: Sequence[AbandonedChange]) -> str:
    return "1 change" if len(changes) == 1 else f"{len(changes)} changes"
