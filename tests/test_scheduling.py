"""Long tests start first, and those that are named are there."""

import re
from pathlib import Path

from tests.scheduling import LONG, LONG_FILES, in_good_order, unit_of

ROOT = Path(__file__).resolve().parents[1]


def test_what_is_named_is_there() -> None:
    """A test that was renamed would come last, and everybody would wait for it."""
    for name in (*LONG, *LONG_FILES):
        file, _, test = name.partition("::")
        assert not test or re.search(rf"def {test}\(", (ROOT / file).read_text()), name
        assert (ROOT / file).is_file(), name


def test_the_longest_come_first() -> None:
    """Every test is there once; a file's tests stay together and in their order, its long ones apart."""
    long, longer = sorted(LONG, key=lambda name: LONG[name])[:: len(LONG) - 1]
    file = max(LONG_FILES, key=lambda name: LONG_FILES[name])
    given = ["tests/a.py::test_1", f"{file}::test_1", "tests/a.py::test_2", long, f"{longer}[x::y]", f"{file}::test_2"]
    order = in_good_order(given)
    assert sorted(order) == [*range(6)]
    assert order[0] == 4 and order.index(1) + 1 == order.index(5) < order.index(3) and order.index(0) + 1 == order.index(2)
    assert order[-1] == 2, "the long one has begun before"
    assert unit_of(given[4]) == given[4] and unit_of(given[1]) == unit_of(given[5]) == file
