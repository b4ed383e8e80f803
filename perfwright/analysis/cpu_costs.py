"""Samples grouped into costs: what one place of the target's own code spends for one reason. Every sample belongs to one cost.

The place is a function (comprehensions and lambdas belong to the function around them), the reason a shape (cost_shapes.py). So two
different mistakes in one handler are two costs, and one mistake reached over a hundred stacks is one.
"""

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from perfwright.analysis.cost_shapes import (
    COMPILED_CALL,
    FRAMEWORK,
    LIBRARY_CALL,
    NO_CALLER,
    NO_SYMBOLS,
    OWN_CODE,
    SHAPES,
    CostShape,
    shape_of,
)
from perfwright.analysis.frames import enclosing_function, is_nameless, module_of
from perfwright.analysis.hot_paths import OnCpu, callers_of
from perfwright.analysis.running import by_thread_name
from perfwright.analysis.statistics import share_intervals
from perfwright.analysis.tree_weights import Floats, Ints, Mask, numbered, summed
from perfwright.models.measurement import Interval
from perfwright.models.profile import Origin

SMALLEST_SHARE = 0.005
"""Costs below half a per cent are not told apart: nothing is won there."""
DOMINATES = 0.5
"""A recognised shape that takes half of what a line spends in foreign code explains the line."""
HELPER_OF = 0.9
"""A function that takes less than its caller itself, and nearly all of it for one caller, is part of the caller's loop."""
MOST_HELPERS = 2
"""A loop has a condition and a body. Code that has more functions working for it hands work out (a main loop, a tracing decorator): each of
them is told for itself."""
ONE_LINE = 1.1
"""Effective number of lines below which a place is one line."""
_SELF, _OTHER = -2, -1
MAX_COSTS = 200


@dataclass(frozen=True)
class Cost:
    """What one place spends for one reason. Shares are of all CPU time of the process tree."""

    function: str
    """Full name, as the tool told it."""
    file: str
    """Full path."""
    line: int
    """The hottest line; 0 where lines are unknown."""
    origin: Origin
    shape: CostShape
    share: float
    interval: Interval
    without_helpers: Interval
    """Of the share that the place itself has, without `helpers`."""
    spread: float
    """Over how many lines the place spreads its time: 1 / sum of squared shares (Hill, "Diversity and evenness", Ecology 54, 1973: the
    effective number). 1.0 is one line; infinite where lines are unknown."""
    samples: int
    """As taken, before any weighing."""
    lines: tuple[tuple[int, float], ...]
    """Hottest lines with their shares."""
    called: tuple[tuple[str, float], ...]
    """Library functions that spend it, with their shares; empty where the code spends it itself."""
    callers: tuple[str, ...]
    threads: tuple[str, ...]
    chain: tuple[str, ...]
    """The heaviest stack that leads here, own code only, root first."""
    framework: bool = False
    """No own code asked for it."""
    from_library: bool = False
    """It stands in an installed library, and that is not what is examined."""
    helpers: tuple[str, ...] = ()
    """Functions called for nothing else, whose time is included."""


@dataclass
class _Group:
    """A cost while it is put together: `cells` are (place, line, shape) numbers."""

    place: int
    shape: CostShape
    cells: list[int]
    weight: float
    framework: bool
    helpers: list[int] = field(default_factory=list)


