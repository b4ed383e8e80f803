"""Two runs of one process side by side: the numbers that all processes have, and those of each process.

Runs at different times on a machine that drifts prove no cause: that takes a trial. The comparison says where to look.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perfwright.analysis.comparison import NOT_SEEN, ComparedNumber, absent_share, compare_numbers
from perfwright.analysis.same_functions import name_functions
from perfwright.models.cpu_profiling import PROCESS as CPU_PROFILING
from perfwright.models.cpu_profiling import CpuProfilingDetails, HotPaths, HotSpot, ProcessUse
from perfwright.models.measurement import EnvironmentFingerprint, Estimate
from perfwright.models.query_performance import PROCESS as QUERY_PERFORMANCE
from perfwright.models.query_performance import QueryPerformanceDetails
from perfwright.models.result import ProcessResult
from perfwright.report.comparison import render_comparison
from perfwright.report.words import estimate, number
from starter.here import Here
from starter.refusals import NoStoreHere, Refused

Result = ProcessResult[Any]
STATEMENTS = 20
NAMED = 3
"""How many numbers the summary names."""


@dataclass(frozen=True)
class Comparison:
    """What differs between two runs of one process."""

    process: str
    earlier: str
    later: str
    summary: str
    numbers: tuple[ComparedNumber, ...]
    new_findings: tuple[str, ...]
    gone_findings: tuple[str, ...]
    cautions: tuple[str, ...]
    """Why the two may not be comparable."""


def compare_results(earlier: Result, later: Result, names: tuple[str, str]) -> Comparison:
    """Raises Refused for runs of different processes."""
    if earlier.process != later.process:
        raise Refused(
            f"{names[0]} is a run of {earlier.process}, {names[1]} of {later.process}", way_out="Only runs of one process are compared"
        )
    numbers = compare_numbers(*_numbers(earlier, later))
    before, now = {one.id: one.title for one in earlier.findings}, {one.id: one.title for one in later.findings}
    differing = [one for one in numbers if one.shown in ("more", "less")]
    differing.sort(key=lambda one: -abs(one.difference.value) if one.difference else 0.0)
    named = "; ".join(f"{one.what} {one.shown}: {signed(one)}" for one in differing[:NAMED])
    more = f" and {len(differing) - NAMED} more" if len(differing) > NAMED else ""
    none = f"No difference between {names[0]} and {names[1]} is shown beyond what the measurements can be wrong.{_only_one(numbers)}"
    return Comparison(
        process=later.process,
        earlier=names[0],
        later=names[1],
        summary=f"{named}{more}." if named else none,
        numbers=numbers,
        new_findings=tuple(title for key, title in now.items() if key not in before),
        gone_findings=tuple(title for key, title in before.items() if key not in now),
        cautions=tuple(_cautions(earlier, later)),
    )


async def compared_page(earlier: Result, later: Result, comparison: Comparison, here: Here) -> str:
    """The comparison as an HTML page, with a difference flame graph where the process has one and the profiles are reached from here."""
    picture, cautions = None, comparison.cautions
    if later.process in PICTURES:
        try:
            picture = await PICTURES[later.process](earlier, later, here)
        except NoStoreHere as trouble:
            cautions = (*cautions, f"No difference flame graph: {trouble.what_happened}.")
    return render_comparison(
        earlier,
        later,
        (comparison.earlier, comparison.later),
        summary=comparison.summary,
        rows=[(one.what, told(one.earlier), told(one.later), signed(one), one.shown) for one in comparison.numbers],
        new_findings=comparison.new_findings,
        gone_findings=comparison.gone_findings,
        cautions=cautions,
        picture=picture,
        picture_caption=f"On-CPU stacks: red grew and blue shrank since {comparison.earlier}, as shares of all samples.",
        repeat=f"perfwright compare '{comparison.earlier}' '{comparison.later}'",
    )


Numbers = dict[str, Estimate]
Pair = tuple[Numbers, Numbers]
"""Of the earlier and the later run, under names that mean the same in both."""


def _numbers(earlier: Result, later: Result) -> Pair:
    """What all processes have: costs of findings, observed quality gates; then the process's own numbers."""
    own = NUMBERS[later.process](earlier.details, later.details) if later.process in NUMBERS else ({}, {})
    before, now = own if any(own) else _costs(earlier, later)
    return before | _observed(earlier), now | _observed(later)


