"""What GarbageCollectionTuning asks people, and what it puts on show."""

import math
from collections.abc import Sequence
from typing import Any

from perfwright.analysis.gc.trying import guards_of, mode_of
from perfwright.models.gate import GateQuestion
from perfwright.models.gc_steps import ProposedSettings
from perfwright.models.gc_tuning import OVERRIDABLE, GarbageCollectionRequest, GcObservation

SHOWN = 5


def objective_question(request: GarbageCollectionRequest, seen: GcObservation, proposed: ProposedSettings) -> GateQuestion:
    """What is to be reached, and what may be paid for it?"""
    names = ", ".join(candidate.name for candidate in proposed.candidates) or "none"
    if why := untried(request, seen):
        consequence = f"Approval recommends them, and tries none: {why}."
    elif seen.live:
        consequence = f"Approval tries one after the other until one is kept: {names}; each is asked about before the process is changed."
    else:
        how = "run" if seen.batch else "under the same load, each started fresh"
        consequence = f"Approval measures {len(proposed.candidates)} candidates, {how} {request.rounds} times."
    pause_ms = request.pause_limit_ms(batch=seen.batch)
    length = "" if math.isinf(pause_ms) else f"p99 of noticed pauses at most {pause_ms:g} ms, "
    paid = f"{100 * request.memory_limit_share:g} % memory"
    if any(guard.metric != "rss_bytes" for guard in guards_of(request, mode_of(seen))):
        paid += f", {100 * request.throughput_limit_share:g} % {'of its time' if seen.batch else 'throughput'}"
    return GateQuestion(
        name="objective",
        kind="review",
        question=f"Is this what the collector of {request.target_name} is to reach, and what may be paid for it?",
        consequence=f"{consequence} Nothing is changed on the target by it.",
        evidence=(
            proposed.sentence,
            f"To reach: {length}pauses at most {100 * request.share_target:g} % of the time.",
            f"May be paid: {paid}.",
            *(f"**{issue.cause}** {issue.statement}" for issue in proposed.issues[:SHOWN]),
            f"Candidates: {names}.",
            *(
                (f"This java has {', '.join(proposed.collectors)}; not present: {', '.join(proposed.absent) or 'none'}.",)
                if proposed.collectors
                else ()
            ),
            *(f"Not known: {name}" for name in proposed.refused),
        ),
        artifacts=(seen.pauses,) if seen.pauses else (),
        overrides=OVERRIDABLE,
    )


def untried(request: GarbageCollectionRequest, seen: GcObservation) -> str:
    """Why nothing is tried on what was observed; empty: something is."""
    if not seen.live:
        return ""
    if seen.facts.runtime == "jvm":
        takes = ", ".join(seen.facts.settable) or "none"
        return (
            "a JVM takes collector, heap and regions at its launch alone, and this one was not launched by Perfwright "
            f"(flags about memory that it takes while it runs: {takes})"
        )
    return "" if request.probe is not None else "there is no probe that says what a change costs the running process"


def unknown_names(overrides: dict[str, Any], known: Sequence[str]) -> list[str]:
    """What is wrong with the candidates that a reviewer names, one sentence each. Without `known` nothing is told."""
    named = overrides.get("candidates") or ()
    return [f"candidates: there is no {str(name)[:100]!r}; there are: {', '.join(known)}" for name in named if known and name not in known]
