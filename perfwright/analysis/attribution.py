"""Who is to be asked about a sample: the target's own line that caused it.

Time spent inside `re.compile` cannot be changed there; the line that calls it can. Every sample is *attributed* to the nearest frame of the
target's own code at or above it, its *owner*, so that each sample counts for one owner only and shares of owners add up to one.

Two kinds of own frames are not asked:
- *dispatchers*, which hand control to a framework that calls back into own code (`uvicorn.run(app)`, a middleware): what the framework
  spends between is not theirs. It stays with the nearest library frame;
- in a program whose work is hardly in its own code (an installed tool started by a three-line script, a loop around one call of a library),
  library frames count as own.
"""

from dataclasses import dataclass

import numpy as np

from perfwright.analysis.tree_weights import CallTree, Floats, Ints, Mask, PassWeights, summed
from perfwright.models.profile import Origin

OWN_CODE_MATTERS = 0.02
"""Share of samples under own code (dispatchers aside) below which the program *is* its libraries, so that they are what can be changed. A
server that hardly computes has more than that in its handlers, and its framework is not what to change."""
DRIVES = 0.9
"""An own line that spends nearly the whole program in a library only starts it: where in the library is the question then."""
CALLS_BACK = 0.5
"""A line whose time is mostly own code called back by foreign code is a dispatcher."""
CALLS_BACK_NEAR_ROOT = 0.05
"""The same for a line under which most of the program runs: an event loop that spends 5 % in handlers is still not the line's work."""
NEAR_ROOT = 0.5


@dataclass(frozen=True)
class Attribution:
    """For every node of the call tree: who owns it, and through which foreign frame.

    `owner[n]`: node of the owner, n itself for own code; a library or leaf node where no own code is on the stack.
    `entry[n]`: the first foreign node under the owner on the way to n, -1 when n is its owner.
    `own[n]`: n is own code. `framework[n]`: the owner is a library or runtime frame because nobody of the target's code asked for it.
    """

    owner: Ints
    entry: Ints
    own: Mask
    framework: Mask
    own_origins: tuple[Origin, ...]


def attribute(tree: CallTree, rows: PassWeights) -> Attribution:
    """Owners by this pass's samples."""
    own = tree.own(rows)
    below = tree.below(own)
    first = _attribute(tree, own, below, ("user",))
    reached = float(own[~first.framework].sum())
    if reached >= OWN_CODE_MATTERS * max(1.0, rows.samples) and not _is_driven(tree, own, first):
        return first
    return _attribute(tree, own, below, ("user", "library"))


def _is_driven(tree: CallTree, own: Floats, first: Attribution) -> bool:
    """Whether one own line hands nearly everything to installed libraries."""
    entry = first.entry
    through = (entry >= 0) & ~first.framework & tree.names.is_from("library")[tree.frame[entry]]
    line = tree.names.line[tree.frame[first.owner]]
    through &= line >= 0
    by_line = summed(line[through], own[through], len(tree.names.lines) or 1)
    return bool(by_line.max() >= DRIVES * max(1.0, float(own.sum())))


def _attribute(tree: CallTree, own: Floats, below: Floats, origins: tuple[Origin, ...]) -> Attribution:
    is_own = tree.names.is_from(*origins)[tree.frame]
    owner = nearest(tree, is_own)
    dispatches = _dispatchers(tree, own, below, is_own, owner)
    # under a dispatcher, foreign frames belong to the nearest library frame, or to themselves where there is none
    is_library = tree.names.is_from("library")[tree.frame]
    asked = np.where(owner >= 0, ~dispatches[owner], False)
    foreign = ~is_own & ~asked
    library = nearest(tree, is_library | is_own)
    stands_in = np.where((library >= 0) & ~is_own[library], library, np.arange(len(owner)))
    owner = np.where(foreign, stands_in, owner)
    entry = np.full(len(owner), -1, dtype=np.int64)
    for level in tree.levels:
        above = tree.parent[level]
        under = (owner[level] != level) & (above >= 0)
        entry[level] = np.where(under, np.where(above == owner[level], level, entry[above]), -1)
    return Attribution(owner=owner, entry=entry, own=is_own, framework=foreign, own_origins=origins)


def nearest(tree: CallTree, wanted: Mask) -> Ints:
    """The nearest node at or above each that is wanted, -1 where there is none."""
    nearest = np.full(len(tree.parent), -1, dtype=np.int64)
    for level in tree.levels:
        above = tree.parent[level]
        nearest[level] = np.where(wanted[level], level, np.where(above >= 0, nearest[above], -1))
    return nearest


def _dispatchers(tree: CallTree, own: Floats, below: Floats, is_own: Mask, owner: Ints) -> Mask:
    """Nodes whose line hands control to foreign code that calls own code back.

    Judged per line over all its stacks, on outermost calls only: recursion through a framework (nested middleware) counts once.
    """
    called_back = np.flatnonzero(is_own & (tree.parent >= 0))
    called_back = called_back[~is_own[tree.parent[called_back]]]
    caller = owner[tree.parent[called_back]]
    called_back, caller = called_back[caller >= 0], caller[caller >= 0]
    line = np.where(is_own, tree.names.line[tree.frame], -1)
    size = len(tree.names.lines)
    through = summed(line[caller], below[called_back], size)
    total = summed(line[is_own & (line >= 0)], below[is_own & (line >= 0)], size)
    share = np.divide(through, total, out=np.zeros(size), where=total > 0)
    near_root = tree.totals(line, below, size) >= NEAR_ROOT * max(1.0, float(own.sum()))
    dispatches = (share >= CALLS_BACK) | (near_root & (share >= CALLS_BACK_NEAR_ROOT))
    return np.asarray((line >= 0) & dispatches[line], dtype=bool)
