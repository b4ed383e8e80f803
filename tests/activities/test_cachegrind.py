"""How many seeds instructions are counted for. What valgrind counts is in test_trial_measuring."""

import sys
from pathlib import Path

import pytest
from temporalio.testing import ActivityEnvironment

from activities.subprocesses import Tool
from activities.trial_measuring.cachegrind import count_instructions
from perfwright.models.trial import Side

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
    (told,), notes = await ActivityEnvironment().run(count_instructions, sides, 0.01)
    assert notes == () and (round(told.a, -1), round(told.b, -1)) == expected
    assert len(seen.read_text().split()) == 2 * seeds
