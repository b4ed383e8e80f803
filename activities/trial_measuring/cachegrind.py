"""Instructions of both sides, counted by valgrind: they do not depend on what else the machine does.

They miss what memory, caches and waiting cost, so they stand beside the time and never instead of it. Up to five hash seeds, because
the order of sets and the collisions of dictionaries differ between them; two where both sides show that this makes no difference. Both
sides run at the same time: counts do not depend on it.
"""

import asyncio
import re
import shutil
import statistics
import time
from collections.abc import Mapping
from dataclasses import replace

from activities.subprocesses import Tool, run
from perfwright.models.trial import Side
from perfwright.models.trial_run import Companion

SEEDS = (0, 1, 2, 3, 4)
LEAST_SEEDS = 2
SAME_SHARE = 0.002
"""Counts of a side that differ by no more than this between seeds do not depend on them: a median of more would be the same."""
SLOWDOWN = 30
"""Of a program under it, with its own start."""
LIMIT_S = 90.0
"""For all runs of both sides together."""
_REFERENCES = re.compile(r"^==\d+== I\s+refs:\s+([\d,]+)", re.MULTILINE)


async def count_instructions(sides: Mapping[Side, Tool], run_s: float) -> tuple[tuple[Companion, ...], tuple[str, ...]]:
    """Medians over the seeds; or nothing, and why. `run_s`: of a run without it."""
    if shutil.which("valgrind") is None:
        return (), ("instructions are not counted: valgrind is not installed (Debian: valgrind)",)
    expected_s = len(SEEDS) * len(sides) * SLOWDOWN * run_s
    if expected_s > LIMIT_S:
        return (), (f"instructions are not counted: that would take about {expected_s:.0f} s, {LIMIT_S:.0f} s are allowed",)
    ends_at = time.monotonic() + LIMIT_S
    counts: dict[Side, list[int]] = {side: [] for side in sides}
    for seed in SEEDS:
        for side, found in zip(sides, await asyncio.gather(*(_counted(tool, seed, ends_at) for tool in sides.values())), strict=True):
            if isinstance(found, str):
                return (), (f"instructions are not counted: {sides[side].name} {found} under valgrind",)
            counts[side].append(found)
        if len(counts["A"]) >= LEAST_SEEDS and all(max(found) <= (1 + SAME_SHARE) * min(found) for found in counts.values()):
            break
    a, b = (float(statistics.median(counts[side])) for side in ("A", "B"))
    return (Companion(name="instructions", unit="instructions", a=a, b=b),), ()


async def _counted(tool: Tool, seed: int, ends_at: float) -> int | str:
    """Instructions of a run and of all its children; or why there are none."""
    words = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", "--trace-children=yes")
    left_s = max(0.1, ends_at - time.monotonic())
    under = replace(tool, argv=(*words, *tool.argv), limit_s=left_s, environment={**tool.environment, "PYTHONHASHSEED": str(seed)})
    ended = await run(under)
    found = [int(one.replace(",", "")) for one in _REFERENCES.findall(ended.stderr)]
    if ended.timed_out:
        return f"took longer than {LIMIT_S:.0f} s"
    return sum(found) if ended.returncode == 0 and found else "does not run"