def find_costs(seen: OnCpu, *, seed: int = 1) -> tuple[Cost, ...]:
    """All costs of at least `SMALLEST_SHARE`, largest first."""
    whole = seen.whole
    if whole <= 0:
        return ()
    own = seen.tree.own(seen.rows)
    place_of_node, places = _places(seen)
    owner = seen.attribution.owner
    frames = seen.tree.profile.frames
    line = np.array(frames.line, dtype=np.int64)[seen.tree.frame]
    cells, cell_of_node = _cells(place_of_node[owner], line[owner], _shapes(seen), seen.attribution.framework)
    weights = summed(cell_of_node, own, len(cells))
    groups = _merge_helpers(seen, _groups(cells, weights, whole), place_of_node, own)
    groups = sorted((one for one in groups if one.weight >= SMALLEST_SHARE * whole), key=lambda one: -one.weight)[:MAX_COSTS]
    group_of_cell = np.full(len(cells), -1, dtype=np.int64)
    for number, group in enumerate(groups):
        group_of_cell[group.cells] = number
    group_of_node = group_of_cell[cell_of_node]
    row_group = group_of_node[seen.rows.node]
    told = row_group >= 0
    blocks = seen.rows.blocks
    place_of_group = np.array([group.place for group in groups], dtype=np.int64)
    alone = told.copy()
    alone[told] = (place_of_node[owner][seen.rows.node] == np.append(place_of_group, -1)[row_group])[told]
    counts = np.vstack(
        [
            summed(row_group[rows] * blocks + seen.rows.block[rows], seen.rows.count[rows], len(groups) * blocks).reshape(-1, blocks)
            for rows in (told, alone)
        ]
    )
    intervals = share_intervals(counts, seen.rows.by_block(), worth=seen.rows.worth, seed=seed)
    below = seen.tree.below(own)
    costs = [
        _cost(
            seen,
            group,
            places,
            cells,
            weights,
            group_of_node == number,
            place_of_node,
            own,
            below,
            (seen.of_all(intervals[number]), seen.of_all(intervals[len(groups) + number])),
        )
        for number, group in enumerate(groups)
    ]
    return tuple(sorted(costs, key=lambda cost: (-cost.share, cost.file, cost.function)))


