"""How a recording is divided among passes: one tracer at a time may attach, so passes alternate in slices.

The on-CPU pass gets every other slice, because shares and their intervals are read from it; the other passes take turns in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from perfwright.models.profile import PassKind

SHORTEST_SLICE_S = 1.0
"""A slice shorter than this is mostly attaching and detaching; and py-spy counts in whole seconds."""
BUSY_HALF = 0.5
BLOCK_S = 1.0
"""Aim for one block of the bootstrap per second: longer than the correlation of neighbouring samples, short enough for many blocks."""


ATTACH_SHARE = 0.25
"""Of the overhead budget, for attaching."""


@dataclass(frozen=True)
class Slice:
    """One uninterrupted piece of one pass."""

    index: int
    kind: PassKind
    seconds: float

    @property
    def blocks(self) -> int:
        """Blocks that this slice is cut into."""
        return max(1, round(self.seconds / BLOCK_S))


def plan_slices(passes: Sequence[PassKind], duration_s: float, slice_s: float) -> tuple[Slice, ...]:
    """Slices of whole seconds that fill `duration_s`; every pass gets at least one where there are seconds enough.

    >>> [s.kind for s in plan_slices(("on_cpu", "wall", "gil"), 30, 5)]
    ['on_cpu', 'wall', 'on_cpu', 'gil', 'on_cpu', 'wall']
    """
    first, others = passes[0], tuple(passes[1:])
    longest = max(1, int(duration_s / SHORTEST_SLICE_S))
    count = min(longest, max(2 * len(others), round(duration_s / slice_s), 1))
    kinds = [first if index % 2 == 0 or not others else others[index // 2 % len(others)] for index in range(count)]
    base, left = divmod(round(duration_s), count)
    longer = sorted(range(count), key=lambda index: index % 2)[:left]
    return tuple(Slice(index, kind, float(base + (index in longer))) for index, kind in enumerate(kinds))


def affordable_passes(
    passes: Sequence[PassKind], rate_hz: float, duration_s: float, slice_s: float, min_samples: int
) -> tuple[tuple[PassKind, ...], str]:
    """The passes that a recording at this rate has time for, and a sentence where some are left out.

    Where the rate is so low that a target which runs half of the time would not give `min_samples` in the on-CPU pass, that pass takes the
    whole recording: a profile that nothing can be concluded from helps nobody, whatever else was looked at beside it.
    """
    first, others = passes[0], tuple(passes[1:])
    seconds = sum(one.seconds for one in plan_slices(passes, duration_s, slice_s) if one.kind == first)
    if not others or BUSY_HALF * rate_hz * seconds >= min_samples:
        return tuple(passes), ""
    left_out = ", ".join(kind.replace("_", "-") for kind in others)
    return (first,), f"At {rate_hz:g} Hz there is time for the {first.replace('_', '-')} pass only; not recorded: {left_out}."


def slice_for_attaching(slice_s: float, attach_s: float, budget_share: float, duration_s: float, passes: int) -> float:
    """The length of slices that attaching, which costs the target `attach_s` each time, may be paid for with a part of the budget.

    Never shorter than `slice_s`, and never so long that the passes have less than two slices each.
    """
    longest = max(slice_s, duration_s / (2 * max(1, passes)))
    return min(longest, max(slice_s, attach_s / (ATTACH_SHARE * budget_share)))
