"""Instructions and heap allocations of both sides, counted by valgrind: they do not depend on what else the machine does.

They miss what memory, caches and waiting cost, so they stand beside the time and never instead of it. Instructions are counted for up to
five hash seeds, because the order of sets and the collisions of dictionaries differ between them; for two where both sides show that this
makes no difference. How often memory is asked for does not depend on them. Both sides run at the same time: counts do not depend on it.
"""

import asyncio
import re
import shutil
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from activities.subprocesses import Tool, run
from perfwright.models.trial import Side
from perfwright.models.trial_run import Companion

LIMIT_S = 90.0
"""For all runs of both sides together, of either count."""
SEEDS = (0, 1, 2, 3, 4)
LEAST_SEEDS = 2
SAME_SHARE = 0.002
"""Counts of a side that differ by no more than this between seeds do not depend on them: a median of more would be the same."""
CACHEGRIND = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", "--trace-children=yes")
CACHEGRIND_SLOWDOWN = 30
"""Of a program under it, with its own start."""
REFERENCES = re.compile(r"^==\d+== I\s+refs:\s+([\d,]+)", re.MULTILINE)
MEMCHECK = ("valgrind", "--tool=memcheck", "--undef-value-errors=no", "--leak-check=no", "--trace-children=yes")
"""Of valgrind's tools that see allocations, the one that takes least, without what it checks."""
MEMCHECK_SLOWDOWN = 50
HEAP_USAGE = re.compile(r"^==\d+==\s+total heap usage: ([\d,]+) allocs, [\d,]+ frees, ([\d,]+) bytes allocated", re.MULTILINE)
EACH_BY_MALLOC = {"PYTHONMALLOC": "malloc"}
"""Otherwise CPython asks for arenas of a megabyte, and shares them out itself."""


class NotCounted(Exception):
    """Why."""


async def count_under_valgrind(sides: Mapping[Side, Tool], run_s: float) -> tuple[tuple[Companion, ...], tuple[str, ...]]:
    """What could be counted, and why the rest was not. `run_s`: of a run without it."""
    found: list[Companion] = []
    missing: dict[str, list[str]] = {}
    for name, count in (("instructions", count_instructions), ("allocations", count_allocations)):
        try:
            found += await count(sides, run_s)
        except NotCounted as reason:
            missing.setdefault(str(reason), []).append(name)
    return tuple(found), tuple(f"{' and '.join(names)} are not counted: {reason}" for reason, names in missing.items())


async def count_instructions(sides: Mapping[Side, Tool], run_s: float) -> list[Companion]:
    """Medians over the seeds. Raises NotCounted."""
    ends_at = _begun(len(SEEDS) * len(sides) * CACHEGRIND_SLOWDOWN * run_s)
    counts: dict[Side, list[int]] = {side: [] for side in sides}
    for seed in SEEDS:
        for side, (one,) in (await _runs(sides, CACHEGRIND, REFERENCES, {"PYTHONHASHSEED": str(seed)}, ends_at)).items():
            counts[side].append(one)
        if len(counts["A"]) >= LEAST_SEEDS and all(max(found) <= (1 + SAME_SHARE) * min(found) for found in counts.values()):
            break
    a, b = (float(statistics.median(counts[side])) for side in ("A", "B"))
    return [Companion(name="instructions", unit="instructions", a=a, b=b)]


async def count_allocations(sides: Mapping[Side, Tool], run_s: float) -> list[Companion]:
    """How often memory was asked for, and how much of it in all. Raises NotCounted."""
    ends_at = _begun(len(sides) * MEMCHECK_SLOWDOWN * run_s)
    found = await _runs(sides, MEMCHECK, HEAP_USAGE, {"PYTHONHASHSEED": str(SEEDS[0]), **EACH_BY_MALLOC}, ends_at)
    (a_times, a_bytes), (b_times, b_bytes) = found["A"], found["B"]
    return [
        Companion(name="allocations", unit="allocations", a=a_times, b=b_times),
        Companion(name="allocated in all", unit="bytes", a=a_bytes, b=b_bytes),
    ]


def _begun(expected_s: float) -> float:
    """When it has to be over. Raises NotCounted."""
    if shutil.which("valgrind") is None:
        raise NotCounted("valgrind is not installed (Debian: valgrind)")
    if expected_s > LIMIT_S:
        raise NotCounted(f"that would take about {expected_s:.0f} s, {LIMIT_S:.0f} s are allowed")
    return time.monotonic() + LIMIT_S


async def _runs(
    sides: Mapping[Side, Tool], under: Sequence[str], pattern: re.Pattern[str], environment: Mapping[str, str], ends_at: float
) -> dict[Side, tuple[int, ...]]:
    """What the pattern's groups count, of a run of each side with all its children."""

    async def one(tool: Tool) -> tuple[int, ...]:
        left_s = max(0.1, ends_at - time.monotonic())
        ended = await run(replace(tool, argv=(*under, *tool.argv), limit_s=left_s, environment={**tool.environment, **environment}))
        if ended.timed_out:
            raise NotCounted(f"{tool.name} took longer than {LIMIT_S:.0f} s under valgrind")
        found = [[int(group.replace(",", "")) for group in match.groups()] for match in pattern.finditer(ended.stderr)]
        if ended.returncode or not found:
            raise NotCounted(f"{tool.name} does not run under valgrind")
        return tuple(map(sum, zip(*found, strict=True)))

    ended = await asyncio.gather(*map(one, sides.values()), return_exceptions=True)
    if wrong := next((found for found in ended if isinstance(found, BaseException)), None):
        raise wrong
    return {side: found for side, found in zip(sides, ended, strict=True) if not isinstance(found, BaseException)}