def _observed(result: Result) -> Numbers:
    return {gate.name: Estimate(value=gate.observed, unit=gate.unit) for gate in result.quality_gates if gate.observed is not None}


def _costs(earlier: Result, later: Result) -> Pair:
    """By the findings' ids, which stay the same from run to run; titles have numbers in them."""
    titles = {one.id: one.title for one in (*earlier.findings, *later.findings)}
    told = Counter(titles.values())
    names = {key: title if told[title] == 1 else f"{title} [{key}]" for key, title in titles.items()}
    before, now = ({names[one.id]: one.cost for one in run.findings if one.cost} for run in (earlier, later))
    return before, now


def _cpu_numbers(earlier: CpuProfilingDetails, later: CpuProfilingDetails) -> Pair:
    paths = [details.hot_paths or HotPaths(samples=0, functions=(), lines=()) for details in (earlier, later)]
    keys = [[(one.function, one.file) for one in run.functions] for run in paths]
    names = name_functions(keys[0], keys[1])
    before, now = (_self_times(run.functions, side) for run, side in zip(paths, names, strict=True))
    moved = _may_have_moved(keys, names)
    before, now = _with_absent(before, now, paths[0], moved), _with_absent(now, before, paths[1], moved)
    return _cpu_use(earlier) | before, _cpu_use(later) | now


def _may_have_moved(keys: Sequence[Sequence[tuple[str, str]]], names: Sequence[Sequence[str]]) -> set[str]:
    """Self times that only one run has, under a name and a file's name that the other has as well, somewhere else."""
    sides = []
    for mine, called, others in zip(keys, names, reversed(names), strict=True):
        alone = [(key, name) for key, name in zip(mine, called, strict=True) if name not in others]
        sides.append([((function, file.rpartition("/")[2]), f"{name}, self") for (function, file), name in alone])
    both = {key for key, _ in sides[0]} & {key for key, _ in sides[1]}
    return {name for side in sides for key, name in side if key in both}


def _with_absent(numbers: Numbers, others: Numbers, paths: HotPaths, moved: Collection[str]) -> Numbers:
    """With what the other run has and this one has not: of a function that a release has brought, there is nothing else to compare with."""
    absent = {name: absent_share(paths, other) for name, other in others.items() if name not in numbers and name not in moved}
    return numbers | {name: share for name, share in absent.items() if share is not None}


def _cpu_use(details: CpuProfilingDetails) -> Numbers:
    if details.usage is None:
        return {}
    shares = {"CPU use, user": details.usage.user_share, "CPU use, system": details.usage.system_share}
    return {name: Estimate(value=value, unit="cores") for name, value in shares.items()}


def _self_times(spots: Sequence[HotSpot], names: Sequence[str]) -> Numbers:
    """Of several functions that a profile gives the same name and file (overloaded methods) the sum, whose interval is not known."""
    numbers: Numbers = {}
    for spot, name in zip(spots, names, strict=True):
        own = Estimate(value=spot.self_share, unit="share of CPU time", interval=spot.self_interval)
        same = numbers.get(f"{name}, self")
        numbers[f"{name}, self"] = own if same is None else own.model_copy(update={"value": own.value + same.value, "interval": None})
    return numbers


def _query_numbers(earlier: QueryPerformanceDetails, later: QueryPerformanceDetails) -> Pair:
    """What the server spent, in all and on each of the costliest statements; one window has no interval of its own."""
    texts = {one.fingerprint: " ".join(one.text.split())[:60] for one in (*earlier.statements, *later.statements)}
    before, now = (_statement_times(details, texts) for details in (earlier, later))
    return before, now


