"""One round: what chance decides about it, and the one datum that comes of it.

Restarting both sides in every round is what makes the data independent: layout of memory, hash seed and page placement are fixed for
the life of a process and differ by per cents between two starts of the same program (Mytkowicz et al., "Producing wrong data without
doing anything obviously wrong!", ASPLOS 2009; Curtsinger & Berger, "Stabilizer", ASPLOS 2013). More iterations measure that one pair of
processes better, not the program.
"""

import math
from collections.abc import Sequence

import numpy as np

from perfwright.models.trial import Clock, Quad, RoundPlan, Side, Slice

MOST_QUADS = 16
HASH_SEEDS = 2**32
PADDING_BYTES = 4_096
"""One page: what the stack's start can be moved by."""
CPU_BOUND = 0.9
"""CPU time over wall time on an idle machine from which CPU time is the less noisy measure of the same."""


def plan_round(chance: np.random.Generator, cores: Sequence[int], *, quads: int = 1) -> RoundPlan:
    """Draw a round. `chance` is seeded by trial and round number, so that a round taken up again is the same."""
    if not cores or quads < 1:
        raise ValueError("a round needs a core and a quad")
    orders: tuple[Quad, Quad] = ("ABBA", "BAAB")
    return RoundPlan(
        first=_either(chance),
        core=int(cores[int(chance.integers(len(cores)))]),
        hash_seed=int(chance.integers(HASH_SEEDS)),
        padding_bytes=int(chance.integers(PADDING_BYTES)),
        quads=tuple(orders[int(chance.integers(2))] for _ in range(quads)),
    )


def slice_seconds(one: Slice, clock: Clock) -> float:
    """Mean of an iteration, without the first, which pays for the switch with 4 to 8 %; the only iteration of a slice is kept."""
    whole, first = (one.cpu_s, one.first_cpu_s) if clock == "cpu" else (one.wall_s, one.first_wall_s)
    return (whole - first) / (one.iterations - 1) if one.iterations > 1 else whole


def round_datum(slices: Sequence[Slice], plan: RoundPlan, clock: Clock) -> float:
    """`mean log(slice mean B) - mean log(slice mean A)`: the mean of the quads, since each has as many slices of either side.

    Raises ValueError where slices are missing, in another order, of unequal work, or too short for the clock: such a round is void.
    """
    order = "".join(one.side for one in slices)
    if order != plan.order:
        raise ValueError(f"the round was planned as {plan.order} and run as {order or 'nothing'}")
    if len({one.iterations for one in slices}) != 1:
        raise ValueError("both sides run the same number of iterations in every slice")
    seconds = [slice_seconds(one, clock) for one in slices]
    if not all(math.isfinite(one) and one > 0 for one in seconds):
        raise ValueError(f"a slice took no measurable {clock} time")
    signed = [math.log(value) * (1 if one.side == "B" else -1) for one, value in zip(slices, seconds, strict=True)]
    return 2 * math.fsum(signed) / len(signed)


def choose_clock(idle: Sequence[Slice]) -> Clock:
    """What to judge by, chosen from A alone on an idle machine before B is looked at."""
    cpu, wall = sum(one.cpu_s for one in idle), sum(one.wall_s for one in idle)
    if wall <= 0:
        raise ValueError("there are no slices of A to choose by")
    return "cpu" if cpu / wall >= CPU_BOUND else "wall"


def quads_per_round(start_s: float, quad_s: float) -> int:
    """Quads in a round for the least total time: `sqrt(start cost / quad cost)`, from one to `MOST_QUADS`.

    Kalibera & Jones, "Rigorous benchmarking in reasonable time", ISMM 2013, on dimensioning repetitions, for as much variance within rounds
    as between them. How much it is varies with the machine's other work (0.1 to 3 times were seen), and the optimum is flat: to measure it
    first would cost more rounds than to be wrong about it.
    """
    if start_s < 0 or quad_s <= 0:
        raise ValueError("costs are times")
    return min(MOST_QUADS, max(1, round(math.sqrt(start_s / quad_s))))


def _either(chance: np.random.Generator) -> Side:
    return "A" if chance.integers(2) == 0 else "B"
