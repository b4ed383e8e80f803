"""Hot functions and lines: self and total, with intervals, callers and threads.

*Self* is time in the function's own code (and in compiled code without frames that it calls: `sorted`, `in` on a list); *total* adds all
it calls, recursion counted once. The list holds what takes time itself and the target's own code that causes time elsewhere
(attribution.py), so that the line which calls `re.compile` stands beside the insides of `re`. Shares are of the CPU time of the whole
process tree, with and without samples (cpu_coverage.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from perfwright.analysis.attribution import Attribution, attribute
from perfwright.analysis.cpu_coverage import cpu_coverage
from perfwright.analysis.frames import is_nameless, short_files, short_function
from perfwright.analysis.jvm_states import largest_weights, periods_by_state
from perfwright.analysis.running import by_thread_name, nearest_managed, weigh_running, without_waits
from perfwright.analysis.statistics import share_intervals
from perfwright.analysis.tree_weights import CallTree, Floats, Ints, Mask, PassWeights, summed
from perfwright.analysis.unseen_cpu import coverage_sentence
from perfwright.models.cpu_coverage import CpuCoverage
from perfwright.models.cpu_profiling import HotPaths, HotSpot, ProcessUse, Runtime
from perfwright.models.measurement import Interval
from perfwright.models.profile import PassKind

BASE_PASSES: tuple[PassKind, ...] = ("on_cpu", "native", "gil")
"""Passes that can stand for time on a CPU, best first."""
LOOKS_AT_CPUS, TOLD_BY_SWITCHES, LOOKS_AT_STATES = "perf", "Node.js", "JFR"
"""The tool that samples what is on a CPU, the one whose samples are held against context switches where it has an off-CPU pass, and the one
that looks at what state the virtual machine has its threads in; the others look at threads and judge whether they run."""
CALLERS, THREADS = 3, 3


@dataclass(frozen=True)
class OnCpu:
    """What all analyses of CPU time share: the call tree, the samples that stand for CPU time, their owners and display names."""

    tree: CallTree
    rows: PassWeights
    attribution: Attribution
    files: dict[str, str]
    runtime: Runtime
    note: str = ""
    """What was corrected and what has no samples, as sentences."""
    coverage: CpuCoverage = field(default_factory=CpuCoverage)

    @property
    def whole(self) -> float:
        """All CPU time of the process tree, in counts of `rows`: what shares are of."""
        return self.rows.samples / self.coverage.seen_share if self.coverage.seen_share > 0 else self.rows.samples

    def of_all(self, interval: Interval) -> Interval:
        """Of a share of the samples, as one of all CPU time."""
        seen = self.coverage.seen_share
        return interval.model_copy(update={"low": interval.low * seen, "high": interval.high * seen})

    def title(self, function: str, file: str, line: int = 0) -> str:
        """`price_cart (shop/pricing.py:88)`; a name made of its module's says where it is."""
        place = "" if is_nameless(function, file) else self.files.get(file, file)
        name = short_function(function, self.runtime)
        return f"{name} ({place}:{line})" if place and line else f"{name} ({place})" if place else name


def on_cpu(tree: CallTree, usage: ProcessUse | None = None, *, runtime: Runtime = "unknown", base: PassKind | None = None) -> OnCpu:
    """The pass to analyse: `base`, or the best recorded one. Raises ValueError where the profile has no such pass."""
    wanted = (base,) if base else BASE_PASSES
    recorded = [rows for rows in map(tree.weights, wanted) if rows is not None]
    if not recorded:
        raise ValueError(f"the profile has none of the passes {', '.join(wanted)}")
    rows = next((one for one in recorded if one.samples > 0), recorded[0])
    tool, switches = tree.profile.tool, tree.weights("off_cpu") is not None
    ran = tool.startswith(LOOKS_AT_CPUS) or (switches and tool.startswith(TOLD_BY_SWITCHES))
    states = tool.startswith(LOOKS_AT_STATES)
    rows = periods_by_state(tree, rows, usage) if states else rows
    rows, waits = (rows, "") if ran else without_waits(tree, rows)
    if rows.kind == "native":
        rows = _without_compiled_leaves(tree, rows)
    rows, weighed = weigh_running(tree, rows, usage, raised_at_most=largest_weights(tree, rows) if states else None)
    coverage = cpu_coverage(tree, rows, usage, runtime)
    note = " ".join(one for one in (waits, weighed, coverage_sentence(coverage)) if one)
    files = short_files(dict.fromkeys(tree.profile.frames.file))
    return OnCpu(tree, rows, attribute(tree, rows), files, runtime, note, coverage)


def on_cpu_alike(trees: Sequence[CallTree], used: Sequence[ProcessUse | None], *, runtime: Runtime) -> list[OnCpu]:
    """Of profiles that are compared: weighed by what their threads used only if that is known of each. `used` goes with `trees`."""
    known = all(use is not None for use in used)
    return [on_cpu(tree, use if known else None, runtime=runtime) for tree, use in zip(trees, used, strict=True)]


def _without_compiled_leaves(tree: CallTree, rows: PassWeights) -> PassWeights:
    """Samples inside the interpreter's own C code move up to the managed frame that runs there.

    A program with managed frames (Python, Java, JavaScript) is read in its own language; a purely native one is left alone.
    """
    managed = nearest_managed(tree)
    target = managed[rows.node]
    return replace(rows, node=np.where(target >= 0, target, rows.node))


