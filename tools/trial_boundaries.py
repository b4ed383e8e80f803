"""`python -m tools.trial_boundaries [--draws N] [--seed N]`: the table of `perfwright/analysis/trials/boundaries.py`, drawn anew.

Of equal sides the sign of each datum is a coin, and in which order the magnitudes come is chance as well: any symmetric distribution
will do for drawing. For each last look: the smallest boundary that the largest Z of all looks reaches in at most `level` of the draws.
Prints the drawn boundary beside the one in the table and the share of draws that reach that one, with its standard error.
"""

import argparse
import math

import numpy as np

from perfwright.analysis.tree_weights import Floats
from perfwright.analysis.trials.boundaries import BOUNDARIES, LOOKS
from perfwright.analysis.trials.signed_ranks import signed_rank_z

BATCH = 5_000
"""Draws at once: some 60 MB."""


def largest_z(looks: tuple[int, ...], draws: int, seed: int) -> Floats:
    """The largest Z up to each look: 2 x draws rows (each draw mirrored as well), one column per look."""
    chance = np.random.default_rng(seed)
    parts = []
    for begun in range(0, draws, BATCH):
        values = chance.standard_normal((min(BATCH, draws - begun), looks[-1]))
        z = np.stack([signed_rank_z(values[:, :look]) for look in looks], axis=1)
        parts += [np.maximum.accumulate(z, axis=1), np.maximum.accumulate(-z, axis=1)]
    return np.concatenate(parts)


def boundary_of(largest: Floats, level: float) -> float:
    """Smallest value that at most `level` of these reach."""
    ordered = np.sort(largest)
    allowed = math.floor(level * len(ordered))
    beyond = ordered[len(ordered) - allowed - 1]
    return float(ordered[np.searchsorted(ordered, beyond, side="right")])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.trial_boundaries", description="The boundaries of a trial, drawn anew.")
    parser.add_argument("--draws", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    largest = largest_z(LOOKS, given.draws, given.seed)
    for level, boundaries in BOUNDARIES.items():
        error = math.sqrt(level / len(largest))
        print(f"level {level:.2%} per side, standard error {error:.4%}")
        for column, (look, boundary) in enumerate(zip(LOOKS, boundaries, strict=True)):
            reached = float((largest[:, column] >= boundary).mean())
            print(f"  {look:4}  drawn {boundary_of(largest[:, column], level):.3f}  table {boundary:.2f}, reached by {reached:.3%}")


if __name__ == "__main__":
    main()
