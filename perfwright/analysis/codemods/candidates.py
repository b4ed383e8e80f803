"""Proposals of one file as candidates, with what was measured of its functions."""

from collections.abc import Sequence

from perfwright.analysis.codemods.code_reading import HotCode, Left
from perfwright.analysis.codemods.linter_edits import LinterEdit
from perfwright.analysis.codemods.linter_fixes import linter_proposals
from perfwright.analysis.codemods.proposals import Proposal, find_proposals, unified_patch
from perfwright.models.cpu_optimization import CallsRecorded, Candidate, HotFunction, LeftAlone


def candidates_of(
    path: str,
    source: str,
    functions: Sequence[HotFunction],
    calls: CallsRecorded,
    spoken: frozenset[str],
    edits: Sequence[LinterEdit],
    only: str = "",
) -> tuple[list[Candidate], list[LeftAlone]]:
    """What can be tried in the file's hot functions, and what was seen and left alone. A file that cannot be read has neither."""
    hot = [_hot_code(one, calls) for one in functions]
    try:
        proposals = [*find_proposals(source, hot, spoken, only), *linter_proposals(source, hot, edits, only)]
    except SyntaxError:
        return [], []
    found, left = [], []
    for proposal in proposals:
        if isinstance(proposal.outcome, Left):
            left.append(_left(path, proposal, proposal.outcome))
            continue
        outcome = proposal.outcome
        found.append(
            Candidate(
                id=f"{proposal.codemod}:{path}:{proposal.function}",
                codemod=proposal.codemod,
                path=path,
                function=proposal.function,
                line=outcome.line,
                title=outcome.title,
                reasoning=outcome.reasoning,
                gain_share=min(1.0, outcome.gain_share),
                patch=unified_patch(path, source, outcome.source),
                mutable=not proposal.touches_world,
            )
        )
    return found, left


def _hot_code(one: HotFunction, calls: CallsRecorded) -> HotCode:
    seen = next((of for of in calls.functions if (of.path, of.line) == (one.path, one.line)), None)
    return HotCode(
        function=one.function,
        line=one.line,
        share=one.share,
        lines={line.line: line.share for line in one.lines},
        calls=seen.calls if seen else 0,
        repeated_share=seen.repeated / seen.calls if seen and seen.calls else 0.0,
        distinct=seen.distinct if seen else 0,
    )


def _left(path: str, proposal: Proposal, outcome: Left) -> LeftAlone:
    return LeftAlone(codemod=proposal.codemod, path=path, function=proposal.function, line=outcome.line, why=outcome.why[:300])
