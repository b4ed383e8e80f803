"""Code with a trap in it: what a codemod must not propose, because another result, exception or effect would come of it."""

from collections.abc import Iterable
from typing import Any

import pytest

from perfwright.analysis.codemods import deques, first_match, invariants, joining, membership, memoise, patterns
from perfwright.analysis.codemods.code_reading import Edited, Left
from perfwright.analysis.codemods.linter_edits import LinterEdit, Span
from perfwright.analysis.codemods.linter_fixes import linter_proposals
from perfwright.analysis.codemods.proposals import unified_patch
from tests.perfwright.analysis.codemods.proposing import edited, hot, loaded, outcome_of, proposed

MEMBERSHIP = {
    "the list shrinks between two turns of `while any(...)`": """
def f(xs, ys):
    while any(x in ys for x in xs):
        ys.pop()
""",
    "a generator is asked while its consumer changes the list": """
def f(xs, ys):
    for x in (v for v in xs if v in ys):
        ys.remove(x)
""",
    "a generator outlives the list as it is": """
def f(xs, ys):
    found = (x for x in xs if x in ys)
    ys.clear()
    return list(found)
""",
    "the loop's own source takes from the list": """
def f(ys):
    for x in iter(ys.pop, None):
        if x in ys:
            return x
""",
    "a comprehension in another one whose condition takes from the list": """
def f(xs, ys):
    return [ys.pop() for x in xs if any(v in ys for v in x)]
""",
    "a key function takes from the list": """
def f(xs, ys, key):
    for x in xs:
        if x in ys:
            print2 = max(xs, key=key)
""",
    "other tasks run in an asynchronous loop": """
async def f(xs, ys):
    async for x in xs:
        if x in ys:
            return x
""",
    "other tasks run in an asynchronous comprehension": """
async def f(xs, ys):
    return [x async for x in xs if x in ys]
""",
    "another thread has the lock meanwhile": """
def f(xs, ys, lock):
    for x in xs:
        with lock:
            if x in ys:
                return x
""",
    "a thread is waited for": """
def f(threads, ys):
    for one in threads:
        one.join()
        if one.name in ys:
            return one
""",
    "a list with two names is multiplied": """
class A:
    def f(self, xs, ys):
        for x in xs:
            if x in ys:
                self.same *= 0
""",
    "a builtin's name means something else here": """
from .numbers import sum

def f(xs, ys):
    for x in xs:
        if x in ys:
            sum(ys)
""",
    "a star may have brought another `sum`": """
from numbers2 import *

def f(xs, ys):
    for x in xs:
        if x in ys:
            sum(ys)
""",
    "global state": """
seen = []

def f(xs):
    global seen
    for x in xs:
        if x not in seen:
            note(x)
""",
    "a closure changes it": """
def f(xs, ys):
    def drop():
        nonlocal_ = ys.pop()
    for x in xs:
        if x in ys:
            drop()
""",
    "the function looks at its own names": """
def f(xs, ys):
    for x in xs:
        if x in ys:
            pass
    return sorted(locals())
""",
    "a compiler for numbers reads the source": """
import numba

@numba.njit
def f(xs, ys):
    for x in xs:
        if x in ys:
            return x
""",
    "a method of the same object may replace it": """
class A:
    def f(self, xs):
        for x in xs:
            if x in self.known:
                self.forget(x)
""",
    "the body stands on the line of the def": """
def f(xs, ys): return [x for x in xs if x in ys]
""",
    "a method of the module's own that is called like a dictionary's": """
class Pool:
    def get(self, key):
        self.free.append(self.free.pop(0))

def f(xs, pool):
    for x in xs:
        if x in pool.free:
            pool.get(x)
""",
    "a builtin hands the list itself on": """
def f(xs, ys):
    seen = []
    for x in xs:
        if x in seen:
            longer = max(ys, seen, key=len)
            longer.pop()
        seen.append(x)
""",
    "a walrus names another list": """
def f(xs, ys):
    for x in xs:
        if x in ys and (ys := [x]):
            return ys
""",
}
FIRST_MATCH = """
def merge(counts, names, lock):
    merged = []
    for count in counts:
        for known in merged:
            if known.key == count.key:
                known.pieces += count.pieces
                break
        else:
            merged.append(count)
    return merged
"""
FIRST_MATCHES = {
    "keys change in a function that is called": ("    return", "        names.rename(count)\n    return"),
    "keys change while others run": ("    return", "        yield count\n    return"),
    "another thread changes keys": ("        for known", "        with lock:\n            pass\n        for known"),
    "it is a dictionary": ("merged = []", "merged = {1: 2}"),
    "the key is worked out each time": (
        "\ndef merge",
        "\nclass C:\n    @property\n    def key(self):\n        return self.pieces\n\n\ndef merge",
    ),
}
INVARIANTS = {
    "it is held by a dictionary": "        dict(rows=sorted(values))['rows'].append(one)\n",
    "it is what a sum begins with": "        sum([], sorted(values)).append(one)\n",
    "its first element is assigned with others": "        sorted(values)[0], b = 1, 2\n",
    "a loop assigns its element": "        for sorted(values)[0] in wanted:\n            pass\n",
    "one of two is handed on": "        max(sorted(values), [one]).append(one)\n",
    "a generator makes it later": "        waiting = (v for v in wanted if v in sorted(values))\n        values.pop()\n",
}
MEMOISE = {
    "a tuple of lists": "return tuple([one.split(',') for one in x.split(';')])",
    "a list's list": "rows = [one.split(',') for one in x.split(';')]\n    return rows[0]",
    "a part of a list": "return x.split()[1:]",
    "the rest of a list": "first, *rest = x.split()\n    return rest",
    "an element of a list of lists": "for row in [[x], [x, x]]:\n        if row:\n            return row",
    "the largest of lists": "return max([x], [x, x])",
    "lists added up": "return sum(([x], [x]), [])",
    "a list that goes through another function": "return g(x.split())",
    "a default that all calls of another function share": "return h(x)",
    "a function that is another one later": "return later(x)",
    "the environment": "return os.environ.get(x)",
    "the clock": "return time.monotonic() > x",
    "state of the module": "return x * RATE",
    "itself": "return f(x - 1) if x else 0",
    "a walrus that keeps a list": "return (parts := x.split())",
}
MODULE = """
import os
import time

RATE = 2


def g(parts):
    return parts


def h(x, held=[]):
    return held


def later(x):
    return x


later = print


def faster():
    global RATE
    RATE += 1


def f(x):
    {body}
"""
DEQUES = {
    "taken from more often than there are": ("node = waiting.pop(0)", "nodes = [waiting.pop(0) for turn in range(2)]"),
    "an inner function takes from it": ("    waiting = [start]", "    waiting = [start]\n    take = lambda: waiting.pop()"),
    "handed to itself": ("waiting.append(other)", "waiting.extend(waiting)"),
}
QUEUE = """
def f(start, edges):
    waiting = [start]
    while waiting:
        node = waiting.pop(0)
        for other in edges:
            waiting.append(other)
"""
PATTERNS = {
    "an option that prints each time": "def f(text, flags):\n    return re.match('a', text, flags)\n",
    "wrong only with its flags": "def f(text):\n    return re.match('(a#)', text, re.VERBOSE)\n",
    "flags that exclude each other": "def f(text):\n    return re.match('a', text, re.A | re.U)\n",
    "warned of where it is used": "def f(text):\n    return re.match('[[a]]', text)\n",
}
PARTS = """
def f(rows):
    text = ""
    for row in rows:
        text += f"{row}"
    return text
"""


