"""Fixes that ruff offers for its rules about performance, of hot lines only. In a function those that it calls safe are one candidate, and
those that it calls unsafe another; those that it only shows are never taken.

Fixes that are known to change a result or an exception are left alone, whatever ruff calls them; of the others the tests, the calls made
again and the trial decide.
"""

import ast
import re
from collections.abc import Mapping, Sequence

import libcst as cst

from perfwright.analysis.codemods.code_reading import Code, Edited, HotCode, Left, dotted, walk
from perfwright.analysis.codemods.linter_edits import SAFE_FIXES, SHOWN_ONLY, UNSAFE_FIXES, LinterEdit, Span
from perfwright.analysis.codemods.proposals import Proposal, touches_world, why_unreadable

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
    ("FURB187", ""): "whoever else holds the list would see it reversed",
    ("FURB136", ">="): "of a number and NaN it would give the other one",
    ("FURB136", "<="): "of a number and NaN it would give the other one",
    ("FURB162", ""): "a text that is no date would be told in other words, and older interpreters do not read `Z`",
}
"""Rule and a word of its message -> what else would change with its fix; these are left alone."""
_ALL_OR_NOTHING = frozenset({"PERF401", "PERF403"})
"""A loop that fills something becomes a comprehension, of which nothing is left when it raises."""
_OF_GENERATORS = frozenset({"C400", "C401", "C402", "C417"})
_ENDING = frozenset({"next", "__next__", "send", "throw", "StopIteration"})
"""Names by which an iterator's end may come out of a generator or `map`: of a comprehension it would be told in another way."""
_FIXED_SUFFIX = re.compile(r"""removesuffix\([bBrRuU]*(["'])(?!\1)""")
GAIN = 0.3
"""Of the time of its line, most that replacing a loop by a comprehension and the like was seen to win."""


def linter_proposals(source: str, hot: Sequence[HotCode], edits: Sequence[LinterEdit], only: str = "") -> list[Proposal]:
    """At most two proposals for each function that has a fix on a hot line; or why none of its fixes is taken. `only`: one codemod.

    Raises SyntaxError.
    """
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
        for codemod in (SAFE_FIXES, UNSAFE_FIXES):
            if only not in ("", codemod):
                continue
            outcome = _outcome(source, code, function, one, [edit for edit in mine if edit.codemod == codemod])
            if outcome is not None:
                found.append(Proposal(codemod, code.qualified(function), outcome, touches_world(code, function)))
    return found


def _outcome(source: str, code: Code, function: cst.FunctionDef, hot: HotCode, edits: Sequence[LinterEdit]) -> Edited | Left | None:
    """The fixes of one codemod, those that touch each other aside. None: there is none."""
    taken, spans = _apart([edit for edit in edits if not _why_left(code, function, edit)])
    if not taken:
        return Left(edits[0].line, f"{edits[0].rule}: {_why_left(code, function, edits[0])}") if edits else None
    new = _applied(source, spans)
    try:
        ast.parse(new)
    except SyntaxError:
        return None
    unsafe = taken[0].codemod == UNSAFE_FIXES
    title = f"{', '.join(sorted({edit.rule for edit in taken}))} in `{function.name.value}`: {taken[0].told}"
    return Edited(
        source=new,
        title=f"{title} (ruff calls it unsafe)" if unsafe else title,
        reasoning=f"offered by ruff, which calls it {'unsafe' if unsafe else 'safe'}; whether results and exceptions stay equal is left to "
        "the tests and the calls made again",
        line=taken[0].line,
        gain_share=GAIN * max(hot.share_of(edit.line, edit.last_line) for edit in taken),
    )


def _why_left(code: Code, function: cst.FunctionDef, edit: LinterEdit) -> str:
    if edit.applicability.startswith(SHOWN_ONLY):
        return "ruff shows the fix, and never makes it"
    if edit.rule in _ALL_OR_NOTHING and _outlives(code, function, edit):
        return "what was filled before an exception may be looked at after it"
    if edit.rule in _OF_GENERATORS and any(isinstance(node, cst.Name) and node.value in _ENDING for node in walk(function)):
        return "the end of an iterator would be told in another way"
    if "removesuffix" in edit.told and not any(_FIXED_SUFFIX.search(span.text) for span in edit.spans):
        return "an empty suffix would leave the text as it is"
    known = next((why for (rule, word), why in _LEFT.items() if edit.rule == rule and word in edit.told), "")
    return known or why_unreadable(code, function)


def _outlives(code: Code, function: cst.FunctionDef, edit: LinterEdit) -> bool:
    """Whether the function may go on after an exception on the line: in `try`, or in a `with` of something else than an open file."""
    for node in walk(function):
        if isinstance(node, cst.Try | cst.TryStar | cst.With) and code.lines(node)[0] <= edit.line <= code.lines(node)[1]:
            called = (
                [dotted(item.item.func) or "" for item in node.items if isinstance(item.item, cst.Call)]
                if isinstance(node, cst.With)
                else []
            )
            if isinstance(node, cst.Try | cst.TryStar) or [name.rpartition(".")[2] for name in called] != ["open"] * len(node.items):
                return True
    return False


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
