"""Code with a trap in it: what a codemod must not propose, because another result, exception or effect would come of it."""

import copy
from collections.abc import Iterable
from typing import Any

import pytest

from perfwright.analysis.codemods import deques, first_match, invariants, joining, membership, memoise, patterns
from perfwright.analysis.codemods.code_reading import Edited, Left
from perfwright.analysis.codemods.linter_edits import LinterEdit, Span
from perfwright.analysis.codemods.linter_fixes import linter_proposals
from perfwright.analysis.codemods.proposals import unified_patch
from tests.perfwright.analysis.codemods.proposing import edited, hot, loaded, outcome_of, proposed
from tests.perfwright.analysis.codemods.traps import (
    DEQUES,
    FIRST_MATCH,
    FIRST_MATCHES,
    INVARIANTS,
    MEMBERSHIP,
    MEMOISE,
    MODULE,
    PARTS,
    PATTERNS,
    QUEUE,
)


class Shifting:
    """Its key is worked out of what is added up."""

    def __init__(self, pieces: int) -> None:
        self.pieces = pieces

    @property
    def key(self) -> int:
        return self.pieces % 5

    def __repr__(self) -> str:
        return f"Shifting({self.pieces})"


def alone(outcome: Edited | Left | None) -> bool:
    return not isinstance(outcome, Edited)


@pytest.mark.parametrize("trap", MEMBERSHIP)
def test_lists_that_may_not_stay(trap: str) -> None:
    """The list is another one, or holds others, between two tests."""
    assert alone(proposed(MEMBERSHIP[trap], "f", membership.NAME))


@pytest.mark.parametrize(
    "body",
    [
        "rows = load(xs)\n    return [row for row in rows if row in ys]",
        "return [', '.join(x) in ys and x.get('a', 1) for x in xs]",
        "return any(os.path.join(x, 'a') in ys for x in xs)",
        "for x in xs:\n        if x in ys and settings.get(x):\n            return max(x, key=len)",
    ],
)
def test_lists_that_stay(body: str) -> None:
    """What everybody writes is no trap: a source that was loaded, joined paths, dictionaries."""
    assert not alone(proposed(f"import os\n\ndef f(xs, ys, settings):\n    {body}\n", "f", membership.NAME))


@pytest.mark.parametrize("trap", FIRST_MATCHES)
def test_keys_that_may_change(trap: str) -> None:
    """What is in the list has another key, or is no list."""
    assert not alone(proposed(FIRST_MATCH, "merge", first_match.NAME)), "without the trap it is proposed"
    assert alone(proposed(FIRST_MATCH.replace(*FIRST_MATCHES[trap]), "merge", first_match.NAME))


@pytest.mark.parametrize("counts", [[1, "a"], ["a", 1], [None, 1.5], [Shifting(0), 1], [Shifting(n % 5) for n in range(9)]])
def test_searches_fail_and_find_as_before(counts: list[Any]) -> None:
    """Of two that have no key the first is told; a key that is worked out of what changes is asked each time."""
    changed = loaded(edited(FIRST_MATCH, "merge", first_match.NAME).source, "merge")
    expected = outcome_of(loaded(FIRST_MATCH, "merge"), copy.deepcopy(counts), [], None)
    assert outcome_of(changed, copy.deepcopy(counts), [], None) == expected


def test_another_any_is_handed_nothing_that_is_kept() -> None:
    """A function that only has a builtin's name may change the list it is given."""
    source = "from numbers2 import any\n\n\ndef f(xs):\n    ys = [2, 1]\n    for x in xs:\n        any(sorted(ys))\n"
    assert alone(proposed(source, "f", invariants.NAME))


@pytest.mark.parametrize("trap", INVARIANTS)
def test_what_is_made_may_be_changed(trap: str) -> None:
    """What is kept would be changed by the first who gets it."""
    source = f"def f(values, wanted):\n    for one in wanted:\n{INVARIANTS[trap]}    return values\n"
    assert alone(proposed(source, "f", invariants.NAME))


