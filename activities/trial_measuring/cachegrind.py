"""Instructions of both sides, counted by valgrind: they do not depend on what else the machine does.

They miss what memory, caches and waiting cost, so they stand beside the time and never instead of it. Five hash seeds, because the order
of sets and the collisions of dictionaries differ between them.
"""

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
        for side, tool in sides.items():
            words = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", "--trace-children=yes")
            left_s = max(0.1, ends_at - time.monotonic())
            under = replace(tool, argv=(*words, *tool.argv), limit_s=left_s, environment={**tool.environment, "PYTHONHASHSEED": str(seed)})
            ended = await run(under)
            found = [int(one.replace(",", "")) for one in _REFERENCES.findall(ended.stderr)]
            if ended.timed_out or ended.returncode != 0 or not found:
                why = f"took longer than {LIMIT_S:.0f} s" if ended.timed_out else "does not run"
                return (), (f"instructions are not counted: {tool.name} {why} under valgrind",)
            counts[side].append(sum(found))
    a, b = (float(statistics.median(counts[side])) for side in ("A", "B"))
    return (Companion(name="instructions", unit="instructions", a=a, b=b),), ()
