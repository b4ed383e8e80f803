"""A recorded slice, and what reads its file into a profile: all that the reading process needs, and nothing that is slow to import."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from perfwright.analysis.call_tree import ProfileBuilder, encode_profile
from perfwright.models.cpu_profiling import RecordedPass
from perfwright.models.profile import PassKind
from perfwright.models.vocabulary import Model


class TakenSlice(Model):
    """A slice that was recorded: a line of the log."""

    index: int
    kind: PassKind
    seconds: float
    """Time that was really recorded: attaching and detaching are not in it."""
    blocks: int
    rate_hz: float
    file: str
    ended_at_s: float
    """Wall clock, seconds since the epoch."""
    tool_cpu_s: float | None = None
    held: int = 0
    readings: int = 0
    lost_s: float = 0.0
    """What the target lost to the profiler: to being held, or of the CPU as far as the machine had none left."""


@dataclass(frozen=True)
class SliceTake:
    """What became of it."""

    seconds: float
    """Recorded; fewer than ordered where the target exited."""
    cpu_s: float | None = None
    """What the tool used, beside the target or inside of it; not what it takes to read the samples afterwards. None: unknown."""
    attach_cpu_s: float = 0.0
    """Part of it that was used before the first sample."""
    rate_hz: float | None = None
    """The rate it really had; None: as ordered."""


@dataclass(frozen=True)
class SliceCount:
    """What one slice's file held."""

    samples: int
    failed: int = 0
    blocks: int | None = None
    """Blocks that its samples can be told apart by, where that is not what was planned."""
    warning: str = ""
    """What a reader of the profile must know about these stacks."""


ReadSlice = Callable[[ProfileBuilder, TakenSlice, Path], SliceCount]
"""Adds one slice's file to the builder; a top-level function, because it runs in a process of its own."""


def assemble_profile(
    title: str, read: ReadSlice, slices: list[tuple[TakenSlice, str]]
) -> tuple[bytes, dict[int, SliceCount], tuple[str, ...]]:
    """Read all slices into one encoded profile; also what each held, and notes on what was folded."""
    builder = ProfileBuilder(tool=title)
    counts = {one.index: read(builder, one, Path(path)) for one, path in slices}
    profile = builder.build()
    return encode_profile(profile), counts, builder.notes


def recorded_passes(slices: Sequence[TakenSlice], counts: Mapping[int, SliceCount]) -> tuple[RecordedPass, ...]:
    """How each pass went, in the order in which they were begun."""
    of = {kind: [one for one in slices if one.kind == kind] for kind in dict.fromkeys(one.kind for one in slices)}
    return tuple(
        RecordedPass(
            kind=kind,
            rate_hz=round(sum(one.rate_hz * one.seconds for one in taken) / sum(one.seconds for one in taken), 1),
            seconds=sum(one.seconds for one in taken),
            samples=sum(counts[one.index].samples for one in taken),
            failed_samples=sum(counts[one.index].failed for one in taken),
            slices=len(taken),
            blocks=sum(counts[one.index].blocks or one.blocks for one in taken),
        )
        for kind, taken in of.items()
    )