@pytest.mark.parametrize("trap", MEMOISE)
def test_results_that_are_not_the_callers_alone(trap: str) -> None:
    """A remembered list is everybody's, and a result of the clock is not the arguments'."""
    assert isinstance(proposed(MODULE.replace("{body}", MEMOISE[trap]), "f", memoise.NAME), Left)


@pytest.mark.parametrize(
    "body",
    [
        "return tuple(one.strip() for one in x.split(';'))",
        "parts = x.split()\n    return parts[0]",
        "first, second = x.split()\n    return second",
        "for part in x.split():\n        return part",
        "return max(x.split())",
    ],
)
def test_what_nobody_can_change_is_remembered(body: str) -> None:
    """The same with texts."""
    assert isinstance(proposed(MODULE.replace("{body}", body), "f", memoise.NAME), Edited)


def test_decimals_of_a_program_that_changes_their_context() -> None:
    """`Decimal(a) / 3` has as many digits as the context says."""
    source = "from decimal import Decimal\n\ndef f(x):\n    return Decimal(x) / 3\n"
    assert isinstance(proposed(source, "f", memoise.NAME), Edited)
    assert isinstance(proposed(source, "f", memoise.NAME, frozenset({"localcontext"})), Left)


def test_numbers_of_a_program_that_changes_its_locale() -> None:
    """`n` writes 1.000 or 1,000; other formats stay the same."""
    for body, follows in (("f'{x:n}'", True), ("'{:n}'.format(x)", True), ("format(x, 'd')", True), ("f'{x:02d}'", False)):
        outcome = proposed(f"def f(x):\n    return {body}\n", "f", memoise.NAME, frozenset({"setlocale"}))
        assert isinstance(outcome, Left if follows else Edited), body


def test_globals_that_are_assigned_from_elsewhere() -> None:
    """`price.RATE = 7` in another file: what is remembered would be of the old rate."""
    source = "RATE = 2\n\ndef f(x):\n    return x * RATE\n"
    assert isinstance(proposed(source, "f", memoise.NAME), Edited)
    assert isinstance(proposed(source, "f", memoise.NAME, frozenset({".RATE"})), Left)


def test_a_one_line_function_keeps_nothing_over_its_calls() -> None:
    """Neither of a list nor of what is made of it."""
    for codemod, body in ((membership.NAME, "x in ys"), (invariants.NAME, "sorted(ys)[0] == x")):
        outcome = proposed(f"def f(xs, ys): return [x for x in xs if {body}]\n", "f", codemod)
        assert isinstance(outcome, Left) and "on the line of its `def`" in outcome.why


@pytest.mark.parametrize("trap", DEQUES)
def test_queues_that_are_more(trap: str) -> None:
    """An empty deque says something else, and another method is not there."""
    assert not alone(proposed(QUEUE, "f", deques.NAME))
    assert alone(proposed(QUEUE.replace(*DEQUES[trap]), "f", deques.NAME))


@pytest.mark.parametrize("trap", PATTERNS)
def test_patterns_that_do_more_where_they_are_used(trap: str) -> None:
    """What fails, warns or prints in the call would do so when the module is imported, or once only."""
    assert isinstance(proposed(f"import re\n\n{PATTERNS[trap]}", "f", patterns.NAME), Left)


def test_a_pattern_of_a_method_without_a_name() -> None:
    """`_` is what handlers are called; a class renames names with two underscores."""
    source = "import re\n\n\nclass C:\n    def _(self, text):\n        return re.match('a', text) is not None\n"
    assert loaded(edited(source, "_", patterns.NAME).source, "C")()._("a") is True


def test_modules_that_are_not_known_where_the_helper_stands() -> None:
    """`re` of one function, an import at the end, two things of one name: nothing at the top of the module may need them."""
    body = "    return re.match('a', text)\n"
    assert alone(proposed(f"def f(text):\n    import re\n{body}", "f", patterns.NAME))
    assert alone(proposed(f"def f(text):\n{body}\n\nimport re\n", "f", patterns.NAME))
    assert alone(proposed(f"try:\n    import re2 as re\nexcept ImportError:\n    import re\n\ndef f(text):\n{body}", "f", patterns.NAME))


