"""What CpuOptimizationImplementation asks people."""

from collections.abc import Sequence

from perfwright.models.cpu_optimization import OVERRIDABLE, Candidate, CandidatesFound, CpuOptimizationRequest
from perfwright.models.gate import GateQuestion

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
