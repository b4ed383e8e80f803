"""Self and total weights over a call tree, in numpy, recursion counted once.

A sample ends at a node. The *self* weight of a function is the weight of the nodes that are its frames; its *total* weight is that of all
samples with it anywhere on the stack. A function that stands on one stack several times must count once: only its *outermost* nodes carry
weight, those without an ancestor of the same function. Numbering the tree in preorder turns "is an ancestor of" into "is an interval
around" (Tarjan, "Finding dominators in directed graphs", 1974): the outermost nodes are found by sorting instead of by walking stacks.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from perfwright.analysis.frames import is_nameless, module_of
from perfwright.models.profile import Frames, Origin, PassKind, Profile

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Key = TypeVar("Key", bound=Hashable)


def levels_of(parent: Ints) -> list[Ints]:
    """Nodes by depth, roots first. Raises ValueError where the columns are not a tree."""
    count = len(parent)
    if count and (parent.min() < -1 or bool((parent >= np.arange(count)).any())):
        raise ValueError("call tree: every parent must stand before its children")
    order = np.argsort(parent, kind="stable")
    starts = np.searchsorted(parent[order], np.arange(-1, count + 1))
    levels = []
    level = order[: starts[1]] if count else order
    while len(level):
        levels.append(level)
        first, last = starts[level + 1], starts[level + 2]
        level = order[ranges(first, last)]
    return levels


def ranges(first: Ints, last: Ints) -> Ints:
    """All integers of the half-open ranges [first, last), one range after the other."""
    sizes = last - first
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    offsets: Ints = np.repeat(first - (ends - sizes), sizes)
    return np.arange(total, dtype=np.int64) + offsets


def subtree_sums(parent: Ints, levels: list[Ints], own: Ints) -> Ints:
    """Weight of every node with all below it."""
    sums = own.copy()
    for level in reversed(levels[1:]):
        np.add.at(sums, parent[level], sums[level])
    return sums


def summed(key: Ints, weight: Floats, size: int) -> Floats:
    """Weight by key."""
    return np.bincount(key, weights=weight, minlength=size).astype(np.float64)


@dataclass(frozen=True)
class PassWeights:
    """The samples of one pass as arrays, one row per (node, thread, block)."""

    kind: PassKind
    node: Ints
    thread: Ints
    block: Ints
    count: Floats
    """Samples; not whole numbers where blocks had different rates, or once they were weighed by what their thread really ran."""
    taken: Floats
    """Samples as they were taken, before any weighing."""
    blocks: int
    ticks: float
    """Moments at which every thread was looked at: seconds times rate. Samples over ticks is the mean number of threads."""

    @property
    def samples(self) -> float:
        return float(self.count.sum())

    @property
    def worth(self) -> float:
        """How many equally weighed samples tell as much: (sum of weights)^2 / sum of squared weights (Kish, Survey Sampling, 1965)."""
        squares = float((self.count[self.taken > 0] ** 2 / self.taken[self.taken > 0]).sum())
        return self.samples**2 / squares if squares > 0 else 0.0

    def where(self, kept: Mask) -> "PassWeights":
        """These rows only; moments and blocks stay."""
        return replace(
            self, node=self.node[kept], thread=self.thread[kept], block=self.block[kept], count=self.count[kept], taken=self.taken[kept]
        )

    def by_block(self) -> Floats:
        """Samples of each block."""
        return summed(self.block, self.count, self.blocks)


class FrameNames:
    """A profile's frames by number: which function each belongs to, and which line.

    `function[f]` and `line[f]` are numbers of functions and lines, -1 for frames that stand for something else: a process of a tree,
    rare stacks, frames left out. The functions of a module without symbols are one, as nobody knows them by name; its lines are where each
    of them begins.
    """

    def __init__(self, frames: Frames) -> None:
        stands_for_code = [
            origin != "process" and (not name.startswith("[") or is_nameless(name, file))
            for name, file, origin in zip(frames.function, frames.file, frames.origin, strict=True)
        ]
        code = np.array(stands_for_code, dtype=bool)
        named = [module_of(name, file) for name, file in zip(frames.function, frames.file, strict=True)]
        function, self.functions = numbered(zip(named, frames.file, strict=True))
        line, self.lines = numbered(zip(frames.function, frames.file, frames.line, strict=True))
        self.function: Ints = np.where(code, function, -1)
        self.line: Ints = np.where(code, line, -1)
        self.origin = np.array(frames.origin, dtype=object)

    def is_from(self, *origins: Origin) -> Mask:
        """Frames of one of these origins."""
        return np.isin(self.origin, origins)


class CallTree:
    """A profile's frames, nodes and passes as arrays, numbered in preorder.

    `first[n] <= first[m] < last[n]` says that m is n or below it.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.parent = np.array(profile.nodes.parent, dtype=np.int64)
        self.frame = np.array(profile.nodes.frame, dtype=np.int64)
        if len(self.frame) and not 0 <= self.frame.min() <= self.frame.max() < len(profile.frames.function):
            raise ValueError("call tree: a node names a frame that does not exist")
        self.names = FrameNames(profile.frames)
        self.levels = levels_of(self.parent)
        self.first, self.last = self._preorder()
        self._passes: dict[PassKind, PassWeights] = {}

    def weights(self, kind: PassKind) -> PassWeights | None:
        """The samples of a pass, None where it was not recorded."""
        if kind not in self._passes:
            found = [one for one in self.profile.passes if one.kind == kind]
            if not found:
                return None
            one = found[0]
            taken = np.array(one.count, dtype=np.float64)
            rows = PassWeights(
                kind,
                _ints(one.node),
                _ints(one.thread),
                _ints(one.block),
                taken,  # weighed below, once the columns are known to fit
                taken,
                blocks=max(1, len(one.block_seconds)),
                ticks=one.seconds * one.rate_hz,
            )
            for column, bound in ((rows.node, len(self.parent)), (rows.thread, len(self.profile.threads)), (rows.block, rows.blocks)):
                if len(column) and not 0 <= column.min() <= column.max() < bound:
                    raise ValueError(f"pass {kind}: a sample names a node, thread or block that does not exist")
            if one.block_rate_hz:
                rows = replace(rows, count=taken * one.rate_hz / np.array(one.block_rate_hz)[rows.block])
            self._passes[kind] = rows
        return self._passes[kind]

    def own(self, rows: PassWeights) -> Floats:
        """Samples that end at each node."""
        return summed(rows.node, rows.count, len(self.parent))

    def below(self, own: Floats) -> Floats:
        """Samples that end at each node or anywhere below it."""
        by_first = np.zeros(len(own) + 1)
        by_first[self.first + 1] = own
        sums = np.cumsum(by_first)
        return np.asarray(sums[self.last] - sums[self.first])

    def outermost(self, key: Ints) -> Mask:
        """Nodes without an ancestor of the same key; `key` has one number per node, -1 for none (those are False)."""
        nodes = np.flatnonzero(key >= 0)
        order = nodes[np.lexsort((self.first[nodes], key[nodes]))]
        span = len(self.parent) + 1
        sorted_keys = key[order]
        group = np.cumsum(np.concatenate([[False], sorted_keys[1:] != sorted_keys[:-1]])[: len(order)]).astype(np.int64) * span
        # ends grow from group to group, so the running maximum forgets earlier groups by itself
        reach = np.maximum.accumulate(self.last[order] + group) if len(order) else order
        inside = np.zeros(len(order), dtype=bool)
        inside[1:] = reach[:-1] > (self.first[order] + group)[1:]
        result = np.zeros(len(self.parent), dtype=bool)
        result[order[~inside]] = True
        return result

    def totals(self, key: Ints, below: Floats, size: int) -> Floats:
        """Samples with each key anywhere on the stack, each sample once."""
        nodes = self.outermost(key)
        return summed(key[nodes], below[nodes], size)

    def under(self, nodes: Mask) -> Mask:
        """Nodes that are one of these or below one."""
        change = np.zeros(len(self.parent) + 1, dtype=np.int64)
        np.add.at(change, self.first[nodes], 1)
        np.add.at(change, self.last[nodes], -1)
        covered = np.cumsum(change)[:-1] > 0
        return np.asarray(covered[self.first], dtype=bool)

    def _preorder(self) -> tuple[Ints, Ints]:
        sizes = subtree_sums(self.parent, self.levels, np.ones(len(self.parent), dtype=np.int64))
        first = np.zeros(len(self.parent), dtype=np.int64)
        for depth, level in enumerate(self.levels):
            # a level lists the children of one parent together: the running sum of sizes, less what stood before the family, is their place
            before = np.cumsum(sizes[level]) - sizes[level]
            if depth == 0:
                first[level] = before
                continue
            above = self.parent[level]
            new_family = np.concatenate([[True], above[1:] != above[:-1]])
            start = before[new_family][np.cumsum(new_family) - 1]
            first[level] = first[above] + 1 + before - start
        return first, first + sizes


def _ints(column: list[int]) -> Ints:
    return np.array(column, dtype=np.int64)


def numbered(keys: Iterable[Key]) -> tuple[Ints, list[Key]]:
    """A number for each distinct key, in the order of first appearance, and the keys by number."""
    keys = list(keys)
    known: dict[Key, int] = {}
    numbers = np.fromiter((known.setdefault(key, len(known)) for key in keys), dtype=np.int64, count=len(keys))
    return numbers, list(known)
