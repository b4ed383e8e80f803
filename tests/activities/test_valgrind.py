"""How many seeds instructions are counted for, and what of allocations. That both stand beside the time is in test_trial_measuring."""

import sys
from pathlib import Path

import pytest
from temporalio.testing import ActivityEnvironment

from activities.subprocesses import Tool
from activities.trial_measuring.valgrind import NotCounted, count_allocations, count_instructions, count_under_valgrind
from perfwright.models.trial import Side
from tests.needs import needs

COUNTING = """#!/bin/sh
echo "$PYTHONHASHSEED" >> "$SEEN"
echo "==1== I   refs:      $COUNT" >&2
"""


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for valgrind: notes the seed, and counts what `COUNT` says, an expression of the seed."""
    program = tmp_path / "valgrind"
    program.write_text(COUNTING.replace("$COUNT", "$(($COUNT))").replace("$PYTHONHASHSEED", "${PYTHONHASHSEED}"))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path / "seen"


def side(count: str, seen: Path) -> Tool:
    return Tool([sys.executable], limit_s=30, way_out="", environment={"COUNT": count, "SEEN": str(seen)})


@pytest.mark.parametrize(
    ("a", "b", "seeds", "expected"),
    [
        ("2000000 + PYTHONHASHSEED", "1000000", 2, (2_000_000, 1_000_000)),
        ("2000000", "1000000 + 10000 * PYTHONHASHSEED", 5, (2_000_000, 1_020_000)),
    ],
)
async def test_as_many_seeds_as_it_takes(seen: Path, a: str, b: str, seeds: int, expected: tuple[float, float]) -> None:
    """Two where no side depends on them, all five where one does."""
    sides: dict[Side, Tool] = {"A": side(a, seen), "B": side(b, seen)}
    [told] = await ActivityEnvironment().run(count_instructions, sides, 0.01)
    assert (round(told.a, -1), round(told.b, -1)) == expected
    assert len(seen.read_text().split()) == 2 * seeds


@needs("valgrind")
async def test_allocations_of_a_program_and_its_children() -> None:
    """B makes 3,000 objects more than A, of a kilobyte each, and a third of them in a process of its own: all are counted."""
    program = "import sys; [bytearray(1_000) for _ in [None] * int(sys.argv[1])]"
    both = f"import subprocess, sys; exec({program!r}); subprocess.run([sys.executable, '-I', '-S', '-c', {program!r}, sys.argv[2]])"
    sides: dict[Side, Tool] = {
        side: Tool([sys.executable, "-S", "-c", both, *given], limit_s=60, way_out="")  # `-I` keeps PYTHONMALLOC out
        for side, given in (("A", ("0", "0")), ("B", ("2000", "1000")))
    }
    times, size = await ActivityEnvironment().run(count_allocations, sides, 0.1)
    # Of a bytearray: the object, and what it holds; the child's objects are the interpreter's own affair, what they hold is not.
    assert times.unit == "allocations" and 5_000 <= times.b - times.a <= 5_200
    assert size.unit == "bytes" and 3_000_000 <= size.b - size.a <= 3_400_000


async def test_what_cannot_be_counted_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Programs that run too long for it, and a host without valgrind: the reason, once for both counts."""
    sides: dict[Side, Tool] = {side: Tool([sys.executable], limit_s=30, way_out="") for side in ("A", "B")}
    counted, notes = await ActivityEnvironment().run(count_under_valgrind, sides, 1_000.0)
    assert not counted and [" s are allowed" in one for one in notes] in ([True, True], [False])
    with pytest.raises(NotCounted):
        await ActivityEnvironment().run(count_allocations, sides, 1_000.0)
    monkeypatch.setenv("PATH", str(tmp_path))
    counted, (note,) = await ActivityEnvironment().run(count_under_valgrind, sides, 0.1)
    assert not counted and note.startswith("instructions and allocations are not counted: valgrind is not installed")