def _cells(place: Ints, line: Ints, shape: Ints, framework: Mask) -> tuple[Ints, Ints]:
    """The distinct (place, line, shape, framework) as rows, and each node's row. Packed into one integer, which sorts ten times faster."""
    lines, shapes = int(line.max()) + 1, len(SHAPES) - _SELF
    packed, row = np.unique(((place * lines + line) * shapes + shape - _SELF) * 2 + framework, return_inverse=True)
    rest = packed // 2
    columns = (rest // shapes // lines, rest // shapes % lines, rest % shapes + _SELF, packed % 2)
    return np.stack(columns, axis=1), row.reshape(-1)


def _places(seen: OnCpu) -> tuple[Ints, list[tuple[str, str]]]:
    """The function each node belongs to, comprehensions and lambdas to the one around them: numbers, and (function, file) by number."""
    frames = seen.tree.profile.frames
    named = [module_of(enclosing_function(function), file) for function, file in zip(frames.function, frames.file, strict=True)]
    keys, places = numbered((name or function, file) for name, function, file in zip(named, frames.function, frames.file, strict=True))
    nameless = np.array([not name for name in named], dtype=bool)[seen.tree.frame]
    file = numbered(frames.file)[0][seen.tree.frame]
    place = keys[seen.tree.frame]
    for level in seen.tree.levels:
        above = seen.tree.parent[level]
        joins = nameless[level] & (above >= 0) & (file[above] == file[level])
        place[level] = np.where(joins, place[above], place[level])
    return place, places


def _shapes(seen: OnCpu) -> Ints:
    """Why each node's time is spent: the outermost recognised foreign frame under the owner; compiled leaves are the owner's own work."""
    tree = seen.tree
    of_function = np.array([*(shape_of(function, file) for function, file in tree.names.functions), _OTHER], dtype=np.int64)
    recognised = of_function[tree.names.function[tree.frame]]
    compiled = tree.names.is_from("native")[tree.frame]
    own = seen.attribution.owner == np.arange(len(tree.parent))
    shape = np.full(len(tree.parent), _SELF, dtype=np.int64)
    for level in tree.levels:
        above = tree.parent[level]
        inherited = np.where(own[level] | (above < 0), _SELF, shape[above])
        at_owner = np.where(seen.attribution.own[level], _SELF, np.where(recognised[level] >= 0, recognised[level], _SELF))
        under = np.where(recognised[level] >= 0, recognised[level], np.where(compiled[level] & (inherited == _SELF), _SELF, _OTHER))
        shape[level] = np.where(own[level], at_owner, np.where(inherited >= 0, inherited, under))
    return shape


def _groups(cells: Ints, weights: Floats, whole: float) -> list[_Group]:
    by_place: dict[tuple[int, int], dict[int, list[int]]] = {}
    heavy = summed(cells[:, 0], weights, int(cells[:, 0].max()) + 1) >= SMALLEST_SHARE * whole
    for number, (place, line, _, framework) in enumerate(cells.tolist()):
        if heavy[place]:
            by_place.setdefault((place, framework), {}).setdefault(line, []).append(number)
    groups = []
    for (place, framework), lines in by_place.items():
        groups += _groups_of_place(place, bool(framework), lines, cells[:, 2], weights)
    return groups


def _groups_of_place(place: int, framework: bool, lines: dict[int, list[int]], shape: Ints, weights: Floats) -> list[_Group]:
    """Per shape one group over all lines. The rest is the code's own work; where calls are most of it, each calling line is a cost."""
    by_shape: dict[int, list[int]] = {}
    rest: list[int] = []
    calls: dict[int, list[int]] = {}
    for line, numbers in lines.items():
        foreign = [number for number in numbers if shape[number] != _SELF]
        known = [number for number in foreign if shape[number] >= 0]
        most = max(known, key=lambda number: weights[number], default=-1)
        if known and weights[most] >= DOMINATES * sum(weights[number] for number in foreign):
            by_shape.setdefault(int(shape[most]), []).extend(number for number in foreign if shape[number] == _OTHER)
        else:
            calls[line] = [number for number in foreign if shape[number] == _OTHER]
        for number in known:
            by_shape.setdefault(int(shape[number]), []).append(number)
        rest += [number for number in numbers if shape[number] == _SELF]
    groups = [_Group(place, SHAPES[one], numbers, float(weights[numbers].sum()), framework) for one, numbers in by_shape.items()]
    itself = float(sum(weights[number] for number in rest))
    called = float(sum(weights[number] for one in calls.values() for number in one))
    if called > DOMINATES * (itself + called) and not framework:
        groups += [_Group(place, LIBRARY_CALL, one, float(weights[one].sum()), framework) for one in calls.values() if one]
    else:
        rest += [number for one in calls.values() for number in one]
    if rest:
        groups.append(_Group(place, FRAMEWORK if framework else OWN_CODE, rest, float(weights[rest].sum()), framework))
    return groups


def _merge_helpers(seen: OnCpu, groups: list[_Group], place: Ints, own: Floats) -> list[_Group]:
    """A small function that works for one caller only is told with its caller."""
    mine = {group.place: group for group in groups if group.shape is OWN_CODE}
    helpers = _helpers(seen, mine, place, own)
    merged: set[int] = set()
    for group in sorted(mine.values(), key=lambda one: one.weight):
        caller = mine.get(helpers.get(group.place, -1))
        if caller is None or caller.place in merged:
            continue
        caller.cells += group.cells
        caller.weight += group.weight
        caller.helpers += [group.place, *group.helpers]
        merged.add(group.place)
    return [one for one in groups if not (one.shape is OWN_CODE and one.place in merged)]


def _helpers(seen: OnCpu, mine: dict[int, _Group], place: Ints, own: Floats) -> dict[int, int]:
    """The places that are helpers, and whose."""
    below = seen.tree.below(own)
    above = seen.tree.parent
    calls = np.flatnonzero(seen.attribution.own & (above >= 0))
    calls = calls[place[calls] != place[above[calls]]]
    found: dict[int, int] = {}
    for group in mine.values():
        here = calls[place[calls] == group.place]
        if not len(here):
            continue
        from_own = seen.attribution.own[above[here]]
        callers, which = np.unique(np.where(from_own, place[above[here]], -1), return_inverse=True)
        by_caller = summed(which.reshape(-1), below[here], len(callers))
        caller = mine.get(int(callers[by_caller.argmax()]))
        if caller is not None and by_caller.max() >= HELPER_OF * by_caller.sum() and group.weight <= caller.weight:
            found[group.place] = caller.place
    delegates = Counter(found.values())
    return {helper: caller for helper, caller in found.items() if delegates[caller] <= MOST_HELPERS}


def _cost(
    seen: OnCpu,
    group: _Group,
    places: list[tuple[str, str]],
    cells: Ints,
    weights: Floats,
    nodes: Mask,
    place: Ints,
    own: Floats,
    below: Floats,
    intervals: tuple[Interval, Interval],
) -> Cost:
    tree, whole = seen.tree, seen.whole
    function, file = places[group.place]
    by_line: dict[int, float] = {}
    for number in group.cells:
        if cells[number, 0] == group.place:
            by_line[int(cells[number, 1])] = by_line.get(int(cells[number, 1]), 0.0) + float(weights[number]) / whole
    lines = sorted(by_line.items(), key=lambda item: (-item[1], item[0]))
    numbers = np.flatnonzero(nodes)
    numbers = numbers[own[numbers] > 0]
    heaviest = int(numbers[own[numbers].argmax()])
    at = int(seen.attribution.owner[heaviest])
    in_rows = nodes[seen.rows.node]
    entered = np.flatnonzero((place == group.place) & (seen.attribution.own | group.framework))
    entered = entered[(tree.parent[entered] < 0) | (place[tree.parent[entered]] != group.place)]
    return Cost(
        function=function,
        file=file,
        line=lines[0][0] if lines else 0,
        origin=tree.names.origin[tree.frame[at]],
        shape=_told_as(group.shape, is_nameless(function, file), seen.runtime, _spread(lines)),
        share=min(1.0, float(own[numbers].sum()) / whole),
        interval=intervals[0],
        without_helpers=intervals[1],
        spread=_spread(lines),
        samples=round(float(seen.rows.taken[in_rows].sum())),
        lines=tuple(lines[:5]),
        called=_called(seen, numbers, own, whole),
        callers=callers_of(seen, entered, below),
        threads=tuple(name for name, _ in by_thread_name(tree, seen.rows.thread[in_rows], seen.rows.count[in_rows])[:3]),
        chain=_chain(seen, at),
        framework=group.framework,
        from_library=tree.names.origin[tree.frame[at]] == "library" and "library" not in seen.attribution.own_origins,
        helpers=tuple(seen.title(*places[one]) for one in group.helpers[:5]),
    )


def _told_as(shape: CostShape, nameless: bool, runtime: str, spread: float) -> CostShape:
    """Where it is the recording that does not know more: no symbol, no caller, or no frames of what one line calls."""
    if nameless:
        return NO_SYMBOLS
    if shape is not FRAMEWORK:
        return shape
    if runtime == "native":
        return NO_CALLER
    return COMPILED_CALL if runtime == "python" and spread < ONE_LINE else shape


def _spread(lines: list[tuple[int, float]]) -> float:
    whole = sum(share for _, share in lines)
    known = any(line for line, _ in lines)
    return whole**2 / sum(share**2 for _, share in lines) if known and whole > 0 else math.inf


def _called(seen: OnCpu, nodes: Ints, own: Floats, whole: float) -> tuple[tuple[str, float], ...]:
    """The library functions that the place calls into, by what they cost."""
    entry = seen.attribution.entry[nodes]
    foreign = entry >= 0
    function = seen.tree.names.function[seen.tree.frame[entry[foreign]]]
    weights = summed(function[function >= 0], own[nodes[foreign]][function >= 0], len(seen.tree.names.functions))
    heaviest = [int(one) for one in np.argsort(-weights, kind="stable")[:3] if weights[one] > 0]
    return tuple((seen.title(*seen.tree.names.functions[one]), float(weights[one]) / whole) for one in heaviest)


def _chain(seen: OnCpu, node: int) -> tuple[str, ...]:
    """Own frames from the root to this node; equal neighbours (recursion) once."""
    frames, told = seen.tree.profile.frames, list[str]()
    while node >= 0:
        frame = int(seen.tree.frame[node])
        title = seen.title(frames.function[frame], frames.file[frame], frames.line[frame])
        if (seen.attribution.own[node] or not told) and (not told or told[-1] != title):
            told.append(title)
        node = int(seen.tree.parent[node])
    return tuple(reversed(told[:12]))
