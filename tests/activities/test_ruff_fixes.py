"""ruff itself is asked: its fixes of hot lines are taken, those that would change an answer are left alone."""

from pathlib import Path

import pytest

from activities.changes.kind import Site
from activities.ruff_fixes import ruff_edits
from perfwright.analysis.codemods.code_reading import Edited, Left
from perfwright.analysis.codemods.linter_edits import RULES, SAFE_FIXES, UNSAFE_FIXES
from perfwright.analysis.codemods.linter_fixes import linter_proposals
from tests.perfwright.analysis.codemods.proposing import hot, loaded, outcome_of

SOURCE = '''"""A form feed is no end of a line:\x0c columns and lines are ruff's. \u00e9"""

from datetime import datetime


def copied(pairs):
    return [one for one in pairs], set([first for first, _ in pairs])  # both \u00e9


def values(known):
    found = 0
    for key, value in known.items():
        found += value
    return found


def smallest(numbers):
    return sorted(numbers)[0]


def any_large(texts):
    return any([int(text) > 5 for text in texts])


def taken_in_turns(numbers):
    turns = iter(numbers)
    return list(next(turns) + one for one in turns)


def larger_or_same(one, other):
    return one if one >= other else other


def without(text, end):
    return text[: -len(end)] if text.endswith(end) else text


def stem(name):
    return name[:-4] if name.endswith(".txt") else name


def reversed_here(kept):
    names = kept = ["a", "b"]
    names = names[::-1]
    return names, kept


def instant(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def cold(numbers):
    return list(sorted(numbers))
'''
TAKEN = ("copied", "values", "stem")
MIXED = """def mixed(xs):
    first = xs[0] if xs[0] > xs[1] else xs[1]
    return list([x + first for x in xs])


def shown(xs):
    # xs.sort()
    return xs
"""


async def test_fixes_of_hot_lines_answer_alike(tmp_path: Path) -> None:
    """Each function on its own; `cold` takes no time, and nothing is said of it."""
    edits = await ruff_edits(Site({}, tmp_path, lambda *_: None), "shop/a.py", SOURCE)
    assert {edit.rule for edit in edits} >= {"C416", "C403", "PERF102", "FURB192", "C419", "C413"}
    outcomes = {one.function: one.outcome for one in linter_proposals(SOURCE, [hot(SOURCE, name) for name in TAKEN], edits)}
    for name, arguments in (
        ("copied", ([(1, 2), (3, 4)],)),
        ("copied", (7,)),
        ("values", ({"a": 1, "b": 2},)),
        ("values", ({"a": ""},)),
        ("stem", ("a.txt",)),
        ("stem", ("a",)),
    ):
        outcome = outcomes[name]
        assert isinstance(outcome, Edited) and "list(sorted(numbers))" in outcome.source
        assert outcome_of(loaded(outcome.source, name), *arguments) == outcome_of(loaded(SOURCE, name), *arguments)
    copied, values = outcomes["copied"], outcomes["values"]
    assert isinstance(copied, Edited) and "return list(pairs), {first for first, _ in pairs}  # both \u00e9\n" in copied.source
    assert isinstance(values, Edited) and "    for value in known.values():\n" in values.source


async def test_fixes_that_answer_in_another_way(tmp_path: Path) -> None:
    """Whatever ruff calls them, they are left alone, and why."""
    edits = await ruff_edits(Site({}, tmp_path, lambda *_: None), "shop/a.py", SOURCE)
    for name, why in (
        ("smallest", "another exception"),
        ("any_large", "stops at the first answer"),
        ("taken_in_turns", "the end of an iterator"),
        ("larger_or_same", "NaN"),
        ("without", "an empty suffix"),
        ("reversed_here", "whoever else holds the list"),
        ("instant", "in other words"),
    ):
        [proposal] = linter_proposals(SOURCE, [hot(SOURCE, name)], edits)
        assert isinstance(proposal.outcome, Left) and why in proposal.outcome.why, name


async def test_each_fix_is_trusted_as_ruff_trusts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Safe and unsafe ones are candidates of their own, the unsafe one is told to be so; what ruff only shows is left alone."""
    monkeypatch.setattr("activities.ruff_fixes.RULES", (*RULES, "ERA"))
    site, source = Site({}, tmp_path, lambda *_: None), MIXED
    edits = await ruff_edits(site, "a.py", source)
    assert {edit.applicability for edit in edits} == {"safe", "unsafe", "displayonly"}
    found = linter_proposals(source, [hot(source, "mixed"), hot(source, "shown")], edits)
    assert [(one.codemod, one.function) for one in found] == [(SAFE_FIXES, "mixed"), (UNSAFE_FIXES, "mixed"), (UNSAFE_FIXES, "shown")]
    safe, unsafe, shown = (one.outcome for one in found)
    assert isinstance(safe, Edited) and "unsafe" not in safe.title + safe.reasoning
    assert isinstance(unsafe, Edited) and unsafe.title.endswith("(ruff calls it unsafe)") and "calls it unsafe" in unsafe.reasoning
    assert isinstance(shown, Left) and "never makes it" in shown.why
    [again] = linter_proposals(source, [hot(source, "mixed")], edits, only=UNSAFE_FIXES)
    assert again.outcome == unsafe
    for outcome in (safe, unsafe):
        assert outcome.source != source and loaded(outcome.source, "mixed")([3, 1]) == loaded(source, "mixed")([3, 1])


async def test_nothing_is_asked_of_what_ruff_cannot_read(tmp_path: Path) -> None:
    """A file with a mistake, and one without anything to fix, have no fixes."""
    site = Site({}, tmp_path, lambda *_: None)
    assert await ruff_edits(site, "a.py", "def f(:\n") == ()
    assert await ruff_edits(site, "a.py", "x = 1\n") == ()
