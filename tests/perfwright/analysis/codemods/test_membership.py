"""`in` a list becomes `in` a set, with equal results and equal exceptions, or is left alone."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfwright.analysis.codemods.code_reading import Left
from perfwright.analysis.codemods.membership import NAME
from tests.perfwright.analysis.codemods.proposing import edited, loaded, outcome_of, proposed

DEDUPE = """
def distinct(values):
    found = []
    for value in values:
        if value not in found:
            found.append(value)
    return found
"""
COMMON = """
def common(left, right):
    return [one for one in left if one in right]
"""
NESTED = """
def matching(rules, lines):
    found = []
    for rule in rules:
        for line in lines:
            if line[0] in rule.names and line[1]:  # the rule's own
                found.append((rule, line))
    return found
"""
plain = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text("ab", max_size=2) | st.binary(max_size=1)
anything = (
    plain | st.lists(plain, max_size=2) | st.tuples(plain) | st.tuples(st.lists(plain)) | st.frozensets(plain, max_size=2) | st.decimals()
)


@settings(deadline=None, max_examples=60)
@given(st.lists(anything, max_size=12))
def test_first_occurrences_stay_the_same(values: list[Any]) -> None:
    """A growing list gives the same values in the same order, whatever is in it: numbers that are equal, NaN, what cannot be hashed."""
    changed = edited(DEDUPE, "distinct", NAME)
    assert outcome_of(loaded(changed.source, "distinct"), [*values]) == outcome_of(loaded(DEDUPE, "distinct"), [*values])


@settings(deadline=None, max_examples=60)
@given(
    st.lists(anything, max_size=8),
    st.lists(anything, max_size=8) | st.text("ab") | st.none() | st.tuples(anything) | st.dictionaries(plain, plain),
)
def test_a_comprehension_stays_the_same(left: list[Any], right: Any) -> None:
    """Also where what is looked into is no list: a text, a dictionary, None with its exception."""
    changed = edited(COMMON, "common", NAME)
    assert outcome_of(loaded(changed.source, "common"), left, right) == outcome_of(loaded(COMMON, "common"), left, right)


def test_an_iterator_is_used_up_as_before() -> None:
    """What can be read once is read as it was."""
    changed = edited(COMMON, "common", NAME)
    results = [loaded(source, "common")([3, 1, 2], iter([1, 2, 3])) for source in (COMMON, changed.source)]
    assert results[0] == results[1] == [3]


def test_only_the_test_and_its_set_are_new() -> None:
    """Comments and everything else stay; the set is made where the list is another one in each turn."""
    changed = edited(NESTED, "matching", NAME).source
    assert "            if names_members.have(line[0], rule.names) and line[1]:  # the rule's own\n" in changed
    assert "    for rule in rules:\n        names_members = _Members()\n        for line in lines:\n" in changed
    kept = [line for line in NESTED.splitlines() if " in rule.names" not in line]
    assert [line for line in changed.splitlines() if line in kept and line] == [line for line in kept if line]


def test_comparisons_are_counted_down() -> None:
    """A list of 400 is searched by equality at most once; before, once for each of 400 values."""

    class Seen(str):
        compared = 0

        def __eq__(self, other: object) -> bool:
            Seen.compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    counts = []
    for source in (COMMON, edited(COMMON, "common", NAME).source):
        Seen.compared = 0
        loaded(source, "common")([f"{n}" for n in range(400)], [Seen(f"x{n}") for n in range(400)])
        counts.append(Seen.compared)
    assert counts[0] == counts[1] == 160_000  # no plain values: as before
    values = [f"x{n}" for n in range(400)]
    assert loaded(edited(COMMON, "common", NAME).source, "common")(values, values) == values


@pytest.mark.parametrize(
    "body",
    [
        "    for x in xs:\n        if x in ys:\n            ys.remove(x)\n",
        "    for x in xs:\n        if x in ys:\n            ys[0] = x\n",
        "    for x in xs:\n        if x in ys:\n            other(x)\n",
        "    for x in xs:\n        if x in ys:\n            ys = [x]\n",
        "    for x in xs:\n        if x in ys:\n            zs += [x]\n",
        "    for x in xs:\n        if x in ys:\n            yield x\n",
        "    for x in xs:\n        if x in ys:\n            x.update(ys)\n",
        "    alias = ys\n    for x in xs:\n        if x in ys:\n            alias.pop()\n",
        "    for x in xs:\n        if x in x.ys:\n            x.ys = []\n",
        "    for x in xs:\n        if x in ys:\n            del ys[0]\n",
    ],
)
def test_a_list_that_may_change_is_left_alone(body: str) -> None:
    """Where the loop may change the list in another way than at its end, nothing is proposed, and the reason is told."""
    outcome = proposed(f"def f(xs, ys, zs, other):\n{body}", "f", NAME)
    assert isinstance(outcome, Left) and outcome.why


@pytest.mark.parametrize(
    "source",
    [
        "def f(xs):\n    known = set()\n    for x in xs:\n        if x in known:\n            return x\n",
        "def f(xs):\n    known = {}\n    for x in xs:\n        if x in known:\n            return x\n",
        "def f(xs, known: dict[str, int]):\n    for x in xs:\n        if x in known:\n            return x\n",
        "def f(x, ys):\n    return x in ys\n",
        "def f(xs):\n    for x in xs:\n        if x in (1, 2):\n            return x\n",
    ],
)
def test_what_is_quick_already_is_no_opportunity(source: str) -> None:
    """Sets, dictionaries, single tests and short literals are not spoken of."""
    assert proposed(source, "f", NAME) is None