def find_hot_paths(seen: OnCpu, *, top: int, cpu_cores: float = 0.0, seed: int = 1) -> HotPaths:
    """The `top` hottest functions and lines of what `on_cpu` gave."""
    functions = _hot_spots(seen, seen.tree.names.function, seen.tree.names.functions, top, seed)
    lines = _hot_spots(seen, seen.tree.names.line, seen.tree.names.lines, top, seed)
    return HotPaths(
        samples=round(float(seen.rows.taken.sum())),
        functions=functions,
        lines=lines,
        cpu_cores=cpu_cores * (1 - seen.coverage.profiler_share),
        note=seen.note,
        coverage=seen.coverage,
    )


def _hot_spots(
    seen: OnCpu, key_of_frame: Ints, keys: list[tuple[str, str]] | list[tuple[str, str, int]], top: int, seed: int
) -> tuple[HotSpot, ...]:
    tree, rows = seen.tree, seen.rows
    if rows.samples <= 0:
        return ()
    key = key_of_frame[tree.frame]
    own = tree.own(rows)
    below = tree.below(own)
    coded = key >= 0
    own_share = summed(key[coded], own[coded], len(keys))
    totals = tree.totals(key, below, len(keys))
    owner_key = np.where(seen.attribution.owner >= 0, key[seen.attribution.owner], -1)
    caused = summed(owner_key[owner_key >= 0], own[owner_key >= 0], len(keys))
    weight = np.maximum(own_share, caused)
    chosen = [int(one) for one in np.lexsort((-totals, -weight))[:top] if weight[one] > 0]
    row_key = key[rows.node]
    outermost = tree.outermost(key)
    counts = np.zeros((2 * len(chosen), rows.blocks))
    masks = []
    for number, one in enumerate(chosen):
        mine = row_key == one
        anywhere = tree.under(outermost & (key == one))[rows.node]
        counts[2 * number] = summed(rows.block[mine], rows.count[mine], rows.blocks)
        counts[2 * number + 1] = summed(rows.block[anywhere], rows.count[anywhere], rows.blocks)
        masks.append(anywhere)
    intervals = share_intervals(counts, rows.by_block(), worth=rows.worth, seed=seed)
    return tuple(
        _hot_spot(
            seen, key, one, keys[one], (own_share[one], totals[one]), (intervals[2 * number], intervals[2 * number + 1]), mask, below, own
        )
        for number, (one, mask) in enumerate(zip(chosen, masks, strict=True))
    )


def _hot_spot(
    seen: OnCpu,
    key: Ints,
    one: int,
    name: tuple[str, str] | tuple[str, str, int],
    samples: tuple[float, float],
    intervals: tuple[Interval, Interval],
    rows_of_it: Mask,
    below: Floats,
    own: Floats,
) -> HotSpot:
    tree = seen.tree
    mine = np.flatnonzero(key == one)
    function, file, line = name[0], name[1], name[2] if len(name) == 3 else _hottest_line(tree, mine, own, below)
    whole = seen.whole
    return HotSpot(
        function=short_function(function, seen.runtime),
        file=seen.files.get(file, file),
        line=line,
        origin=tree.names.origin[tree.frame[mine[0]]],
        self_share=min(1.0, samples[0] / whole),
        self_interval=seen.of_all(intervals[0]),
        total_share=min(1.0, samples[1] / whole),
        total_interval=seen.of_all(intervals[1]),
        samples=round(float(seen.rows.taken[rows_of_it].sum())),
        callers=callers_of(seen, mine, below, key if len(name) == 3 and is_nameless(function, file) else None),
        threads=tuple(name for name, _ in by_thread_name(tree, seen.rows.thread[rows_of_it], seen.rows.count[rows_of_it])[:THREADS]),
    )


def _hottest_line(tree: CallTree, nodes: Ints, own: Floats, below: Floats) -> int:
    """The line with most self time, or, where the function only calls others, the line that most time passes through."""
    weight = own if own[nodes].sum() > 0 else below
    lines: dict[int, float] = {}
    for node in nodes[np.argsort(-weight[nodes], kind="stable")[:1_000]]:
        line = tree.profile.frames.line[tree.frame[node]]
        lines[line] = lines.get(line, 0.0) + float(weight[node])
    return max(lines, key=lambda line: (lines[line], -line))


def callers_of(seen: OnCpu, nodes: Ints, below: Floats, key: Ints | None = None) -> tuple[str, ...]:
    """The commonest direct callers of these nodes by time, with the calling line; recursion and comprehensions do not call themselves.

    `key`: by node, what is one caller; its function when not given.
    """
    tree, frames = seen.tree, seen.tree.profile.frames
    function = tree.names.function[tree.frame] if key is None else key
    above = tree.parent[nodes]
    outside = (above >= 0) & (function[above] != function[nodes]) & (function[above] >= 0)
    weights = summed(tree.frame[above[outside]], below[nodes[outside]], len(frames.function))
    heaviest = np.argsort(-weights, kind="stable")[:CALLERS]
    return tuple(seen.title(frames.function[one], frames.file[one], frames.line[one]) for one in heaviest if weights[one] > 0)