def test_a_helper_is_there_before_what_needs_it() -> None:
    """With an import at the end of the module, or the same one in another function, the changed module still loads."""
    for rest in ("import os\n", "def g():\n    from functools import lru_cache, wraps\n    return wraps\n"):
        source = f"def f(x):\n    return x * 2\n\n\n{rest}"
        assert loaded(edited(source, "f", memoise.NAME).source, "f")(2) == 4


def test_a_test_in_parentheses_stays_in_them() -> None:
    """`(x not in ys) + 1` is no `not (... + 1)`."""
    source = "def f(xs, ys):\n    return [(x not in ys) + 1 for x in xs] + [(x in ys) == (x not in ys) for x in xs]\n"
    changed = loaded(edited(source, "f", membership.NAME).source, "f")
    assert outcome_of(changed, [1, 2, 3], [2]) == outcome_of(loaded(source, "f"), [1, 2, 3], [2])


def test_new_names_do_not_meet() -> None:
    """Two lists of one name, and a name with a number that is the program's own."""
    source = (
        "def f(a, b, xs, names_members_2=7):\n    found = []\n    for x in xs:\n"
        "        if x in a.names or x in b.names:\n            found.append((x, names_members_2))\n    return found\n"
    )

    class Named:
        def __init__(self, names: list[int]) -> None:
            self.names = names

    for codemod in (membership.NAME, invariants.NAME):
        text = (
            source
            if codemod == membership.NAME
            else source.replace("in a.names", "in set(a.names)").replace("in b.names", "in set(b.names)")
        )
        outcome = proposed(text, "f", codemod)
        assert isinstance(outcome, Edited)
        assert loaded(outcome.source, "f")(Named([1]), Named([2]), [0, 1, 2, 1, 2]) == [(1, 7), (2, 7), (1, 7), (2, 7)]


def test_a_list_that_shrinks_behind_the_back_is_searched_again() -> None:
    """A generator of the caller's may take from the list: no set of what was in it answers then."""
    source = "def f(xs, ys):\n    return [x in ys for x in xs]\n"

    def taking(ys: list[int]) -> Iterable[int]:
        yield from (1, 1, 1)
        ys.clear()
        yield 1

    answers = []
    for text in (source, edited(source, "f", membership.NAME).source):
        ys = [1, 2]
        answers.append(loaded(text, "f")(taking(ys), ys))
    assert answers[0] == answers[1] == [True, True, True, False]


@pytest.mark.parametrize(
    "values", [[float("nan")] * 3, [True, 1, 1.0, 0, False], [[1], 1, [1]], [2**70, 1e300, -0.0, 0.0], [(1,), "1", b"1"]]
)
def test_values_that_are_equal_or_never_are(values: list[Any]) -> None:
    """NaN, True and 1, zeros with a sign, what cannot be hashed."""
    source = "def f(xs, ys):\n    return [x in ys for x in xs], [x not in ys for x in [*xs, float('nan'), {}]]\n"
    changed = loaded(edited(source, "f", membership.NAME).source, "f")
    assert outcome_of(changed, values, values) == outcome_of(loaded(source, "f"), values, values)


def test_type_comments_stay_true() -> None:
    """`text = ""  # type: str` is no comment for a list."""
    assert not alone(proposed(PARTS, "f", joining.NAME))
    assert alone(proposed(PARTS.replace('text = ""', 'text = ""  # type: str'), "f", joining.NAME))


def test_lines_are_counted_as_git_and_ruff_do() -> None:
    """A form feed ends no line."""
    source = "x = 1\n\x0c\ndef f(xs):\n    return list([x for x in xs])\n"
    fix = LinterEdit("C411", "Unnecessary list", 4, 4, (Span((4, 12), (4, 33), "[x for x in xs]"),), "unsafe")
    [proposal] = linter_proposals(source, [hot(source, "f")], [fix])
    assert isinstance(proposal.outcome, Edited)
    assert proposal.outcome.source == source.replace("list([x for x in xs])", "[x for x in xs]")
    patch = unified_patch("a.py", source, proposal.outcome.source)
    assert "No newline" not in patch and patch.count("\n-  ") == patch.count("\n+  ") == 1