def _statement_times(details: QueryPerformanceDetails, texts: Mapping[str, str]) -> Numbers:
    numbers = {}
    if details.window.seconds:
        numbers["execution time per second"] = Estimate(value=details.window.total_ms / details.window.seconds, unit="ms")
    for one in details.statements[:STATEMENTS]:
        if one.calls:
            numbers[f"mean of {one.fingerprint} {texts[one.fingerprint]}"] = Estimate(value=one.mean_ms, unit="ms")
    return numbers


async def _cpu_picture(earlier: Result, later: Result, here: Here) -> bytes:
    before, now = earlier.details.stacks, later.details.stacks
    if before is None or now is None:
        raise NoStoreHere("one of the runs recorded no stacks, so there is no difference to draw")
    profiles = [await here.read(before.profile), await here.read(now.profile)]
    process = later.details.process
    used = [earlier.details.usage, later.details.usage]
    return await asyncio.to_thread(draw_difference_of, profiles, process.runtime if process else "unknown", used)


def draw_difference_of(profiles: list[bytes], runtime: Any, used: Sequence[ProcessUse | None]) -> bytes:
    """d3-flame-graph JSON of two encoded profiles, the earlier one first; weighed by what threads used, as the numbers beside it are."""
    from perfwright.analysis.call_tree import decode_profile
    from perfwright.analysis.flame_graphs import draw_difference
    from perfwright.analysis.hot_paths import on_cpu_alike
    from perfwright.analysis.tree_weights import CallTree

    before, now = on_cpu_alike([CallTree(decode_profile(profile)) for profile in profiles], used, runtime=runtime)
    drawn = draw_difference((before.tree, before.rows), (now.tree, now.rows), runtime=runtime)
    return json.dumps(drawn.root, separators=(",", ":")).encode()


NUMBERS: Mapping[str, Callable[[Any, Any], Pair]] = {CPU_PROFILING: _cpu_numbers, QUERY_PERFORMANCE: _query_numbers}
"""Process -> the numbers of two runs' details that are compared."""
PICTURES: Mapping[str, Callable[[Result, Result, Here], Awaitable[bytes]]] = {CPU_PROFILING: _cpu_picture}
"""Process -> its difference flame graph."""


def _cautions(earlier: Result, later: Result) -> list[str]:
    cautions = []
    if earlier.target != later.target:
        cautions.append(f"Different targets: {earlier.target} and {later.target}.")
    cautions += [
        f"{run.target} ({run.workflow_id}) ended {run.verdict}: {run.summary}" for run in (earlier, later) if run.verdict != "passed"
    ]
    asked = [name for name in dict.fromkeys([*earlier.request, *later.request]) if earlier.request.get(name) != later.request.get(name)]
    if asked := [name for name in asked if name != "target"]:
        cautions.append(f"Recorded with different settings: {', '.join(asked)}.")
    before, now = (getattr(run.details, "environment", None) for run in (earlier, later))
    if isinstance(before, EnvironmentFingerprint) and isinstance(now, EnvironmentFingerprint):
        fields = ("host", "kernel", "cpu_model", "cpu_count", "memory_bytes", "runtime")
        if changed := [name for name in fields if getattr(before, name) != getattr(now, name)]:
            cautions.append(f"Measured in different environments: {', '.join(name.replace('_', ' ') for name in changed)} differ.")
    return cautions


def _only_one(numbers: Sequence[ComparedNumber]) -> str:
    """What has nothing to be compared with, as a sentence of its own."""
    names = [one.what for one in numbers if one.shown in ("only earlier", "only later")]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f" Only one of them has {'; '.join(names[:NAMED])}{more}." if names else ""


def told(value: Estimate | None) -> str:
    if value is None:
        return "-"
    if value.interval is not None and value.interval.method == NOT_SEEN:
        return f"not seen (below {number(value.interval.high, 'share')})"
    return estimate(value)


def signed(one: ComparedNumber) -> str:
    if one.difference is None:
        return ""
    unit = "share" if one.difference.unit.startswith("share") else one.difference.unit
    text = ("+" if one.difference.value >= 0 else "") + number(one.difference.value, unit)
    if one.difference.interval:
        low, high = (number(value, unit) for value in (one.difference.interval.low, one.difference.interval.high))
        text += f" ({low.removesuffix(' %')} to {high})"
    return text
