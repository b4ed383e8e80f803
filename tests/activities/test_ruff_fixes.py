"""ruff itself is asked: its fixes of hot lines are taken, those that would change an answer are left alone."""

from pathlib import Path

from activities.changes.kind import Site
from activities.ruff_fixes import ruff_edits
from perfwright.analysis.codemods.code_reading import Edited, Left
from perfwright.analysis.codemods.linter_fixes import linter_proposals
from tests.perfwright.analysis.codemods.proposing import hot, loaded, outcome_of

SOURCE = '''"""A form feed is no end of a line:\x0c columns and lines are ruff's. \u00e9"""


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


def cold(numbers):
    return list(sorted(numbers))
'''


async def test_fixes_of_hot_lines_answer_alike(tmp_path: Path) -> None:
    """Each function on its own; `cold` takes no time, and nothing is said of it."""
    edits = await ruff_edits(Site({}, tmp_path, lambda *_: None), "shop/a.py", SOURCE)
    assert {edit.rule for edit in edits} >= {"C416", "C403", "PERF102", "FURB192", "C419", "C413"}
    names = ("copied", "values", "smallest", "any_large")
    outcomes = {one.function: one.outcome for one in linter_proposals(SOURCE, [hot(SOURCE, name) for name in names], edits)}
    for name, arguments in (("copied", ([(1, 2), (3, 4)],)), ("copied", (7,)), ("values", ({"a": 1, "b": 2},)), ("values", ({"a": ""},))):
        outcome = outcomes[name]
        assert isinstance(outcome, Edited) and "list(sorted(numbers))" in outcome.source
        assert outcome_of(loaded(outcome.source, name), *arguments) == outcome_of(loaded(SOURCE, name), *arguments)
    copied, values = outcomes["copied"], outcomes["values"]
    assert isinstance(copied, Edited) and "return list(pairs), {first for first, _ in pairs}  # both \u00e9\n" in copied.source
    assert isinstance(values, Edited) and "    for value in known.values():\n" in values.source
    smallest, any_large = outcomes["smallest"], outcomes["any_large"]
    assert isinstance(smallest, Left) and "another exception" in smallest.why
    assert isinstance(any_large, Left) and "stops at the first answer" in any_large.why


async def test_nothing_is_asked_of_what_ruff_cannot_read(tmp_path: Path) -> None:
    """A file with a mistake, and one without anything to fix, have no fixes."""
    site = Site({}, tmp_path, lambda *_: None)
    assert await ruff_edits(site, "a.py", "def f(:\n") == ()
    assert await ruff_edits(site, "a.py", "x = 1\n") == ()
