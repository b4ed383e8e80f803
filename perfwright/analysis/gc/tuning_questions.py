"""What GarbageCollectionTuning asks people, and what it puts on show."""

from collections.abc import Sequence
from typing import Any

from perfwright.models.gate import GateQuestion
from perfwright.models.gc_steps import ProposedSettings
from perfwright.models.gc_tuning import OVERRIDABLE, GarbageCollectionRequest, GcObservation

SHOWN = 5


def objective_question(request: GarbageCollectionRequest, seen: GcObservation, proposed: ProposedSettings) -> GateQuestion:
    """What is to be reached, and what may be paid for it?"""
    names = ", ".join(candidate.name for candidate in proposed.candidates) or "none"
    if seen.live:
        consequence = f"Approval goes on to a trial of the first of them: {names}; the process is asked about before it is changed."
    else:
        consequence = (
            f"Approval measures {len(proposed.candidates)} candidates under the same load, each started fresh {request.rounds} times."
        )
    return GateQuestion(
        name="objective",
        kind="review",
        question=f"Is this what the collector of {request.target_name} is to reach, and what may be paid for it?",
        consequence=f"{consequence} Nothing is changed on the target by it.",
        evidence=(
            proposed.sentence,
            f"To reach: p99 of noticed pauses at most {request.pause_target_ms:g} ms, "
            f"pauses at most {100 * request.share_target:g} % of the time.",
            f"May be paid: {100 * request.memory_limit_share:g} % memory, {100 * request.throughput_limit_share:g} % throughput.",
            *(f"**{issue.cause}** {issue.statement}" for issue in proposed.issues[:SHOWN]),
            f"Candidates: {names}.",
            *(f"Not known: {name}" for name in proposed.refused),
        ),
        artifacts=(seen.pauses,) if seen.pauses else (),
        overrides=OVERRIDABLE,
    )


def unknown_names(overrides: dict[str, Any], known: Sequence[str]) -> list[str]:
    """What is wrong with the candidates that a reviewer names, one sentence each. Without `known` nothing is told."""
    named = overrides.get("candidates") or ()
    return [f"candidates: there is no {str(name)[:100]!r}; there are: {', '.join(known)}" for name in named if known and name not in known]
