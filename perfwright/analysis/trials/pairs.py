"""Pairs of blocks, where a side is switched rather than restarted: databases, caches, live services.

What a switch disturbs (caches, a JIT, connection pools) is let settle before anything counts. Which side comes first in a pair is drawn,
so that neither drift nor what the other side leaves behind favours one. Neighbouring pairs are not independent by construction as fresh
processes are: `judge_noise` looks whether they are.
"""

import math
from collections.abc import Sequence

import numpy as np

from perfwright.models.trial import Block, Side
from perfwright.models.vocabulary import Model


class PairData(Model):
    """What pairs gave."""

    data: tuple[float, ...]
    """Log B / A, in order, one for each pair that counts."""
    void: tuple[str, ...]
    """Why others do not."""


def pair_orders(chance: np.random.Generator, pairs: int) -> tuple[tuple[Side, Side], ...]:
    """The sides of each pair, in order."""
    orders: tuple[tuple[Side, Side], tuple[Side, Side]] = (("A", "B"), ("B", "A"))
    return tuple(orders[int(one)] for one in chance.integers(2, size=pairs))


def pair_data(blocks: Sequence[Block], *, burn_in_s: float) -> PairData:
    """One datum per two blocks: logarithm of mean B over mean A, of what was taken once the burn-in was over.

    A pair is void whose state changed, that lacks a side, or that has no value above zero left on one of them.
    """
    data: list[float] = []
    void: list[str] = []
    for number, begin in enumerate(range(0, len(blocks), 2), 1):
        found = _pair(blocks[begin : begin + 2], burn_in_s)
        if isinstance(found, str):
            void.append(f"pair {number}: {found}")
        else:
            data.append(found)
    return PairData(data=tuple(data), void=tuple(void))


def _pair(pair: Sequence[Block], burn_in_s: float) -> float | str:
    sides = {block.side: block for block in pair}
    if len(sides) != 2:
        return "only one side was measured"
    if sides["A"].state != sides["B"].state:
        return "build, settings, pods or traffic changed within it"
    means = {side: _settled_mean(block, burn_in_s) for side, block in sides.items()}
    lacking = [side for side in sorted(means) if not 0 < means[side] < math.inf]
    return f"nothing was measured on {lacking[0]} after {burn_in_s:g} s" if lacking else math.log(means["B"] / means["A"])


def _settled_mean(block: Block, burn_in_s: float) -> float:
    """Zero where nothing is left."""
    settled = [value for at, value in zip(block.after_switch_s, block.values, strict=True) if at >= burn_in_s]
    return math.fsum(settled) / len(settled) if settled else 0.0
