"""Fixes that ruff offers for its rules about performance, of hot lines only, one candidate for a function.

Fixes that are known to change a result or an exception are left alone, whatever ruff calls them; of the others the tests, the calls made
again and the trial decide.
"""

import ast
import re
from collections.abc import Mapping, Sequence

from perfwright.analysis.codemods.code_reading import Code, Edited, HotCode, Left
from perfwright.analysis.codemods.linter_edits import LinterEdit, Span
from perfwright.analysis.codemods.proposals import Proposal, touches_world

NAME = "ruff"
_LEFT: Mapping[tuple[str, str], str] = {
    ("FURB192", ""): "of nothing, `min` raises another exception than the first of a sorted list",
    ("C419", ""): "a generator stops at the first answer: what comes behind it would not raise, or not be done, any more",
    ("C413", "reversed"): "elements that are equal would come in another order",
    ("C414", "sorted"): "what cannot be sorted would raise no exception any more",
    ("C416", "dict"): "`dict` of a dictionary whose keys are pairs is another one",
    ("FURB163", ""): "the last digit may be another one",
    ("FURB116", ""): "negative numbers would look different",
    ("FURB166", ""): "texts without the prefix would be read differently",
    ("FURB129", ""): "the file would be read while the loop runs",
}
"""Rule and a word of its message -> what else would change with its fix; these are left alone."""
GAIN = 0.3
"""Of the time of its line, most that replacing a loop by a comprehension and the like was seen to win."""


def linter_proposals(source: str, hot: Sequence[HotCode], edits: Sequence[LinterEdit]) -> list[Proposal]:
    """One proposal for each function that has a fix on a hot line; or why none of its fixes is taken. Raises SyntaxError."""
    found: list[Proposal] = []
    if not edits:
        return found
    code = Code(source)
    for one in hot:
        function = code.function(one.function, one.line)
        if function is None:
            continue
        first, last = code.lines(function)
        mine = [
            edit
            for edit in edits
            if first <= edit.line <= last
            and one.share_of(edit.line, edit.last_line) > 0
            and all(first <= s.start[0] <= last for s in edit.spans)
        ]
        taken, spans = _apart([edit for edit in mine if not _why_left(edit)])
        if not taken:
            if mine:
                left = Left(mine[0].line, f"{mine[0].rule}: {_why_left(mine[0])}")
                found.append(Proposal(NAME, code.qualified(function), left, touches_world(code, function)))
            continue
        new = _applied(source, spans)
        try:
            ast.parse(new)
        except SyntaxError:
            continue
        gain = max(one.share_of(edit.line, edit.last_line) for edit in taken)
        outcome = Edited(
            source=new,
            title=f"{', '.join(sorted({edit.rule for edit in taken}))} in `{function.name.value}`: {taken[0].told}",
            reasoning="offered by ruff; whether results and exceptions stay equal is left to the tests and the calls made again",
            line=taken[0].line,
            gain_share=GAIN * gain,
        )
        found.append(Proposal(NAME, code.qualified(function), outcome, touches_world(code, function)))
    return found


def _why_left(edit: LinterEdit) -> str:
    return next((why for (rule, word), why in _LEFT.items() if edit.rule == rule and word in edit.told), "")


def _apart(edits: Sequence[LinterEdit]) -> tuple[list[LinterEdit], list[Span]]:
    """Those that do not touch each other, in order."""
    taken: list[LinterEdit] = []
    spans: list[Span] = []
    for edit in edits:
        if all(new.end <= old.start or old.end <= new.start for new in edit.spans for old in spans):
            taken.append(edit)
            spans += edit.spans
    return taken, spans


def _applied(source: str, spans: Sequence[Span]) -> str:
    starts = [0]
    for line in re.split(r"(?<=\n)|(?<=\r)(?!\n)", source):  # as ruff counts them: a form feed ends none
        starts.append(starts[-1] + len(line))
    for span in sorted(spans, key=lambda one: one.start, reverse=True):
        begin, end = (starts[line - 1] + column - 1 for line, column in (span.start, span.end))
        source = source[:begin] + span.text + source[end:]
    return source
