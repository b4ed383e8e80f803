"""What CpuOptimizationImplementation asks people."""

from collections.abc import Sequence

from perfwright.models.cpu_optimization import OVERRIDABLE, Candidate, CandidatesFound, CpuOptimizationRequest
from perfwright.models.gate import GateQuestion

GIVEN_GATE = "given_change"
SHOWN_CHARACTERS = 30_000
LEFT_SHOWN = 5


def approach_question(request: CpuOptimizationRequest, tried: Sequence[Candidate], found: CandidatesFound) -> GateQuestion:
    """Are these the changes to try?"""
    left = [f"left alone: `{one.path}:{one.line}` {one.codemod}: {one.why}" for one in found.left_alone[:LEFT_SHOWN]]
    others = [one.id for one in found.candidates if one not in tried]
    text = "\n".join(f"# {one.id}\n{one.patch}" for one in tried)
    return GateQuestion(
        name="approach",
        kind="review",
        question=f"Are these {len(tried)} changes of {request.target} the ones to try?",
        consequence=(
            "Approval tries each in a tree of its own: syntax, tests, recorded calls made again, then a trial. What is better waits for a"
            " decision at its gate `keep`; nothing is committed before that but to a branch of its own. A refusal changes nothing."
        ),
        evidence=(
            *(f"`{one.id}`: {one.title}; at most {one.gain_share:.1%} of the CPU time. {one.reasoning}"[:1_500] for one in tried),
            *((f"not tried: {', '.join(others)}"[:1_500],) if others else ()),
            *left,
        ),
        exact_change=text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}\n...",
        overrides=OVERRIDABLE,
        quality_passed=bool(tried),
    )


def given_question(request: CpuOptimizationRequest, candidate: Candidate, by: str) -> GateQuestion:
    """May code that somebody gave be run?"""
    cut = len(candidate.patch) > SHOWN_CHARACTERS
    return GateQuestion(
        name=GIVEN_GATE,
        kind="change",
        question=f"May this change of {by} be tried on {request.target}: {candidate.title}?"[:1_000],
        consequence=(
            "Approval runs its code, with the worker's rights: tests, recorded calls and benchmark, in a tree of its own. What is better"
            " waits for a decision at its gate `keep`. A refusal leaves it out, and the run goes on."
        ),
        evidence=((candidate.reasoning or "No reason was given.")[:1_500],)
        + ((f"The diff has {len(candidate.patch):,} characters; {SHOWN_CHARACTERS:,} are on show.",) if cut else ()),
        exact_change=candidate.patch[:SHOWN_CHARACTERS],
        quality_passed=True,
    )
