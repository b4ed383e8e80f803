"""`python -m tools.trial_boundaries [--watch] [--draws N] [--seed N]`: the tables of boundaries in perfwright/analysis/trials, drawn anew.

Of equal sides the sign of each datum is a coin, and in which order the magnitudes come is chance as well: any symmetric distribution
will do for drawing. For each last look: the smallest boundary that the largest Z of all looks reaches in at most `level` of the draws.
Prints the drawn boundary beside the one in the table and the share of draws that reach that one, with its standard error.

Without `--watch` those of a trial (`boundaries.py`), with it those of a watch over a live target (`watch_boundaries.py`).
"""

import argparse
import math
from collections.abc import Iterator, Sequence

import numpy as np

from perfwright.analysis.tree_weights import Floats
from perfwright.analysis.trials.boundaries import BOUNDARIES, LEVEL, LOOKS
from perfwright.analysis.trials.signed_ranks import signed_rank_z
from perfwright.analysis.trials.watch_boundaries import JUDGED, WATCH_BOUNDARIES, WATCH_WINDOWS

BATCH = 5_000
"""Draws at once: some 60 MB."""
DRAWN_WINDOWS = 2_880
"""Watches that are longer have boundaries which hardly any draw reaches: those are counted, see `tests/.../test_watch_boundaries.py`."""


def largest_z(looks: tuple[int, ...], draws: int, seed: int) -> Floats:
    """The largest Z up to each look: 2 x draws rows (each draw mirrored as well), one column per look."""
    chance = np.random.default_rng(seed)
    parts = []
    for begun in range(0, draws, BATCH):
        values = chance.standard_normal((min(BATCH, draws - begun), looks[-1]))
        z = np.stack([signed_rank_z(values[:, :look]) for look in looks], axis=1)
        parts += [np.maximum.accumulate(z, axis=1), np.maximum.accumulate(-z, axis=1)]
    return np.concatenate(parts)


def largest_watch_z(windows: Sequence[int], draws: int, seed: int, least: float = 2.5) -> Floats:
    """The largest Z that a watch sees in so many windows: 2 x draws rows, one column per length. Z below `least` is told as 0."""
    chance = np.random.default_rng(seed)
    parts = []
    batch = max(1, BATCH * LOOKS[-1] // windows[-1] // 4)
    for begun in range(0, draws, batch):
        values = chance.standard_normal((min(batch, draws - begun), windows[-1]))
        parts += [_largest_of(side, windows, least) for side in (values, -values)]
    return np.concatenate(parts)


def _largest_of(values: Floats, windows: Sequence[int], least: float) -> Floats:
    found = np.zeros((len(values), values.shape[1]))
    below = np.pad(np.cumsum(values < 0, axis=1, dtype=np.int32), ((0, 0), (1, 0)))
    for first, last in _judged_at(values.shape[1]):
        # Those with so many below zero that no order of ranks reaches `least` are most, and need no ranks.
        rows = np.flatnonzero(below[:, last] - below[:, first] <= _most_below(last - first, least))
        if len(rows):
            found[rows, last - 1] = np.maximum(found[rows, last - 1], signed_rank_z(values[rows, first:last]))
    found[found < least] = 0.0
    return np.maximum.accumulate(found, axis=1)[:, [length - 1 for length in windows]]


def _judged_at(windows: int) -> Iterator[tuple[int, int]]:
    """First and last window, exclusive, of everything that a watch judges: `perfwright.analysis.trials.live`."""
    for last in range(JUDGED[0], windows + 1):
        yield max(0, last - JUDGED[-1]), last
        yield from ((last - latest, last) for latest in JUDGED[:-1] if latest < last)


def _most_below(count: int, least: float) -> int:
    """Values below zero with which Z may still reach `least`: when they have the lowest ranks."""
    spread = math.sqrt(count * (count + 1) * (2 * count + 1) / 6)
    reached = (below for below in range(count + 1) if (count * (count + 1) / 2 - below * (below + 1)) / spread >= least)
    return max(reached, default=-1)


def boundary_of(largest: Floats, level: float) -> float:
    """Smallest value that at most `level` of these reach."""
    ordered = np.sort(largest)
    allowed = math.floor(level * len(ordered))
    beyond = ordered[len(ordered) - allowed - 1]
    return float(ordered[np.searchsorted(ordered, beyond, side="right")])


def tell(largest: Floats, columns: Sequence[int], boundaries: Sequence[float], level: float) -> None:
    print(f"level {level:.2%} per side, standard error {math.sqrt(level / len(largest)):.4%}")
    for column, (look, boundary) in enumerate(zip(columns, boundaries, strict=True)):
        reached = float((largest[:, column] >= boundary).mean())
        print(f"  {look:4}  drawn {boundary_of(largest[:, column], level):.3f}  table {boundary:.2f}, reached by {reached:.3%}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.trial_boundaries", description="The boundaries of a trial, drawn anew.")
    parser.add_argument("--watch", action="store_true", help="those of a watch over a live target, up to a day")
    parser.add_argument("--draws", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if given.watch:
        drawn = [length for length in WATCH_WINDOWS if length <= DRAWN_WINDOWS]
        tell(largest_watch_z(drawn, given.draws, given.seed), drawn, WATCH_BOUNDARIES[: len(drawn)], LEVEL)
        return
    largest = largest_z(LOOKS, given.draws, given.seed)
    for level, boundaries in BOUNDARIES.items():
        tell(largest, LOOKS, boundaries, level)


if __name__ == "__main__":
    main()