def alone(outcome: Edited | Left | None) -> bool:
    return not isinstance(outcome, Edited)


@pytest.mark.parametrize("trap", MEMBERSHIP)
def test_lists_that_may_not_stay(trap: str) -> None:
    """The list is another one, or holds others, between two tests."""
    assert alone(proposed(MEMBERSHIP[trap], "f", membership.NAME))


@pytest.mark.parametrize("trap", FIRST_MATCHES)
def test_keys_that_may_change(trap: str) -> None:
    """What is in the list has another key, or is no list."""
    assert not alone(proposed(FIRST_MATCH, "merge", first_match.NAME)), "without the trap it is proposed"
    assert alone(proposed(FIRST_MATCH.replace(*FIRST_MATCHES[trap]), "merge", first_match.NAME))


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
    fix = LinterEdit("C411", "Unnecessary list", 4, 4, (Span((4, 12), (4, 33), "[x for x in xs]"),))
    [proposal] = linter_proposals(source, [hot(source, "f")], [fix])
    assert isinstance(proposal.outcome, Edited)
    assert proposal.outcome.source == source.replace("list([x for x in xs])", "[x for x in xs]")
    patch = unified_patch("a.py", source, proposal.outcome.source)
    assert "No newline" not in patch and patch.count("\n-  ") == patch.count("\n+  ") == 1
