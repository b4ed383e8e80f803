"""A function remembers results only where it is pure for plain arguments, and its results cannot be changed."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perfwright.analysis.codemods.code_reading import Left
from perfwright.analysis.codemods.memoise import NAME
from tests.perfwright.analysis.codemods.proposing import edited, loaded, outcome_of, proposed

DAY = """from datetime import date, datetime


def read_day(text: str) -> date:
    return datetime.strptime(text, "%d %b %Y").date()  # as the export writes it
"""
SHOUT = """
_MARK = "!"


def _louder(text):
    return text.upper()


def shout(text, times=2):
    said = _louder(text) + _MARK * times
    if not said:
        raise ValueError("nothing to say")
    return said, len(said)
"""
anything = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.lists(st.integers())
    | st.dictionaries(st.text(), st.text())
)


@settings(deadline=None, max_examples=60)
@given(anything | st.sampled_from(["14 Mar 2024", "1 Jan 2000"]))
def test_a_date_is_read_the_same(text: Any) -> None:
    """The same date or the same exception, the second time as the first."""
    changed = loaded(edited(DAY, "read_day", NAME).source, "read_day")
    expected = outcome_of(loaded(DAY, "read_day"), text)
    assert [outcome_of(changed, text), outcome_of(changed, text)] == [expected, expected]


@settings(deadline=None, max_examples=60)
@given(st.lists(anything, max_size=3))
def test_any_arguments_give_the_same(arguments: list[Any]) -> None:
    """1, True and 1.0 are told apart; too few and too many arguments fail as before."""
    changed, old = loaded(edited(SHOUT, "shout", NAME).source, "shout"), loaded(SHOUT, "shout")
    for values in (arguments, [True, *arguments], [1, *arguments], [1.0, *arguments]):
        expected = outcome_of(old, *values)
        assert [outcome_of(changed, *values), outcome_of(changed, *values)] == [expected, expected]


def test_names_and_help_stay() -> None:
    """The function keeps its name, its parameters by name, its comments; results are remembered, a bounded number of them."""
    source = edited(DAY, "read_day", NAME, distinct=1_000).source
    assert "# as the export writes it" in source and "@_remembered\ndef read_day(text: str) -> date:" in source
    assert "lru_cache(maxsize=2_048, typed=True)" in source
    function = loaded(source, "read_day")
    assert function.__name__ == "read_day"
    assert function(text="14 Mar 2024") == function("14 Mar 2024")
    assert function("14 Mar 2024") is function("14 Mar 2024")


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("import time\n\ndef f(x):\n    return time.time() + x\n", "time.time"),
        ("import os\n\ndef f(x):\n    return os.environ[x]\n", "os.environ"),
        ("def f(x):\n    return [x]\n", "may be changed by its caller"),
        ("def f(x):\n    found = {}\n    return found\n", "may be changed by its caller"),
        ("def f(x):\n    return x.split()\n", "may be changed by its caller"),
        ("seen = []\n\ndef f(x):\n    return x in seen\n", "`seen`"),
        ("def f(x):\n    global last\n    last = x\n    return x\n", "global"),
        ("def f(x):\n    print(x)\n    return x\n", "print"),
        ("def f(x):\n    x.done = True\n    return x\n", "assigns"),
        ("def f(x):\n    return open(x).read()\n", "open"),
        ("def f(x):\n    yield x\n", "yield"),
        ("def f(x):\n    return g(x)\n\ndef g(x):\n    return random.random()\n", "g"),
        ("def f(x, y=[]):\n    return x\n", "default"),
        ("import functools\n\n@functools.cache\ndef f(x):\n    return x\n", "decorated"),
        ("LIMIT = 3\nLIMIT += 1\n\ndef f(x):\n    return x + LIMIT\n", "LIMIT"),
        ("def f(x, **more):\n    return x\n", "any number"),
        ("import texts\nfrom consts import *\n\ndef f(x):\n    return texts.format(x)\n", "import *"),
        ("import re\n\nWORD = re.compile(rb'\\w', re.L)\n\ndef f(x):\n    return WORD.match(x) is None\n", "`WORD`"),
        (
            "LIMITS = ()\ntry:\n    from settings import LIMITS\nexcept ImportError:\n    pass\n\ndef f(x):\n    return x in LIMITS\n",
            "`LIMITS`",
        ),
        ("def g(x):\n    return x\n\ntry:\n    from speed import g\nexcept ImportError:\n    pass\n\ndef f(x):\n    return g(x)\n", "`g"),
        ("rows = []\n\ndef f(x):\n    return max(len(rows) for rows in x.split()) + len(rows)\n", "`rows`"),
        ("rows = []\n\ndef f(x):\n    return sum(1 for rows in rows)\n", "`rows`"),
        ("MARK = '!'\n\ndef f(x):\n    return x is MARK\n", "`is`"),
        ("def f(x):\n    return ValueError(x)\n", "changed by its caller"),
    ],
)
def test_what_is_not_pure_is_left_alone(source: str, why: str) -> None:
    """The first thing that is not proven is told."""
    outcome = proposed(source, "f", NAME)
    assert isinstance(outcome, Left) and why in outcome.why


def test_a_nan_is_another_one_each_time() -> None:
    """A list has the very same NaN in it, and no other; what is equal to itself is remembered."""
    for source in ("def f(x):\n    return x, float(x)\n", "from decimal import Decimal\n\ndef f(x):\n    return Decimal(x)\n"):
        changed = loaded(edited(source, "f", NAME).source, "f")
        assert changed("nan") not in [changed("nan"), changed("nan")]
        assert changed("1.5") is changed("1.5")
    assert changed("sNaN").is_snan()


def test_a_program_that_changes_its_locale_reads_dates_anew() -> None:
    """`%b` means other months after `setlocale`."""
    outcome = proposed(DAY, "read_day", NAME, frozenset({"setlocale"}))
    assert isinstance(outcome, Left) and "locale" in outcome.why


@pytest.mark.parametrize("seen", [{"repeated_share": 0.2}, {"calls": 10}, {"calls": 0, "repeated_share": 0.0}])
def test_what_does_not_repeat_is_no_opportunity(seen: dict[str, Any]) -> None:
    """Without arguments that come again there is nothing to remember."""
    assert proposed(DAY, "read_day", NAME, **seen) is None


@pytest.mark.parametrize("source", ["class A:\n    def f(self, x):\n        return 1\n", "def f():\n    return 1\n"])
def test_methods_and_functions_without_arguments_are_no_opportunity(source: str) -> None:
    """What a method gives depends on more than its arguments."""
    assert proposed(source, "f", NAME) is None
